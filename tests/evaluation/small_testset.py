"""Two small images, their small copies and their holes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import skimage.data

NAMES = ("astronaut", "coffee")
ORIGINALS = {"astronaut": skimage.data.astronaut()[:96, 200:328], "coffee": skimage.data.coffee()[100:164, 200:264]}


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def hole_of(name: str) -> np.ndarray:
    hole = np.zeros(ORIGINALS[name].shape[:2], np.bool_)
    hole[20:30, 10:50] = True
    return hole


def small(name: str, scale: int) -> np.ndarray:
    height, width = ORIGINALS[name].shape[:2]
    return cv2.resize(ORIGINALS[name], (width // scale, height // scale), interpolation=cv2.INTER_AREA)
