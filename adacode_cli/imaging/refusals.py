"""The errors for files that are refused, each with the reason and a hint.

Pillow, tifffile and OpenCV raise many types of exceptions for damaged files. They are converted here for the readers
only, so that bugs in other code (orientation, masks, writing) are not hidden. The original exception is chained, for
the traceback that -vv shows. The message for a file that exceeds one of the `limits` has the numbers, and names the
option that raises the limit, if there is one.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
from PIL import Image
from tifffile import TiffFileError

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging import memory_limit
from adacode_cli.limits import COUNTED_PIXEL_BYTES, MAX_PAGES, MAX_SCANS

_DAMAGED_HINT = "Open it in an image viewer. If it is damaged there too, copy or download it again."
_HARMFUL_HINT = "otherwise the file is damaged or malicious."
_CONVERT_HINT = "Convert it with the program that made it, to PNG, or to TIFF with 8 or 16 bits per sample."
LIBRARY_ERRORS = (
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
    lzma.LZMAError,
    cv2.error,
    TiffFileError,
    Image.DecompressionBombError,
)

_ERRORS_ABOUT_FILES = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TiffFileError,
)  # Messages of the other errors concern Python, not the file.


@contextmanager
def parsing(format: str, *, name: str) -> Iterator[None]:
    """For library calls on the data of the file `name`: their errors become an InputError with `damage`.

    Raises InputError also if the memory is insufficient.
    """
    try:
        yield
    except MemoryError as error:
        raise too_little_memory(name, memory_limit.in_force()) from error
    except LIBRARY_ERRORS as error:
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            raise too_little_memory(name, memory_limit.in_force()) from error
        title, text = formats.named(format).title, str(error)
        if "truncated" in text.lower():
            message = f"is truncated: the {title} data end too early"
            raise InputError(message, path=name, hint=_DAMAGED_HINT, damage="is truncated") from error
        reason = f" ({text.splitlines()[0]})" if text and isinstance(error, _ERRORS_ABOUT_FILES) else ""
        message = f"is damaged or truncated and cannot be read as {title}{reason}"
        raise InputError(message, path=name, hint=_DAMAGED_HINT, damage=f"is damaged{reason}") from error


def not_supported(what: str, *, name: str, program: str | None = None) -> InputError:
    """The error for an undamaged file of an unsupported kind, `what`; `program`: a command that may convert it."""
    remedy = f"Convert it with a program that reads it, for example: {program}"
    hint = f"The file is probably not damaged. {remedy if program else _CONVERT_HINT}"
    return InputError(f"is not supported: it is {what}", path=name, hint=hint)


def check_size(width: int, height: int, max_pixels: int, *, name: str, pixel_bytes: int = 0) -> None:
    """Refuses impossible or too large sizes before memory is allocated; for others, the memory limit is raised.

    pixel_bytes: of a stored pixel, if this may exceed COUNTED_PIXEL_BYTES. Raises InputError.
    """
    memory_limit.permit(counted_pixels(width, height, max_pixels, name=name, pixel_bytes=pixel_bytes))


def counted_pixels(width: int, height: int, max_pixels: int, *, name: str, pixel_bytes: int = 0) -> int:
    """The number of pixels as which a page of this size counts: more than it has if its pixels are large.

    Raises InputError as `check_size`.
    """
    if width < 1 or height < 1:
        raise InputError(f"claims a size of {width}×{height} pixels", path=name, hint=_DAMAGED_HINT)
    if width * height > max_pixels:
        raise too_many_pixels(f"{width}×{height} pixels", max_pixels, name=name)
    counted = width * height * max(1, pixel_bytes / COUNTED_PIXEL_BYTES)
    if counted > max_pixels:
        claim = (
            f"{counted * COUNTED_PIXEL_BYTES / 1e6:,.1f} MB of samples, as much as {counted / 1e6:g} megapixels have"
        )
        raise too_many_pixels(claim, max_pixels, name=name)
    return round(counted)


def too_many_pixels(what: str, max_pixels: int, *, name: str) -> InputError:
    """The error for a file that claims `what`."""
    return InputError(
        f"claims {what}, more than {max_pixels / 1e6:g} megapixels",
        path=name,
        hint=f"If the image really is that large, raise --max-megapixels; {_HARMFUL_HINT}",
        over_limit=True,
    )


def too_many_bytes(num_bytes: int | None, max_bytes: int, *, name: str) -> InputError:
    """The error for a file of `num_bytes`, or for a stream that exceeds `max_bytes` (None)."""
    size = f"has {num_bytes / 1e6:,.1f} MB, more than" if num_bytes is not None else "has more than"
    return InputError(
        f"{size} the {max_bytes / 1e6:g} MB that a file may have",
        path=name,
        hint="If it really is an image of this size, raise --max-file-size.",
        over_limit=True,
    )


def too_many_pages(name: str) -> InputError:
    """The error for a TIFF with more than MAX_PAGES pages."""
    hint = "Split it into several files."
    return InputError(f"has more than {MAX_PAGES} pages", path=name, hint=hint, over_limit=True)


def too_many_scans(num_scans: int, name: str) -> InputError:
    """The error for a JPEG with `num_scans` scans."""
    hint = "If another program shows it, save it there under a new name; otherwise the file is malicious."
    message = f"has {num_scans} scans, more than the {MAX_SCANS} that are read"
    return InputError(message, path=name, hint=hint, over_limit=True)


def too_little_memory(name: str, limit: int | None) -> InputError:
    """The error for a file that needs more memory than is available, or than the `limit` of its process in bytes."""
    if limit is None:
        hint = "Close other programs, or make the image smaller first."
        return InputError("needs more memory than is available", path=name, hint=hint, over_limit=True)
    hint = "If another program shows it, save it there under a new name, or add --no-isolate, which sets no limit."
    message = f"needs more memory to be decoded than the {limit / 1e6:,.0f} MB that a file of its size may take"
    return InputError(message, path=name, hint=hint, over_limit=True)
