"""TIFF at any depth: its pages, as tifffile finds them, and what they say beside their pixels.

Of each page, `tiff_strips` has the samples (`tiff_old` those of old compressions), and `tiff_colors` what they mean.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from itertools import islice

from tifffile import TiffFile, TiffPage

from adacode_cli.errors import InputError
from adacode_cli.imaging import exif, exif_editing, iptc, tiff_colors, tiff_old, tiff_strips
from adacode_cli.imaging.limits import MAX_PAGES, too_many_pages
from adacode_cli.imaging.metadata import EXIF_DAMAGED, Metadata, first_orientation
from adacode_cli.imaging.metadata_limits import MAX_BYTES, MAX_SUM_BYTES, Allowance, too_much
from adacode_cli.imaging.parsing import check_sizes, parsing
from adacode_cli.imaging.raster import Raster
from adacode_cli.imaging.resolution import Resolution

_RAW_PHOTOMETRIC = (32803, 34892)
_DNG_VERSION = 50706
_BLOCKS = {"icc": 34675, "xmp": 700, "iptc": 33723}
_PHOTOSHOP = 34377
# Without one of these that is there, tifffile takes what a TIFF without it means, and the picture is another one.
_DECISIVE = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347, 530}
)


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The pages of a TIFF or BigTIFF, small copies and masks of pages left out.

    Raises InputError, also for camera raw files, which are TIFFs inside, for more than `max_pixels` in all pages, and
    for more pages or metadata than `limits` has.
    """
    with parsing("tiff", name=name), TiffFile(BytesIO(data)) as file:
        pages, lost = _pages(file, _num_directories(file, data, name=name))
        _refuse_raw(pages[0], data, name=name)
        sizes = [(page.imagewidth, page.imagelength) for page in pages]
        check_sizes(sizes, max_pixels, name=name, pixel_bytes=[_pixel_bytes(page) for page in pages])
        old = tiff_old.Rereadable(data, file.byteorder, is_big=file.is_bigtiff)
        # Blocks that lie in the file one by one are no more than the file; pages can name the same bytes, too.
        allowance = Allowance(max(MAX_SUM_BYTES, len(data)))
        rasters = [_page(page, data, old, allowance, name=name) for page in pages]
    rasters[0] = replace(rasters[0], lost=lost + rasters[0].lost)
    return rasters


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


def _pages(file: TiffFile, most: int) -> tuple[list[TiffPage], tuple[str, ...]]:
    """(pages, what is lost). The first picture is a page whatever it calls itself."""
    pages: list[TiffPage] = []
    masks = 0
    # Where the links lead around in a circle, tifffile may follow them for ever.
    for index, page in enumerate(islice(file.pages, most)):
        if not isinstance(page, TiffPage):
            raise TypeError("a page without tags of its own")
        masks += bool(index and page.is_mask)
        if not index or not (page.is_reduced or page.is_mask):
            pages.append(page)
    return pages, (f"{masks} mask(s) of pages",) if masks else ()


def _check_tags(page: TiffPage, data: bytes) -> None:
    """Raises ValueError where a decisive tag lies in the directory that could not be read."""
    order, (count, size) = page.parent.byteorder, ("Q", 20) if page.parent.is_bigtiff else ("H", 12)
    (num,) = struct.unpack_from(order + count, data, page.offset)
    start = page.offset + struct.calcsize(order + count)
    for at in range(start, start + num * size, size):
        (code,) = struct.unpack_from(order + "H", data, at)
        if code in _DECISIVE and code not in page.tags:
            raise ValueError(f"tag {code} cannot be read")


def _pixel_bytes(page: TiffPage) -> int:
    """Of a pixel as it is decoded."""
    bits = page.bitspersample
    return page.samplesperpixel * (-(-max(bits) // 8) if isinstance(bits, tuple) else max(1, -(-bits // 8)))


def _page(page: TiffPage, data: bytes, old: tiff_old.Rereadable, allowance: Allowance, *, name: str) -> Raster:
    _check_tags(page, data)
    said, lost = metadata_of_page(page, data, allowance)
    is_old = page.compression in tiff_old.KINDS
    stored = old.samples(page, name=name) if is_old else tiff_strips.samples(page, name=name)
    raster = tiff_colors.raster(page, stored, said, name=name)
    # The EXIF block of a page is made of its tags, and has no orientation of its own.
    return replace(raster, lost=lost + raster.lost, orientation=first_orientation((_orientation(page),), said.xmp))


def _refuse_raw(page: TiffPage, data: bytes, *, name: str) -> None:
    raw = page.photometric in _RAW_PHOTOMETRIC or _DNG_VERSION in page.tags or data[8:10] == b"CR"
    # NEF and ARW begin with a preview; the picture itself lies in a subdirectory.
    if raw or (page.is_reduced and page.subifds):
        raise InputError(
            "is a camera raw file, not a finished picture", path=name, hint="Develop it to 16-bit TIFF first."
        )


def _orientation(page: TiffPage) -> int | None:
    value = page.tags.valueof(exif.ORIENTATION)
    return value if isinstance(value, int) else None


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
