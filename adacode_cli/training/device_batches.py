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
from adacode_cli.training.crops import DeviceCrops, shrink_for
from adacode_cli.training.holes import random_hole
from adacode_cli.training.recipe import Recipe


def device_batches(
    crops: DeviceCrops, order: Order, config: NetworkConfig, patch: int, *, category: str | None, recipe: Recipe
) -> BatchMaker:
    """Batches of `patch` output pixels for the task of `config`; of one category, or of all if None.

    Raises TrainingError where windows do not fit or a category is empty.
    """
    contents = crops.contents
    side = degraded_side(patch, config.scale) if config.task == "sr" else patch
    contents.require(side)
    most_shrink = shrink_for(config)

    def batch(number: int, stream: int) -> Batch:
        """This process's part of batch `number` of a stream, on the device; nothing waits for it."""
        generators = order.generators(number, stream)
        windows = [contents.draw(rng, category, side, most_shrink) for rng in generators]
        names = [contents.crops[w.crop].category for w in windows]
        categories = _sent(categories_of(contents.categories, names), crops.device)
        clean = crops.cut(windows, side)
        if config.task == "sr":
            chance = torch.Generator(crops.device).manual_seed(int(generators[0].integers(2**62)))
            worn, target = degradation.degrade_batch_with_margin(clean, config.scale, chance, recipe.degradation)
            return Batch(worn, target, None, categories)
        if config.task == "inpaint":
            masks = np.stack([random_hole(patch, rng, recipe.holes) for rng in generators])
            hole = _sent(torch.from_numpy(masks)[:, None], crops.device).float()
            return Batch(painted(clean, hole, mask_channel=config.mask_channel), clean, hole, categories)
        return Batch(clean, clean, None, categories)

    return batch


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device, without waiting for what it has still to do."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
