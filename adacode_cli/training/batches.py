"""Batches of the three stages: clean crops, degraded and clean pairs, crops with holes.

Sample i of batch n depends on (seed, n, i) alone, so the number of threads or processes and a resumed run do not change
the training data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.model.config import NetworkConfig
from adacode_cli.tasks import TASKS, TrainingInput
from adacode_cli.training.crops import DeviceCrops, HostCrops, Wanted, Window, sent, shrink_for, turned
from adacode_cli.training.degradation import MARGIN, DegradationSettings, degrade_batch_with_margin, degrade_with_margin
from adacode_cli.training.holes import HoleSettings, random_hole, with_traces
from adacode_cli.training.recipe import Recipe, StageRecipe
from adacode_cli.training.shards import Pixels

AHEAD = 4
# Streams of random numbers: training batches, batches for initial values, and holes that are drawn beforehand.
TRAINING, BEGINNING, HOLES = 0, 1, 2


@dataclass(frozen=True)
class Batch:
    """input_BCHW: what the network sees. target_BCHW: what it should return. Float RGB in [0, 1].

    hole_B1HW: 1 = hole, where there are holes. category_B: int64 numbers of the crops' categories.
    """

    input_BCHW: Tensor
    target_BCHW: Tensor
    hole_B1HW: Tensor | None = None
    category_B: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; if input and target are one tensor, they stay one."""
        tensors = {id(t): t for t in self._tensors()}
        moved = {key: t.to(device, non_blocking=True) for key, t in tensors.items()}
        values = (getattr(self, f.name) for f in fields(self))
        return Batch(*(None if t is None else moved[id(t)] for t in values))  # type: ignore[arg-type]

    def _tensors(self) -> list[Tensor]:
        return [t for f in fields(self) if (t := getattr(self, f.name)) is not None]


@dataclass(frozen=True)
class Order:
    """Which samples a process makes: those of its `rank` among `world`, of batches of `batch` crops, from `seed`."""

    seed: int
    batch: int
    rank: int = 0
    world: int = 1

    @property
    def samples(self) -> range:
        """Numbers of this process's samples in every batch."""
        each = self.batch // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    def generators(self, number: int, stream: int) -> list[np.random.Generator]:
        """One a sample of batch `number`; streams are independent of one another."""
        return [np.random.Generator(np.random.PCG64([self.seed, stream, number, i])) for i in self.samples]


# (number of the batch, stream) → the batch.
BatchMaker = Callable[[int, int], Batch]


# One sample: input, target, hole.
Sample = tuple[Pixels, Pixels, npt.NDArray[np.bool_] | None]


SampleMaker = Callable[[np.random.Generator, Pixels], Sample]


def training_input(config: NetworkConfig) -> TrainingInput:
    """The kind of input of a network: the clean image in stages I and II, that of the task in stage III."""
    return TASKS[config.task].training_input if config.task in TASKS else "clean"


def side_for(task: str, scale: int, patch: int) -> int:
    """Side in pixels that a sample of `patch` output pixels needs for a task, a name of `tasks.TASKS`."""
    return degraded_side(patch, scale) if TASKS[task].training_input == "degraded" else patch


def degraded_side(patch: int, scale: int) -> int:
    """Side in pixels that a sample of `patch` output pixels needs if it is degraded by `scale`."""
    return patch + 2 * MARGIN * scale


def sample_side(config: NetworkConfig, patch: int) -> int:
    """Side in pixels that a sample of `patch` output pixels needs for a network."""
    return side_for(config.task, config.scale, patch) if config.task in TASKS else patch


def clean_samples() -> SampleMaker:
    """Input and target are the same pixels (stages I and II)."""

    def make(rng: np.random.Generator, pixels: Pixels) -> Sample:
        del rng
        return pixels, pixels, None

    return make


def degraded_samples(scale: int, settings: DegradationSettings) -> SampleMaker:
    """Input is a degraded copy, 1/scale of the size (stage III, super-resolution); pixels have `degraded_side`."""

    def make(rng: np.random.Generator, pixels: Pixels) -> Sample:
        return *degrade_with_margin(pixels, scale, rng, settings), None

    return make


def holed_samples(settings: HoleSettings) -> SampleMaker:
    """Input is the target, with a hole in it and perhaps traces of damage beside it (stage III, inpainting)."""

    def make(rng: np.random.Generator, pixels: Pixels) -> Sample:
        hole = random_hole(pixels.shape[0], rng, settings)
        if not settings.traces:
            return pixels, pixels, hole
        marked = with_traces(_tensor([pixels]), torch.from_numpy(hole)[None, None].float(), [rng], settings)
        return (marked[0] * 255).round().byte().permute(1, 2, 0).numpy(), pixels, hole

    return make


def host_batches(
    crops: HostCrops,
    make: SampleMaker,
    order: Order,
    wanted: Wanted,
    *,
    mask_channel: bool = False,
) -> BatchMaker:
    """Batches made on the CPU from windows as in `wanted`. Raises TrainingError if there are no such windows."""
    contents = crops.contents
    contents.require(wanted.side)

    def batch(number: int, stream: int) -> Batch:
        """This process's part of batch `number` of a stream; raises TrainingError for a damaged shard."""
        samples: list[Sample] = []
        windows: list[Window] = []
        for rng in order.generators(number, stream):
            window, pixels = crops.draw(rng, wanted)
            windows.append(window)
            samples.append(make(rng, pixels))
        categories = categories_of(contents.categories, [contents.crops[w.crop].category for w in windows])
        return batch_of(samples, categories, mask_channel=mask_channel)

    return batch


def batch_of(samples: list[Sample], category_B: Tensor | None, *, mask_channel: bool) -> Batch:
    """Samples of one kind as one batch on the CPU."""
    targets = _tensor([target for _, target, _ in samples])
    same = all(degraded is target for degraded, target, _ in samples)
    inputs = targets if same else _tensor([degraded for degraded, _, _ in samples])
    holes = [hole for _, _, hole in samples if hole is not None]
    if holes:
        hole = torch.from_numpy(np.stack(holes))[:, None].float()
        return Batch(painted(inputs, hole, mask_channel=mask_channel), targets, hole, category_B)
    return Batch(inputs, targets, None, category_B)


def painted(image_BCHW: Tensor, hole_B1HW: Tensor, *, mask_channel: bool) -> Tensor:
    """Images with their holes filled with the values that the engine uses.

    With `mask_channel` they are zero and the hole mask is a fourth channel, without it they are white.
    """
    if mask_channel:
        return torch.cat((image_BCHW * (1 - hole_B1HW), hole_B1HW), 1)
    return torch.maximum(image_BCHW, hole_B1HW)


def _tensor(images: list[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def categories_of(known: tuple[str, ...], names: list[str]) -> Tensor:
    """Numbers of categories, int64."""
    return torch.tensor([known.index(name) for name in names])


def device_batches(
    crops: DeviceCrops,
    order: Order,
    config: NetworkConfig,
    stage: StageRecipe,
    *,
    category: str | None,
    recipe: Recipe,
) -> BatchMaker:
    """Batches of crops as `stage` has them for the task of `config`; of one category, or of all if None.

    Raises TrainingError where windows do not fit or a category is empty.
    """
    contents, patch = crops.contents, stage.patch
    side, shown = sample_side(config, patch), training_input(config)
    contents.require(side)
    wanted = Wanted(side, category, shrink_for(config, stage.shrink), stage.candidates, stage.shrunk)
    stock = HoleStock(patch, order.seed, recipe.holes, crops.device) if shown == "holed" else None

    def batch(number: int, stream: int) -> Batch:
        """This process's part of batch `number` of a stream, on the device; nothing waits for it."""
        generators = order.generators(number, stream)
        draws = [contents.draw(rng, wanted) for rng in generators]
        names = [contents.crops[windows[0].crop].category for windows in draws]
        categories = sent(categories_of(contents.categories, names), crops.device)
        clean = crops.draw(draws, side)
        if shown == "degraded":
            chance = torch.Generator(crops.device).manual_seed(int(generators[0].integers(2**62)))
            degraded, target = degrade_batch_with_margin(clean, config.scale, chance, recipe.degradation)
            return Batch(degraded, target, None, categories)
        if stock is not None:
            hole = stock.draw(generators)
            marked = with_traces(clean, hole, generators, recipe.holes)
            return Batch(painted(marked, hole, mask_channel=config.mask_channel), clean, hole, categories)
        return Batch(clean, clean, None, categories)

    return batch


class HoleStock:
    """`count` holes of side×side pixels in the device's memory, drawn once from a seed; turned and mirrored, eight
    times as many.

    One byte a pixel: 34 MB for 2,048 holes of 128 px.
    """

    def __init__(self, side: int, seed: int, settings: HoleSettings, device: torch.device, count: int = 2048) -> None:
        rng = np.random.Generator(np.random.PCG64([seed, HOLES]))
        holes = np.stack([random_hole(side, rng, settings) for _ in range(count)])
        self.device, self._holes = device, torch.from_numpy(holes)[:, None].to(device)

    def draw(self, generators: Sequence[np.random.Generator]) -> Tensor:
        """One hole for each generator, turned and mirrored at random: B×1×side×side float, 1 = hole, on the device."""
        numbers = [int(rng.integers(len(self._holes))) for rng in generators]
        ways = [(int(rng.integers(4)), bool(rng.random() < 0.5)) for rng in generators]
        return turned(self._holes[sent(torch.tensor(numbers), self.device)], ways).float()


def ordered(make: BatchMaker, first: int = 0, workers: int = 2) -> Generator[Batch, None, None]:
    """Batch `first`, `first` + 1, … without end, a few of them made in advance by threads. Close it to end the threads.

    Without workers a batch is made on request.
    """
    number = first
    if not workers:
        while True:
            yield make(number, TRAINING)
            number += 1
    pool = ThreadPoolExecutor(workers, thread_name_prefix="adacode-batch")
    try:
        waiting: deque[Future[Batch]] = deque()
        while True:
            while len(waiting) < max(AHEAD, workers):
                waiting.append(pool.submit(make, number, TRAINING))
                number += 1
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
