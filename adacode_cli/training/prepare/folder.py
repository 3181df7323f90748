"""The output folder: a folder in use is refused, an incomplete one never looks complete, and other files are kept.

Its manifest is written last and removed first. A run first notes the names of its files in a hidden file, so that the
files of a killed run can be distinguished from other files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from adacode_cli import atomic
from adacode_cli.errors import OutputError, translated
from adacode_cli.training.prepare.examine import LeftOut
from adacode_cli.training.prepare.packing import Member, ShardEntry
from adacode_cli.training.prepare.refused import Refusal
from adacode_cli.training.prepare.settings import PrepareSettings
from adacode_cli.training.shards import FORMAT, MANIFEST, SPLITS

SPOOL = ".prepare-crops.adacode-part"
_PLAN = ".prepare-files.adacode-part"
_DIGITS = 6


class OutputFolder:
    """`path`, made if necessary. Raises OutputError if it holds files and `overwrite` is not set."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        with translated(OutputError, "cannot be used", path, hint="Choose a writable directory (-o)."):
            path.mkdir(parents=True, exist_ok=True)
            present = sorted(entry.name for entry in path.iterdir() if entry.name not in (SPOOL, _PLAN))
        if present and not overwrite:
            hint = "Choose another -o, or --overwrite to replace the shards in it; other files stay."
            raise OutputError(f"is not empty: it holds {present[0]!r}", path=path, hint=hint)

    @contextmanager
    def writing(self, names: list[str]) -> Iterator[None]:
        """Within the block, the shards `names` are written. Removes what earlier runs wrote here, manifest first.

        If the block fails, the files of this run are removed as far as the file system allows it.
        """
        earlier = [*_noted(self.path / MANIFEST), *_noted(self.path / _PLAN)]
        self._remove([MANIFEST, *earlier])
        plan = {"shards": [{"file": name} for name in names]}
        atomic.write_bytes(self.path / _PLAN, json.dumps(plan).encode())
        try:
            yield
        except BaseException:
            with suppress(OutputError):
                self._remove([MANIFEST, *names, _PLAN])
            raise

    def finish(self, manifest: dict[str, object]) -> Path:
        """Writes the manifest, which makes the folder complete; returns its path."""
        target = self.path / MANIFEST
        atomic.write_bytes(target, (json.dumps(manifest, indent=2, ensure_ascii=True) + "\n").encode())
        self._remove([_PLAN])
        return target

    def _remove(self, names: list[str]) -> None:
        for name in names:
            with translated(OutputError, "cannot be removed", self.path / name, hint="Choose another -o."):
                (self.path / name).unlink(missing_ok=True)


def _noted(path: Path) -> list[str]:
    """The shards that a manifest or a plan names; none for a file that is missing or of another kind."""
    try:
        shards = json.loads(path.read_bytes())["shards"]
        names = [str(shard["file"]) for shard in shards]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if Path(name).name == name and name.endswith(".tar")]


@dataclass(frozen=True)
class AllLeftOut:
    """files that are not used, categories without any that is, and reason → number of crops that are not used."""

    files: Sequence[LeftOut]
    categories: Mapping[str, Refusal]
    crops: Mapping[str, int]


def manifest_of(
    settings: PrepareSettings,
    *,
    members: Mapping[str, Sequence[Member]],
    shards: Sequence[ShardEntry],
    areas: Mapping[str, int],
    left_out: AllLeftOut,
    held_out_by: Mapping[str, str],
) -> dict[str, object]:
    """The manifest. members: split → crops; areas: photograph → pixels; held_out_by: category → what was counted.

    It has no path of this machine and no time, so that the same input gives the same bytes.
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
        "held_out_by": dict(held_out_by),
        "photographs": len(photos),
        "megapixels": round(sum(areas[file] for file in photos) / 1e6, 3),
        "shards": [asdict(shard) for shard in shards],
        "crops": {split: {c: counts[split][c] for c in categories} for split in SPLITS},
        "statistics": _statistics(members["train"]),
        "left_out": {
            "counts": dict(sorted(Counter(one.reason for one in left_out.files).items())),
            "categories": {name: asdict(why) for name, why in sorted(left_out.categories.items())},
            "crops": dict(left_out.crops),
            "files": [_left_out(one) for one in sorted(left_out.files, key=lambda one: one.file)],
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
