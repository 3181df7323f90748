"""What is in a file decides, not its name; whatever cannot be read is refused with a message and a remedy."""

import contextlib
import os
import struct
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_fixtures import noise, png_chunk, png_file, red_cyan_profile, saved, smooth
from PIL import Image

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP"]
SEEDS = {
    **{format: saved(smooth(40, 33), format) for format in FORMATS},
    "progressive": saved(smooth(40, 33), "JPEG", progressive=True),
    "lzw": saved(smooth(40, 33), "TIFF", compression="tiff_lzw"),
    "png16": encode(Decoded(noise((40, 33, 3), np.uint16)), format="png"),
    "tiff16": encode(Decoded(noise((40, 33, 3), np.uint16)), format="tiff"),
    "tiff32f": encode(Decoded(noise((40, 33, 3), np.float32)), format="tiff"),
    "lzw16": cv2.imencode(".tiff", noise((40, 33, 3), np.uint16))[1].tobytes(),
}


def refusal(data):
    with pytest.raises(InputError) as caught:
        decode(data, name="picture.jpg")
    error = caught.value
    assert error.path == "picture.jpg"
    assert error.message
    assert error.hint
    return error


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".xyz"])
def test_the_content_decides_not_the_name(tmp_path, format, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(SEEDS[format])
    assert read_image(path).format == format.lower()


def test_names_that_are_not_ascii(tmp_path):
    path = tmp_path / "фото é 写真 🌊.png"
    path.write_bytes(SEEDS["PNG"])
    np.testing.assert_array_equal(read_image(path).pixels, smooth(40, 33))


def test_suffixes_are_lower_case_with_a_dot():
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"} <= formats.input_suffixes()
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in formats.input_suffixes())


@pytest.mark.parametrize("kind", SEEDS)
@pytest.mark.parametrize("share", [0.02, 0.25, 0.5, 0.75, 0.9])
def test_a_file_cut_short_is_refused(kind, share):
    data = SEEDS[kind]
    error = refusal(data[: int(len(data) * share)])
    assert "truncated" in error.message


@pytest.mark.parametrize("kind", ["JPEG", "progressive"])
def test_a_large_jpeg_cut_in_half_is_not_half_grey(kind):
    data = saved(
        np.kron(noise((60, 80, 3), np.uint8), np.ones((8, 8, 1), np.uint8)), "JPEG", progressive=kind != "JPEG"
    )
    assert "truncated" in refusal(data[: len(data) // 2]).message


def test_empty_and_text():
    assert "empty" in refusal(b"").message
    assert "text" in refusal(b"Dear diary,\ntoday I renamed a file.\n").message
    assert "text" in refusal("Grüße aus Köln".encode()).message
    assert "no image" in refusal(bytes(range(256))).message


@pytest.mark.parametrize(
    ("start", "title"),
    [(b"GIF89a" + bytes(20), "GIF"), (b"%PDF-1.7", "PDF"), (b"8BPS" + bytes(20), "Photoshop")],
)
def test_formats_that_are_not_read_are_named(start, title):
    error = refusal(start)
    assert title in error.message
    assert "Convert" in error.hint


@settings(deadline=None, max_examples=200)
@given(
    kind=st.sampled_from(sorted(SEEDS)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_damage_is_an_input_error_or_an_image(kind, changes):
    data = bytearray(SEEDS[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(InputError):
            assert decode(bytes(data), name="x").pixels.size


def claiming(format, width, height):
    """A small file of `format` that says it is width × height."""
    data = bytearray(SEEDS[format])
    if format == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[12:33] = png_chunk(b"IHDR", bytes(data[16:29]))[4:]
    elif format == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif format == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    else:
        for tag, value in ((256, width), (257, height)):
            (at,) = struct.unpack_from("<I", data, 4)
            while struct.unpack_from("<H", data, at + 2)[0] != tag:
                at += 12
            data[at + 4 : at + 14] = struct.pack("<HII", 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("format", "width", "height"),
    [("PNG", 100_000, 10_001), ("BMP", 100_000, 10_001), ("JPEG", 65_500, 65_500), ("TIFF", 2**31, 2**31)],
)
def test_pixel_bombs_are_refused_before_anything_is_allocated(format, width, height):
    error = refusal(claiming(format, width, height))
    assert "more than 300 megapixels" in error.message
    assert f"{width}×{height}" in error.message
    assert "--max-megapixels" in error.hint


@pytest.mark.parametrize("format", FORMATS)
def test_the_limit_counts_pixels_exactly(format):
    pixels = 40 * 33
    assert decode(SEEDS[format], name="x", max_pixels=pixels).size == (40, 33)
    with pytest.raises(InputError, match="megapixels"):
        decode(SEEDS[format], name="x", max_pixels=pixels - 1)


@pytest.mark.parametrize("format", FORMATS)
def test_pillows_process_wide_limit_is_neither_obeyed_nor_changed(monkeypatch, format):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode(SEEDS[format], name="x")
    assert np.abs(image.pixels.astype(int) - smooth(40, 33)).mean() < 6
    assert Image.MAX_IMAGE_PIXELS == 100


def test_unreadable_paths(tmp_path):
    for path, word in ((tmp_path / "gone.png", "no such file"), (tmp_path, "directory")):
        with pytest.raises(InputError, match=word) as caught:
            read_image(path)
        assert caught.value.path == path
        assert caught.value.hint


def test_the_system_s_reason_is_given(tmp_path):
    with pytest.raises(InputError, match="name is too long") as caught:
        read_image(tmp_path / ("x" * 300 + ".png"))
    assert caught.value.hint


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_forbidden_path(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(SEEDS["PNG"])
    path.chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        read_image(path)


def test_cmyk_jpeg_has_the_right_colours():
    scene = smooth(48, 64)
    data = saved(Image.fromarray(scene).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data[:200]  # Pillow writes inverted inks behind this marker, as Photoshop does.
    image = decode(data, name="x")
    assert image.pixels.shape == scene.shape
    assert np.abs(image.pixels.astype(int) - scene).mean() < 4
    witness = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(image.pixels.astype(int) - witness).max() <= 2
    assert any("CMYK" in what for what in image.lost)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_profile_is_used_and_not_carried_on(format):
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, 8:, 0] = 255
    picture = Image.fromarray(inks, mode="CMYK")
    image = decode(saved(picture, format, icc_profile=red_cyan_profile()), name="x")
    assert (image.pixels[:, 2].astype(int) > 245).all()
    red = image.pixels[4, 13].astype(int)
    assert red[0] > 240
    assert red[1] < 40
    assert red[2] < 40
    assert image.icc is None
    assert any("profile" in what for what in image.lost)


def test_a_broken_cmyk_profile_costs_the_profile_only():
    picture = Image.fromarray(smooth(16, 16)).convert("CMYK")
    image = decode(saved(picture, "TIFF", icc_profile=b"no profile" * 20), name="x")
    np.testing.assert_array_equal(image.pixels, np.asarray(picture.convert("RGB")))
    assert image.icc is None


def test_palette_becomes_rgb_with_a_note():
    picture = Image.fromarray(smooth(20, 20)).quantize(16)
    for format in ("PNG", "TIFF", "BMP"):
        image = decode(saved(picture, format), name="x")
        np.testing.assert_array_equal(image.pixels, np.asarray(picture.convert("RGB")))
        assert image.alpha is None
        assert any("palette" in note for note in image.notes)


@pytest.mark.parametrize("transparency", [3, bytes([0, 80, 255, 128])])
def test_palette_with_transparency_has_alpha(transparency):
    picture = Image.fromarray(smooth(20, 20)).quantize(8)
    image = decode(saved(picture, "PNG", transparency=transparency), name="x")
    indices = np.asarray(picture)
    table = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        table[transparency] = 0
    else:
        table[: len(transparency)] = list(transparency)
    np.testing.assert_array_equal(image.alpha, table[indices])
    np.testing.assert_array_equal(image.pixels, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_any_depth(depth):
    values = np.arange(8, dtype=np.uint16) % (1 << min(depth, 3))
    bits = "".join(f"{value:0{depth}b}" for value in values)
    row = int(bits, 2).to_bytes(depth)
    extra = png_chunk(b"tRNS", struct.pack(">H", 1))
    image = decode(png_file([row], width=8, depth=depth, color_type=0, extra=extra), name="x")
    top = 65535 if depth == 16 else 255
    np.testing.assert_array_equal(image.pixels[0], values.astype(int) * top // ((1 << depth) - 1))
    np.testing.assert_array_equal(image.alpha[0], np.where(values == 1, 0, top))


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour(depth):
    dtype = np.uint8 if depth == 8 else np.uint16
    samples = noise((4, 5, 3), dtype)
    stored = samples.astype(samples.dtype.newbyteorder(">"))
    extra = png_chunk(b"tRNS", samples[2, 3].astype(">u2").tobytes())
    data = png_file([row.tobytes() for row in stored], width=5, depth=depth, color_type=2, extra=extra)
    image = decode(data, name="x")
    np.testing.assert_array_equal(image.pixels, samples)
    expected = np.full((4, 5), np.iinfo(dtype).max)
    expected[2, 3] = 0
    np.testing.assert_array_equal(image.alpha, expected)


def test_bilevel_becomes_grey():
    bits = noise((20, 20), np.uint8) > 127
    for format in ("PNG", "TIFF", "BMP"):
        image = decode(saved(Image.fromarray(bits), format), name="x")
        np.testing.assert_array_equal(image.pixels, np.where(bits, 255, 0))


def test_bmp_with_alpha():
    samples = noise((5, 6, 4), np.uint8)
    image = decode(saved(samples, "BMP"), name="x")
    np.testing.assert_array_equal(image.pixels, samples[..., :3])


@pytest.mark.parametrize(("format", "word"), [("WEBP", "frames"), ("PNG", "frames")])
def test_only_the_first_of_several_is_read(format, word):
    images = [Image.fromarray(np.full((10, 12, 3), value, np.uint8)) for value in (200, 100, 0)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(images[0], format, save_all=True, append_images=images[1:], **options)
    image = decode(data, name="x")
    assert image.lost == (f"2 of 3 {word}",)
    assert (image.pixels == 200).all()
