"""The interface of modules that read and write a format: each has a `CODEC`, a value of `Codec`.

`formats` has the import path of the module of each format, and `codec_of` imports it. A codec knows one format and
its libraries; `decode` and `encode` do what all formats have in common.
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
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.image import FurtherPage, Item, Raster, Samples
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.imaging.metadata import Metadata

Page = tuple[Samples, Metadata]
"""(H×W×C samples in a depth that the format stores, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha); their
metadata)."""

Complete = Callable[[bytes, int, str], tuple[bytes, str]]
"""(a damaged file, the limit of its pixels, its name) → (an undamaged file of its readable part, what happened to the
rest). Raises errors of libraries if no part is readable, and InputError for a file with more pixels."""


class Read(Protocol):
    """A function that reads a file."""

    def __call__(self, data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
        """The pages of the file `data`, which has a signature of the format; one if the format has no pages.

        Errors name the file `name`. Raises InputError: before decoding, for a file that claims more than `max_pixels`;
        `refusals.parsing` converts errors of libraries.
        """
        ...


class ReadPages(Protocol):
    """A function that reads some pages of a file."""

    def __call__(
        self, data: bytes, max_pixels: int, first_page: int, *, name: str
    ) -> tuple[list[Raster], tuple[FurtherPage, ...]]:
        """(the pages from `first_page` on that are decoded together, at least one; the pages that follow them).

        Otherwise as `Read`; `max_pixels` applies to each page of the file. The sum of metadata is limited as if all
        pages were read at once.
        """
        ...


class PageWriter(Protocol):
    """Writes the pages of a file one by one."""

    def add(self, page: Page) -> None:
        """Writes the next page. Raises OutputError and OSError."""
        ...

    def finish(self) -> None:
        """Completes the file."""
        ...


WritePages = Callable[[BinaryIO, int], PageWriter]
"""(an empty file, readable too; an upper bound for the bytes of the samples of all pages) → the writer of its pages.
The file gets the bytes that `Codec.write` gives for all pages."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an image: `width` × `height` pixels as stored, `colors` 1 (grey) or 3, `bits` of a stored sample.

    pages: the number of pages that `decode` reads.
    metadata: the names of fields of `imaging.metadata.Metadata` that are certainly there; there may be others.
    cicp: the CICP numbers that describe its colours, if it has such.
    format, num_bytes: of its file, if that is in a store, where asking again takes a request; otherwise "" and None.
    """

    width: int
    height: int
    colors: int = 3
    bits: int = 8
    is_float: bool = False
    pages: int = 1
    metadata: frozenset[str] = frozenset()
    cicp: Cicp | None = None
    format: str = ""
    num_bytes: int | None = None


def _no_header(_file: Bytes) -> Header | None:
    return None


def _no_items(_data: bytes) -> tuple[Iterator[Item], ...]:
    return ()


def _nothing_special(_data: bytes) -> Format | None:
    return None


def _unchanged(metadata: Metadata) -> Metadata:
    return metadata


def _equal(written: bytes, found: bytes | None) -> bool:
    return written == found


def one_page(items: Callable[[bytes], Iterator[Item]]) -> Callable[[bytes], tuple[Iterator[Item], ...]]:
    """`Codec.items` of a format without pages, from a function that lists the items of a file."""
    return lambda data: (items(data),)


@dataclass(frozen=True)
class Codec:
    """The functions of a format. Those with a default are optional.

    read: see `Read`.
    write: (pages, quality from 1 to 100) → a file. Raises OutputError.
    metadata_in: the metadata that a reader finds in a written file, page by page, without decoding it; empty if a
        library does not open a file of this size. Raises errors of its libraries.
    header: the header of a file; None, or an error of Python, if it cannot be read.
    items: the items of each page of a file (`inventory`). May raise the errors that `inventory` treats as damage.
    fitting: the metadata of a page that a file can hold.
    same_exif: whether the second block (or None), read from a file, corresponds to the first one, which was written.
    specific: another format of a file that has a signature of this one; None if it has not.
    complete: see `Complete`; None if no part of a damaged file can be read.
    pages: see `ReadPages`; None if `read` gives all pages at once. A codec that has it has no `complete`.
    write_pages: see `WritePages`; None if a file is written at once.
    """

    read: Read
    write: Callable[[Sequence[Page], int], bytes]
    metadata_in: Callable[[bytes], Sequence[Metadata]]
    header: Callable[[Bytes], Header | None] = _no_header
    items: Callable[[bytes], Iterable[Iterator[Item]]] = _no_items
    fitting: Callable[[Metadata], Metadata] = _unchanged
    same_exif: Callable[[bytes, bytes | None], bool] = _equal
    specific: Callable[[bytes], Format | None] = _nothing_special
    complete: Complete | None = None
    pages: ReadPages | None = None
    write_pages: WritePages | None = None

    @property
    def reads_headers(self) -> bool:
        """Whether headers of this format are read at all."""
        return self.header is not _no_header


def codec_of(format: Format) -> Codec:
    """The codec of a format; its module is imported on first use."""
    codec: Codec = importlib.import_module(format.codec).CODEC
    return codec


def format_in(data: bytes) -> Format | None:
    """The format of the file `data`; None if it is no known format."""
    format = formats.of_bytes(data)
    return format and (codec_of(format).specific(data) or format)


def load_all() -> None:
    """Imports all codecs, for processes in which this must not happen while a file is decoded."""
    for format in formats.known():
        codec_of(format)


def required(format: Format, wanted_for: type[AdaCodeError], name: str | None = None) -> ModuleType | None:
    """The optional package that a format needs, or None.

    Raises an error of the class `wanted_for` if it is not installed; `name` is the file in this error.
    """
    if format.package is None:
        return None
    try:
        return importlib.import_module(format.package.replace("-", "_"))
    except ImportError as error:
        message = f"{format.title} needs the package {format.package}, which is not installed"
        hint = f"Install it with: {format.install or f'pip install {format.package}'}."
        raise wanted_for(message, path=name, hint=hint) from error
