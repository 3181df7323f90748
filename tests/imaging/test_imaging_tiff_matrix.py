"""Layout × depth × compression × planes × byte order × offsets × alpha × palette: every TIFF is what was written."""

import subprocess
import zlib
from itertools import cycle, product

import imagecodecs
import numpy as np
import pytest
from image_fixtures import noise
from other_programs import needs_imagemagick
from tiff_files import by_tifffile, packed, tiff

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode

SIZE = (11, 19)
KINDS = {
    "grey": (1, {"photometric": "minisblack"}),
    "inverted": (1, {"photometric": "miniswhite"}),
    "grey and alpha": (2, {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    "rgb": (3, {"photometric": "rgb"}),
    "rgb and alpha": (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "rgb and another": (4, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    "rgb, another, alpha": (5, {"photometric": "rgb", "extrasamples": ["unspecified", "unassalpha"]}),
}
LAYOUTS = {"strips": {"rowsperstrip": 4}, "tiles": {"tile": (16, 16)}}
PACKED = ("lzw", "zlib", "lzma", "zstd")
PICTURES = {  # compression → dtypes that it holds
    "png": (np.uint8, np.uint16),
    "webp": (np.uint8,),
    "jpegxl": (np.uint8, np.uint16, np.float32),
    "lerc": (np.uint8, np.uint16, np.float32),
    "jpeg2000": (np.uint8, np.uint16),
    "jpegxr": (np.uint8, np.uint16),
}


def shown(samples, kind):
    """(pixels, alpha) of what was written, in the depth that adacode has for it."""
    dtype = samples.dtype
    if dtype == np.uint32:
        samples = (samples / (2**32 - 1)).astype(np.float32)
    elif dtype.kind == "f":
        samples = samples.astype(np.float32)
    top = 1 if samples.dtype == np.float32 else np.iinfo(dtype).max
    pixels = samples[..., :3] if samples.shape[2] > 2 else samples[..., 0]
    if kind == "inverted":
        pixels = np.asarray(top, samples.dtype) - pixels
    return pixels, samples[..., -1] if "alpha" in kind else None


def differs(data, samples, kind):
    """What is wrong with the image that is read, or None."""
    pixels, alpha = shown(samples, kind)
    try:
        image = decode(data, name="x")
    except InputError as error:
        return error.message
    if not np.array_equal(image.pixels, pixels) or image.pixels.dtype != pixels.dtype:
        return f"{image.pixels.dtype} pixels"
    if (image.alpha is None) != (alpha is None) or (alpha is not None and not np.array_equal(image.alpha, alpha)):
        return "alpha"
    lost = kind.count("another")
    return None if lost == sum("extra channel" in what for what in image.lost) else str(image.lost)


def stored(samples, planes):
    if samples.shape[2] == 1:
        return samples[..., 0]
    return np.ascontiguousarray(np.moveaxis(samples, -1, 0)) if planes == "separate" else samples


def test_what_tifffile_writes_is_read_to_the_bit():
    others = cycle(product(LAYOUTS, "<>", (False, True)))
    wrong, number = [], 0
    compressions = [{}, {"compression": "packbits"}]
    fast = {"compressionargs": {"level": 0}}
    for name, ahead in product(PACKED, (False, True)):
        compressions.append({"compression": name, "predictor": ahead, **(fast if name == "lzma" else {})})
    for kind, (count, options) in KINDS.items():
        for dtype in (np.uint8, np.uint16, np.uint32, np.float16, np.float32, np.float64):
            samples = noise((*SIZE, count), np.float32 if np.dtype(dtype).kind == "f" else dtype).astype(dtype)
            for packing, planes in product(compressions, ("contig", "separate")):
                if count == 1 and planes == "separate":
                    continue
                layout, order, big = next(others)
                all_options = {**options, **packing, **LAYOUTS[layout], "byteorder": order, "bigtiff": big}
                if count > 1:
                    all_options["planarconfig"] = planes
                fault = differs(by_tifffile(stored(samples, planes), **all_options), samples, kind)
                number += 1
                if fault:
                    wrong.append((kind, np.dtype(dtype).name, packing, layout, planes, order, big, fault))
    assert number > 700
    assert not wrong, wrong[:10]


def test_strips_that_are_images_themselves_are_read_to_the_bit():
    wrong = []
    for (packing, dtypes), (kind, count) in product(PICTURES.items(), (("grey", 1), ("rgb", 3), ("rgb and alpha", 4))):
        if packing == "webp" and count == 1:
            continue
        for dtype, layout in product(dtypes, LAYOUTS.values()):
            samples = noise((*SIZE, count), dtype)
            options = {"lossless": True} if packing in ("webp", "jpegxl") else {}
            data = by_tifffile(
                stored(samples, "contig"), compression=packing, compressionargs=options, **KINDS[kind][1], **layout
            )
            fault = differs(data, samples, kind)
            if fault:
                wrong.append((packing, kind, np.dtype(dtype).name, layout, fault))
    assert not wrong, wrong[:10]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 24])
def test_depths_that_fill_no_whole_words(bits):
    top = (1 << bits) - 1
    wide = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.float32
    scale = 1 if bits > 16 else np.iinfo(wide).max
    for order, reversed_bits, packing, count in product("<>", (1, 2), (1, 5, 8), (1, 3)):
        samples = np.random.default_rng(bits).integers(0, top + 1, (*SIZE, count))
        samples[0, :2] = [[0], [top]]
        if bits == 24:
            parts = samples[..., None] >> np.array([0, 8, 16]) & 255
            rows = [(parts if order == "<" else parts[..., ::-1]).astype(np.uint8).tobytes()]
        else:
            rows = [packed(samples[:6], bits), packed(samples[6:], bits)]
        strips = [{1: bytes, 5: imagecodecs.lzw_encode, 8: zlib.compress}[packing](strip) for strip in rows]
        if reversed_bits == 2:
            strips = [bytes(imagecodecs.bitorder_encode(strip)) for strip in strips]
        tags = {258: [bits] * count, 259: packing, 262: 2 if count > 1 else 1, 266: reversed_bits, 277: count}
        image = decode(tiff(strips, SIZE, tags, order), name="x")
        expected = samples[..., 0] if count == 1 else samples
        assert image.pixels.dtype == wide
        np.testing.assert_allclose(image.pixels, expected * (scale / top), atol=1e-6 if bits > 16 else 0.5)
        assert image.bits == (bits if 8 < bits < 16 else None)


@pytest.mark.parametrize(
    ("bits", "alpha"), [(1, False), (2, False), (4, False), (8, False), (16, False), (8, True), (16, True)]
)
def test_palettes_have_entries_of_16_bits_or_of_8(bits, alpha):
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 1 << bits, (*SIZE, 1))
    cover = rng.integers(0, 1 << bits, (*SIZE, 1))
    for entries in (rng.integers(0, 256, (3, 1 << bits)), rng.integers(0, 65536, (3, 1 << bits))):
        tags = {258: [bits] * (1 + alpha), 262: 3, 277: 1 + alpha, 320: entries.ravel(), **({338: 2} if alpha else {})}
        stored = np.concatenate([indices, cover], 2) if alpha else indices
        strip = stored.astype("<u2").tobytes() if bits == 16 else packed(stored, bits)
        image = decode(tiff([strip], SIZE, tags), name="x")
        deep = bits == 16 and entries.max() > 255
        shown = entries if deep or entries.max() <= 255 else entries // 256
        assert image.pixels.dtype == (np.uint16 if deep else np.uint8)
        np.testing.assert_array_equal(image.pixels, shown.T[indices[..., 0]])
        assert image.notes
        if alpha:
            expected = cover[..., 0] if bits == 8 or deep else np.rint(cover[..., 0] / 257)
            np.testing.assert_array_equal(image.alpha, expected)


IMAGEMAGICK = [
    *("-depth 16 -interlace plane -compress LZW", "-depth 16 -interlace plane -compress Zip"),
    *("-depth 32 -interlace plane -compress LZW -define quantum:format=floating-point", "-depth 8 -compress JPEG"),
    *("-depth 64 -interlace plane -compress Zip -define quantum:format=floating-point", "-depth 12", "-depth 14"),
    *("-depth 32 -interlace plane -compress Zip", "-depth 16 -compress LZW -colorspace Gray", "-depth 4 -type Palette"),
    *("-depth 8 -compress ZSTD", "-depth 16 -compress ZSTD", "-depth 8 -compress LZMA", "-monochrome -compress Group4"),
    *("-depth 16 -define tiff:tile-geometry=32x32 -compress LZW -endian MSB", "-depth 8 -type Palette -compress RLE"),
    *("-depth 10 -colorspace Gray", "-depth 8 -define tiff:fill-order=lsb", "-monochrome -compress Fax"),
]


@needs_imagemagick
def test_what_imagemagick_writes_is_what_it_reads(tmp_path):
    paths = [tmp_path / f"{number}.tif" for number in range(len(IMAGEMAGICK))]
    for path, options in zip(paths, IMAGEMAGICK, strict=True):
        subprocess.run(["convert", "rose:", *options.split(), str(path)], check=True, capture_output=True, timeout=60)
    read = ["convert", *map(str, paths), "-type", "TrueColor", "-depth", "16", "rgb:-"]
    raw = subprocess.run(read, check=True, capture_output=True, timeout=60).stdout
    theirs = np.frombuffer(raw, "<u2").reshape(len(paths), 46, 70, 3) / 65535
    wrong = []
    for path, options, expected in zip(paths, IMAGEMAGICK, theirs, strict=True):
        pixels = decode(path.read_bytes(), name=options).pixels
        ours = pixels / (1 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max)
        error = np.abs((ours if ours.ndim == 3 else ours[..., None]) - expected).max()
        if error > (1.01 / 255 if "JPEG" in options or "Palette" in options else 1e-4):
            wrong.append((options, error))
    assert not wrong


@needs_imagemagick
def test_imagemagick_reads_a_palette_with_entries_of_8_bits_alike(tmp_path):
    indices = np.random.default_rng(0).integers(0, 256, (*SIZE, 1))
    entries = np.random.default_rng(1).integers(0, 256, (3, 256))
    data = tiff([packed(indices, 8)], SIZE, {258: [8], 262: 3, 277: 1, 320: entries.ravel()})
    (tmp_path / "a.tif").write_bytes(data)
    command = ["convert", tmp_path / "a.tif", "-depth", "8", f"RGB:{tmp_path / 'a.raw'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    theirs = np.fromfile(tmp_path / "a.raw", np.uint8).reshape(*SIZE, 3)
    np.testing.assert_array_equal(decode(data, name="x").pixels, theirs)
