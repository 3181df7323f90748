"""Where in a folder of masks the mask of a picture may be put so that no other picture of the run would have it too."""

from __future__ import annotations

import bisect
import os
import unicodedata
from collections.abc import Mapping
from functools import cached_property
from itertools import takewhile
from pathlib import Path


class AdvisedPlaces:
    """The places for the masks of a run's pictures: {path: how many parts of it lie below an input, 0 if it is named}.

    A tree may hold thousands of pictures without masks, which all want to know theirs: nothing is made before the first
    one asks, and no picture is compared with all others.
    """

    def __init__(self, pictures: Mapping[str, int]) -> None:
        self._pictures = pictures

    def of(self, path: str, ending: str) -> str:
        """The end of a picture's path that is below its input and of no other picture, with `ending` for its suffix.

        With forward slashes. Where the whole path is also the end of another one, it is that.
        """
        inside = Path(path)
        parts = inside.relative_to(inside.anchor).parts
        most = sum(1 for _ in takewhile(lambda part: part != os.pardir, reversed(parts)))
        length = min(most, max(self._pictures.get(path, 0), self._num_shared(path) + 1))
        return "/".join((*parts[-length:-1], f"{inside.stem}{ending}"))

    @cached_property
    def _ends(self) -> list[tuple[str, ...]]:
        """The parts of each picture's key from its name upwards, sorted: those with like ends lie side by side."""
        return sorted({_from_the_name(path) for path in self._pictures})

    def _num_shared(self, path: str) -> int:
        """How many parts at the end of a picture's path another picture has too."""
        own = _from_the_name(path)
        start = bisect.bisect_left(self._ends, own)
        beside = (end for end in self._ends[max(0, start - 1) : start + 2] if end != own)
        return max((_num_common(own, end) for end in beside), default=0)


def key_of(path: str) -> str:
    """A path with forward slashes and without its suffix; macOS writes é as two code points, most others as one."""
    path = path.replace(os.sep, "/")
    dot = path.rfind(".")
    stem = path[:dot] if dot > path.rfind("/") + 1 else path
    return stem if stem.isascii() else unicodedata.normalize("NFC", stem)


def _num_common(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _from_the_name(path: str) -> tuple[str, ...]:
    return tuple(part for part in reversed(key_of(path).split("/")) if part)
