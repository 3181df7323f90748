"""`adacode weights export` as a process: what it writes, what it prints, what it refuses."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent.parent / "checkpoints"))
from small_checkpoints import (
    FAMILY,
    save_pth,
    small_published,
    tiny_network,
    trunk_network,
    write_parts,
    write_whole,
)

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


@pytest.fixture
def family(tmp_path):
    """The parts of a family, in `parts/`, and the name of its task's file."""
    (tmp_path / "parts").mkdir()
    write_parts(tmp_path / "parts", trunk_network(), "own")
    return "parts/own.safetensors"


def test_one_file_restores_as_the_family_does(real_adacode, family, photo, tmp_path):
    photo("photos/a.png")
    made = real_adacode("weights", "export", family, "--to", "single", "-o", "new/one.safetensors")
    assert (made.returncode, made.stdout.decode()) == (0, "new/one.safetensors\n"), made.stderr.decode()
    assert "MB, licence: not stated" in made.stderr.decode()
    assert "made from" not in made.stderr.decode()
    for weights, out in ((family, "a"), ("new/one.safetensors", "b")):
        run = real_adacode("sr", "photos", "-o", out, "--weights", weights, "--no-guard")
        assert run.returncode == 0, run.stderr.decode()
    first, second = (np.asarray(Image.open(tmp_path / name / "a.png")) for name in ("a", "b"))
    assert np.array_equal(first, second)


def test_the_published_layout_and_back(real_adacode, tmp_path):
    save_pth(tmp_path / "a.pth", small_published("sr_x2"))
    assert real_adacode("weights", "convert", "a.pth", "a.safetensors").returncode == 0
    made = real_adacode("weights", "export", "a.safetensors", "--to", "published", "-o", "b.pth")
    assert (made.returncode, made.stdout.decode()) == (0, "b.pth\n"), made.stderr.decode()
    assert "licence: its authors'" in made.stderr.decode()
    assert real_adacode("weights", "convert", "b.pth", "b.safetensors").returncode == 0
    a, b = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "ab")
    assert a.replace(b"a.pth", b"b.pth") == b


@pytest.mark.skipif(not HAS_ONNX, reason="onnx or onnxruntime is not installed (pip install 'adacode-cli[onnx]')")
def test_an_onnx_model_and_the_largest_difference(real_adacode, tmp_path):
    import onnx

    write_whole(tmp_path / "mine.safetensors", tiny_network("inpaint"), licence="MIT", base_model="somebody's network")
    made = real_adacode("weights", "export", str(tmp_path / "mine.safetensors"), "--to", "onnx", "-o", "a.onnx")
    assert (made.returncode, made.stdout.decode()) == (0, "a.onnx\n"), made.stderr.decode()
    said = made.stderr.decode()
    assert "MB, licence: MIT AND LicenseRef-not-stated" in said
    assert "made from somebody's network" in said
    assert float(said.split("differ by at most ")[1].split()[0]) <= 1e-4
    assert "Warning" not in said
    model = onnx.load(tmp_path / "a.onnx")
    assert [one.name for one in model.graph.input] == ["image", "mask"]
    assert {one.key: one.value for one in model.metadata_props}["name"] == "mine"
    # No folder of the user is in the file.
    assert str(tmp_path).encode() not in (tmp_path / "a.onnx").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--to", "single", "-o", "a.pth"), 2, "does not end in .safetensors"),
        (("--to", "published", "-o", "a.safetensors"), 2, "does not end in .pth"),
        (("--to", "onnx", "-o", "a.pth"), 2, "does not end in .onnx"),
        (("--to", "coreml", "-o", "a.mlmodel"), 2, "--to"),
        (("--to", "single", "-o", "there.safetensors"), 6, "--overwrite"),
        (("--to", "single", "-o", "folder.safetensors", "--overwrite"), 6, "is a directory"),
        (("--to", "single", "-o", "parts/own.safetensors", "--overwrite"), 6, "would overwrite the input"),
        (("--to", "single", "-o", f"parts/{FAMILY}-basis.safetensors", "--overwrite"), 6, "would overwrite the input"),
        (("--to", "single", "-o", "there.safetensors/a.safetensors"), 6, "cannot be made into a folder"),
        (("--to", "single", "-o", "a.safetensors", "--denoise", "0.5"), 2, "keeps every strength"),
        (("--to", "published", "-o", "a.pth", "--denoise", "0.5"), 4, "one strength of noise removal only"),
        (("--to", "published", "-o", "a.pth"), 4, "has no place for: a trunk"),
    ],
)
def test_what_cannot_be_done_is_reported(real_adacode, family, tmp_path, arguments, code, message):
    (tmp_path / "there.safetensors").write_bytes(b"precious")
    (tmp_path / "folder.safetensors").mkdir()
    before = {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    result = real_adacode("weights", "export", family, *arguments)
    said = " ".join(result.stderr.decode().split())
    assert result.returncode == code, said
    assert message in said
    assert "Traceback" not in said
    assert (tmp_path / "there.safetensors").read_bytes() == b"precious"
    assert {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()} == before
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"there.safetensors"}


def test_a_missing_part_is_named(real_adacode, family, tmp_path):
    (tmp_path / "parts" / f"{FAMILY}-fused.safetensors").unlink()
    result = real_adacode("weights", "export", family, "--to", "single", "-o", "a.safetensors")
    assert result.returncode == 4
    assert f"{FAMILY}-fused.safetensors" in result.stderr.decode()
    assert not (tmp_path / "a.safetensors").exists()


def test_the_notice_of_a_base_model_is_named(real_adacode, tmp_path):
    made = real_adacode("weights", "export", "compact-sr-x4", "--to", "single", "-o", "a.safetensors")
    said = " ".join(made.stderr.decode().split())
    assert "licence: Apache-2.0 AND BSD-3-Clause" in said
    assert Path(said.split("with the file: ")[1]).read_text().startswith("BSD 3-Clause License")


def test_a_family_of_several_tasks_is_asked_for_one(real_adacode):
    result = real_adacode("weights", "export", "compact", "--to", "single", "-o", "a.safetensors")
    assert result.returncode == 2
    assert "compact-sr-x4" in result.stderr.decode()
