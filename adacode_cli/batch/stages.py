"""The stages of one file: it is fetched, decoded, restored and written; each stage may run in its own thread.

    path ─ fetch → Fetched ─ take_in → Read ─ infer → Inferred ─ write → Written

Each stage takes the result of the previous one and has no other state. The order of calls is defined elsewhere, so that
one image on a pipe and ten thousand files are processed by the same code.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from adacode_cli import formats
from adacode_cli.batch import weights_map
from adacode_cli.batch.amounts import size_of
from adacode_cli.batch.contents import content_of, read_remote, read_whole
from adacode_cli.batch.enlarging import report_without_network
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.keeping import Keeping, TimesNs
from adacode_cli.batch.masks import HoleSource, MaskFile, PackedMask, mask_bytes, mask_path
from adacode_cli.batch.outcome import Made, OutputState
from adacode_cli.batch.output_files import make_directory, mark_as_output_folder, write_new, write_under_free_name
from adacode_cli.batch.page_report import PageReport, restoring_page
from adacode_cli.batch.pages import Sink
from adacode_cli.batch.plan import Job
from adacode_cli.batch.restoring import Restore, Restored
from adacode_cli.codes.image import Codes
from adacode_cli.errors import InputError, QualityError
from adacode_cli.geometry import Hole
from adacode_cli.imaging.codec import codec_of
from adacode_cli.imaging.decode import Decode, check_kind, decode, further_windows
from adacode_cli.imaging.encode import beyond, encode, format_of
from adacode_cli.imaging.files import Look
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.refusals import too_many_pixels
from adacode_cli.sizes import Fate
from adacode_cli.storage.path import is_remote

StateOf = Callable[[Job, Made], OutputState]
"""(job, contents of its source and mask) → the state of its output."""
OnPage = Callable[[int, int], None]
"""(the number of a restored page, from 1; the number of pages). Not called for an image of one page."""
_MIN_IMAGE_BYTES = 12  # bytes, of any format


def no_listener(_page: int, _num_pages: int) -> None:
    """An `OnPage` that does nothing."""


@dataclass(frozen=True)
class Fetched:
    """The bytes of a job's files.

    made: their contents, for the journal.
    data: the source.
    mask_data: the mask file, if there is one.
    times_ns: the times for the output, if it gets those of the source.
    """

    made: Made
    data: bytes
    mask_data: bytes | None
    times_ns: TimesNs | None


@dataclass(frozen=True)
class Read:
    """The input of the network.

    image: the image; for codes, an image of the same size, layout and metadata, without values.
    holes: the hole of each page; empty if nothing is filled.
    codes: those of the source, if it is a file of codes.
    further: decodes the pages that follow those of `image`, a few at a time; None if there are none. It can be
        called repeatedly.
    unchanged: the bytes of the file, if the output is a copy of it.
    """

    image: Decoded
    holes: tuple[Hole, ...] = ()
    codes: Codes | None = None
    further: Callable[[], Iterator[Read]] | None = None
    unchanged: bytes | None = None

    @property
    def pages(self) -> Iterator[tuple[Decoded, Hole | None]]:
        """Each decoded page with a copy of its hole, because a hole caches masks that are computed from it."""
        pages = self.image.pages
        holes = (hole and replace(hole) for hole in self.holes or (None,) * len(pages))
        return zip(pages, holes, strict=True)


@dataclass(frozen=True)
class Inferred:
    """The result of the network.

    image: the restored image with its metadata; for a document in `sink`, the first page.
    restored: the engine's result for the first page.
    precisions: in which the network made the pages, each once.
    found: the masks of what a detector has found, one for each page; empty unless they are to be written.
    codes: those from which the image was made, if they are to be written.
    sink: holds all pages of a long document, which are on the disk already.
    fate: of the file, as in `PageReport`.
    unchanged: the bytes of the source, if the output is a copy of it.
    """

    image: Decoded
    restored: Restored
    precisions: tuple[str, ...]
    codes: Codes | None = None
    sink: Sink | None = None
    found: tuple[PackedMask, ...] = ()
    fate: Fate = Fate.RESTORED
    unchanged: bytes | None = None


@dataclass(frozen=True)
class Written:
    """An output with its final name: its contents for the journal, its size in bytes, and notes for the user."""

    made: Made
    num_bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Stages:
    """The stages of each file.

    restore: makes the restored image from a decoded one.
    holes: gives the hole of an image, for a task that fills holes.
    quality: of the encoder, if the format is lossy.
    maps_dir: receives the weight maps, with the structure of the output tree.
    masks_dir: receives the masks of the marks that a detector has found, with the structure of the output tree.
    quarantine: receives results that the guard refused, with the same structure; no file in it is replaced.
    keeping: what outputs keep of their inputs.
    decoder: decodes sources and masks.
    lanes: how many threads may call `infer` at once; if 1, the thread that receives signals calls it.
    foresight: finds errors before a result is computed.
    gallery: what the gallery shows of each image is made, into its output tree.
    """

    restore: Restore
    holes: HoleSource | None = None
    quality: int | None = None
    maps_dir: Path | None = None
    masks_dir: Path | None = None
    quarantine: Path | None = None
    keeping: Keeping = field(default_factory=Keeping)
    decoder: Decode = field(default=decode)
    lanes: int = 1
    foresight: Foresight = field(default_factory=Foresight)
    gallery: bool = False

    def fetch(self, job: Job) -> Fetched:
        """Reads the bytes of the source and of its mask. Raises InputError."""
        times_ns = self.keeping.times_of(job.source)
        stamp = 0
        if is_remote(job.source):
            limit = self.keeping.max_file_bytes
            data, stamp = read_remote(job.source, max_bytes=limit, look=self.check_kind)
        else:
            data = self._bytes_of(job.source, self.check_kind)
        mask_path = self.holes.file_for(job.source) if self.holes else None
        mask_data = self._bytes_of(mask_path, check_kind) if mask_path else None
        mask = content_of(mask_data).sha256 if mask_data is not None else None
        made = Made(content_of(data), mask, source_stamp=stamp)
        return Fetched(made, data, mask_data, times_ns)

    def output_state(self, job: Job, made: Made, state_of: StateOf) -> OutputState:
        """The state of the output. An incomplete file is made again. Raises the errors of `state_of`."""
        output = state_of(job, made)
        if output is OutputState.CHANGED and self._is_torn(job.target):
            return OutputState.TO_MAKE
        return output

    def check_kind(self, head: bytes, name: str) -> None:
        """Raises InputError unless a file that begins with `head` can be a source."""
        check_kind(head, name)

    def _bytes_of(self, path: Path, look: Look) -> bytes:
        return read_whole(path, max_bytes=self.keeping.max_file_bytes, look=look)

    def _is_torn(self, path: Path) -> bool:
        """Whether a file is an output that a crash or a faulty disk left incomplete.

        A file of another format than its suffix, or one that cannot be read, is treated as a file of the user.
        """
        keeping, growth = self.keeping, self.foresight.sizing.most_growth
        try:
            data = read_whole(path, max_bytes=growth * keeping.max_file_bytes)
        except InputError:
            return False
        if len(data) < _MIN_IMAGE_BYTES or not any(data):
            return True
        if formats.of_bytes(data) is not formats.of_suffix(path.suffix):
            return False
        decode_from = partial(self._decoded, data, path, max_pixels=growth * keeping.max_pixels, accept_damaged=False)
        try:
            deque(further_windows(decode_from(0), decode_from), maxlen=0)
        except InputError as error:
            return bool(error.damage)  # A file that is merely not supported may be complete.
        return False

    def take_in(self, job: Job, data: bytes, mask_data: bytes | None = None) -> Read:
        """Decodes the source and its mask. If `mask_data` is None, the mask file is read here. Raises InputError."""
        decode_from = partial(
            self._decoded,
            data,
            job.source,
            max_pixels=self.keeping.max_pixels,
            accept_damaged=self.keeping.accept_damaged,
        )
        image = decode_from(0)
        file = self._mask_file(self.holes.file_for(job.source), mask_data) if self.holes else None

        def further() -> Iterator[Read]:
            return (Read(window, self._holes_of(window, file)) for window in further_windows(image, decode_from))

        return Read(image, self._holes_of(image, file), further=further if image.following else None)

    def _decoded(self, data: bytes, path: Path, first_page: int, *, max_pixels: int, accept_damaged: bool) -> Decoded:
        """The pages that are decoded together, beginning with `first_page`."""
        return self.decoder(
            data, name=str(path), max_pixels=max_pixels, accept_damaged=accept_damaged, first_page=first_page
        )

    def _holes_of(self, window: Decoded, file: MaskFile | None) -> tuple[Hole, ...]:
        return tuple(self.holes(page, file) for page in window.pages) if self.holes else ()

    def _mask_file(self, path: Path | None, data: bytes | None) -> MaskFile | None:
        if path is None:
            return None
        data = self._bytes_of(path, check_kind) if data is None else data
        decode_from = partial(self._decoded, data, path, max_pixels=self.keeping.max_pixels, accept_damaged=False)
        return MaskFile(path, decode_from)

    def writable_pages(self, read: Read, format_name: str) -> Read:
        """`read` without the pages that this format cannot hold, so that they are not restored in vain."""
        if formats.named(format_name).pages:
            return read
        return replace(read, image=_first_page(read.image), holes=read.holes[:1], further=None)

    def gathered(self, job: Job, read: Read, format_name: str) -> Read:
        """Reads all pages that the format can hold, for a file that is written at once.

        Raises InputError for pages of more than `max_pixels` together.
        """
        if not formats.named(format_name).pages:
            return self.writable_pages(read, format_name)
        image, max_pixels = read.image, self.keeping.max_pixels
        num_pixels = size_of(image)[0] + sum(height * width for height, width, _ in image.following)
        if num_pixels > max_pixels:
            claim = f"{num_pixels / 1e6:g} megapixels in {image.num_pages} pages"
            raise too_many_pixels(claim, max_pixels, name=str(job.source))
        windows = [read, *(read.further() if read.further else ())]
        pages = [page for window in windows for page in window.image.pages]
        holes = tuple(hole for window in windows for hole in window.holes)
        return replace(read, image=replace(image, more_pages=tuple(pages[1:]), following=()), holes=holes, further=None)

    def fated(self, read: Read, data: bytes, format_name: str) -> tuple[Read, Fate]:
        """(`read`, with the bytes of its file if the output is a copy; the fate of the file).

        A file is copied byte by byte, so nothing is lost, unless the output has another format or the file is damaged.
        For this, and to leave it out, all its pages are decoded. Raises InputError for a damaged page, or one that is
        too small for its size.
        """
        fate = self.foresight.fate(read.image)
        is_copy = fate is Fate.COPIED and read.image.format == format_name and not read.image.salvaged
        if not is_copy and fate is not Fate.LEFT_OUT:
            return read, fate
        windows = read.further() if read.further and formats.named(format_name).pages else iter(())
        if any(self.foresight.fate(window.image) is not fate for window in windows):
            return read, Fate.RESTORED
        return (replace(read, unchanged=data, further=None) if is_copy else read), fate

    def foresee(self, read: Read, format_name: str) -> None:
        """Raises OutputError if the result of an image certainly cannot be written in this format."""
        if read.unchanged is None:
            self.foresight.check(read.image, read.holes, format_name, self.keeping)

    def infer(self, job: Job, read: Read, on_page: OnPage = no_listener) -> Inferred:
        """Runs the network, and writes the pages of a long document as they are restored.

        Raises DeviceError, WeightsError, QualityError, and for a long document InputError and OutputError.
        """
        if read.unchanged is not None:
            copy = replace(read.image, notes=())  # They are about what would be lost.
            reported = report_without_network(Fate.COPIED, copy)
            return Inferred(copy, reported, (), fate=Fate.COPIED, unchanged=read.unchanged)
        try:
            if read.further is None:
                return self._inferred(read, on_page)
            format = formats.named(output_format(job.target))
            if codec_of(format).write_pages is None:
                return self._inferred(self.gathered(job, read, format.name), on_page)
            return self._streamed(job, read, format.name, on_page)
        except QualityError as error:
            if self.quarantine is not None:
                error.message += f"; it is kept as {self._quarantined(self.quarantine, job, error.image)}"
            raise

    def _inferred(self, read: Read, on_page: OnPage) -> Inferred:
        """Restores every page at hand."""
        pages: list[Decoded] = []
        count = len(read.image.pages)
        report = PageReport(count)
        for page, hole in read.pages:
            with restoring_page(len(pages) + 1, count):
                image, restored = self.restore(page, hole)
            pages.append(report.add(page, image, restored, self._masks(restored)))
            if count > 1:
                on_page(len(pages), count)
        notes = dict.fromkeys((*(note for page in pages for note in page.notes), *report.notes))
        return _inferred(replace(pages[0], more_pages=tuple(pages[1:]), notes=tuple(notes)), report)

    def _streamed(self, job: Job, read: Read, format_name: str, on_page: OnPage) -> Inferred:
        """Restores the pages of a long document and writes them to a sink."""
        assert read.further is not None, "there are more pages than are decoded"
        make_directory(job.target.parent)
        sink = Sink(job.target, format_name, self.keeping, self._max_sample_bytes(read.image))
        first, count = None, read.image.num_pages
        report = PageReport(count)
        with sink.filling():
            for window in chain([read], read.further()):
                if window is not read:
                    self.foresee(window, format_name)
                for page, hole in window.pages:
                    with restoring_page(page.page + 1, count):
                        image, restored = self.restore(replace(page, more_pages=(), following=()), hole)
                    image = report.add(page, image, restored, self._masks(restored))
                    first = first or image
                    sink.add(image)
                    on_page(page.page + 1, count)
            sink.add_notes(report.notes)
        assert first is not None, "there is a page"
        return replace(_inferred(first, report), sink=sink)

    def _masks(self, restored: Restored) -> list[PackedMask]:
        """The mask of what was found in a page, if it is to be written."""
        return [PackedMask.of(restored.found)] if self.masks_dir and restored.found is not None else []

    def _max_sample_bytes(self, image: Decoded) -> int:
        """An upper bound for the bytes of the restored samples of all pages, each with colours and alpha."""
        samples = [math.prod(self.foresight.size(*page.size)) * page.pixels.itemsize for page in image.pages]
        for height, width, depth in image.following:
            samples.append(max(map(math.prod, self.foresight.sizes(height, width))) * depth)
        return 4 * sum(samples)

    def _quarantined(self, quarantine: Path, job: Job, image: object) -> Path:
        assert isinstance(image, Decoded), "the guard passes on the image that it refused"
        path = refused_path(quarantine, job)
        data = encode(image, format=output_format(path), quality=self.quality)
        mark_as_output_folder(quarantine)
        return write_under_free_name(path, data)

    def paths(self, job: Job) -> tuple[Path, ...]:
        """Every file that may be written for a job, its output first."""
        return paths_for(job, self.maps_dir, self.masks_dir, self.quarantine)

    def side_files(self, job: Job, inferred: Inferred) -> Iterator[tuple[Path, bytes]]:
        """The files that are written beside the output, each with its content."""
        if self.maps_dir and inferred.restored.mixing_weights.size:
            mark_as_output_folder(self.maps_dir)
            yield map_path(self.maps_dir, job), map_png(inferred.image, inferred.restored)
        if self.masks_dir:
            mark_as_output_folder(self.masks_dir)
            path = mask_path(self.masks_dir, job)
            yield path, mask_bytes(inferred.found, output_format(path))

    def encoded(self, inferred: Inferred, format_name: str) -> tuple[bytes, tuple[str, ...]]:
        """(the bytes of the output, notes for the user). Raises OutputError."""
        if inferred.unchanged is not None:
            return inferred.unchanged, inferred.image.notes
        return self.keeping.encoded(inferred.image, format_name, self.quality)

    def write(self, job: Job, inferred: Inferred, made: Made, times_ns: TimesNs | None = None) -> Written:
        """Encodes and writes the output atomically, and adds its content to `made`. Raises OutputError."""
        facts = facts_of(made)
        if inferred.sink is not None:
            content, notes, stamp = inferred.sink.finish(times_ns, facts=facts, replaces=job.may_replace)
        else:
            data, notes = self.encoded(inferred, output_format(job.target))
            stamp = write_new(job.target, data, times_ns, facts=facts, replaces=job.may_replace)
            content = content_of(data)
        if job.instead_of:
            notes += (f"written in another format: {beyond(inferred.image.size, job.instead_of)}",)
        return Written(replace(made, output=content, output_stamp=stamp), content.num_bytes, notes)


def _inferred(image: Decoded, report: PageReport) -> Inferred:
    image = replace(image, distance=report.distance)
    return Inferred(image, report.first, tuple(report.precisions), found=tuple(report.found), fate=report.fate)


def facts_of(made: Made) -> dict[str, str]:
    """The metadata, in a store, of an output and of the files beside it, by which a later run knows whose they are."""
    return {"adacode-source-sha256": made.source.sha256}


def output_format(target: Path) -> str:
    """The format of an output, by its name."""
    format_name = format_of(target)
    assert format_name is not None, "targets are named with a known suffix"
    return format_name


def paths_for(job: Job, maps_dir: Path | None, masks_dir: Path | None, quarantine: Path | None) -> tuple[Path, ...]:
    """The paths of a job's output, of its weight map, of the mask of what was found in it, and of its result if the
    guard refuses it.
    """
    maps = (map_path(maps_dir, job),) if maps_dir else ()
    masks = (mask_path(masks_dir, job),) if masks_dir else ()
    refused = (refused_path(quarantine, job),) if quarantine else ()
    return (job.target, *maps, *masks, *refused)


def map_path(maps_dir: Path, job: Job) -> Path:
    """The path of a job's weight map; it contains the output's full name, so `a.jpg` and `a.png` differ."""
    return maps_dir / f"{job.name}.weights.png"


def refused_path(quarantine: Path, job: Job) -> Path:
    """The path of a result that the guard refused; a PNG on a pipe, whose job has no suffix."""
    named = quarantine / job.name
    return named if format_of(named) else named.with_name(f"{named.name}.png")


def map_png(image: Decoded, restored: Restored) -> bytes:
    """The weight map of an image as a PNG file."""
    cells = restored.mixing_weights, restored.categories, restored.weights_extent
    picture: NDArray[Any] = weights_map.draw(image.pixels, *cells)
    drawn = Decoded(pixels=picture, alpha=None, format="png", icc=None, exif=None, notes=())
    return encode(drawn, format="png")


def _first_page(image: Decoded) -> Decoded:
    """`image` without the samples of the pages after it, whose number it still states."""
    more = tuple((*page.size, page.pixels.itemsize) for page in image.more_pages)
    return replace(image, more_pages=(), following=(*more, *image.following))
