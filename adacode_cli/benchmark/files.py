"""The cost of reading and writing beside the engine: a whole run over a folder of JPEGs, and their images alone."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adacode_cli.batch.found import Selection
from adacode_cli.batch.guard import Guarded
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages
from adacode_cli.benchmark.image import synthetic_jpeg
from adacode_cli.benchmark.timing import in_lanes
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import OutputError, QualityError, translated
from adacode_cli.imaging.decode import read_image
from adacode_cli.imaging.decoder_pool import decoding

# Images that are decoded beforehand for each measurement of the engine.
_AT_ONCE = 32


@dataclass(frozen=True)
class Files:
    """count files of `megapixels` each: seconds of the engine for their images, seconds of the run, and the ratio."""

    count: int
    megapixels: float
    engine_seconds: float
    run_seconds: float
    ratio: float


def files(
    restorer: Restorer, scale: float, count: int, megapixels: float, make_stages: Callable[..., Stages] = Stages
) -> Files:
    """Restores synthetic JPEGs twice, in a temporary folder: in the engine alone, then in a run, whose stages
    `make_stages` makes as the class `Stages` does.

    Raises QualityError if one is refused, DeviceError, and OutputError where they cannot be written.
    """
    with jpegs(count, megapixels) as source:
        first = read_image(source / "0000.jpg").pixels
        in_lanes(lambda _: restorer.sr(first, scale), range(restorer.lanes), restorer.lanes)
        engine = _engine_seconds(restorer, scale, source)
        run_s = _run_seconds(run_over(restorer, scale, source, make_stages))
    return Files(count, side_of(megapixels) ** 2 / 1e6, engine, run_s, run_s / engine)


def side_of(megapixels: float) -> int:
    """The side in pixels of a square image of that size."""
    return max(1, round(math.sqrt(megapixels * 1e6)))


@contextmanager
def jpegs(count: int, megapixels: float) -> Iterator[Path]:
    """A folder of synthetic JPEGs in a temporary folder, removed at the end of the block. Raises OutputError."""
    # Threads that still write after an interruption may leave a file after the clean-up; this is not an error.
    with tempfile.TemporaryDirectory(prefix="adacode-bench-", ignore_cleanup_errors=True) as folder:
        source = Path(folder, "photos")
        _write(source, side_of(megapixels), count)
        yield source


def run_over(
    restorer: Restorer, scale: float, source: Path, make_stages: Callable[..., Stages] = Stages
) -> Callable[[], None]:
    """A whole run over a folder, into "out" beside it, as a function to be called once. make_stages: as the class
    `Stages`.

    When called it raises QualityError if a file is refused, DeviceError, and OutputError.
    """
    plan = make_plan([source], Naming("sr", source.with_name("out")), Selection(), OnExisting.REFUSE)
    restoring = Restoring(restorer, "sr", scale)

    def whole_run() -> None:
        with decoding(isolated=True) as decoder:
            stages = make_stages(Guarded(restoring, lambda: restoring), decoder=decoder, lanes=restorer.lanes)
            report = run(plan, LocalExecutor(stages), on_event=lambda _: None)
        for outcome in report.failed:
            assert outcome.failure is not None, "what failed has a failure"
            raise QualityError(f"the run that was timed failed: {outcome.failure.message}", hint=outcome.failure.hint)

    return whole_run


def _write(folder: Path, side: int, count: int) -> None:
    hint = "Set TMPDIR to a folder with more room, or use --files 0 for no run."
    with translated(OutputError, "cannot be written", folder, hint=hint):
        folder.mkdir()
        for index in range(count):
            (folder / f"{index:04}.jpg").write_bytes(synthetic_jpeg(side, index))


def _engine_seconds(restorer: Restorer, scale: float, source: Path) -> float:
    """Seconds for as many images at once as in a run, decoded beforehand."""
    total, paths = 0.0, sorted(source.iterdir())
    for first in range(0, len(paths), _AT_ONCE):
        images = [read_image(path).pixels for path in paths[first : first + _AT_ONCE]]
        start = time.perf_counter()
        in_lanes(lambda pixels: restorer.sr(pixels, scale), images, restorer.lanes)
        total += time.perf_counter() - start
    return total


def _run_seconds(whole_run: Callable[[], None]) -> float:
    start = time.perf_counter()
    whole_run()
    return time.perf_counter() - start
