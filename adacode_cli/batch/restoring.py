"""A decoded file goes in, a decoded file comes out: what the engine does not see (ICC, EXIF and other metadata) goes
around it, and what speaks of size and resolution is made to fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adacode_cli.geometry import Hole
from adacode_cli.imaging.image import Decoded


class Restored(Protocol):
    """What the engine returns: the image and its alpha, the mixing weights K×h×w float32, the K category names, notes,
    and the means of the image over each pixel of the input (H×W×C float32 in [0, 1]) where the engine had them at hand.
    """

    @property
    def image(self) -> NDArray[Any]: ...
    @property
    def alpha(self) -> NDArray[Any] | None: ...
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
        task: str,
        image: NDArray[Any],
        *,
        alpha: NDArray[Any] | None = ...,
        scale: float = ...,
        denoise: float = ...,
        mask: Hole | None = ...,
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

    task: its name in `tasks.TASKS`. opaque_hole: holes were given as transparency, and are opaque afterwards.
    """

    restorer: Restorer
    task: str
    scale: float = 4.0
    denoise: float = 1.0
    grow_px: int = 0
    feather_px: int = 0
    opaque_hole: bool = False

    def __call__(self, image: Decoded, mask: NDArray[np.bool_] | None) -> tuple[Decoded, Restored]:
        """The restored image, of the same dtype and layout, with the input's metadata and the engine's notes."""
        hole = None if mask is None else Hole(mask, self.grow_px, self.feather_px, opaque=self.opaque_hole)
        restored = self.restorer.restore(
            self.task, image.pixels, alpha=image.alpha, scale=self.scale, denoise=self.denoise, mask=hole
        )
        notes = (*image.notes, *restored.notes, *_notes_on(mask))
        return image.restored(np.ascontiguousarray(restored.image), restored.alpha, notes), restored


def _notes_on(mask: NDArray[np.bool_] | None) -> tuple[str, ...]:
    """What a person should know of a hole (None: there is no mask) that is hardly meant as it is."""
    if mask is None:
        return ()
    share = np.count_nonzero(mask) / mask.size
    if share > _NEARLY_ALL_SHARE:
        return (_NEARLY_ALL.format(100 * share),)
    return () if share else (_NO_HOLE,)
