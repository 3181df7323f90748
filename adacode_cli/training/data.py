"""A folder of shards as the stages need it: training batches on a device, and crops for validation."""

from __future__ import annotations

from itertools import islice, zip_longest
from typing import Literal

import numpy as np

from adacode_cli.model.config import NetworkConfig
from adacode_cli.training.batches import (
    Batch,
    BatchMaker,
    Order,
    SampleMaker,
    batch_of,
    clean_samples,
    degraded_samples,
    device_batches,
    holed_samples,
    host_batches,
    sample_side,
    training_input,
)
from adacode_cli.training.crops import (
    Contents,
    DeviceCrops,
    HostCrops,
    Wanted,
    Window,
    shrink_for,
)
from adacode_cli.training.processes import Processes
from adacode_cli.training.recipe import Recipe, StageRecipe
from adacode_cli.training.shards import Shards

Cache = Literal["auto", "none", "memory", "device"]
# Shares of the free memory that decoded crops may take with `auto`.
HOST_SHARE, _DEVICE_SHARE = 0.5, 0.25
_VALIDATION_PX = 256
NUM_VALIDATION_CROPS = 16


class Data:
    """Opened shards. `auto` fills up to a quarter of the `device_bytes` that are free on a GPU, else up to half of the
    `host_bytes` of main memory, there with one copy for each process.

    Raises TrainingError for shards that are missing or damaged.
    """

    def __init__(
        self,
        shards: Shards,
        processes: Processes,
        cache: Cache,
        workers: int,
        *,
        host_bytes: int = 0,
        device_bytes: int = 0,
    ) -> None:
        self.shards, self.processes, self.workers = shards, processes, workers
        self.train, self.held_out = Contents(shards, "train"), Contents(shards, "validation")
        if cache == "auto":
            wanted = self.train.decoded_bytes
            cache = "memory" if wanted * processes.world < HOST_SHARE * host_bytes else "none"
            cache = "device" if wanted < _DEVICE_SHARE * device_bytes else cache
        self.cache = cache
        threads = max(1, workers)
        if cache == "device":
            self._device_crops = DeviceCrops(self.train, processes.device, threads)
        else:
            self._host_crops = HostCrops(self.train, keep=cache == "memory", workers=threads)

    @property
    def identity(self) -> str:
        """`Shards.identity`."""
        return self.shards.identity

    def batches(
        self, config: NetworkConfig, recipe: Recipe, stage: StageRecipe, seed: int, category: str | None = None
    ) -> BatchMaker:
        """This process's training batches for a network, of crops of one category, or of all if None.

        Raises TrainingError where crops are too small or a category is empty.
        """
        order = Order(seed, stage.batch, self.processes.rank, self.processes.world)
        if self.cache == "device":
            return device_batches(self._device_crops, order, config, stage, category=category, recipe=recipe)
        side, shrink = sample_side(config, stage.patch), shrink_for(config, stage.shrink)
        wanted = Wanted(side, category, shrink, stage.candidates, stage.shrunk)
        samples = _samples(config, recipe)
        return host_batches(self._host_crops, samples, order, wanted, mask_channel=config.mask_channel)

    def validation(self, config: NetworkConfig, recipe: Recipe, category: str | None = None) -> list[Batch]:
        """Held-out crops for a network, batches of one; none if the shards have no validation crops."""
        multiple, crop_px = config.pad_multiple * config.scale, self.held_out.crop_px
        room = min(_VALIDATION_PX, crop_px - sample_side(config, 0))
        side = sample_side(config, max(multiple, room // multiple * multiple))
        if side > crop_px:
            return []
        samples = _samples(config, recipe)
        return validation_batches(self.held_out, samples, side, category, mask_channel=config.mask_channel)


def validation_batches(
    contents: Contents, sample: SampleMaker, side: int, category: str | None, *, mask_channel: bool
) -> list[Batch]:
    """Batches of one: the middle of the first crops of the category, or of all in turn. There may be none."""
    names = [category] if category else contents.categories
    in_turn = zip_longest(*(contents.numbers(name) for name in names))
    numbers = [int(n) for group in in_turn for n in group if n is not None]
    corner = (contents.crop_px - side) // 2
    crops = HostCrops(contents, keep=False, workers=1)
    batches = []
    for i, number in enumerate(islice(numbers, NUM_VALIDATION_CROPS)):
        rng = np.random.Generator(np.random.PCG64(i))
        pixels = crops.cut(Window(number, corner, corner, side, 0, mirrored=False), side)
        batches.append(batch_of([sample(rng, pixels)], None, mask_channel=mask_channel))
    return batches


def _samples(config: NetworkConfig, recipe: Recipe) -> SampleMaker:
    shown = training_input(config)
    if shown == "degraded":
        return degraded_samples(config.scale, recipe.degradation)
    return holed_samples(recipe.holes) if shown == "holed" else clean_samples()
