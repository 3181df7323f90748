"""What a module that reads and writes a format offers: its `CODEC`, a value of `Codec`.

`formats` names the module of each format by its import path, and `codec_of` imports it. A codec knows one format and
its libraries; what all formats have in common is done around it, by `decode` and `encode`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import BinaryIO, Protocol

from adacode_cli import formats
from adacode_cli.errors import AdaCodeError
from adacode_cli.formats import Format
from adacode_cli.imaging.image import FurtherPage, Item, Raster, Samples
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.imaging.metadata import Metadata

Page = tuple[Samples, Metadata]
"""H×W×C samples in a depth that the format stores, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha); what is
to stand beside them."""

Complete = Callable[[bytes, int, str], tuple[bytes, str]]
"""(a damaged file, the most pixels that it may claim, its name) → (a file of what is whole of it, what became of the
rest). Raises what a library may raise where nothing is left, and InputError for what claims more pixels."""


class Read(Protocol):
    """A function that reads a file."""

    def __call__(self, data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
        """The pages of the file `data`, which begins like a file of the format; one where the format has no pages.

        `name` says in errors whose bytes they are. Raises InputError, before anything is decoded for a file that
        claims more than `max_pixels`; `refusals.parsing` makes it of what libraries raise.
        """
        ...


class ReadPages(Protocol):
    """A function that reads some pages of a file of many."""

    def __call__(
        self, data: bytes, max_pixels: int, first_page: int, *, name: str
    ) -> tuple[list[Raster], tuple[FurtherPage, ...]]:
        """(the pages from `first_page` on, as many as are decoded together and at least one, those that follow them).

        All else as `Read`; `max_pixels` holds for each page of the file by itself. What pages bring together is limited
        as if all were read at once.
        """
        ...


class PageWriter(Protocol):
    """What writes the pages of a file one by one."""

    def add(self, page: Page) -> None:
        """Writes the next page. Raises OutputError and OSError."""
        ...

    def finish(self) -> None:
        """Makes the file whole."""
        ...


WritePages = Callable[[BinaryIO, int], PageWriter]
"""(an empty file, to be read too, the most bytes that the samples of all pages take) → what writes its pages: the bytes
that `Codec.write` gives of all pages."""


@dataclass(frozen=True, slots=True)
class Header:
    """Of one image: `width` × `height` pixels as stored, `colors` 1 (grey) or 3, `bits` of a sample as stored.

    `pages` are those that `decode` reads. `metadata` are the names of fields of `imaging.metadata.Metadata` that are
    surely there; others may be.
    """

    width: int
    height: int
    colors: int = 3
    bits: int = 8
    is_float: bool = False
    pages: int = 1
    metadata: frozenset[str] = frozenset()


def _no_header(_file: Bytes) -> Header | None:
    return None


def _no_items(_data: bytes) -> tuple[Iterator[Item], ...]:
    return ()


def _unchanged(metadata: Metadata) -> Metadata:
    return metadata


def _equal(written: bytes, found: bytes | None) -> bool:
    return written == found


def one_page(items: Callable[[bytes], Iterator[Item]]) -> Callable[[bytes], tuple[Iterator[Item], ...]]:
    """`Codec.items` of a format without pages, by a function that lists the items of a file."""
    return lambda data: (items(data),)


@dataclass(frozen=True)
class Codec:
    """The functions of a format. Those with a default are for what a format may do without.

    read: see `Read`.
    write: (pages, quality from 1 to 100) → a file. Raises OutputError.
    metadata_in: what a reader finds in a file that was written, page by page, without decoding it; nothing where a
        library opens no file that is so large. Raises what its libraries raise.
    header: what a file says of itself before its pixels; None, or an error of Python's, where it says nothing.
    items: what each page of a file says (`inventory`). May raise what `inventory` takes for damage.
    fitting: what of the metadata of a page has room in a file.
    same_exif: whether the second block, None for none, is what a file may make of the first.
    complete: see `Complete`; None where no part of a damaged file can be read.
    pages: see `ReadPages`; None where `read` gives all pages at once. A codec that has it has no `complete`.
    write_pages: see `WritePages`; None where a file is written at once.
    """

    read: Read
    write: Callable[[Sequence[Page], int], bytes]
    metadata_in: Callable[[bytes], Sequence[Metadata]]
    header: Callable[[Bytes], Header | None] = _no_header
    items: Callable[[bytes], Iterable[Iterator[Item]]] = _no_items
    fitting: Callable[[Metadata], Metadata] = _unchanged
    same_exif: Callable[[bytes, bytes | None], bool] = _equal
    complete: Complete | None = None
    pages: ReadPages | None = None
    write_pages: WritePages | None = None


def codec_of(format: Format) -> Codec:
    """What reads and writes a format; its module is imported when it is first asked for."""
    codec: Codec = importlib.import_module(format.codec).CODEC
    return codec


def load_all() -> None:
    """Imports every codec now, for processes in which that must not happen while a file is decoded."""
    for format in formats.every():
        codec_of(format)


def required(format: Format, wanted_for: type[AdaCodeError], name: str | None = None) -> ModuleType | None:
    """The optional package that a format needs, None where it needs none.

    Raises `wanted_for` where it is not installed; `name` is that of the file at hand.
    """
    if format.package is None:
        return None
    try:
        return importlib.import_module(format.package.replace("-", "_"))
    except ImportError as error:
        message = f"{format.title} needs the package {format.package}, which is not installed"
        hint = f"Install it with: {format.install or f'pip install {format.package}'}."
        raise wanted_for(message, path=name, hint=hint) from error
