"""The three stages of one file (read, restore, write), each safe to run in a thread of its own.

They are kept apart from the order in which a run calls them, so that one image on a pipe and ten thousand on a disk
are treated by the same code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adacode_cli import atomic, formats
from adacode_cli.batch import weights_map
from adacode_cli.batch.claims import Claim
from adacode_cli.batch.contents import Content, content_of, read_whole
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.keeping import Keeping, TimesNs
from adacode_cli.batch.masks import MaskFile, MaskSource
from adacode_cli.batch.outcome import Made, Outcome, OutputState, Result
from adacode_cli.batch.plan import Job
from adacode_cli.batch.restoring import Restore, Restored
from adacode_cli.batch.state_files import STATE, holds_files
from adacode_cli.codes.picture import Codes
from adacode_cli.errors import InputError, OutputError, QualityError
from adacode_cli.imaging.decode import Decode, check_kind, decode
from adacode_cli.imaging.encode import beyond, encode, format_of
from adacode_cli.imaging.files import Look
from adacode_cli.imaging.image import Decoded


@dataclass
class Stopwatch:
    """Adds up the seconds spent inside its `running` blocks, whichever thread they run in."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began


Find = Callable[[Job, Content, str | None], OutputState]
"""(job, content of its source, SHA-256 of its mask's file) → what lies where its output goes."""
# Of an output beside its input, at most: both sides are four times as long.
_MOST_PIXELS_TIMES = 16
_SHORTEST_PICTURE = 12  # bytes, of any format


@dataclass
class Work:
    """One job on its way through the stages, and the time spent on it.

    `output` is what reading found to be there already; the source was decoded if it is to be made. `more_masks` are
    those of pages beyond the first.
    """

    job: Job
    claim: Claim | None = None
    made: Made | None = None
    output: OutputState = OutputState.TO_MAKE
    watch: Stopwatch = field(default_factory=Stopwatch)
    image: Decoded | None = None
    mask: NDArray[np.bool_] | None = None
    more_masks: tuple[NDArray[np.bool_], ...] = ()
    restored: Restored | None = None
    codes: Codes | None = None
    times_ns: TimesNs | None = None


@dataclass(frozen=True)
class Stages:
    """What to do with each file. `maps_dir` receives the pictures of the mixing weights, mirroring the output tree.

    `quarantine` receives results that the guard refused, likewise, and none is replaced there. `decoder` is what meets
    the bytes of sources. `lanes`: how many threads may call `infer` at once; one is called where signals arrive.
    `foresight` tells what will be refused once it is computed.
    """

    restore: Restore
    mask_for: MaskSource | None = None
    quality: int | None = None
    maps_dir: Path | None = None
    quarantine: Path | None = None
    keeping: Keeping = field(default_factory=Keeping)
    decoder: Decode = field(default=decode)
    lanes: int = 1
    foresight: Foresight = field(default_factory=Foresight)

    def read(self, work: Work, find: Find | None = None) -> Work:
        """Decodes the source and reads its mask, unless `find` says that nothing is to be made of it.

        Raises InputError, OutputError for what could not be written, and what `find` does.
        """
        with work.watch.running():
            work.times_ns = self.keeping.times_of(work.job.source)
            data = self._bytes_of(work.job.source, self.check_kind)
            mask_path = self.mask_for.file_for(work.job.source) if self.mask_for else None
            mask_data = self._bytes_of(mask_path, check_kind) if mask_path else None
            mask = content_of(mask_data).sha256 if mask_data is not None else None
            work.made = Made(content_of(data), mask)
            work.output = find(work.job, work.made.source, mask) if find else OutputState.TO_MAKE
            if work.output is OutputState.CHANGED and self._is_torn(work.job.target):
                work.output = OutputState.TO_MAKE
            if work.output is OutputState.TO_MAKE:
                self.take_in(work, data, mask_data)
                self.foresee(work, _format_of(work.job))
        return work

    def check_kind(self, head: bytes, name: str) -> None:
        """Raises InputError unless a file that begins with `head` is of a kind that can be a source."""
        check_kind(head, name)

    def _bytes_of(self, path: Path, look: Look) -> bytes:
        return read_whole(path, max_bytes=self.keeping.max_file_bytes, look=look)

    def _is_torn(self, path: Path) -> bool:
        """Whether a file under an output's name is what a crash or a bad disk left of it, and nobody's picture.

        What is of another kind than its name says, or cannot be read at all, is somebody else's.
        """
        keeping = self.keeping
        try:
            data = read_whole(path, max_bytes=_MOST_PIXELS_TIMES * keeping.max_file_bytes)
        except InputError:
            return False
        if len(data) < _SHORTEST_PICTURE or not any(data):
            return True
        if formats.of_bytes(data) is not formats.of_suffix(path.suffix):
            return False
        try:
            self.decoder(data, name=str(path), max_pixels=_MOST_PIXELS_TIMES * keeping.max_pixels)
        except InputError as error:
            return bool(error.damage)  # what is only not supported may be whole
        return False

    def take_in(self, work: Work, data: bytes, mask_data: bytes | None = None) -> None:
        """What `read` does with the bytes of the source, wherever they come from. Raises InputError.

        `mask_data` are those of its mask's file, which is read if they are not given.
        """
        keeping = self.keeping
        work.image = self.decoder(
            data, name=str(work.job.source), max_pixels=keeping.max_pixels, accept_damaged=keeping.accept_damaged
        )
        if self.mask_for:
            mask_file = self._mask_file(self.mask_for.file_for(work.job.source), mask_data)
            work.mask, *others = (self.mask_for(page, mask_file) for page in work.image.pages)
            work.more_masks = tuple(others)

    def foresee(self, work: Work, format_name: str) -> None:
        """Raises OutputError where what is made of a picture that was taken in will surely not be written."""
        assert work.image is not None, "it was taken in"
        masks = () if work.mask is None else (work.mask, *work.more_masks)
        self.foresight.check(work.image, masks, format_name, self.keeping)

    def _mask_file(self, path: Path | None, data: bytes | None) -> MaskFile | None:
        if path is None:
            return None
        data = self._bytes_of(path, check_kind) if data is None else data
        return MaskFile(path, self.decoder(data, name=str(path), max_pixels=self.keeping.max_pixels))

    def infer(self, work: Work) -> Work:
        """Runs the network. Raises DeviceError, WeightsError, QualityError."""
        assert work.image is not None, "read comes before infer"
        with work.watch.running():
            try:
                work.image, work.restored = self._restored(work.image, work)
            except QualityError as error:
                if self.quarantine is not None:
                    error.message += f"; it is kept as {self._kept_apart(work.job, error.picture)}"
                raise
        return work

    def _restored(self, image: Decoded, work: Work) -> tuple[Decoded, Restored]:
        """Every page, and what the engine said of the first."""
        first, said = self.restore(image, work.mask)
        masks = work.more_masks or (None,) * len(image.more_pages)
        more = [self.restore(page, mask)[0] for page, mask in zip(image.more_pages, masks, strict=True)]
        notes = dict.fromkeys(note for page in (first, *more) for note in page.notes)
        return replace(first, more_pages=tuple(more), notes=tuple(notes)), said

    def _kept_apart(self, job: Job, picture: object) -> Path:
        assert self.quarantine is not None, "asked before"
        assert isinstance(picture, Decoded), "the guard hands over what it refused"
        path = refused_path(self.quarantine, job)
        format_name = format_of(path)
        assert format_name is not None, "targets are named with a known suffix"
        data = encode(picture, format=format_name, quality=self.quality)
        mark_as_ours(self.quarantine)
        make_directory(path.parent)
        return atomic.write_under_free_name(path, data)

    def paths(self, job: Job) -> tuple[Path, ...]:
        """Every file that may be written for a job."""
        maps = (map_path(self.maps_dir, job),) if self.maps_dir else ()
        refused = (refused_path(self.quarantine, job),) if self.quarantine else ()
        return (job.target, *maps, *refused)

    def besides(self, work: Work) -> Iterator[tuple[Path, bytes]]:
        """The files that are written beside the output, each with its content."""
        if self.maps_dir:
            assert work.image is not None, "infer comes before write"
            assert work.restored is not None, "infer comes before write"
            mark_as_ours(self.maps_dir)
            yield map_path(self.maps_dir, work.job), map_png(work.image, work.restored)

    def write(self, work: Work) -> Outcome:
        """Encodes and writes the output, whole or not at all. Raises OutputError."""
        assert work.image is not None, "infer comes before write"
        assert work.made is not None, "read comes before write"
        job, besides = work.job, []
        with work.watch.running():
            data, notes = self.keeping.encoded(work.image, _format_of(job), self.quality)
            if job.instead_of:
                notes += (f"written in another format: {beyond(work.image.size, job.instead_of)}",)
            for path, content in self.besides(work):
                write_new(path, content)
                besides.append((str(path.absolute()), content_of(content)))
                work.made = replace(work.made, besides=tuple(besides))  # the journal knows of it, whatever comes next
            made = replace(work.made, output=content_of(data))
            write_new(job.target, data, work.times_ns)  # last: under its final name it means that the whole job is done
        return Outcome(Result.DONE, job.source, job.target, work.watch.seconds, len(data), notes, made=made)


def out_of_memory(work: Work) -> InputError:
    """The refusal of a job for which the memory did not suffice, here and not in its decoder or in the engine."""
    path, hint = work.job.source, "Close other programs, use a smaller --jobs, or make the picture smaller first."
    if work.image is None:
        return InputError("needs more memory than is free to be read", path=path, hint=hint, over_limit=True)
    pixels = sum(page.size[0] * page.size[1] for page in work.image.pages)
    held = sum(page.pixels.nbytes for page in work.image.pages)
    message = f"needs more memory than is free: the {pixels:,} pixels at hand alone take {held / 1e6:.3g} MB"
    return InputError(message, path=path, hint=hint, over_limit=True)


def _format_of(job: Job) -> str:
    format_name = format_of(job.target)
    assert format_name is not None, "targets are named with a known suffix"
    return format_name


def map_path(maps_dir: Path, job: Job) -> Path:
    """Where the picture of a job's mixing weights goes; the output's full name keeps `a.jpg` and `a.png` apart."""
    return maps_dir / f"{job.name}.weights.png"


def refused_path(quarantine: Path, job: Job) -> Path:
    """Where a result of a job goes that the guard refused; on a pipe, whose jobs have no suffix, a PNG."""
    named = quarantine / job.name
    return named if format_of(named) else named.with_name(f"{named.name}.png")


def map_png(image: Decoded, restored: Restored) -> bytes:
    """The picture of an image's mixing weights, as a PNG file."""
    picture: NDArray[Any] = weights_map.draw(image.pixels, restored.mixing_weights, restored.categories)
    drawn = Decoded(pixels=picture, alpha=None, format="png", icc=None, exif=None, notes=())
    return encode(drawn, format="png")


def write_new(target: Path, data: bytes, times_ns: TimesNs | None = None) -> None:
    """Writes a file whole or not at all, making its directories. Raises OutputError."""
    make_directory(target.parent)
    try:
        atomic.write_bytes(target, data, times_ns=times_ns)
    except OutputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        make_directory(target.parent)  # somebody removed it in between
        atomic.write_bytes(target, data, times_ns=times_ns)


def mark_as_ours(folder: Path) -> None:
    """Puts the directory of a run's state into a folder that is new or empty: no originals are there."""
    with suppress(OSError):
        if holds_files(folder):
            return
    make_directory(folder / STATE)


def make_directory(directory: Path) -> None:
    """Makes a directory and those above it. Raises OutputError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Choose a writable directory with -o and run the same command again."
        message = f"the directory cannot be made: {atomic.reason(error)}"
        raise OutputError(message, path=directory, hint=hint) from error
