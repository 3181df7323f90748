"""Photographs on disk for `train prepare`, and shards made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tiny_families import packed, picture

from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.prepare.run import prepare
from adacode_cli.training.prepare.settings import PrepareSettings

SMALL = PrepareSettings(crop_px=64, workers=2)


def save(path: Path, rgb: np.ndarray, quality: int | None = None) -> Path:
    """PNG or JPEG by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]), parameters)
    return path


def save_good(folder: Path, categories=("ground", "sky"), each: int = 4, seed: int = 0) -> Path:
    """`each` photographs a category that no measure objects to, of 176×160 px"""
    for c, category in enumerate(categories):
        for i in range(each):
            save(folder / category / f"{i}.png", picture(seed + 100 * c + i))
    return folder


def save_network(path: Path, seed: int = 0) -> Path:
    """A tiny reconstruction network with first values."""
    network = fresh_network(packed("reconstruct"), seed)
    write_weights(path, Weights("whole", network.config, Provenance(), network.state_dict()))
    return path


def made(photos: Path, output: Path, **changes) -> dict:
    """The manifest of shards with crops of 64 px."""
    return prepare(photos, output, replace(SMALL, **changes)).manifest


def reasons(manifest: dict) -> dict[str, str]:
    """File left out → reason."""
    return {entry["file"]: entry["reason"] for entry in manifest["left_out"]["files"]}


def contents(folder: Path) -> dict[str, bytes]:
    """Name → bytes of all files, hidden ones too."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
