"""A run folder → what it records. Reads only, and reads well what a run that is going on, or has crashed, left there.

Damaged lines and files are left out and named in `RunRecord.notes`; only a folder without any log is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adacode_cli.atomic import reason
from adacode_cli.errors import TrainingError
from adacode_cli.training.log_keys import SECONDS, STEP

Line = Mapping[str, float]

_HINT = "A run folder is what 'adacode train basis', 'fuse' and 'restore' write with -o; it holds NAME.jsonl logs."
BASIS = "basis-"
_START = "basis-start"
_FUSED = "fused"
_TASKS = ("sr-x4", "sr-x2", "inpaint")


@dataclass(frozen=True)
class Series:
    """One quantity over the steps of a stage; both tuples are equally long, steps rise, values are finite."""

    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """A picture file of rows input | output | target, and after how many steps it was made."""

    step: int
    path: Path


@dataclass(frozen=True)
class StageRecord:
    """What a stage left: log lines in the order of their steps, each step once, and samples in theirs.

    `finished` says that its weights are there; `updated` is when the log was last written, in seconds since 1970.
    """

    name: str
    lines: tuple[Line, ...]
    samples: tuple[Sample, ...]
    finished: bool
    updated: float

    def logged(self) -> tuple[str, ...]:
        """All keys of the log but "step", in the order of their appearance."""
        return tuple(dict.fromkeys(key for line in self.lines for key in line if key != STEP))

    def series(self, key: str) -> Series:
        """The values of a key where the log has it, without those that are not finite."""
        points = [(line[STEP], line[key]) for line in self.lines if math.isfinite(line.get(key, math.nan))]
        return Series(tuple(step for step, _ in points), tuple(value for _, value in points))

    def seconds(self) -> float | None:
        """How long the steps of the log took, or None where it does not say; goes on where a resumed run began at 0."""
        values = self.series(SECONDS).values
        if not values:
            return None
        gains = (now - before if now >= before else now for before, now in zip((0.0, *values), values, strict=False))
        return sum(gains)


@dataclass(frozen=True)
class RunRecord:
    """A run folder: its stages (at least one) in the order of training, settings, photographs.

    `recipe` and `shards` are empty where the folder has none; `notes` say what could not be read, a sentence each.
    """

    folder: Path
    stages: tuple[StageRecord, ...]
    recipe: Mapping[str, object]
    shards: Mapping[str, object]
    notes: tuple[str, ...]


def read_run(folder: Path) -> RunRecord:
    """What is in a run folder now. Raises TrainingError where there is no log with at least one line."""
    notes: list[str] = []
    found = read_stages(folder, notes)
    if not found:
        raise TrainingError("holds no training log (NAME.jsonl)", path=folder, hint=_HINT)
    stages = [stage for stage in found if stage.lines]
    if not stages:
        hint = "Wait until training has written its first line, then run this again."
        raise TrainingError("the training logs hold no line yet", path=folder, hint=hint)
    recipe, shards = (_object(folder / name, notes) for name in ("recipe.json", "shards.json"))
    return RunRecord(folder, tuple(stages), recipe, shards, tuple(notes))


def read_stages(folder: Path, notes: list[str]) -> list[StageRecord]:
    """All stages with a log, in the order of training; what is damaged is left out and goes to `notes`.

    Raises TrainingError where the folder cannot be read.
    """
    try:
        logs = sorted(path for path in folder.iterdir() if path.suffix == ".jsonl" and path.is_file())
    except OSError as error:
        raise TrainingError(f"cannot be read: {reason(error)}", path=folder, hint=_HINT) from error
    return sorted((_stage(path, notes) for path in logs), key=_order)


def _order(stage: StageRecord) -> tuple[int, int, str]:
    if stage.name.startswith(BASIS):
        return 0, int(stage.name != _START), stage.name
    if stage.name == _FUSED:
        return 1, 0, stage.name
    return 2, _TASKS.index(stage.name) if stage.name in _TASKS else len(_TASKS), stage.name


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


def _lines(data: bytes, name: str, notes: list[str]) -> tuple[Line, ...]:
    kept: list[Line] = []
    damaged: list[int] = []
    rows = data.split(b"\n")
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        line = _line(row)
        if line is None:
            damaged.append(number)
            continue
        # A run that went on from a checkpoint repeats steps that an interrupted one had logged after that checkpoint.
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


def _line(row: bytes) -> Line | None:
    """The numbers of a log line, or None where it is no JSON object with a step."""
    try:
        values = json.loads(row)
        if not isinstance(values, dict):
            return None
        numbers = {key: float(value) for key, value in values.items() if _is_number(value)}
    except (ValueError, OverflowError, RecursionError):
        return None
    return numbers if math.isfinite(numbers.get(STEP, math.nan)) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _samples(folder: Path) -> tuple[Sample, ...]:
    try:
        paths = [
            path for path in folder.iterdir() if path.suffix == ".png" and path.stem.isascii() and path.stem.isdigit()
        ]
    except OSError:  # no samples yet
        return ()
    return tuple(sorted((Sample(int(path.stem), path) for path in paths), key=lambda sample: sample.step))


def _object(path: Path, notes: list[str]) -> Mapping[str, object]:
    """The JSON object in a file; empty where there is none, with a note where the file is there."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    notes.append(f"{path.name} is damaged: left out.")
    return {}
