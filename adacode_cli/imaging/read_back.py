"""What was written into a file is read out of it again before it counts: its header, by the readers, not its pixels.

Blocks come from files of unknown origin and go through libraries that do not look at them. One that nobody could read,
or that would keep others from reading the picture, is left out by `encode` and named as lost.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from tifffile import TiffFile, TiffPage

from adacode_cli.errors import OutputError
from adacode_cli.imaging import exif, exif_editing, heif_boxes, heif_codec, iptc, jp2_boxes, tiff_reader
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.metadata import TITLES as NAMES
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.metadata_limits import Allowance
from adacode_cli.imaging.parsing import TITLES
from adacode_cli.imaging.pillow_metadata import metadata_of, taken_apart

_PLUGINS: dict[str, type[ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "bmp": BmpImageFile,
    "avif": AvifImageFile,
    "jp2": Jpeg2KImageFile,
}


RESOLUTION_IN_EXIF = frozenset({"webp", "avif", "heic"})
"""Formats that have no place of their own for it."""

_NO_LIMIT = sys.maxsize
_SIDE = 64  # pixels, which all formats can hold
_ASCII = 2
_NOTHING: tuple[set[Tag], ...] = (set(), set(), set(), set())

Tag = tuple[int, int, bytes]
"""(code, type, value)."""


Write = Callable[[Sequence[Samples], Sequence[Metadata]], bytes]
"""(H×W×C samples of each page, its metadata) → a file."""


def lasting(
    write: Write, format: str, samples: Sequence[Samples], said: Sequence[Metadata]
) -> tuple[bytes, Sequence[Metadata]]:
    """(a file of the pages, what of `said` can be read out of it).

    Raises what `write` does for the samples, and OutputError for a file that cannot be read.
    """
    file = _without_complaint(write, samples, said)
    if file is not None and not any(missing(file, format, said)):
        return file, said
    kept = [_survivors(write, format, page, all_of_it) for page, all_of_it in zip(samples, said, strict=True)]
    file = write(samples, kept)
    lost = missing(file, format, kept)
    if any(lost):
        kept = [replace(page, **dict.fromkeys(names)) for page, names in zip(kept, lost, strict=True)]
        file = write(samples, kept)
        if not is_readable(file, format):
            raise OutputError(f"cannot be read back as {TITLES[format]}", hint="Choose another format.")
    return file, kept


def _survivors(write: Write, format: str, page: Samples, said: Metadata) -> Metadata:
    """What of it can be written beside a small picture of the same kind and be read again, block by block."""
    small = [np.zeros((_SIDE, _SIDE, page.shape[2]), page.dtype)]
    kept = Metadata()
    for name in NAMES:
        with_it = replace(kept, **{name: getattr(said, name)})
        file = _without_complaint(write, small, [with_it])
        if file is not None and not any(missing(file, format, [with_it])):
            kept = with_it
    return kept


def _without_complaint(write: Write, samples: Sequence[Samples], said: Sequence[Metadata]) -> bytes | None:
    try:
        return write(samples, said)
    except MemoryError:
        raise  # that says nothing of the blocks
    except Exception:  # noqa: BLE001 (libraries say in many ways that they do not like a block)
        return None


def missing(file: bytes, format: str, written: Sequence[Metadata]) -> list[frozenset[str]]:
    """For each page, the names of the fields of what was `written` into it that do not come back.

    All of them where the file cannot be opened.
    """
    try:
        found = _found(file, format) or written
        return [
            frozenset(name for name in NAMES if not _came_back(name, said, back, format))
            for said, back in zip(written, found, strict=True)
        ]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (whatever a reader raises, other programs will meet it too)
        return [frozenset(name for name in NAMES if getattr(said, name) is not None) for said in written]


def is_readable(file: bytes, format: str) -> bool:
    """Whether the file can be opened at all."""
    try:
        _found(file, format)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (as above)
        return False
    return True


def _found(file: bytes, format: str) -> Sequence[Metadata]:
    """What each page says; nothing where Pillow opens no file that is so large. Raises what the readers raise."""
    if format == "tiff":
        with TiffFile(BytesIO(file)) as opened:
            pages = [page for page in opened.pages if isinstance(page, TiffPage)]
            if pages[0].bitspersample == 8:  # Pillow does not know all of the others.
                TiffImageFile(BytesIO(file))
            allowance = Allowance(_NO_LIMIT)
            return [tiff_reader.metadata_of_page(page, file, allowance)[0] for page in pages]
    if format == "heic":
        container = heif_codec.heic(file, name="")
        return [_with_numbers(metadata_of(container[container.primary_index], format)[0], file)]
    try:
        picture = _PLUGINS[format](BytesIO(file))
    except Image.DecompressionBombError:
        return []
    if format == "jp2":
        return [jp2_boxes.metadata_in(file)]
    _, beside, _ = taken_apart(file, format)
    found = metadata_of(picture, format, beside)[0]
    return [_with_numbers(found, file) if format == "avif" else found]


def _with_numbers(found: Metadata, file: bytes) -> Metadata:
    return replace(found, cicp=heif_boxes.cicp_of(heif_boxes.properties(file)))


def _came_back(name: str, written: Metadata, found: Metadata, format: str) -> bool:
    said, back = getattr(written, name), getattr(found, name)
    if said is None or back is None:
        # What has no field for resolution holds it in EXIF; TIFF has no field for EXIF that says nothing else.
        return (
            said is None
            or (name == "resolution" and format in RESOLUTION_IN_EXIF)
            or (name == "exif" and format == "tiff" and _described(said) == _NOTHING)
        )
    if name == "resolution":
        return True  # Each format rounds it in its own way.
    if name == "iptc":
        records = iptc.without_padding(said)
        return records is not None and records == iptc.without_padding(back)
    return _same_exif(said, back, format) if name == "exif" else bool(said == back)


def _same_exif(said: bytes, back: bytes, format: str) -> bool:
    """Whether it is the same, and neither our reader nor Pillow's, which many programs use, raises anything.

    Raises what they do.
    """
    exif.upright(back)
    loaded = Image.Exif()
    loaded.load(back)
    loaded.get(exif.ORIENTATION)
    for directory in (exif.EXIF_DIRECTORY, exif.GPS_DIRECTORY):
        loaded.get_ifd(directory)
    if format == "tiff":
        return _described(said) == _described(back)
    return back == said or (format == "avif" and back == exif_editing.with_tags(said, (), without={exif.ORIENTATION}))


def _described(block: bytes) -> tuple[set[Tag], ...]:
    parts = exif.sections(block)
    main = [entry for entry in parts.main if entry.code not in exif.RESOLUTION]
    return tuple({_tag(entry) for entry in part} for part in (main, parts.exif, parts.gps, parts.interoperability))


def _tag(entry: exif.Entry) -> Tag:
    # A text ends with a NUL, which many cameras leave out and tifffile adds; some fill a field with them.
    return entry.code, entry.dtype, entry.data.rstrip(b"\0") if entry.dtype == _ASCII else entry.data
