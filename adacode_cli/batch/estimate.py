"""What a planned run will need, from the headers of its files: pixels, and room on disks and in stores for its outputs.

Sizes of files depend on what the images show. The figures here are those of photographs (`BYTES_PER_PIXEL`), moved
towards what the size of each input says of it. For a folder of ordinary photographs the sum is right within a factor of
two; for drawings, or for noise, it is not.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from adacode_cli import formats
from adacode_cli.batch.foresight import format_of_source
from adacode_cli.batch.plan import Job
from adacode_cli.errors import InputError
from adacode_cli.formats import Format
from adacode_cli.imaging.codec import Header
from adacode_cli.imaging.encode import format_of
from adacode_cli.limits import DEFAULT_QUALITY
from adacode_cli.storage.path import is_remote

# Bytes of a file for each pixel of a colour image with 8 bits at quality 95, for images of the same size as their
# inputs, twice and four times as large; written by benchmarks/output_sizes.py.
BYTES_PER_PIXEL: dict[str, tuple[float, float, float]] = {
    "jpeg": (0.55, 0.44, 0.33),
    "png": (1.72, 1.41, 1.21),
    "webp": (0.37, 0.26, 0.18),
    "tiff": (1.62, 1.64, 1.41),
    "bmp": (3.0, 3.0, 3.0),
    "jp2": (1.22, 1.11, 0.93),
    "avif": (0.47, 0.37, 0.27),
    "heic": (0.89, 0.69, 0.57),
}
_OTHER = (1.6, 1.5, 1.4)
# Each step of --quality below 95 makes lossy files smaller by this factor.
_PER_STEP = 0.94
# Bytes per pixel of the inputs for which the figures hold, as a part of those of an output of the same size; and how
# strongly other inputs move the figures: the output of a JPEG twice as large is 2 ** 0.4 times as large.
_USUAL_INPUT = {True: 0.65, False: 1.0}
_PULL = {True: 0.4, False: 0.6}
_MOST_PULL = 6.0
_UNCOMPRESSED = 2.8  # bytes per pixel from which a file says nothing of what it shows: deep, or not compressed
_GREY_LOSSY = 0.75
_DEEPER_BYTES = {1: 0.0, 2: 1.0, 4: 2.8}  # of a sample of 1, 2 or 4 bytes, beside those of 8 bits
_BESIDE_BYTES = 2000  # metadata and structure of a file


@dataclass(frozen=True)
class Disk:
    """One file system that outputs are written to, or one output tree in a store.

    place: an output tree there. needed_bytes: of all outputs; on a file system without those that they replace.
    free_bytes: None if the system does not report it, and for stores.
    """

    place: Path
    needed_bytes: int
    free_bytes: int | None

    @property
    def is_too_small(self) -> bool:
        """Whether the outputs will probably not fit."""
        return self.free_bytes is not None and self.needed_bytes > self.free_bytes


@dataclass
class Needs:
    """The sums over the files of a run. `add` counts one file.

    quality: of lossy outputs. size_of: (height, width) of an input → those of its result. runs_of: (height, width) of
    an input → the pixels that each run of the network gets for it; none if it is copied or made smaller. upright:
    (height, width) of a file as its header states them → those of the upright input; it may raise InputError.
    num_unknown: files of which this is not known, as of those without a header; they are in `num_files` alone.
    num_unread: files in stores of which nothing is read, because there are so many; `extrapolate` counts them as the
    others in stores.
    num_runs, run_pixels: of the network, and the pixels that these runs get.
    input_pixels, output_pixels: of all pages. num_bytes: of all outputs.
    """

    quality: int
    size_of: Callable[[int, int], tuple[int, int]]
    runs_of: Callable[[int, int], list[int]] = lambda height, width: [height * width]
    upright: Callable[[int, int], tuple[int, int]] = lambda height, width: (height, width)
    num_files: int = 0
    num_unknown: int = 0
    num_unread: int = 0
    num_runs: int = 0
    run_pixels: int = 0
    input_pixels: int = 0
    output_pixels: int = 0
    num_bytes: int = 0
    _bytes_in: dict[Path, int] = field(default_factory=dict)
    _sample: Needs | None = None  # the sums over files in stores whose headers are read

    @property
    def num_known(self) -> int:
        """The number of files whose sizes are known."""
        return self.num_files - self.num_unknown - self.num_unread

    def extrapolate(self) -> None:
        """Makes the sums those of all files, as if the files that are not read were like the others in stores."""
        sample = self._sample
        if not self.num_unread or sample is None:
            return
        factor = self.num_unread / sample.num_files
        for name in ("num_runs", "run_pixels", "input_pixels", "output_pixels", "num_bytes"):
            setattr(self, name, getattr(self, name) + round(getattr(sample, name) * factor))
        for root, num_bytes in sample._bytes_in.items():
            self._bytes_in[root] += round(num_bytes * factor)

    def add(self, job: Job, *, is_read: bool = True) -> None:
        """Counts a job; its `header` is that of its source, or None. is_read: whether somebody has looked for it."""
        if not is_read:
            self.num_files += 1
            self.num_unread += 1
            return
        self._count(job)
        if is_remote(job.source):
            self._sample = self._sample or Needs(self.quality, self.size_of, self.runs_of, self.upright)
            self._sample._count(job)

    def _count(self, job: Job) -> None:
        self.num_files += 1
        header, given = job.header, None
        with suppress(InputError):  # A header may be wrong, so this is no error.
            given = self.upright(header.height, header.width) if header else None
        if header is None or given is None:
            self.num_unknown += 1
            return
        pixels, (height, width), runs = math.prod(given), self.size_of(*given), self.runs_of(*given)
        format = formats.of_suffix(job.target.suffix)
        pages = header.pages if format is not None and format.pages else 1
        self.num_runs += pages * len(runs)
        self.run_pixels += pages * sum(runs)
        self.input_pixels += pages * pixels
        self.output_pixels += pages * height * width
        scale = math.sqrt(height * width / pixels)
        num_bytes = int(self._bytes_per_pixel(job, header, scale, pages * pixels) * pages * height * width)
        num_bytes += _BESIDE_BYTES
        if not runs and (height, width) == given and format_of_source(job) == format_of(job.target):
            num_bytes = _size_of_source(job)  # a copy
        self.num_bytes += num_bytes
        self._bytes_in[job.root] = self._bytes_in.get(job.root, 0) + num_bytes - _size(job.target)

    def disks(self) -> list[Disk]:
        """The file systems, and the trees in stores, that outputs are written to."""
        found: dict[int | Path, tuple[Path, int]] = {}
        for root, num_bytes in self._bytes_in.items():
            there = None if is_remote(root) else _existing(root)
            key = there.stat().st_dev if there is not None else root
            place, before = found.get(key, (root, 0))
            found[key] = place, before + num_bytes
        return [Disk(place, max(0, needed), _free(place)) for place, needed in found.values()]

    def _bytes_per_pixel(self, job: Job, header: Header, scale: float, input_pixels: int) -> float:
        name = format_of(job.target) or formats.FALLBACK
        target, source = formats.named(name), formats.of_any_suffix(job.source.suffix)
        per_pixel = _at_scale(BYTES_PER_PIXEL.get(name, _OTHER), scale)
        per_pixel *= _pull(source, _size_of_source(job), input_pixels) if source is not None else 1
        colors = 1 if header.colors == 1 and target.grey else 3
        if target.lossy:
            per_pixel *= _PER_STEP ** (DEFAULT_QUALITY - self.quality)
            per_pixel *= _GREY_LOSSY if colors == 1 else 1
        else:
            sample = _sample_bytes(header, target)
            per_pixel = min(colors / 3 * per_pixel + colors * _DEEPER_BYTES[sample], colors * sample)
        return per_pixel


def _at_scale(figures: tuple[float, float, float], scale: float) -> float:
    """The figure between those for the scales 1, 2 and 4."""
    place = min(max(math.log2(scale), 0.0), 2.0)
    index = min(int(place), 1)
    return figures[index] + (place - index) * (figures[index + 1] - figures[index])


def _pull(source: Format, size: int, pixels: int) -> float:
    """How much larger than usual an output is, judged by its input's bytes per pixel. size: its bytes, or 0."""
    usual = BYTES_PER_PIXEL.get(source.name, _OTHER)[0] * _USUAL_INPUT[source.lossy]
    if not size or not pixels or (not source.lossy and size > _UNCOMPRESSED * pixels):
        return 1.0
    ratio = min(max(size / (usual * pixels), 1 / _MOST_PULL), _MOST_PULL)
    return float(ratio ** _PULL[source.lossy])


def _sample_bytes(header: Header, target: Format) -> int:
    """Bytes of a sample of the output, before compression."""
    deepest = {"float32": 4, "uint16": 2, "uint8": 1}[target.depths[0]]
    wanted = 4 if header.is_float or header.bits > 16 else 2 if header.bits > 8 else 1
    return min(wanted, deepest)


def _size_of_source(job: Job) -> int:
    if is_remote(job.source):
        return (job.header and job.header.num_bytes) or 0
    return _size(job.source)


def _size(path: Path) -> int:
    try:
        return 0 if is_remote(path) else path.stat().st_size
    except (OSError, ValueError):  # no file can have this name
        return 0


def _existing(path: Path) -> Path | None:
    """The folder, or the innermost one around it that exists."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")
    return next((each for each in (absolute, *absolute.parents) if os.path.isdir(each)), None)  # noqa: PTH112


def _free(place: Path) -> int | None:
    folder = None if is_remote(place) else _existing(place)
    if folder is None:
        return None
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
