"""`inpaint --mask-color` and masks that mark hardly anything, as processes."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from adacode_cli.imaging.decode import decode

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


def test_files_without_loss_in_lossy_formats_are_exact(adacode, tmp_path):
    """One painted pixel is one pixel of the hole; where there was loss, its border is in the hole too."""
    pixels = np.full((40, 50, 3), 120, np.uint8)
    pixels[20, 25] = 255, 0, 255
    image = Image.fromarray(pixels)
    image.save(tmp_path / "plain.webp", lossless=True)
    image.save(tmp_path / "extended.webp", lossless=True, exif=Image.Exif().tobytes(), xmp=b"<x/>")
    image.save(tmp_path / "animated.webp", lossless=True, save_all=True, append_images=[image.rotate(90)])
    assert b"ANMF" in (tmp_path / "animated.webp").read_bytes()
    (tmp_path / "exact.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels, lossless=True))
    pixels[16:24, 16:32] = 255, 0, 255
    lossy = Image.fromarray(pixels)
    lossy.save(tmp_path / "lossy.webp", quality=90)
    lossy.save(tmp_path / "lossy-extended.webp", quality=90, xmp=b"<x/>")
    (tmp_path / "lossy.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels, level=90))
    lossy.save(tmp_path / "a.jpg", quality=90)
    (tmp_path / "was-jpeg.jxl").write_bytes(imagecodecs.jpegxl_encode_jpeg((tmp_path / "a.jpg").read_bytes()))
    (tmp_path / "a.jpg").unlink()
    result = adacode("inpaint", ".", *COLOR, "--format", "png", "--keep-suffix", "-o", "out", *W)
    assert result.returncode == 0, result.stderr
    for name in ("plain.webp", "extended.webp", "animated.webp", "exact.jxl"):
        filled = (opened(tmp_path / "out" / f"{name}.png") == 128).all(axis=2)
        assert np.argwhere(filled).tolist() == [[20, 25]], name
    for name in ("lossy.webp", "lossy-extended.webp", "lossy.jxl", "was-jpeg.jxl"):
        filled = (opened(tmp_path / "out" / f"{name}.png") == 128).all(axis=2)
        assert filled[15:25, 15:33].all(), name


def test_a_grey_jpeg_in_a_jpeg_xl_has_loss(tmp_path):
    """It cannot be made again, so that its samples come from the codestream, which is not in XYB."""
    Image.new("L", (40, 40), 90).save(tmp_path / "a.jpg", quality=90)
    was_jpeg = imagecodecs.jpegxl_encode_jpeg((tmp_path / "a.jpg").read_bytes())
    image = decode(was_jpeg, name="a.jxl")
    assert (image.format, image.lossless) == ("jxl", False)


def test_one_pixel_in_the_message_is_singular(adacode, tmp_path):
    pixels = np.full((300, 300, 3), 120, np.uint8)
    pixels[3, 3], pixels[3, 4] = (255, 0, 255), (250, 4, 250)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    text = adacode("inpaint", "a.png", *COLOR, "-o", "b.png", *W).stderr.decode()
    assert "1 pixel has the colour #ff00ff, and 2 have nearly this colour" in text
    assert "only 1 of 90,000 pixels is in its mask" in text


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
