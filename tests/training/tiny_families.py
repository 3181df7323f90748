"""Networks small enough for tests, in both arrangements that families have; and images to train them on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from adacode_cli.model.config import NetworkConfig, SwinConfig
from adacode_cli.training.batches import Batch

CODES = ((16, 8), (24, 8))
CATEGORIES = ("ground", "sky")
_SWIN = SwinConfig(groups=1, blocks=2, heads=2)


def packed(task: str, scale: int = 1) -> NetworkConfig:
    """As `compact`: pixel shuffles at both ends, no normalisation, a base image, learnt fusions."""
    clean = NetworkConfig(
        task="reconstruct",
        channels=(16, 24),
        grid=4,
        stem="shuffle",
        stem_depth=1,
        encoder_depth=1,
        decoder_depth=1,
        head_depth=1,
        norm="none",
        codebooks=CODES,
        categories=CATEGORIES,
        predictor_swin=_SWIN,
    )
    if task == "basis":
        return replace(clean, task=task, codebooks=CODES[:1], categories=(), predictor_swin=None)
    if task == "reconstruct":
        return clean
    base = "filled" if task == "inpaint" else "upsampled"
    more = {"skip": "fuse", "num_skips": 1, "fuse_depth": 1, "up_depth": 1, "encoder_swin": _SWIN}
    return replace(clean, task=task, scale=scale, base=base, mask_channel=task == "inpaint", **more)


def plain(task: str, scale: int = 1) -> NetworkConfig:
    """As `published`: full resolution at both ends, GroupNorm, skips that are added."""
    clean = NetworkConfig(
        task="reconstruct",
        channels=(32, 32, 32, 64),
        encoder_depth=1,
        up_depth=1,
        decoder_depth=1,
        codebooks=CODES,
        categories=CATEGORIES,
        predictor_swin=_SWIN,
    )
    if task == "basis":
        return replace(clean, task=task, codebooks=CODES[:1], categories=(), predictor_swin=None)
    if task == "reconstruct":
        return clean
    return replace(clean, task=task, scale=scale, skip="add", num_skips=2, encoder_swin=_SWIN)


FAMILIES = {"packed": packed, "plain": plain}


def picture(seed: int, height: int = 160, width: int = 176) -> np.ndarray:
    """H×W×3 uint8: soft colours with hard-edged shapes in front, different for every seed."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(
        rng.uniform(40, 215, (4, 4, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    image = np.clip(soft, 0, 255).astype(np.uint8)
    for _ in range(12):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        cv2.circle(image, (x, y), int(rng.integers(3, 24)), colour, -1)
    return image


def save_photos(folder: Path, categories: tuple[str, ...] = CATEGORIES, each: int = 2) -> Path:
    """`each` images a category as PNG files; returns the folder."""
    for c, category in enumerate(categories):
        (folder / category).mkdir(parents=True)
        for i in range(each):
            cv2.imwrite(str(folder / category / f"{i}.png"), picture(10 * c + i)[..., ::-1])
    return folder


def repeated(*batches: Batch) -> Iterator[Batch]:
    """The same batches over and over."""
    while True:
        yield from batches


def clean_batch(seed: int, num: int = 2, side: int = 64) -> Batch:
    """A batch whose input is its target."""
    crops = np.stack([picture(seed + i, side, side) for i in range(num)])
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    return Batch(x, x)
