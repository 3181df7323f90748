"""Several images, one after another: sequences, batches of tensors, and iterators, which stay lazy."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import repeat
from typing import Any, TypeGuard

import torch
from torch import Tensor

from adacode_cli.engine.kinds import is_pil
from adacode_cli.errors import AdaCodeError, InputError

One = Callable[[Any, Any], Any]
"""(an image, its mask or None) → its result."""

_END = object()
# Iterables that are images, or that a user took for an image.
_NOT_SEVERAL = (str, bytes, bytearray, memoryview, os.PathLike, io.IOBase, Mapping)
_HINT = "Give one mask for all images, or one for each."


def each(images: object, masks: object, one: One) -> Any:  # noqa: ANN401 (what it is depends on `images`)
    """`one` of an image, or of each of several: a B×C×H×W tensor → a tensor, a sequence → a list, any other iterable →
    a generator, which takes the next image only when its result is asked for.

    masks: one for all images, or as many as there are images, as an iterable or a B×1×H×W tensor. An error about an
    image has its number as `path`: images[3]. Raises InputError for an empty batch and another number of masks, and
    what `one` raises.
    """
    if not _is_several(images):
        return _one_or_batch(images, masks, one)
    masks = _apart(masks)
    numbers = [len(things) for things in (images, masks) if _is_several(things) and isinstance(things, Sized)]
    if len(set(numbers)) > 1:
        raise InputError(f"{numbers[1]} masks are given for {numbers[0]} images", hint=_HINT)
    results = _results(images, masks, one)
    return list(results) if isinstance(images, Sequence) else results


def _is_several(things: object) -> TypeGuard[Iterable[Any]]:
    """Whether it is an iterable of images or masks. Arrays and tensors are none, though they can be iterated."""
    if isinstance(things, _NOT_SEVERAL) or hasattr(things, "__array__") or is_pil(things):
        return False
    return isinstance(things, Iterable)


def _apart(masks: object) -> object:
    """The masks of a B×1×H×W tensor one by one, where B is not 1."""
    return masks.unbind(0) if isinstance(masks, Tensor) and masks.ndim == 4 and len(masks) != 1 else masks


def _results(images: Iterable[Any], masks: object, one: One) -> Iterator[Any]:
    several = _is_several(masks)
    following = iter(masks) if _is_several(masks) else repeat(masks)
    for index, image in enumerate(images):
        mask = next(following, _END)
        if mask is _END:
            raise InputError(f"there are only {index} masks, and more images", hint=_HINT)
        try:
            result = _one_or_batch(image, mask, one)
        except AdaCodeError as error:
            error.path = f"images[{index}]" if error.path is None else f"images[{index}]: {error.path}"
            raise
        yield result
    if several and next(following, _END) is not _END:
        raise InputError("there are more masks than images", hint=_HINT)


def _one_or_batch(image: object, masks: object, one: One) -> Any:  # noqa: ANN401 (what it is depends on `image`)
    if not isinstance(image, Tensor) or image.ndim != 4:
        return one(image, masks)
    if not len(image):
        raise InputError("the batch has no image", hint="Give a B×C×H×W tensor with B of 1 or more.")
    return torch.stack(each(list(image.unbind(0)), masks, one))
