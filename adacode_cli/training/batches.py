"""Batches made beside the training step: crops, degradations and holes in worker threads, in a fixed order.

A batch depends on the seed and its number alone, not on which thread made it or when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adacode_cli.training.corpus import Photo, PhotoCorpus
from adacode_cli.training.degradation import MARGIN, degrade_with_margin
from adacode_cli.training.holes import random_hole
from adacode_cli.training.settings import TrainSettings

AHEAD = 4


@dataclass(frozen=True)
class Batch:
    """input_BCHW: what the network sees. target_BCHW: what it should return. Float RGB in [0, 1].

    hole_B1HW: 1 = hole, where there are holes.
    """

    input_BCHW: Tensor
    target_BCHW: Tensor
    hole_B1HW: Tensor | None = None


BatchMaker = Callable[[np.random.Generator], Batch]


def crop_side(patch: int, scale: int = 1) -> int:
    """Pixels a side that a photograph needs for crops of `patch` output pixels, degraded by `scale` unless it is 1."""
    return patch if scale == 1 else patch + 2 * MARGIN * scale


def clean_batches(corpus: PhotoCorpus, settings: TrainSettings, category: str | None) -> BatchMaker:
    """Input and target are the same crop (stages I and II); of all categories if None."""
    corpus.require_room(crop_side(settings.patch))

    def make(rng: np.random.Generator) -> Batch:
        crops = _tensor([corpus.crop(rng, category, settings.patch) for _ in range(settings.batch)])
        return Batch(crops, crops)

    return make


def degraded_batches(corpus: PhotoCorpus, settings: TrainSettings, scale: int) -> BatchMaker:
    """Input is a worn copy, 1/scale of the size (stage III, super-resolution)."""
    side = crop_side(settings.patch, scale)
    corpus.require_room(side)

    def make(rng: np.random.Generator) -> Batch:
        pairs = [
            degrade_with_margin(corpus.crop(rng, None, side), scale, rng, settings.degradation)
            for _ in range(settings.batch)
        ]
        return Batch(_tensor([low for low, _ in pairs]), _tensor([high for _, high in pairs]))

    return make


def holed_batches(corpus: PhotoCorpus, settings: TrainSettings, *, mask_channel: bool) -> BatchMaker:
    """Input is the crop with its holes painted over (stage III, inpainting), as the engine paints them.

    With `mask_channel` they are zero and the hole mask is a fourth channel, without it they are white.
    """
    corpus.require_room(crop_side(settings.patch))

    def make(rng: np.random.Generator) -> Batch:
        crops = _tensor([corpus.crop(rng, None, settings.patch) for _ in range(settings.batch)])
        masks = np.stack([random_hole(settings.patch, rng) for _ in range(settings.batch)])
        hole = torch.from_numpy(masks)[:, None].float()
        painted = torch.cat((crops * (1 - hole), hole), 1) if mask_channel else torch.maximum(crops, hole)
        return Batch(painted, crops, hole)

    return make


def ordered(make: BatchMaker, seed: int, workers: int = 2) -> Generator[Batch, None, None]:
    """Batch 0, 1, 2, … without end, a few of them made ahead. Close it to end its threads."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="adacode-batch")
    try:
        waiting: deque[Future[Batch]] = deque()
        number = 0
        while True:
            while len(waiting) < AHEAD:
                waiting.append(pool.submit(make, np.random.Generator(np.random.PCG64([seed, number]))))
                number += 1
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _tensor(images: list[Photo]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
