"""One file → its crops and measures, or why it is left out; and which photographs are duplicates.

`examine` runs in many threads and keeps no pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.errors import InputError, TrainingError
from adacode_cli.training.prepare import measures
from adacode_cli.training.prepare.photos import Photo, read_photo
from adacode_cli.training.prepare.settings import Encoding, Limits, PrepareSettings
from adacode_cli.training.shards import Pixels

# Below this number of crop sides two crops would share more than half of their pixels: then one is cut in the middle.
_TWO_FROM = 1.5
_JPEG = (
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_OPTIMIZE,
    1,
)
# OpenCV's value for lossless.
_WEBP = (cv2.IMWRITE_WEBP_QUALITY, 101)
# Cut-out images are not used, but a few transparent pixels are accepted.
_MAX_TRANSPARENT = 0.01


Describe = Callable[[Pixels], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used: `value` of the measure `reason` is beyond `limit`; `detail` explains it."""

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
    """Reads, measures and cuts one photograph; `describe` gives its features if categories are to be found."""
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
    """Why a photograph cannot be used, if that is known before it is measured."""
    side = min(photo.pixels.shape[:2])
    if photo.transparent > _MAX_TRANSPARENT:
        return LeftOut(file, "transparent", photo.transparent, _MAX_TRANSPARENT)
    if side < settings.crop_px:
        return LeftOut(file, "tiny", side, settings.crop_px)
    if photo.quality is not None and photo.quality < settings.limits.jpeg_quality:
        return LeftOut(file, "compressed", photo.quality, settings.limits.jpeg_quality)
    return None


def _poor(file: str, luma: measures.Luma, detail: float, limits: Limits) -> LeftOut | None:
    if detail < limits.detail:
        return LeftOut(file, "flat", detail, limits.detail)
    blur = measures.blur_px(luma)
    if blur > limits.blur_px:
        return LeftOut(file, "blurred", blur, limits.blur_px)
    # JPEG files too: a file of good quality may have been made from one of poor quality.
    blocks = measures.blockiness(luma)
    return LeftOut(file, "blocky", blocks, limits.blockiness) if blocks > limits.blockiness else None


def _cut(pixels: Pixels, y: int, x: int, settings: PrepareSettings) -> EncodedCrop:
    crop = np.ascontiguousarray(pixels)
    mean, std = (np.asarray(values, np.float64).ravel() for values in cv2.meanStdDev(crop))
    return EncodedCrop(y, x, encoded_crop(crop, settings.encoding), mean, std)


def places(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """(y, x) of all crops of a photograph, row by row."""
    return [(y, x) for y in starts(height, side) for x in starts(width, side)]


def starts(length: int, side: int) -> list[int]:
    """Where crops of `side` px begin on an axis of `length` ≥ `side` px: the fewest that cover it, evenly spaced.

    Neighbours overlap by at most half; to ensure this, up to a quarter of a side is left out at both ends of an axis
    that is shorter than 1.5 sides.
    """
    if length < _TWO_FROM * side:
        return [(length - side) // 2]
    count = ceil(length / side)
    return [i * (length - side) // (count - 1) for i in range(count)]


def encoded_crop(pixels: Pixels, encoding: Encoding) -> bytes:
    """H×W×3 uint8 RGB → JPEG of quality 95 without chroma subsampling, or lossless WebP. Raises TrainingError."""
    suffix, parameters = (".jpg", _JPEG) if encoding == "jpeg" else (".webp", _WEBP)
    done, data = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        hint = "Reinstall opencv-python-headless, or choose the other --encoding."
        raise TrainingError(f"OpenCV cannot encode {suffix} files", hint=hint)
    return np.asarray(data).tobytes()


def duplicates(photos: Sequence[Examined], max_bits: int) -> dict[str, tuple[str, int]]:
    """file → (the larger file that it repeats, bits that differ), for hashes at most `max_bits` of 64 apart.

    Larger photographs come first, those of equal size by name; each is compared with those that are kept so far. The
    result does not depend on the order of `photos`. N photographs cost N²/2 comparisons of 8 bytes: seconds for 100
    000.
    """
    ranked = sorted(photos, key=lambda photo: (-photo.height * photo.width, photo.file))
    kept_hashes = np.empty((len(ranked), 8), np.uint8)
    kept: list[str] = []
    found: dict[str, tuple[str, int]] = {}
    for photo in ranked:
        own = np.frombuffer(photo.hash.to_bytes(8, "big"), np.uint8)
        if kept and max_bits >= 0:
            bits, nearest = cv2.batchDistance(
                own[None], kept_hashes[: len(kept)], dtype=cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1
            )
            if bits[0, 0] <= max_bits:
                found[photo.file] = (kept[nearest[0, 0]], int(bits[0, 0]))
                continue
        kept_hashes[len(kept)] = own
        kept.append(photo.file)
    return found
