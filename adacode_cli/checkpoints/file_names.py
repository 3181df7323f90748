"""The names of files of weights: their suffixes, in lower case, and those of a family's parts.

Nothing here imports torch, so that mistakes in names are reported before slow steps.
"""

from __future__ import annotations

PICKLED = (".pth", ".pt", ".ckpt")
"""Of files of tensors as training code pickles them."""
SUFFIXES = (".safetensors", *PICKLED)
SHARED_PARTS = ("basis", "fused")
"""The parts that all tasks of a family need, in the order in which they are trained."""


def part_name(family: str, part: str) -> str:
    """The name of the file of one part of a family: a shared part, or a task with its scale, such as sr-x4."""
    return f"{family}-{part}.safetensors"


def shared_names(family: str) -> list[str]:
    """The names of the files with the shared parts of a family, in the order of `SHARED_PARTS`."""
    return [part_name(family, part) for part in SHARED_PARTS]
