"""How fast each task is in each precision that the device offers, in some seconds.

All are measured in turns, round after round. So what slows the machine down for a while concerns all of them, and the
ratios between them stay; how much they differ from round to round shows how far they can be trusted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from adacode_cli.benchmark.image import synthetic_image
from adacode_cli.benchmark.timing import in_lanes
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.engine.device import choose_precision, computes_bf16, has_openvino, name_of
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import WeightsError
from adacode_cli.model.network import AdaCode
from adacode_cli.tasks import TASKS, Task

# Sides of results in pixels, and the time after which no larger one is tried.
SIDES_PX = (256, 512, 1024, 2048)
ENOUGH_S = 0.3
# Three rounds, more while they take less than the first time, and two if they take longer than the second.
_ROUNDS, _MOST_ROUNDS, _SHORT_S, _LONG_S = 3, 9, 8.0, 16.0
_ROUNDS_OF_LANES = 2
_SCRATCHES_PX = (64, 3)  # distance and width


@dataclass(frozen=True)
class TaskSpeed:
    """A task in one precision: seconds for each megapixel of results, and megapixels in a second.

    ratio: how many times as fast as in fp32. spread: the difference between the largest and the smallest share of a
    round's time, as a part of the median. is_auto: it is what `--precision auto` takes for images of 8 bits.
    """

    task: str
    scale: int
    precision: str
    seconds_per_megapixel: float
    megapixels_per_second: float
    ratio: float
    spread: float
    is_auto: bool


@dataclass(frozen=True)
class _Case:
    task: Task
    scale: int
    precision: str
    restorer: Restorer
    is_auto: bool

    def seconds(self, side: int) -> float:
        """Of a result of side × side pixels; on a GPU of each among many."""
        small = side // self.scale
        image = _image(small)
        mask = np.zeros((small, small), np.bool_)
        distance, width = _SCRATCHES_PX
        for row in range(small // 2 % distance, small, distance):
            mask[row : row + width] = True
        hole = mask if self.task.fills_hole else None
        lanes = self.restorer.lanes
        calls = lanes * _ROUNDS_OF_LANES if lanes > 1 else 1

        def run(_: int) -> None:
            self.restorer.restore(self.task.name, image, scale=self.scale, mask=hole)

        began = time.perf_counter()
        in_lanes(run, range(calls), lanes)
        return (time.perf_counter() - began) / calls

    def works(self) -> bool:
        """Whether the restorer computes in this precision; the first call also compiles what it needs."""
        image = _image(64)
        hole = np.eye(64, dtype=np.bool_) if self.task.fills_hole else None
        return self.restorer.restore(self.task.name, image, scale=self.scale, mask=hole).precision == self.precision


@cache
def _image(side: int) -> NDArray[np.uint8]:
    return synthetic_image(side, side)


def task_speeds(
    source: WeightsSource, device: torch.device, scale: int, precision: str, on_step: Callable[[str], None]
) -> tuple[TaskSpeed, ...]:
    """Measures all tasks that the weights are for; `scale` is that of enlarging, at most.

    precision: "auto" for all that the device offers, or the name of one that is compared with fp32. Raises WeightsError
    if there is no task, DeviceError.
    """
    choose_precision(precision, device, deep=False)
    on_step("each task in each precision")
    cases = [case for case in _cases(source, device, scale, precision) if case.works()]
    sides: dict[str, int] = {}
    for case in cases:
        if case.task.name in sides:
            case.seconds(sides[case.task.name])  # the first call for a size may compile
        else:
            sides[case.task.name] = _side(case)
    rounds: list[list[float]] = []
    began = time.perf_counter()
    while not _is_enough(len(rounds), time.perf_counter() - began):
        on_step(f"round {len(rounds) + 1}")
        rounds.append([case.seconds(sides[case.task.name]) for case in cases])
    return tuple(_speeds(cases, sides, rounds))


def _is_enough(num_rounds: int, seconds: float) -> bool:
    least = _ROUNDS if seconds < _LONG_S else _ROUNDS - 1
    return num_rounds >= least and (num_rounds >= _MOST_ROUNDS or seconds >= _SHORT_S)


def _cases(source: WeightsSource, device: torch.device, scale: int, precision: str) -> Iterator[_Case]:
    restorers: dict[str, Restorer] = {}
    problem: WeightsError | None = None
    for task in TASKS.values():
        factor = min(scale, source.largest_scale(task.name)) if task.enlarges else 1
        try:
            network, _ = source.network(task.name, factor)
        except WeightsError as error:
            problem = problem or error
            continue
        near = network.int8_psnr_db
        auto = name_of(choose_precision("auto", device, deep=False, int8_psnr_db=near))
        for name in dict.fromkeys(("fp32", *(_offered(device, network) if precision == "auto" else (precision,)))):
            restorer = restorers.setdefault(name, Restorer(source, device, RunOptions(name)))
            yield _Case(task, factor, name, restorer, name == auto)
    if problem and not restorers:
        raise problem


def _offered(device: torch.device, network: AdaCode) -> Iterator[str]:
    """What may be faster than fp32 on this device, with the weights of this network."""
    if computes_bf16(device):
        yield "bf16"
    if device.type != "cpu":
        yield "fp16"
    elif has_openvino() and network.ranges:
        yield "int8"


def _side(case: _Case) -> int:
    """The side in pixels of results that take long enough for a clock."""
    for side in SIDES_PX[:-1]:
        if case.seconds(side) >= ENOUGH_S:
            return side
    return SIDES_PX[-1]


def _speeds(cases: list[_Case], sides: dict[str, int], rounds: list[list[float]]) -> Iterator[TaskSpeed]:
    usual = {case.task.name: index for index, case in enumerate(cases) if case.precision == "fp32"}
    for index, case in enumerate(cases):
        seconds = statistics.median(each[index] for each in rounds) / (sides[case.task.name] ** 2 / 1e6)
        ratio = statistics.median(each[usual[case.task.name]] / each[index] for each in rounds)
        names = (case.task.name, case.scale, case.precision)
        yield TaskSpeed(*names, seconds, 1 / seconds, ratio, spread_of(rounds, index), case.is_auto)


def spread_of(rounds: list[list[float]], index: int) -> float:
    """How much one time, as a ratio to the others of its round, differs between rounds; alone, the time itself."""
    ratios = [times[index] / (sum(times) - times[index] or 1.0) for times in rounds]
    return (max(ratios) - min(ratios)) / statistics.median(ratios)
