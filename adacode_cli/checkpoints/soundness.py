"""What is asked of a file of weights before anything is built of it: sizes that belong together, and numbers.

A file chooses neither how much memory is taken nor how long somebody waits: what it describes is counted against the
tensors that it has, first by arithmetic, then shape by shape on a device without memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.errors import WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode

# Of a network of which only a part is in a file: sizes and layers that no network comes near.
_MOST_SIZE, _MOST_LAYERS = 1 << 16, 1 << 10
# So many names can tensors of a file have on the average: layers may share theirs.
_TIED = 2
_DAMAGED = "The file is damaged. Make it again, or use another one."
_FAILED = "The file is damaged, or its training failed. Use another one."


def require_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises WeightsError, naming file and tensor, where a value is NaN or infinite, or a tensor has no such values.

    Each tensor is read once: its sum is finite, or one of its values is not, or all of them are looked at.
    """
    for key, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.element_size() < torch.float16.itemsize:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise WeightsError(f"{key} has values of the type {kind}", path=path, hint=_DAMAGED)
        values = tensor.float()
        if not bool(torch.isfinite(values.sum())) and not bool(torch.isfinite(values).all()):
            raise WeightsError(f"{key} has values that are not finite", path=path, hint=_FAILED)


def require_stored(tensors: Mapping[str, Tensor], num_bytes: int, path: Path) -> None:
    """Raises WeightsError unless these are plain tensors whose values a file of `num_bytes` holds.

    A pickle can describe a view that repeats one value a million million times, and tensors of other kinds.
    """
    for key, tensor in tensors.items():
        plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
            raise WeightsError(f"{key} is no plain tensor", path=path, hint=_DAMAGED)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > _TIED * num_bytes:
        what = f"describes {claimed} bytes of tensors in a file of {num_bytes} bytes"
        raise WeightsError(what, path=path, hint=_DAMAGED)


def require_plausible(config: NetworkConfig, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises WeightsError for a network that is clearly larger than its tensors, before one of that size is built."""
    swins = [swin for swin in (config.encoder_swin, config.predictor_swin) if swin]
    # Every level has a convolution of its channels with themselves; windows have a table of their positions.
    values = [max(config.channels) ** 2, *(size * dim for size, dim in config.codebooks)]
    values += [n for swin in swins for n in (swin.window**2 * swin.heads, config.channels[-1] * swin.mlp_ratio)]
    num_values = sum(tensor.numel() for tensor in tensors.values())
    if config.least_layers > len(tensors) or max(values) > num_values:
        raise WeightsError("holds fewer values than the network that it describes", path=path, hint=_DAMAGED)


def without_memory(config: NetworkConfig, path: Path | None = None) -> AdaCode:
    """A network that has shapes and no values. Raises WeightsError for sizes that no network comes near."""
    swins = [swin for swin in (config.encoder_swin, config.predictor_swin) if swin]
    sizes = [*config.channels, *(n for book in config.codebooks for n in book)]
    sizes += [n for swin in swins for n in (swin.heads, swin.mlp_ratio)]
    if config.least_layers > _MOST_LAYERS or max(sizes) > _MOST_SIZE:
        raise WeightsError("describes a network larger than any that there is", path=path, hint=_DAMAGED)
    with torch.device("meta"):
        return AdaCode(config)
