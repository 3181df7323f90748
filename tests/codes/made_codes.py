"""Codes without a network: any sizes, any values that fit them."""

from dataclasses import replace

import numpy as np

from adacode_cli.codes.image import Codes, DecoderIdentity

DEPTHS = (np.uint8, np.uint16, np.float32)


def made_codes(height=37, width=50, *, books=(300, 6), levels=1, stride=8, dtype=np.uint8, padding=1, seed=0, **others):
    """An image whose grid is `padding` cells larger than it must be."""
    rng = np.random.default_rng(seed)
    rows, columns = (-(-side // stride) + padding for side in (height, width))
    planes = tuple(books) * levels
    codes = np.stack([rng.integers(0, size, (rows, columns)) for size in planes]).astype(np.uint16)
    steps = rng.integers(-(2**15) + 1, 2**15, (len(books), rows, columns)).astype(np.int16)
    decoder = DecoderIdentity("tiny", bytes(range(16)))
    made = Codes(height, width, False, np.dtype(dtype), stride, planes, codes, steps, decoder)
    return replace(made, **others)


def made_alpha(height, width, dtype, seed=0):
    """Noisy coverage, with fully clear and fully opaque places."""
    share = np.clip(np.random.default_rng(seed).normal(0.5, 0.6, (height, width)), 0, 1).astype(np.float32)
    return share if dtype == np.float32 else (share * np.iinfo(dtype).max).astype(dtype)


def assert_equal(one, other):
    """Every field, arrays bit for bit."""
    for field, value in vars(one).items():
        found = getattr(other, field)
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype, field
            np.testing.assert_array_equal(found, value, err_msg=field)
        else:
            assert found == value, field
