"""One file → its crops and what is known of it, or why it is left out. Runs in many threads; keeps no pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.errors import InputError
from adacode_cli.training.prepare import measures
from adacode_cli.training.prepare.cutting import encode, places
from adacode_cli.training.prepare.photos import Photo, Pixels, read_photo
from adacode_cli.training.prepare.settings import Limits, PrepareSettings

Describe = Callable[[Pixels], npt.NDArray[np.float32]]

# Cut-outs are no photographs, but an odd pixel of an alpha channel is an accident.
_MOST_TRANSPARENT = 0.01


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used: `value` of the measure `reason` lies beyond `limit`; `detail` says more in words."""

    file: str
    reason: str
    value: float | None = None
    limit: float | None = None
    detail: str = ""


@dataclass(frozen=True, eq=False)
class EncodedCrop:
    """`data` of the crop at (y, x); mean and std: of its RGB in levels, 3 values each."""

    y: int
    x: int
    data: bytes
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Examined:
    """A photograph to use: its size, its perceptual hash, its crops, how many were flat, and its features if asked."""

    file: str
    height: int
    width: int
    hash: int
    crops: tuple[EncodedCrop, ...]
    num_flat: int
    features: npt.NDArray[np.float32] | None

    def without_data(self) -> Examined:
        """The same without its crops, which are by far the largest part."""
        return replace(self, crops=())


def examine(folder: Path, file: str, settings: PrepareSettings, describe: Describe | None) -> Examined | LeftOut:
    """Reads, measures and cuts one photograph; `describe` gives its features, where categories are to be found."""
    try:
        photo = read_photo(folder / file)
    except InputError as error:
        return LeftOut(file, "unreadable", detail=error.message)
    height, width = photo.pixels.shape[:2]
    problem = _unfit(file, photo, settings)
    if problem is not None:
        return problem
    luma = measures.luma_of(photo.pixels)
    side = settings.crop_px
    details = {(y, x): measures.detail(luma[y : y + side, x : x + side]) for y, x in places(height, width, side)}
    problem = _poor(file, luma, max(details.values()), settings.limits)
    if problem is not None:
        return problem
    kept = [place for place, value in details.items() if value >= settings.limits.detail]
    return Examined(
        file,
        height,
        width,
        measures.perceptual_hash(luma),
        tuple(_cut(photo.pixels[y : y + side, x : x + side], y, x, settings) for y, x in kept),
        len(details) - len(kept),
        describe(photo.pixels) if describe is not None else None,
    )


def _unfit(file: str, photo: Photo, settings: PrepareSettings) -> LeftOut | None:
    """What can be told before anything is measured."""
    least = min(photo.pixels.shape[:2])
    if photo.transparent > _MOST_TRANSPARENT:
        return LeftOut(file, "transparent", photo.transparent, _MOST_TRANSPARENT)
    if least < settings.crop_px:
        return LeftOut(file, "tiny", least, settings.crop_px)
    if photo.quality is not None and photo.quality < settings.limits.jpeg_quality:
        return LeftOut(file, "compressed", photo.quality, settings.limits.jpeg_quality)
    return None


def _poor(file: str, luma: measures.Luma, detail: float, limits: Limits) -> LeftOut | None:
    if detail < limits.detail:
        return LeftOut(file, "flat", detail, limits.detail)
    blur = measures.blur_px(luma)
    if blur > limits.blur_px:
        return LeftOut(file, "blurred", blur, limits.blur_px)
    # JPEG files too: one saved at a good quality may have come from a bad one.
    blocks = measures.blockiness(luma)
    return LeftOut(file, "blocky", blocks, limits.blockiness) if blocks > limits.blockiness else None


def _cut(pixels: Pixels, y: int, x: int, settings: PrepareSettings) -> EncodedCrop:
    crop = np.ascontiguousarray(pixels)
    mean, std = (np.asarray(values, np.float64).ravel() for values in cv2.meanStdDev(crop))
    return EncodedCrop(y, x, encode(crop, settings.encoding), mean, std)
