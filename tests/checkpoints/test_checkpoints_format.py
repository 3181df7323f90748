"""Our own files: what is in them, what comes back, and what is refused."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_checkpoints import tiny_network

from adacode_cli.checkpoints.format import (
    DETECTOR_KEY,
    FORMAT_VERSION,
    METADATA_KEY,
    PRIOR_KEY,
    Provenance,
    Weights,
    part_of,
    read_weights,
    split,
    write_weights,
)
from adacode_cli.errors import OutputError, WeightsError
from adacode_cli.version import __version__

PROVENANCE = Provenance("tiny", "noise", "CC0-1.0", "tests")


@pytest.fixture
def weights():
    network = tiny_network("sr", 4)
    return Weights("whole", network.config, PROVENANCE, network.state_dict())


@pytest.fixture
def written(weights, tmp_path):
    write_weights(tmp_path / "a.safetensors", weights)
    return tmp_path / "a.safetensors"


def header_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[METADATA_KEY])


def with_header(written, change):
    """The file again, its header changed by `change`."""
    header = header_of(written)
    text = change(header) or json.dumps(header)
    save_file(read_weights(written).tensors, written, {METADATA_KEY: text})
    return written


def refused(path):
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert caught.value.path == path
    assert caught.value.hint
    return caught.value.message


def test_what_was_written_is_read(weights, written):
    again = read_weights(written)
    assert (again.part, again.config, again.provenance) == ("whole", weights.config, PROVENANCE)
    assert again.tensors.keys() == weights.tensors.keys()
    for key, tensor in weights.tensors.items():
        assert again.tensors[key].dtype == torch.float32
        assert torch.equal(again.tensors[key], tensor)


def test_half_precision_halves_the_file_and_rounds(weights, written, tmp_path):
    write_weights(tmp_path / "half.safetensors", weights, torch.float16)
    again = read_weights(tmp_path / "half.safetensors")
    for key, tensor in weights.tensors.items():
        assert torch.equal(again.tensors[key], tensor.half().float())
    saved = written.stat().st_size - (tmp_path / "half.safetensors").stat().st_size
    assert abs(saved - 2 * sum(t.numel() for t in weights.tensors.values())) < 64


def test_any_program_can_read_what_a_file_is(weights, written):
    config = json.loads(json.dumps(asdict(weights.config)))
    later = ("encoder_context", "own_decoder", "residual")
    assert [config.pop(part) for part in later] == [None] * len(later)
    assert header_of(written) == {
        "format": FORMAT_VERSION,
        "part": "whole",
        "config": config,
        "provenance": {
            "family": "tiny",
            "trained_on": "noise",
            "licence": "CC0-1.0",
            "source": "tests",
            "version": __version__,
            "base_model": "",
            "base_licence": "",
            "recipe": "",
        },
    }
    config = header_of(written)["config"]
    assert (config["task"], config["scale"]) == ("sr", 4)


def test_equal_weights_make_equal_files(weights, written, tmp_path):
    turned = dict(reversed(weights.tensors.items()))
    turned = {k: v.clone(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in turned.items()}
    write_weights(tmp_path / "b.safetensors", Weights("whole", weights.config, PROVENANCE, turned))
    assert (tmp_path / "b.safetensors").read_bytes() == written.read_bytes()


def test_a_file_of_a_newer_version_is_refused(written):
    message = refused(with_header(written, lambda h: h.update(format=FORMAT_VERSION + 1)))
    assert message == f"has format {FORMAT_VERSION + 1}, this version reads {FORMAT_VERSION}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: "{not json", "has damaged adacode metadata"),
        (lambda h: "[]", "has damaged adacode metadata"),
        (lambda h: "null", "has damaged adacode metadata"),
        (lambda h: h.pop("format") and None, "has damaged adacode metadata"),
        (lambda h: h.update(format="1"), "has damaged adacode metadata"),
        (lambda h: h.pop("config") and None, "has damaged adacode metadata"),
        (lambda h: h.update(config=5), "has damaged adacode metadata"),
        (lambda h: h.update(provenance=None), "has damaged adacode metadata"),
        (lambda h: h.update(provenance="good"), "has damaged adacode metadata"),
        (lambda h: h.update(part="half"), "has an unknown part 'half'"),
        (lambda h: h["config"].update(glow=1), "unknown configuration fields: glow"),
        (lambda h: h["config"].update(scale=3), "this network configuration is impossible: scale 3"),
        (lambda h: h["config"].update(channels=None), "the configuration cannot be read"),
    ],
)
def test_damaged_metadata_is_refused(written, change, message):
    assert refused(with_header(written, change)).startswith(message)


def test_provenance_of_older_and_newer_versions_is_read(weights, written):
    older = with_header(written, lambda h: h["provenance"].pop("recipe") and None)
    assert read_weights(older).provenance == PROVENANCE
    newer = with_header(written, lambda h: h["provenance"].update(mood={"good": True}, recipe='{"seed": 3}'))
    assert read_weights(newer).provenance == replace(PROVENANCE, recipe='{"seed": 3}')
    assert read_weights(newer).config == weights.config


BASE = "realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"


def test_a_base_model_and_its_licence_come_back(weights, tmp_path):
    made = replace(PROVENANCE, base_model="somebody's", base_licence="MIT")
    write_weights(tmp_path / "b.safetensors", replace(weights, provenance=made))
    assert read_weights(tmp_path / "b.safetensors").provenance == made
    assert made.whole_licence == "CC0-1.0 AND MIT"


def test_the_first_files_with_a_base_model_have_no_field_for_its_licence(written):
    def change(header: dict) -> None:
        header["provenance"].pop("base_licence")
        header["provenance"]["base_model"] = BASE

    provenance = read_weights(with_header(written, change)).provenance
    assert (provenance.base_model, provenance.base_licence) == (BASE, "BSD-3-Clause")
    assert provenance.whole_licence == "CC0-1.0 AND BSD-3-Clause"


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (3, "base_model of the provenance is not a text"),
        (["a"], "is not a text"),
        ("a and " * 10_000, "base_model of the provenance is too long"),
    ],
    ids=["number", "list", "long"],
)
def test_a_base_model_that_is_none_is_damage(written, base, words):
    changed = with_header(written, lambda header: header["provenance"].update(base_model=base))
    assert words in refused(changed)


def test_metadata_nested_too_deeply_are_damage(written):
    save_file({"a": torch.ones(2)}, written, {METADATA_KEY: "[" * 100_000})
    assert "damaged adacode metadata" in refused(written)


def test_a_stranger_without_metadata_is_refused(written):
    save_file({"a": torch.ones(2)}, written)
    assert refused(written) == "has no adacode metadata"
    save_file({"a": torch.ones(2)}, written, {"format": "pt"})
    assert refused(written) == "has no adacode metadata"
    for key, what in ((DETECTOR_KEY, "a detector of marks"), (PRIOR_KEY, "a prior of codes")):
        save_file({"a": torch.ones(2)}, written, {key: "{}"})
        assert refused(written) == f"holds {what}, not a task's network"


def test_files_that_are_cut_or_something_else_are_refused(written, tmp_path):
    whole = written.read_bytes()
    for data in (b"", b"\0", whole[:7], whole[:100], whole[: len(whole) // 2], whole[:-1], b"PNG" * 900, whole + b"x"):
        written.write_bytes(data)
        assert refused(written) == "is not a safetensors file, or is incomplete"
    assert refused(tmp_path / "absent.safetensors").startswith("cannot be read: ")
    assert refused(tmp_path)


def test_the_folder_is_made(weights, tmp_path):
    write_weights(tmp_path / "new" / "folder" / "a.safetensors", weights)
    assert read_weights(tmp_path / "new" / "folder" / "a.safetensors").config == weights.config


def test_a_folder_that_cannot_be_is_an_output_error(weights, written, tmp_path):
    for impossible in (written / "a.safetensors", written / "b" / "a.safetensors", tmp_path / ("n" * 300) / "a.x"):
        with pytest.raises(OutputError) as caught:
            write_weights(impossible, weights)
        assert caught.value.path == impossible.parent
        assert caught.value.hint


@contextmanager
def someone_ordinary():
    """The superuser acts as a user whom permissions concern."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
def test_a_read_only_folder_is_an_output_error(weights):
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_weights(folder / "a.safetensors", weights)
        before = (folder / "a.safetensors").read_bytes()
        folder.chmod(0o555)
        try:
            with someone_ordinary():
                for target in (folder / "a.safetensors", folder / "b.safetensors", folder / "new" / "b.safetensors"):
                    with pytest.raises(OutputError, match="permission denied"):
                        write_weights(target, weights)
        finally:
            folder.chmod(0o755)
        assert list(folder.iterdir()) == [folder / "a.safetensors"]
        assert (folder / "a.safetensors").read_bytes() == before


def test_what_cannot_be_replaced_stays(weights, tmp_path):
    folder = tmp_path / "a.safetensors"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OutputError) as caught:
        write_weights(folder, weights)
    assert caught.value.path == folder
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("task", ["reconstruct", "sr", "inpaint"])
def test_a_network_is_split_into_what_is_shared_and_what_is_not(task):
    network = tiny_network(task)
    state = network.state_dict()
    parts = split(Weights("whole", network.config, PROVENANCE, state))
    assert list(parts) == ["basis", "fused", "task"]
    assert {k: v for w in parts.values() for k, v in w.tensors.items()} == state
    assert sum(len(w.tensors) for w in parts.values()) == len(state)
    assert set(parts["basis"].tensors) == {f"codebook.books.{k}.embedding.weight" for k in range(2)}
    assert {k.split(".")[0] for k in parts["task"].tensors} >= {"encoder"}
    assert not any(k.startswith(("codebook.after.", "decoder.")) for k in parts["task"].tensors)
    for part, weights in parts.items():
        assert (weights.part, weights.config, weights.provenance) == (part, network.config, PROVENANCE)
        assert {part_of(key) for key in weights.tensors} == {part}


def test_what_is_shared_is_alike_in_every_task():
    networks = [tiny_network(*task) for task in (("reconstruct", 1), ("sr", 2), ("sr", 4), ("inpaint", 1))]
    shapes = [{k: v.shape for k, v in n.state_dict().items() if part_of(k) in ("basis", "fused")} for n in networks]
    assert all(s == shapes[0] for s in shapes)
