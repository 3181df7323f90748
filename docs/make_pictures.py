"""Makes the pictures of docs/images anew, from examples/ and with the bundled weights:

    python docs/make_pictures.py realesr-general-x4v3.pth KODAK

KODAK is a folder of photographs, for the atlas of the codebooks. The first argument is the network that README.md
compares with. Look at each picture before it is committed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import torch

from adacode_cli.benchmark.speed import yardstick
from adacode_cli.checkpoints.real_esrgan import read_tensors

ROOT = Path(__file__).parents[1]
EXAMPLES, IMAGES = ROOT / "examples", ROOT / "docs" / "images"
PHOTO = EXAMPLES / "photos" / "astronaut.jpg"
GAP, QUALITY = 8, 85
GRAIN = 14.0  # standard deviation, of 255 levels
STRENGTHS = ("0", "0.25", "0.5", "0.75", "1")
CROP = (slice(120, 400), slice(240, 520))  # of the enlarged photograph: face, collar, wall


def run(*words: object) -> None:
    """Runs adacode."""
    subprocess.run([sys.executable, "-m", "adacode_cli", *map(str, words), "-q"], check=True)


def row(*images: np.ndarray) -> np.ndarray:
    """H×W×3 images of one height side by side, with white gaps."""
    gap = np.full((len(images[0]), GAP, 3), 255, np.uint8)
    return np.hstack([part for image in images for part in (image, gap)][:-1])


def write(name: str, image: np.ndarray) -> None:
    iio.imwrite(IMAGES / name, image, quality=QUALITY)


def bicubic(image: np.ndarray) -> np.ndarray:
    """Four times as large."""
    return cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)


def compared(weights: str, image: np.ndarray) -> np.ndarray:
    """What the network in a file of Real-ESRGAN's small layout makes of an image."""
    tensors, _ = read_tensors(Path(weights), "")
    network = yardstick()
    network.load_state_dict({key.removeprefix("body."): tensor for key, tensor in tensors.items()})
    x_BCHW = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        made_BCHW = network(x_BCHW) + torch.nn.functional.interpolate(x_BCHW, scale_factor=4)
    return (made_BCHW[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def enlarged(folder: Path, weights: str) -> None:
    """Bicubic interpolation, the network to compare with, adacode."""
    run("sr", PHOTO, "--scale", "4", "-o", folder / "sr.png")
    photo = iio.imread(PHOTO)
    write("sr-x4-astronaut.jpg", row(bicubic(photo), compared(weights, photo), iio.imread(folder / "sr.png")))


def grainy(folder: Path) -> None:
    """Bicubic interpolation of a photograph with grain, and what each strength makes of it."""
    photo = iio.imread(PHOTO).astype(np.float32)
    grain = np.random.default_rng(1).normal(0, GRAIN, photo.shape[:2]).astype(np.float32)
    noisy = (photo + grain[..., None]).clip(0, 255).round().astype(np.uint8)
    iio.imwrite(folder / "grain.png", noisy)
    images = [bicubic(noisy)]
    for strength in STRENGTHS:
        run("sr", folder / "grain.png", "--scale", "4", "--denoise", strength, "-o", folder / f"{strength}.png")
        images.append(iio.imread(folder / f"{strength}.png"))
    write("denoise.jpg", row(*(image[CROP] for image in images)))


def scratched(folder: Path) -> None:
    """A scratched photograph, and what is left of the scratches."""
    damaged = EXAMPLES / "scratched" / "coffee.jpg"
    run("inpaint", damaged, "--mask-dir", EXAMPLES / "masks", "--grow", "2", "-o", folder / "whole.png")
    write("inpaint-coffee.jpg", row(iio.imread(damaged), iio.imread(folder / "whole.png")))


def main() -> None:
    weights, photos = sys.argv[1:]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        enlarged(folder, weights)
        grainy(folder)
        scratched(folder)
    atlas = IMAGES / "codebooks-compact.jpg"
    atlas.unlink(missing_ok=True)
    words = ("weights", "show", "compact", "-o", atlas, "--usage", photos, "--patch", "16", "--quality", "60")
    subprocess.run([sys.executable, "-m", "adacode_cli", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
