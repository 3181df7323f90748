"""Restores a decoded file; metadata, which the network does not process, are copied to the result.

Metadata on size and resolution are adapted to the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adacode_cli.batch.masks import Edge
from adacode_cli.geometry import Hole
from adacode_cli.imaging.image import Decoded
from adacode_cli.sizes import Size


class Restored(Protocol):
    """The part of `adacode_cli.engine.restorer.Restored` that a run needs; its docstring describes the fields."""

    @property
    def image(self) -> NDArray[Any]: ...
    @property
    def mixing_weights(self) -> NDArray[np.float32]: ...
    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def precision(self) -> str: ...
    @property
    def shrunk(self) -> NDArray[np.float32] | None: ...
    @property
    def alpha(self) -> NDArray[Any] | None: ...
    @property
    def found(self) -> NDArray[np.bool_] | None: ...
    @property
    def weights_extent(self) -> tuple[float, float]: ...
    def with_found(self, mask: NDArray[np.bool_], /) -> Restored: ...


class Finder(Protocol):
    """The part of `adacode_cli.engine.detection.MarkFinder` that a run needs."""

    def mask(self, image: NDArray[Any], alpha: NDArray[Any] | None = ...) -> NDArray[np.bool_]:
        """H×W bool, True on marks. Raises InputError, DeviceError."""
        ...


class Restorer(Protocol):
    """The part of `adacode_cli.engine.restorer.Restorer` that a run needs."""

    def restore(
        self,
        task: str,
        image: NDArray[Any],
        *,
        alpha: NDArray[Any] | None = ...,
        scale: float = ...,
        size: Size | None = ...,
        denoise: float = ...,
        mask: Hole | None = ...,
    ) -> Restored:
        """One image through one task; H×W or H×W×3 in, the same layout and dtype out. Raises AdaCodeError."""
        ...


# Without these notes, a black mask file, a mask colour that JPEG compression has changed, or an inverted mask would
# not be noticed.
_NO_HOLE = "nothing was filled: no pixel of this image is in its mask"
_HARDLY_ANY = "hardly anything was filled: only {:,} of {:,} pixels {} in its mask"
_NOTHING_FOUND = "nothing was filled: no scratch was found in this image"
_MUCH_FOUND = "{:.2g} % of this image was found to be damaged and filled: the detector may be wrong"
_MUCH_FOUND_SHARE = 0.2
_NEARLY_ALL = "nearly all of this image was filled: its mask covers {:.3g} %"
_NEARLY_ALL_SHARE = 0.95
Restore = Callable[[Decoded, Hole | None], tuple[Decoded, Restored]]
"""(the image, its hole or None) → (the restored image, what the engine reported)."""


@dataclass(frozen=True)
class Restoring:
    """A `Restore` that runs one task on a Restorer; the fields are as in `Restorer.restore` of the engine."""

    restorer: Restorer
    task: str
    scale: float = 4.0
    denoise: float = 1.0
    size: Size | None = None

    def __call__(self, image: Decoded, hole: Hole | None) -> tuple[Decoded, Restored]:
        """The restored image, of the same dtype and layout, with the input's metadata and the engine's notes."""
        restored = self.restorer.restore(
            self.task,
            image.pixels,
            alpha=image.alpha,
            scale=self.scale,
            size=self.size,
            denoise=self.denoise,
            mask=hole,
        )
        pixels = np.ascontiguousarray(restored.image)
        return image.restored(pixels, restored.alpha, (*image.notes, *restored.notes, *_notes_on(hole))), restored


@dataclass(frozen=True)
class Detecting:
    """A `Restore` that fills the marks which a detector finds in each image, with `edge` around them."""

    restore: Restore
    finder: Finder
    edge: Edge

    def __call__(self, image: Decoded, hole: Hole | None) -> tuple[Decoded, Restored]:
        """As `Restore`; the result has the mask of what was found."""
        assert hole is None, "holes are found or given, not both"
        mask = self.finder.mask(image.pixels, image.alpha)
        after, restored = self.restore(image, self.edge.hole(mask))
        share = np.count_nonzero(mask) / mask.size
        notes = after.notes
        if not share:
            notes = tuple(_NOTHING_FOUND if note == _NO_HOLE else note for note in notes)
        elif share > _MUCH_FOUND_SHARE:
            notes = (*notes, _MUCH_FOUND.format(100 * share))
        return replace(after, notes=notes), restored.with_found(mask)


def _notes_on(hole: Hole | None) -> tuple[str, ...]:
    """Notes on a hole that is probably a mistake."""
    if hole is None:
        return ()
    share = hole.num_pixels / hole.mask.size
    if share > _NEARLY_ALL_SHARE:
        return (_NEARLY_ALL.format(100 * share),)
    notes = (hole.note,) if hole.note else ()
    if not hole.num_pixels:
        return (_NO_HOLE, *notes)
    if not hole.is_nearly_empty:
        return notes
    verb = "is" if hole.num_pixels == 1 else "are"
    return (_HARDLY_ANY.format(hole.num_pixels, hole.mask.size, verb), *notes)
