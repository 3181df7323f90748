"""Files are checked before they are used: their SHA-256, and JSON without ambiguities.

Weights are read by the network and, for published files, by an unpickler. A file that is truncated, damaged on disk or
replaced is therefore refused here, with both digests in the message, and does not lead to a wrong image later.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from adacode_cli.errors import WeightsError, translated

_PATTERN = re.compile(r"[0-9a-f]{64}")


def is_sha256(text: str) -> bool:
    """Whether `text` is a SHA-256 as this project writes it: 64 lower-case hexadecimal digits."""
    return _PATTERN.fullmatch(text) is not None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, read in pieces, as 64 lower-case hexadecimal digits.

    Raises WeightsError when the file cannot be read.
    """
    with translated(WeightsError, "cannot be read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected: str, *, hint: str) -> None:
    """Return only if the content of `path` has the SHA-256 `expected`.

    Raises WeightsError with the expected and the found digest, and with `hint`.
    """
    found = sha256_of(path)
    if found != expected:
        raise mismatch(path, expected=expected, found=found, hint=hint)


def mismatch(path: Path | str, *, expected: str, found: str, hint: str) -> WeightsError:
    """The error for a file whose content is not the expected one."""
    return WeightsError(f"has the wrong SHA-256: expected {expected}, found {found}", path=path, hint=hint)


def read_json(text: str) -> object:
    """Parses a JSON text in which no name occurs twice in an object and every number is finite.

    Raises ValueError or RecursionError for any other text.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in an object")
    return found


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is not a number")
