"""`adacode weights average` as a process, and its result under `adacode sr --weights`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from adacode_process import ROOT
from PIL import Image
from safetensors.torch import load_file, save_file

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from small_checkpoints import start_tensors, trunk_network, write_whole

SHARED = trunk_network().state_dict()


@pytest.fixture
def files(tmp_path) -> None:
    """a and b, two results of one task; start, a network of Real-ESRGAN's layout."""
    for seed, name in enumerate(("a", "b"), 1):
        write_whole(tmp_path / f"{name}.safetensors", trunk_network(4, SHARED, seed), family="tiny")
    save_file(start_tensors(5), tmp_path / "start.safetensors", {"name": "net", "licence": "MIT", "source": "me"})
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    write_whole(tmp_path / "x2.safetensors", trunk_network(2, SHARED, 3))
    (tmp_path / "mine.safetensors").write_bytes(b"precious")
    (tmp_path / "folder").mkdir()


def test_a_mean_restores_an_image(real_adacode, files, photo, tmp_path):
    options = ("--share", "0.75", "-o", "mean.safetensors", "--dtype", "bf16")
    result = real_adacode("weights", "average", "a.safetensors", "start.safetensors", *options)
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout.decode() == "mean.safetensors\n"
    num, kept = len(start_tensors(5)), len(SHARED) - len(start_tensors(5))
    note = f"{num} tensors of the trunk are means; the other {kept} are unchanged\n"
    assert result.stderr.decode() == note
    one, mean = (load_file(tmp_path / f"{name}.safetensors") for name in ("a", "mean"))
    key = "trunk.body.0.weight"
    assert torch.equal(mean[key], (one[key] * 0.75 + start_tensors(5)["body.0.weight"] * 0.25).bfloat16())
    photo("p.png", (24, 16))
    done = real_adacode("sr", "p.png", "-o", "large.png", "--weights", "mean.safetensors", "--no-guard")
    assert done.returncode == 0, done.stderr.decode()
    assert Image.open(tmp_path / "large.png").size == (96, 64)

    again = real_adacode("weights", "average", "a.safetensors", "b.safetensors", "--share", "1", *options[2:4])
    assert (again.returncode, again.stdout) == (6, b"")
    assert b"--overwrite" in again.stderr
    more = ("--share", "1", *options[2:4], "--overwrite")
    again = real_adacode("weights", "average", "a.safetensors", "b.safetensors", *more)
    assert (again.returncode, again.stderr) == (0, b"")
    assert all(torch.equal(t, one[k]) for k, t in load_file(tmp_path / "mean.safetensors").items())


@pytest.mark.parametrize(
    ("second", "share", "out", "code", "message"),
    [
        ("b", "1.5", "out.safetensors", 2, "a share of 1.5 is not between 0 and 1"),
        ("b", "nan", "out.safetensors", 2, "a share of nan is not between 0 and 1"),
        ("b", "half", "out.safetensors", 2, "--share"),
        ("b", None, "out.safetensors", 2, "--share"),
        ("b", "0.5", "out.pth", 2, "does not end in .safetensors"),
        ("x2", "0.5", "out.safetensors", 4, "x2.safetensors: is of another network"),
        ("other", "0.5", "out.safetensors", 4, "other.safetensors: is neither"),
        ("gone", "0.5", "out.safetensors", 4, "gone.safetensors: cannot be read: there is no such file"),
        ("b", "0.5", "mine.safetensors", 6, "exists already"),
        ("b", "0.5", "b.safetensors", 6, "b.safetensors: is one of the files to read"),
        ("b", "0.5", "folder", 6, "folder: is a folder"),
        ("b", "0.5", "mine.safetensors/out.safetensors", 6, "mine.safetensors: cannot be made into a folder"),
    ],
)
def test_what_cannot_be_done_is_reported(real_adacode, files, tmp_path, second, share, out, code, message):
    names = sorted(path.name for path in tmp_path.iterdir())
    given = () if share is None else ("--share", share)
    result = real_adacode("weights", "average", "a.safetensors", f"{second}.safetensors", *given, "-o", out)
    assert (result.returncode, result.stdout) == (code, b"")
    assert message in " ".join(result.stderr.decode().split())
    assert "Traceback" not in result.stderr.decode()
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "mine.safetensors").read_bytes() == b"precious"


def test_the_bundled_weights_have_a_mean_with_themselves(real_adacode, tmp_path):
    """Its shared parts lie beside it."""
    path = ROOT / "weights" / "compact-sr-x4.safetensors"
    if not path.is_file():
        pytest.skip("the bundled weights are absent")
    result = real_adacode("weights", "average", str(path), str(path), "--share", "0.5", "-o", "same.safetensors")
    assert result.returncode == 0, result.stderr.decode()
    beside = "put compact-basis.safetensors and compact-fused.safetensors beside it"
    assert beside in " ".join(result.stderr.decode().split())
    one, mean = load_file(path), load_file(tmp_path / "same.safetensors")
    in_float = {key: tensor for key, tensor in one.items() if not key.startswith("int8.")}
    assert mean.keys() == in_float.keys()
    assert all(torch.equal(tensor, mean[key]) for key, tensor in in_float.items())
