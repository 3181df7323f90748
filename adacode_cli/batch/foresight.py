"""Errors of the write stage are detected before a result is computed, as far as they are known in advance.

A decoded image gives the size of the result and, with `--strict`, what its format cannot keep. Headers give most of
this before a run begins, for a dry run and for `--if-too-large`; with `--strict`, a dry run also lists what each file
contains beside its pixels. A dry run decodes a file whose header cannot be read, because it is probably damaged. The
rest is known when the file is read.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from adacode_cli import formats
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import Job
from adacode_cli.batch.remote_headers import with_remote_headers
from adacode_cli.codes.file import check_start, layout_in
from adacode_cli.errors import InputError, OutputError
from adacode_cli.geometry import Hole
from adacode_cli.imaging import inventory
from adacode_cli.imaging.codec import Header, codec_of, format_in
from adacode_cli.imaging.decode import Decode, check_kind
from adacode_cli.imaging.encode import check_writable, format_of
from adacode_cli.imaging.files import file_bytes
from adacode_cli.imaging.headers import Parse, format_at, is_camera_raw, read_header
from adacode_cli.imaging.image import Decoded, Item
from adacode_cli.imaging.refusals import too_many_bytes, too_many_pixels
from adacode_cli.imaging.samples import top_of
from adacode_cli.limits import HEAD_BYTES
from adacode_cli.sizes import Fate, Size, Sizing
from adacode_cli.storage.path import is_remote

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Foresight:
    """What is known about results in advance: their sizes follow from those of their images.

    from_codes: sources are files of codes.
    hint: what to do if a result is too large for its format. None: choose a format that holds larger images.
    """

    sizing: Sizing = field(default_factory=Sizing)
    from_codes: bool = False
    hint: str | None = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result. Raises InputError for an image that is too small for its size."""
        return self.sizing.size(height, width)

    def sizes(self, height: int, width: int) -> tuple[Size, ...]:
        """The sizes that the result of an image can have, if it is stored with height × width pixels, perhaps turned.

        Raises InputError if it is too small for its size both ways.
        """
        return self._either_way(self.sizing.size, height, width)

    def upright(self, height: int, width: int) -> Size:
        """The size of an upright image that is stored with height × width pixels: of the two possible ones, that with
        the larger result. Raises InputError as `sizes` does.
        """

        def with_result(height: int, width: int) -> tuple[int, Size]:
            return math.prod(self.sizing.size(height, width)), (height, width)

        return max(self._either_way(with_result, height, width), key=lambda one: one[0])[1]

    def fate(self, image: Decoded) -> Fate:
        """What happens to a whole file: COPIED and LEFT_OUT only if this is so for all of its pages.

        Pages that are not decoded yet may be stored turned: for them it is a fate that they can have. Raises InputError
        for a page that is too small for its size.
        """
        fates = {self.sizing.fate(*page.size) for page in image.pages}
        fate = fates.pop() if len(fates) == 1 else Fate.RESTORED
        for height, width, _ in image.following:
            if fate is not Fate.RESTORED and fate not in self._either_way(self.sizing.fate, height, width):
                return Fate.RESTORED
        return fate

    def forecast(self, job: Job) -> Fate | None:
        """The `fate` of a job's source, by its header; None if that does not tell."""
        if self.sizing.kind == "scale":
            return Fate.RESTORED
        header = job.header or self._header(job.source)
        if header is None or header.pages > 1:
            return None
        with suppress(InputError):
            fates = {self.sizing.fate(*size) for size in self._upright(header.height, header.width)}
            return fates.pop() if len(fates) == 1 else None
        return None

    def _upright(self, height: int, width: int) -> tuple[Size, ...]:
        """The sizes of the upright image that matter, of one that is stored with height × width pixels."""
        return ((height, width), (width, height)) if self.sizing.depends_on_turn else ((height, width),)

    def _either_way(self, what: Callable[[int, int], _Value], height: int, width: int) -> tuple[_Value, ...]:
        """`what` of an image that is stored with height × width pixels, or turned. Raises InputError if both do."""
        found, errors = [], []
        for size in self._upright(height, width):
            try:
                found.append(what(*size))
            except InputError as error:
                errors.append(error)
        if not found:
            raise errors[0]
        return tuple(found)

    def check(self, image: Decoded, holes: Sequence[Hole], format: str, keeping: Keeping) -> None:
        """Raises OutputError if the result of a decoded image will be refused; `holes` are those of its pages."""
        check_writable(self.size(*image.size), image.colors, format, hint=self.hint)
        if keeping.strict:
            keeping.judge(_filled(image, holes) if any(hole.opaque for hole in holes) else image, format)

    def refusal(self, job: Job, keeping: Keeping, decoder: Decode | None = None) -> InputError | OutputError | None:
        """The error that a job will certainly meet, by its source's size and header and its output's name; or None.

        decoder: for local files whose headers cannot be read; None: these are judged by their first bytes alone.
        """
        try:
            _check_bytes(job, keeping.max_file_bytes)
            header, format = job.header or self._header(job.source), format_of(job.target)
            if header is None:
                self._check_start(job.source)
                if decoder is not None and not self.from_codes:
                    _check_content(job, keeping, decoder)
            if header is None or format is None:
                return None
            _check_pixels(header, keeping.max_pixels, job.source)
            self._check_sizes(header, format)
            if keeping.strict and not self._stays_as_it_is(replace(job, header=header), format):
                stated = () if self.from_codes else _stated(job.source, format)
                keeping.judge(_stand_in(header, format, stated), format)
        except (InputError, OutputError) as error:
            return error
        return None

    def headed(self, job: Job) -> Job:
        """The job with the header of its source, if that can be read."""
        return job if job.header is not None else replace(job, header=self._header(job.source))

    def with_remote_headers(self, jobs: Sequence[Job], are_needed: Callable[[Job], bool], *, strict: bool) -> list[Job]:
        """As `remote_headers.with_remote_headers`; no other method reads headers in stores one by one."""
        return with_remote_headers(jobs, self._parse, are_needed, strict=strict)

    def refitted(self, jobs: Sequence[Job], other: Naming) -> list[Job]:
        """The jobs. Those whose results will be too large for their formats get the names that `other` gives.

        Raises InputError if the store of an image does not answer, because names must not depend on that.
        """
        jobs = self.with_remote_headers(jobs, _is_limited, strict=True)
        return [self._refitted(job, other) for job in jobs]

    @property
    def _parse(self) -> Parse | None:
        return _of_codes if self.from_codes else None

    def _header(self, source: Path) -> Header | None:
        if is_remote(source):  # It would take a request for each file.
            return None
        return read_header(source, self._parse)

    def _check_start(self, source: Path) -> None:
        """Raises InputError if the first bytes of a file show that it cannot be read."""
        with suppress(OSError, ValueError):
            if not is_remote(source) and source.is_file():
                with source.open("rb") as file:
                    head = file.read(HEAD_BYTES)
                (check_start if self.from_codes else check_kind)(head, str(source))

    def _refitted(self, job: Job, other: Naming) -> Job:
        format = formats.of_suffix(job.target.suffix)
        if format is None or not _is_limited(job) or (header := job.header or self._header(job.source)) is None:
            return job
        with suppress(InputError):  # The job will fail, whatever its name is.
            if not any(format.fits(size, header.colors) for size in self.sizes(header.height, header.width)):
                return replace(job, name=other.name_of(job.found), instead_of=format.name, header=header)
        return replace(job, header=header)

    def _stays_as_it_is(self, job: Job, format: str) -> bool:
        """Whether nothing is written for a job, or the bytes of its source."""
        fate = self.forecast(job)
        return fate is Fate.LEFT_OUT or (fate is Fate.COPIED and format_of_source(job) == format)

    def _check_sizes(self, header: Header, format: str) -> None:
        """Raises InputError or OutputError if no result that the image can have is possible in this format."""
        errors: list[InputError | OutputError] = []
        sizes = self._upright(header.height, header.width)
        for size in sizes:
            try:
                check_writable(self.size(*size), header.colors, format, hint=self.hint)
            except (InputError, OutputError) as error:
                errors.append(error)
        if len(errors) == len(sizes):
            raise errors[0]


def format_of_source(job: Job) -> str | None:
    """The name of the format of a job's source, by its first bytes; None if they tell of none, or are not known."""
    if is_remote(job.source):
        return (job.header and job.header.format) or None
    return format_at(job.source)


def _is_limited(job: Job) -> bool:
    """Whether the format of a job's output holds images up to a certain size only."""
    format = formats.of_suffix(job.target.suffix)
    return format is not None and format.is_limited


def _check_bytes(job: Job, max_bytes: int) -> None:
    """Raises InputError for a file of more than `max_bytes` bytes."""
    source = job.source
    if is_remote(source):
        stated = job.header and job.header.num_bytes
        if stated and stated > max_bytes:
            raise too_many_bytes(stated, max_bytes, name=str(source))
        return
    with suppress(OSError, ValueError):  # The file was removed, or no file can have its name.
        status = source.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size > max_bytes:
            raise too_many_bytes(status.st_size, max_bytes, name=str(source))


def _check_pixels(header: Header, max_pixels: int, source: Path) -> None:
    """Raises InputError if the first page has more than `max_pixels` pixels."""
    if header.width * header.height > max_pixels:
        raise too_many_pixels(f"{header.width}×{header.height} pixels", max_pixels, name=str(source))


def _check_content(job: Job, keeping: Keeping, decoder: Decode) -> None:
    """Raises InputError if a local file cannot be read, or cannot be decoded and is in a format whose headers are read.

    Camera raw has none in any case, and takes long to decode.
    """
    source = job.source
    if is_remote(source):
        return
    if not os.access(source, os.R_OK):
        file_bytes(source)  # It says why.
    format = format_at(source) if source.is_file() else None
    if format is None or not codec_of(formats.named(format)).reads_headers:
        return
    if format == "tiff" and is_camera_raw(source):
        return
    try:
        data = file_bytes(source, max_bytes=keeping.max_file_bytes)
        decoder(data, name=str(source), max_pixels=keeping.max_pixels, accept_damaged=keeping.accept_damaged)
    except InputError:
        raise
    except Exception:  # noqa: BLE001 (a lack of memory, or a bug: nothing is known of the file, and the run will tell)
        return


def _of_codes(file: BinaryIO) -> Header | None:
    """The header of the image in a file of codes."""
    layout = layout_in(file.read(HEAD_BYTES))
    if layout is None:
        return None
    height, width, grey, dtype = layout
    return Header(width, height, 1 if grey else 3, dtype.itemsize * 8, dtype.kind == "f")


def _filled(image: Decoded, holes: Sequence[Hole]) -> Decoded:
    pages = [_opaque_in(page, hole) for page, hole in zip(image.pages, holes, strict=True)]
    return replace(pages[0], more_pages=tuple(pages[1:]))


def _opaque_in(page: Decoded, hole: Hole) -> Decoded:
    if page.alpha is None or not hole.opaque:
        return page
    full = page.alpha.dtype.type(top_of(page.alpha.dtype))
    return replace(page, alpha=np.where(hole.mask, full, page.alpha), more_pages=())


def _stated(source: Path, format: str) -> tuple[tuple[Item, ...], ...]:
    """The items of each page of the file `source`, without those that a `format` file may keep; none of a file in a
    store, which would have to be read whole.
    """
    if is_remote(source):
        return ()
    wanted = formats.named(format)
    with suppress(OSError):
        data = source.read_bytes()
        if (kind := format_in(data)) is not None:
            pages = inventory.stated(data, kind, num_pages=None if wanted.pages else 1)
            is_kept = {inventory.GEOGRAPHY} if wanted.geography else set()
            return tuple(tuple(item for item in page if item[0] not in is_kept) for page in pages)
    return ()


def _stand_in(header: Header, format: str, stated: Sequence[tuple[Item, ...]]) -> Decoded:
    """An image of one pixel for each page that loses in `format` what an image with this header certainly loses.

    `stated` are the items of its pages. Nothing here states whether alpha is transparent anywhere, and whether a block
    of metadata is undamaged.
    """
    dtype = np.float32 if header.is_float or header.bits > 16 else np.uint16 if header.bits > 8 else np.uint8
    pixels = np.zeros((1, 1) if header.colors == 1 else (1, 1, 3), dtype)
    lost = header.metadata - formats.named(format).kept_metadata()
    bits = header.bits if 8 < header.bits < 16 else None
    icc, exif, xmp, iptc = (b"-" if kind in lost else None for kind in ("icc", "exif", "xmp", "iptc"))
    page = Decoded(pixels, bits=bits, icc=icc, exif=exif, xmp=xmp, iptc=iptc, cicp=header.cicp)
    first, *others = [replace(page, stated=items) for items in stated] or [page]
    others += [page] * (header.pages - 1 - len(others))
    return replace(first, more_pages=tuple(others))
