"""The events of `adacode train … --json`: one JSON object per line on standard output, in ASCII.

Every object has `event`. A training is `training-started` (version, command, output, shards, device), for each stage
`stage-started` (name, steps: of the whole stage, or null if its length is a time), then `step-logged` (name, step,
values: the numbers of that line of the log, null for one that is not finite) now and then, and `stage-finished` (name,
path); `stage-kept` (name, path) for one that was finished before; and at the end `training-finished` (written: paths,
stopped: the stage that is unfinished, or null, checkpoint: its path, or null, seconds, exit_code). `note` (text) is
what a person would read on standard error. `error` is as for restoring.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from adacode_cli.cli.streams import write_line

VERSION = 1


def started(command: str, output: Path, shards: Path, device: str) -> None:
    """A training begins."""
    _write("training-started", version=VERSION, command=command, output=str(output), shards=str(shards), device=device)


def stage_started(name: str, steps: int | None) -> None:
    """The first step of a stage, in this session, comes next."""
    _write("stage-started", name=name, steps=steps)


def logged(name: str, step: int, values: Mapping[str, float]) -> None:
    """A line of the log."""
    finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
    _write("step-logged", name=name, step=step, values=finite)


def note(text: str) -> None:
    """A note for the user."""
    _write("note", text=text)


def stage_finished(name: str, path: Path) -> None:
    """The weights of a stage are written."""
    _write("stage-finished", name=name, path=str(path))


def stage_kept(name: str, path: Path) -> None:
    """A stage was finished before, and nothing of it is trained."""
    _write("stage-kept", name=name, path=str(path))


def finished(
    written: Sequence[Path], *, stopped: str | None, checkpoint: Path | None, seconds: float, exit_code: int
) -> None:
    """The training ended, or was stopped with a checkpoint."""
    _write(
        "training-finished",
        written=[str(path) for path in written],
        stopped=stopped,
        checkpoint=None if checkpoint is None else str(checkpoint),
        seconds=round(seconds, 3),
        exit_code=exit_code,
    )


def _write(event: str, **fields: object) -> None:
    write_line(json.dumps({"event": event, **fields}))
