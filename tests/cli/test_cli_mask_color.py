"""`inpaint --mask-color` and masks that mark hardly anything, as processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

W = ("--weights", "nearest")
COLOR = ("--mask-color", "#ff00ff")
MARK = (slice(40, 46), slice(20, 120))


@pytest.fixture
def painted(tmp_path) -> Path:
    """A photograph of 160×120 pixels with a magenta bar, as JPEG of quality 85."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(40, 200, (15, 20, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    pixels[MARK] = 255, 0, 255
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=85)
    return tmp_path / "a.jpg"


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_colour_in_a_jpeg_is_found_with_the_border_that_compression_has_mixed(adacode, painted, tmp_path):
    result = adacode("inpaint", "a.jpg", *COLOR, "-o", "b.png", *W)
    assert result.returncode == 0, result.stderr
    assert b"filled" not in result.stderr
    before, after = opened(painted), opened(tmp_path / "b.png")
    filled = (after == 128).all(axis=2)
    assert filled[MARK].all()
    rows, _ = MARK
    assert filled[rows.start - 1, 20:120].all()
    assert not np.delete(filled, range(rows.start - 7, rows.stop + 7), axis=0).any()
    np.testing.assert_array_equal(after[~filled], before[~filled])


def test_a_tolerance_of_0_and_one_that_is_given(adacode, painted, tmp_path):
    found = {}
    for distance in ("0", "10", "40"):
        assert adacode("inpaint", "a.jpg", *COLOR, "--mask-tolerance", distance, "-o", "b.png", *W).returncode == 0
        found[distance] = int((opened(tmp_path / "b.png") == 128).all(axis=2).sum())
        (tmp_path / "b.png").unlink()
    assert found["0"] < 0.9 * 600 < 600 < found["10"] < found["40"]


def test_an_image_without_the_colour_is_named_with_its_nearest_one(adacode, tmp_path):
    Image.new("RGB", (100, 80), (200, 30, 160)).save(tmp_path / "a.png")
    result = adacode("inpaint", "a.png", *COLOR, "-o", "b.png", *W)
    assert result.returncode == 0
    assert b"nothing was filled: no pixel of this image is in its mask" in result.stderr
    assert b"the nearest colour to #ff00ff is #c81ea0, at a distance of" in result.stderr


def test_a_png_that_was_a_jpeg_is_named_with_the_option_that_helps(adacode, painted, tmp_path):
    Image.open(painted).save(tmp_path / "a.png")
    result = adacode("inpaint", "a.png", *COLOR, "-o", "b.png", *W)
    text = result.stderr.decode()
    assert result.returncode == 0
    assert "pixels have the colour #ff00ff, and " in text
    assert "have nearly this colour (--mask-tolerance 20)" in text
    helped = adacode("inpaint", "a.png", *COLOR, "--mask-tolerance", "20", "-o", "c.png", *W)
    assert b"nearly this colour" not in helped.stderr
    assert (opened(tmp_path / "c.png")[MARK] == 128).all()


@pytest.mark.parametrize(("size", "is_named"), [((300, 300), True), ((40, 40), False)])
def test_a_mask_file_with_hardly_a_pixel_is_named_with_their_number(adacode, photo, tmp_path, size, is_named):
    photo("p/a.png", size)
    mask = np.zeros(size, np.uint8)
    mask[3:5, 3:7] = 255
    (tmp_path / "m").mkdir()
    Image.fromarray(mask).save(tmp_path / "m" / "a.png")
    for hole in (("--mask", "m/a.png"), ("--mask-dir", "m")):
        result = adacode("inpaint", "p/a.png", *hole, "-o", "b.png", "--overwrite", *W)
        assert result.returncode == 0
        warning = b"hardly anything was filled: only 8 of 90,000 pixels are in its mask"
        assert (warning in result.stderr) == is_named


def test_a_tolerance_needs_a_colour(adacode, photo):
    photo("a.png")
    result = adacode("inpaint", "a.png", "--mask-alpha", "--mask-tolerance", "5", *W)
    assert result.returncode == 2
    assert b"--mask-tolerance has no effect without --mask-color" in result.stderr


def test_another_tolerance_makes_the_output_again(adacode, painted, tmp_path):
    command = ("inpaint", ".", *COLOR, "--format", "png", "-o", "out", *W)
    assert b"1 restored" in adacode(*command).stderr
    assert b"1 skipped" in adacode(*command).stderr
    assert b"1 restored" in adacode(*command, "--mask-tolerance", "30", "--overwrite", "--resume").stderr
