"""The choice of crops for training and validation, and of those that are left out if there are too many.

Every choice follows from the seed and the photographs' names and sizes alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from adacode_cli.training.prepare.packing import SpooledCrop

# A crop that shares more than this part of its pixels with a held-out one would show training what it must not see.
_MAX_SHARED = 0.25
SplitCrops = dict[str, list[SpooledCrop]]
"""Split ("train", "validation") → crops."""


def rank(seed: int, purpose: str, *names: str | int) -> bytes:
    """16 bytes to sort by; `purpose` keeps orders for different uses independent of each other."""
    text = "\0".join(str(part) for part in (seed, purpose, *names))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def validation_photos(files: Sequence[str], share: float, seed: int) -> frozenset[str]:
    """The photographs of one category that training never sees: `share` of them, at least one of two or more."""
    if len(files) < 2 or share == 0:
        return frozenset()
    count = min(max(1, round(share * len(files))), len(files) - 1)
    return frozenset(sorted(files, key=lambda file: rank(seed, "validation", file))[:count])


@dataclass(frozen=True)
class HeldOut:
    """The crops of a category by split. by: what the share for validation was counted in.

    num_beside: crops in neither split, because they show much of what is held out.
    """

    splits: SplitCrops
    by: Literal["photographs", "crops"] = "photographs"
    num_beside: int = 0


def held_out(crops: Mapping[str, Sequence[SpooledCrop]], share: float, seed: int, side: int) -> HeldOut:
    """Divides the crops of a category, which are given by photograph and have `side` pixels, into the two splits.

    Where one photograph is more than the share, crops are counted, because a half or a third of such a category would
    be lost for training. The others of their photographs are used if they hardly overlap with them.
    """
    every = [crop for own in crops.values() for crop in own]
    if share * len(crops) >= 1 or share == 0:
        aside = validation_photos([*crops], share, seed)
        train = [crop for crop in every if crop.file not in aside]
        return HeldOut({"train": train, "validation": [crop for crop in every if crop.file in aside]})
    files = sorted(crops, key=lambda file: rank(seed, "validation", file))
    in_turn = [crop for file in files for crop in sorted(crops[file], key=lambda crop: (crop.y, crop.x))]
    count = max(1, round(share * len(every)))
    chosen, rest = in_turn[:count], in_turn[count:]
    train = [crop for crop in rest if all(_shared(crop, one, side) <= _MAX_SHARED for one in chosen)]
    if not train:  # as with a photograph of one crop
        return HeldOut({"train": every, "validation": []}, "crops")
    return HeldOut({"train": train, "validation": chosen}, "crops", len(rest) - len(train))


def _shared(a: SpooledCrop, b: SpooledCrop, side: int) -> float:
    """The part of their pixels that two crops share."""
    if a.file != b.file:
        return 0.0
    return max(0, side - abs(a.y - b.y)) * max(0, side - abs(a.x - b.x)) / side**2


def by_turns(crops: Iterable[SpooledCrop], seed: int) -> list[SpooledCrop]:
    """Crops in an order in which any beginning of the list has as many photographs as possible, evenly.

    First one crop of each photograph, then a second of each that has one, and so on.
    """
    photos: dict[str, list[SpooledCrop]] = {}
    for crop in crops:
        photos.setdefault(crop.file, []).append(crop)
    turns: list[tuple[int, bytes, SpooledCrop]] = []
    for file, own in photos.items():
        own.sort(key=lambda crop: rank(seed, "crop", file, crop.y, crop.x))
        turns += ((turn, rank(seed, "photo", file), crop) for turn, crop in enumerate(own))
    return [crop for _, _, crop in sorted(turns, key=lambda entry: entry[:2])]


def fair_level(sizes: Sequence[int], total: int) -> int:
    """The largest size for each one so that the total is at most `total`; small ones leave room for others."""
    left, waiting = total, sorted(sizes)
    for i, size in enumerate(waiting):
        level = left // (len(waiting) - i)
        if size > level:
            return level
        left -= size
    return max(sizes, default=0)


def within(bound: int, categories: Mapping[str, SplitCrops], seed: int) -> dict[str, SplitCrops]:
    """The crops that together take `bound` bytes of tar members at most, balanced over the categories.

    Large categories lose crops until they are as large as the others; within one, training and validation lose the
    same share, photographs with many crops lose theirs first, and one crop of each split is kept.
    """
    sizes = {c: sum(_footprint(crops, c) for crops in splits.values()) for c, splits in categories.items()}
    level = fair_level(list(sizes.values()), bound)
    return {c: _cut_down(splits, c, level, sizes[c], seed) for c, splits in categories.items()}


def _cut_down(splits: SplitCrops, category: str, level: int, size: int, seed: int) -> SplitCrops:
    if size <= level:
        return splits
    kept: SplitCrops = {}
    left = level
    # Validation first: the crop that it keeps in any case reduces the share of training.
    for split in sorted(splits, reverse=True):
        wanted = left if split == "train" else level * _footprint(splits[split], category) // size
        kept[split] = _beginning(by_turns(splits[split], seed), category, wanted)
        left -= _footprint(kept[split], category)
    return kept


def _beginning(crops: list[SpooledCrop], category: str, max_bytes: int) -> list[SpooledCrop]:
    used = 0
    for i, crop in enumerate(crops):
        used += crop.footprint(category)
        if used > max_bytes and i > 0:
            return crops[:i]
    return crops


def _footprint(crops: Iterable[SpooledCrop], category: str) -> int:
    return sum(crop.footprint(category) for crop in crops)
