"""Values for every tensor of a published layout, from its key, its shape and a seed alone.

The recorded outputs in `golden/` are what the reference network returned with exactly these values.
"""

from __future__ import annotations

import zlib

import numpy as np

GAIN = {"out_conv": 0.1, "weight_predictor.blocks.1": 0.1, "before_quant_group": 4.0}


def value(key: str, shape: list[int], seed: int) -> np.ndarray:
    """One tensor.

    Convolution and linear weights are normal with deviation gain/sqrt(fan_in), norm scales are near 1, biases are
    small, codebook entries have unit variance (so that few nearest-code decisions are close to ties), and the gains
    keep outputs near the image range and the features before quantisation spread over many codes.
    """
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(key.encode())]))
    x = rng.standard_normal(size=shape, dtype=np.float32)
    if key.endswith("embedding.weight"):
        return x
    if key.endswith("relative_position_bias_table"):
        return 0.5 * x
    if len(shape) >= 2:
        gain = next((g for prefix, g in GAIN.items() if key.startswith(prefix)), 0.5)
        return x * np.float32(gain / np.sqrt(np.prod(shape[1:])))
    if key.endswith("weight"):
        return 1 + 0.1 * x
    return 0.1 * x + (0.5 if key == "out_conv.bias" else 0)


def fill(layout: dict, seed: int) -> dict[str, np.ndarray]:
    """Every parameter of the layout; buffers (index tables, masks) are the network's own to rebuild."""
    return {k: value(k, v["shape"], seed) for k, v in layout["keys"].items() if v["kind"] == "parameter"}
