"""What the beginning of a .safetensors file says, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adacode_cli.errors import WeightsError, translated

_LENGTH_BYTES = 8
# The library that reads safetensors has the same limit.
_MAX_HEADER_BYTES = 100_000_000


def header_of(path: Path) -> dict[str, Any]:
    """The header: tensors by name, and `__metadata__`. Raises WeightsError where there is none."""
    with translated(WeightsError, "cannot be read", path, hint="Check the path."), path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = file.read(length) if 0 < length <= _MAX_HEADER_BYTES else b""
    try:
        found = json.loads(header) if len(header) == length else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        hint = "Use a file that adacode wrote, or copy or download it again."
        raise WeightsError("is not a safetensors file, or is incomplete", path=path, hint=hint)
    return found
