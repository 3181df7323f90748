"""One result beside its original, as an image for a terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from adacode_cli.batch.contents import content_of
from adacode_cli.batch.gallery.entries import digest_in, fields_of
from adacode_cli.batch.journal import JOURNAL, lines_in
from adacode_cli.batch.state_files import is_path
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.files import file_bytes
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.samples import on_white, to_depth

_GAP = 2


@dataclass(frozen=True)
class Original:
    """The original of a result: where it was, and the SHA-256 of what it held when it was restored, or ""."""

    path: Path
    sha256: str

    def has_changed(self) -> bool:
        """Whether the file has another content now. Raises InputError."""
        return bool(self.sha256) and content_of(file_bytes(self.path)).sha256 != self.sha256


def original_of(result: Path) -> Original | None:
    """The original of a result, by the journal of the tree that it lies in; None if none names it.

    Raises JournalError.
    """
    place = Path(os.path.abspath(result))  # noqa: PTH100 (Path.absolute leaves dots)
    for root in place.parents:
        if not os.path.lexists(root / JOURNAL):
            continue
        name, found = place.relative_to(root).as_posix(), None
        for line, _ in lines_in(root, 0):
            fields = fields_of(line)
            if fields and fields["target"] == name and is_path(fields.get("path")):
                found = Original(Path(str(fields["path"])), digest_in(fields.get("source_sha256")))
        if found is not None:
            return found
    return None


def opened(path: Path, decoder: Decode) -> Decoded:
    """A file, decoded. Raises InputError."""
    return decoder(file_bytes(path), name=str(path), accept_damaged=True)


def beside(before: Decoded | None, after: Decoded, room: tuple[int, int]) -> Image.Image:
    """Both in one image of at most `room` = (width, height) pixels, at one size, with a gap; or `after` alone."""
    count = 1 if before is None else 2
    width, height = (room[0] - (count - 1) * _GAP) // count, room[1]
    scale = min(width / after.size[1], height / after.size[0])
    size = max(1, round(after.size[1] * scale)), max(1, round(after.size[0] * scale))
    sides = [_fitted(one, size) for one in (before, after) if one is not None]
    whole = Image.new("RGB", (count * size[0] + (count - 1) * _GAP, size[1]))
    for number, side in enumerate(sides):
        whole.paste(side, (number * (size[0] + _GAP), 0))
    return whole


def _fitted(image: Decoded, size: tuple[int, int]) -> Image.Image:
    pixels = image.pixels if image.alpha is None else on_white(image.pixels, image.alpha)
    way = cv2.INTER_AREA if size[0] < image.size[1] else cv2.INTER_LINEAR
    small = to_depth(np.ascontiguousarray(cv2.resize(pixels, size, interpolation=way)), np.uint8)
    return Image.fromarray(small).convert("RGB")
