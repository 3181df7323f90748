"""Weights that were made to do harm: each is refused with an error that names the file, before it costs anything."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_checkpoints import LAYOUTS, small_published, start_tensors, tiny_network, trunk_network, write_whole

from adacode_cli.checkpoints.average import average
from adacode_cli.checkpoints.format import METADATA_KEY, Weights, read_safetensors, read_weights, to_bytes
from adacode_cli.checkpoints.load import build, load_network, read_any
from adacode_cli.checkpoints.published import PublishedLayout, read_params
from adacode_cli.checkpoints.real_esrgan import read_trunk
from adacode_cli.checkpoints.soundness import require_finite
from adacode_cli.errors import WeightsError
from adacode_cli.model.config import NetworkConfig

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space as Linux does")

MUTATED = """
    import json, random, resource, sys
    from pathlib import Path

    import torch
    from safetensors.torch import save_file

    from adacode_cli.checkpoints.format import METADATA_KEY, read_safetensors
    from adacode_cli.checkpoints.load import load_network
    from adacode_cli.errors import WeightsError
    from small_checkpoints import tiny_network, trunk_network, write_whole

    torch.set_num_threads(1)
    folder, r = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    path = folder / "mutated.safetensors"
    originals = []
    for network in (tiny_network("sr", 4), tiny_network("inpaint"), trunk_network()):
        originals.append(read_safetensors(write_whole(folder / "whole.safetensors", network), ""))
        load_network((folder / "whole.safetensors",))
    VALUES = [None, True, False, 0, -1, 1, 2, 3, 7, 64, 300, 10**5, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308,
              float("nan"), float("inf"), "", "x", "../..", "/etc/passwd", "sr", "basis", "none", "group", "\\ud800",
              "a" * 10**5, [], [[]], [1], [2, 2], [4] * 4000, [10**9, 10**9], [[10**6, 10**6]], [[4, 4]] * 4000,
              [[1e300, 1]], {}, {"a": 1}, {"groups": 50, "blocks": 50}, {"groups": 2**40, "heads": 0},
              {"window": 2**20}, {"depth": 10**9, "tap": 1}]

    def places(value, at=()):
        yield at
        found = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in found:
            yield from places(inner, (*at, key))

    def mutate(header):
        *above, last = r.choice([at for at in places(header) if at])
        for key in above:
            header = header[key]
        what = r.random()
        if what < 0.15:
            header.pop(last)
        elif what < 0.25 and isinstance(header, dict):
            header[r.choice(["more", "trunk", "uniform", "codebooks", "encoder_swin"])] = r.choice(VALUES)
        else:
            header[last] = r.choice(VALUES)

    def spoilt(text):
        what = r.random()
        if what < 0.03:
            return text.replace('"config"', "[" * r.choice([5, 200_000]), 1)
        if what < 0.06:
            return text.replace('"scale"', '"scale": 4, "scale"', 1)
        if what < 0.09:
            return text.replace('"scale": ', '"scale": ' + "9" * r.choice([5, 4000, 9000]), 1)
        return text[: r.randrange(len(text))] if what < 0.12 else text

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 256_000_000, -1))
    ended = {"loaded": 0, "refused": 0}
    for _ in range(int(sys.argv[3])):
        tensors, metadata = r.choice(originals)
        header = json.loads(metadata["adacode"])
        for _ in range(r.choice([1, 1, 1, 2, 3])):
            mutate(header)
        save_file(tensors, path, {"adacode": spoilt(json.dumps(header))})
        try:
            load_network((path,))
            ended["loaded"] += 1
        except WeightsError as error:
            assert error.hint and error.path is not None, header
            assert len(str(error)) < 2_000, str(error)[:200]
            ended["refused"] += 1
    print(json.dumps(ended))
"""


@linux
def test_every_mutated_configuration_is_refused_or_loads_within_bounded_memory(tmp_path):
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])]),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(MUTATED),
        str(tmp_path),
        "0",
        os.environ.get("ADACODE_MUTATIONS", "200"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    ended = json.loads(run.stdout)
    assert ended["refused"] > 10 * ended["loaded"] > 0


def refused(read, path, *arguments) -> str:
    with pytest.raises(WeightsError) as caught:
        read(path, *arguments)
    assert caught.value.path == path
    assert caught.value.hint
    return caught.value.message


def as_network(path):
    return load_network((path,))


def test_a_small_file_of_many_empty_tensors_does_not_grow(tmp_path):
    """Each number is no larger than the count of tensors, and their product is thousands of layers."""
    network, path = tiny_network("sr", 4), tmp_path / "bomb.safetensors"
    header = json.loads(read_safetensors(write_whole(path, network), "")[1][METADATA_KEY])
    deep = {f"{name}_depth": 60 for name in ("stem", "encoder", "up", "decoder", "fuse", "head")}
    for change in (deep, {"encoder_swin": {"groups": 60, "blocks": 60, "heads": 2, "window": 4, "mlp_ratio": 4}}):
        tensors = {f"t{i}": torch.zeros(0) for i in range(60)} | {"values": torch.zeros(30, 30)}
        text = json.dumps({**header, "config": {**header["config"], **change}})
        save_file(tensors, path, {METADATA_KEY: text})
        assert "fewer values than the network that it describes" in refused(as_network, path)
        assert "fewer values" in refused(lambda p: average(p, p, 0.5, tmp_path / "out.safetensors"), path)
        part = json.dumps({**header, "part": "basis", "config": {**header["config"], **change, "up_depth": 10**7}})
        save_file(tensors, path, {METADATA_KEY: part})
        message = refused(lambda p: average(p, p, 0.5, tmp_path / "out.safetensors"), path)
        assert "larger than any supported one" in message


@pytest.mark.parametrize("network", [tiny_network("reconstruct"), tiny_network("sr", 2), trunk_network()], ids=str)
def test_no_network_has_fewer_tensors_than_its_layers(network):
    assert network.config.min_layers <= len(network.state_dict())


@pytest.mark.parametrize("name", LAYOUTS)
def test_nor_has_a_published_one(name):
    layout = PublishedLayout(small_published(name))
    assert layout.config.min_layers <= len(layout.translated())


@pytest.mark.parametrize(
    "change",
    [
        {"mask_channel": "yes"},
        {"softmax": 1},
        {"scale": True},
        {"categories": [1, 2]},
        {"codebooks": [[6.5, 4], [5, 4]]},
        {"codebooks": [["6", "4"], [5, 4]]},
        {"codebooks": [[1e400, 4]]},
        {"encoder_swin": {"window": 33}},
        {"channels": [8] * 14, "stem": "shuffle"},
        {"channels": [8] * 10**5},
    ],
    ids=str,
)
def test_what_makes_no_configuration(change):
    with pytest.raises(WeightsError):
        NetworkConfig.from_dict({**tiny_network("reconstruct").config.to_dict(), **change})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_numbers_that_are_none_are_the_files_fault_and_named(value, dtype, tmp_path):
    network, path = trunk_network(), tmp_path / "a.safetensors"
    weights = read_weights(write_whole(path, network))
    weights.tensors["decoder.head.conv.bias"][1] = value
    path.write_bytes(to_bytes(weights, dtype))
    for read in (as_network, read_weights, lambda p: read_trunk(p, network.config)):
        assert refused(read, path) == "decoder.head.conv.bias has values that are not finite"


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_start_whose_numbers_are_none_is_named(suffix, tmp_path):
    tensors, path = start_tensors(0), tmp_path / f"a.{suffix}"
    tensors["body.0.bias"][0] = float("nan")
    if suffix == "pth":
        torch.save({"params": tensors}, path)
    else:
        save_file(tensors, path)
    for read in (
        lambda p: read_trunk(p, trunk_network().config),
        lambda p: average(p, p, 0.5, tmp_path / "o.safetensors"),
    ):
        assert refused(read, path) == "body.0.bias has values that are not finite"


def test_the_largest_numbers_are_numbers(tmp_path):
    largest = torch.full((4, 4), torch.finfo(torch.float32).max)
    require_finite({"a": largest, "b": -largest, "c": torch.zeros(0)}, tmp_path)
    assert not bool(torch.isfinite(largest.sum())), "their sum is none"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_bits_of_a_number_tell_whether_it_is_one(dtype, tmp_path):
    limits = torch.finfo(dtype)
    sound = torch.tensor([0.0, -0.0, 1.0, -1.0, limits.tiny, limits.max, limits.min], dtype=dtype)
    require_finite(
        {"all": sound, "one": sound[5], "some": sound[::2], "on its side": sound[:6].reshape(2, 3).T}, tmp_path
    )
    for value in (float("inf"), -float("inf"), float("nan"), -float("nan")):
        for at in range(len(sound)):
            values = sound.clone()
            values[at] = value
            for tensor in (values, values[at], torch.nn.Parameter(values)):
                with pytest.raises(WeightsError, match="not finite"):
                    require_finite({"a": tensor}, tmp_path)


def test_loading_imports_nothing(tmp_path):
    """Some operations on tensors without memory import SymPy, which takes longer than all the rest."""
    write_whole(tmp_path / "a.safetensors", trunk_network())
    program = """
import sys
from pathlib import Path
from adacode_cli.checkpoints.load import load_network
before = set(sys.modules)
network, _ = load_network((Path(sys.argv[1]),))
assert not any(value.is_meta for value in network.state_dict().values())
assert not any(value.requires_grad for value in network.parameters())
print(len(set(sys.modules) - before))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "a.safetensors")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 10


def test_a_network_has_values_of_its_own(tmp_path):
    tensors = {key: value.clone() for key, value in trunk_network().state_dict().items()}
    network = build(trunk_network().config, tensors, tmp_path)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for value in tensors.values():
        value.zero_()
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_what_holds_no_fractions_is_no_weight(tmp_path):
    network, path = tiny_network("reconstruct"), tmp_path / "a.safetensors"
    tensors, metadata = read_safetensors(write_whole(path, network), "")
    for dtype in (torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn):
        save_file({**tensors, "decoder.head.conv.bias": torch.ones(3).to(dtype)}, path, metadata)
        assert "decoder.head.conv.bias has values of the type" in refused(as_network, path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('"scale"', '"scale": 1, "scale"', 1),
        lambda text: text.replace('"family": ""', '"family": "\\ud800"', 1),
        lambda text: text.replace('"family": ""', '"family": "' + "x" * 30_000 + '"', 1),
        lambda text: text.replace('"format": 1', '"format": NaN', 1),
        lambda text: text.replace('"format": 1', '"format": true', 1),
        lambda text: text.replace('"scale": 1', '"scale": ' + "1" * 5_000, 1),
    ],
    ids=["a name twice", "half a character", "a long name", "NaN", "true", "a huge number"],
)
def test_metadata_that_other_programs_would_read_in_another_way(spoil, tmp_path):
    path = write_whole(tmp_path / "a.safetensors", tiny_network("reconstruct"))
    tensors, metadata = read_safetensors(path, "")
    changed = spoil(metadata[METADATA_KEY])
    assert changed != metadata[METADATA_KEY]
    save_file(tensors, path, {METADATA_KEY: changed})
    assert "damaged adacode metadata" in refused(read_weights, path)


def saved(path: Path, tensor: object) -> Path:
    torch.save({"params": OrderedDict(a=tensor)}, path)
    return path


def test_a_pickle_that_describes_more_than_it_holds(tmp_path):
    view = torch.ones(1).as_strided((1 << 20, 1 << 20), (0, 0))
    message = refused(read_params, saved(tmp_path / "view.pth", view))
    assert message.startswith(f"describes {4 << 40} bytes of tensors in a file of ")
    many = {f"k{i}": torch.ones(1).expand(2000) for i in range(100)}
    torch.save({"params": many}, tmp_path / "many.pth")
    assert "describes" in refused(read_params, tmp_path / "many.pth")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.sparse_coo_tensor([[10**6], [10**6]], [1.0], (1 << 30, 1 << 30)),
        lambda: torch.empty(1 << 40, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
    ],
    ids=["sparse", "meta", "quantized"],
)
def test_tensors_of_another_kind_in_a_pickle(make, tmp_path):
    message = refused(read_params, saved(tmp_path / "kind.pth", make()))
    assert message in ("a is not a plain tensor", "cannot be read as a checkpoint of tensors")


def test_an_archive_that_grows_is_not_unpacked(tmp_path):
    path = saved(tmp_path / "a.pth", torch.zeros(4 << 20))
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small:
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    path.write_bytes(packed.getvalue())
    assert path.stat().st_size < 100_000
    assert torch.load(path, weights_only=True)["params"]["a"].numel() == 4 << 20, "torch itself unpacks it"
    assert "when unpacked" in refused(read_params, path)


def test_published_weights_that_are_no_numbers(tmp_path):
    state = small_published("reconstruct")
    state["out_conv.bias"][0] = float("nan")
    torch.save({"params": state}, tmp_path / "a.pth")
    assert refused(read_any, tmp_path / "a.pth") == "decoder.head.conv.bias has values that are not finite"


def test_what_good_files_hold_is_read_as_before(tmp_path):
    network = trunk_network()
    path = write_whole(tmp_path / "a.safetensors", network)
    weights = read_weights(path)
    assert isinstance(weights, Weights)
    assert all(torch.equal(t, weights.tensors[k]) for k, t in network.state_dict().items())
