"""Bytes of a picture file → upright pixels with their metadata, or an InputError that says what is wrong with them.

What a file is, its first bytes say; its name may lie. Nothing here changes a setting of the libraries underneath.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from adacode_cli.errors import InputError
from adacode_cli.imaging import (
    colours,
    damaged,
    geotiff,
    heif_reader,
    inventory,
    jp2_boxes,
    jp2_codec,
    pillow_reader,
    tiff_reader,
)
from adacode_cli.imaging.files import file_bytes
from adacode_cli.imaging.image import READ_ONLY_SUFFIXES, SUFFIXES, Decoded
from adacode_cli.imaging.limits import MAX_PIXELS
from adacode_cli.imaging.metadata import upright
from adacode_cli.imaging.metadata_limits import Allowance
from adacode_cli.imaging.orientation import turned
from adacode_cli.imaging.parsing import TITLES
from adacode_cli.imaging.raster import Raster

EXTENSIONS: frozenset[str] = frozenset({*SUFFIXES, *READ_ONLY_SUFFIXES})
"""Lower-case suffixes, with their dot, of the files that discovery takes for pictures."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"BM", "bmp"),
    (jp2_boxes.SIGNATURE, "jp2"),
    (jp2_boxes.CODESTREAM, "jp2"),
)
# The kind of an ISO media file stands behind the length of its first box, and behind it the kinds that it is as well.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "heic"),
}
_STRUCTURES = frozenset({b"mif1", b"mif2", b"msf1"})  # which do not say how pixels are packed: HEIC, if nothing does
_BRANDS_END = 64
_READERS = {"jp2": jp2_codec.read, "avif": heif_reader.read_avif, "heic": heif_reader.read_heic}
_FOREIGN = (
    (0, b"GIF8", "a GIF"),
    (0, b"%PDF", "a PDF document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (4, b"ftypcrx ", "a Canon raw file"),
)
# As in codes.file, which this folder does not import; a test compares.
_CODES = b"\x89ADC\r\n\x1a\n"
_ACCEPT_HINT = "With --accept-damaged, sr, inpaint and reconstruct restore what is whole of it, unless it is a mask."
_ONE_COLOUR_HINT = (
    "--accept-damaged does not take it: what can be read of it has one colour, as what is missing from a picture has."
)
_READABLE = "JPEG, PNG, WebP, TIFF, BMP, JPEG 2000, AVIF and HEIC are read."


class Decode(Protocol):
    """`decode`, or what does the same in another process."""

    def __call__(
        self, data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, accept_damaged: bool = False
    ) -> Decoded:
        """As `decode` has it. Raises InputError."""
        ...


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS, accept_damaged: bool = False) -> Decoded:
    """The picture in the file `path`, as `decode` gives it. Raises InputError, also where the file cannot be read."""
    data = file_bytes(path, look=check_kind)
    return decode(data, name=str(path), max_pixels=max_pixels, accept_damaged=accept_damaged)


def check_kind(head: bytes, name: str) -> None:
    """Raises InputError unless the file `name`, which begins with `head`, is of a kind that `decode` reads."""
    _sniffed(head, name=name)


def kind_of(head: bytes) -> str | None:
    """The format that a file beginning with `head` is of, or None for one that `decode` does not read."""
    try:
        return _sniffed(head, name="")
    except InputError:
        return None


def decode(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, accept_damaged: bool = False) -> Decoded:
    """The picture in `data`, upright, with all pages of a TIFF; `name` says in errors whose bytes they are.

    With `accept_damaged` what is whole of a damaged JPEG, PNG or BMP is taken, with a note that names the damage.
    Raises InputError for bytes that are empty, of no readable kind, damaged, truncated, or claim over `max_pixels`,
    which is found out before anything is decoded. The other limits are in `limits`.
    """
    format = _sniffed(data, name=name)
    try:
        return _with_items(_decoded(data, format, max_pixels, name=name), data)
    except InputError as error:
        if not error.damage or format not in damaged.FORMATS:
            raise
        if not accept_damaged:
            error.hint += f" {_ACCEPT_HINT}"
            raise
        return _with_items(_partly(data, format, max_pixels, error, name=name), data)


def _partly(data: bytes, format: str, max_pixels: int, why: InputError, *, name: str) -> Decoded:
    """What is whole of a damaged file. Raises `why` where that is nothing, and InputError for what is over a limit."""
    try:
        whole, become = damaged.completed(data, format, max_pixels, name=name)
        image = _decoded(whole, format, max_pixels, name=name)
    except InputError as error:
        raise (why if error.damage else error) from None
    if image.pixels.min() == image.pixels.max():
        why.hint += f" {_ONE_COLOUR_HINT}"
        raise why
    return replace(image, notes=(f"{why.damage}: {become}", *image.notes))


def _with_items(image: Decoded, data: bytes) -> Decoded:
    """The picture with what `data`, which it was, says beside its pixels, page by page."""
    items = inventory.stated(data, image.format)
    pages = [replace(page, stated=found) for page, found in zip(image.pages, items, strict=False)]
    return replace(pages[0], more_pages=(*pages[1:], *image.pages[len(pages) :])) if pages else image


def _decoded(data: bytes, format: str, max_pixels: int, *, name: str) -> Decoded:
    if format == "tiff":
        first, *others = tiff_reader.read(data, max_pixels, name=name)
        shared: dict[bytes, bytes] = {}
        pages = (_upright(raster, format, page, name=name) for page, raster in enumerate(others, 1))
        more = tuple(_sharing(page, shared) for page in pages)
        return replace(_upright(first, format, name=name), more_pages=more)
    if format in _READERS:
        raster = _READERS[format](data, max_pixels, name=name)
    else:
        raster = pillow_reader.read(data, format, max_pixels, name=name)
    said, lost = Allowance().granted(raster.metadata)
    return _upright(replace(raster, metadata=said, lost=raster.lost + lost), format, name=name)


def _upright(raster: Raster, format: str, page: int = 0, *, name: str) -> Decoded:
    described, notes = colours.chosen(raster.metadata, format, name=name, grey=raster.pixels.ndim == 2)
    found = upright(described, raster.orientation)
    alpha = turned(raster.alpha, found.orientation) if raster.alpha is not None else None
    said = found.metadata
    if found.orientation != 1 and said.exif is not None:
        said = replace(said, exif=geotiff.without(said.exif))  # which speaks of rows and columns as they were stored
    return Decoded(
        turned(raster.pixels, found.orientation),
        alpha,
        format,
        said.icc,
        said.exif,
        (*raster.notes, *notes, *found.notes),
        said.xmp,
        said.iptc,
        said.resolution,
        (*raster.lost, *found.lost),
        page,
        raster.bits,
        cicp=said.cicp,
    )


def _sharing(page: Decoded, shared: dict[bytes, bytes]) -> Decoded:
    """The page, its metadata being the very bytes of an earlier one where they are equal."""

    def first(block: bytes | None) -> bytes | None:
        return None if block is None else shared.setdefault(block, block)

    return replace(page, icc=first(page.icc), exif=first(page.exif), xmp=first(page.xmp), iptc=first(page.iptc))


def _sniffed(data: bytes, *, name: str) -> str:
    if not data:
        raise InputError("is empty (0 bytes)", path=name, hint="Copy or download it again.")
    for signature, format in _SIGNATURES:
        if data.startswith(signature):
            return format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    media = _media_format(data)
    if media is not None:
        return media
    if data.startswith(_CODES):
        raise InputError("holds codes, not a picture", path=name, hint="Use adacode reconstruct --from-codes.")
    for at, signature, title in _FOREIGN:
        if data[at : at + len(signature)] == signature:
            raise InputError(f"is {title}, which is not read", path=name, hint=f"Convert it first: {_READABLE}")
    for signature, format in (*_SIGNATURES, (b"RIFF", "webp")):
        if len(data) < 12 and signature.startswith(data):
            message = f"is truncated: only the first {len(data)} bytes of a {TITLES[format]} are there"
            raise InputError(message, path=name, hint="Copy or download it again.")
    kind = "text" if _looks_like_text(data[:512]) else "not a picture of a known kind"
    raise InputError(f"holds no picture: its content is {kind}", path=name, hint=_READABLE)


def _media_format(data: bytes) -> str | None:
    """Of an ISO media file: "avif", "heic", or None for another."""
    if data[4:8] != b"ftyp":
        return None
    major, end = data[8:12], min(int.from_bytes(data[:4], "big"), _BRANDS_END)
    if major in _BRANDS:
        return _BRANDS[major]
    others = {_BRANDS.get(data[at : at + 4]) for at in range(16, end - 3, 4)}
    if "avif" in others:
        return "avif"
    return "heic" if "heic" in others or major in _STRUCTURES else None


def _looks_like_text(start: bytes) -> bool:
    control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in start)
    return control == 0 and b"\x7f" not in start
