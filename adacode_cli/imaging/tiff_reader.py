"""TIFF at any depth: tifffile knows the structure, and each of three libraries decodes what it alone can.

Pillow decodes everything of 8 bits and less (all compressions, palettes, inks, YCbCr); tifffile what is deeper;
OpenCV the deep files whose compression tifffile lacks a codec for (LZW, floating-point prediction).
"""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from itertools import islice
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import TiffFile, TiffPage

from adacode_cli.errors import InputError
from adacode_cli.imaging import exif, exif_editing, iptc, pillow_reader, tiff_strips
from adacode_cli.imaging.cicp import SRGB
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.limits import MAX_PAGES, too_many_pages
from adacode_cli.imaging.metadata import EXIF_DAMAGED, Metadata, first_orientation
from adacode_cli.imaging.metadata_limits import MAX_BYTES, MAX_SUM_BYTES, Allowance, too_much
from adacode_cli.imaging.parsing import check_sizes, parsing
from adacode_cli.imaging.raster import INKS_LOST, Raster
from adacode_cli.imaging.resolution import Resolution
from adacode_cli.imaging.samples import rgb_from_inks, unpremultiplied

_COLORS = {0: 1, 1: 1, 2: 3, 5: 4}  # photometric interpretation → colour channels
_WHITE_IS_ZERO, _INKS = 0, 5
_PREMULTIPLIED, _PLAIN_ALPHA = 1, 2
_RAW_PHOTOMETRIC = (32803, 34892)
_DNG_VERSION = 50706
_BLOCKS = {"icc": 34675, "xmp": 700, "iptc": 33723}
_PHOTOSHOP = 34377
_OLD_JPEG = 6  # Its one stream lies behind a tag of its own.
_MAX_CHANNELS = 16
_HINT = "Open it in an image editor and save it as 8-bit, 16-bit or 32-bit float TIFF."


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The pages of a TIFF or BigTIFF, small copies and masks of pages left out.

    Raises InputError, also for camera raw files, which are TIFFs inside, for more than `max_pixels` in all pages, and
    for more pages or metadata than `limits` has.
    """
    with parsing("tiff", name=name), TiffFile(BytesIO(data)) as file:
        pages, lost = _pages(file, _num_directories(file, data, name=name))
        _refuse_raw(pages[0][1], data, name=name)
        sizes = [(page.imagewidth, page.imagelength) for _, page in pages]
        check_sizes(sizes, max_pixels, name=name, pixel_bytes=[_pixel_bytes(page) for _, page in pages])
        upright, turns = _orientations(pages, data)
        turned = _Rereadable(upright, file.byteorder, is_big=file.is_bigtiff)
        # Blocks that lie in the file one by one are no more than the file; pages can name the same bytes, too.
        allowance = Allowance(max(MAX_SUM_BYTES, len(data)))
        rasters = [_page(index, page, turned, allowance, name=name) for index, page in pages]
    rasters[0] = replace(rasters[0], lost=lost + rasters[0].lost)
    return [
        # The EXIF block of a page is made of its tags, and has no orientation of its own.
        replace(raster, orientation=first_orientation((turn,), raster.metadata.xmp))
        for raster, turn in zip(rasters, turns, strict=True)
    ]


class _Rereadable:
    """The bytes of a file, its pages upright, and a copy whose header names any page as the first.

    Pillow cannot pass by a page that it does not know how to decode, and OpenCV is asked for the first one alone.
    """

    def __init__(self, data: bytes, byteorder: str, *, is_big: bool) -> None:
        self.data = data
        self._stream = BytesIO(data)  # copied when it is first written to
        self._first_at, self._number = (8, byteorder + "Q") if is_big else (4, byteorder + "I")

    def beginning_at(self, page: TiffPage, index: int) -> BytesIO:
        """The copy, for as long as no other page is asked for."""
        if index:
            self._stream.seek(self._first_at)
            self._stream.write(struct.pack(self._number, page.offset))
        self._stream.seek(0)
        return self._stream


def _num_directories(file: TiffFile, data: bytes, *, name: str) -> int:
    """Along the links from directory to directory, before anything else of a page is read. Each counts once.

    Raises InputError for too many.
    """
    count, number, entry_bytes, at = ("=Q", "Q", 20, 8) if file.is_bigtiff else ("=H", "I", 12, 4)
    seen: set[int] = set()
    try:
        for _ in range(MAX_PAGES + 1):
            (start,) = struct.unpack_from(file.byteorder + number, data, at)
            if start == 0 or start in seen:
                return len(seen)
            seen.add(start)
            (num_entries,) = struct.unpack_from(file.byteorder + count[1], data, start)
            at = start + struct.calcsize(count) + num_entries * entry_bytes
    except (struct.error, OverflowError):
        return len(seen) + 1  # Directories that lead out of the file; tifffile says which.
    raise too_many_pages(name)


def _pages(file: TiffFile, most: int) -> tuple[list[tuple[int, TiffPage]], tuple[str, ...]]:
    """([(place in the file, page)], what is lost). The first picture is a page whatever it calls itself."""
    pages: list[tuple[int, TiffPage]] = []
    masks = 0
    # Where the links lead around in a circle, tifffile may follow them for ever.
    for index, page in enumerate(islice(file.pages, most)):
        if not isinstance(page, TiffPage):
            raise TypeError("a page without tags of its own")
        masks += bool(index and page.is_mask)
        if not index or not (page.is_reduced or page.is_mask):
            pages.append((index, page))
    return pages, (f"{masks} mask(s) of pages",) if masks else ()


def _pixel_bytes(page: TiffPage) -> int:
    """Of a pixel as it is decoded."""
    bits = page.bitspersample
    return page.samplesperpixel * (-(-max(bits) // 8) if isinstance(bits, tuple) else max(1, -(-bits // 8)))


def _page(index: int, page: TiffPage, file: _Rereadable, allowance: Allowance, *, name: str) -> Raster:
    # Where the list of strips is too short, all three libraries leave the rest of the picture black.
    if page.compression != _OLD_JPEG and len(page.dataoffsets) < np.prod(page.chunked):
        raise ValueError("strips or tiles are missing")
    said, lost = metadata_of_page(page, file.data, allowance)
    bits = page.bitspersample
    if isinstance(bits, int) and bits <= 8:
        raster = _shallow(file.beginning_at(page, index), said)
    else:
        raster = _deep(page, index, file, said, name=name)
    return replace(raster, lost=lost + raster.lost)


def _refuse_raw(page: TiffPage, data: bytes, *, name: str) -> None:
    raw = page.photometric in _RAW_PHOTOMETRIC or _DNG_VERSION in page.tags or data[8:10] == b"CR"
    # NEF and ARW begin with a preview; the picture itself lies in a subdirectory.
    if raw or (page.is_reduced and page.subifds):
        raise InputError(
            "is a camera raw file, not a finished picture", path=name, hint="Develop it to 16-bit TIFF first."
        )


def _orientations(pages: list[tuple[int, TiffPage]], data: bytes) -> tuple[bytes, list[int | None]]:
    """(the file with orientation 1, what each page said): some of the libraries would turn the picture too."""
    patched = bytearray(data)
    found: list[int | None] = [None] * len(pages)
    for number, (_, page) in enumerate(pages):
        tag = page.tags.get(exif.ORIENTATION)
        if tag is not None and isinstance(tag.value, int):
            struct.pack_into(f"{page.parent.byteorder}H", patched, tag.valueoffset, 1)
            found[number] = int(tag.value)
    return bytes(patched), found


def _exif_and_resolution(page: TiffPage, data: bytes) -> tuple[bytes | None, Resolution | None]:
    """Raises DamagedExif."""
    parts = exif.sections(data, page.offset)
    block = exif.block_of(parts)
    found = exif_editing.resolution_of(block) if block is not None else None
    # Every TIFF has tags of resolution, most of them empty phrases: alone they are no EXIF.
    says_more = parts.exif or parts.gps or any(entry.code not in exif.RESOLUTION for entry in parts.main)
    return block if says_more else None, found


def metadata_of_page(page: TiffPage, data: bytes, allowance: Allowance) -> tuple[Metadata, tuple[str, ...]]:
    """(what the page of the file `data` says, what of it is lost): pages may share a block, and so say much."""
    if allowance.is_spent:
        return Metadata(), ("metadata of further pages",)
    lost = []
    try:
        block, resolution = _exif_and_resolution(page, data)
    except exif.DamagedExif:
        # The pixels are readable, and the tags beside them are not worth refusing those.
        block, resolution = None, None
        lost.append(EXIF_DAMAGED)
    found: dict[str, bytes | None] = {}
    for name, code in _BLOCKS.items():
        tag = page.tags.get(code)
        if tag is not None and tag.valuebytecount > MAX_BYTES[name]:
            lost.append(too_much(name))
        else:
            found[name] = _bytes(page, code)
    resources = _bytes(page, _PHOTOSHOP) if found.get("iptc") is None else None
    records = iptc.unwrapped(resources) if resources is not None else found.get("iptc")
    found["iptc"] = iptc.without_padding(records) if records is not None else None
    said, beyond = allowance.granted(Metadata(found.get("icc"), block, found.get("xmp"), found["iptc"], resolution))
    return said, (*lost, *beyond)


def _bytes(page: TiffPage, code: int) -> bytes | None:
    """A tag's bytes as stored, whatever type its writer gave them."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    handle = page.parent.filehandle
    handle.seek(tag.valueoffset)
    found: bytes = handle.read(tag.valuebytecount)
    return found or None


def _shallow(stream: BytesIO, said: Metadata) -> Raster:
    with TiffImageFile(stream) as picture:
        # Given an image to fill, Pillow does not ask its process-wide pixel limit.
        picture.im = Image.new(picture.mode, picture.size, None).im
        picture.info.pop("xmp", None)  # Pillow would turn the picture as that says, where no tag does.
        picture.load()
        return pillow_reader.from_pillow(picture, said)


def _deep(page: TiffPage, index: int, file: _Rereadable, said: Metadata, *, name: str) -> Raster:
    colors = _COLORS.get(int(page.photometric))
    if colors is None or not colors <= page.samplesperpixel <= _MAX_CHANNELS or page.imagedepth != 1:
        kind = getattr(page.photometric, "name", page.photometric)
        raise InputError(f"holds {page.bitspersample}-bit {kind} data, which is not read", path=name, hint=_HINT)
    stored, lost = _in_our_depth(_samples(page, index, file), name=name)
    pixels = stored[..., :colors]
    if page.photometric == _WHITE_IS_ZERO:
        pixels = (np.iinfo(pixels.dtype).max if pixels.dtype == np.uint16 else 1) - pixels
    if page.photometric == _INKS:
        pixels, lost, said = rgb_from_inks(pixels), (*lost, INKS_LOST), replace(said, icc=None, cicp=SRGB)
    pixels = np.ascontiguousarray(pixels[..., 0] if colors == 1 else pixels)
    alpha, kind, dropped = _alpha(page, stored, colors)
    if alpha is not None and kind == _PREMULTIPLIED:
        pixels = unpremultiplied(pixels, alpha)
    return Raster(pixels, alpha, said, lost=lost + dropped)


def _samples(page: TiffPage, index: int, file: _Rereadable) -> Samples:
    """H×W×C in native byte order."""
    # tifffile takes an empty strip for a black one.
    if 0 in page.databytecounts or 0 in page.dataoffsets:
        raise ValueError("strips or tiles are empty")
    try:
        samples = tiff_strips.samples(page)
    except (ValueError, KeyError):
        # What tifffile raises for a codec that it has not got.
        return _by_opencv(page, file.beginning_at(page, index))
    if page.axes.startswith("S"):
        samples = np.moveaxis(samples, 0, -1)
    return samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def _by_opencv(page: TiffPage, stream: BytesIO) -> Samples:
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    samples: Any = cv2.imdecode(np.frombuffer(stream.getbuffer(), np.uint8), cv2.IMREAD_UNCHANGED)
    # OpenCV narrows what it does not know (grey with alpha) instead of refusing it.
    if samples is None or samples.size != shape[0] * shape[1] * shape[2] or samples.dtype != page.dtype:
        codec = getattr(page.compression, "name", page.compression)
        raise ValueError(f"damaged, or no decoder for its {codec} data")
    ordered = [2, 1, 0, 3][: shape[2]] if shape[2] in (3, 4) else slice(None)
    return np.asarray(samples.reshape(shape)[..., ordered])


def _in_our_depth(samples: Samples, *, name: str) -> tuple[Samples, tuple[str, ...]]:
    kind = samples.dtype
    if kind == np.uint16:
        return samples.astype(np.uint16, copy=False), ()
    if kind == np.uint32:
        return (samples / np.float64(2**32 - 1)).astype(np.float32), ("32-bit integers (read as 32-bit float)",)
    if kind not in (np.float16, np.float32, np.float64):
        raise InputError(f"holds {kind} samples, which are not read", path=name, hint=_HINT)
    lost: tuple[str, ...] = ("64-bit float (read as 32-bit float)",) if kind == np.float64 else ()
    if not np.isfinite(samples).all():
        samples, lost = np.nan_to_num(samples, nan=0.0), (*lost, "values that are no numbers (set to 0)")
    if samples.min() < 0 or samples.max() > 1:
        samples, lost = np.clip(samples, 0, 1), (*lost, "values outside 0 to 1 (clipped)")
    return samples.astype(np.float32), lost


def _alpha(page: TiffPage, stored: Samples, colors: int) -> tuple[Samples | None, int, tuple[str, ...]]:
    """(alpha, kind of extra sample, what is lost); four RGB samples without a word on the fourth mean RGBA."""
    count = stored.shape[2] - colors
    if count <= 0:
        return None, 0, ()
    kinds = [int(kind) for kind in page.extrasamples] or [_PLAIN_ALPHA]
    if kinds[0] not in (_PREMULTIPLIED, _PLAIN_ALPHA):
        return None, 0, (f"{count} extra channel(s) of unstated meaning",)
    lost = (f"{count - 1} extra channel(s) beyond alpha",) if count > 1 else ()
    return np.ascontiguousarray(stored[..., colors]), kinds[0], lost
