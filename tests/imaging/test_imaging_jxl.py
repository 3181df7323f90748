"""JPEG XL: pixels, depth, colours, metadata and orientation; files by cjxl, by imagecodecs and by exiftool."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from image_fixtures import smooth
from other_programs import tagged
from PIL import Image, ImageCms

from adacode_cli import formats
from adacode_cli.batch.found import Found
from adacode_cli.batch.naming import Naming
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging import icc_profile, jxl_codec, jxl_header, metadata
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.imaging.encode import encode, encoded
from adacode_cli.imaging.headers import read_header
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.iso_boxes import box

FILES = Path(__file__).parent / "jxl"
RGB = smooth(48, 64)
ADOBE = icc_profile.adobe_rgb(grey=False)
TURNED = np.rot90(RGB, -1)  # Orientation 6: the first row is on the right.


def profile_with_tables(length: int) -> bytes:
    """A profile of version 2 whose curves are tables of `length` numbers, as scanners have them."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def color(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    def curve(gamma: float) -> bytes:
        table = np.rint(65535 * np.linspace(0, 1, length) ** gamma).astype(">u2")
        return b"curv\0\0\0\0" + struct.pack(">I", length) + table.tobytes()

    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0nobody at all, 2026\0",
        b"wtpt": color(0.9642, 1, 0.8249),
        b"rXYZ": color(0.5, 0.25, 0.02),
        b"gXYZ": color(0.3, 0.65, 0.1),
        b"bXYZ": color(0.1642, 0.1, 0.7049),
        b"rTRC": curve(2.0),
        b"gTRC": curve(2.1),
        b"bTRC": curve(1.8),
    }
    table, body, begin = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">2I", begin + len(body), len(padded))
        body += padded
    head = bytearray(128)
    head[:12] = struct.pack(">I4sI", begin + len(body), b"test", 0x02400000)
    head[12:44] = b"mntrRGB XYZ " + struct.pack(">6H", 2026, 1, 2, 3, 4, 5) + b"acspAPPL"
    head[68:80] = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return bytes(head) + struct.pack(">I", len(tags)) + table + body


def sample(name: str) -> Decoded:
    return read_image(FILES / f"{name}.jxl")


def in_srgb(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    profile, srgb = ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB")
    return np.array(ImageCms.profileToProfile(Image.fromarray(pixels), profile, srgb)).astype(int)


@pytest.mark.parametrize("top", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_depth_and_layout_is_exact(top, channels):
    rng, dtype = np.random.default_rng(top), np.uint8 if top == 255 else np.uint16
    stored = rng.integers(0, top + 1, (30, 40, channels), dtype)
    data = imagecodecs.jpegxl_encode(
        stored if channels > 1 else stored[..., 0], lossless=True, bitspersample=top.bit_length()
    )
    image = decode(data, name="a.jxl")
    planes = [image.pixels] if image.alpha is None else [image.pixels, image.alpha]
    assert (image.alpha is not None) == (channels in (2, 4))
    np.testing.assert_array_equal(np.rint(np.dstack(planes) / np.iinfo(dtype).max * top), stored)
    assert image.bits == (top.bit_length() if 255 < top < 65535 else None)
    linear = Cicp(1, 8)  # So imagecodecs describes samples of more than 8 bits.
    assert (image.lost, image.notes, image.icc, image.cicp) == ((), (), None, None if top == 255 else linear)


def test_a_profile_that_the_decoder_has_applied():
    """Pixels in XYB are decoded to linear light, which would look far too dark as sRGB."""
    image = sample("adobe-lossy")
    assert (image.icc, image.cicp, image.lost) == (None, None, ("ICC profile (converted to sRGB)",))
    assert image.pixels.dtype == np.uint8
    inside = (RGB > 60).all(axis=2)  # Other colours of Adobe RGB are outside of sRGB.
    assert abs(image.pixels.astype(int) - in_srgb(RGB, ADOBE))[inside].mean() < 1.5
    clear = sample("alpha-lossy")
    assert abs(clear.alpha.astype(int) - np.tile([51, 255, 102, 255], (48, 16))).max() <= 1
    opaque = inside & (np.arange(64) % 2 == 1)
    assert abs(clear.pixels.astype(int) - in_srgb(RGB, ADOBE))[opaque].mean() < 3


@pytest.mark.parametrize(("name", "size"), [("adobe-lossless", 560), ("table", 6624)])
def test_the_profile_of_a_lossless_file_is_read(name, size):
    image = sample(name)
    np.testing.assert_array_equal(image.pixels, RGB)
    assert (image.lost, len(image.icc), image.stated) == ((), size, (("ICC profile", ""),))
    assert image.icc == {"adobe-lossless": ADOBE, "table": profile_with_tables(1024)}[name]
    again = decode(encode(image, format="png"), name="a.png")
    assert again.icc == image.icc


def test_the_profile_of_deep_grey_and_transparent_files_is_read():
    for name, shape in (("adobe-16", (48, 64, 3)), ("adobe-grey", (48, 64)), ("adobe-alpha", (48, 64, 3))):
        image = sample(name)
        grey = len(shape) == 2
        assert (image.icc, image.lost, image.pixels.shape) == (icc_profile.adobe_rgb(grey=grey), (), shape)
        expected = RGB[..., 0] if grey else RGB.astype(np.uint16) * 257 if name == "adobe-16" else RGB
        np.testing.assert_array_equal(image.pixels, expected)
    np.testing.assert_array_equal(sample("adobe-alpha").alpha, np.tile([51, 255, 102, 255], (48, 16)))


def test_a_profile_that_is_damaged(monkeypatch):
    data = (FILES / "table.jxl").read_bytes()
    for at in range(40, 400, 9):
        changed = bytearray(data)
        changed[at] ^= 255
        try:
            image = decode(bytes(changed), name="a.jxl")
        except InputError as refused:
            assert "damaged" in refused.message or "truncated" in refused.message  # noqa: PT017
        else:
            assert image.icc is None or len(image.icc) > 128
    monkeypatch.setattr(metadata, "MAX_METADATA_BYTES", metadata.MAX_METADATA_BYTES | {"icc": 5000})
    assert "ICC profile of more than" in sample("table").lost[0]


def test_no_further_threads_read_a_profile():
    """With a thread for each core, the memory limit of a decoding process would depend on the machine."""
    script = (
        "import sys; from pathlib import Path; import pillow_jxl\n"
        "from adacode_cli.imaging.decode import read_image\n"
        "made, original = [], pillow_jxl.Decoder\n"
        "pillow_jxl.Decoder = lambda **options: made.append(options) or original(**options)\n"
        "read_image(Path(sys.argv[1])); print(made)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, FILES / "table.jxl"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[{'num_threads': 0}]"


def test_without_the_plugin_only_files_with_a_profile_are_refused():
    """Without their profile, the pixels would be taken for sRGB: a wrong picture."""
    script = (
        "import sys; sys.modules['pillow_jxl'] = None\n"
        "from adacode_cli.imaging.decode import read_image\n"
        "from pathlib import Path\n"
        "for path in sys.argv[1:]:\n"
        "    try: print(read_image(Path(path)).size)\n"
        "    except Exception as error: print(type(error).__name__, error.message, error.hint)\n"
    )
    names = ("p3-lossy", "gamma", "adobe-lossy", "jpeg", "adobe-lossless")
    files = [FILES / f"{name}.jxl" for name in names]
    done = subprocess.run([sys.executable, "-c", script, *files], capture_output=True, text=True, check=True)
    *read, refused = done.stdout.splitlines()
    assert read == ["(48, 64)"] * 3 + ["(64, 48)"]
    assert refused.startswith("InputError has an ICC profile, which in a JPEG XL needs the package pillow-jxl-plugin")
    assert "pip install 'adacode-cli[jxl]'" in refused


def test_colours_in_numbers():
    image = sample("p3-lossy")
    assert (image.cicp, image.icc, image.lost) == (Cicp(12, 13), None, ())
    assert abs(image.pixels.astype(int) - RGB).mean() < 1
    again = decode(encode(image, format="png"), name="a.png")
    assert again.cicp == Cicp(12, 13)
    image = sample("pq")
    assert (image.cicp, image.lost) == (Cicp(9, 16), ())
    np.testing.assert_array_equal(image.pixels, RGB)


def test_a_power_function_becomes_a_profile():
    image = sample("gamma")
    np.testing.assert_array_equal(image.pixels, RGB)
    light = (RGB / 255) ** 2
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert abs(in_srgb(RGB, image.icc) - expected).max() < 2


def test_a_jpeg_inside_is_read_as_that_jpeg():
    image = sample("jpeg")
    jpeg = imagecodecs.jpegxl_decode_jpeg((FILES / "jpeg.jxl").read_bytes())
    expected = decode(jpeg, name="a.jpg")
    np.testing.assert_array_equal(image.pixels, expected.pixels)
    assert image.pixels.shape == TURNED.shape
    assert (image.icc, image.exif, image.xmp) == (ADOBE, expected.exif, expected.xmp)
    assert "Zoë".encode() in image.xmp
    assert image.lost == ()
    assert image.stated == expected.stated


def test_orientation_is_applied_once(tmp_path):
    np.testing.assert_array_equal(sample("turned").pixels, TURNED)
    data = imagecodecs.jpegxl_encode(RGB, lossless=True, usecontainer=True)
    path = tmp_path / "a.jxl"
    path.write_bytes(data)
    tagged(path, "-IFD0:Orientation#=6", "-IFD0:Artist=Somebody", "-GPSLatitude=48.5", "-XMP-dc:Title=Zoë")
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, RGB)  # In JPEG XL only the codestream's orientation counts.
    assert b"Somebody" in image.exif
    assert "Zoë".encode() in image.xmp
    assert ("XMP", "") in image.stated
    again = decode(encode(image, format="png"), name="a.png")
    assert (again.exif, again.xmp) == (image.exif, image.xmp)


@pytest.mark.parametrize("packed", [False, True])
def test_metadata_in_boxes_also_packed_ones(packed):
    block, packet = (
        b"II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\x03\0\0\0ab\0\0\0\0\0\0",
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
    )

    def boxed(kind: bytes, body: bytes) -> bytes:
        return box(b"brob", kind + imagecodecs.brotli_encode(body)) if packed else box(kind, body)

    data = imagecodecs.jpegxl_encode(RGB, lossless=True, usecontainer=True)
    data += (
        boxed(b"Exif", b"\0\0\0\x02??" + block) + boxed(b"xml ", packet) + boxed(b"xml ", packet) + box(b"jumb", b"x")
    )
    image = decode(data, name="a.jxl")
    assert (image.exif, image.xmp) == (block, packet)
    groups = [group for group, _ in image.stated]
    assert groups == ["EXIF", "XMP", "a further XMP packet", "its content credentials (C2PA)"]
    bomb = box(b"brob", b"xml " + imagecodecs.brotli_encode(b"<" * 100_000_000))
    image = decode(imagecodecs.jpegxl_encode(RGB, lossless=True, usecontainer=True) + bomb, name="a.jxl")
    assert image.lost == ("XMP of more than 4 MiB",)


def test_of_an_animation_the_first_frame_is_read():
    image = sample("animation")
    assert image.lost == ("the other frames of its animation",)
    assert image.size == (48, 64)


def test_colours_that_are_multiplied_with_alpha_are_divided(monkeypatch):
    clear = np.dstack([RGB // 2, np.full((48, 64), 127, np.uint8)])
    data = imagecodecs.jpegxl_encode(clear, lossless=True)
    header = jxl_header.parsed(data)
    associated = replace(header, channels=(replace(header.channels[0], is_associated=True),))
    monkeypatch.setattr(jxl_header, "parsed", lambda _data: associated)
    assert abs(decode(data, name="a.jxl").pixels.astype(int) - RGB).max() <= 2


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_floating_point_is_not_supported(kind):
    data = imagecodecs.jpegxl_encode((RGB / 255).astype(kind), lossless=True)
    with pytest.raises(InputError, match="is not supported: it is a JPEG XL with floating-point samples") as caught:
        decode(data, name="a.jxl")
    assert "djxl" in caught.value.hint


@pytest.mark.parametrize("name", sorted(path.stem for path in FILES.glob("*.jxl")))
def test_headers(name):
    header = read_header(FILES / f"{name}.jxl")
    colors, bits = 1 if name == "adobe-grey" else 3, 16 if name == "adobe-16" else 8
    assert (header.width, header.height, header.colors, header.bits) == (64, 48, colors, bits)
    assert header.cicp == {"p3-lossy": Cicp(12, 13), "pq": Cicp(9, 16)}.get(name)


def test_sizes_of_every_kind_and_the_limit():
    for height, width in ((8, 8), (256, 256), (100, 120), (300, 400), (200, 300), (9, 16), (5, 4), (2, 4), (7, 1001)):
        data = imagecodecs.jpegxl_encode(np.zeros((height, width), np.uint8))
        header = jxl_header.parsed(jxl_codec._codestream(data))
        assert (header.height, header.width) == (height, width)
    with pytest.raises(InputError, match="claims 1001×7 pixels"):
        decode(data, name="a.jxl", max_pixels=7000)


@pytest.mark.parametrize("name", sorted(path.stem for path in FILES.glob("*.jxl")))
def test_cut_and_changed_files_are_refused_or_read(name):
    data = (FILES / f"{name}.jxl").read_bytes()
    for length in (1, 7, 12, 20, 40, len(data) // 2):
        with pytest.raises(InputError):
            decode(data[:length], name="a.jxl")
    rng = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(data)
        for at in rng.integers(2, len(data), 3):
            changed[at] = rng.integers(256)
        try:
            decode(bytes(changed), name="a.jxl", max_pixels=1_000_000)
        except InputError:
            continue


def test_it_is_not_written():
    assert formats.find("jxl") is None
    with pytest.raises(OutputError, match="read and not written"):
        encoded(Decoded(RGB), format="jxl")


def test_outputs_are_png_and_keep_the_suffix(tmp_path):
    naming = Naming("sr-x4", tmp_path / "out")
    assert naming.name_of(Found(tmp_path, "sub/a.JXL", in_tree=True)) == "sub/a.JXL.png"
    assert formats.named("jxl").of_outputs == "png"
