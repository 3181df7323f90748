"""Checks of a file of weights before a network is built from it: consistent sizes, keys, and finite values.

A file must not decide how much memory or time its reading takes. Therefore the network that it describes is compared
with the tensors that it has: first by their number of values, then shape by shape on a device without memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import astuple
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from adacode_cli.errors import WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode

# Limits for a network of which a file has only a part: far more values and layers than any network has.
_MAX_SIZE, _MAX_LAYERS = 1 << 16, 1 << 10
# The number of names that a tensor of a file can have on average: layers may share tensors.
_TIED = 2
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of a value
_DAMAGED = "The file is damaged. Make it again, or use another one."
_FAILED = "The file is damaged, or its training failed. Use another one."


def require_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises WeightsError, naming file and tensor, where a value is NaN or infinite, or a tensor has another type.

    The bits are compared as integers: as an integer, the largest finite float is just below infinity, and NaN is above
    it. Read as unsigned integers, negative floats follow in the same order.
    """
    for key, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.element_size() < torch.float16.itemsize:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise WeightsError(f"{key} has values of the type {kind}", path=path, hint=_DAMAGED)
        # NumPy, because torch starts its threads for each tensor, which takes longer than the work.
        values = tensor.detach().view(_WHOLE[tensor.element_size()]).numpy()
        unsigned = values.view(f"u{tensor.element_size()}")
        infinity, negative = _infinities(tensor.dtype)
        if values.max(initial=0) >= infinity or unsigned.max(initial=0) >= negative:
            raise WeightsError(f"{key} has values that are not finite", path=path, hint=_FAILED)


def as_float32(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Tensors that `require_finite` accepts, as float32. Raises WeightsError for a value that float32 cannot hold."""
    made = {key: tensor.float() for key, tensor in tensors.items()}
    require_finite({key: made[key] for key in made if tensors[key].dtype == torch.float64}, path)
    return made


@cache
def _infinities(dtype: torch.dtype) -> tuple[int, int]:
    """The bits of infinity and of its negative, as whole numbers."""
    infinity = int(torch.tensor(torch.inf, dtype=dtype).view(_WHOLE[dtype.itemsize]))
    return infinity, infinity + (1 << (8 * dtype.itemsize - 1))


def require_stored(tensors: Mapping[str, Tensor], num_bytes: int, path: Path) -> None:
    """Raises WeightsError unless these are plain tensors whose values a file of `num_bytes` holds.

    A pickle can describe a view that repeats one value any number of times, and tensors of other kinds.
    """
    for key, tensor in tensors.items():
        plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
            raise WeightsError(f"{key} is not a plain tensor", path=path, hint=_DAMAGED)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > _TIED * num_bytes:
        what = f"describes {claimed} bytes of tensors in a file of {num_bytes} bytes"
        raise WeightsError(what, path=path, hint=_DAMAGED)


def require_plausible(config: NetworkConfig, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises WeightsError for a network that is clearly larger than its tensors, before one of that size is built."""
    # Every level has a convolution of its channels with themselves; windows have a table of their positions.
    values = [max(config.channels) ** 2, *(size * dim for size, dim in config.codebooks)]
    values += [n for swin in config.swins for n in (swin.window**2 * swin.heads, config.channels[-1] * swin.mlp_ratio)]
    num_values = sum(tensor.numel() for tensor in tensors.values())
    if config.min_layers > len(tensors) or max(values) > num_values:
        raise WeightsError("holds fewer values than the network that it describes", path=path, hint=_DAMAGED)


def without_memory(config: NetworkConfig, path: Path | None = None) -> AdaCode:
    """A network with shapes and without values. Raises WeightsError for sizes that are far too large."""
    sizes = [*config.channels, *(n for book in config.codebooks for n in book)]
    sizes += [n for swin in config.swins for n in (swin.heads, swin.mlp_ratio)]
    sizes += astuple(config.encoder_context) if config.encoder_context else ()
    if config.min_layers > _MAX_LAYERS or max(sizes) > _MAX_SIZE:
        raise WeightsError("describes a network that is larger than any supported one", path=path, hint=_DAMAGED)
    with torch.device("meta"), _WithoutInitialisation():
        return AdaCode(config)


class _WithoutInitialisation(TorchFunctionMode):
    """Skips the random initialisation of layers. Without memory it has no effect, but torch would import SymPy and some
    800 other modules for it, which takes seconds.
    """

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        named = kwargs or {}
        where = getattr(function, "__module__", "")  # a function that reads an attribute has none
        if where == torch.nn.init.__name__ or function in (Tensor.uniform_, Tensor.normal_):
            return named["tensor"] if "tensor" in named else args[0]
        return function(*args, **named)


def key_problems(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Every key that is missing, too many, or of another shape than expected; "" where both agree."""
    kinds = {
        "missing keys": expected.keys() - found.keys(),
        "unexpected keys": found.keys() - expected.keys(),
        "wrong shapes": {key for key in expected.keys() & found.keys() if expected[key].shape != found[key].shape},
    }
    return "; ".join(f"{kind}: {listing(keys)}" for kind, keys in kinds.items() if keys)


def listing(keys: Collection[str], most: int = 8) -> str:
    """Names in order, at most `most` of them, the rest counted."""
    shown = ", ".join(sorted(keys)[:most])
    return shown if len(keys) <= most else f"{shown} and {len(keys) - most} more"
