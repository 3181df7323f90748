"""JPEG XL through the program: in folders, in a pipe, and as a mask."""

from __future__ import annotations

import io
import json
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from adacode_cli.cli import doctor, machine
from adacode_cli.imaging import icc_profile

W = ("--weights", "nearest")


def written(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.jpegxl_encode(pixels, lossless=True))
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_a_folder_gets_png_beside_an_equal_name(adacode, photo, tmp_path):
    photo("p/a.jpg")
    pixels = noise(16, 24, 3)
    written(tmp_path / "p" / "a.jxl", pixels)
    planned = adacode("sr", "p", "--dry-run", *W)
    assert b"p/a.jxl -> p-sr-x4/a.jxl.png" in planned.stdout
    result = adacode("sr", "p", "--strict", *W)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "p-sr-x4" / "a.jxl.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[::4, ::4], pixels)
    assert (tmp_path / "p-sr-x4" / "a.jpg").exists()
    assert b"2 skipped" in adacode("sr", "p", "--strict", *W).stderr


def test_a_profile_that_is_lost_is_reported_and_refused_by_strict(adacode, tmp_path):
    sample = Path(__file__).parents[1] / "imaging" / "jxl" / "adobe-lossy.jxl"
    (tmp_path / "a.jxl").write_bytes(sample.read_bytes())
    result = adacode("sr", "a.jxl", "-o", "b.png", "--json", *W)
    (done,) = (json.loads(line) for line in result.stdout.splitlines() if b"file-done" in line)
    assert any("ICC profile" in note for note in done["notes"])
    for options in (("--dry-run",), ()):
        refused = adacode("sr", "a.jxl", "-o", "c.png", "--strict", *options, *W)
        assert refused.returncode == 6
        assert b"ICC profile" in refused.stderr


def test_a_pipe_gives_png(adacode, tmp_path):
    path = written(tmp_path / "a.jxl", noise(16, 24, 3))
    result = adacode("sr", "-", *W, stdin=path.read_bytes())
    assert result.returncode == 0, result.stderr
    with Image.open(io.BytesIO(result.stdout)) as image:
        assert (image.format, image.size) == ("PNG", (96, 64))


def test_a_mask_may_be_one(adacode, photo, tmp_path):
    before = np.asarray(Image.open(photo("p/a.png")))
    mask = np.zeros((16, 24), np.uint8)
    mask[4:9] = 255
    written(tmp_path / "m" / "a.jxl", mask)
    assert adacode("inpaint", "p", "--mask-dir", "m", "-o", "out", *W).returncode == 0
    after = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert (after[4:9] == 128).all()
    np.testing.assert_array_equal(np.delete(after, range(4, 9), 0), np.delete(before, range(4, 9), 0))


def test_doctor_names_it(adacode):
    assert "JPEG XL" in adacode("doctor").stdout.decode()
    (entry,) = (one for one in json.loads(adacode("doctor", "--json").stdout)["formats"] if one["name"] == "jxl")
    assert (entry["suffixes"], entry["input_suffixes"]) == ([], [".jxl"])
    assert (entry["missing"], entry["missing_for_profiles"]) == (None, None)


def test_doctor_names_the_package_for_profiles(absent):
    absent("pillow-jxl-plugin")
    (entry,) = (one for one in machine.image_formats() if one["name"] == "jxl")
    assert doctor._format(entry) == (
        "read: .jxl; with an ICC profile only if pillow-jxl-plugin is installed (pip install 'adacode-cli[jxl]')"
    )


def test_a_profile_reaches_the_output(adacode, tmp_path):
    sample = Path(__file__).parents[1] / "imaging" / "jxl" / "adobe-16.jxl"
    (tmp_path / "a.jxl").write_bytes(sample.read_bytes())
    assert adacode("sr", "a.jxl", "-o", "b.png", "--strict", *W).returncode == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["icc_profile"] == icc_profile.adobe_rgb(grey=False)
