"""Shared functions of codecs that use Pillow: opening a file, its modes and metadata, and saving.

The plugin classes are called directly, because `Image.open` applies the global pixel limit, a setting that belongs to
the program that imports this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from adacode_cli import formats
from adacode_cli.errors import OutputError
from adacode_cli.imaging import colours, conversions, xmp_editing
from adacode_cli.imaging.cicp import SRGB
from adacode_cli.imaging.image import PALETTE_NOTE, Raster, Samples, lost_after_first
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.resolution import Resolution
from adacode_cli.limits import MAX_METADATA_BYTES

_NAMES = {"jp2": "JPEG2000"}  # the names in Pillow that differ from ours in capitals
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B")
# Some writers add the JPEG prefix in PNG and WebP too, and some add it twice.
_PREFIXES = re.compile(rb"(?:Exif\0\0)*+")

Info = dict[Any, Any]
"""The `info` of an image in Pillow."""


def opened(plugin: type[ImageFile], data: bytes) -> ImageFile:
    """The file, opened by a plugin of Pillow, which reads its header."""
    return plugin(BytesIO(data))


def loaded(image: ImageFile, metadata: Metadata, lost: tuple[str, ...] = (), *, depth: int = 8) -> Raster:
    """The first image of a loaded file, with its `metadata` (without a profile that no longer applies)."""
    lost += lost_after_first(getattr(image, "n_frames", 1))
    raster = from_pillow(image, metadata, depth)
    return replace(raster, lost=lost + raster.lost)


def from_pillow(image: Image.Image, metadata: Metadata, depth: int = 8) -> Raster:
    """A loaded 8-bit image in any mode of Pillow, with its `metadata` (without a profile that no longer applies).

    depth: the stored number of bits, to which the transparent grey of a PNG refers.
    """
    key = image.info.get("transparency")
    if image.mode in ("P", "PA"):
        samples = planes(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        return Raster(*samples, metadata, notes=(PALETTE_NOTE,))
    if image.mode == "CMYK":
        pixels, lost = conversions.rgb_from_cmyk(np.asarray(image), metadata.icc)
        return Raster(pixels, None, replace(metadata, icc=None, cicp=SRGB), lost=(lost,))
    target = {"1": "L", "La": "LA", "RGBa": "RGBA", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA"}
    pixels, alpha = planes(image.convert(target.get(image.mode, "RGB")))
    if key is not None and alpha is None:
        alpha = _keyed_alpha(pixels, key if image.mode != "1" else bool(key), depth)
    return Raster(pixels, alpha, metadata)


def planes(image: Image.Image) -> tuple[Samples, Samples | None]:
    """(H×W or H×W×3, alpha or None) of a loaded image in mode L, LA, RGB or RGBA."""
    samples = np.array(image)
    if image.mode in ("LA", "RGBA"):
        pixels = samples[..., 0] if image.mode == "LA" else samples[..., :3]
        return np.ascontiguousarray(pixels), np.ascontiguousarray(samples[..., -1])
    return samples, None


def _keyed_alpha(pixels: Samples, key: int | tuple[int, ...], depth: int) -> Samples:
    # Pillow returns the key on the stored scale (2 of 0..15), and the pixels scaled to 8 bits.
    scale = 255 // ((1 << min(depth, 8)) - 1)
    transparent = pixels == np.asarray(key) * scale
    return np.where(transparent.all(axis=2) if pixels.ndim == 3 else transparent, 0, 255).astype(np.uint8)


def metadata_of(
    image: Image.Image,
    extracted: Metadata | None = None,
    resolution_in: Callable[[Info], Resolution | None] = lambda _: None,
) -> tuple[Metadata, tuple[str, ...]]:
    """(the metadata of an opened file, the losses).

    extracted: metadata that were removed from the file before Pillow opened it; None: they are read by Pillow.
    resolution_in: reads the format's own field for the resolution.
    """
    info = image.info
    metadata = extracted or Metadata(info.get("icc_profile") or None, info.get("exif") or None, info.get("xmp") or None)
    metadata, lost = _described(image, metadata)
    if metadata.xmp is not None and len(metadata.xmp) <= MAX_METADATA_BYTES["xmp"]:
        with suppress(xmp_editing.DamagedXmp):  # It is kept unchanged, and `metadata.upright` adds a note.
            lost += ("the extended part of its XMP",) if xmp_editing.is_extended(metadata.xmp) else ()
    if metadata.exif is not None:
        prefixes = _PREFIXES.match(metadata.exif)
        metadata = replace(metadata, exif=metadata.exif[prefixes.end() if prefixes is not None else 0 :] or None)
    return replace(metadata, resolution=resolution_in(info)), lost


def _described(image: Image.Image, metadata: Metadata) -> tuple[Metadata, tuple[str, ...]]:
    """(metadata with the colours that a PNG describes by gAMA, cHRM and sRGB, the losses)."""
    info = image.info
    if metadata.icc is not None or metadata.cicp is not None:
        return metadata, ()
    if "srgb" in info:
        return replace(metadata, cicp=SRGB), ()
    grey = image.mode in _GREY_MODES
    described = colours.from_gamma(metadata, info.get("gamma"), info.get("chromaticity"), grey=grey)
    return (metadata, ("gamma and primaries (invalid values)",)) if described is None else (described, ())


def metadata_in(
    plugin: type[ImageFile],
    file: bytes,
    extracted: Metadata | None = None,
    resolution_in: Callable[[Info], Resolution | None] = lambda _: None,
) -> list[Metadata]:
    """The metadata that Pillow finds in a written file; empty if the file is too large for Pillow."""
    try:
        image = plugin(BytesIO(file))
    except Image.DecompressionBombError:
        return []
    return [metadata_of(image, extracted, resolution_in)[0]]


def image_of(samples: Samples) -> Image.Image:
    """H×W×C uint8 samples, C = 1 to 4, as an image of Pillow."""
    return Image.fromarray(samples if samples.shape[2] > 1 else samples[..., 0])


def saved(image: Image.Image, format: str, options: dict[str, Any]) -> bytes:
    """A file in a format that Pillow writes, with its options for that format. Raises OutputError."""
    title = formats.named(format).title
    buffer = BytesIO()
    try:
        image.save(buffer, _NAMES.get(format, format.upper()), **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot be written as {title}: {error}", hint="Choose another format.") from error
    return buffer.getvalue()


def options_for(metadata: Metadata) -> dict[str, Any]:
    """The options of Pillow for profile, EXIF and XMP."""
    blocks = {
        "icc_profile": metadata.icc,
        "exif": b"Exif\0\0" + metadata.exif if metadata.exif is not None else None,
        "xmp": metadata.xmp,
    }
    return {name: block for name, block in blocks.items() if block is not None}
