"""A test set and a tiny network for each task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_testset import ORIGINALS, hole_of, save, small

from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise


@pytest.fixture(scope="session")
def testset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("testset")
    for name, image in ORIGINALS.items():
        save(folder / "hr" / f"{name}.png", image)
        save(folder / "lr_x2" / f"{name}.bmp", small(name, 2))
        save(folder / "lr_x4" / f"{name}.png", small(name, 4))
        save(folder / "mask" / f"{name}.png", hole_of(name).astype(np.uint8) * 255)
    (folder / "hr" / "readme.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> dict[str, Path]:
    """A tiny network a task, with random values."""
    folder, common = (
        tmp_path_factory.mktemp("weights"),
        {"channels": (8, 16), "grid": 4, "stem": "shuffle", "norm": "none"},
    )
    upsampled = {"base": "upsampled", "codebooks": ((8, 4),)}
    configs = {
        "sr-2": NetworkConfig(task="sr", scale=2, **common, **upsampled),
        "sr-4": NetworkConfig(task="sr", scale=4, **common, **upsampled),
        "inpaint": NetworkConfig(task="inpaint", mask_channel=True, base="filled", codebooks=((8, 4),), **common),
        "reconstruct": NetworkConfig(task="reconstruct", codebooks=((8, 4),), **common),
    }
    for name, config in configs.items():
        torch.manual_seed(0)
        network = AdaCode(config)
        initialise(network)
        write_weights(folder / f"{name}.safetensors", Weights("whole", config, Provenance(), network.state_dict()))
    return {name: folder / f"{name}.safetensors" for name in configs}
