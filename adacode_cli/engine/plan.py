"""How an image is cut for the network: tile and overlap in input pixels, decided before any work."""

from __future__ import annotations

from dataclasses import dataclass

from adacode_cli.geometry import Box, tiles
from adacode_cli.model.config import NetworkConfig

# Live bytes of one pass, measured on a CPU (`compact` and the published sizes, fp32 and bf16 autocast, 0.3 to 9
# megapixels of output) and linear in the pixels. In each output pixel: 6.4 maps as wide as the widest, and a rest for
# attention on the latent grid and for float32 results. From 0 to 18 % above what was measured.
_WIDEST_MAPS = 6.4
_REST_BYTES = 75
# Context around a tile, in output pixels: one window of the latent grid.
DEFAULT_OVERLAP_PX = 64
# One window of the latent grid too: a smaller tile would be context and little else.
SMALLEST_TILE_PX = 64


@dataclass(frozen=True)
class Plan:
    """keep: boxes that part the padded input, each a multiple of `step` input pixels; overlap: context around them."""

    keep: tuple[Box, ...]
    overlap: int
    step: int
    height: int
    width: int


def bytes_per_output_pixel(config: NetworkConfig, itemsize: int) -> float:
    """Estimate of a pass's peak memory for each output pixel, context included, with maps of `itemsize` bytes."""
    widest = max(c / float(config.grid * 2**level) ** 2 for level, c in enumerate(config.channels))
    return _WIDEST_MAPS * itemsize * widest + _REST_BYTES


def plan_tiles(
    config: NetworkConfig,
    height: int,
    width: int,
    *,
    tile: str | int,
    overlap_px: int | None,
    budget: float,
    itemsize: int,
) -> Plan:
    """Tiles of a padded input of height × width input pixels.

    `tile`: "auto" (as large as `budget` bytes allow, context included), "none", or a side in output pixels.
    `overlap_px`: context in output pixels, rounded up to whole windows; None for the default.
    """
    step, scale = config.pad_multiple, config.scale
    overlap_px = DEFAULT_OVERLAP_PX if overlap_px is None else overlap_px
    overlap = -(-overlap_px // (scale * step)) * step
    whole = max(height, width)
    if tile == "none":
        side = whole
    elif tile == "auto":
        area = max(0.0, budget) / bytes_per_output_pixel(config, itemsize) / scale**2
        side = whole if area >= height * width else int(area**0.5) - 2 * overlap
    else:
        side = int(tile) // scale
    side = max(step, side // step * step)
    return Plan(tuple(tiles(height, width, side)), overlap, step, height, width)
