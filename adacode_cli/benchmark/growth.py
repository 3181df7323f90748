"""Whether time grows as the picture does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adacode_cli.benchmark.picture import cut, made_up
from adacode_cli.engine.runner import Runner

MEGAPIXELS = (1, 4, 16, 64)


@dataclass(frozen=True)
class Growth:
    """Seconds for so many megapixels of output, in all and for each, and how that compares with the first size."""

    megapixels: int
    seconds: float
    seconds_per_megapixel: float
    to_first: float


def growth(runner: Runner, sizes: Sequence[int] = MEGAPIXELS) -> Iterator[Growth]:
    """A line for each size, of one run each. Raises DeviceError where one does not fit."""
    scale, first = runner.config.scale, None
    photo = made_up(1024, 1024)
    runner.restore(cut(photo, 64))
    for megapixels in sizes:
        side = round((megapixels * 1e6) ** 0.5 / scale)
        picture = cut(photo, side)
        start = time.perf_counter()
        runner.restore(picture)
        took = time.perf_counter() - start
        rate = took / ((side * scale) ** 2 / 1e6)
        first = first or rate
        yield Growth(megapixels, took, rate, rate / first)
