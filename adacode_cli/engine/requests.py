"""What is asked of a `Restorer`, checked before it works: the task, its numbers, the size of the result, the hole."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np

from adacode_cli.codes.image import Codes
from adacode_cli.engine.images import Pixels
from adacode_cli.engine.kinds import taken_mask
from adacode_cli.errors import InputError, UsageError
from adacode_cli.geometry import Hole
from adacode_cli.sizes import Size
from adacode_cli.tasks import TASKS, Task


def known_task(name: object) -> Task:
    """The task of this name. Raises UsageError."""
    if not isinstance(name, str) or name not in TASKS:
        raise UsageError(f"unknown task {name!r}", hint=f"Choose one of: {', '.join(TASKS)}.")
    return TASKS[name]


def factor_of(task: Task, scale: float) -> int:
    """The smallest of a task's scales that is at least `scale`, or its largest one. Raises UsageError."""
    require_numbers(scale=scale)
    return min((s for s in task.scales if s >= scale), default=max(task.scales))


def require_numbers(**values: object) -> None:
    """Raises UsageError for a value that is not a real number."""
    for name, value in values.items():
        if not isinstance(value, Real):
            raise UsageError(f"{name} is {value!r}, which is not a number", hint=f"Give {name} as a number.")


def check_size(task: Task, scale: float, size: Size | None, shape: tuple[int, ...]) -> None:
    """Raises UsageError for a scale, or a size of the result, that a task cannot make of an image of this shape."""
    if not task.enlarges:
        if size is not None:
            hint = f"Leave out the size: the results of {task.name} are as large as their images."
            raise UsageError(f"{task.name} makes no results of another size", hint=hint)
        return
    factor, most = factor_of(task, scale), max(task.scales)
    if not 1 <= scale <= most:
        raise UsageError(f"scale {scale:g} is not between 1 and {most}", hint="For a larger factor, enlarge twice.")
    if size is None:
        return
    if not isinstance(size, tuple | list) or [isinstance(side, Integral) for side in size] != [True, True]:
        raise UsageError(f"the size {size!r} is not a pair of whole numbers", hint="Give (height, width) in pixels.")
    height, width = (side * factor for side in shape[:2])
    if not (1 <= size[0] <= height and 1 <= size[1] <= width):
        raise UsageError(
            f"a result of {size[1]}×{size[0]} pixels is not possible: with scale {scale:g}, it has from 1×1 to "
            f"{width}×{height} pixels",
            hint="Choose a smaller size, or a larger scale. For more than that, enlarge twice.",
        )


def hole_of(mask: object, image: Pixels, grow: int, feather: int, *, exemplars: bool) -> Hole:
    """The hole of an image, of a mask of any kind or a `Hole`. Raises UsageError for an impossible edge.

    Raises InputError without a mask of the image's size, and for a hole that is the whole image.
    """
    require_numbers(grow=grow, feather=feather)
    given = None if mask is None else taken_mask(mask)
    hole = given if isinstance(given, Hole) or given is None else Hole(given, grow, feather, exemplars=exemplars)
    if hole is None or hole.mask.shape != image.shape[:2] or hole.mask.dtype != np.bool_:
        found = "no mask" if hole is None else f"a mask of type {hole.mask.dtype} and shape {hole.mask.shape}"
        hint = "Give a boolean mask, H×W, True in the holes; of values from 0 to 255, mask > 127."
        if hole is not None and hole.mask.dtype == np.bool_:
            hint = (
                "Give a mask of the image's height and width; of a mask with a further axis, mask[..., 0] or mask[0]."
            )
        raise InputError(f"{found} for an image of {image.shape[:2]}", hint=hint)
    if hole.grown.all():  # The network would make a nearly black image of nothing.
        grows = "" if hole.mask.all() else f", which grows by {hole.grow_px} px,"
        raise InputError(
            f"its mask{grows} covers the whole image, so nothing is left from which the hole could be filled",
            hint="Check the mask, or the image with --mask-color or --mask-alpha. White is filled; --grow enlarges it.",
        )
    return hole


def require_alpha_beside(alpha: object, image: object) -> None:
    """Raises InputError unless `alpha` is an array beside an array: other kinds of images have it as a channel."""
    if not isinstance(alpha, np.ndarray) or not isinstance(image, np.ndarray):
        hint = "Give a PIL image of mode LA or RGBA, or a tensor of 2 or 4 channels."
        raise InputError("alpha can be given beside the image only where both are NumPy arrays", hint=hint)


def require_codes(codes: object) -> None:
    """Raises InputError for anything but `Codes`."""
    if not isinstance(codes, Codes):
        hint = "Restorer.encode makes codes of an image, and adacode_cli.codes.file.from_bytes of a file."
        raise InputError(f"an object of type {type(codes).__name__} is not Codes", hint=hint)
