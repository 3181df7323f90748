"""Encodes image files: pixels with their metadata → bytes. What a format cannot hold is reported as a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from adacode_cli import formats
from adacode_cli.errors import OutputError, UsageError
from adacode_cli.formats import Format
from adacode_cli.imaging import colours, geotiff, inventory, read_back
from adacode_cli.imaging.codec import codec_of, required
from adacode_cli.imaging.exif_editing import resolution_of, with_resolution
from adacode_cli.imaging.image import Decoded, Item, Samples, lost_after_first
from adacode_cli.imaging.inventory import COLOR_PROFILE
from adacode_cli.imaging.metadata import TITLES, Metadata
from adacode_cli.imaging.samples import on_white, to_depth
from adacode_cli.limits import DEFAULT_QUALITY

_DEPTH_NAMES = {np.dtype(np.uint8): "8-bit", np.dtype(np.uint16): "16-bit", np.dtype(np.float32): "32-bit float"}


def format_of(path: Path) -> str | None:
    """The name of the format of a file name, by its suffix in any letter case; None if it is unknown."""
    format = formats.of_suffix(path.suffix)
    return format.name if format is not None else None


def losses(image: Decoded, format: str) -> tuple[str, ...]:
    """What would be lost of the file of `image` in `format`, each in a few words.

    Raises OutputError for an unknown format.
    """
    target = _known(format)
    if target.pages:
        return tuple(dict.fromkeys(what for page in image.pages for what in _losses_of_page(page, target)))
    return (*lost_after_first(image.num_pages, "page"), *_losses_of_page(image, target))


def _losses_of_page(image: Decoded, format: Format) -> tuple[str, ...]:
    lost = list(image.lost)
    if image.alpha is not None and not format.alpha and not _opaque(image.alpha):
        lost.append("alpha (composited on white)")
    if (depth_lost := _depth_lost(image, format)) is not None:
        lost.append(depth_lost)
    metadata, carried = image.metadata, _carried(image, format)
    lost += colours.lost(metadata, carried)
    for name, title in TITLES.items():
        if name not in ("icc", "cicp") and getattr(metadata, name) is not None and getattr(carried, name) is None:
            lost.append(title)
    is_a_map = carried.exif is not None and geotiff.is_in(carried.exif)
    return (*lost, *inventory.certain(image.stated, lost, with_geography=is_a_map))


def unreported_losses(image: Decoded, file: bytes, format: str, known: Sequence[str]) -> tuple[str, ...]:
    """Further items of the file of `image` that are missing in the written `format` file, in a few words each.

    known: the losses that were reported already, by `losses` and by `encoded`.
    """
    written_as = _known(format)
    pages = image.pages if written_as.pages else (image,)
    written = inventory.stated(file, written_as)
    expected = (_expected(page, written_as) for page in pages)
    missing = (inventory.missing(before, after, known) for before, after in zip(expected, written, strict=False))
    return tuple(dict.fromkeys(what for of_page in missing for what in of_page))


def _expected(page: Decoded, format: Format) -> tuple[Item, ...]:
    """The items in the file of a page, without a profile in place of which `colours.placed` writes CICP."""
    metadata = colours.placed(page.metadata, format, grey=page.pixels.ndim == 2)
    if metadata.cicp is None or metadata.icc is not None:
        return page.stated
    return tuple(item for item in page.stated if item[0] != COLOR_PROFILE)


def _depth_lost(image: Decoded, format: Format) -> str | None:
    dtype = image.pixels.dtype
    depth = _depth_in(format, dtype)
    name = f"{image.bits}-bit" if image.bits is not None else _DEPTH_NAMES[dtype]
    bits = format.deep_bits
    if depth == np.uint16 and bits < 16:
        return f"{name} depth (saved as {bits}-bit)" if (image.bits or 16) > bits or dtype == np.float32 else None
    return f"{name} depth (saved as {_DEPTH_NAMES[depth]})" if depth != dtype else None


class Document:
    """A file of several pages that is written page by page; it gets the bytes that `encoded` gives for all pages.

    The metadata of a page are verified in a small image, because the file is not complete yet.

    file: empty, readable too.
    format: its codec has `write_pages`.
    max_bytes: an upper bound for the bytes of the samples of all pages.
    """

    def __init__(self, file: BinaryIO, format: str, max_bytes: int) -> None:
        self._format = _known(format)
        write_pages = codec_of(self._format).write_pages
        assert write_pages is not None, "the format is written at once"
        self._pages = write_pages(file, max_bytes)
        self._damaged: set[str] = set()
        self._items: list[tuple[tuple[Item, ...], tuple[Item, ...]]] = []

    @property
    def damaged(self) -> tuple[str, ...]:
        """Lost metadata of pages that `losses` does not report, as from `encoded`."""
        return tuple(title for name, title in TITLES.items() if name in self._damaged)

    def add(self, page: Decoded, attributed: Decoded) -> None:
        """Writes the next page. `attributed` is `page` with the metadata that are added. Raises OutputError."""
        format, write = self._format, codec_of(self._format).write
        samples, metadata = _fitted(attributed, format), _carried(attributed, format)

        def write_small(samples: Sequence[Samples], metadata: Sequence[Metadata]) -> bytes:
            return write(list(zip(samples, metadata, strict=True)), DEFAULT_QUALITY)

        small, (readable,) = read_back.written_and_verified(
            write_small, format, [read_back.small_like(samples)], [metadata]
        )
        self._damaged |= _changed(metadata, readable)
        self._items += zip([_expected(page, format)], inventory.stated(small, format), strict=False)
        self._pages.add((samples, readable))

    def finish(self) -> None:
        """Completes the file."""
        self._pages.finish()

    def unreported_losses(self, known: Sequence[str]) -> tuple[str, ...]:
        """Further losses of all pages, as from the function `unreported_losses`."""
        missing = (inventory.missing(before, after, known) for before, after in self._items)
        return tuple(dict.fromkeys(what for of_page in missing for what in of_page))


def encode(image: Decoded, *, format: str, quality: int | None = None) -> bytes:
    """The bytes of a `format` file: of all pages if the format holds several, else of the first.

    `quality` (1–100, default 95) has an effect on lossy formats; others keep samples as far as their depths allow. In
    formats without alpha a transparent image is composited on white. Raises OutputError for an unknown format or an
    image too large for it, UsageError for an impossible quality.
    """
    return encoded(image, format=format, quality=quality)[0]


def encoded(image: Decoded, *, format: str, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """(the file as from `encode`, lost metadata that `losses` does not report).

    These metadata are damaged so that they, or the file with them, could not be read.
    """
    target = _known(format)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is impossible", hint="Choose a number from 1 to 100.")
    check_writable(image.size, image.colors, format)
    pages = image.pages if target.pages else (image,)
    carried = [_carried(page, target) for page in pages]

    def write(samples: Sequence[Samples], metadata: Sequence[Metadata]) -> bytes:
        pages = list(zip(samples, metadata, strict=True))
        return codec_of(target).write(pages, DEFAULT_QUALITY if quality is None else quality)

    file, readable = read_back.written_and_verified(write, target, [_fitted(page, target) for page in pages], carried)
    names = {name for before, after in zip(carried, readable, strict=True) for name in _changed(before, after)}
    return file, tuple(title for name, title in TITLES.items() if name in names)


def _changed(before: Metadata, after: Metadata) -> set[str]:
    """The names of the fields that differ."""
    return {name for name in TITLES if getattr(before, name) != getattr(after, name)}


def _known(format: str) -> Format:
    """The format of that name. Raises OutputError for an unknown one."""
    try:
        return formats.named(format)
    except KeyError:
        hint = f"Choose one of {', '.join(formats.names())}."
        raise OutputError(f"unknown image format {format!r}", hint=hint) from None


def check_writable(size: tuple[int, int], colors: int, format: str, *, hint: str | None = None) -> None:
    """Raises OutputError if no `format` file of an image of `size` (height, width) can be written.

    hint: what to do if it is too large; None: choose a format that holds larger images.
    """
    target = _known(format)
    if not target.fits(size, colors):
        choose = f"Choose --format {formats.large()}."
        raise OutputError(beyond(size, format), hint=choose if hint is None else hint)
    required(target, OutputError)


def beyond(size: tuple[int, int], format: str) -> str:
    """The message that a `format` file cannot hold an image of `size` (height, width)."""
    title = formats.named(format).title
    article = "an" if title.startswith("A") else "a"
    return f"{article} {title} cannot hold {size[1]}×{size[0]} pixels"


def _depth_in(format: Format, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The depth in which a format stores `dtype`: the same if possible, else the next smaller one."""
    depths = [np.dtype(kind) for kind in format.depths]
    return dtype if dtype in depths else depths[0]


def _opaque(alpha: Samples) -> bool:
    return bool(alpha.min() == (1.0 if alpha.dtype == np.float32 else np.iinfo(alpha.dtype).max))


def carried(image: Decoded, format: str) -> Metadata:
    """The metadata of a page that a `format` file can hold; None for fields that it cannot."""
    return _carried(image, _known(format))


def _carried(image: Decoded, format: Format) -> Metadata:
    widened = not format.grey or (image.alpha is not None and not format.grey_alpha)
    metadata = colours.placed(image.metadata, format, grey=image.pixels.ndim == 2 and not widened)
    kept = replace(metadata, **dict.fromkeys(TITLES.keys() - format.kept_metadata()))
    if kept.exif is not None and not format.geography:
        kept = replace(kept, exif=geotiff.without(kept.exif))
    if widened and kept.icc is not None and kept.icc[16:20] == b"GRAY":
        kept = replace(kept, icc=None)  # Viewers refuse RGB samples with a grey profile.
    if format.resolution_in_exif and (kept.exif is None or resolution_of(kept.exif) is None):
        kept = replace(kept, exif=with_resolution(kept.exif, kept.resolution))
    return codec_of(format).fitting(kept)


def _fitted(image: Decoded, format: Format) -> Samples:
    """H×W×C in the depth and with the channels that a format holds: grey, grey + alpha, RGB or RGB + alpha."""
    pixels, alpha = image.pixels, image.alpha
    if alpha is not None and not format.alpha:
        pixels, alpha = on_white(pixels, alpha), None
    depth = _depth_in(format, pixels.dtype)
    planes = [to_depth(pixels, depth)]
    if alpha is not None:
        planes.append(to_depth(alpha, depth))
    return np.dstack(planes)
