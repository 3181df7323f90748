"""Categories of unsorted photographs: features of photographs, and k-means over them.

Our encoders represent textures, contrasts and colours, not subjects, so the categories that are found differ in these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from adacode_cli.checkpoints.load import WeightsSource, load_network
from adacode_cli.model.input import pad_mirrored, padded_size, prepare_input
from adacode_cli.model.network import AdaCode
from adacode_cli.training.shards import Pixels

BUNDLED = "compact-reconstruct"
# Photographs are reduced to about this number of pixels, so that their size does not matter.
_PIXELS = 384 * 384
Rows = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
_ATTEMPTS = 10
_MAX_ROUNDS = 100


def load_describer(path: Path | None) -> PhotoDescriber:
    """A describer with the network in a weights file, or with the bundled one for reconstruct. Raises WeightsError."""
    if path is None:
        return PhotoDescriber(WeightsSource(BUNDLED).network("reconstruct", 1)[0])
    return PhotoDescriber(load_network((path,))[0])


class PhotoDescriber:
    """Photographs → features: mean and standard deviation of each latent channel of `network`, on the CPU."""

    def __init__(self, network: AdaCode) -> None:
        self._network = network.to("cpu", torch.float32).eval()

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """H×W×3 uint8 RGB → 2·C float32. One image at a time, on one thread, so that the bits do not depend on anything
        else.
        """
        torch.set_num_threads(1)
        config = self._network.config
        small = _shrunk(pixels)
        x = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
        if config.in_channels > 3:
            x = torch.cat((x, x.new_zeros(1, config.in_channels - 3, *x.shape[2:])), 1)  # no holes
        padded = pad_mirrored(x, *padded_size(config, *small.shape[:2]))
        latent = self._network.encode(prepare_input(padded, config.base)).latent_BCHW[0].flatten(1)
        return np.concatenate((latent.mean(1).numpy(), latent.std(1, correction=0).numpy()))


def _shrunk(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    factor = (_PIXELS / (height * width)) ** 0.5
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def clustered(features: Sequence[npt.NDArray[np.float32]], count: int, seed: int) -> Labels:
    """One row of features for each photograph → its category, from 0 (the largest) to count - 1."""
    return k_means(directions(standardised(np.stack(features))), count, seed)


def standardised(rows: npt.NDArray[np.floating]) -> Rows:
    """N×D → N×D float64, each column with mean 0 and standard deviation 1; columns without spread become 0."""
    wide = rows.astype(np.float64)
    spread = wide.std(axis=0)
    return np.asarray((wide - wide.mean(axis=0)) / np.where(spread > 0, spread, np.inf))


def directions(rows: Rows) -> Rows:
    """N×D → N×D, each row of length 1 (0 stays 0).

    Only the direction of a difference counts, not its size: otherwise a few unusual photographs would become a
    category, and a codebook needs many photographs.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, np.inf))


def k_means(rows: Rows, k: int, seed: int) -> Labels:
    """N×D → N labels from 0 (the largest cluster) to k - 1; equally large ones in the order of their first row.

    The best, by squared distances, of ten attempts. No cluster is empty if there are k different rows.
    """
    rng = np.random.default_rng(seed)
    attempts = [_attempt(rows, k, rng) for _ in range(_ATTEMPTS)]
    _, labels = min(attempts, key=lambda attempt: attempt[0])
    first = {label: int(np.argmax(labels == label)) for label in range(k)}
    sizes = np.bincount(labels, minlength=k)
    ranked = sorted(range(k), key=lambda label: (-sizes[label], first[label]))
    rank = np.empty(k, np.intp)
    rank[ranked] = np.arange(k)
    return np.asarray(rank[labels], np.intp)


def _attempt(rows: Rows, k: int, rng: np.random.Generator) -> tuple[float, Labels]:
    centres = _first_centres(rows, k, rng)
    labels = np.full(len(rows), -1, np.intp)
    for _ in range(_MAX_ROUNDS):
        squares = _squares(rows, centres)
        before, labels = labels, np.asarray(squares.argmin(axis=1), np.intp)
        if np.array_equal(before, labels):
            break
        for label in range(k):
            members = labels == label
            # A centre without any row moves to the row that is farthest from all centres.
            centres[label] = rows[members].mean(axis=0) if members.any() else rows[squares.min(axis=1).argmax()]
    return float(_squares(rows, centres).min(axis=1).sum()), labels


def _first_centres(rows: Rows, k: int, rng: np.random.Generator) -> Rows:
    chosen = [int(rng.random() * len(rows))]
    while len(chosen) < k:
        chances = np.cumsum(_squares(rows, rows[chosen]).min(axis=1))
        place = int(np.searchsorted(chances, rng.random() * chances[-1], side="right"))
        chosen.append(min(place, len(rows) - 1))
    return rows[chosen].copy()


def _squares(rows: Rows, centres: Rows) -> Rows:
    # One centre at a time: for many photographs an N×k×D array would not fit into memory.
    return np.stack([((rows - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
