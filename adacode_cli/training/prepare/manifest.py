"""manifest.json: what the shards hold, where it came from, and what was left out by which measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from adacode_cli.training.prepare.examine import LeftOut
from adacode_cli.training.prepare.packing import Member, ShardEntry
from adacode_cli.training.prepare.settings import PrepareSettings
from adacode_cli.training.shards import FORMAT, SPLITS

_DIGITS = 6


def manifest_of(
    settings: PrepareSettings,
    *,
    members: Mapping[str, Sequence[Member]],
    shards: Sequence[ShardEntry],
    areas: Mapping[str, int],
    left_out: Sequence[LeftOut],
    left_out_crops: Mapping[str, int],
) -> dict[str, object]:
    """The manifest. members: split → crops; areas: photograph → pixels; left_out_crops: reason → number.

    It names no path of this machine and no time, so that the same input gives the same bytes.
    """
    every = [member for split in SPLITS for member in members[split]]
    categories = sorted({member.category for member in every})
    photos = sorted({member.crop.file for member in every})
    counts = {split: Counter(member.category for member in members[split]) for split in SPLITS}
    return {
        "format": FORMAT,
        "crop_px": settings.crop_px,
        "encoding": settings.encoding,
        "seed": settings.seed,
        "licence": settings.licence,
        "source": settings.source,
        "categories": categories,
        "categories_found": settings.categories is not None,
        "measures": {"min_side_px": settings.crop_px, **asdict(settings.limits)},
        "validation": settings.validation,
        "photographs": len(photos),
        "megapixels": round(sum(areas[file] for file in photos) / 1e6, 3),
        "shards": [shard.to_json() for shard in shards],
        "crops": {split: {c: counts[split][c] for c in categories} for split in SPLITS},
        "statistics": _statistics(members["train"]),
        "left_out": {
            "counts": dict(sorted(Counter(one.reason for one in left_out).items())),
            "crops": dict(left_out_crops),
            "files": [_left_out(one) for one in sorted(left_out, key=lambda one: one.file)],
        },
    }


def _statistics(members: Sequence[Member]) -> dict[str, object]:
    """Mean and standard deviation of the training crops' RGB, in [0, 1]."""
    means = np.stack([member.crop.mean for member in members]) / 255
    squares = (np.stack([member.crop.std for member in members]) / 255) ** 2 + means**2
    mean = means.mean(axis=0)
    std = np.sqrt(np.maximum(squares.mean(axis=0) - mean**2, 0))
    return {"mean_rgb": [round(float(v), _DIGITS) for v in mean], "std_rgb": [round(float(v), _DIGITS) for v in std]}


def _left_out(one: LeftOut) -> dict[str, object]:
    entry: dict[str, object] = {"file": one.file, "reason": one.reason, "value": one.value, "limit": one.limit}
    if isinstance(one.value, float):
        entry["value"] = round(one.value, _DIGITS)
    return entry | ({"detail": one.detail} if one.detail else {})
