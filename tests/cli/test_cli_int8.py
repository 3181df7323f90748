"""`adacode weights quantize` and `--precision int8` as processes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from small_checkpoints import tiny_network, trunk_network, write_parts, write_whole

from adacode_cli.checkpoints.format import read_weights
from adacode_cli.engine.device import has_openvino

SHARED = trunk_network().state_dict()


@pytest.fixture
def files(tmp_path, photo) -> Path:
    """net.safetensors, photos with three photographs, and thin with one of two rows."""
    network = trunk_network(4, SHARED, 1)
    with torch.no_grad():  # its images are the enlarged photographs, with some change
        last = network.trunk.body[-1]
        strength = float(network(torch.rand(1, 3, 64, 64)).image_BCHW.std())
        last.weight *= 0.03 / strength
        last.bias *= 0.03 / strength
    write_whole(tmp_path / "net.safetensors", network)
    for i in range(3):
        photo(f"photos/{i}.png", (64 + 8 * i, 72))
    photo("thin/0.png", (64, 2))
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.safetensors").write_bytes(b"precious")
    return tmp_path


QUANTIZE = ("weights", "quantize", "net.safetensors", "--photos", "photos", "-o", "fast.safetensors")


needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")


@needs_openvino
def test_quantized_weights_restore_in_8_bits_and_in_float32_as_before(real_adacode, files):
    made = real_adacode(*QUANTIZE)
    assert (made.returncode, made.stdout) == (0, b"fast.safetensors\n"), made.stderr.decode()
    assert "dB from those in float32" in made.stderr.decode()
    assert read_weights(files / "fast.safetensors").ranges.keys() >= {"trunk.body.2", "trunk.join"}
    images = {}
    for name, precision in (("net", "fp32"), ("fast", "fp32"), ("fast", "int8")):
        out = f"{name}-{precision}"
        result = real_adacode(
            "sr", "photos", "-o", out, "--weights", f"{name}.safetensors", "--precision", precision, "--no-guard"
        )
        assert result.returncode == 0, result.stderr.decode()
        images[out] = [np.asarray(Image.open(p)).astype(float) for p in sorted((files / out).glob("*.png"))]
    assert all(np.array_equal(a, b) for a, b in zip(images["net-fp32"], images["fast-fp32"], strict=True))
    for exact, eight in zip(images["fast-fp32"], images["fast-int8"], strict=True):
        assert 0 < np.abs(exact - eight).mean() < 4


@needs_openvino
def test_a_run_in_8_bits_is_not_continued_with_other_ranges(real_adacode, files):
    run = ("sr", "photos", "-o", "large", "--weights", "fast.safetensors", "--precision", "int8", "--no-guard")
    assert real_adacode(*QUANTIZE).returncode == 0
    assert real_adacode(*run).returncode == 0
    again = real_adacode(*run)  # it ends while the models are still being compiled
    assert again.returncode == 0, again.stderr.decode()
    assert b"3 skipped" in again.stderr
    assert real_adacode(*QUANTIZE, "--most", "1", "--overwrite").returncode == 0
    other = real_adacode(*run)
    assert other.returncode == 6
    assert "other weights" in other.stderr.decode()


def test_a_tasks_file_of_a_family_says_what_belongs_beside_it(real_adacode, files):
    *_, task = write_parts(files / "family", tiny_network("reconstruct"), "tiny-reconstruct")
    out = files / "out" / task.name
    result = real_adacode("weights", "quantize", str(task), "--photos", "photos", "-o", str(out))
    assert result.returncode == 0, result.stderr.decode()
    assert "beside it" in " ".join(result.stderr.decode().split())
    assert read_weights(out).part == "task"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("compact", "--photos", "photos", "-o", "out.safetensors"), 2, "has several tasks"),
        (("net.safetensors", "--photos", "photos", "-o", "out.pth"), 2, "does not end in .safetensors"),
        (("net.safetensors", "--photos", "photos", "-o", "mine.safetensors"), 6, "exists already"),
        (("net.safetensors", "--photos", "photos", "-o", "net.safetensors", "--overwrite"), 6, "is the file that is"),
        (("net.safetensors", "--photos", "empty", "-o", "out.safetensors"), 3, "no photographs found"),
        (("net.safetensors", "--photos", "absent", "-o", "out.safetensors"), 3, "there is no such directory"),
        (("net.safetensors", "--photos", "thin", "-o", "out.safetensors"), 3, "no photograph is large enough"),
        (("mine.safetensors", "--photos", "photos", "-o", "out.safetensors"), 4, "mine.safetensors"),
        (("absent.safetensors", "--photos", "photos", "-o", "out.safetensors"), 4, "absent.safetensors"),
    ],
)
def test_what_cannot_be_quantized_is_said_and_nothing_is_written(real_adacode, files, arguments, code, message):
    before = {p: p.read_bytes() for p in files.rglob("*") if p.is_file()}
    result = real_adacode("weights", "quantize", *arguments)
    assert (result.returncode, result.stdout) == (code, b""), result.stderr.decode()
    assert message in " ".join(result.stderr.decode().split())
    assert {p: p.read_bytes() for p in files.rglob("*") if p.is_file()} == before


@needs_openvino
def test_int8_without_ranges_ends_before_anything_is_written(real_adacode, files):
    result = real_adacode("sr", "photos", "-o", "large", "--weights", "net.safetensors", "--precision", "int8")
    assert result.returncode == 4
    assert "weights quantize" in result.stderr.decode()
    assert not (files / "large").exists()


def test_doctor_says_what_auto_takes(real_adacode):
    text = real_adacode("doctor").stdout.decode()
    assert re.search(r"native: fp32 yes, bf16 (yes|no), fp16 (yes|no|unknown), int8 (yes|no|unknown)\n", text)
    assert re.search(r"\n      auto: (fp32|bf16)(; int8 needs OpenVINO.*)?\n", text)
