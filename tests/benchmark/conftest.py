"""Weights and sizes that are quick to run with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from adacode_cli.benchmark import task_speed, whole
from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A tiny sr ×2 network of random values; its base image makes its results pass the guard."""
    config = NetworkConfig(
        channels=(8, 16), grid=4, stem="shuffle", norm="none", base="upsampled", codebooks=((8, 4),), task="sr", scale=2
    )
    torch.manual_seed(0)
    network = AdaCode(config)
    initialise(network)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_weights(path, Weights("whole", config, Provenance(), network.state_dict()))
    return path


@pytest.fixture(autouse=True)
def small_results(monkeypatch) -> None:
    """Of each task only small results are measured, in few rounds."""
    monkeypatch.setattr(task_speed, "SIDES_PX", (32,))
    monkeypatch.setattr(task_speed, "_SHORT_S", 0.0)


@pytest.fixture(autouse=True)
def small_ceilings(monkeypatch) -> tuple[int, int]:
    """Sides of the matrix and of the map of which a CPU's ceilings are measured: bf16 takes minutes at full size."""
    module = sys.modules[whole.ceiling.__module__]
    monkeypatch.setitem(module._SIDE, "cpu", 96)
    monkeypatch.setitem(module._MAP_SIDE, "cpu", 12)
    return 96, 12
