"""Names in a run folder: of its files, and of the quantities in its logs, for all modules that write, read or draw
them.

A log line maps names to numbers: "pixel", "learning_rate", "perplexity/nature", "validation/psnr", … An unknown key
is a loss term if it has no slash, and `OTHER` if it has one.
"""

from __future__ import annotations

from enum import StrEnum

LogLine = dict[str, float]

# Stages' names: basis-start and basis-<category> (stage I), fused (stage II), and those of the tasks (stage III).
BASIS = "basis-"
START = "start"
FUSED = "fused"
# Files beside those of the stages: the settings, the manifest of the shards, and how the finished stages ended.
RECIPE = "recipe.json"
SHARDS = "shards.json"
ENDS = "stages.json"

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
    GRADIENT = "gradient"
    OTHER = "other"


_BY_PREFIX = {
    "loss": Group.LOSS,
    "perplexity": Group.PERPLEXITY,
    "used": Group.USED,
    "validation": Group.VALIDATION,
}
_SPEED = frozenset({IMAGES_PER_S, "steps_per_s", WAITING, MEMORY_MB, SECONDS})
_RATE = "learning_rate"
# Norms before clipping, of the network and of its adversary.
_GRADIENTS = {"gradient": "network", "discriminator_gradient": "discriminator"}
_WHOLE = (
    {key: (Group.SPEED, key) for key in _SPEED}
    | {key: (Group.GRADIENT, whose) for key, whose in _GRADIENTS.items()}
    # A stage with one codebook may leave its name out.
    | {"perplexity": (Group.PERPLEXITY, ""), "used": (Group.USED, "")}
)
# Scores on held-out crops.
VALIDATION = "validation/"
# The number of images of a validation: not drawn as a curve, but stated in model cards.
NUM_VALIDATED = f"{VALIDATION}crops"


def group_of(key: str) -> tuple[Group, str]:
    """The group of a key (not "step") and its name within it: "used/nature" is (USED, "nature")."""
    prefix, slash, rest = key.partition("/")
    if prefix == _RATE:
        return Group.RATE, key
    if key in _WHOLE:
        return _WHOLE[key]
    if not slash:
        return Group.LOSS, key
    if prefix in _BY_PREFIX and rest:
        return _BY_PREFIX[prefix], rest
    return Group.OTHER, key
