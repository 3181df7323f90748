"""JPEG, PNG, WebP and BMP through Pillow's readers, whatever its process-wide settings are.

The plugin classes are called directly: `Image.open` would apply the global pixel limit, a setting that belongs to
the program that imports us. Of a PNG, Pillow reads what stands beside the pixels, which come from `png16`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from adacode_cli.imaging import bmp_header, conversions, jpeg_frames, jpeg_scans, png16
from adacode_cli.imaging.cicp import SRGB
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.limits import too_many_pixels
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.parsing import check_size, not_supported, parsing
from adacode_cli.imaging.pillow_metadata import metadata_of, taken_apart
from adacode_cli.imaging.raster import PALETTE_NOTE, Raster, lost_beside_first

_PLUGINS: dict[str, type[ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "bmp": BmpImageFile,
}
_PNG_DEPTH_AT = 24
_MOST_OF_WEBP = 16383**2


def read(data: bytes, format: str, max_pixels: int, *, name: str) -> Raster:
    """The first picture in `data`, which begins like a `format` file. Raises InputError."""
    if format == "jpeg":
        jpeg_scans.check(data, name=name)
        frame = jpeg_frames.frame_of(data)
        if frame is not None and not frame.is_for_pillow:
            return jpeg_frames.read(data, frame, max_pixels, name=name)
    try:
        with parsing(format, name=name):
            data, beside, not_kept = taken_apart(data, format)
            picture = opened(_PLUGINS[format], data)
    except _NotForPillow as error:
        raise not_supported(str(error), name=name) from error
    except _BeyondPillow as error:
        if error.num_pixels > max_pixels:
            raise too_many_pixels(f"{error.num_pixels} pixels", max_pixels, name=name) from error
        return _large_webp(data, name=name)
    check_size(*picture.size, max_pixels, name=name)
    is_for_libpng = format == "png" and max(picture.size) <= png16.MAX_SIDE
    if format == "png" and not is_for_libpng and data[_PNG_DEPTH_AT] > 8:
        raise not_supported(f"a PNG of 16 bits with more than {png16.MAX_SIDE:,} pixels a side", name=name)
    with parsing(format, name=name):
        if not is_for_libpng:
            picture.load()
        said, lost = metadata_of(picture, format, beside)
        lost = not_kept + lost + lost_beside_first(getattr(picture, "n_frames", 1))
        if is_for_libpng:
            notes = (PALETTE_NOTE,) if picture.mode in ("P", "PA") else ()
            return Raster(*png16.read(data), said, notes=notes, lost=lost)
        lost += bmp_header.alpha_lost(data, picture.mode) if format == "bmp" else ()
        raster = from_pillow(picture, said, data[_PNG_DEPTH_AT] if format == "png" else 8)
    return replace(raster, lost=lost + raster.lost)


def from_pillow(picture: Image.Image, said: Metadata, depth: int = 8) -> Raster:
    """A loaded 8-bit picture in any of Pillow's modes, with what of its metadata `said` still fits it.

    `depth` is the stored number of bits, which a PNG's transparent grey is written in.
    """
    key = picture.info.get("transparency")
    if picture.mode in ("P", "PA"):
        found = planes(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
        return Raster(*found, said, notes=(PALETTE_NOTE,))
    if picture.mode == "CMYK":
        pixels, lost = conversions.rgb_from_inks(np.asarray(picture), said.icc)
        return Raster(pixels, None, replace(said, icc=None, cicp=SRGB), lost=(lost,))
    target = {"1": "L", "La": "LA", "RGBa": "RGBA", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA"}
    pixels, alpha = planes(picture.convert(target.get(picture.mode, "RGB")))
    if key is not None and alpha is None:
        alpha = _keyed_alpha(pixels, key if picture.mode != "1" else bool(key), depth)
    return Raster(pixels, alpha, said)


def planes(picture: Image.Image) -> tuple[Samples, Samples | None]:
    """(H×W or H×W×3, alpha or None) of a loaded picture in mode L, LA, RGB or RGBA."""
    samples = np.array(picture)
    if picture.mode in ("LA", "RGBA"):
        pixels = samples[..., 0] if picture.mode == "LA" else samples[..., :3]
        return np.ascontiguousarray(pixels), np.ascontiguousarray(samples[..., -1])
    return samples, None


def _keyed_alpha(pixels: Samples, key: int | tuple[int, ...], depth: int) -> Samples:
    # Pillow leaves the key on the stored scale (2 of 0..15), the pixels are on ours.
    scale = 255 // ((1 << min(depth, 8)) - 1)
    transparent = pixels == np.asarray(key) * scale
    return np.where(transparent.all(axis=2) if pixels.ndim == 3 else transparent, 0, 255).astype(np.uint8)


class _NotForPillow(Exception):  # noqa: N818 (the reason of an InputError)
    """What a file is that is whole and that Pillow does not read."""


class _BeyondPillow(Exception):  # noqa: N818 (a branch, not a failure)
    """Pillow's WebP reader enforces its global pixel limit by itself, and tells only in words how many there are."""

    def __init__(self, error: Image.DecompressionBombError) -> None:
        super().__init__(str(error))
        numbers = re.findall(r"\d+", str(error))
        self.num_pixels = int(numbers[0]) if numbers else _MOST_OF_WEBP


def opened(plugin: type[ImageFile], data: bytes) -> ImageFile:
    """The file, its header read, by a plugin of Pillow's."""
    try:
        return plugin(BytesIO(data))
    except Image.DecompressionBombError as error:
        raise _BeyondPillow(error) from error
    except OSError as error:
        if "Unsupported BMP" in str(error) and "Palette size" not in str(error):
            raise _NotForPillow(str(error).replace("Unsupported BMP", "a BMP of another")) from error
        raise


def _large_webp(data: bytes, *, name: str) -> Raster:
    with parsing("webp", name=name):
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if samples is None:
            raise ValueError("no picture in it")
    alpha = np.ascontiguousarray(samples[..., 3]) if samples.shape[2] == 4 else None
    lost = ("metadata (not read: it exceeds the pixel limit set in Pillow)",)
    return Raster(np.ascontiguousarray(samples[..., 2::-1]), alpha, lost=lost)
