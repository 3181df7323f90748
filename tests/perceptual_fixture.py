"""A perceptual network of the right layout with random values, so that no file of real ones is needed."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

_FIRES = {2: 8, 3: 8, 4: 12, 5: 12, 6: 16, 7: 16, 8: 20, 9: 20}  # number → half of its output channels
_TAPPED = (3, 5, 6, 7, 8, 9)


def save_perceptual(path: Path) -> Path:
    """SqueezeNet's layout with a few channels; heads are positive, as LPIPS's are."""
    generator = torch.Generator().manual_seed(0)

    def weight(out: int, into: int, side: int) -> torch.Tensor:
        return torch.randn(out, into, side, side, generator=generator) / (into * side**2) ** 0.5

    tensors = {"conv1.w": weight(8, 3, 3) / 64, "conv1.b": torch.zeros(8)}
    channels, taps = 8, [8]
    for i, half in _FIRES.items():
        for name, out, into, side in (
            ("squeeze1x1", 4, channels, 1),
            ("expand1x1", half, 4, 1),
            ("expand3x3", half, 4, 3),
        ):
            tensors[f"fire{i}/{name}.w"], tensors[f"fire{i}/{name}.b"] = weight(out, into, side), torch.zeros(out)
        channels = 2 * half
        taps += [channels] if i in _TAPPED else []
    for i, num in enumerate(taps):
        tensors[f"head.{i}"] = torch.rand(1, num, 1, 1, generator=generator)
    save_file(tensors, path)
    return path
