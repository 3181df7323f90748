"""Reads the samples of a TIFF page as stored: tifffile locates strips and tiles, imagecodecs decompresses them.

A strip of a few hundred kilobytes may decompress to gigabytes, or contain a JPEG of another size than its page, so each
strip is decompressed only as far as the image needs it.

libtiff, through Pillow, decodes old compressions: fax, old-style JPEG, Thunderscan. Strips of old-style JPEG are
incomplete without the tags of the page, no other library supports Thunderscan, and damaged fax lines are decoded as in
other programs.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import Any

import imagecodecs
import numpy as np
from imagecodecs import DeflateError
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import COMPRESSION, TiffPage

from adacode_cli.imaging import exif, jp2_samples, jpeg_segments
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.lzw import sound_part
from adacode_cli.imaging.refusals import not_supported

GREY, RGB, INKS, YCBCR = 1, 2, 5, 6  # photometric interpretations
OTHER_PROGRAM = "magick a.tif -compress zip b.tif"
"""A command that converts many of the pages that are not supported."""

_CONTIGUOUS = 1  # a planar configuration: the samples of a pixel are adjacent
_REVERSED_BITS = 2  # a fill order
_HORIZONTAL, _FLOATING_POINT = 2, 3  # predictors
_UNSIGNED, _FLOAT, _UNDEFINED = 1, 3, 4  # sample formats
_COUNTS = (325, 279)  # of the bytes of tiles, of strips
_LERC_PARAMETERS = 50674  # version, additional compression
_OTHER_CHROMA = "subsampled chroma of another kind than 8 bits in one plane"
_MAX_CHANNELS = 16
_EXTRA_BYTES = 1 << 20
_LARGE_TILE = 1 << 24  # pixels; programs write tiles of up to 4096 pixels a side

Decoder = Callable[..., Samples]
"""(bytes of a strip or tile, out=an array of the required shape) → its samples."""


@dataclass(frozen=True)
class _Place:
    """The position and size of a strip or tile, which may extend beyond the edge of the image."""

    plane: int
    top: int
    left: int
    height: int
    width: int


def samples(page: TiffPage, *, name: str) -> Samples:
    """H×W×C in native byte order, integers in whole bytes; luma and chroma in JPEG become RGB, also in `page`.

    Raises InputError for unsupported kinds, and errors of libraries for damaged data.
    """
    bits = checked(page, name=name)
    unpack = _unpacker(page, bits, name=name)
    planes, _, height, width, count = page.shaped
    found = np.zeros((planes, height, width, count), _dtype(page))
    for place, data in zip(_places(page), _segments(page, bits), strict=True):
        part = unpack(data, place)[: height - place.top, : width - place.left]
        bottom, right = place.top + part.shape[0], place.left + part.shape[1]
        found[place.plane, place.top : bottom, place.left : right] = part
    if page.compression == COMPRESSION.JPEG and planes == 1 and (page.photometric, count) == (YCBCR, 3):
        page.photometric = RGB
    return found[0] if planes == 1 else np.ascontiguousarray(np.moveaxis(found[..., 0], 0, -1))


def checked(page: TiffPage, *, name: str) -> int:
    """Bits of a sample, if all samples of the page are of one supported kind. Raises InputError."""
    bits, count = page.bitspersample, page.samplesperpixel
    if not isinstance(bits, int) or not isinstance(page.sampleformat, int):
        raise not_supported("a TIFF with samples of different kinds", name=name)
    if page.sampleformat == _UNDEFINED and 1 <= bits <= 32:
        whole = max(8, 1 << (bits - 1).bit_length())
        page.sampleformat, page.dtype = _UNSIGNED, np.dtype(f"u{whole // 8}")
    if page.dtype is None or page.sampleformat not in (_UNSIGNED, _FLOAT) or page.dtype == np.uint64:
        kind = {1: "integers", 2: "signed integers", 3: "floating-point numbers"}.get(page.sampleformat, "values")
        stored = f" ({page.dtype})" if page.dtype is not None else ""
        raise not_supported(f"a TIFF with {kind} of {bits} bits{stored}", name=name)
    if page.imagedepth != 1 or count > _MAX_CHANNELS:
        what = f"{count} channels" if page.imagedepth == 1 else f"a volume of {page.imagedepth} layers"
        raise not_supported(f"a TIFF with {what}", name=name)
    return bits


def _dtype(page: TiffPage) -> np.dtype[Any]:
    return np.dtype(np.uint8 if page.bitspersample == 1 else page.dtype)


def is_subsampled(page: TiffPage) -> bool:
    """Whether chroma is subsampled in a way that this module supports."""
    return page.photometric == YCBCR and page.samplesperpixel == 3 and page.subsampling != (1, 1)


def _places(page: TiffPage) -> Iterator[_Place]:
    planes, _, height, width, _ = page.shaped
    if page.is_tiled:
        down, across = page.tilelength, page.tilewidth
        if down * across > height * width + _LARGE_TILE:
            raise ValueError("tiles that are far larger than the image")
    else:
        down, across = page.rowsperstrip, width
    for plane, top, left in product(range(planes), range(0, height, down), range(0, width, across)):
        yield _Place(plane, top, left, down if page.is_tiled else min(down, height - top), across)


def _segments(page: TiffPage, bits: int) -> Iterator[bytes]:
    """The bytes of each strip or tile."""
    offsets, counts, file = page.dataoffsets, page.databytecounts, page.parent.filehandle
    num = int(np.prod(page.chunked))
    # With too few strips, the rest of the image would be black.
    if len(offsets) < num:
        raise ValueError("strips or tiles are missing")
    if page.compression == COMPRESSION.NONE:
        # Some programs write other numbers than these; but if strips would overlap, the layout is wrong.
        counts = tuple(_num_bytes(page, bits, place) for place in _places(page))
        if any(count > room for count, room in zip(counts, _counts_until_next(offsets[:num], file.size), strict=True)):
            raise EOFError("a strip or tile is truncated")
    elif not any(code in page.tags for code in _COUNTS) or (num == 1 and not counts[0]):
        counts = _counts_until_next(offsets[:num], file.size)
    for offset, count in zip(offsets[:num], counts[:num], strict=True):
        if not offset or not count:
            raise ValueError("strips or tiles are empty")
        file.seek(offset)
        data = file.read(count)
        if len(data) < count:
            raise EOFError("a strip or tile is truncated")
        yield data


def _counts_until_next(offsets: tuple[int, ...], end: int) -> tuple[int, ...]:
    ends = dict(zip(sorted(offsets), [*sorted(offsets)[1:], end], strict=True))
    return tuple(ends[offset] - offset for offset in offsets)


def _num_bytes(page: TiffPage, bits: int, place: _Place) -> int:
    """The bytes of a decompressed strip or tile; each row begins at a byte."""
    if is_subsampled(page) and page.planarconfig == _CONTIGUOUS:
        across, down = _subsampling(page)
        return -(-place.width // across) * -(-place.height // down) * (across * down + 2)
    return place.height * -(-place.width * page.shaped[-1] * bits // 8)


def _subsampling(page: TiffPage) -> tuple[int, int]:
    """(horizontal, vertical) number of pixels that share chroma."""
    across, down = page.subsampling or (2, 2)
    if not (across in (1, 2, 4) and down in (1, 2, 4)):
        raise ValueError("impossible chroma subsampling")
    return across, down


def _unpacker(page: TiffPage, bits: int, *, name: str) -> Callable[[bytes, _Place], Samples]:
    """A function from the bytes of a strip or tile to H×W×C samples. Raises InputError."""
    kind, dtype = page.compression, _dtype(page)
    if kind in _IMAGES or kind == COMPRESSION.JPEG:
        decode = _jpeg(page, name=name) if kind == COMPRESSION.JPEG else _image_decoder(page, name=name)
        return lambda data, place: _decoded_image(data, decode, page, place)
    if kind not in _UNPACK:
        title = getattr(kind, "name", None)
        raise not_supported(f"a TIFF with data of compression {title or kind}", name=name, program=OTHER_PROGRAM)
    unpack = _UNPACK[kind]

    def unpacked(data: bytes, place: _Place) -> bytes:
        size = _num_bytes(page, bits, place)
        turned = bytes(imagecodecs.bitorder_decode(data)) if page.fillorder == _REVERSED_BITS else data
        found = unpack(turned, size)
        if len(found) < size:
            raise EOFError("a strip or tile is truncated")
        return found[:size]

    if is_subsampled(page):
        if bits != 8 or page.planarconfig != _CONTIGUOUS:
            raise not_supported(f"a TIFF with {_OTHER_CHROMA}", name=name, program=OTHER_PROGRAM)
        return lambda data, place: _chroma_repeated(unpacked(data, place), _subsampling(page), place)
    predictor = page.predictor if kind in _PREDICTED else 1
    fits = {1: True, _HORIZONTAL: bits in (8, 16, 32, 64), _FLOATING_POINT: dtype.kind == "f" and bits != 24}
    if not fits.get(predictor, False):
        raise not_supported(f"a TIFF with data of {bits} bits and predictor {int(predictor)}", name=name)
    return lambda data, place: _typed(unpacked(data, place), page, dtype, predictor, place)


def _typed(data: bytes, page: TiffPage, dtype: np.dtype[Any], predictor: int, place: _Place) -> Samples:
    order, bits = page.parent.byteorder, int(page.bitspersample)
    shape = (place.height, place.width, page.shaped[-1])
    if predictor == _FLOATING_POINT:
        # Bytes of one significance are adjacent, the highest first, independent of the byte order of the file.
        differences = np.frombuffer(data, dtype).reshape(shape)
        return np.asarray(imagecodecs.floatpred_decode(differences, axis=-2, out=np.empty(shape, dtype)))
    if bits == 24 and dtype.kind == "f":
        return np.asarray(imagecodecs.float24_decode(data, byteorder=order)).reshape(shape)
    if bits == 24:
        parts = np.frombuffer(data, np.uint8).reshape(*shape, 3).astype(dtype)
        low, middle, high = np.moveaxis(parts if order == "<" else parts[..., ::-1], -1, 0)
        return np.asarray(low | middle << 8 | high << 16)
    if bits not in (8, 16, 32, 64):
        packed = imagecodecs.packints_decode(
            data, dtype.newbyteorder(order), bits, runlen=place.width * page.shaped[-1]
        )
        return np.asarray(packed).astype(dtype, copy=False).reshape(shape)
    found = np.frombuffer(data, dtype.newbyteorder(order)).astype(dtype, copy=False).reshape(shape)
    if predictor == _HORIZONTAL:
        return np.asarray(imagecodecs.delta_decode(found, axis=-2, out=np.empty(shape, dtype)))
    return found


def _chroma_repeated(data: bytes, subsampling: tuple[int, int], place: _Place) -> Samples:
    """Blocks of luma samples with two chroma samples → three samples for each pixel."""
    across, down = subsampling
    blocks = np.frombuffer(data, np.uint8).reshape(-(-place.height // down), -(-place.width // across), -1)
    luma = blocks[..., :-2].reshape(*blocks.shape[:2], down, across).swapaxes(1, 2)
    chroma = blocks[..., -2:].repeat(down, 0).repeat(across, 1)
    return np.dstack([luma.reshape(chroma.shape[:2]), chroma])[: place.height, : place.width]


def _decoded_image(data: bytes, decode: Decoder, page: TiffPage, place: _Place) -> Samples:
    """A strip or tile that is an image itself, which may end at the edge of the page or extend beyond it."""
    _, _, height, width, count = page.shaped
    stored_height = min(place.height, height - place.top)
    heights = dict.fromkeys((place.height, stored_height, page.rowsperstrip or place.height))
    widths = dict.fromkeys((place.width, min(place.width, width - place.left)))
    refused: ValueError | None = None
    for size in product(heights, widths):
        shape = (*size, count) if count > 1 else size
        try:
            found = decode(data, out=np.empty(shape, _dtype(page)))
        except ValueError as error:  # It has another size or kind.
            refused = refused or error
        else:
            return found.reshape(*size, count)[: place.height]
    raise ValueError("a strip or tile has another size or depth than the image") from refused


def _jpeg(page: TiffPage, *, name: str) -> Decoder:
    if is_subsampled(page) and page.planarconfig != _CONTIGUOUS:
        raise not_supported("a TIFF with subsampled chroma in a plane of its own", name=name, program=OTHER_PROGRAM)
    stored = output = "unknown"
    if page.planarconfig == _CONTIGUOUS and page.samplesperpixel == 3:
        output = "rgb"
        stored = "ycbcr" if page.photometric == YCBCR else "rgb"
        if page.photometric not in (RGB, YCBCR):
            stored = output = "unknown"

    def decode(data: bytes, out: Samples) -> Samples:
        """The samples of a JPEG strip, in `out` where they fit. Raises InputError for too many scans."""
        jpeg_segments.check_scans(data, name=name)
        return np.asarray(
            imagecodecs.jpeg_decode(
                data,
                tables=page.jpegtables,
                colorspace=stored,
                outcolorspace=output,
                bitspersample=page.bitspersample,
                out=out,
            )
        )

    return decode


def _image_decoder(page: TiffPage, *, name: str) -> Decoder:
    codec = _IMAGES[page.compression]
    if page.photometric == YCBCR or (page.tags.valueof(_LERC_PARAMETERS) or (0, 0))[1]:
        what = "chroma" if page.photometric == YCBCR else "data that are packed twice"
        raise not_supported(f"a TIFF with {what} in {codec} strips", name=name)
    # imagecodecs loads each codec when its function is first accessed.
    decode = getattr(imagecodecs, f"{codec}_decode")

    def decoded(data: bytes, out: Samples) -> Samples:
        """The samples of a strip that is an image of its own, in `out`. Raises ValueError for one of another size."""
        options: dict[str, Any] = {"numthreads": 1} if codec in ("jpeg2k", "jpegxl") else {}
        if codec == "webp":
            # A fully opaque image may be stored without alpha.
            options = {"hasalpha": out.shape[-1] == 4}
        if codec == "jpeg2k":
            stored = jp2_samples.header_of(data, jp2_samples.codestream_of(data))
            if (stored.height, stored.width) != out.shape[:2]:
                raise ValueError("another size")  # The library would decode before it checks the size.
        return np.asarray(decode(data, out=out, **options))

    return decoded


def _decoded(codec: str, data: bytes, size: int) -> bytes:
    decode = getattr(imagecodecs, f"{codec}_decode")
    try:
        return bytes(decode(data, out=size))
    except RuntimeError:
        return bytes(decode(data, out=size + _EXTRA_BYTES))  # There may be a few more bytes than the image needs.


def _inflated(data: bytes, size: int) -> bytes:
    try:
        return bytes(imagecodecs.deflate_decode(data, out=size))
    except DeflateError:
        pass  # zlib gives a precise error, and accepts a few more bytes than the image needs.
    reader = zlib.decompressobj()
    found = reader.decompress(data, size)
    if not reader.eof:
        reader.decompress(reader.unconsumed_tail, size + _EXTRA_BYTES)
    return _complete(found, eof=reader.eof, stopped=bool(reader.unconsumed_tail))


def _unlzma(data: bytes, size: int) -> bytes:
    reader = lzma.LZMADecompressor()
    found = reader.decompress(data, size)
    if not reader.eof and not reader.needs_input:
        reader.decompress(b"", size + _EXTRA_BYTES)
    return _complete(found, eof=reader.eof, stopped=not reader.eof and not reader.needs_input)


def _complete(found: bytes, *, eof: bool, stopped: bool) -> bytes:
    if stopped:
        raise OSError("a strip or tile decompresses to more data than the image has")
    if not eof:
        raise EOFError("a strip or tile is truncated")
    return found


_UNPACK: dict[int, Callable[[bytes, int], bytes]] = {
    COMPRESSION.NONE: lambda data, _: data,
    COMPRESSION.LZW: lambda data, size: bytes(imagecodecs.lzw_decode(sound_part(data), out=size)),
    COMPRESSION.PACKBITS: lambda data, size: _decoded("packbits", data, size),
    COMPRESSION.ADOBE_DEFLATE: _inflated,
    COMPRESSION.DEFLATE: _inflated,
    COMPRESSION.LZMA: _unlzma,
    COMPRESSION.ZSTD: lambda data, size: _decoded("zstd", data, size),
    34926: lambda data, size: _decoded("zstd", data, size),
    50013: _inflated,
}
# libtiff, and thus most programs, ignores a predictor with other compressions.
_PREDICTED = frozenset(_UNPACK) - {COMPRESSION.NONE, COMPRESSION.PACKBITS}
_IMAGES = {
    33005: "jpeg2k",
    34712: "jpeg2k",
    34887: "lerc",
    34933: "png",
    34934: "jpegxr",
    22610: "jpegxr",
    34927: "webp",
    50001: "webp",
    50002: "jpegxl",
    52546: "jpegxl",
}

# compression → supported (samples of a pixel, bits of each)
_PILLOW_SAMPLES: dict[int, tuple[tuple[int, int], ...]] = {
    COMPRESSION.CCITTRLE: ((1, 1),),
    COMPRESSION.CCITT_T4: ((1, 1),),
    COMPRESSION.CCITT_T6: ((1, 1),),
    COMPRESSION.OJPEG: ((1, 8), (3, 8)),
    COMPRESSION.THUNDERSCAN: ((1, 4),),
}
PILLOW_COMPRESSIONS = frozenset(_PILLOW_SAMPLES)
"""Compressions of pages that `PillowReader` decodes."""


class PillowReader:
    """Decodes pages with Pillow from a copy of the file whose header makes the page the first one.

    Pillow cannot skip pages that it does not support.
    """

    def __init__(self, data: bytes, byteorder: str, *, is_big: bool) -> None:
        self._stream = BytesIO(data)  # copied on the first write
        self._order = byteorder
        self._first_at, self._number = (8, byteorder + "Q") if is_big else (4, byteorder + "I")

    def samples(self, page: TiffPage, *, name: str) -> Samples:
        """H×W×C uint8: indices of a palette as stored, all else as grey or RGB; `page` is changed accordingly.

        Raises InputError, and errors of libraries for damaged data.
        """
        kind = page.samplesperpixel, checked(page, name=name)
        if kind not in _PILLOW_SAMPLES[page.compression]:
            what = f"a TIFF with {kind[0]} samples of {kind[1]} bits as {COMPRESSION(page.compression).name}"
            raise not_supported(what, name=name, program=OTHER_PROGRAM)
        with TiffImageFile(self._beginning_at(page)) as image:
            # With an allocated image, Pillow does not apply its global pixel limit.
            image.im = Image.new(image.mode, image.size, None).im
            image.info.pop("xmp", None)  # Without an orientation tag, Pillow would apply the one in XMP.
            image.load()
            if image.mode == "P":
                return np.array(image)[..., None]
            is_grey = image.mode in ("1", "L")
            page.photometric, page.bitspersample = GREY if is_grey else RGB, 8
            found = np.array(image.convert("L" if is_grey else "RGB"))
        return found[..., None] if is_grey else found

    def _beginning_at(self, page: TiffPage) -> BytesIO:
        self._write(self._first_at, struct.pack(self._number, page.offset))
        tag = page.tags.get(exif.ORIENTATION)
        if tag is not None and isinstance(tag.value, int):
            self._write(tag.valueoffset, struct.pack(self._order + "H", 1))  # Pillow would apply the orientation.
        self._stream.seek(0)
        return self._stream

    def _write(self, at: int, value: bytes) -> None:
        self._stream.seek(at)
        self._stream.write(value)
