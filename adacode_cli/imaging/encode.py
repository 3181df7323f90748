"""Pixels with their metadata → bytes of a picture file; what a format cannot hold is known before, never silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adacode_cli.errors import OutputError, UsageError
from adacode_cli.imaging import (
    colours,
    geotiff,
    heif_codec,
    inventory,
    jp2_codec,
    pillow_writer,
    png16,
    png_chunks,
    read_back,
    tiff_writer,
)
from adacode_cli.imaging.exif_editing import resolution_of, with_resolution
from adacode_cli.imaging.heif_codec import STORED_BITS
from adacode_cli.imaging.image import SUFFIXES, Decoded, Samples
from adacode_cli.imaging.inventory_items import COLOR_PROFILE, Item
from adacode_cli.imaging.metadata import TITLES as TITLES_OF_METADATA
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.parsing import TITLES
from adacode_cli.imaging.raster import lost_beside_first
from adacode_cli.imaging.samples import on_white, to_depth

FORMATS: dict[str, str] = {
    "jpeg": ".jpg",
    "png": ".png",
    "webp": ".webp",
    "tiff": ".tif",
    "bmp": ".bmp",
    "jp2": ".jp2",
    "avif": ".avif",
    "heic": ".heic",
}
"""Format name → the suffix that its files get."""

DEFAULT_QUALITY = 95
_GREY_ALPHA_AS_RGB = frozenset({"avif", "heic", "jp2"})
_KEEPS_PAGES = frozenset({"tiff"})
_KEEPS_ALPHA = frozenset({"png", "webp", "tiff", "jp2", "avif", "heic"})
_EVERYTHING = frozenset(TITLES_OF_METADATA)
_KEEPS_METADATA = {
    "jpeg": _EVERYTHING,
    "png": _EVERYTHING,
    "webp": _EVERYTHING - {"iptc"},
    "tiff": _EVERYTHING,
    "bmp": frozenset({"resolution"}),
    "jp2": _EVERYTHING,
    "avif": _EVERYTHING - {"iptc"},
    "heic": _EVERYTHING - {"iptc"},
}
_DEPTHS: dict[str, tuple[type[np.generic], ...]] = {
    "png": (np.uint16, np.uint8),
    "tiff": (np.float32, np.uint16, np.uint8),
    "jp2": (np.uint16, np.uint8),
    "avif": (np.uint16, np.uint8),
    "heic": (np.uint16, np.uint8),
}
_DEPTH_NAMES = {np.dtype(np.uint8): "8-bit", np.dtype(np.uint16): "16-bit", np.dtype(np.float32): "32-bit float"}
_MAX_SIDE = {"jpeg": 65500, "webp": 16383, "avif": 65535, "heic": 16384}
_MAX_SIDE_ELSEWHERE = 2**31 - 1
_MAX_BMP_BYTES = 2**32 - 4096
LIMITED: frozenset[str] = frozenset({*_MAX_SIDE, "bmp"})
"""Formats that cannot hold every picture that this program may make."""
HOLDS_MORE = "Choose --format png or tiff."
"""What a person can do about a picture that is too large for its format."""


def format_of(path: Path) -> str | None:
    """The format that a file name asks for, by its suffix in any case, or None for an unknown one."""
    return SUFFIXES.get(path.suffix.lower())


def losses(image: Decoded, format: str) -> tuple[str, ...]:
    """What of the file that `image` was would not survive in `format`, each in a few words.

    Raises OutputError for an unknown format.
    """
    _check_format(format)
    if format in _KEEPS_PAGES:
        return tuple(dict.fromkeys(what for page in image.pages for what in _losses_of_page(page, format)))
    return (*lost_beside_first(len(image.pages), "page"), *_losses_of_page(image, format))


def _losses_of_page(image: Decoded, format: str) -> tuple[str, ...]:
    found = list(image.lost)
    if image.alpha is not None and format not in _KEEPS_ALPHA and not _opaque(image.alpha):
        found.append("alpha (composited on white)")
    if (depth_lost := _depth_lost(image, format)) is not None:
        found.append(depth_lost)
    said, kept = image.metadata, carried(image, format)
    found += colours.lost(said, kept)
    for name, title in TITLES_OF_METADATA.items():
        if name not in ("icc", "cicp") and getattr(said, name) is not None and getattr(kept, name) is None:
            found.append(title)
    is_a_map = kept.exif is not None and geotiff.is_in(kept.exif)
    return (*found, *inventory.certain(image.stated, found, with_geography=is_a_map))


def unsaid(image: Decoded, file: bytes, format: str, known: Sequence[str]) -> tuple[str, ...]:
    """What else the file that `image` was says and the `format` file written of it does not, in a few words each.

    `known`: the losses that have been named already, by `losses` and by `encoded`.
    """
    pages = image.pages if format in _KEEPS_PAGES else (image,)
    written = inventory.stated(file, format)
    said = (_expected(page, format) for page in pages)
    found = (inventory.missing(before, after, known) for before, after in zip(said, written, strict=False))
    return tuple(dict.fromkeys(what for of_page in found for what in of_page))


def _expected(page: Decoded, format: str) -> tuple[Item, ...]:
    """What the file of a page states, without the profile in whose place `colours.placed` writes numbers."""
    said = colours.placed(page.metadata, format, grey=page.pixels.ndim == 2)
    if said.cicp is None or said.icc is not None:
        return page.stated
    return tuple(item for item in page.stated if item[0] != COLOR_PROFILE)


def _depth_lost(image: Decoded, format: str) -> str | None:
    dtype = image.pixels.dtype
    depth = _depth_in(format, dtype)
    name = f"{image.bits}-bit" if image.bits is not None else _DEPTH_NAMES[dtype]
    if depth == np.uint16 and format in STORED_BITS:
        bits = STORED_BITS[format]
        return f"{name} depth (saved as {bits}-bit)" if (image.bits or 16) > bits or dtype == np.float32 else None
    return f"{name} depth (saved as {_DEPTH_NAMES[depth]})" if depth != dtype else None


def encode(image: Decoded, *, format: str, quality: int | None = None) -> bytes:
    """The bytes of a `format` file: of all pages where it is TIFF, else of the first.

    `quality` (1–100, default 95) matters to JPEG, WebP, AVIF and HEIC.

    PNG, TIFF and BMP keep every sample. JPEG and BMP show a transparent picture on white. WebP stores grey as RGB.
    Raises OutputError for an unknown format or a picture too large for it, UsageError for an impossible quality.
    """
    return encoded(image, format=format, quality=quality)[0]


def encoded(image: Decoded, *, format: str, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """(what `encode` gives, the metadata that `losses` did not know to be lost).

    These are damaged in such a way that they cannot be read out of the file, or the file not with them.
    """
    _check_format(format)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is impossible", hint="Choose a number from 1 to 100.")
    check_writable(image.size, image.colors, format)
    pages = image.pages if format in _KEEPS_PAGES else (image,)
    said = [carried(page, format) for page in pages]

    def write(samples: Sequence[Samples], metadata: Sequence[Metadata]) -> bytes:
        return _written(samples, metadata, format, DEFAULT_QUALITY if quality is None else quality)

    file, kept = read_back.lasting(write, format, [_fitted(page, format) for page in pages], said)
    names = {
        name
        for before, after in zip(said, kept, strict=True)
        for name in TITLES_OF_METADATA
        if getattr(before, name) != getattr(after, name)
    }
    return file, tuple(title for name, title in TITLES_OF_METADATA.items() if name in names)


def _written(samples: Sequence[Samples], said: Sequence[Metadata], format: str, quality: int) -> bytes:
    """Samples as `_fitted` gives them; of the first page where the format holds no others. Raises OutputError."""
    if format == "tiff":
        return tiff_writer.write(list(zip(samples, said, strict=True)))
    first, kept = samples[0], said[0]
    if format == "png":
        bare = png16.write(first) if first.dtype == np.uint16 else pillow_writer.write_png(first)
        return png_chunks.inserted(bare, kept)
    if format == "jp2":
        return jp2_codec.write(first, kept)
    if format in STORED_BITS:
        return heif_codec.write(first, format, quality, kept)
    return pillow_writer.write(first, format, quality, kept)


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise OutputError(f"unknown picture format {format!r}", hint=f"Choose one of {', '.join(FORMATS)}.")


def fits(size: tuple[int, int], colors: int, format: str) -> bool:
    """Whether a `format` file can hold a picture of `size` (height, width) of one colour or three."""
    height, width = size
    bmp_bytes = height * width * (4 if colors > 1 else 1)
    return max(size) <= _MAX_SIDE.get(format, _MAX_SIDE_ELSEWHERE) and (format != "bmp" or bmp_bytes <= _MAX_BMP_BYTES)


def check_writable(size: tuple[int, int], colors: int, format: str, *, hint: str = HOLDS_MORE) -> None:
    """Raises OutputError where no `format` file of a picture of `size` (height, width) can be written.

    `hint` says what to do where it is too large.
    """
    if not fits(size, colors, format):
        raise OutputError(beyond(size, format), hint=hint)
    if format == "heic":
        heif_codec.pillow_heif(OutputError)


def beyond(size: tuple[int, int], format: str) -> str:
    """That a `format` file cannot hold a picture of `size` (height, width), in words."""
    article = "an" if TITLES[format].startswith("A") else "a"
    return f"{article} {TITLES[format]} cannot hold {size[1]}×{size[0]} pixels"


def kept_metadata(format: str) -> frozenset[str]:
    """The kinds of metadata, fields of `imaging.metadata.Metadata`, for which a `format` file has a place."""
    return _KEEPS_METADATA[format]


def _depth_in(format: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The depth that `format` stores `dtype` in: the same where it can, else the next smaller."""
    kept = [np.dtype(kind) for kind in _DEPTHS.get(format, (np.uint8,))]
    return dtype if dtype in kept else kept[0]


def _opaque(alpha: Samples) -> bool:
    return bool(alpha.min() == (1.0 if alpha.dtype == np.float32 else np.iinfo(alpha.dtype).max))


def carried(image: Decoded, format: str) -> Metadata:
    """What of the metadata of a page `format` can hold, None for what it cannot."""
    widened = format == "webp" or (image.alpha is not None and format in _GREY_ALPHA_AS_RGB)
    said = colours.placed(image.metadata, format, grey=image.pixels.ndim == 2 and not widened)
    kept = replace(said, **dict.fromkeys(TITLES_OF_METADATA.keys() - _KEEPS_METADATA[format]))
    if kept.exif is not None and format != "tiff":
        kept = replace(kept, exif=geotiff.without(kept.exif))
    if widened and kept.icc is not None and kept.icc[16:20] == b"GRAY":
        kept = replace(kept, icc=None)  # A grey profile on RGB samples makes viewers refuse them.
    if format in read_back.RESOLUTION_IN_EXIF and (kept.exif is None or resolution_of(kept.exif) is None):
        kept = replace(kept, exif=with_resolution(kept.exif, kept.resolution))
    if kept.exif is not None and format == "tiff" and tiff_writer.readable(kept.exif) is None:
        kept = replace(kept, exif=None)
    return pillow_writer.within_jpeg(kept) if format == "jpeg" else kept


def _fitted(image: Decoded, format: str) -> Samples:
    """H×W×C in the depth and with the channels that `format` holds: grey, grey + alpha, RGB or RGB + alpha."""
    pixels, alpha = image.pixels, image.alpha
    if alpha is not None and format not in _KEEPS_ALPHA:
        pixels, alpha = on_white(pixels, alpha), None
    depth = _depth_in(format, pixels.dtype)
    planes = [to_depth(pixels, depth)]
    if alpha is not None:
        planes.append(to_depth(alpha, depth))
    return np.dstack(planes)
