"""What must be the same on every machine of a cluster, so that its results are those of one machine."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

from adacode_cli.errors import UsageError
from adacode_cli.version import __version__

# The libraries that compute pixels or write them. Where one has two names, the first that is installed counts.
_LIBRARIES = (
    ("torch",),
    ("numpy",),
    ("opencv-python-headless", "opencv-python"),
    ("pillow",),
    ("tifffile",),
    ("imagecodecs",),
    ("pillow-heif",),
    ("pillow-jxl-plugin",),
    ("rawpy",),
    ("openvino",),
)
_ABSENT = "not at all"


def versions() -> dict[str, str]:
    """The versions of adacode, of Python and of the libraries on this machine; those that are not there are left out.

    Builds of one version for different devices ("2.9.0+cpu" and "2.9.0+cu128" of torch) count as the same.
    """
    found = {"adacode": __version__, "Python": platform.python_version().rpartition(".")[0]}
    for names in _LIBRARIES:
        for name in names:
            try:
                found[names[0]] = metadata.version(name).partition("+")[0]
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def require_same(machine: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raises UsageError that names what differs between the machine of a worker and this one."""
    differing = [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)]
    if not differing:
        return
    said = ", ".join(f"{name} {theirs.get(name, _ABSENT)} (here {ours.get(name, _ABSENT)})" for name in differing)
    hint = "Install the same versions on every machine of the cluster, and run the same command again."
    raise UsageError(f"{machine} has other versions than this machine: {said}", hint=hint)
