"""Batches that are made where they are used: the corpus lies in the device's memory, cut and degraded there.

The windows are those that main memory would give for the same seed; noise and compression are drawn on the device,
with the same statistics as on the CPU (`degradation`).
"""

from __future__ import annotations

import numpy as np
import torch

from adacode_cli.model.config import NetworkConfig
from adacode_cli.training import degradation
from adacode_cli.training.batches import Batch, BatchMaker, Order, categories_of, degraded_side, painted
from adacode_cli.training.crops import DeviceCrops, Wanted, sent, shrink_for
from adacode_cli.training.holes import random_hole
from adacode_cli.training.recipe import Recipe, StageRecipe


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
        if config.task == "inpaint":
            masks = np.stack([random_hole(patch, rng, recipe.holes) for rng in generators])
            hole = sent(torch.from_numpy(masks)[:, None], crops.device).float()
            return Batch(painted(clean, hole, mask_channel=config.mask_channel), clean, hole, categories)
        return Batch(clean, clean, None, categories)

    return batch
