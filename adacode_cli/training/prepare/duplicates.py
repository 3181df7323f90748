"""Photographs that are the same picture again, by their perceptual hashes; of each set the largest stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np


class Hashed(Protocol):
    """What is compared: a 64-bit hash, and the size and name that say which of two stays."""

    @property
    def file(self) -> str: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def hash(self) -> int: ...


def duplicates(photos: Sequence[Hashed], most_bits: int) -> dict[str, tuple[str, int]]:
    """file → (the larger file that it repeats, bits that differ), for hashes at most `most_bits` of 64 apart.

    Larger photographs are looked at first, equally large ones by name, each against those that stay so far; the answer
    does not depend on the order of `photos`. N photographs cost N²/2 comparisons of 8 bytes: seconds for 100 000.
    """
    ranked = sorted(photos, key=lambda photo: (-photo.height * photo.width, photo.file))
    kept_hashes = np.empty((len(ranked), 8), np.uint8)
    kept: list[str] = []
    found: dict[str, tuple[str, int]] = {}
    for photo in ranked:
        own = np.frombuffer(photo.hash.to_bytes(8, "big"), np.uint8)
        if kept and most_bits >= 0:
            bits, nearest = cv2.batchDistance(
                own[None], kept_hashes[: len(kept)], dtype=cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1
            )
            if bits[0, 0] <= most_bits:
                found[photo.file] = (kept[nearest[0, 0]], int(bits[0, 0]))
                continue
        kept_hashes[len(kept)] = own
        kept.append(photo.file)
    return found
