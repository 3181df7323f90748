"""Whether an ONNX model gives what its network gives: onnxruntime and torch compute test images, and are compared.

Both round differently, and a code is a discrete decision: where two codes of a codebook are almost equally near, both
may choose differently, which is no fault of the model. Therefore, of some test images of one size, the one is compared
on which all codes are decided most clearly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.export.portable import PortableNetwork, WholeCodebook
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import with_hole
from adacode_cli.model.network import AdaCode

# The largest difference of a value between 0 and 1 that is accepted: a fortieth of a level of 8 bits.
TOLERANCE = 1e-4
_CANDIDATES = 6


def largest_difference(
    content: bytes, network: AdaCode, model: PortableNetwork
) -> tuple[float, tuple[tuple[int, int], ...]]:
    """The largest difference of any value, and the sizes (height, width) of the images that were compared.

    content: of the ONNX model. network: what it has to equal, computed in its own way; model: what was traced. NaN
    anywhere gives NaN.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # On Windows it would report that it runs.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    sizes = _sizes(network.config)
    differences = []
    for height, width in sizes:
        inputs = clear_inputs(model, height, width)
        made = session.run(None, {name: one.numpy() for name, one in zip(names, inputs, strict=True)})[0]
        expected = restored(network, *inputs).numpy()
        differences.append(_difference(made, expected))
    return float(np.max(differences)), sizes


def _sizes(config: NetworkConfig) -> tuple[tuple[int, int], ...]:
    """None has the side that was traced; one is smaller than a window, one has several and needs padding, and of a
    network with several coarse passes, one is so large that all of them are used.
    """
    multiple = config.pad_multiple
    sizes = (max(1, multiple // 2 - 1), multiple), (multiple + 3, 2 * multiple - 1)
    if config.coarse_passes < 2:
        return sizes
    deep = multiple * 2 ** (config.coarse_passes - 1) + 3
    return *sizes, (deep, deep + 2)


def _difference(made: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    return float(np.abs(made - expected).max()) if made.shape == expected.shape else np.inf


@torch.no_grad()
def restored(network: AdaCode, image_BCHW: Tensor, mask_B1HW: Tensor | None = None) -> Tensor:
    """What `PortableNetwork` has to equal, from the network's own forward pass."""
    if mask_B1HW is None:
        out: Tensor = network(image_BCHW).image_BCHW
        return out.clamp(0, 1)
    x = with_hole(image_BCHW, mask_B1HW, mask_channel=network.config.mask_channel)
    return torch.where(mask_B1HW > 0, network(x).image_BCHW, image_BCHW).clamp(0, 1)


def clear_inputs(model: PortableNetwork, height: int, width: int) -> tuple[Tensor, ...]:
    """Of some test images, that on which the codes are decided most clearly; with a mask where the task has one."""
    candidates = [_inputs(model, height, width, seed) for seed in range(_CANDIDATES)]
    return max(candidates, key=lambda inputs: _least_gap(model, inputs))


def _inputs(model: PortableNetwork, height: int, width: int, seed: int) -> tuple[Tensor, ...]:
    """A smooth colourful image with fine noise, and a hole in it."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    image = F.interpolate(coarse, size=(height, width), mode="bicubic")
    image = (image + 0.05 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    if not model.config.purpose.fills_hole:
        return (image,)
    mask = torch.zeros(1, 1, height, width)
    mask[..., height // 4 : height // 2 + 1, width // 3 : width // 2 + 1] = 1
    return image, mask


@torch.no_grad()
def _least_gap(model: PortableNetwork, inputs: tuple[Tensor, ...]) -> float:
    """The least gap between the nearest and the second nearest code of any cell, as a share of the distances."""
    with _watched(model) as gaps:
        model(*inputs)
    return min(gaps, default=np.inf)


@contextmanager
def _watched(model: PortableNetwork) -> Iterator[list[float]]:
    """Within the block, each search in a codebook adds its least gap to the list."""
    gaps: list[float] = []

    def add_gap(distances: Tensor) -> None:
        if distances.shape[-1] > 1:
            first, second = distances.topk(2, largest=False).values.unbind(-1)
            gaps.append(float(((second - first) / distances.abs().amax(-1).clamp(min=1e-12)).min()))

    books = [cast(WholeCodebook, book) for book in model.network.codebook.books]
    for book in books:
        book.on_distances = add_gap
    try:
        yield gaps
    finally:
        for book in books:
            book.on_distances = None
