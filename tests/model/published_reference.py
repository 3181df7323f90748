"""The recorded reference: layouts, full-size checkpoints made on the spot, and golden outputs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

REFERENCE = Path(__file__).parents[1] / "reference"
LAYOUTS = ("basis", "reconstruct", "inpaint", "sr_x2", "sr_x4")

_fill = runpy.run_path(str(REFERENCE / "fill.py"))["fill"]


def layout(name: str) -> dict:
    return json.loads((REFERENCE / "layouts" / f"{name}.json").read_text(encoding="utf-8"))


def meta_state(name: str) -> dict[str, Tensor]:
    """A layout's parameters with shapes and no values."""
    keys = layout(name)["keys"]
    return {k: torch.empty(v["shape"], device="meta") for k, v in keys.items() if v["kind"] == "parameter"}


def published_state(name: str, seed: int) -> dict[str, Tensor]:
    """A published state dict of full size, with the reference's values for `seed`."""
    return {k: torch.from_numpy(np.asarray(v)) for k, v in _fill(layout(name), seed).items()}


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "golden" / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)
