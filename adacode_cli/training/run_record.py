"""A run folder → what it records of a training: settings, photographs, logs, samples. Reads only.

The reader also reads the folder of a running or a crashed training. Damaged lines and files are left out and named in
`RunRecord.notes`; `require_lines` and `require_undamaged` are for callers that need them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from adacode_cli.errors import TrainingError, reason, translated
from adacode_cli.tasks import by_label
from adacode_cli.training.run_names import BASIS, FUSED, RECIPE, SECONDS, SHARDS, START, STEP, VALIDATION, LogLine

_HINT = "A run folder is what 'adacode train basis', 'fuse' and 'restore' write with -o; it holds NAME.jsonl logs."
_DAMAGE_HINT = "Repair it, or remove it: the model card then lacks its figures."
# Larger than any count, size or time of a run.
_NO_FIGURE = 1e18


@dataclass(frozen=True)
class Series:
    """One quantity over the steps of a stage; both tuples have the same length, steps increase, values are finite."""

    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class SampleFile:
    """An image file of rows input | output | target, and after how many steps it was made."""

    step: int
    path: Path


@dataclass(frozen=True)
class StageRecord:
    """The files of a stage: log lines in the order of their steps, each step once, and samples in the same order.

    `finished`: its weights exist; `updated` is when the log was last written, in seconds since 1970.
    """

    name: str
    lines: tuple[LogLine, ...]
    samples: tuple[SampleFile, ...] = ()
    finished: bool = False
    updated: float = 0.0

    def logged(self) -> tuple[str, ...]:
        """All keys of the log except "step", in the order of their appearance."""
        return tuple(dict.fromkeys(key for line in self.lines for key in line if key != STEP))

    def series(self, key: str) -> Series:
        """The finite values of a key in the log."""
        points = [(line[STEP], line[key]) for line in self.lines if math.isfinite(line.get(key, math.nan))]
        return Series(tuple(step for step, _ in points), tuple(value for _, value in points))

    def seconds(self) -> float | None:
        """How long the steps of the log took, also if a resumed run counted from 0; None if it is not logged."""
        values = self.series(SECONDS).values
        if not values:
            return None
        gains = (now - before if now >= before else now for before, now in zip((0.0, *values), values, strict=False))
        return sum(gains)


@dataclass(frozen=True)
class RunRecord:
    """A run folder: its stages in the order of training, of each of which there is at least one log line.

    recipe: all settings of the last command (recipe.json); shards: the manifest of its training data
    (shards.json). Both are None if the folder has none, as in runs of earlier versions.
    notes: what could not be read, a sentence each.
    damage: what is wrong with recipe.json or shards.json.
    """

    folder: Path
    stages: tuple[StageRecord, ...] = ()
    recipe: Mapping[str, Any] | None = None
    shards: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    damage: tuple[TrainingError, ...] = ()

    def require_lines(self) -> None:
        """Raises TrainingError where there is no log with at least one line."""
        if self.stages:
            return
        if any(self.folder.glob("*.jsonl")):
            hint = "Wait until training has written its first line, then run this again."
            raise TrainingError("the training logs hold no line yet", path=self.folder, hint=hint)
        raise TrainingError("holds no training log (NAME.jsonl)", path=self.folder, hint=_HINT)

    def require_undamaged(self) -> None:
        """Raises TrainingError where recipe.json or shards.json is there and cannot be read."""
        if self.damage:
            raise self.damage[0]

    def lines(self, name: str) -> tuple[LogLine, ...]:
        """The log of the stage NAME; empty where there is none."""
        return next((stage.lines for stage in self.stages if stage.name == name), ())

    def last(self, name: str, key: str) -> float | None:
        """The number that the log of NAME has under `key` most recently; None where there is none."""
        found = (figure(line.get(key)) for line in reversed(self.lines(name)))
        return next((value for value in found if value is not None), None)

    def validation(self, name: str) -> LogLine:
        """The last line of NAME's log with a score on held-out crops; {} where there is none."""
        lines = reversed(self.lines(name))
        return next((line for line in lines if any(key.startswith(VALIDATION) for key in line)), {})

    def settings(self, name: str, stage: str) -> Mapping[str, Any]:
        """NAME's settings for its stage ("basis", "fuse", "restore"), from the metadata of its weights, otherwise from
        recipe.json.

        Empty if they are not recorded. Raises WeightsError for damaged weights.
        """
        path = self.folder / f"{name}.safetensors"
        own = _carried_recipe(path) if self.lines(name) and path.is_file() else {}
        return mapping(own.get(stage)) or mapping(mapping(self.recipe).get(stage))


def read_run(folder: Path) -> RunRecord:
    """What is in a run folder now. Raises TrainingError where the folder itself cannot be read."""
    with translated(TrainingError, "cannot be read", folder, hint=_HINT):
        logs = sorted(path for path in folder.iterdir() if path.suffix == ".jsonl" and path.is_file())
    notes: list[str] = []
    damage: list[TrainingError] = []
    stages = sorted((_stage(path, notes) for path in logs), key=_order)
    found: dict[str, Mapping[str, Any] | None] = dict.fromkeys((RECIPE, SHARDS))
    for name in found:
        try:
            found[name] = _json_object(folder / name)
        except TrainingError as error:
            damage.append(error)
            notes.append(f"{name} is damaged: left out.")
    with_lines = tuple(stage for stage in stages if stage.lines)
    return RunRecord(folder, with_lines, found[RECIPE], found[SHARDS], tuple(notes), tuple(damage))


def figure(value: object) -> float | None:
    """`value` if it is a number of a plausible size, else None: JSON written by Python may contain NaN and Infinity."""
    return value if _is_number(value) and abs(value) < _NO_FIGURE else None


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _order(stage: StageRecord) -> tuple[int, int, str]:
    if stage.name.startswith(BASIS):
        return 0, int(stage.name != f"{BASIS}{START}"), stage.name
    if stage.name == FUSED:
        return 1, 0, stage.name
    labels = list(by_label())
    return 2, labels.index(stage.name) if stage.name in labels else len(labels), stage.name


def _stage(log: Path, notes: list[str]) -> StageRecord:
    name = log.stem
    try:
        data, updated = log.read_bytes(), log.stat().st_mtime
    except OSError as error:
        data, updated = b"", 0.0
        notes.append(f"{log.name} is left out: {reason(error)}.")
    lines = _lines(data, log.name, notes)
    if not lines:
        notes.append(f"{log.name} holds no line yet.")
    samples = _samples(log.parent / "samples" / name)
    return StageRecord(name, lines, samples, log.with_suffix(".safetensors").is_file(), updated)


def _lines(data: bytes, name: str, notes: list[str]) -> tuple[LogLine, ...]:
    kept: list[LogLine] = []
    damaged: list[int] = []
    rows = data.split(b"\n")
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        line = _line(row)
        if line is None:
            damaged.append(number)
            continue
        # A run that continued from a checkpoint repeats steps that an interrupted one had logged after that checkpoint.
        while kept and kept[-1][STEP] >= line[STEP]:
            kept.pop()
        kept.append(line)
    if damaged and damaged[-1] == len(rows):
        notes.append(f"The last line of {name} is incomplete (still being written, or cut off by a crash): left out.")
        damaged.pop()
    if damaged:
        shown = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
        notes.append(f"{name}: {len(damaged)} damaged line{'s' * (len(damaged) > 1)} left out ({shown}).")
    return tuple(kept)


def _line(row: bytes) -> LogLine | None:
    """The numbers of a log line, or None where it is no JSON object with a step."""
    try:
        values = json.loads(row)
        numbers = {key: float(value) for key, value in mapping(values).items() if _is_number(value)}
    except (ValueError, OverflowError, RecursionError):
        return None
    return numbers if math.isfinite(numbers.get(STEP, math.nan)) else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _samples(folder: Path) -> tuple[SampleFile, ...]:
    try:
        paths = [
            path for path in folder.iterdir() if path.suffix == ".png" and path.stem.isascii() and path.stem.isdigit()
        ]
    except OSError:  # no samples yet
        return ()
    return tuple(sorted((SampleFile(int(path.stem), path) for path in paths), key=lambda sample: sample.step))


def _json_object(path: Path) -> Mapping[str, Any] | None:
    """The JSON object in a file; None where there is no file. Raises TrainingError for anything else."""
    with translated(TrainingError, "cannot be read", path, hint=_DAMAGE_HINT):
        if not path.exists():
            return None
        data = path.read_bytes()
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:  # both broken JSON and broken UTF-8
        raise TrainingError(f"is not valid JSON: {error}", path=path, hint=_DAMAGE_HINT) from error
    if not isinstance(found, dict):
        raise TrainingError("must be a JSON object", path=path, hint=_DAMAGE_HINT)
    return found


def _carried_recipe(path: Path) -> Mapping[str, Any]:
    from adacode_cli.checkpoints.format import read_weights  # torch takes seconds to import, and a report needs none

    try:
        return mapping(json.loads(read_weights(path).provenance.recipe or "{}"))
    except ValueError:
        return {}  # of a version with another format
