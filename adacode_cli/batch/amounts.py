"""How much memory a decoded image takes, and the error of a job for which it was insufficient."""

from __future__ import annotations

from pathlib import Path

from adacode_cli.errors import InputError
from adacode_cli.imaging.image import Decoded


def size_of(image: Decoded) -> tuple[int, int]:
    """(pixels of all pages, bytes of their samples)."""
    return sum(page.size[0] * page.size[1] for page in image.pages), sum(page.pixels.nbytes for page in image.pages)


def out_of_memory(source: Path, size: tuple[int, int] | None) -> InputError:
    """The error of a job for which the memory was insufficient in this process, outside the engine.

    size: pixels and bytes of the decoded image; None if it was not decoded yet.
    """
    hint = "Close other programs, use a smaller --jobs, or make the image smaller first."
    message = "needs more memory to be read than is available"
    if size:
        held = f"the {size[0]:,} decoded pixels alone take {size[1] / 1e6:.3g} MB"
        message = f"needs more memory than is available: {held}"
    return InputError(message, path=source, hint=hint, over_limit=True)
