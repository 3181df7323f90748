"""A file that a library cannot read is a person's problem with a name and a remedy, never a traceback.

Pillow, tifffile and OpenCV report broken files through a dozen exception types. They are translated here, around
the readers only: turning, masks and writing stay outside, so that a bug there still shows as one. Inside the readers
the original exception is chained, for the traceback that a person can ask for.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
from PIL import Image
from tifffile import TiffFileError

from adacode_cli.errors import InputError

MAX_PIXELS = 300_000_000
"""Larger pictures are refused unless a caller says otherwise: few are meant, and 100 bytes can claim to be one."""

TITLES = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "tiff": "TIFF",
    "bmp": "BMP",
    "jp2": "JPEG 2000",
    "avif": "AVIF",
    "heic": "HEIC",
}

_DAMAGED_HINT = "Open it in a viewer; if it looks broken there too, copy or download it again."
_LIBRARY_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
    cv2.error,
    TiffFileError,
    Image.DecompressionBombError,
)

_TELLING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TiffFileError,
)  # The others speak of Python, not of files.


@contextmanager
def parsing(format: str, *, name: str) -> Iterator[None]:
    """Around library calls on the bytes of file `name`: whatever they raise about those bytes becomes InputError."""
    try:
        yield
    except MemoryError as error:
        raise InputError(
            "needs more memory than is free", path=name, hint="Close other programs, or make the picture smaller first."
        ) from error
    except _LIBRARY_ERRORS as error:
        title, text = TITLES[format], str(error)
        if "truncated" in text.lower():
            raise InputError(f"is truncated: the {title} data end too early", path=name, hint=_DAMAGED_HINT) from error
        reason = f" ({text.splitlines()[0]})" if text and isinstance(error, _TELLING_ERRORS) else ""
        message = f"is damaged or truncated and cannot be read as {title}{reason}"
        raise InputError(message, path=name, hint=_DAMAGED_HINT) from error


def check_sizes(sizes: Sequence[tuple[int, int]], max_pixels: int, *, name: str) -> None:
    """`check_size` of (width, height) of each page, and of all of them together. Raises InputError."""
    for width, height in sizes:
        check_size(width, height, max_pixels, name=name)
    pixels = sum(width * height for width, height in sizes)
    if pixels > max_pixels:
        raise too_large(f"{pixels / 1e6:g} megapixels in {len(sizes)} pages", max_pixels, name=name)


def check_size(width: int, height: int, max_pixels: int, *, name: str) -> None:
    """Refuses impossible and absurd dimensions before anything is allocated for them. Raises InputError."""
    if width < 1 or height < 1:
        raise InputError(f"claims a size of {width}×{height} pixels", path=name, hint=_DAMAGED_HINT)
    if width * height > max_pixels:
        raise too_large(f"{width}×{height} pixels", max_pixels, name=name)


def too_large(what: str, max_pixels: int, *, name: str) -> InputError:
    """The refusal of a file that claims `what`."""
    return InputError(
        f"claims {what}, more than {max_pixels / 1e6:g} megapixels",
        path=name,
        hint="If it really is that large, raise --max-megapixels; if not, the file is damaged or made to do harm.",
    )
