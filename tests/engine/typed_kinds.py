"""What a type checker knows of results: `make types` checks this file. An error that must be one is ignored by name,
and mypy reports an ignored error that does not occur.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from adacode_cli import Codes, Restored, Restorer
from adacode_cli.geometry import Hole

Array = npt.NDArray[Any]


def results_are_of_the_kind_of_their_images(restorer: Restorer, bytes_HWC: npt.NDArray[np.uint8], x: Tensor) -> None:
    """One image."""
    opened = Image.open("photo.jpg")
    mask = bytes_HWC[..., 0] > 127
    assert_type(restorer.sr(bytes_HWC), Array)
    assert_type(restorer.sr(x, 2, denoise=0.5), Tensor)
    assert_type(restorer.sr(opened, scale=2.5), Image.Image)
    assert_type(restorer.inpaint(bytes_HWC, mask, grow=2, feather=2, exemplars=False), Array)
    assert_type(restorer.inpaint(x, x[:1] > 0), Tensor)
    assert_type(restorer.inpaint(opened, Image.open("mask.png"), grow=1), Image.Image)
    assert_type(restorer.inpaint(opened, Hole(mask)), Image.Image)
    assert_type(restorer.reconstruct(bytes_HWC), Array)
    assert_type(restorer.reconstruct(x), Tensor)
    assert_type(restorer.reconstruct(opened), Image.Image)


def several_images(restorer: Restorer, arrays: list[Array], tensors: tuple[Tensor, ...], paths: list[Path]) -> None:
    """Sequences and iterators."""
    opened = [Image.open(path) for path in paths]  # of a subclass of Image
    mask = arrays[0] > 0
    assert_type(restorer.sr(arrays), list[Array])
    assert_type(restorer.sr(tensors), list[Tensor])
    assert_type(restorer.sr(deque(tensors)), list[Tensor])
    assert_type(restorer.sr(opened, 2), list[Image.Image])
    assert_type(restorer.sr(Image.open(path) for path in paths), Iterator[Image.Image])
    assert_type(restorer.sr(iter(arrays)), Iterator[Array])
    assert_type(restorer.inpaint(arrays, mask), list[Array])
    assert_type(restorer.inpaint(opened, [mask, mask], grow=2), list[Image.Image])
    assert_type(restorer.inpaint(iter(tensors), (tensor[:1] for tensor in tensors)), Iterator[Tensor])
    assert_type(restorer.reconstruct(arrays), list[Array])
    assert_type(restorer.reconstruct(iter(opened)), Iterator[Image.Image])


def what_else_it_gives(restorer: Restorer, image: Array, x: Tensor) -> None:
    """The whole result, codes, and the object itself."""
    assert_type(restorer.restore("sr", image), Restored[Array])
    assert_type(restorer.restore("sr", x).image, Tensor)
    assert_type(restorer.restore("inpaint", Image.open("a.png"), mask=x).image, Image.Image)
    assert_type(restorer.encode(x), Codes)
    assert_type(restorer.decode(restorer.encode(Image.open("a.png"))).image, Array)
    assert_type(restorer.to("cuda"), Restorer)
    with Restorer.from_pretrained() as opened:
        assert_type(opened, Restorer)


def what_is_not_taken(restorer: Restorer, image: Array) -> None:
    """Types that are errors."""
    restorer.sr("photo.jpg")  # type: ignore[type-var]
    restorer.sr(Path("photo.jpg"))  # type: ignore[call-overload]
    restorer.sr(None)  # type: ignore[call-overload]
    restorer.sr([Path("photo.jpg")])  # type: ignore[type-var]
    restorer.inpaint(image)  # type: ignore[call-overload]
    restorer.inpaint(image, "mask.png")  # type: ignore[call-overload]
    restorer.inpaint(image, image > 0, shrink=1)  # type: ignore[call-overload]
    restorer.restore("sr", "photo.jpg")  # type: ignore[type-var]
