"""A decoded file goes in, a decoded file comes out: what the network does not see (alpha, ICC, EXIF) goes around it.

The network sees grey or RGB pixels only. Alpha is enlarged beside it, because a network trained on photographs would
invent texture in a coverage map; metadata are handed through, those that speak of size and resolution made to fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from adacode_cli.engine.pictures import covered
from adacode_cli.imaging.image import Decoded

Task = Literal["sr", "inpaint", "reconstruct"]


class Restored(Protocol):
    """What the engine returns: the image, the mixing weights K×h×w float32, the K category names, notes, and the means
    of the image over each pixel of the input (H×W×C float32 in [0, 1]) where the engine had them at hand.
    """

    @property
    def image(self) -> NDArray[Any]: ...
    @property
    def mixing_weights(self) -> NDArray[np.float32]: ...
    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def shrunk(self) -> NDArray[np.float32] | None: ...


class Restorer(Protocol):
    """The part of `adacode_cli.engine.restorer.Restorer` that a run needs."""

    def restore(
        self,
        task: Task,
        image: NDArray[Any],
        *,
        scale: float = ...,
        denoise: float = ...,
        mask: NDArray[np.bool_] | None = ...,
        grow: int = ...,
        feather: int = ...,
    ) -> Restored:
        """One picture through one task; H×W or H×W×3 in, the same layout and dtype out. Raises AdaCodeError."""
        ...


# Colours of a drawn mask that a JPEG has changed, or a mask file that is black, would pass as a success otherwise; so
# would a mask that is black where the hole is.
_NO_HOLE = "nothing was filled: no pixel of this picture is in its mask"
_NEARLY_ALL = "nearly all of this picture was filled: its mask covers {:.3g} %"
_NEARLY_ALL_SHARE = 0.95
Restore = Callable[[Decoded, NDArray[np.bool_] | None], tuple[Decoded, Restored]]
"""(the image, its hole or None) → (the restored image, what the engine said)."""


@dataclass(frozen=True)
class Restoring:
    """A `Restore` that runs one task on a Restorer.

    `opaque_hole` makes the hole opaque afterwards, for holes that were given as transparency: it is filled now.
    """

    restorer: Restorer
    task: Task
    scale: float = 4.0
    denoise: float = 1.0
    grow_px: int = 0
    feather_px: int = 0
    opaque_hole: bool = False

    def __call__(self, image: Decoded, mask: NDArray[np.bool_] | None) -> tuple[Decoded, Restored]:
        """The restored image, of the same dtype and layout, with the input's metadata and the engine's notes."""
        # What inpainting leaves alone must stay bit for bit, hidden colours too; all else is seen through its alpha.
        pixels = image.pixels if self.task == "inpaint" else covered(image.pixels, image.alpha)
        restored = self._restored(pixels, mask)
        alpha = _resized_alpha(image.alpha, restored.image.shape[:2])
        if self.opaque_hole and alpha is not None and mask is not None:
            alpha = np.where(mask, alpha.dtype.type(_opaque(alpha)), alpha)
        pixels = np.ascontiguousarray(restored.image)
        notes = (*image.notes, *restored.notes, *_notes_on(mask))
        return image.restored(pixels, alpha, notes), restored

    def _restored(self, pixels: NDArray[Any], mask: NDArray[np.bool_] | None) -> Restored:
        if self.task == "sr":
            return self.restorer.restore("sr", pixels, scale=self.scale, denoise=self.denoise)
        if self.task == "inpaint":
            edge = {"grow": self.grow_px, "feather": self.feather_px}
            return self.restorer.restore("inpaint", pixels, mask=mask, **edge)
        return self.restorer.restore("reconstruct", pixels)


def _notes_on(mask: NDArray[np.bool_] | None) -> tuple[str, ...]:
    """What a person should know of a hole (None: there is no mask) that is hardly meant as it is."""
    if mask is None:
        return ()
    share = np.count_nonzero(mask) / mask.size
    if share > _NEARLY_ALL_SHARE:
        return (_NEARLY_ALL.format(100 * share),)
    return () if share else (_NO_HOLE,)


def _resized_alpha(alpha: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if alpha is None or alpha.shape == shape:
        return alpha
    resized: NDArray[Any] = cv2.resize(alpha, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(resized, 0, _opaque(alpha)), dtype=alpha.dtype)


def _opaque(alpha: NDArray[Any]) -> int:
    """The value of full coverage in this dtype."""
    return 1 if np.issubdtype(alpha.dtype, np.floating) else int(np.iinfo(alpha.dtype).max)
