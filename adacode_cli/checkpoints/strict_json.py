"""JSON as this project writes it: no name twice in an object, and every number a number.

Other programs would understand such a text in other ways, or not at all.
"""

from __future__ import annotations

import json
from typing import Any


def read_json(text: str) -> object:
    """A JSON text, in which no name stands twice and every number is one.

    Raises ValueError or RecursionError for any other text.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number")
