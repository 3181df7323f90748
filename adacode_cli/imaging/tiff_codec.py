"""TIFF of any depth: pages, which tifffile finds and writes, and their metadata.

`tiff_strips` reads the samples of a page, and `tiff_colors` interprets them. Files are written without loss: with
deflate, unchanged depth and channels, and ICC and EXIF in their usual tags. tifffile does not write EXIF directories;
they are appended and linked afterwards.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from itertools import accumulate, islice, takewhile
from typing import Any, BinaryIO

import numpy as np
import tifffile
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import TiffFile, TiffPage

from adacode_cli import formats
from adacode_cli.formats import Format
from adacode_cli.imaging import exif, exif_editing, memory_limit, photoshop, tiff_colors, tiff_strips, tiff_tags
from adacode_cli.imaging.codec import Codec, Page
from adacode_cli.imaging.image import FurtherPage, Raster, Samples
from adacode_cli.imaging.metadata import EXIF_DAMAGED, Allowance, Metadata, first_orientation, over_limit_text
from adacode_cli.imaging.refusals import LIBRARY_ERRORS, counted_pixels, parsing, too_many_pages
from adacode_cli.imaging.resolution import Resolution, rational
from adacode_cli.limits import MAX_METADATA_BYTES, MAX_PAGES, MAX_SUM_OF_METADATA_BYTES, WINDOW_PIXELS

_BLOCKS = {"icc": 34675, "xmp": 700, "iptc": 33723}
_PHOTOSHOP = 34377
_PALETTE, _UNSIGNED = 3, 1  # of PhotometricInterpretation, of SampleFormat
# If tifffile cannot read one of these tags, it uses the default, and the image would be wrong.
_DECISIVE = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347, 530}
)
_POINTERS = {exif.EXIF_DIRECTORY: "ExifTag", exif.GPS_DIRECTORY: "GPSTag"}
_BYTE, _ASCII, _SHORT, _LONG, _LONG8 = 1, 2, 3, 4, 16
_FRACTIONS = {5: "I", 10: "i"}
_XMP, _IPTC = 700, 33723
_PAGE = 2  # NewSubfileType: a page of a document
_NOTHING = exif.Sections((), (), ())
_MAX_BYTES_WITHOUT_BIG = 2**32 - 2**25  # Offsets of 32 bits must also reach the directories after the pixels.


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The first pages, as from `read_pages`."""
    return read_pages(data, max_pixels, 0, name=name)[0]


def read_pages(
    data: bytes, max_pixels: int, first_page: int, *, name: str
) -> tuple[list[Raster], tuple[FurtherPage, ...]]:
    """Pages of a TIFF or BigTIFF, see `ReadPages`, without reduced copies and masks of pages.

    Raises InputError, also for a page of more than `max_pixels`, and for more pages than `limits` allows.
    """
    with parsing("tiff", name=name), TiffFile(BytesIO(data)) as file:
        pages, lost = _pages(file, _num_directories(file, data, name=name))
        if not pages:
            raise ValueError("it has no page")
        counts = [
            counted_pixels(page.imagewidth, page.imagelength, max_pixels, name=name, pixel_bytes=_pixel_bytes(page))
            for page in pages
        ]
        end = first_page + _num_together(counts[first_page:])
        memory_limit.permit(sum(counts[first_page:end]))
        old = tiff_strips.PillowReader(data, file.byteorder, is_big=file.is_bigtiff)
        # Separate blocks are together not larger than the file, but pages can share the same bytes.
        allowance = Allowance(max(MAX_SUM_OF_METADATA_BYTES, len(data)))
        for page in pages[:first_page]:
            metadata_of_page(page, data, allowance)
        rasters = [_page(page, data, old, allowance, name=name) for page in pages[first_page:end]]
        following = tuple((page.imagelength, page.imagewidth, _sample_bytes(page)) for page in pages[end:])
    if first_page == 0:
        rasters[0] = replace(rasters[0], lost=lost + rasters[0].lost)
    return rasters, following


def _num_together(counts: Sequence[int]) -> int:
    """The number of pages, of these numbers of pixels, that are decoded together: at least one."""
    together = takewhile(lambda pixels: pixels <= WINDOW_PIXELS, accumulate(counts))
    return max(1, sum(1 for _ in together))


def _sample_bytes(page: TiffPage) -> int:
    """The largest number of bytes of a decoded sample; the colours of a palette have 16 bits."""
    bits = page.bitspersample
    max_bits = max(bits) if isinstance(bits, tuple) else bits
    if max_bits <= 8 and page.photometric != _PALETTE:
        return 1
    return 2 if max_bits <= 16 and page.sampleformat == _UNSIGNED else 4


def _num_directories(file: TiffFile, data: bytes, *, name: str) -> int:
    """The number of directories, each counted once, before anything else is read.

    Raises InputError for too many, and ValueError if the link to one leads out of the file, of which the end is missing
    then. Where no link stands behind a directory, it is the last one.
    """
    count, number, entry_bytes, at = ("=Q", "Q", 20, 8) if file.is_bigtiff else ("=H", "I", 12, 4)
    seen: set[int] = set()
    try:
        for _ in range(MAX_PAGES + 1):
            (start,) = struct.unpack_from(file.byteorder + number, data, at)
            if start == 0 or start in seen:
                return len(seen)
            if seen and start + struct.calcsize(count) > len(data):
                raise ValueError(f"the link to directory {len(seen) + 1} leads out of the file, so pages are missing")
            seen.add(start)
            (num_entries,) = struct.unpack_from(file.byteorder + count[1], data, start)
            at = start + struct.calcsize(count) + num_entries * entry_bytes
    except (struct.error, OverflowError):
        return len(seen) + 1  # tifffile reports it if the first directory is not there.
    raise too_many_pages(name)


def _pages(file: TiffFile, max_pages: int) -> tuple[list[TiffPage], tuple[str, ...]]:
    """(pages, losses). The first image always counts as a page."""
    pages: list[TiffPage] = []
    masks = 0
    # If the links between directories form a loop, tifffile may follow them forever.
    for index, page in enumerate(islice(file.pages, max_pages)):
        if not isinstance(page, TiffPage):
            raise TypeError("a page without tags of its own")
        masks += bool(index and page.is_mask)
        if not index or not (page.is_reduced or page.is_mask):
            pages.append(page)
    return pages, (f"{masks} mask(s) of pages",) if masks else ()


def _check_tags(page: TiffPage, data: bytes) -> None:
    """Raises ValueError if the directory has a decisive tag that could not be read."""
    order, (count, size) = page.parent.byteorder, ("Q", 20) if page.parent.is_bigtiff else ("H", 12)
    (num,) = struct.unpack_from(order + count, data, page.offset)
    start = page.offset + struct.calcsize(order + count)
    for at in range(start, start + num * size, size):
        (code,) = struct.unpack_from(order + "H", data, at)
        if code in _DECISIVE and code not in page.tags:
            raise ValueError(f"tag {code} cannot be read")


def _pixel_bytes(page: TiffPage) -> int:
    """The number of bytes of a decoded pixel."""
    bits = page.bitspersample
    return page.samplesperpixel * (-(-max(bits) // 8) if isinstance(bits, tuple) else max(1, -(-bits // 8)))


def _page(page: TiffPage, data: bytes, old: tiff_strips.PillowReader, allowance: Allowance, *, name: str) -> Raster:
    _check_tags(page, data)
    metadata, lost = metadata_of_page(page, data, allowance)
    is_old = page.compression in tiff_strips.PILLOW_COMPRESSIONS
    stored = old.samples(page, name=name) if is_old else tiff_strips.samples(page, name=name)
    raster = tiff_colors.raster(page, stored, metadata, name=name)
    # The EXIF block of a page is made from its tags, and has no orientation of its own.
    return replace(raster, lost=lost + raster.lost, orientation=first_orientation((_orientation(page),), metadata.xmp))


def _specific(data: bytes) -> Format | None:
    """Camera raw, if it has the structure of a TIFF; what is damaged counts as a TIFF."""
    with suppress(*LIBRARY_ERRORS), TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        if isinstance(page, TiffPage) and _is_raw(page, data):
            return formats.named("raw")
    return None


def _is_raw(page: TiffPage, data: bytes) -> bool:
    codes = [tag.code for tag in page.tags]
    return tiff_tags.is_raw(page.photometric, codes, data[:16], is_preview=bool(page.is_reduced and page.subifds))


def _orientation(page: TiffPage) -> int | None:
    value = page.tags.valueof(exif.ORIENTATION)
    return value if isinstance(value, int) else None


def _exif_and_resolution(page: TiffPage, data: bytes) -> tuple[bytes | None, Resolution | None]:
    """(the EXIF block made from the tags of a page, its resolution). Raises DamagedExif."""
    parts = exif.sections(data, page.offset)
    block = exif.block_of(parts)
    resolution = exif_editing.resolution_of(block) if block is not None else None
    # Every TIFF has tags for the resolution, often without meaning; these alone are not EXIF.
    has_more = parts.exif or parts.gps or any(entry.code not in exif.RESOLUTION for entry in parts.main)
    return block if has_more else None, resolution


def metadata_of_page(page: TiffPage, data: bytes, allowance: Allowance) -> tuple[Metadata, tuple[str, ...]]:
    """(the metadata of a page of the file `data`, the losses). `allowance` limits the sum over all pages."""
    if allowance.is_spent:
        return Metadata(), ("metadata of further pages",)
    lost = []
    try:
        block, resolution = _exif_and_resolution(page, data)
    except exif.DamagedExif:
        # The pixels are readable, so the page is not refused because of its tags.
        block, resolution = None, None
        lost.append(EXIF_DAMAGED)
    blocks: dict[str, bytes | None] = {}
    for name, code in _BLOCKS.items():
        tag = page.tags.get(code)
        if tag is not None and tag.valuebytecount > MAX_METADATA_BYTES[name]:
            lost.append(over_limit_text(name))
        else:
            blocks[name] = _bytes(page, code)
    resources = _bytes(page, _PHOTOSHOP) if blocks.get("iptc") is None else None
    records = photoshop.unwrapped(resources) if resources is not None else blocks.get("iptc")
    blocks["iptc"] = photoshop.without_padding(records) if records is not None else None
    metadata, beyond_limit = allowance.granted(
        Metadata(blocks.get("icc"), block, blocks.get("xmp"), blocks["iptc"], resolution)
    )
    return metadata, (*lost, *beyond_limit)


def _bytes(page: TiffPage, code: int) -> bytes | None:
    """The bytes of a tag as stored, independent of its type."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    handle = page.parent.filehandle
    handle.seek(tag.valueoffset)
    data: bytes = handle.read(tag.valuebytecount)
    return data or None


def write(pages: Sequence[Page], _quality: int = 0) -> bytes:
    """A TIFF file with a page for each H×W×C samples (uint8, uint16, float32) and their metadata.

    C = 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha). Tags of an EXIF block that cannot be read are left out;
    see `readable`.
    """
    buffer = BytesIO()
    document = _Document(buffer, sum(samples.nbytes for samples, _ in pages), one_of_many=len(pages) > 1)
    for page in pages:
        document.add(page)
    document.finish()
    return buffer.getvalue()


class _Document:
    """A `PageWriter`. `file` stays open."""

    def __init__(self, file: BinaryIO, max_bytes: int, *, one_of_many: bool = True) -> None:
        self._file = file
        self._one_of_many = one_of_many
        self._is_big = max_bytes > _MAX_BYTES_WITHOUT_BIG
        self._writer = tifffile.TiffWriter(file, bigtiff=self._is_big, byteorder="<")
        self._directories: list[exif.Sections] = []
        self._note: exif.Entry | None = None

    def add(self, page: Page) -> None:
        """As `PageWriter.add`."""
        samples, metadata = page
        parts = readable(metadata.exif) or _NOTHING
        if not self._directories:
            self._place_maker_note(parts)
        _write_page(self._writer, samples, metadata, parts, one_of_many=self._one_of_many, is_big=self._is_big)
        self._directories.append(replace(parts, main=()))

    def _place_maker_note(self, parts: exif.Sections) -> None:
        """Writes the maker note of the first page at its place, in front of all pages, where it can have it."""
        header_bytes = self._file.seek(0, os.SEEK_END)
        self._note = exif.maker_note(parts, header_bytes=header_bytes)
        if self._note is not None:
            self._file.write(bytes(self._note.at - header_bytes) + self._note.data)

    def finish(self) -> None:
        """As `PageWriter.finish`; it appends the EXIF and GPS directories of all pages and links them."""
        self._writer.close()
        if any(parts.exif or parts.gps for parts in self._directories):
            self._file.flush()
            places = _places(self._file)
            _append_directories(self._file, places, self._directories, self._note, is_big=self._is_big)


def _places(file: BinaryIO) -> list[dict[int, int]]:
    """`exif.value_places` of an open TIFF file."""
    if isinstance(file, BytesIO):
        return exif.value_places(file.getvalue())
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return exif.value_places(content)


def _append_directories(
    file: BinaryIO,
    places: Sequence[dict[int, int]],
    pages: Sequence[exif.Sections],
    note: exif.Entry | None,
    *,
    is_big: bool,
) -> None:
    """Appends the directories of each page, and sets its pointers, which are zero so far.

    The maker note `note` is in its place already.
    """
    end = file.seek(0, os.SEEK_END)
    pointers = []
    for of_page, parts in zip(places, pages, strict=True):
        for code, entries in ((exif.EXIF_DIRECTORY, parts.exif), (exif.GPS_DIRECTORY, parts.gps)):
            if entries:
                end += file.write(bytes(end % 2))
                pointers.append((of_page[code], end))
                if code == exif.EXIF_DIRECTORY:
                    end += file.write(exif.exif_directory(parts, at=end, big=is_big, placed=note))
                else:
                    end += file.write(exif.packed(entries, at=end, big=is_big))
    for place, at in pointers:
        file.seek(place)
        file.write(struct.pack("<Q" if is_big else "<I", at))


def _write_page(
    writer: tifffile.TiffWriter,
    samples: Samples,
    metadata: Metadata,
    parts: exif.Sections,
    *,
    one_of_many: bool,
    is_big: bool,
) -> None:
    channels, value = samples.shape[2], metadata.resolution
    writer.write(
        samples if channels > 1 else samples[..., 0],
        subfiletype=_PAGE if one_of_many else None,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        # The predictor for floats is a different one, which some programs do not support.
        predictor=samples.dtype != np.float32,
        metadata=None,
        software=False,
        iccprofile=metadata.icc,
        resolution=(rational(value.across), rational(value.down)) if value is not None else None,
        resolutionunit=value.unit if value is not None else None,
        extratags=_extra_tags(parts, metadata, _LONG8 if is_big else _LONG),
        maxworkers=1,
    )


def readable(block: bytes | None) -> exif.Sections | None:
    """The tags of an EXIF block that a TIFF can contain, or None."""
    try:
        return exif.sections(block) if block is not None else None
    except exif.DamagedExif:
        return None


def _extra_tags(parts: exif.Sections, metadata: Metadata, pointer: int) -> list[tuple[Any, int, int, Any, bool]]:
    tags = [_extra_tag(entry) for entry in parts.main if entry.code not in exif.RESOLUTION]
    tags += [(_XMP, _BYTE, 0, metadata.xmp, True)] if metadata.xmp is not None else []
    tags += [(_IPTC, _LONG, 0, photoshop.padded_to_words(metadata.iptc), True)] if metadata.iptc is not None else []
    if parts != _NOTHING:
        tags.append((exif.ORIENTATION, _SHORT, 1, 1, True))
    # tifffile accepts the two pointers by name only.
    tags += [(_POINTERS[exif.EXIF_DIRECTORY], pointer, 1, 0, True)] if parts.exif else []
    tags += [(_POINTERS[exif.GPS_DIRECTORY], pointer, 1, 0, True)] if parts.gps else []
    return tags


def _extra_tag(entry: exif.Entry) -> tuple[Any, int, int, Any, bool]:
    if entry.dtype not in _FRACTIONS:
        return entry.code, entry.dtype, 0, entry.data, True
    # With bytes, tifffile would count each fraction as two values.
    numbers = struct.unpack(f"<{len(entry.data) // 4}{_FRACTIONS[entry.dtype]}", entry.data)
    return entry.code, entry.dtype, len(numbers) // 2, numbers, True


def fitting(metadata: Metadata) -> Metadata:
    """The metadata without an EXIF block that cannot be read."""
    return metadata if metadata.exif is None or readable(metadata.exif) is not None else replace(metadata, exif=None)


def _metadata_in(file: bytes) -> list[Metadata]:
    with TiffFile(BytesIO(file)) as opened:
        pages = [page for page in opened.pages if isinstance(page, TiffPage)]
        if pages[0].bitspersample == 8:  # Pillow does not support all other depths.
            TiffImageFile(BytesIO(file))
        allowance = Allowance(sys.maxsize)
        return [metadata_of_page(page, file, allowance)[0] for page in pages]


def _same_exif(written: bytes, found: bytes | None) -> bool:
    """Whether the tags are equal, because only these are copied. An empty EXIF block is not stored in TIFF."""
    return _describing_tags(written) == (_describing_tags(found) if found is not None else (set(), set(), set(), set()))


def _describing_tags(block: bytes) -> tuple[set[tuple[int, int, bytes]], ...]:
    parts = exif.sections(block)
    main = [entry for entry in parts.main if entry.code not in exif.RESOLUTION]
    return tuple({_tag(entry) for entry in part} for part in (main, parts.exif, parts.gps, parts.interoperability))


def _tag(entry: exif.Entry) -> tuple[int, int, bytes]:
    # A text ends with a NUL, which many cameras omit and tifffile adds; some pad a field with NULs.
    return entry.code, entry.dtype, entry.data.rstrip(b"\0") if entry.dtype == _ASCII else entry.data


CODEC = Codec(
    read,
    write,
    _metadata_in,
    tiff_tags.header,
    tiff_tags.pages,
    fitting,
    _same_exif,
    specific=_specific,
    pages=read_pages,
    write_pages=_Document,
)
