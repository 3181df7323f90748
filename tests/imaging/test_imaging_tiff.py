"""The many ways in which a TIFF may store an image all give the same pixels, or a refusal that says why."""

from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from image_fixtures import noise, saved
from PIL import Image

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode


def written(samples, **options):
    buffer = BytesIO()
    tifffile.imwrite(buffer, samples, **{"metadata": None, **options})
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "zlib"},
        {"planarconfig": "separate"},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib"},
        {"rowsperstrip": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_layouts(dtype, options, channels):
    samples = noise((37, 53, channels), dtype)
    stored = samples[..., 0] if channels == 1 else samples
    if "planarconfig" in options:
        if channels == 1:
            pytest.skip("a single plane has no planar layout")
        stored = np.moveaxis(samples, -1, 0)
    kind = {"photometric": "minisblack" if channels == 1 else "rgb"}
    if channels == 4:
        kind["extrasamples"] = ["unassalpha"]
    image = decode(written(stored, **kind, **options), name="x")
    assert image.format == "tiff"
    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(image.pixels, samples[..., 0] if channels == 1 else samples[..., :3])
    if channels == 4:
        np.testing.assert_array_equal(image.alpha, samples[..., 3])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_opencv_writes(dtype, channels):
    samples = noise((30, 40, channels), dtype)
    predictor = 3 if dtype == np.float32 else 2
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
    data = cv2.imencode(".tiff", samples[..., [2, 1, 0, 3][:channels] if channels > 1 else [0]], options)[1].tobytes()
    image = decode(data, name="x")
    np.testing.assert_array_equal(image.pixels, samples[..., 0] if channels == 1 else samples[..., :3])
    assert (image.alpha is not None) == (channels == 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_white_is_zero(dtype):
    samples = noise((9, 11), dtype)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    image = decode(written(samples, photometric="miniswhite"), name="x")
    np.testing.assert_array_equal(image.pixels, top - samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_premultiplied_alpha_is_divided_out(dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.linspace(top / 2, top, 20).astype(dtype)[None].repeat(6, 0)
    plain = noise((6, 20, 3), dtype)
    shown = plain * (alpha[..., None] / top)
    stored = np.dstack([shown if dtype == np.float32 else np.rint(shown), alpha]).astype(dtype)
    image = decode(written(stored, photometric="rgb", extrasamples=["assocalpha"]), name="x")
    np.testing.assert_array_equal(image.alpha, alpha)
    np.testing.assert_allclose(image.pixels, plain, atol=1e-5 if dtype == np.float32 else 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_channel_of_unstated_meaning_is_not_taken_for_alpha(dtype):
    samples = noise((6, 7, 4), dtype)
    image = decode(written(samples, photometric="rgb", extrasamples=["unspecified"]), name="x")
    np.testing.assert_array_equal(image.pixels, samples[..., :3])
    assert image.alpha is None


def test_inks_at_sixteen_bits():
    inks = np.zeros((2, 5, 4), np.uint16)
    inks[:, 1, 0] = inks[:, 2, 1] = inks[:, 3, 2] = inks[:, 4, 3] = 65535
    image = decode(written(inks, photometric="separated"), name="x")
    assert image.pixels.dtype == np.uint16
    expected = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]]) * 65535
    np.testing.assert_array_equal(image.pixels[0], expected)
    assert any("CMYK" in what for what in image.lost)


@pytest.mark.parametrize(
    ("samples", "expected", "word"),
    [
        (np.array([[-1.0, 0.25, 7.0]], np.float32), [0, 0.25, 1], "clipped"),
        (np.array([[np.nan, 0.5, np.inf]], np.float32), [0, 0.5, 1], "not numbers"),
        (np.array([[0.0, 0.5, 1.0]], np.float64), [0, 0.5, 1], "64-bit"),
        (np.array([[0.0, 0.5, 1.0]], np.float16), [0, 0.5, 1], None),
        (np.array([[0, 2**31, 2**32 - 1]], np.uint32), [0, 0.5, 1], "32-bit integers"),
    ],
)
def test_other_numbers_become_float(samples, expected, word):
    image = decode(written(samples, photometric="minisblack"), name="x")
    assert image.pixels.dtype == np.float32
    np.testing.assert_allclose(image.pixels[0], expected, atol=1e-6)
    assert (word is None and image.lost == ()) or any(word in what for what in image.lost)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint64])
def test_numbers_without_a_white_are_refused(dtype):
    with pytest.raises(InputError, match=np.dtype(dtype).name) as caught:
        decode(written(np.ones((4, 5), dtype), photometric="minisblack"), name="x")
    assert caught.value.hint


def test_camera_raw_without_a_mosaic_is_refused():
    dng_version = (50706, 1, 4, b"\1\4\0\0", True)
    data = written(noise((8, 8), np.uint16), photometric="minisblack", extratags=[dng_version])
    with pytest.raises(InputError, match="raw") as caught:
        decode(data, name="x.dng")
    assert "darktable" in caught.value.hint


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_an_image_taller_than_its_strips_is_damage_not_a_black_bar(dtype, compression):
    data = bytearray(written(noise((40, 30), dtype), rowsperstrip=10, compression=compression))
    with tifffile.TiffFile(BytesIO(bytes(data))) as file:
        at = file.pages[0].tags[257].valueoffset
    data[at] = 80
    with pytest.raises(InputError, match="damaged"):
        decode(bytes(data), name="x")


def test_an_empty_strip_is_damage_not_a_black_bar():
    data = bytearray(written(noise((40, 30), np.uint16), rowsperstrip=10, compression="zlib"))
    with tifffile.TiffFile(BytesIO(bytes(data))) as file:
        at = file.pages[0].tags[279].valueoffset
        data[at + 8 : at + 10] = b"\0\0"
        data[at + 4 : at + 6] = b"\0\0"
    with pytest.raises(InputError, match="damaged"):
        decode(bytes(data), name="x")


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_deflate", "jpeg", "raw"])
def test_eight_bit_compressions(compression):
    samples = np.kron(noise((4, 5, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    image = decode(saved(samples, "TIFF", compression=compression), name="x")
    error = np.abs(image.pixels.astype(int) - samples)
    assert error.mean() < 12 if compression == "jpeg" else error.max() == 0


def test_luminance_and_chroma_become_rgb():
    samples = np.full((16, 16, 3), (200, 60, 30), np.uint8)
    image = decode(saved(Image.fromarray(samples).convert("YCbCr"), "TIFF"), name="x")
    assert np.abs(image.pixels.astype(int) - samples).max() <= 2
