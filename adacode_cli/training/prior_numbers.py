"""The networks of a prior, learnt in float → the whole numbers of `codes.prior.Prior`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from adacode_cli.codes.prior import FEATURE, HIDDEN, SHIFT
from adacode_cli.codes.probabilities import PER_LOG_SCALE, PER_NAT, PER_STEP
from adacode_cli.training.prior_networks import CodePrior, WeightPrior, means_scales_logits

Tensors = dict[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]
_MOST = 127  # weights of 8 bits are from -127 to 127
_LEAST_ROW = 1e-9


def whole_numbers(codes: CodePrior, weights: WeightPrior) -> Tensors:
    """Tensors by their names, as `Prior` takes them."""
    tensors: Tensors = {}
    groups = (
        ("codes.embeddings", codes.embeddings),
        ("weights.embeddings", weights.embeddings),
        ("weights.products", weights.products),
    )
    for name, embeddings in groups:
        for k, embedding in enumerate(embeddings):
            rounded = np.rint(_array(embedding) * FEATURE)
            tensors[f"{name}.{k}"] = np.clip(rounded, -_MOST, _MOST).astype(np.int8)
    for i, network in enumerate(codes.networks):
        tensors |= _network(f"codes.{i}", network, None)
    for i, network in enumerate(weights.networks):
        tensors |= _network(f"weights.{i}", network, _mixture_outputs(network))
    return tensors


def _mixture_outputs(network: nn.Module) -> tuple[Floats, Floats]:
    """What the last layer's outputs are multiplied by, and what is then added: as `of_mixture` takes them."""
    num = len(network[-1].bias)  # type: ignore[index]
    units = [PER_STEP, PER_LOG_SCALE, PER_NAT]

    def in_units(outputs: torch.Tensor) -> Floats:
        parts = (_array(part) * unit for part, unit in zip(means_scales_logits(outputs), units, strict=True))
        return np.concatenate(list(parts))

    offset = in_units(torch.zeros(num, dtype=torch.float64))
    return in_units(torch.ones(num, dtype=torch.float64)) - offset, offset


def _network(name: str, network: nn.Module, outputs: tuple[Floats, Floats] | None) -> Tensors:
    first, second, last = network[0], network[2], network[4]  # type: ignore[index]
    size = last.bias.shape[0]
    factor, offset = (np.full(size, float(PER_NAT)), np.zeros(size)) if outputs is None else outputs
    return {
        **_layer(f"{name}.1", first, FEATURE, np.full(first.bias.shape[0], float(HIDDEN)), 0),
        **_layer(f"{name}.2", second, HIDDEN, np.full(second.bias.shape[0], float(HIDDEN)), 0),
        **_layer(f"{name}.3", last, HIDDEN, factor, offset),
    }


def _layer(name: str, layer: nn.Linear, unit: int, factor: Floats, offset: Floats | float) -> Tensors:
    """A layer for inputs in 1/`unit`, whose outputs are multiplied by `factor`, and then `offset` is added."""
    matrix = _array(layer.weight) * factor[:, None]
    bias = _array(layer.bias) * factor + offset
    largest = np.abs(matrix).max(1) + _LEAST_ROW
    # Half a unit is added, because the last bits are dropped.
    return {
        f"{name}.weight": np.rint(matrix / largest[:, None] * _MOST).astype(np.int8),
        f"{name}.multiplier": np.rint(largest / _MOST / unit * 2.0**SHIFT).astype(np.int32),
        f"{name}.bias": np.rint((bias + 0.5) * 2.0**SHIFT).astype(np.int64),
    }


def _array(tensor: torch.Tensor) -> Floats:
    return tensor.detach().cpu().double().numpy()


def order_of(book_sizes: Sequence[int]) -> tuple[int, ...]:
    """The bases in the order in which their codes are coded: the small codebooks first, which cost the least bits."""
    return tuple(sorted(range(len(book_sizes)), key=lambda k: book_sizes[k]))
