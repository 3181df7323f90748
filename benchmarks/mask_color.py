"""How much of painted marks `--mask-color` finds in JPEG files, and how much of photographs it takes for marks.

    python benchmarks/mask_color.py PHOTOS [--tolerance 20] [--every 1]

Over each photograph (at most 512×384 pixels of it) lines of one colour are drawn, 3 and 7 px wide, with hard and with
smooth edges. It is stored as JPEG in several qualities, with and without subsampling of colours, and the same without
lines. "painted" is the share of the pixels with more than half of the paint that the mask covers. "changed" is the
same for all pixels that the lines have changed in the JPEG by more than 6 in L*a*b*; these are more, because
compression spreads a change over its block. The second table counts the pixels of sound photographs, as JPEG of
quality 90, that have the colour.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from adacode_cli.errors import InputError
from adacode_cli.imaging.color_key import ColorKey, lab_of
from adacode_cli.imaging.decode import read_image
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_color
from adacode_cli.imaging.samples import to_depth
from adacode_cli.limits import MASK_TOLERANCE

COLORS = {"magenta": "#ff00ff", "red": "#ff0000", "green": "#00ff00", "blue": "#0000ff", "cyan": "#00ffff"}
SOUND_COLORS = COLORS | {"yellow": "#ffff00", "white": "#ffffff", "black": "#000000"}
QUALITIES, SUBSAMPLINGS = (50, 75, 90, 95), {"4:2:0": 2, "4:4:4": 0}
WIDTHS_PX, NUM_LINES, NUM_CORNERS = (3, 7), 6, 6
HEIGHT, WIDTH = 384, 512
CHANGED = 6.0
Rgb = npt.NDArray[np.uint8]


def as_jpeg(pixels: Rgb, quality: int, subsampling: int) -> Rgb:
    """The pixels after they were stored as JPEG."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.array(Image.open(buffer))


def with_lines(pixels: Rgb, color: str, width_px: int, seed: int, *, smooth: bool) -> tuple[Rgb, npt.NDArray[np.bool_]]:
    """(the image with lines, where there is more than half of the paint)."""
    rng, paint = np.random.default_rng(seed), np.zeros(pixels.shape[:2], np.uint8)
    size = np.array(paint.shape[::-1])
    for _ in range(NUM_LINES):
        corners = rng.uniform(0.2 * size, 0.8 * size) + np.cumsum(rng.normal(0, 40, (NUM_CORNERS, 2)), axis=0)
        kind = cv2.LINE_AA if smooth else cv2.LINE_8
        cv2.polylines(paint, [corners.astype(np.int32)], isClosed=False, color=255, thickness=width_px, lineType=kind)
    share = paint[..., None] / 255
    rgb = np.frombuffer(bytes.fromhex(color[1:]), np.uint8)
    return np.rint(pixels * (1 - share) + rgb * share).astype(np.uint8), paint > 127


def covered(photos: Sequence[Rgb], color: str, quality: int, subsampling: int, tolerance: float) -> tuple[float, float]:
    """(share of the painted pixels in the mask, share of the changed pixels in it)."""
    counts = np.zeros(4)
    for seed, photo in enumerate(photos):
        plain = lab_of(as_jpeg(photo, quality, subsampling))
        for width_px in WIDTHS_PX:
            for smooth in (False, True):
                image, painted = with_lines(photo, color, width_px, seed, smooth=smooth)
                stored = as_jpeg(image, quality, subsampling)
                changed = np.linalg.norm(lab_of(stored) - plain, axis=2) > CHANGED
                mask = mask_from_color(ColorKey(Decoded(stored, format="jpeg"), color), tolerance)
                counts += (mask & painted).sum(), painted.sum(), (mask & changed).sum(), changed.sum()
    return counts[0] / counts[1], counts[2] / counts[3]


def print_painted(photos: Sequence[Rgb], tolerance: float) -> None:
    """Prints the shares of painted and of changed pixels that are found."""
    print(f"tolerance {tolerance:g}; painted pixels found, changed pixels found, in %\n")
    print("| JPEG | " + " | ".join(COLORS) + " |\n| --- |" + " --- |" * len(COLORS))
    for quality in QUALITIES:
        for name, subsampling in SUBSAMPLINGS.items():
            shares = [covered(photos, color, quality, subsampling, tolerance) for color in COLORS.values()]
            cells = " | ".join(f"{100 * painted:.1f}, {100 * changed:.0f}" for painted, changed in shares)
            print(f"| {quality}, {name} | {cells} |", flush=True)


def print_sound(photos: Sequence[Rgb], tolerance: float) -> None:
    """Prints how many pixels of photographs without marks have the colours."""
    num_pixels = sum(photo.shape[0] * photo.shape[1] for photo in photos)
    print(
        f"\n{len(photos)} sound photographs, {num_pixels / 1e6:.1f} megapixels: pixels taken (photographs with any)\n"
    )
    limits = (0.0, tolerance / 2, tolerance, 1.5 * tolerance)
    print("| tolerance | " + " | ".join(SOUND_COLORS) + " |\n| --- |" + " --- |" * len(SOUND_COLORS))
    stored = [Decoded(as_jpeg(photo, 90, 2), format="jpeg") for photo in photos]
    for limit in limits:
        cells = []
        for color in SOUND_COLORS.values():
            counts = [int(ColorKey(image, color).within(limit).sum()) for image in stored]
            cells.append(f"{sum(counts):,} ({sum(count > 0 for count in counts)})")
        print(f"| {limit:g} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--tolerance", type=float, default=MASK_TOLERANCE)
    parser.add_argument("--every", type=int, default=1, help="lines are drawn over each N-th photograph only")
    options = parser.parse_args()
    photos = []
    for path in sorted(options.photos.iterdir()):
        try:
            pixels = to_depth(read_image(path).pixels, np.uint8)
        except InputError as error:
            print(f"left out: {error}")
            continue
        if pixels.ndim == 3:
            photos.append(pixels)
    print_painted([photo[:HEIGHT, :WIDTH] for photo in photos[:: options.every]], options.tolerance)
    print_sound(photos, options.tolerance)


if __name__ == "__main__":
    main()
