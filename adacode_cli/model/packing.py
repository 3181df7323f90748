"""Convolutions over blocks of pixels, made to fit blocks of another size: how a network changes its scale."""

from __future__ import annotations

from torch import Tensor


def repacked(weight: Tensor, pack: int, new: int) -> Tensor:
    """C×(3·pack²)×h×w, for blocks of pack×pack RGB pixels → C×(3·new²)×h×w, for blocks of new×new; the dtype stays.

    Shown an image, the result answers as the given weight would on that image enlarged by repetition (smaller blocks),
    or made smaller by averages (larger blocks). Both sizes are powers of two.
    """
    channels, kernel = weight.shape[0], weight.shape[2:]
    if new <= pack:
        return weight.reshape(channels, 3, new, pack // new, new, pack // new, *kernel).sum((3, 5)).flatten(1, 3)
    times = new // pack
    parts = weight.reshape(channels, 3, pack, 1, pack, 1, *kernel) / times**2
    return parts.expand(-1, -1, -1, times, -1, times, -1, -1).reshape(channels, 3 * new**2, *kernel)


def averaged_shuffle(weight: Tensor, shuffle: int) -> Tensor:
    """(3·shuffle²)×…, for blocks of shuffle×shuffle RGB pixels → (3·(shuffle/2)²)×…, whose pixels are means of four.

    For the weight of a last convolution and for its bias. `shuffle` is even.
    """
    half = shuffle // 2
    return weight.reshape(3, half, 2, half, 2, *weight.shape[1:]).mean((2, 4)).reshape(3 * half**2, *weight.shape[1:])
