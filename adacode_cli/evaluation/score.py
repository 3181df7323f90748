"""Compares restored images with their originals, and a baseline: a simple method that is available everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import InputError
from adacode_cli.evaluation.metrics import (
    MIN_SIDE,
    Perceptual,
    RgbImage,
    perceptual_distance,
    psnr_in_hole,
    psnr_luma,
    ssim_luma,
)
from adacode_cli.evaluation.testset import Example
from adacode_cli.imaging.decode import read_image
from adacode_cli.imaging.mask import read_mask
from adacode_cli.imaging.samples import to_depth
from adacode_cli.tasks import TASKS, Baseline

Mask = npt.NDArray[np.bool_]
TELEA_RADIUS_PX = 5


@dataclass(frozen=True)
class Scores:
    """psnr: dB, of luma, or of RGB inside the hole. ssim: of luma, None for holes.

    perceptual: the perceptual network's distance, None without one.
    """

    psnr: float
    ssim: float | None
    perceptual: float | None


@dataclass(frozen=True)
class Row:
    """One image: `restored` by the network, `baseline` by the task's baseline, if it has one. precision: in which the
    network computed the image, `fp32`, `bf16`, `fp16` or `int8`. cut: the original's size was no multiple of the scale,
    and its last columns or rows were left out.
    """

    name: str
    restored: Scores
    baseline: Scores | None
    precision: str
    cut: bool = False


@dataclass(frozen=True, eq=False)
class ExampleImages:
    """What a row was measured on: H×W×3 uint8 RGB of the original's size, `input` smaller by the scale."""

    input: RgbImage
    hole: Mask | None
    baseline: RgbImage | None
    restored: RgbImage
    original: RgbImage
    cut: bool = False


def evaluate(
    restorer: Restorer,
    examples: Iterable[Example],
    task: str,
    scale: int = 1,
    *,
    denoise: float = 1.0,
    perceptual: Perceptual | None = None,
    on_example: Callable[[Example], None] = lambda _: None,
    on_row: Callable[[Row, ExampleImages], None] = lambda _row, _images: None,
) -> list[Row]:
    """Restores and scores every example, one after the other.

    `denoise` is for tasks that have strengths of it. `on_example` is called with the one that comes next, `on_row` with
    its result. All images are read once before the first is restored: a damaged one is reported at once.
    Raises InputError for images that cannot be read or do not fit each other, and what the restorer raises.
    """
    examples = tuple(examples)
    for example in examples:
        _read(example, scale)
    rows = []
    for example in examples:
        on_example(example)
        images, precision = _images_of(restorer, example, task, scale, denoise)
        original, hole = images.original, images.hole
        baseline = None if images.baseline is None else scores_of(images.baseline, original, hole, perceptual)
        restored = scores_of(images.restored, original, hole, perceptual)
        row = Row(example.name, restored, baseline, precision, images.cut)
        on_row(row, images)
        rows.append(row)
    return rows


def mean_scores(scores: Iterable[Scores]) -> Scores:
    """Means over at least one image; None where an image has none."""
    all_scores = list(scores)
    ssim = [s.ssim for s in all_scores if s.ssim is not None]
    perceptual = [s.perceptual for s in all_scores if s.perceptual is not None]
    complete = len(all_scores)
    return Scores(
        fmean(s.psnr for s in all_scores),
        fmean(ssim) if len(ssim) == complete else None,
        fmean(perceptual) if len(perceptual) == complete else None,
    )


def _images_of(
    restorer: Restorer, example: Example, task: str, scale: int, denoise: float
) -> tuple[ExampleImages, str]:
    """The images of an example, and the precision in which the network made its own."""
    original, degraded, hole, cut = _read(example, scale)
    found = restorer.restore(task, degraded, scale=scale, denoise=denoise, mask=hole)
    method = TASKS[task].baseline
    baseline = None if method is None else _by_baseline(method, degraded, original, hole)
    restored = np.asarray(found.image, np.uint8)
    return ExampleImages(degraded, hole, baseline, restored, original, cut), found.precision


def scores_of(image: RgbImage, original: RgbImage, hole: Mask | None, perceptual: Perceptual | None) -> Scores:
    """Scores of H×W×3 uint8 RGB; with a hole (bool H×W), PSNR is that of its pixels, and there is no SSIM."""
    distance = None if perceptual is None else perceptual_distance(perceptual, image, original)
    if hole is not None:
        return Scores(psnr_in_hole(image, original, hole), None, distance)
    return Scores(psnr_luma(image, original), ssim_luma(image, original), distance)


def _read(example: Example, scale: int) -> tuple[RgbImage, RgbImage, Mask | None, bool]:
    """Original, input, hole, and whether the original was cut to a multiple of the scale."""
    whole = read_rgb(example.original)
    height, width = whole.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise InputError(f"is smaller than {MIN_SIDE} px", path=example.original, hint="Use larger test images.")
    degraded = whole if example.input == example.original else read_rgb(example.input)
    original = fitted(whole, (degraded.shape[0] * scale, degraded.shape[1] * scale), scale)
    if original is None:
        what = f"has {degraded.shape[1]}×{degraded.shape[0]} pixels, and its original {width}×{height}"
        hint = f"It must be 1/{scale} of the original's size, rounded down."
        raise InputError(what, path=example.input, hint=hint)
    hole = None if example.mask is None else read_mask(example.mask, size=(height, width))
    if hole is not None and not hole.any():
        raise InputError("has no hole", path=example.mask, hint="Paint the holes white.")
    return original, degraded, hole, original.shape != whole.shape


def fitted(original: RgbImage, size: tuple[int, int], most: int) -> RgbImage | None:
    """The upper left part of an original that has `size` (height, width); None unless fewer than `most` pixels of each
    side are left out.
    """
    height, width = size
    missing = (original.shape[0] - height, original.shape[1] - width)
    return original[:height, :width] if all(0 <= n < most for n in missing) else None


def read_rgb(path: Path) -> RgbImage:
    """The image in a file as H×W×3 uint8 RGB. Raises InputError where it cannot be read."""
    pixels = np.asarray(to_depth(read_image(path).pixels, np.uint8), np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)


def _by_baseline(method: Baseline, degraded: RgbImage, original: RgbImage, hole: Mask | None) -> RgbImage:
    if method == "bicubic":
        size = (original.shape[1], original.shape[0])
        return np.asarray(cv2.resize(degraded, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    assert hole is not None, "the other baseline fills holes"
    return np.asarray(cv2.inpaint(degraded, hole.astype(np.uint8), TELEA_RADIUS_PX, cv2.INPAINT_TELEA), np.uint8)
