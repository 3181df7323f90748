"""Verifies written files: their metadata are read again by the readers, without decoding pixels.

Blocks are untrusted and are passed through libraries that do not check them. `encode` leaves out a block that cannot be
read again, or that would make the image unreadable, and reports it as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from adacode_cli.errors import OutputError
from adacode_cli.formats import Format
from adacode_cli.imaging import exif, photoshop
from adacode_cli.imaging.codec import codec_of
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.metadata import TITLES, Metadata

_SIDE = 64  # pixels, which all formats can hold

Write = Callable[[Sequence[Samples], Sequence[Metadata]], bytes]
"""(H×W×C samples of each page, its metadata) → a file."""


def written_and_verified(
    write: Write, format: Format, samples: Sequence[Samples], metadata: Sequence[Metadata]
) -> tuple[bytes, Sequence[Metadata]]:
    """(a file of the pages, the metadata that can be read from it).

    Raises the errors of `write` for the samples, and OutputError for a file that cannot be read.
    """
    file = _written_or_none(write, samples, metadata)
    if file is not None and not any(missing(file, format, metadata)):
        return file, metadata
    kept = [
        _readable_blocks(write, format, page, page_metadata)
        for page, page_metadata in zip(samples, metadata, strict=True)
    ]
    file = write(samples, kept)
    lost = missing(file, format, kept)
    if any(lost):
        kept = [replace(page, **dict.fromkeys(names)) for page, names in zip(kept, lost, strict=True)]
        file = write(samples, kept)
        if not is_readable(file, format):
            raise OutputError(f"cannot be read back as {format.title}", hint="Choose another format.")
    return file, kept


def small_like(page: Samples) -> Samples:
    """A small image, H×W×C, with the channels and dtype of a page."""
    return np.zeros((_SIDE, _SIDE, page.shape[2]), page.dtype)


def _readable_blocks(write: Write, format: Format, page: Samples, metadata: Metadata) -> Metadata:
    """The blocks that can be written together with a small image and be read again, tested one after another."""
    small = [small_like(page)]
    kept = Metadata()
    for name in TITLES:
        with_it = replace(kept, **{name: getattr(metadata, name)})
        file = _written_or_none(write, small, [with_it])
        if file is not None and not any(missing(file, format, [with_it])):
            kept = with_it
    return kept


def _written_or_none(write: Write, samples: Sequence[Samples], metadata: Sequence[Metadata]) -> bytes | None:
    try:
        return write(samples, metadata)
    except MemoryError:
        raise  # The blocks are not the cause.
    except Exception:  # noqa: BLE001 (libraries raise many kinds of errors for a block)
        return None


def missing(file: bytes, format: Format, written: Sequence[Metadata]) -> list[frozenset[str]]:
    """For each page, the names of the `written` fields that cannot be read again.

    All of them if the file cannot be opened.
    """
    try:
        found = codec_of(format).metadata_in(file) or written
        return [
            frozenset(name for name in TITLES if not _is_preserved(name, expected, read, format))
            for expected, read in zip(written, found, strict=True)
        ]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (other programs would meet the same error)
        return [frozenset(name for name in TITLES if getattr(expected, name) is not None) for expected in written]


def is_readable(file: bytes, format: Format) -> bool:
    """Whether the file can be opened."""
    try:
        codec_of(format).metadata_in(file)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (as above)
        return False
    return True


def _is_preserved(name: str, written: Metadata, found: Metadata, format: Format) -> bool:
    expected, read = getattr(written, name), getattr(found, name)
    if expected is None:
        return True
    if name == "resolution":
        # Formats without a field for it have it in EXIF; the others round it in different ways.
        return read is not None or format.resolution_in_exif
    if name == "exif":
        if read is not None:
            _check_readable(read)
        return codec_of(format).same_exif(expected, read)
    if name == "iptc" and read is not None:
        records = photoshop.without_padding(expected)
        return records is not None and records == photoshop.without_padding(read)
    return bool(expected == read)


def _check_readable(block: bytes) -> None:
    """Raises the errors of our EXIF reader, or of the one of Pillow, which many programs use."""
    exif.upright(block)
    loaded = Image.Exif()
    loaded.load(block)
    loaded.get(exif.ORIENTATION)
    for directory in (exif.EXIF_DIRECTORY, exif.GPS_DIRECTORY):
        loaded.get_ifd(directory)
