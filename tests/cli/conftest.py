"""The program as a process of its own, in a directory of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from adacode_process import Program
from PIL import Image


@pytest.fixture
def adacode(tmp_path) -> Program:
    """The program with the nearest-neighbour restorer, started in `tmp_path`."""
    return Program(tmp_path, network=False)


@pytest.fixture
def real_adacode(tmp_path) -> Program:
    """The program as it is, started in `tmp_path`."""
    return Program(tmp_path, network=True)


@pytest.fixture
def photo(tmp_path):
    """Writes a noisy image below `tmp_path`: photo("a/b.jpg", (width, height), mode)."""

    def write(name: str, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
        Image.fromarray(pixels[..., 0] if len(mode) == 1 else pixels).save(path)
        return path

    return write
