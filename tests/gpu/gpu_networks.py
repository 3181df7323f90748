"""The networks of these tests: small ones of every layout, and the bundled ones of every task."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from tiny_networks import LAYOUTS, lively, tensor

from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner, RunResult
from adacode_cli.model.network import AdaCode

CPU = torch.device("cpu")
TASKS = {"sr-x4": ("sr", 4), "sr-x2": ("sr", 2), "inpaint": ("inpaint", 1), "reconstruct": ("reconstruct", 1)}
CUDA = torch.cuda.is_available()
# The CPU has tests of every layout of its own.
NETWORKS = [*TASKS, *(LAYOUTS if CUDA else ("compact sr ×4", "published sr ×4", "published inpaint", "trunk sr ×4"))]
HEIGHT, WIDTH = (300, 420) if CUDA else (100, 140)
_SLOW = pytest.mark.skipif(not CUDA, reason="short floats take minutes on a CPU that lacks them")
SHORT = [pytest.param(name, marks=_SLOW) for name in ("bf16", "fp16")]
PRECISIONS = ["fp32", *SHORT]


def made(name: str) -> AdaCode:
    """A bundled network by its task, or a small one by its layout; a new object each time, as a Runner moves it."""
    if name in TASKS:
        return WeightsSource("compact", None).network(*TASKS[name])[0]
    return lively(LAYOUTS[name])


def picture(name: str, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    """A photograph with sides of so many output pixels, about; with a hole where the network takes one."""
    config = made_config(name)
    return tensor(config, -(-height // config.scale), -(-width // config.scale), seed)


@lru_cache(maxsize=64)
def made_config(name: str):
    return made(name).config


def run(name: str, device: torch.device, x: torch.Tensor, *, precision: str = "fp32", tile="none") -> RunResult:
    """One image through a network in a Runner of its own."""
    return Runner(made(name), device, RunOptions(precision, tile)).run(x, deep=False)


def same_codes(a: RunResult, b: RunResult) -> float:
    """The part of all cells of all bases in which two results chose the same code."""
    pairs = zip(a.codes, b.codes, strict=True)
    return float(np.mean([np.mean((p == q).numpy()) for p, q in pairs]))


def cells_apart(a: RunResult, b: RunResult, scale_px: int) -> torch.Tensor:
    """H×W bool of the images: within reach of a cell in which two results chose other codes.

    A code is a discrete decision. Where two are equally near, a last bit decides, and the image around that cell is
    another one; it says nothing about how exact the rest is.
    """
    differs = torch.stack([p != q for p, q in zip(a.codes, b.codes, strict=True)]).any(0).float()[None, None]
    reach = 2 * (64 // scale_px) + 1
    around = torch.nn.functional.max_pool2d(differs, reach, 1, reach // 2)[0, 0] > 0
    height, width = a.image_CHW.shape[1:]
    return around.repeat_interleave(scale_px, 0).repeat_interleave(scale_px, 1)[:height, :width]
