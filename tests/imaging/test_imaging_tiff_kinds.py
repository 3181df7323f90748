"""Colours and compressions of rare or odd TIFFs: read as other programs read them, or refused for what they are."""

import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import tifffile
from image_fixtures import noise, red_cyan_profile, saved, smooth
from PIL import Image
from tiff_files import by_tifffile, tiff

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.quiet import quiet_libraries

SUBSAMPLING, RANGES, INK_SET, LERC_PARAMETERS = 530, 532, 332, 50674


def difference(pixels, expected):
    return np.abs(pixels.astype(float) - expected).max()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_inks_go_through_their_profile(dtype):
    """As those of 8 bits do, which Pillow's LittleCMS converts."""
    inks = np.zeros((4, 256, 4), np.uint8)
    inks[..., 0] = np.arange(256)
    inks[2:, :, 3] = np.arange(256)
    shallow = decode(saved(Image.fromarray(inks, mode="CMYK"), "TIFF", icc_profile=red_cyan_profile()), name="x")
    deep = inks.astype(np.uint16) * 257 if dtype == np.uint16 else (inks / 255).astype(np.float32)
    image = decode(by_tifffile(deep, photometric="separated", iccprofile=red_cyan_profile()), name="x")
    assert image.pixels.dtype == dtype
    assert difference(image.pixels * (1 / 257 if dtype == np.uint16 else 255), shallow.pixels) < 1.5
    assert image.icc is None
    assert any("profile" in what for what in image.lost)
    plain = decode(by_tifffile(deep, photometric="separated", iccprofile=b"no profile" * 20), name="x")
    np.testing.assert_array_equal(plain.pixels, decode(by_tifffile(deep, photometric="separated"), name="x").pixels)


def test_inks_are_divided_by_their_alpha_before_they_are_converted():
    inks, cover = noise((5, 6, 4), np.uint8), 128
    stored = np.dstack([(inks * (cover / 255)).round(), np.full((5, 6), cover)]).astype(np.uint8)
    image = decode(by_tifffile(stored, photometric="separated", extrasamples=["assocalpha"]), name="x")
    expected = np.asarray(Image.fromarray(inks, mode="CMYK").convert("RGB"))
    assert difference(image.pixels, expected) <= 3
    assert (image.alpha == cover).all()


@pytest.mark.parametrize(("kind", "white"), [(8, 65535), (9, 65280)], ids=["two's complement", "as ICC has it"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lab_becomes_srgb(kind, white, dtype):
    lab = np.array([[[0, 0, 0], [100, 0, 0], [53.39, 0, 0], [54.29, 80.81, 69.89], [29.57, 68.29, -112.03]]])
    expected = [[[0, 0, 0], [255, 255, 255], [127, 127, 127], [255, 0, 0], [0, 0, 255]]]
    if dtype == np.uint8:
        stored = np.rint(lab * [2.55, 1, 1]).astype(int)
        stored[..., 1:] = (stored[..., 1:] + (128 if kind == 9 else 0)) % 256
    else:
        stored = np.rint(lab * [white / 100, 256, 256]).astype(int)
        stored[..., 1:] = (stored[..., 1:] + (32768 if kind == 9 else 0)) % 65536
    strip = stored.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    bits = np.dtype(dtype).itemsize * 8
    image = decode(tiff([strip], (1, 5), {258: [bits] * 3, 262: kind, 277: 3}), name="x")
    assert image.pixels.dtype == dtype
    assert difference(image.pixels / (np.iinfo(dtype).max / 255), expected) < (25 if dtype == np.uint8 else 1)
    assert any("L*a*b*" in what for what in image.lost)


def subsampled(image, across, down):
    """Blocks of the luma of an H×W×3 YCbCr image whose chroma is that of the first pixel of each."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
    rows = []
    for top in range(0, padded.shape[0], down):
        for left in range(0, padded.shape[1], across):
            block = padded[top : top + down, left : left + across]
            rows.append(block[..., 0].tobytes() + block[0, 0, 1:].tobytes())
    return b"".join(rows)


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (1, 2)])
@pytest.mark.parametrize("packing", [1, 5, 8])
def test_chroma_of_fewer_pixels(factors, packing):
    picture = np.array(Image.fromarray(smooth(21, 30)).convert("YCbCr"))
    across, down = factors
    strips = [subsampled(picture[top : top + 8], across, down) for top in (0, 8, 16)]
    strips = [{1: bytes, 5: imagecodecs.lzw_encode, 8: zlib.compress}[packing](strip) for strip in strips]
    tags = {258: [8] * 3, 259: packing, 262: 6, 277: 3, 278: 8, SUBSAMPLING: factors}
    image = decode(tiff(strips, (21, 30), tags), name="x")
    shared = picture.copy()
    for y, x in np.ndindex(21, 30):
        shared[y, x, 1:] = picture[y // down * down, x // across * across, 1:]
    assert difference(image.pixels, np.asarray(Image.fromarray(shared, mode="YCbCr").convert("RGB"))) <= 1


def test_luma_between_16_and_235():
    picture = np.array([[[16, 128, 128], [235, 128, 128], [81, 90, 240]]], np.uint8)
    tags = {258: [8] * 3, 262: 6, 277: 3, SUBSAMPLING: (1, 1), RANGES: (16, 235, 128, 240, 128, 240)}
    image = decode(tiff([picture.tobytes()], (1, 3), tags), name="x")
    assert difference(image.pixels, [[[0, 0, 0], [255, 255, 255], [254, 0, 0]]]) <= 2


@pytest.mark.parametrize("colors", ["RGB", "YCbCr"])
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 16}, {"tile": (32, 32)}])
def test_jpeg_strips(colors, layout):
    scene = smooth(45, 70)
    data = by_tifffile(
        scene,
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 95, **({"outcolorspace": "rgb"} if colors == "RGB" else {})},
        subsampling=None if colors == "RGB" else (2, 2),
        **layout,
    )
    pixels = decode(data, name="x").pixels
    assert np.abs(pixels.astype(int) - scene).mean() < 2
    if not layout:
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(BytesIO(data)).convert("RGB")))


def test_old_style_jpeg():
    scene = smooth(48, 64)
    jpeg = saved(scene, "JPEG", quality=95, subsampling=0)
    tags = {258: [8] * 3, 259: 6, 262: 6, 277: 3, SUBSAMPLING: (1, 1), 513: 8, 514: len(jpeg)}
    image = decode(tiff([jpeg], (48, 64), tags), name="x")
    assert difference(image.pixels, np.asarray(Image.open(BytesIO(jpeg)))) <= 2


def test_thunderscan():
    values = np.arange(64, dtype=np.uint8).reshape(4, 16) % 16
    image = decode(tiff([(values | 0xC0).tobytes()], (4, 16), {258: 4, 259: 32809}), name="x")
    np.testing.assert_array_equal(image.pixels, values * 17)


@pytest.mark.parametrize("packing", ["group3", "group4", "tiff_ccitt"])
def test_a_fax_with_a_palette_of_8_bits(packing):
    bits = noise((20, 33), np.uint8) > 128
    data = bytearray(saved(Image.fromarray(bits), "TIFF", compression=packing))
    with tifffile.TiffFile(BytesIO(bytes(data))) as file:
        strip, page = file.pages[0].dataoffsets[0], file.pages[0]
        packed = bytes(data[strip : strip + page.databytecounts[0]])
        extra = {266: page.fillorder, 292: page.tags.valueof(292) or 0, 293: page.tags.valueof(293) or 0}
        inverted = page.photometric == 0
    entries = [10, 200, 20, 100, 30, 50]
    kind = {"group3": 3, "group4": 4, "tiff_ccitt": 2}[packing]
    image = decode(tiff([packed], (20, 33), {258: 1, 259: kind, 262: 3, 320: entries, **extra}), name="x")
    expected = np.array(entries).reshape(3, 2).T[(~bits if inverted else bits).astype(int)]
    np.testing.assert_array_equal(image.pixels, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_and_alpha_in_planes(dtype):
    samples = noise((9, 13, 2), dtype)
    planes = np.ascontiguousarray(np.moveaxis(samples, -1, 0))
    options = {"photometric": "minisblack", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
    for packing in ({}, {"compression": "lzw"}, {"compression": "zlib", "predictor": True}):
        image = decode(by_tifffile(planes, **options, **packing), name="x")
        np.testing.assert_array_equal(image.pixels, samples[..., 0])
        np.testing.assert_array_equal(image.alpha, samples[..., 1])


def test_bands_without_a_word_on_them_are_no_alpha():
    samples = noise((6, 7, 6), np.uint16)
    strip = samples.astype("<u2").tobytes()
    image = decode(tiff([strip], (6, 7), {258: [16] * 6, 262: 2, 277: 6}), name="x")
    np.testing.assert_array_equal(image.pixels, samples[..., :3])
    assert image.alpha is None
    assert any("3 extra channel(s)" in what for what in image.lost)


@pytest.mark.parametrize("packing", [1, 5, 8])
def test_counts_of_bytes_that_are_missing_or_wrong(packing):
    samples = noise((8, 9), np.uint8)
    pack = {1: bytes, 5: imagecodecs.lzw_encode, 8: zlib.compress}[packing]
    strips = [pack(samples[:4].tobytes()), pack(samples[4:].tobytes())]
    files = [tiff(strips, (8, 9), {259: packing}, leave_out=(279,))]
    files += [tiff(strips, (8, 9), {279: [0, 7]})] if packing == 1 else []
    files += [tiff([pack(samples.tobytes())], (8, 9), {259: packing, 279: 0})]
    for data in files:
        np.testing.assert_array_equal(decode(data, name="x").pixels, samples)


def test_plain_strips_that_overlap_are_damage():
    data = tiff([STRIP[:48], STRIP[:48]], (8, 12), {273: [8, 20]})
    with pytest.raises(InputError, match="truncated"):
        decode(data, name="x")


def test_a_predictor_beside_plain_data_is_as_if_it_were_not_there():
    samples = noise((8, 9), np.uint16)
    data = tiff([samples.astype("<u2").tobytes()], (8, 9), {258: 16, 317: 2})
    np.testing.assert_array_equal(decode(data, name="x").pixels, samples)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_numbers_of_unstated_kind_are_whole_ones(bits):
    strip = noise((4, 6), np.uint8).tobytes() * 2
    tags = {258: bits, 339: 4}
    pixels = decode(tiff([strip], (4, 6), tags), name="x").pixels
    np.testing.assert_array_equal(pixels, decode(tiff([strip], (4, 6), {258: bits}), name="x").pixels)


STRIP = noise((4, 24), np.uint8).tobytes()
NOT_SUPPORTED = {
    "a compression that nobody has": ({259: 34661}, "compression JBIG"),
    "a compression that nobody knows": ({259: 4711}, "compression 4711"),
    "whole numbers with a sign": ({339: 2}, "signed integers of 8 bits"),
    "whole numbers of 64 bits": ({258: 64}, "integers of 64 bits"),
    "complex numbers": ({258: 64, 339: 6}, "64 bits"),
    "layers": ({32997: 2}, "a volume of 2 layers"),
    "depths that differ": ({258: [8, 4, 4], 262: 2, 277: 3}, "samples of different kinds"),
    "inks of other names": ({258: [8] * 4, 262: 5, 277: 4, INK_SET: 2}, "other inks than CMYK"),
    "one ink": ({262: 5}, "SEPARATED colours in 1 samples"),
    "logarithms of light": ({258: 16, 262: 32844}, "LOGL"),
    "a mask alone": ({258: 1, 262: 4}, "MASK"),
    "fax in three samples": ({258: [1] * 3, 259: 4, 262: 2, 277: 3}, "3 samples of 1 bits as CCITTFAX4"),
    "differences of packed bits": ({258: 4, 259: 5, 317: 2}, "4 bits and predictor 2"),
    "an unknown prediction": ({259: 5, 317: 9}, "predictor 9"),
    "many channels": ({258: [8] * 17, 277: 17}, "17 channels"),
    "chroma of 16 bits": ({258: [16] * 3, 262: 6, 277: 3, SUBSAMPLING: (2, 2)}, "subsampled chroma"),
    "packed twice": ({259: 34887, LERC_PARAMETERS: (4, 1)}, "packed twice"),
    "colours of which it says nothing": ({258: [8] * 3, 277: 3}, "colours of an unstated kind"),
}

NOBODY_READS = frozenset(
    {
        "layers",
        "depths that differ",
        "differences of packed bits",
        "an unknown prediction",
        "many channels",
        "packed twice",
        "colours of which it says nothing",
        "whole numbers with a sign",
        "complex numbers",
        "whole numbers of 64 bits",
    }
)


@pytest.mark.parametrize("case", NOT_SUPPORTED)
def test_what_nothing_reads_is_not_called_damaged(case):
    tags, what = NOT_SUPPORTED[case]
    leave_out = (262,) if "says nothing" in case else ()
    with pytest.raises(InputError, match="is not supported: it is a TIFF with") as caught:
        decode(tiff([STRIP], (4, 6), tags, leave_out=leave_out), name="x")
    assert what in caught.value.message
    assert "damaged" not in caught.value.message
    assert "Convert it" in caught.value.hint
    # On Windows, "convert" is a program for disks; and other programs do not read such numbers either.
    assert "convert " not in caught.value.hint
    assert ("magick" in caught.value.hint) == (case not in NOBODY_READS)


def test_a_decisive_tag_that_cannot_be_read_is_damage():
    """Without its compression, the packed bytes would be taken for pixels."""
    data = bytearray(tiff([imagecodecs.lzw_encode(STRIP) + bytes(99)], (4, 24), {259: 5}))
    at = data.index(struct.pack("<HHI", 259, 3, 1))
    data[at : at + 8] = struct.pack("<HHI", 259, 4, 1 << 20)
    with pytest.raises(InputError, match="tag 259 cannot be read"):
        decode(bytes(data), name="x")


def test_libraries_say_nothing_on_the_terminal(capfd):
    scene = smooth(40, 50)
    options = [{"compression": name} for name in ("jpeg", "lzw", "zlib", "zstd", "lzma", "packbits", "webp", "png")]
    options += [{"compression": name} for name in ("jpegxl", "jpeg2000", "jpegxr", "lerc")]
    files = [by_tifffile(scene, photometric="rgb", **option) for option in options]
    files += [saved(Image.fromarray(scene).convert("1"), "TIFF", compression=name) for name in ("group3", "group4")]
    refused = 0
    with quiet_libraries():
        for data in files:
            for at in (len(data) // 3, len(data) // 2):
                try:
                    decode(data[:at] + b"\xff\0\x80" * 9 + data[at + 27 :], name="x")
                except InputError:
                    refused += 1
    assert refused > 8
    assert capfd.readouterr() == ("", "")
