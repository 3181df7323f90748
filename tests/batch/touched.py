"""Files of which only the names matter."""

from __future__ import annotations

from pathlib import Path


def touch(*names: str) -> None:
    """Makes each of them below the working directory, and the folders that it lies in."""
    touch_below(Path(), *names)


def touch_below(root: Path, *names: str) -> None:
    """Makes each of them below `root`, and the folders that it lies in."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
