"""Each of the eight EXIF orientations is applied exactly once, in every format that can carry one."""

from io import BytesIO

import numpy as np
import pytest
import tifffile
from image_fixtures import noise, png_chunk, png_file, reopened, saved, smooth
from PIL import Image, ImageOps

from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode

H, W = 6, 9
# EXIF 2.32, tag 274: where row 0 and column 0 of the stored image lie in the scene.
SCENE_OF_STORED = {
    1: lambda r, c: (r, c),
    2: lambda r, c: (r, W - 1 - c),
    3: lambda r, c: (H - 1 - r, W - 1 - c),
    4: lambda r, c: (H - 1 - r, c),
    5: lambda r, c: (c, r),
    6: lambda r, c: (c, W - 1 - r),
    7: lambda r, c: (H - 1 - c, W - 1 - r),
    8: lambda r, c: (H - 1 - c, r),
}
ORIENTATIONS = sorted(SCENE_OF_STORED)


def stored(scene, orientation):
    """What a camera held that way would have written, pixel by pixel."""
    shape = (W, H) if orientation >= 5 else (H, W)
    result = np.empty((*shape, *scene.shape[2:]), scene.dtype)
    for r in range(shape[0]):
        for c in range(shape[1]):
            result[r, c] = scene[SCENE_OF_STORED[orientation](r, c)]
    return result


def exif_of(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = "Maker"
    return exif


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_files_come_out_upright(format, options, orientation, channels):
    scene = noise((H, W, channels), np.uint8)
    scene[..., 3:] |= 1  # libwebp clears the colour of pixels with alpha 0.
    image = decode(saved(stored(scene, orientation), format, exif=exif_of(orientation), **options), name="x")
    np.testing.assert_array_equal(image.pixels, scene[..., :3])
    assert image.pixels.flags.c_contiguous
    if channels == 4:
        np.testing.assert_array_equal(image.alpha, scene[..., 3])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_jpeg_comes_out_upright(orientation):
    scene = noise((H, W, 3), np.uint8)
    large = np.kron(stored(scene, orientation), np.ones((16, 16, 1), np.uint8))
    image = decode(saved(large, "JPEG", quality=100, subsampling=0, exif=exif_of(orientation)), name="x")
    assert image.size == (16 * H, 16 * W)
    assert np.abs(image.pixels[8::16, 8::16].astype(int) - scene).max() <= 4


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_sixteen_bit_png_comes_out_upright(orientation):
    scene = noise((H, W, 3), np.uint16)
    rows = [row.astype(">u2").tobytes() for row in stored(scene, orientation)]
    block = exif_of(orientation).tobytes().removeprefix(b"Exif\0\0")
    width = H if orientation >= 5 else W
    data = png_file(rows, width=width, depth=16, color_type=2, extra=png_chunk(b"eXIf", block))
    np.testing.assert_array_equal(decode(data, name="x").pixels, scene)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_sixteen_bit_tiff_by_tifffile_comes_out_upright(orientation, byteorder):
    scene = noise((H, W, 3), np.uint16)
    buffer = BytesIO()
    tag = (274, 3, 1, orientation, True)
    tifffile.imwrite(buffer, stored(scene, orientation), photometric="rgb", extratags=[tag], byteorder=byteorder)
    np.testing.assert_array_equal(decode(buffer.getvalue(), name="x").pixels, scene)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_packed_tiff_comes_out_upright(orientation):
    scene = noise((H, W), np.uint16)
    data = saved(stored(scene, orientation), "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
    np.testing.assert_array_equal(decode(data, name="x").pixels, scene)


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_orientation_written_is_one(source, target, orientation):
    large = np.kron(stored(smooth(H, W), orientation), np.ones((8, 8, 1), np.uint8))
    image = decode(saved(large, source, exif=exif_of(orientation)), name="x")
    out = encode(image, format=target)
    again = reopened(out)
    assert again.getexif().get(274, 1) == 1
    assert again.getexif()[271] == "Maker"
    assert ImageOps.exif_transpose(again).size == (8 * W, 8 * H)
    assert decode(out, name="x").size == (8 * H, 8 * W)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_outside_the_standard_means_as_stored(value):
    scene = noise((H, W, 3), np.uint8)
    exif = exif_of(1)
    exif[274] = value
    image = decode(saved(scene, "PNG", exif=exif), name="x")
    np.testing.assert_array_equal(image.pixels, scene)
    assert reopened(encode(image, format="png")).getexif()[274] == 1
