"""What surrounds the network: the input is padded to whole windows, its holes are filled, and the output is added to a
base image, so that the network has to learn only what interpolation lacks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.model.config import Base, NetworkConfig

_TINY = 1e-6


def reference_size(size: int, multiple: int) -> int:
    """Padded side of the reference function: always at least one pixel more, a full `multiple` if the size is one
    already.

    The amount matters for networks with GroupNorm (recorded reference outputs).
    """
    return (size // multiple + 1) * multiple


def lean_size(size: int, multiple: int) -> int:
    """The least multiple that holds `size`: for our own families, in which nothing depends on the amount."""
    return -(-size // multiple) * multiple


def padded_size(config: NetworkConfig, height: int, width: int) -> tuple[int, int]:
    """Sides of the padded input of an image of height × width input pixels."""
    grow = reference_size if config.norm == "group" else lean_size
    return grow(height, config.pad_multiple), grow(width, config.pad_multiple)


def mirror_index(size: int, padded: int, device: torch.device | None = None) -> Tensor:
    """int64 indices 0 … size-1, then mirrored … as often as needed: a b c → a b c c b a a b …"""
    i = torch.arange(padded, device=device) % (2 * size)
    return torch.where(i < size, i, 2 * size - 1 - i)


def pad_mirrored(image_BCHW: Tensor, height: int, width: int) -> Tensor:
    """B×C×H×W → B×C×height×width, mirrored at the bottom and the right as often as it takes."""
    h, w = image_BCHW.shape[-2:]
    rows, columns = (mirror_index(*sides, image_BCHW.device) for sides in ((h, height), (w, width)))
    return image_BCHW.index_select(2, rows).index_select(3, columns)


def fill_holes(image_BCHW: Tensor, hole_B1HW: Tensor) -> Tensor:
    """Holes filled smoothly from their surroundings by a pull-push pyramid (Gortler et al. 1996, "The Lumigraph").

    image: float, any range; hole: 1 inside the hole, 0 outside. Known pixels come back unchanged. An image that
    is only hole comes back as zeros.
    """
    known = 1 - hole_B1HW
    image, pyramid = image_BCHW * known, []
    while max(image.shape[-2:]) > 1:
        pyramid.append((image, known))
        h, w = image.shape[-2:]
        pad = (0, w % 2, 0, h % 2)
        weight = F.avg_pool2d(F.pad(known, pad), 2) * 4
        mean = F.avg_pool2d(F.pad(image, pad), 2) * 4 / weight.clamp(min=_TINY)
        known = weight.clamp(max=1)
        image = mean * known
    filled = image / known.clamp(min=_TINY)
    for fine, weight in reversed(pyramid):
        up = _twice_as_large(filled)
        filled = fine + (1 - weight) * up[..., : fine.shape[-2], : fine.shape[-1]]
    return filled


def _twice_as_large(image_BCHW: Tensor) -> Tensor:
    """B×C×H×W → B×C×2H×2W, bilinear, pixels as areas."""
    # When an image is enlarged, antialiasing changes nothing. But this function has the same bits for every number of
    # threads, and the usual one has not (torch 2.13). In 8 bits, another last bit can become another rounded value.
    wide = image_BCHW.float() if image_BCHW.dtype.itemsize < torch.float32.itemsize else image_BCHW
    large = F.interpolate(wide, scale_factor=2, mode="bilinear", align_corners=False, antialias=True)
    return large.to(image_BCHW.dtype)


def with_hole(image_BCHW: Tensor, hole_B1HW: Tensor, *, mask_channel: bool) -> Tensor:
    """An image in [0, 1] with its hole (1 inside, 0 outside) as networks know it: zeros and a fourth channel, or white
    paint.
    """
    if mask_channel:
        return torch.cat((image_BCHW * (1 - hole_B1HW), hole_B1HW), 1)
    return torch.maximum(image_BCHW, hole_B1HW)


def prepare_input(image_BCHW: Tensor, kind: Base) -> Tensor:
    """What the encoder sees. Holes of a B×4×H×W input (fourth channel: 1 = hole) are filled for the `kind` that needs
    it.
    """
    if kind != "filled":
        return image_BCHW
    image, hole = image_BCHW[:, :3], image_BCHW[:, 3:]
    return torch.cat((fill_holes(image, hole), hole), 1)


def halve(image_BCHW: Tensor) -> Tensor:
    """B×4×H×W (fourth channel: 1 = hole) → B×4×⌈H/2⌉×⌈W/2⌉: means of the known ones of four pixels.

    Where all four are in the hole (or outside the image) there is still a hole, and the image is zero.
    """
    h, w = image_BCHW.shape[-2:]
    known = F.pad(1 - image_BCHW[:, 3:], (0, w % 2, 0, h % 2))
    image = F.pad(image_BCHW[:, :3], (0, w % 2, 0, h % 2))
    weight = F.avg_pool2d(known, 2)
    hole = (weight <= 0).to(image.dtype)
    return torch.cat((F.avg_pool2d(image * known, 2) / weight.clamp(min=_TINY) * (1 - hole), hole), 1)


def fill_from(image_BCHW: Tensor, half_BCHW: Tensor) -> Tensor:
    """`prepare_input` with the holes filled from a B×3×⌈H/2⌉×⌈W/2⌉ image, enlarged; known pixels as they are."""
    image, hole = image_BCHW[:, :3], image_BCHW[:, 3:]
    up = _twice_as_large(half_BCHW)
    h, w = image.shape[-2:]
    return torch.cat((image * (1 - hole) + up[..., :h, :w] * hole, hole), 1)


def base_image(prepared_BCHW: Tensor, kind: Base, scale: int) -> Tensor | None:
    """B×3×(H·scale)×(W·scale) image to add the network's output to, or None."""
    if kind == "none":
        return None
    image = prepared_BCHW[:, :3]
    if scale == 1:
        return image
    if kind == "nearest":
        return F.interpolate(image, scale_factor=scale, mode="nearest")
    return F.interpolate(image, scale_factor=scale, mode="bicubic", align_corners=False)
