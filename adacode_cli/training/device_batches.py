"""Batches that are made where they are used: the corpus lies in the device's memory, cut and degraded there.

The windows are those that main memory would give for the same seed; noise and compression are drawn on the device,
with the same statistics as on the CPU (`degradation`). Holes come from a stock that is drawn beforehand, so that
no batch waits for the CPU to draw them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from adacode_cli.model.config import NetworkConfig
from adacode_cli.training import degradation
from adacode_cli.training.batches import HOLES, Batch, BatchMaker, Order, categories_of, degraded_side, painted
from adacode_cli.training.crops import DeviceCrops, Wanted, sent, shrink_for, turned
from adacode_cli.training.holes import HoleSettings, random_hole
from adacode_cli.training.recipe import Recipe, StageRecipe


class HoleStock:
    """`count` holes of side×side pixels in the device's memory, drawn once from a seed; eight times as many by turns.

    One byte a pixel: 34 MB for 2,048 holes of 128 px.
    """

    def __init__(self, side: int, seed: int, settings: HoleSettings, device: torch.device, count: int = 2048) -> None:
        rng = np.random.Generator(np.random.PCG64([seed, HOLES]))
        holes = np.stack([random_hole(side, rng, settings) for _ in range(count)])
        self.device, self._holes = device, torch.from_numpy(holes)[:, None].to(device)

    def draw(self, generators: Sequence[np.random.Generator]) -> Tensor:
        """One a generator, turned and mirrored at random: B×1×side×side float, 1 = hole, on the device."""
        numbers = [int(rng.integers(len(self._holes))) for rng in generators]
        ways = [(int(rng.integers(4)), bool(rng.random() < 0.5)) for rng in generators]
        return turned(self._holes[sent(torch.tensor(numbers), self.device)], ways).float()


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
    side = degraded_side(patch, config.scale) if config.task == "sr" else patch
    contents.require(side)
    wanted = Wanted(side, category, shrink_for(config, stage.shrink), stage.candidates, stage.shrunk)
    stock = HoleStock(patch, order.seed, recipe.holes, crops.device) if config.task == "inpaint" else None

    def batch(number: int, stream: int) -> Batch:
        """This process's part of batch `number` of a stream, on the device; nothing waits for it."""
        generators = order.generators(number, stream)
        draws = [contents.draw(rng, wanted) for rng in generators]
        names = [contents.crops[windows[0].crop].category for windows in draws]
        categories = sent(categories_of(contents.categories, names), crops.device)
        clean = crops.draw(draws, side)
        if config.task == "sr":
            chance = torch.Generator(crops.device).manual_seed(int(generators[0].integers(2**62)))
            worn, target = degradation.degrade_batch_with_margin(clean, config.scale, chance, recipe.degradation)
            return Batch(worn, target, None, categories)
        if stock is not None:
            hole = stock.draw(generators)
            return Batch(painted(clean, hole, mask_channel=config.mask_channel), clean, hole, categories)
        return Batch(clean, clean, None, categories)

    return batch
