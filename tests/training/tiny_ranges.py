"""Networks small enough for tests, with ranges for 8 bits, and images for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tiny_families import clean_batch, packed, plain
from tiny_recipes import tiny_recipe, tiny_session
from tiny_trunks import trunked

from adacode_cli.checkpoints.format import read_weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.evaluation.calibration import measured
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import InputRange, Ranges
from adacode_cli.training.batches import Batch
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.recipe import Recipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_restore

# Layouts that round different convolutions, and enlarge at different places.
LAYOUTS = {
    "trunk": trunked(4),
    "holes": replace(packed("inpaint"), coarse_passes=1),
    "published": plain("sr", 2),
}


def lively(config: NetworkConfig, seed: int = 2) -> AdaCode:
    """A network of random values whose codes have an effect on its image."""
    network = fresh_network(config, seed)
    if network.trunk is not None:
        torch.nn.init.normal_(network.trunk.join.weight, std=0.05)
    return network


def pair(config: NetworkConfig, seed: int, side: int = 128) -> Batch:
    """Two drawn images as the network's input, reduced or with a hole, and as they are: `side` output pixels."""
    clean = clean_batch(seed, side=side).target_BCHW
    if config.mask_channel:
        hole = torch.zeros(2, 1, side, side)
        hole[..., 20:60, 30:50] = 1
        return Batch(torch.cat((clean * (1 - hole), hole), 1), clean, hole)
    return Batch(torch.nn.functional.avg_pool2d(clean, config.scale), clean)


def ranges_of(network: AdaCode, coarse: float = 1.0) -> Ranges:
    """Measured ranges; coarse: factor of their steps."""
    found = measured(network, [pair(network.config, seed).input_BCHW for seed in (50, 60)])
    return {name: InputRange(coarse * one.steps_C, one.zero) for name, one in found.items()}


def ranged_file(folder: Path, shards: Path, fused: Path, recipe: Recipe | None = None, **task: object) -> Path:
    """What one step of stage III makes (recipe: with another one), and the ranges of it, as one file of weights."""
    task = {"task": "sr", "scale": 2} | task
    session = tiny_session(shards, RunFolder(folder), recipe or tiny_recipe(steps=1))
    assert run_restore(session, fused, **task)
    path = folder / f"{session.written[0]}.safetensors"
    network, _ = load_network((path,))
    target = folder / "ranged.safetensors"
    write_weights(target, replace(read_weights(path), ranges=ranges_of(network)))
    return target
