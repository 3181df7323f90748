"""spandrel, also where torchvision is missing or was built for another torch.

spandrel imports three functions of torchvision for two of its own architectures, LaMa and RestoreFormer, which no test
here loads. A torchvision for CUDA beside a torch for the CPU cannot be imported at all. So these functions are replaced
where torchvision has none that work; everything else of spandrel is its own.
"""

from __future__ import annotations

import enum
import importlib
import importlib.util
import sys
from itertools import pairwise
from types import ModuleType

import pytest


class InterpolationMode(enum.Enum):
    """As torchvision has it; spandrel only names one value."""

    BILINEAR = "bilinear"


def _unused(*_: object, **__: object) -> None:
    raise AssertionError("no test loads an architecture that needs torchvision")


def _without_torchvision() -> ModuleType:
    """spandrel, with a torchvision that only exists while it is imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    modules = [ModuleType(name) for name in names]
    for outer, inner in pairwise(modules):
        setattr(outer, inner.__name__.rpartition(".")[2], inner)
    functional = modules[-1]
    functional.InterpolationMode, functional.rotate, functional.normalize = InterpolationMode, _unused, _unused
    sys.modules.update(zip(names, modules, strict=True))
    try:
        return importlib.import_module("spandrel")
    finally:
        for name in names:
            del sys.modules[name]


def spandrel() -> ModuleType:
    """The library; the calling test is skipped where it is not installed."""
    if importlib.util.find_spec("spandrel") is None:
        pytest.skip("spandrel is not installed (pip install --no-deps spandrel)")
    try:
        importlib.import_module("torchvision.transforms.functional")
    except (ImportError, RuntimeError, OSError):
        return _without_torchvision()
    return importlib.import_module("spandrel")
