"""Means of weights: tensor by tensor, what stays as it was, what has no mean, and what the mean says of itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_checkpoints import (
    same_network,
    save_pth,
    small_published,
    start_tensors,
    tiny_network,
    trunk_network,
    write_parts,
)

from adacode_cli.checkpoints.average import average, pair
from adacode_cli.checkpoints.format import Provenance, Weights, part_of, read_weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.checkpoints.real_esrgan import as_trunk, read_trunk
from adacode_cli.errors import OutputError, UsageError, WeightsError
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import adopt

METADATA = {
    "name": "realesr-general-x4v3",
    "source": "xinntao/Real-ESRGAN",
    "licence": "BSD-3-Clause",
    "architecture": "a",
}
BASE = "realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"
PROVENANCE = Provenance("tiny", "4 images", "Apache-2.0", "adacode train", "0.1.0", recipe='{"seed": 7}')
SHARED = trunk_network().state_dict()


def save(path: Path, network: AdaCode, dtype: torch.dtype = torch.float32, **provenance: str) -> Path:
    stated = replace(PROVENANCE, **provenance)
    write_weights(path, Weights("whole", network.config, stated, network.state_dict()), dtype)
    return path


def save_start(path: Path, seed: int, dtype: torch.dtype = torch.float16, **metadata: str) -> Path:
    save_file({k: v.to(dtype) for k, v in start_tensors(seed).items()}, path, METADATA | metadata)
    return path


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    """Two results of one task over the same shared parts."""
    networks = [trunk_network(4, SHARED, seed) for seed in (1, 2)]
    a, b = (save(tmp_path / f"{name}.safetensors", n) for name, n in zip("ab", networks, strict=True))
    return a, b


def stored(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Equal to the last bit, types and signs of zero too."""
    return one.keys() == other.keys() and all(
        t.dtype == other[k].dtype and t.numpy().tobytes() == other[k].numpy().tobytes() for k, t in one.items()
    )


@pytest.mark.parametrize("share", [0.5, 0.7, 0.0625])
def test_every_tensor_is_the_weighted_mean(two, tmp_path, share):
    out = tmp_path / "new" / "out.safetensors"
    count = len(stored(two[0]))
    assert average(*two, share, out) == (count, 0)
    one, other, mean = (stored(path) for path in (*two, out))
    assert mean.keys() == one.keys()
    for key, tensor in mean.items():
        exact = one[key].double() * share + other[key].double() * (1 - share)
        assert torch.allclose(tensor.double(), exact, rtol=1e-6, atol=1e-6)
    network, _ = load_network((out,))
    with torch.inference_mode():
        assert bool(torch.isfinite(network(torch.rand(1, 3, 16, 16)).image_BCHW).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_whole_share_is_that_file_to_the_bit(tmp_path, dtype):
    paths = []
    for seed in (1, 2):
        network = trunk_network(4, SHARED, seed)
        network.trunk.body[0].bias.data[:3] = torch.tensor([-0.0, 0.0, -0.0])
        paths.append(save(tmp_path / f"{seed}.safetensors", network, dtype))
    for share, path in ((1.0, paths[0]), (0.0, paths[1])):
        average(*paths, share, tmp_path / "out.safetensors", overwrite=True)
        assert same(stored(tmp_path / "out.safetensors"), stored(path))


@pytest.mark.parametrize("share", [0.5, 0.25, 0.7])
def test_the_order_of_the_files_does_not_matter(two, tmp_path, share):
    a, b = two
    average(a, b, share, tmp_path / "one.safetensors")
    average(b, a, 1 - share, tmp_path / "other.safetensors")
    assert same(stored(tmp_path / "one.safetensors"), stored(tmp_path / "other.safetensors"))


def test_the_type_is_the_firsts_unless_requested(two, tmp_path):
    half = save(tmp_path / "half.safetensors", trunk_network(4, SHARED, 3), torch.bfloat16)
    out = tmp_path / "out.safetensors"
    shared = [key for key in stored(half) if part_of(key) != "task"]
    full = save(tmp_path / "full.safetensors", load_network((half,))[0])
    for first, second, asked, found in (
        (half, full, None, torch.bfloat16),
        (full, half, None, torch.float32),
        (half, full, torch.float16, torch.float16),
        (half, full, torch.float32, torch.float32),
    ):
        average(first, second, 0.5, out, asked, overwrite=True)
        assert {t.dtype for t in stored(out).values()} == {found}
    assert shared  # rounded alike in both, so that they are the same


def test_the_mean_says_what_it_is(two, tmp_path):
    a, b = two
    save(b, trunk_network(4, SHARED, 2), base_model=BASE, base_licence="BSD-3-Clause", trained_on="9", source="me")
    out = tmp_path / "out.safetensors"
    average(a, b, 0.7, out)
    assert read_weights(out).provenance == replace(
        PROVENANCE,
        trained_on="4 images; 9",
        source="mean of 0.7 of a.safetensors (adacode train) and 0.3 of b.safetensors (me)",
        base_model=BASE,
        base_licence="BSD-3-Clause",
    )
    save(b, trunk_network(4, SHARED, 2), licence="MIT", base_model="net")
    average(a, b, 0.7, out, overwrite=True)
    stated = read_weights(out).provenance
    assert (stated.licence, stated.base_model, stated.base_licence) == (
        "Apache-2.0 AND MIT",
        "net",
        "LicenseRef-not-stated",
    )


@pytest.mark.parametrize("pth", [False, True])
def test_with_a_start_the_trunk_alone_is_averaged(two, tmp_path, pth):
    start, out = (
        save_start(tmp_path / "realesr-general-x4v3.safetensors", 5, torch.float32),
        tmp_path / "out.safetensors",
    )
    if pth:
        start = save_pth(tmp_path / "realesr-general-x4v3.pth", start_tensors(5))
    one, num = stored(two[0]), len(start_tensors(5))
    assert average(two[0], start, 0.25, out) == (num, len(one) - num)
    mean = stored(out)
    assert mean.keys() == one.keys()
    for key, tensor in mean.items():
        if key.startswith("trunk.body."):
            other = start_tensors(5)[key.removeprefix("trunk.")]
            assert torch.equal(tensor, one[key] * 0.25 + other * 0.75), key
        else:
            assert torch.equal(tensor, one[key]), key
    stated = read_weights(out).provenance
    assert (stated.base_model, stated.base_licence, stated.licence) == (BASE, "BSD-3-Clause", "Apache-2.0")
    assert stated.recipe == PROVENANCE.recipe
    assert stated.source == f"mean of 0.25 of a.safetensors (adacode train) and 0.75 of {start.name}"
    average(start, two[0], 0.75, tmp_path / "turned.safetensors")
    assert same(stored(tmp_path / "turned.safetensors"), mean)
    turned = read_weights(tmp_path / "turned.safetensors").provenance
    assert turned == replace(stated, source=f"mean of 0.75 of {start.name} and 0.25 of a.safetensors (adacode train)")


@pytest.mark.parametrize("scale", [2, 4])
def test_a_start_with_the_whole_share_is_what_training_begins_with(tmp_path, scale):
    network = trunk_network(scale, seed=3)
    ours = save(tmp_path / "ours.safetensors", network)
    start = save_start(tmp_path / "start.safetensors", 5)
    average(ours, start, 0, tmp_path / "out.safetensors")
    adopt(network, as_trunk(read_trunk(start, network.config), network.config))
    assert same(stored(tmp_path / "out.safetensors"), network.state_dict())
    average(ours, start, 1, tmp_path / "out.safetensors", overwrite=True)
    assert same(stored(tmp_path / "out.safetensors"), stored(ours))
    assert read_weights(tmp_path / "out.safetensors").provenance.base_model == ""  # nothing of it is in there


def test_two_starts_make_a_start(tmp_path):
    a = save_start(tmp_path / "a.safetensors", 1, base=BASE, tuned_on="4 images", figures="30 dB")
    b, out = save_start(tmp_path / "b.safetensors", 2), tmp_path / "out.safetensors"
    assert average(a, b, 0.75, out) == (len(start_tensors(1)), 0)
    one, other, mean = (stored(path) for path in (a, b, out))
    assert {t.dtype for t in mean.values()} == {torch.float16}
    for key, tensor in mean.items():
        assert torch.equal(tensor, (one[key].float() * 0.75 + other[key].float() * 0.25).half())
    with safe_open(out, "pt") as file:
        assert file.metadata() == {
            "architecture": "a",
            "tuned_on": "4 images",
            "base": BASE,
            "licence": "BSD-3-Clause",
            "mean": "mean of 0.75 of a.safetensors and 0.25 of b.safetensors",
        }
    start = read_trunk(out, trunk_network().config)
    assert (start.base_model, start.base_licence) == (BASE, "BSD-3-Clause")
    for share, whole in ((1, one), (0, other)):
        average(a, b, share, out, overwrite=True)
        assert same(stored(out), whole)


def test_files_of_a_task_are_averaged_where_what_lies_beside_them_is_the_same(tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for i, folder in enumerate(folders):
        folder.mkdir()
        write_parts(folder, trunk_network(4, SHARED if i < 2 else None, i), "task")
    a, b, other = (folder / "task.safetensors" for folder in folders)
    average(a, b, 0.5, tmp_path / "one" / "mean.safetensors")
    mean = read_weights(tmp_path / "one" / "mean.safetensors")
    assert (mean.part, mean.tensors.keys()) == ("task", read_weights(a).tensors.keys())
    load_network((tmp_path / "one" / "mean.safetensors",))
    refused(a, other, tmp_path, "has other shared parts than")
    (tmp_path / "two" / "tiny-fused.safetensors").unlink()
    refused(a, b, tmp_path, "tiny-fused.safetensors must be in the same folder")
    refused(a, tmp_path / "one" / "tiny-basis.safetensors", tmp_path, "holds the part 'basis'")


def test_a_whole_network_has_a_mean_with_the_file_of_a_task(tmp_path):
    one, two = (trunk_network(4, SHARED, seed) for seed in (1, 2))
    write_parts(tmp_path, one, "task")
    task, whole = tmp_path / "task.safetensors", save(tmp_path / "whole.safetensors", two)
    wanted = {key: tensor * 0.5 + two.state_dict()[key] * 0.5 for key, tensor in one.state_dict().items()}
    for first, second, part in ((task, whole, "task"), (whole, task, "whole")):
        average(first, second, 0.5, tmp_path / "mean.safetensors", overwrite=True)
        assert read_weights(tmp_path / "mean.safetensors").part == part
        made = load_network((tmp_path / "mean.safetensors",))[0].state_dict()
        assert all(torch.allclose(tensor, made[key], rtol=0, atol=1e-6) for key, tensor in wanted.items())
    pair(task, whole, tmp_path / "pair.safetensors")
    for strength, end in ((1.0, one), (0.0, two)):
        assert same_network(load_network((tmp_path / "pair.safetensors",), strength)[0], end)
    other = save(tmp_path / "other.safetensors", trunk_network(4, None, 3))
    refused(task, other, tmp_path, "has other shared parts than")
    refused(other, task, tmp_path, "has other shared parts than")


def refused(first: Path, second: Path, tmp_path: Path, words: str, about: Path | None = None) -> None:
    out = tmp_path / "refused.safetensors"
    with pytest.raises(WeightsError, match=words) as caught:
        average(first, second, 0.5, out)
    assert caught.value.path == (about or second)
    assert caught.value.hint
    assert not out.exists()


@pytest.mark.parametrize(
    "key", ["codebook.books.1.embedding.weight", "codebook.after.0.bias", "decoder.head.conv.bias"]
)
def test_a_mean_of_codebooks_or_decoders_is_refused(two, tmp_path, key):
    weights = read_weights(two[1])
    first = (0,) * weights.tensors[key].ndim
    weights.tensors[key][first] = weights.tensors[key][first].nextafter(torch.tensor(9.0))
    write_weights(two[1], weights)
    refused(*two, tmp_path, f"has other shared parts than .*: 1 tensors differ, such as {key}")


def test_other_networks_and_damaged_files_are_named(two, tmp_path):
    a, b = two
    refused(a, save(b, trunk_network(2, seed=2)), tmp_path, "is of another network than .*: scale is 2, not 4")
    refused(a, save(b, tiny_network("sr", 4)), tmp_path, "is of another network than .*: .*trunk is None")
    start = save_start(tmp_path / "start.safetensors", 5)
    refused(b, start, tmp_path, "has no trunk", about=b)
    refused(save_start(tmp_path / "s.safetensors", 5), b, tmp_path, "has no trunk")
    save_file(start_tensors(1) | {"body.6.bias": torch.zeros(3)}, start, METADATA)
    refused(a, start, tmp_path, r"not a trunk of this size: wrong shapes: body\.6\.bias")
    refused(
        save_start(tmp_path / "s.safetensors", 5), start, tmp_path, r"another network .* wrong shapes: body\.6\.bias"
    )

    weights = read_weights(a)
    del weights.tensors["trunk.join.bias"]
    write_weights(b, weights)
    refused(a, b, tmp_path, r"missing keys: trunk\.join\.bias")
    refused(b, b, tmp_path, r"missing keys: trunk\.join\.bias")
    weights.tensors["trunk.join.bias"] = torch.full((8,), torch.nan)
    write_weights(b, weights)
    refused(a, b, tmp_path, r"trunk\.join\.bias has values that are not finite")
    b.write_bytes(a.read_bytes()[:-1])
    refused(a, b, tmp_path, "is not a safetensors file, or is incomplete")
    save_file({"a": torch.ones(2)}, b)
    refused(a, b, tmp_path, "neither a file of adacode nor a network of Real-ESRGAN's layout")
    refused(a, save_pth(tmp_path / "p.pth", small_published("sr_x4")), tmp_path, "neither a file of adacode")
    refused(a, tmp_path / "gone.safetensors", tmp_path, "cannot be read")
    refused(tmp_path / "gone.pth", a, tmp_path, "cannot be read", about=tmp_path / "gone.pth")


def test_a_mean_that_the_type_cannot_hold_is_reported(two, tmp_path):
    weights = read_weights(two[1])
    weights.tensors["trunk.join.bias"][0] = 2e5
    write_weights(two[1], weights)
    out = tmp_path / "out.safetensors"
    with pytest.raises(WeightsError, match=r"trunk\.join\.bias does not fit float16: .* 99999") as caught:
        average(*two, 0.5, out, torch.float16)
    assert "--dtype fp32" in caught.value.hint
    assert not out.exists()
    average(*two, 0.5, out, torch.bfloat16)


@given(share=st.floats().filter(lambda share: not 0 <= share <= 1))
def test_a_share_is_from_0_to_1(share):
    with pytest.raises(UsageError, match="is not between 0 and 1"):
        average(Path("a.safetensors"), Path("b.safetensors"), share, Path("out.safetensors"))


def test_the_output_never_takes_the_place_of_an_input_or_unasked_of_another_file(two, tmp_path):
    before = [path.read_bytes() for path in two]
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "link.safetensors").symlink_to(two[1])
    (tmp_path / "precious.safetensors").write_text("precious")
    (tmp_path / "file").write_text("")
    for out, overwrite, words in (
        (two[0], True, "is one of the files to read"),
        (tmp_path / "link.safetensors", True, "is one of the files to read"),
        (tmp_path / "folder.safetensors", True, "is a folder"),
        (tmp_path / "precious.safetensors", False, "exists already"),
        (tmp_path / "file" / "out.safetensors", False, "cannot be made into a folder"),
    ):
        with pytest.raises(OutputError, match=words) as caught:
            average(*two, 0.5, out, overwrite=overwrite)
        assert caught.value.path in (out, out.parent)
        assert caught.value.hint
    with pytest.raises(UsageError, match="does not end in"):
        average(*two, 0.5, tmp_path / "out.pth")
    assert [path.read_bytes() for path in two] == before
    assert (tmp_path / "precious.safetensors").read_text() == "precious"
    average(*two, 0.5, tmp_path / "precious.safetensors", overwrite=True)
    assert json.loads(read_weights(tmp_path / "precious.safetensors").provenance.recipe) == {"seed": 7}
