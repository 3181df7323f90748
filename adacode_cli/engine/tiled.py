"""One padded input through the network tile by tile, blended; running out of memory halves tiles and goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adacode_cli.engine.memory import is_out_of_memory, release
from adacode_cli.engine.plan import Plan
from adacode_cli.errors import DeviceError
from adacode_cli.geometry import Box, blend_weight
from adacode_cli.model.config import NetworkConfig

# prepared input of a tile (1×C×h×w) → detail 1×3×(h·s)×(w·s) and mixing weights 1×K×h'×w', float32 on the CPU
RunTile = Callable[[Tensor], tuple[Tensor, Tensor]]

# Of the context around a tile, the outer three quarters are seen and thrown away: near its edge a tile sees padding
# instead of the picture. Blending over all of the context cost 4 to 7 dB against the whole picture (64 px of context,
# 128 and 256 px tiles, a trained compact decoder), blending over a quarter 0.3 dB against no blending at all.
_BLENDED = 4


@dataclass
class Canvas:
    """Weighted sums of what the tiles returned, for the picture and for the latent grid."""

    config: NetworkConfig
    image_CHW: Tensor
    image_weight: Tensor
    mixing_KHW: Tensor
    mixing_weight: Tensor

    @classmethod
    def blank(cls, config: NetworkConfig, height: int, width: int) -> Canvas:
        """An empty canvas for an input of height × width."""
        h, w = height * config.scale, width * config.scale
        lh, lw = h // config.latent_stride, w // config.latent_stride
        zeros = torch.zeros
        return cls(config, zeros(3, h, w), zeros(h, w), zeros(config.num_bases, lh, lw), zeros(lh, lw))

    def add(self, keep: Box, read: Box, overlap: int, detail: Tensor, mixing: Tensor) -> None:
        """Blends one tile's results in."""
        s, stride = self.config.scale, self.config.latent_stride
        for target, total, value, divide in (
            (self.image_CHW, self.image_weight, detail, 1),
            (self.mixing_KHW, self.mixing_weight, mixing, stride),
        ):
            k, r = keep.scaled(s, divide), read.scaled(s, divide)
            weight = torch.from_numpy(blend_weight(k, r, overlap * s // divide // _BLENDED))
            rows, columns = r.slices
            target[:, rows, columns].addcmul_(value[0], weight)
            total[rows, columns] += weight

    def finished(self) -> tuple[Tensor, Tensor]:
        """3×H×W detail and K×h×w mixing weights; the canvas is used up."""
        return self.image_CHW.div_(self.image_weight), self.mixing_KHW.div_(self.mixing_weight)


def run_tiled(
    prepared_BCHW: Tensor, config: NetworkConfig, plan: Plan, run_tile: RunTile, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Runs every tile of the plan on `device`; finished tiles are kept when a later one runs out of memory.

    prepared: 1×C×height×width. Returns 3×(H·s)×(W·s) detail and K×h×w mixing weights, float32 on the CPU. Raises
    DeviceError when not even the smallest tile fits.
    """
    canvas = None
    waiting = deque(plan.keep)
    while waiting:
        keep = waiting.popleft()
        read = keep.grown(plan.overlap, plan.height, plan.width)
        rows, columns = read.slices
        result = _attempt(run_tile, prepared_BCHW[..., rows, columns])
        if isinstance(result, str):
            release(device)
            waiting = deque(_halved(keep, waiting, plan.step, result))
            continue
        if keep.area == plan.height * plan.width:
            return result[0][0], result[1][0]
        canvas = canvas or Canvas.blank(config, plan.height, plan.width)
        canvas.add(keep, read, plan.overlap, *result)
    assert canvas is not None, "a plan has at least one tile"
    return canvas.finished()


def _attempt(run_tile: RunTile, tile_BCHW: Tensor) -> tuple[Tensor, Tensor] | str:
    """What `run_tile` returns, or the first line of what it said when memory ran out.

    The exception itself ends here: its traceback would hold every map of the failed pass alive.
    """
    try:
        return run_tile(tile_BCHW)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return (str(error) or type(error).__name__).splitlines()[0]


def _halved(failed: Box, waiting: deque[Box], step: int, said: str) -> list[Box]:
    """The failed tile's halves, then the rest: what is as large would fail as well, at the price of another pass."""
    if failed.halves(step) is None:
        raise DeviceError(
            f"out of memory at the smallest tile ({failed.height}×{failed.width} input pixels and context): {said}",
            hint="Use --overlap 0, --precision bf16 or --device cpu, or close other programs.",
            only_this_picture=True,
        )
    boxes: list[Box] = []
    for box in (failed, *waiting):
        halves = box.halves(step) if box.area >= failed.area else None
        boxes += halves or (box,)
    return boxes
