"""Files of which only the names matter."""

from __future__ import annotations

from pathlib import Path


def touch(*names: str) -> None:
    """Makes each of them, and the folders that it lies in."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
