"""Pixels with their metadata → bytes of a picture file; what a format cannot hold is known before, never silent."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adacode_cli.errors import OutputError, UsageError
from adacode_cli.imaging import png16, tiff_writer
from adacode_cli.imaging.image import SUFFIXES, Decoded, Samples
from adacode_cli.imaging.parsing import TITLES
from adacode_cli.imaging.samples import on_white, to_depth

FORMATS: dict[str, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}
"""Format name → the suffix that its files get."""

DEFAULT_QUALITY = 95
_FULL_COLOR_QUALITY = 90  # From here on a person asks for detail, and JPEG keeps colour at full resolution.
_KEEPS_ALPHA = frozenset({"png", "webp", "tiff"})
_KEEPS_METADATA = frozenset({"jpeg", "png", "webp", "tiff"})
_DEPTHS: dict[str, tuple[type[np.generic], ...]] = {
    "png": (np.uint16, np.uint8),
    "tiff": (np.float32, np.uint16, np.uint8),
}
_DEPTH_NAMES = {np.dtype(np.uint8): "8-bit", np.dtype(np.uint16): "16-bit", np.dtype(np.float32): "32-bit float"}
_MAX_SIDE = {"jpeg": 65500, "webp": 16383, "png": 2**31 - 1, "tiff": 2**31 - 1, "bmp": 2**31 - 1}
_MAX_BMP_BYTES = 2**32 - 4096
_MAX_JPEG_EXIF = 65533 - 6  # One marker segment, its length field and the "Exif\0\0" prefix.


def format_of(path: Path) -> str | None:
    """The format that a file name asks for, by its suffix in any case, or None for an unknown one."""
    return SUFFIXES.get(path.suffix.lower())


def losses(image: Decoded, format: str) -> tuple[str, ...]:
    """What of `image` would not survive in `format`, each in a few words. Raises OutputError for an unknown format."""
    _check_format(format)
    found = []
    if image.alpha is not None and format not in _KEEPS_ALPHA and not _opaque(image.alpha):
        found.append("alpha (composited on white)")
    depth = _depth_in(format, image.pixels.dtype)
    if depth != image.pixels.dtype:
        found.append(f"{_DEPTH_NAMES[image.pixels.dtype]} depth (saved as {_DEPTH_NAMES[depth]})")
    kept = _metadata_in(format, image)
    if image.icc is not None and kept["icc"] is None:
        found.append("ICC profile")
    if image.exif is not None and kept["exif"] is None:
        found.append("EXIF")
    return tuple(found)


def encode(image: Decoded, *, format: str, quality: int | None = None) -> bytes:
    """The bytes of a `format` file. `quality` (1–100, default 95) matters to JPEG and WebP.

    PNG, TIFF and BMP keep every sample. JPEG and BMP show a transparent picture on white. WebP stores grey as RGB.
    Raises OutputError for an unknown format or a picture too large for it, UsageError for an impossible quality.
    """
    _check_format(format)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is impossible", hint="Choose a number from 1 to 100.")
    _check_size(image, format)
    samples = _fitted(image, format)
    kept = _metadata_in(format, image)
    if format == "tiff":
        return tiff_writer.write(samples, icc=kept["icc"], block=kept["exif"])
    if samples.dtype == np.uint16:
        return png16.write(samples, icc=kept["icc"], exif=kept["exif"])
    return _by_pillow(samples, format, DEFAULT_QUALITY if quality is None else quality, kept)


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise OutputError(f"unknown picture format {format!r}", hint=f"Choose one of {', '.join(FORMATS)}.")


def _check_size(image: Decoded, format: str) -> None:
    height, width = image.size
    bmp_bytes = height * width * (4 if image.pixels.ndim == 3 else 1)
    if max(height, width) > _MAX_SIDE[format] or (format == "bmp" and bmp_bytes > _MAX_BMP_BYTES):
        raise OutputError(f"a {TITLES[format]} cannot hold {width}×{height} pixels", hint="Choose png or tiff.")


def _depth_in(format: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The depth that `format` stores `dtype` in: the same where it can, else the next smaller."""
    kept = [np.dtype(kind) for kind in _DEPTHS.get(format, (np.uint8,))]
    return dtype if dtype in kept else kept[0]


def _opaque(alpha: Samples) -> bool:
    return bool(alpha.min() == (1.0 if alpha.dtype == np.float32 else np.iinfo(alpha.dtype).max))


def _metadata_in(format: str, image: Decoded) -> dict[str, bytes | None]:
    """The ICC profile and EXIF block that `format` can hold, None for one it cannot."""
    icc, exif = image.icc, image.exif
    if format not in _KEEPS_METADATA:
        return {"icc": None, "exif": None}
    if format == "webp" and icc is not None and icc[16:20] == b"GRAY":
        icc = None  # WebP has no grey; a grey profile on RGB samples makes viewers refuse or distort them.
    if exif is not None and (
        (format == "jpeg" and len(exif) > _MAX_JPEG_EXIF) or (format == "tiff" and tiff_writer.readable(exif) is None)
    ):
        exif = None
    return {"icc": icc, "exif": exif}


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


def _by_pillow(samples: Samples, format: str, quality: int, kept: dict[str, bytes | None]) -> bytes:
    picture = Image.fromarray(samples if samples.shape[2] > 1 else samples[..., 0])
    options: dict[str, Any] = {}
    if kept["icc"] is not None:
        options["icc_profile"] = kept["icc"]
    if kept["exif"] is not None:
        options["exif"] = b"Exif\0\0" + kept["exif"]
    if format == "jpeg":
        # Not optimize=True: Pillow then needs the whole file in one buffer, and its guess is too small for noise.
        options |= {"quality": quality, "subsampling": 0 if quality >= _FULL_COLOR_QUALITY else 2}
    elif format == "webp":
        # exact: colours under full transparency stay, as in the other formats that have alpha.
        options |= {"quality": quality, "method": 4, "exact": True}
        picture = picture.convert("RGBA" if picture.mode in ("LA", "RGBA") else "RGB")
    buffer = BytesIO()
    try:
        picture.save(buffer, TITLES[format].upper(), **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot be written as {TITLES[format]}: {error}", hint="Choose another format.") from error
    return buffer.getvalue()
