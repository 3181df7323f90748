"""What the keys of a training log are about, in one place for everything that draws a log.

A log line maps names to numbers: "pixel", "learning_rate", "perplexity/nature", "validation/psnr", … A key that
nobody here knows is a loss term if it has no slash, and `OTHER` if it has one.
"""

from __future__ import annotations

from enum import StrEnum

STEP = "step"
SECONDS = "seconds"
IMAGES_PER_S = "images_per_s"
WAITING = "waiting"
MEMORY_MB = "memory_mb"
TOTAL = "total"


class Group(StrEnum):
    """A kind of quantity; the value is the first part of its name in TensorBoard."""

    LOSS = "loss"
    RATE = "schedule"
    PERPLEXITY = "codes/perplexity"
    USED = "codes/used"
    VALIDATION = "validation"
    SPEED = "speed"
    OTHER = "other"


_BY_PREFIX = {
    "loss": Group.LOSS,
    "perplexity": Group.PERPLEXITY,
    "used": Group.USED,
    "validation": Group.VALIDATION,
}
_SPEED = frozenset({IMAGES_PER_S, "steps_per_s", WAITING, MEMORY_MB, SECONDS})
_RATE = "learning_rate"


def group_of(key: str) -> tuple[Group, str]:
    """The group of a key (not "step") and its name within it: "used/nature" is (USED, "nature")."""
    prefix, slash, rest = key.partition("/")
    if prefix == _RATE:
        return Group.RATE, key
    if key in _SPEED:
        return Group.SPEED, key
    if key in ("perplexity", "used"):  # a stage with one codebook may leave its name out
        return _BY_PREFIX[key], ""
    if not slash:
        return Group.LOSS, key
    if prefix in _BY_PREFIX and rest:
        return _BY_PREFIX[prefix], rest
    return Group.OTHER, key
