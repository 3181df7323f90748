"""Makes the example photographs from three free images that scikit-image ships.

    python examples/make_photos.py

photos: small, slightly degraded copies, as on an old web page. scratched: two images with scratches and tears painted
white; masks: their places. painted: the damage of one of them in magenta, in a JPEG. transparent: the same damage as
transparent pixels. The script always writes the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from skimage import data

HERE = Path(__file__).parent
# Shrink factors; astronaut is the public-domain portrait by NASA, coffee and chelsea are CC0 by their photographers.
PHOTOS = {"astronaut": 3, "coffee": 3, "chelsea": 2}
JPEG_QUALITY = 82
MAGENTA = (255, 0, 255)


def degraded(image: np.ndarray, factor: int, rng: np.random.Generator) -> np.ndarray:
    """A copy of 1/factor the size with a little blur and noise, as float [0, 255]."""
    h, w = image.shape[0] // factor, image.shape[1] // factor
    small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.GaussianBlur(small, (0, 0), 0.4) + rng.normal(0, 2.5, small.shape).astype(np.float32)


def scratches(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """height×width uint8 mask, 255 in the damage: long thin lines, a crease, specks of dust and a torn corner."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(9):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle = rng.normal(np.pi / 2, 0.4)
        points = [(x, y)]
        for _ in range(8):
            angle += rng.normal(0, 0.08)
            x, y = x + 0.09 * height * np.cos(angle), y + 0.09 * height * np.sin(angle)
            points.append((x, y))
        cv2.polylines(mask, [np.array(points, np.int32)], False, 255, int(rng.integers(1, 5)))
    for _ in range(60):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(mask, centre, int(rng.integers(1, 4)), 255, -1)
    crease = np.array([(0, int(0.62 * height)), (int(0.5 * width), int(0.58 * height)), (width, int(0.66 * height))])
    cv2.polylines(mask, [crease.astype(np.int32)], False, 255, 7)
    cv2.fillPoly(mask, [np.array([(width, 0), (width - width // 7, 0), (width, height // 6)], np.int32)], 255)
    return mask


def write(path: Path, rgb: np.ndarray) -> None:
    """Writes an RGB, RGBA or grey image, format by suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(rgb, 0, 255).round().astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    _, encoded = cv2.imencode(path.suffix, pixels, options)
    path.write_bytes(encoded.tobytes())


def main() -> None:
    """Writes all example images."""
    rng = np.random.default_rng(2023)
    for name, factor in PHOTOS.items():
        image = getattr(data, name)()
        write(HERE / "photos" / f"{name}.jpg", degraded(image, factor, rng))
        if name == "astronaut":
            continue
        mask = scratches(*image.shape[:2], rng)
        write(HERE / "scratched" / f"{name}.jpg", np.where(mask[..., None] > 0, 250.0, image))
        write(HERE / "masks" / f"{name}.png", mask)
        if name == "chelsea":
            brush = cv2.dilate(mask, np.ones((3, 3), np.uint8))  # A person paints a little more than the damage.
            write(HERE / "painted" / f"{name}.jpg", np.where(brush[..., None] > 0, MAGENTA, image))
            half = image[::2, ::2]
            write(HERE / "transparent" / f"{name}.png", np.dstack([half, 255 - mask[::2, ::2]]))


if __name__ == "__main__":
    main()
