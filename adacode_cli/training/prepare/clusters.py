"""k-means with k-means++ (Arthur and Vassilvitskii 2007), the same answer for the same rows and seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

_ATTEMPTS = 10
_MOST_ROUNDS = 100


def standardised(rows: npt.NDArray[np.floating]) -> Rows:
    """N×D → N×D float64, each column with mean 0 and standard deviation 1; columns without spread become 0."""
    wide = rows.astype(np.float64)
    spread = wide.std(axis=0)
    return np.asarray((wide - wide.mean(axis=0)) / np.where(spread > 0, spread, np.inf))


def directions(rows: Rows) -> Rows:
    """N×D → N×D, each row of length 1 (0 stays 0).

    What sets a photograph apart counts, not how far: otherwise the few odd ones make up a category of their own, and
    a codebook needs many to learn from.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, np.inf))


def k_means(rows: Rows, k: int, seed: int) -> Labels:
    """N×D → N labels from 0 (the largest cluster) to k - 1; equally large ones in the order of their first row.

    The best, by squared distances, of ten attempts. No cluster is empty as long as k rows differ.
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
    for _ in range(_MOST_ROUNDS):
        squares = _squares(rows, centres)
        before, labels = labels, np.asarray(squares.argmin(axis=1), np.intp)
        if np.array_equal(before, labels):
            break
        for label in range(k):
            members = labels == label
            # A centre that nobody is near moves to the row that is worst off.
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
    # Centre by centre: an N×k×D array would not fit for many photographs.
    return np.stack([((rows - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
