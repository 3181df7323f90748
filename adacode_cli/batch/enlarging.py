"""Makes each image as large as was asked for: by runs of the network and an area resize, or without the network.

Each run is a `Restore` of its own, so the guard compares its result with its input. Images that are as large already
are kept as they are, or made smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from adacode_cli.batch.restoring import Restore, Restored
from adacode_cli.engine.images import resize
from adacode_cli.engine.progress import part
from adacode_cli.errors import DeviceError
from adacode_cli.geometry import Hole
from adacode_cli.imaging.image import Decoded, Samples
from adacode_cli.imaging.samples import quantise, top_of
from adacode_cli.sizes import Fate, Size, Sizing, growths

OneRun = Callable[[float, Size | None], Restore]
"""(by how much the network enlarges; the size of the result, if it is another one) → what makes one run."""


class RequireRoom(Protocol):
    """Raises DeviceError if a run of the network clearly does not fit the memory."""

    def __call__(self, height: int, width: int, *, deep: bool, scale: float) -> None:
        """For an image of height × width pixels; `deep`: it has more than 8 bits a channel."""
        ...


@dataclass(frozen=True, eq=False)
class WithoutNetwork:
    """A `Restored` for an image that was kept or made smaller; `fate` tells which. The other fields are as there."""

    fate: Fate
    image: NDArray[Any]
    alpha: NDArray[Any] | None
    mixing_weights: NDArray[np.float32]
    categories: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    precision: str = ""
    shrunk: NDArray[np.float32] | None = None
    found: NDArray[np.bool_] | None = None
    weights_extent: tuple[float, float] = (1.0, 1.0)

    def with_found(self, mask: NDArray[np.bool_], /) -> WithoutNetwork:
        """The same with the mask of the marks that were found, H×W bool."""
        return replace(self, found=mask)


@dataclass(frozen=True)
class Enlarging:
    """A `Restore` that makes images of the size that `sizing` gives.

    factors: of the runs for which there are networks. run: makes one run. require_room: of the network, for one run.
    """

    sizing: Sizing
    factors: tuple[int, ...]
    run: OneRun
    require_room: RequireRoom

    def __call__(self, image: Decoded, hole: Hole | None) -> tuple[Decoded, Restored]:
        """The image in its size. Raises InputError if it is too small for the size that was asked for."""
        fate = self.sizing.fate(*image.size)
        if fate is Fate.SHRUNK:
            pixels, alpha = reduced(image.pixels, image.alpha, self.sizing.size(*image.size))
            return _without_network(fate, image.restored(pixels, alpha, image.notes))
        if fate is not Fate.RESTORED:  # a document is not left out for one of its pages
            return _without_network(Fate.COPIED, image)
        factors = self.sizing.runs(*image.size, self.factors)
        if len(factors) == 1 and self.sizing.kind == "scale":
            return self.run(self.sizing.amount, None)(image, hole)
        return self._in_runs(image, hole, factors)

    def _in_runs(self, image: Decoded, hole: Hole | None, factors: tuple[int, ...]) -> tuple[Decoded, Restored]:
        self._require_room_for_all(image, factors)
        after, count = image, len(factors)
        notes = dict.fromkeys(image.notes)
        pixels = [growth**2 for growth in growths(factors)]
        shares = [done / sum(pixels) for done in accumulate(pixels, initial=0)]
        for number, factor in enumerate(factors, 1):
            size = self.sizing.asked(*image.size) if number == count else None
            try:
                with part(shares[number - 1], shares[number]):
                    after, restored = self.run(factor, size)(after, hole)
            except DeviceError as error:
                raise _in_run(error, number, count) from error
            notes |= dict.fromkeys(after.notes)
        # The metadata are adapted once, from those of the image itself, so that nothing is rounded twice.
        enlarged = image.restored(after.pixels, after.alpha, tuple(notes))
        return replace(enlarged, distance=after.distance), restored

    def _require_room_for_all(self, image: Decoded, factors: tuple[int, ...]) -> None:
        """Raises DeviceError before the first run if a later one clearly does not fit, because its input is larger."""
        deep, (height, width) = image.pixels.dtype != np.uint8, image.size
        for number, growth in enumerate(growths(factors)[1:], 2):
            try:
                self.require_room(height * growth, width * growth, deep=deep, scale=factors[number - 1])
            except DeviceError as error:
                raise _in_run(error, number, len(factors)) from error


def _without_network(fate: Fate, image: Decoded) -> tuple[Decoded, WithoutNetwork]:
    return replace(image, without_network=True), report_without_network(fate, image)


def report_without_network(fate: Fate, image: Decoded) -> WithoutNetwork:
    """What is reported of an image that the network did not make."""
    return WithoutNetwork(fate, image.pixels, image.alpha, np.zeros((0, 0, 0), np.float32))


def reduced(pixels: Samples, alpha: Samples | None, size: Size) -> tuple[Samples, Samples | None]:
    """(colours, alpha) of a smaller image: means of areas, in the same dtype and layout.

    pixels: H×W or H×W×3; alpha: H×W, or None. Colours count as much as they are visible, so that hidden colours do not
    change visible ones.
    """
    if alpha is None or alpha.min() == top_of(alpha.dtype):
        return resize(pixels, *size), None if alpha is None else resize(alpha, *size)
    coverage = alpha.astype(np.float32) / np.float32(top_of(alpha.dtype))
    colors = pixels.astype(np.float32)
    weights = coverage if pixels.ndim == 2 else coverage[..., None]
    total, share = _means(colors * weights, size), _means(coverage, size)
    share = share if pixels.ndim == 2 else share[..., None]
    visible = np.where(share > 0, total / np.maximum(share, np.finfo(np.float32).tiny), _means(colors, size))
    return np.ascontiguousarray(quantise(visible, pixels.dtype)), resize(alpha, *size)


def _means(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.float32)


def _in_run(error: DeviceError, number: int, count: int) -> DeviceError:
    """The error of one of several runs, which says which."""
    if error.only_this_image and count > 1:
        error.message = f"run {number} of {count}: {error.message}"
    return error
