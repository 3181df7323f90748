"""A folder of photographs in memory, and random crops of it.

Sub-folders are categories. All pictures are decoded once: a few hundred megapixels fit, and decoding would
otherwise cost more than the training step.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.errors import InputError, TrainingError
from adacode_cli.imaging.decode import EXTENSIONS, read_image
from adacode_cli.imaging.samples import to_depth

Photo = npt.NDArray[np.uint8]

# A crop is shrunk by up to this factor before use, half of the time: photographs are rarely sharp at full size.
MOST_SHRINK = 0.5
_HINT = "Training reads FOLDER/<category>/*.jpg: one sub-folder for each category."


class PhotoCorpus:
    """Photographs by category: `photos[category]` holds H×W×3 uint8 RGB arrays of at least `least_side` px a side.

    `left_out` lists the picture files that cannot serve, and why. Raises TrainingError without any category, and
    for a category none of whose pictures can serve.
    """

    def __init__(self, folder: Path, least_side: int, max_photos: int | None = None) -> None:
        self.folder = folder
        self.least_side = least_side
        self.photos: dict[str, list[Photo]] = {}
        self.left_out: dict[Path, str] = {}
        for sub in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []:
            paths = sorted(p for p in sub.rglob("*") if p.suffix.lower() in EXTENSIONS)[:max_photos]
            if not paths:
                continue
            self.photos[sub.name] = [image for p in paths if (image := self._load(p)) is not None]
            if not self.photos[sub.name]:
                raise TrainingError(self._nothing(f"all {len(paths)} pictures here"), path=sub, hint=_HINT)
        if not self.photos:
            raise TrainingError("has no sub-folders with photographs", path=folder, hint=_HINT)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the sub-folders, sorted."""
        return tuple(self.photos)

    @property
    def num_photos(self) -> int:
        """How many photographs there are in all."""
        return sum(len(photos) for photos in self.photos.values())

    def require_room(self, side: int) -> None:
        """Raises TrainingError where crops of `side` px might not fit the smallest photograph."""
        if side > self.least_side:
            raise TrainingError(
                f"crops of {side} px are wanted from photographs of {self.least_side} px", path=self.folder, hint=_HINT
            )

    def crop(self, rng: np.random.Generator, category: str | None, side: int) -> Photo:
        """A random side×side×3 uint8 crop, flipped, turned and at times shrunk; of a random category if None.

        `side` is at most `least_side`, so that nothing is ever enlarged.
        """
        name = category or self.categories[rng.integers(len(self.categories))]
        photos = self.photos[name]
        photo = photos[rng.integers(len(photos))]
        room = min(photo.shape[:2]) / side
        shrink = rng.uniform(max(MOST_SHRINK, 1 / room), 1.0) if rng.random() < 0.5 else 1.0
        span = min(round(side / shrink), *photo.shape[:2])
        y, x = (int(rng.integers(n - span + 1)) for n in photo.shape[:2])
        patch = photo[y : y + span, x : x + span]
        if span != side:
            patch = np.asarray(cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        patch = np.rot90(patch, int(rng.integers(4)))
        return np.ascontiguousarray(patch[:, ::-1] if rng.random() < 0.5 else patch)

    def _load(self, path: Path) -> Photo | None:
        try:
            image = read_image(path)
        except InputError as error:
            self.left_out[path] = error.message
            return None
        if min(image.size) < self.least_side:
            self.left_out[path] = f"is smaller than {self.least_side} px"
            return None
        pixels = np.asarray(to_depth(image.pixels, np.uint8), np.uint8)
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)

    def _nothing(self, what: str) -> str:
        reason = next(iter(self.left_out.values()))
        return f"{what} are unreadable or smaller than {self.least_side} px (the first: {reason})"
