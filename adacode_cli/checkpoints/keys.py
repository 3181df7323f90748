"""What a state dict should hold against what it does hold, in words that name the keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor


def key_problems(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Every key that is missing, too many, or of another shape than expected; "" where both agree."""
    kinds = {
        "missing keys": expected.keys() - found.keys(),
        "unexpected keys": found.keys() - expected.keys(),
        "wrong shapes": {key for key in expected.keys() & found.keys() if expected[key].shape != found[key].shape},
    }
    return "; ".join(f"{kind}: {listing(keys)}" for kind, keys in kinds.items() if keys)


def listing(keys: Collection[str], most: int = 8) -> str:
    """Names in order, at most `most` of them, the rest counted."""
    shown = ", ".join(sorted(keys)[:most])
    return shown if len(keys) <= most else f"{shown} and {len(keys) - most} more"
