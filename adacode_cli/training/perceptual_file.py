"""The perceptual network that a loss compares pictures with, from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from adacode_cli.errors import WeightsError
from adacode_cli.model.perceptual import Lpips


def load_perceptual(path: Path | None) -> Lpips | None:
    """An LPIPS network from safetensors, or None for None. Raises WeightsError."""
    if path is None:
        return None
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError("cannot be read as safetensors", path=path, hint="Give a SqueezeNet LPIPS file.") from error
    network = Lpips(tensors).eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
