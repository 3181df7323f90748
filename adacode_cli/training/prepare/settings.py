"""The settings of `train prepare`. Impossible values are refused when the settings are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from adacode_cli.errors import UsageError

Encoding = Literal["jpeg", "webp"]

MIN_CROP_PX = 32


@dataclass(frozen=True)
class Limits:
    """A photograph beyond one of these is left out; `measures` defines each number. Raises UsageError.

    blur_px: largest width of the sharpest edges, σ in px.
    detail: smallest contrast of the more detailed quarter, levels of 255. It counts for each crop, and for a photograph
        whose crops are all below it.
    duplicate_bits: largest Hamming distance, of 64 bits, between two photographs taken for one; -1 keeps duplicates.
    jpeg_quality: lowest libjpeg quality, 1 to 100; 0 keeps all.
    blockiness: largest strength of an 8×8 grid, levels.
    """

    blur_px: float = 1.2
    detail: float = 2.0
    duplicate_bits: int = 2
    jpeg_quality: float = 75.0
    blockiness: float = 1.2

    def __post_init__(self) -> None:
        for name in ("blur_px", "detail", "jpeg_quality", "blockiness"):
            _require(getattr(self, name) >= 0, f"the limit {name} must not be negative")
        _require(-1 <= self.duplicate_bits <= 32, "the limit duplicate_bits is from -1 (keep all) to 32")
        _require(self.jpeg_quality <= 100, "the limit jpeg_quality is from 0 (keep all) to 100")


@dataclass(frozen=True)
class PrepareSettings:
    """How photographs become shards. Raises UsageError for impossible values.

    crop_px: side of a crop, and smallest side of a photograph.
    categories: how many to find; None takes the names of the sub-folders.
    features: weights file of the network that describes photographs when categories are to be found; None is the
        bundled one.
    limits: which photographs are left out.
    encoding: of crops.
    validation: share of a category's photographs kept from training.
    shard_mb, max_mb: megabytes (10⁶ bytes) of a shard and of all of them; None is no bound.
    seed: random seed of every choice.
    licence, source: of the photographs, for the manifest.
    overwrite: shards that the output folder holds are replaced.
    workers: threads that decode; changes no byte.
    """

    crop_px: int = 512
    categories: int | None = None
    features: Path | None = None
    limits: Limits = field(default_factory=Limits)
    encoding: Encoding = "jpeg"
    validation: float = 0.02
    shard_mb: float = 64.0
    max_mb: float | None = None
    seed: int = 0
    licence: str = ""
    source: str = ""
    overwrite: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        _require(self.crop_px >= MIN_CROP_PX, f"crops have at least {MIN_CROP_PX} px a side")
        _require(self.categories is None or self.categories >= 1, "at least one category can be found")
        _require(
            self.features is None or self.categories is not None, "--features describes photographs to --categories"
        )
        _require(self.encoding in get_args(Encoding), f"crops are not encoded as {self.encoding!r}: jpeg or webp")
        _require(0 <= self.validation <= 0.5, "the share for validation is from 0 to 0.5")
        _require(self.shard_mb > 0, "a shard has a positive size")
        _require(self.max_mb is None or self.max_mb > 0, "the bound on all shards is positive")
        _require(self.seed >= 0 and self.workers >= 1, "the seed is 0 or more, the workers are 1 or more")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UsageError(what, hint="`adacode train prepare --help` lists the options and what they take.")
