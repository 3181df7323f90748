"""Files below a folder → photographs as training sees them: upright, three channels of 8 bits, opaque.

Files come in the order of their relative paths, independent of the file system, and only regular files with the suffix
of an image are opened. Names that begin with a dot are skipped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from adacode_cli import formats
from adacode_cli.errors import InputError, reason
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.files import file_bytes
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.samples import on_white, to_depth
from adacode_cli.training.prepare.measures import jpeg_quality
from adacode_cli.training.shards import Pixels


@dataclass(frozen=True, eq=False)
class Photo:
    """pixels: H×W×3 uint8 RGB, on white where the file has alpha. transparent: share of pixels that are not opaque.

    quality: libjpeg quality of a JPEG file, None for others.
    """

    pixels: Pixels
    transparent: float
    quality: float | None


def find_photos(folder: Path) -> list[str]:
    """Relative paths ("nature/a.jpg") of all image files below `folder`, sorted. Raises InputError without any.

    Links to directories are followed, each directory once.
    """
    if not folder.is_dir():
        raise InputError("is not a directory", path=folder, hint="Name a directory with photographs.")
    found: list[str] = []
    entered: set[str] = set()
    for base, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(base)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(base, name) for name in files if not name.startswith("."))
        found += (p.relative_to(folder).as_posix() for p in paths if formats.of_any_suffix(p.suffix) and p.is_file())
    if not found:
        hint = f"Images are recognised by their suffix: {', '.join(sorted(formats.input_suffixes()))}."
        raise InputError("does not hold any photographs", path=folder, hint=hint)
    return sorted(found)


def _refuse(error: OSError) -> None:
    what = f"cannot be read: {reason(error)}"
    raise InputError(what, path=error.filename, hint="Check its permissions, or leave it out of the folder.") from error


def category_of(file: str) -> str | None:
    """The first-level sub-folder of a relative path; None for a file outside any."""
    first, slash, _ = file.partition("/")
    return first if slash else None


def read_photo(path: Path) -> Photo:
    """The photograph in a file. Raises InputError where it cannot be read."""
    data = file_bytes(path)
    decoded = decode(data, name=str(path))
    pixels, transparent = decoded.pixels, 0.0
    if decoded.alpha is not None:
        opaque = decoded.alpha == (1.0 if decoded.alpha.dtype == np.float32 else np.iinfo(decoded.alpha.dtype).max)
        transparent = 1.0 - float(np.count_nonzero(opaque)) / opaque.size
        pixels = on_white(pixels, decoded.alpha)
    narrow = np.asarray(to_depth(pixels, np.uint8), np.uint8)
    rgb = narrow if narrow.ndim == 3 else np.repeat(narrow[..., None], 3, 2)
    return Photo(np.ascontiguousarray(rgb), transparent, _quality(decoded, data))


def _quality(decoded: Decoded, data: bytes) -> float | None:
    if decoded.format != "jpeg":
        return None
    tables = JpegImageFile(BytesIO(data)).quantization
    return jpeg_quality(tables[min(tables)]) if tables else None
