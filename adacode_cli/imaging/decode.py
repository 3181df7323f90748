"""Decodes image files: bytes → upright pixels with their metadata, or an InputError with the reason.

The format is recognised by the first bytes, because the suffix may be wrong. No setting of a library is changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.formats import Format
from adacode_cli.imaging import colours, geotiff, inventory
from adacode_cli.imaging.codec import Complete, codec_of
from adacode_cli.imaging.files import file_bytes
from adacode_cli.imaging.image import Decoded, FurtherPage, Raster
from adacode_cli.imaging.metadata import Allowance, upright
from adacode_cli.imaging.refusals import parsing
from adacode_cli.imaging.samples import turned
from adacode_cli.limits import MAX_PIXELS, MAX_SUM_OF_METADATA_BYTES

_ACCEPT_HINT = "With --accept-damaged, sr, inpaint and reconstruct restore its readable part, unless it is a mask."
_ONE_COLOUR_HINT = (
    "--accept-damaged does not accept it: its readable part has a single colour, like the missing part of an image."
)
_WHOLE_SIGNATURE_BYTES = 12  # A shorter file may be the beginning of an image.


class Decode(Protocol):
    """`decode`, or the same in another process."""

    def __call__(
        self,
        data: bytes,
        *,
        name: str,
        max_pixels: int = MAX_PIXELS,
        accept_damaged: bool = False,
        first_page: int = 0,
    ) -> Decoded:
        """As the function `decode`. Raises InputError."""
        ...


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS, accept_damaged: bool = False) -> Decoded:
    """The image in the file `path`, as `decode` gives it. Raises InputError, also if the file cannot be read."""
    data = file_bytes(path, look=check_kind)
    return decode(data, name=str(path), max_pixels=max_pixels, accept_damaged=accept_damaged)


def check_kind(head: bytes, name: str) -> None:
    """Raises InputError unless the file `name`, which begins with `head`, is in a format that `decode` reads."""
    _sniffed(head, name=name)


def decode(
    data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, accept_damaged: bool = False, first_page: int = 0
) -> Decoded:
    """The image in `data`, upright; errors name the file `name`.

    For a TIFF, it has the pages from `first_page` on (the first is 0), as many as `limits.WINDOW_PIXELS` allows and at
    least one; `further_windows` gives the rest. With `accept_damaged` the readable part of a damaged file is used, if
    its format allows this (`Format.salvageable`), with a note on the damage. Raises InputError for data that are empty,
    in no readable format, damaged or truncated, and, before decoding, if a page claims more than `max_pixels`. The
    other limits are in `limits`.
    """
    format = _sniffed(data, name=name)
    format = codec_of(format).specific(data) or format
    try:
        return _with_items(_decoded(data, format, max_pixels, first_page, name=name), data, format)
    except InputError as error:
        complete = codec_of(format).complete
        if not error.damage or complete is None:
            raise
        if not accept_damaged:
            error.hint += f" {_ACCEPT_HINT}"
            raise
        return _with_items(_partly(data, format, complete, max_pixels, error, name=name), data, format)


def further_windows(first: Decoded, decode_from: Callable[[int], Decoded]) -> Iterator[Decoded]:
    """The pages of a document after the first ones, each time as many as are decoded together.

    decode_from: decodes pages from a page number on.
    """
    window = first
    while window.following:
        window = decode_from(window.page + len(window.pages))
        yield window


def _partly(
    data: bytes, format: Format, complete: Complete, max_pixels: int, refusal: InputError, *, name: str
) -> Decoded:
    """The readable part of a damaged file. Raises `refusal` if there is none, and InputError if a limit is exceeded."""
    try:
        with parsing(format.name, name=name):
            completed, effect = complete(data, max_pixels, name)
        image = _decoded(completed, format, max_pixels, name=name)
    except InputError as error:
        raise (refusal if error.damage else error) from None
    if image.pixels.min() == image.pixels.max():
        refusal.hint += f" {_ONE_COLOUR_HINT}"
        raise refusal
    return replace(image, notes=(f"{refusal.damage}: {effect}", *image.notes), salvaged=True)


def _with_items(image: Decoded, data: bytes, format: Format) -> Decoded:
    """The image with the items of its file `data`, page by page."""
    items = inventory.stated(data, format, image.page, len(image.pages))
    pages = [replace(page, stated=page_items) for page, page_items in zip(image.pages, items, strict=False)]
    return replace(pages[0], more_pages=(*pages[1:], *image.pages[len(pages) :])) if pages else image


def _decoded(data: bytes, format: Format, max_pixels: int, first_page: int = 0, *, name: str) -> Decoded:
    codec = codec_of(format)
    following: tuple[FurtherPage, ...] = ()
    if codec.pages is not None:
        (first, *others), following = codec.pages(data, max_pixels, first_page, name=name)
    else:
        first, *others = codec.read(data, max_pixels, name=name)
    # Separate blocks are together not larger than the file, but pages can share the same bytes.
    allowance = Allowance(max(MAX_SUM_OF_METADATA_BYTES, len(data)))
    image = _upright(first, format, allowance, first_page, name=name)
    shared: dict[bytes, bytes] = {}
    pages = (_upright(raster, format, allowance, page, name=name) for page, raster in enumerate(others, first_page + 1))
    return replace(image, more_pages=tuple(_sharing(page, shared) for page in pages), following=following)


def _upright(raster: Raster, format: Format, allowance: Allowance, page: int, *, name: str) -> Decoded:
    metadata, beyond_limit = allowance.granted(raster.metadata)
    described, notes = colours.chosen(metadata, format, name=name, grey=raster.pixels.ndim == 2)
    oriented = upright(described, raster.orientation)
    alpha = turned(raster.alpha, oriented.orientation) if raster.alpha is not None else None
    metadata = oriented.metadata
    if oriented.orientation != 1 and metadata.exif is not None:
        # GeoTIFF tags refer to rows and columns as they were stored.
        metadata = replace(metadata, exif=geotiff.without(metadata.exif))
    return Decoded(
        turned(raster.pixels, oriented.orientation),
        alpha,
        format.name,
        metadata.icc,
        metadata.exif,
        (*raster.notes, *notes, *oriented.notes),
        metadata.xmp,
        metadata.iptc,
        metadata.resolution,
        (*raster.lost, *beyond_limit, *oriented.lost),
        page,
        raster.bits,
        cicp=metadata.cicp,
        lossless=raster.lossless,
        turned=oriented.orientation != 1,
    )


def _sharing(page: Decoded, shared: dict[bytes, bytes]) -> Decoded:
    """The page; metadata that are equal to those of an earlier page share its memory."""

    def first(block: bytes | None) -> bytes | None:
        return None if block is None else shared.setdefault(block, block)

    return replace(page, icc=first(page.icc), exif=first(page.exif), xmp=first(page.xmp), iptc=first(page.iptc))


def _sniffed(data: bytes, *, name: str) -> Format:
    """The format of `data`, by its first bytes. Raises InputError if it is not read."""
    if not data:
        raise InputError("is empty (0 bytes)", path=name, hint="Copy or download it again.")
    format = formats.of_bytes(data)
    if format is not None:
        return format
    if data.startswith(formats.CODES_SIGNATURE):
        raise InputError("holds codes, not an image", path=name, hint="Use adacode reconstruct --from-codes.")
    for kind in formats.UNREAD:
        if any(formats.begins(data, signature) for signature in kind.signatures):
            suffix = Path(name).suffix.lower()
            command = kind.command(suffix if formats.unread(suffix) is kind else "")
            hint = f"Convert it first, for example with {command}. {formats.readable()}"
            raise InputError(f"is {kind.title}, which is not read", path=name, hint=hint)
    for format in formats.known():
        begins = any(signature[0][1].startswith(data) for signature in format.signatures)
        if begins and len(data) < _WHOLE_SIGNATURE_BYTES:
            message = f"is truncated: only the first {len(data)} bytes of a {format.title} are present"
            raise InputError(message, path=name, hint="Copy or download it again.")
    content = "text" if _looks_like_text(data[:512]) else "not an image of a known kind"
    raise InputError(f"holds no image: its content is {content}", path=name, hint=formats.readable())


def _looks_like_text(start: bytes) -> bool:
    control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in start)
    return control == 0 and b"\x7f" not in start
