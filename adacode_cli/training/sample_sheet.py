"""Rows of pictures that show how a training run is doing: what a network got, what it made of it, what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from adacode_cli.atomic import reason, write_bytes
from adacode_cli.errors import OutputError

Picture = NDArray[np.uint8]

MOST_ROWS = 6
LINE_PX = 2
_WHITE = 255


def sample_sheet(inputs: Sequence[Picture], outputs: Sequence[Picture], targets: Sequence[Picture]) -> Picture:
    """H×W×3 uint8 RGB: a row input | output | target for each of the first 6 triples, white lines of 2 px between.

    All pictures are H×W×3 uint8 RGB. One that is smaller than its target is enlarged to it by nearest neighbour, so
    that its own pixels can be seen; rows narrower than the widest are filled with white at their right. Raises
    ValueError for no pictures, for sequences of different lengths, another dtype or shape, and for a picture that
    is higher or wider than its target.
    """
    if not len(inputs) == len(outputs) == len(targets) or not len(targets):
        raise ValueError(f"{len(inputs)} inputs, {len(outputs)} outputs and {len(targets)} targets make no rows")
    triples = list(zip(inputs, outputs, targets, strict=True))[:MOST_ROWS]
    rows = [
        _beside([_enlarged(picture, target) for picture in (given, made, target)]) for given, made, target in triples
    ]
    width = max(row.shape[1] for row in rows)
    widened = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=_WHITE) for row in rows]
    line = np.full((LINE_PX, width, 3), _WHITE, np.uint8)
    return np.concatenate(_between(widened, line), axis=0)


def write_sample_sheet(
    path: Path, inputs: Sequence[Picture], outputs: Sequence[Picture], targets: Sequence[Picture]
) -> None:
    """Writes `sample_sheet` as a PNG file; its directory is made. The file appears whole or not at all.

    Raises ValueError as `sample_sheet` does, and OutputError where the disk refuses.
    """
    sheet = sample_sheet(inputs, outputs, targets)
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))
    if not encoded:
        raise OutputError(
            f"a PNG cannot hold {sheet.shape[0]}×{sheet.shape[1]} pixels", path=path, hint="Use smaller crops."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot be made: {reason(error)}"
        raise OutputError(message, path=path.parent, hint="Choose a run folder that can be written to.") from error
    write_bytes(path, data.tobytes())


def _enlarged(picture: Picture, target: Picture) -> Picture:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture of {picture.dtype} {picture.shape} is not H×W×3 uint8")
    (height, width), (full_height, full_width) = picture.shape[:2], target.shape[:2]
    if height > full_height or width > full_width:
        raise ValueError(f"a picture of {height}×{width} is larger than its target of {full_height}×{full_width}")
    rows, columns = np.arange(full_height) * height // full_height, np.arange(full_width) * width // full_width
    enlarged: Picture = picture[rows][:, columns]
    return enlarged


def _beside(pictures: list[Picture]) -> Picture:
    line = np.full((pictures[0].shape[0], LINE_PX, 3), _WHITE, np.uint8)
    return np.concatenate(_between(pictures, line), axis=1)


def _between(pictures: list[Picture], line: Picture) -> list[Picture]:
    """The pictures with a line after each but the last."""
    return [part for picture in pictures for part in (picture, line)][:-1]
