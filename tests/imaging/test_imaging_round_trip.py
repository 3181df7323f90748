"""Written and read again, an image keeps every sample where the format can hold it, and is near where it cannot."""

from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from image_fixtures import DEPTHS, noise, reopened, smooth

from adacode_cli import formats
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.image import Decoded

EXACT = {
    "png": (np.uint8, np.uint16),
    "tiff": (np.uint8, np.uint16, np.float32),
    "bmp": (np.uint8,),
}
sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))


def picture(size, dtype, *, grey, alpha, seed=0):
    pixels = noise(size if grey else (*size, 3), dtype, seed)
    return Decoded(pixels, noise(size, dtype, seed + 1) if alpha else None)


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from([(format, dtype) for format, dtypes in EXACT.items() for dtype in dtypes]),
    size=sizes,
    grey=st.booleans(),
    alpha=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_lossless_formats_keep_every_sample(kind, size, grey, alpha, seed):
    format, dtype = kind
    image = picture(size, dtype, grey=grey, alpha=alpha and format != "bmp", seed=seed)
    again = decode(encode(image, format=format), name="x")
    assert again.format == format
    assert again.pixels.dtype == dtype
    np.testing.assert_array_equal(again.pixels, image.pixels)
    if image.alpha is None:
        assert again.alpha is None
    else:
        np.testing.assert_array_equal(again.alpha, image.alpha)
    assert again.pixels.flags.c_contiguous
    assert losses(image, format) == ()
    assert again.notes == ()


@pytest.mark.parametrize("format", formats.names())
@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
def test_one_pixel_goes_through_every_format(format, dtype, grey, alpha):
    image = picture((1, 1), dtype, grey=grey, alpha=False)
    if alpha:  # Not opaque: libwebp leaves an alpha out that says nothing.
        image = Decoded(image.pixels, image.pixels.reshape(1, -1)[:, :1] // 2)
    again = decode(encode(image, format=format), name="x")
    assert again.size == (1, 1)
    assert (again.pixels.ndim == 2) == (grey and format != "webp" and not (alpha and format in ("avif", "heic")))
    assert (again.alpha is not None) == (alpha and format in ("png", "webp", "tiff", "jp2", "avif", "heic"))


@pytest.mark.parametrize("format", ["jpeg", "webp"])
@pytest.mark.parametrize("dtype", DEPTHS)
def test_lossy_formats_stay_near(format, dtype):
    pixels = smooth(61, 83)
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    image = Decoded((pixels / 255 * top).round(6).astype(dtype))
    again = decode(encode(image, format=format), name="x").pixels
    assert again.dtype == np.uint8
    assert np.abs(again.astype(int) - pixels).mean() < 2.5


@pytest.mark.parametrize("dtype", DEPTHS)
def test_webp_keeps_alpha_exactly_and_grey_neutral(dtype):
    image = Decoded(np.full((20, 30), 0.5 if dtype == np.float32 else np.iinfo(dtype).max // 2, dtype))
    alpha = noise((20, 30), dtype)
    again = decode(encode(Decoded(image.pixels, alpha), format="webp"), name="x")
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    np.testing.assert_array_equal(again.alpha, np.rint(alpha.astype(np.float64) / top * 255))
    assert np.ptp(again.pixels.astype(int), axis=2).max() <= 1


def test_grey_jpeg_has_one_channel():
    data = encode(Decoded(smooth(40, 50)[..., 0].copy()), format="jpeg")
    assert reopened(data).mode == "L"
    assert decode(data, name="x").pixels.shape == (40, 50)


@settings(deadline=None, max_examples=60)
@given(size=sizes, channels=st.sampled_from([1, 2, 3, 4]), seed=st.integers(0, 1000))
def test_sixteen_bit_png_is_what_other_readers_understand(size, channels, seed):
    samples = np.cumsum(noise((*size, channels), np.uint16, seed), axis=1, dtype=np.uint16)
    planes = samples[..., :-1] if channels in (2, 4) else samples
    pixels = np.ascontiguousarray(planes[..., 0] if planes.shape[2] == 1 else planes)
    data = encode(Decoded(pixels, samples[..., -1].copy() if channels in (2, 4) else None), format="png")
    opened = reopened(data)  # Checks every chunk's checksum; narrows all but plain grey to 8 bits.
    assert opened.size == size[::-1]
    witness = np.asarray(opened)
    if channels == 1:
        np.testing.assert_array_equal(witness, pixels)
    elif channels >= 3:
        np.testing.assert_array_equal(witness, samples >> 8)


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("alpha", [True, False])
def test_tiff_is_what_tifffile_understands(dtype, alpha):
    image = picture((33, 21), dtype, grey=False, alpha=alpha)
    with tifffile.TiffFile(BytesIO(encode(image, format="tiff"))) as file:
        page = file.pages[0]
        assert page.compression.name == "ADOBE_DEFLATE"
        assert page.predictor == (1 if dtype == np.float32 else 2)
        assert [int(kind) for kind in page.extrasamples] == ([2] if alpha else [])
        np.testing.assert_array_equal(page.asarray()[..., :3], image.pixels)


@pytest.mark.parametrize(("source", "target"), [(np.float32, np.uint16), (np.float32, np.uint8), (np.uint16, np.uint8)])
def test_narrowing_rounds_to_nearest(source, target):
    image = Decoded(noise((40, 30, 3), source))
    format = "png" if target == np.uint16 else "bmp"
    top_in = 1.0 if source == np.float32 else np.iinfo(source).max
    exact = image.pixels.astype(np.float64) / top_in * np.iinfo(target).max
    again = decode(encode(image, format=format), name="x").pixels
    assert again.dtype == target
    assert np.abs(again - exact).max() <= 0.5 + 1e-9
