"""JPEG 2000 whose boxes say what its components are: palettes, luma and chroma, CIELab, inks, orders of channels.

The boxes are made here around codestreams of Pillow's; what comes out is compared with OpenJPEG's own program.
"""

import shutil
import struct
import subprocess

import imagecodecs
import numpy as np
import pytest
import tifffile
from image_fixtures import red_cyan_profile, saved, smooth, srgb_profile
from PIL import Image

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded

needs_openjpeg = pytest.mark.skipif(shutil.which("opj_decompress") is None, reason="OpenJPEG is not installed")
PICTURE = smooth(24, 33)
SRGB, GREY, SYCC, LAB, CMYK = 16, 17, 18, 14, 12


def box(kind, body):
    return struct.pack(">I4s", len(body) + 8, kind) + body


def codestream(samples):
    """Components as they are, without loss and without a transform of colours."""
    return saved(samples, "JPEG2000", no_jp2=True, mct=0)


def colours(space, more=b""):
    return box(b"colr", struct.pack(">3BI", 1, 0, 0, space) + more)


def profile(icc):
    return box(b"colr", b"\2\0\0" + icc)


def definitions(*records):
    """(channel, 0 colour or 1 alpha, which colour or 0 for all)."""
    return box(b"cdef", struct.pack(f">{1 + 3 * len(records)}H", len(records), *(n for r in records for n in r)))


def jp2(stream, inner, components, depth=8):
    height, width = struct.unpack(">8xII", stream[:16])[::-1]
    header = box(b"ihdr", struct.pack(">IIH4B", height, width, components, depth - 1, 7, 0, 0)) + inner
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + box(b"jp2h", header) + box(b"jp2c", stream)


def by_openjpeg(file, folder):
    """The image as OpenJPEG's program writes it."""
    (folder / "a.jp2").write_bytes(file)
    command = ["opj_decompress", "-i", folder / "a.jp2", "-o", folder / "a.png"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Image.open(folder / "a.png") as image:
        return np.asarray(image)


def ycc_of(rgb):
    """Luma and chroma over the full range."""
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


def palette(columns=3, component_through=True):
    table = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], axis=1)[:, :columns]
    body = struct.pack(">HB", 256, columns) + bytes([7] * columns) + table.astype(np.uint8).tobytes()
    mapped = b"".join(struct.pack(">HBB", 0, int(component_through), column) for column in range(columns))
    return table, box(b"pclr", body) + box(b"cmap", mapped)


@needs_openjpeg
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_luma_and_chroma_in_any_order_become_rgb(tmp_path, order):
    ycc = ycc_of(PICTURE)
    records = [(at, 0, colour + 1) for at, colour in enumerate(order)]
    file = jp2(codestream(ycc[..., list(order)].copy()), colours(SYCC) + definitions(*records), 3)
    image = decode(file, name="x")
    assert np.abs(image.pixels.astype(int) - PICTURE).max() <= 3
    assert np.abs(image.pixels.astype(int) - by_openjpeg(file, tmp_path)).max() <= 1


@needs_openjpeg
@pytest.mark.parametrize("coarse", ["2x1", "2x2"])
@pytest.mark.parametrize("bits", [8, 10])
def test_coarse_chroma_is_enlarged_as_openjpeg_does_it(tmp_path, coarse, bits):
    across, down = (int(n) for n in coarse.split("x"))
    picture = smooth(24, 32)
    ycc = ycc_of(picture)
    planes = [ycc[..., 0], ycc[::down, ::across, 1], ycc[::down, ::across, 2]]
    wide = [(plane.astype(np.uint16) << (bits - 8)).astype(">u2" if bits > 8 else np.uint8) for plane in planes]
    (tmp_path / "a.raw").write_bytes(b"".join(plane.tobytes() for plane in wide))
    form = f"32,24,3,{bits},u@1x1:{coarse}:{coarse}"
    command = ["opj_compress", "-i", tmp_path / "a.raw", "-F", form, "-n", "3", "-o", tmp_path / "made.jp2"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    file = (tmp_path / "made.jp2").read_bytes()
    image = decode(file, name="x")
    assert image.bits == (bits if bits > 8 else None)
    expected = by_openjpeg(file, tmp_path)
    expected = expected / (255 if expected.dtype == np.uint8 else 65535)
    assert np.abs(image.pixels / np.iinfo(image.pixels.dtype).max - expected).max() < 0.006
    assert np.abs(image.pixels / np.iinfo(image.pixels.dtype).max - picture / 255).mean() < 0.04


@needs_openjpeg
def test_a_palette_is_looked_up(tmp_path):
    indices = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32).astype(np.uint8)
    table, boxes = palette()
    file = jp2(codestream(indices), colours(SRGB) + boxes, 1)
    image = decode(file, name="x")
    np.testing.assert_array_equal(image.pixels, table[indices])
    np.testing.assert_array_equal(image.pixels, by_openjpeg(file, tmp_path))
    assert image.notes == ("palette converted to RGB",)


def test_a_palette_beside_a_plain_component_gives_alpha():
    indices = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32).astype(np.uint8)
    table, _ = palette()
    body = struct.pack(">HB", 256, 3) + b"\7\7\7" + table.astype(np.uint8).tobytes()
    mapped = b"".join(struct.pack(">HBB", *source) for source in ((0, 1, 2), (0, 1, 1), (0, 1, 0), (1, 0, 0)))
    boxes = box(b"pclr", body) + box(b"cmap", mapped) + definitions((0, 0, 3), (1, 0, 2), (2, 0, 1), (3, 1, 0))
    stream = codestream(np.dstack([indices, indices[::-1]]))
    image = decode(jp2(stream, colours(SRGB) + boxes, 2), name="x")
    np.testing.assert_array_equal(image.pixels, table[indices])
    np.testing.assert_array_equal(image.alpha, indices[::-1])


@pytest.mark.parametrize("entries", [0, 1025, 300])
def test_a_palette_that_makes_no_sense_is_damage(entries):
    boxes = box(b"pclr", struct.pack(">HB", entries, 3) + b"\7\7\7" + bytes(range(200))) + box(b"cmap", b"\0\0\1\0")
    with pytest.raises(InputError, match="palette") as caught:
        decode(jp2(codestream(PICTURE[..., 0].copy()), colours(SRGB) + boxes, 1), name="x")
    assert caught.value.damage


@needs_openjpeg
@pytest.mark.parametrize("light", [b"", b"\0D50", b"\0D65", b"\0\0\1\2"])
def test_cielab_becomes_srgb(tmp_path, light):
    ramp = np.linspace(0, 1, 32)
    lab = np.stack(np.broadcast_arrays(ramp[:, None] * 255, 128 + ramp * 60 - 30, 96 - ramp * 30), axis=-1)
    ranges = struct.pack(">6I", 100, 0, 170, 128, 200, 96) if light else b""
    file = jp2(codestream(np.rint(lab).astype(np.uint8)), colours(LAB, ranges + light), 3)
    if light == b"\0\0\1\2":
        with pytest.raises(InputError, match=r"not supported.*CIELab with an illuminant other"):
            decode(file, name="x")
        return
    found = decode(file, name="x").pixels.astype(int)
    assert np.abs(found - by_openjpeg(file, tmp_path)).mean() < 3
    assert np.abs(found - by_openjpeg(file, tmp_path)).max() < 12


def test_inks_are_mixed_by_the_formula_or_by_their_profile():
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[:, :4, 0] = 255  # cyan, which the profile prints red
    stream = codestream(Image.fromarray(inks, "CMYK"))
    plain = decode(jp2(stream, colours(CMYK), 4), name="x")
    assert plain.pixels[0, 0].tolist() == [0, 255, 255]
    assert plain.pixels[0, 7].tolist() == [255, 255, 255]
    assert plain.alpha is None
    assert plain.lost == ("CMYK inks (converted to RGB)",)
    managed = decode(jp2(stream, profile(red_cyan_profile()), 4), name="x")
    assert managed.pixels[0, 0][0] > 200 > 60 > managed.pixels[0, 0][1]
    assert managed.icc is None
    assert managed.lost == ("CMYK inks (converted to sRGB through their colour profile)",)


@pytest.mark.parametrize("inner", [(True, False), (False, True), (True, True)])
def test_inks_of_16_bits_keep_them_and_go_through_the_profile_wherever_it_stands(inner):
    inks = np.zeros((8, 64, 4), np.uint16)
    inks[..., 0] = np.arange(64) * 1000 + 7
    stream = imagecodecs.jpeg2k_encode(inks, codecformat="j2k", level=0, mct=False)
    before, behind = ((colours(CMYK) if said else b"") for said in inner)
    image = decode(jp2(stream, before + profile(red_cyan_profile()) + behind, 4, depth=16), name="x")
    found = image.pixels
    assert found.dtype == np.uint16
    assert len(np.unique(found[0, :, 1])) > 60
    eight = decode(
        jp2(codestream(Image.fromarray((inks >> 8).astype(np.uint8), "CMYK")), profile(red_cyan_profile()), 4), name="x"
    )
    assert np.abs(found / 257 - eight.pixels).max() < 3
    assert image.icc is None
    assert image.lost == ("CMYK inks (converted to sRGB through their colour profile)",)


def test_channels_have_the_order_and_the_meaning_that_the_file_says():
    alpha = np.arange(24 * 33, dtype=np.uint32).reshape(24, 33).astype(np.uint8)
    stored = np.dstack([alpha, PICTURE[..., ::-1]])
    said = definitions((0, 1, 0), (1, 0, 3), (2, 0, 2), (3, 0, 1))
    image = decode(jp2(codestream(stored), profile(srgb_profile()) + said, 4), name="x")
    np.testing.assert_array_equal(image.pixels, PICTURE)
    np.testing.assert_array_equal(image.alpha, alpha)
    assert image.icc == srgb_profile()
    spare = decode(jp2(codestream(stored), colours(SRGB) + definitions((0, 65535, 65535), *SWAPPED), 4), name="x")
    np.testing.assert_array_equal(spare.pixels, PICTURE)
    assert spare.alpha is None
    assert spare.lost == ("1 of 4 channels",)
    multiplied = np.dstack([PICTURE // 2, np.full((24, 33), 128, np.uint8)])
    said = definitions((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 2, 0))
    divided = decode(jp2(codestream(multiplied), colours(SRGB) + said, 4), name="x")
    assert np.abs(divided.pixels.astype(int) - PICTURE).max() <= 2


SWAPPED = ((1, 0, 3), (2, 0, 2), (3, 0, 1))


def test_unknown_colours_are_not_supported_and_not_called_damaged():
    with pytest.raises(InputError, match="is not supported: it is a JPEG 2000 with colours in space 3") as caught:
        decode(jp2(codestream(PICTURE), colours(3), 3), name="x")
    assert "Convert it" in caught.value.hint
    assert not caught.value.damage


def test_several_images_in_a_file_are_reported():
    stream = codestream(PICTURE)
    file = jp2(stream, colours(SRGB), 3) + box(b"jp2c", stream)
    image = decode(file, name="x")
    np.testing.assert_array_equal(image.pixels, PICTURE)
    assert image.lost == ("1 of 2 images",)


def empty_codestream(*, size=(8000, 8000), components=1, grid=1, precincts=b""):
    """A bare codestream whose one tile has no data."""
    parts = bytes([7, grid, grid]) * components
    head = struct.pack(">2HH8IH", 0xFF51, 38 + len(parts), 0, *size, 0, 0, *size, 0, 0, components) + parts
    style = struct.pack(">2H4B", 0xFF52, 12 + len(precincts), bool(precincts), 0, 0, 1) + bytes([0, 5, 4, 4, 0, 1])
    quantisation = struct.pack(">2H", 0xFF5C, 19) + b"@" * 17
    return b"\xff\x4f" + head + style + precincts + quantisation + b"\xff\x90\0\x0a\0\0\0\0\0\x0e\0\1\xff\x93\xff\xd9"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precincts": bytes(6)}, "has too many precincts"),
        ({"size": (64, 64), "components": 4000}, "4000 components"),
        ({"size": (127, 95), "components": 3, "grid": 2}, "components that differ in size"),
    ],
)
def test_small_files_that_cost_much_or_come_out_wrong_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        decode(empty_codestream(**options), name="x")


@needs_openjpeg
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (40, 33)])
def test_16_bits_of_any_size_and_layout_are_what_openjpeg_reads(tmp_path, size, channels):
    samples = np.random.default_rng(channels).integers(0, 65536, (*size, channels)).astype(np.uint16)
    pixels, alpha = (samples[..., :-1], samples[..., -1]) if channels % 2 == 0 else (samples, None)
    image = Decoded(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), alpha)
    (tmp_path / "a.jp2").write_bytes(encode(image, format="jp2"))
    command = ["opj_decompress", "-i", tmp_path / "a.jp2", "-o", tmp_path / "a.tif"]
    subprocess.run(command, check=True, capture_output=True)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif").reshape(samples.shape), samples)
