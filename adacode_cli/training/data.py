"""A folder of shards as the stages need it: batches for training in the wanted place, and crops for validation."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from adacode_cli.model.config import NetworkConfig
from adacode_cli.training.batches import (
    Batch,
    BatchMaker,
    Order,
    SampleMaker,
    clean_samples,
    degraded_samples,
    degraded_side,
    holed_samples,
    host_batches,
)
from adacode_cli.training.crops import Contents, DeviceCrops, HostCrops, Wanted, corpus_bytes, shrink_for
from adacode_cli.training.device_batches import device_batches
from adacode_cli.training.processes import Processes
from adacode_cli.training.recipe import Recipe, StageRecipe
from adacode_cli.training.shards import Shards
from adacode_cli.training.validation import validation_batches

Cache = Literal["auto", "none", "memory", "device"]
# Parts of the free memory that decoded crops may take where nobody chose.
_HOST_SHARE, _DEVICE_SHARE = 0.5, 0.25
_VALIDATION_PX = 256


@dataclass(frozen=True)
class Task:
    """What a network is to learn: its configuration tells the task and scale; category: the only one, or None."""

    config: NetworkConfig
    category: str | None = None

    @property
    def scale(self) -> int:
        """1 where the input has the output's size."""
        return self.config.scale


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
            wanted = corpus_bytes(self.train)
            cache = "memory" if wanted * processes.world < _HOST_SHARE * host_bytes else "none"
            cache = "device" if wanted < _DEVICE_SHARE * device_bytes else cache
        self.cache = cache
        threads = max(1, workers)
        if cache == "device":
            self._device_crops = DeviceCrops(self.train, processes.device, threads)
        else:
            self._host_crops = HostCrops(self.train, keep=cache == "memory", workers=threads)

    @property
    def identity(self) -> str:
        """The same for the same shards, wherever they are."""
        return sha256("".join(s["sha256"] for s in self.shards.manifest["shards"]).encode()).hexdigest()

    def batches(self, task: Task, recipe: Recipe, stage: StageRecipe, seed: int) -> BatchMaker:
        """Batches for this process. Raises TrainingError where crops are too small or a category is empty."""
        order = Order(seed, stage.batch, self.processes.rank, self.processes.world)
        if self.cache == "device":
            crops, only = self._device_crops, task.category
            return device_batches(crops, order, task.config, stage, category=only, recipe=recipe)
        shrink, side = shrink_for(task.config, stage.shrink), _side(stage.patch, task.scale)
        wanted = Wanted(side, task.category, shrink, stage.candidates, stage.shrunk)
        samples, masks = _samples(task, recipe), task.config.mask_channel
        return host_batches(self._host_crops, samples, order, wanted, mask_channel=masks)

    def validation(self, task: Task, recipe: Recipe) -> list[Batch]:
        """Held-out crops for a task, batches of one; none where the shards hold none back."""
        multiple = task.config.pad_multiple * task.scale
        room = min(_VALIDATION_PX, _patch_within(self.held_out.crop_px, task.scale))
        patch = max(multiple, room // multiple * multiple)
        if _side(patch, task.scale) > self.held_out.crop_px:
            return []
        samples, side = _samples(task, recipe), _side(patch, task.scale)
        return validation_batches(self.held_out, samples, side, task.category, mask_channel=task.config.mask_channel)


def _samples(task: Task, recipe: Recipe) -> SampleMaker:
    if task.config.task == "sr":
        return degraded_samples(task.scale, recipe.degradation)
    if task.config.task == "inpaint":
        return holed_samples(recipe.holes)
    return clean_samples()


def _side(patch: int, scale: int) -> int:
    return patch if scale == 1 else degraded_side(patch, scale)


def _patch_within(crop_px: int, scale: int) -> int:
    return crop_px if scale == 1 else crop_px - degraded_side(0, scale)
