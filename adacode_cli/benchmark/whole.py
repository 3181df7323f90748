"""All measurements of `adacode bench`, one after the other, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from adacode_cli.benchmark.calm import MOST_SPREAD, Load, Watch
from adacode_cli.benchmark.files import Files, files
from adacode_cli.benchmark.image import cut
from adacode_cli.benchmark.profile import FirstImage, Profile, first_image, profile
from adacode_cli.benchmark.speed import Ceiling, Growth, Pass, ceiling, growth, passes, yardstick_seconds
from adacode_cli.benchmark.task_speed import TaskSpeed, task_speeds
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.engine.device import PRECISIONS, choose_device, choose_precision, name_of
from adacode_cli.engine.memory import is_out_of_memory
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.errors import DeviceError
from adacode_cli.model.network import AdaCode


@dataclass(frozen=True)
class BenchSettings:
    """What to measure: `sr` with `weights`, a side × side part of `photo` (H×W×3 uint8), `num_files` JPEGs (0: none)
    of `megapixels` each, outputs of the `sizes` in megapixels; with `profile`, also how such a run spends its time,
    which needs files. device, precision: as for `Restorer`. Without `full`, only how fast each task is.
    """

    weights: str
    scale: int
    photo: NDArray[np.uint8]
    side: int
    num_files: int
    megapixels: float
    sizes: tuple[int, ...]
    repeats: int
    device: str = "auto"
    precision: str = "auto"
    profile: bool = False
    full: bool = True


@dataclass(frozen=True)
class Measurements:
    """All results. device: as torch writes it. yardstick_seconds, passes: for the same part of the photo. load: what
    else used the processor. What was not measured is empty or None.
    """

    device: str
    ceilings: tuple[Ceiling, ...]
    yardstick_seconds: float | None
    passes: tuple[Pass, ...]
    growth: tuple[Growth, ...]
    files: Files | None
    profile: Profile | None = None
    tasks: tuple[TaskSpeed, ...] = ()
    load: Load | None = None

    @property
    def largest_spread(self) -> float:
        """Of the tasks' ratios, from round to round."""
        return max((one.spread for one in self.tasks), default=0.0)

    @property
    def is_final(self) -> bool:
        """Whether nothing else disturbed the measurement, as far as load and ratios tell."""
        return self.largest_spread <= MOST_SPREAD and not (self.load and self.load.is_disturbing())


def measure(settings: BenchSettings, on_step: Callable[[str], None]) -> Measurements:
    """Takes all measurements; `on_step` is called with the name of the next one.

    Raises what `Restorer` does, before it begins; DeviceError where memory does not suffice, OutputError where no files
    can be written for the run.
    """
    try:
        return _measured(settings, on_step)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "Use a smaller --side, or close other programs."
        raise DeviceError("out of memory: the plain pass needs memory for the whole image", hint=hint) from error


def _measured(settings: BenchSettings, on_step: Callable[[str], None]) -> Measurements:
    watch, device = Watch(), choose_device(settings.device)
    source = WeightsSource(settings.weights)
    if not settings.full:
        tasks = task_speeds(source, device, settings.scale, settings.precision, on_step)
        return Measurements(str(device), (), None, (), (), None, None, tasks, watch.load())
    network, _ = source.network("sr", settings.scale)
    names = _precisions(settings.precision, device, network)
    image, repeats = cut(settings.photo, settings.side), settings.repeats
    first = _first(settings, on_step)
    tasks = task_speeds(source, device, settings.scale, settings.precision, on_step)

    on_step("the limits of the device")
    ceilings = tuple(ceiling(name, PRECISIONS[name], device, repeats) for name in names if name in PRECISIONS)
    on_step("the yardstick")
    usual = yardstick_seconds(to_tensor(image), device, repeats)
    on_step(f"{settings.weights}, {settings.side}×{settings.side}")
    found = tuple(passes(network, image, device, names, repeats))
    grown = tuple(_reporting(growth(Runner(network, device, RunOptions(settings.precision)), settings.sizes), on_step))
    run, profiled = _run(settings, device, first, on_step)
    return Measurements(str(device), ceilings, usual, found, grown, run, profiled, tasks, watch.load())


def _restorer(settings: BenchSettings) -> Restorer:
    return Restorer.from_pretrained(settings.weights, device=settings.device, precision=settings.precision)


def _first(settings: BenchSettings, on_step: Callable[[str], None]) -> tuple[Restorer, FirstImage] | None:
    """For a profile: the first image, before all other measurements, which would warm up the device."""
    if not settings.profile:
        return None
    on_step("the first image")
    restorer = _restorer(settings)
    return restorer, first_image(restorer, settings.scale, settings.megapixels)


def _run(
    settings: BenchSettings,
    device: torch.device,
    first: tuple[Restorer, FirstImage] | None,
    on_step: Callable[[str], None],
) -> tuple[Files | None, Profile | None]:
    """The timed run, then the profiled one: a profiler may slow down all that comes after it."""
    count, size = settings.num_files, settings.megapixels
    if not count:
        return None, None
    on_step(f"a run over {count} files")
    run = files(first[0] if first else _restorer(settings), settings.scale, count, size)
    if first is None:
        return run, None
    on_step("how such a run spends its time")
    return run, profile(first[0], settings.scale, count, size, device=device, first=first[1])


def _precisions(wanted: str, device: torch.device, network: AdaCode) -> tuple[str, ...]:
    """fp32, and the wanted precision if it is another one."""
    name = name_of(choose_precision(wanted, device, deep=False, int8_psnr_db=network.int8_psnr_db))
    return tuple(dict.fromkeys(("fp32", name)))


def _reporting(lines: Iterator[Growth], on_step: Callable[[str], None]) -> Iterator[Growth]:
    for line in lines:
        on_step(f"larger images, {line.megapixels} MP done")
        yield line
