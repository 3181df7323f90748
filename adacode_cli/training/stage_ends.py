"""RUN/stages.json: after how many steps, and on which shards, each finished stage of a run ended.

The weights say with which settings; both together tell whether the same command has anything left to do.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adacode_cli.atomic import write_bytes
from adacode_cli.training.recipe import StageRecipe
from adacode_cli.training.run_names import ENDS, SECONDS, STEP


@dataclass(frozen=True)
class StageEnd:
    """The end of a stage. data: the digest of its shards (`Shards.identity`), "" if it is not known."""

    steps: int
    seconds: float
    data: str = ""

    def reaches(self, length: StageRecipe) -> bool:
        """Whether a stage of that length would have ended there as well."""
        by_time = self.seconds / (60 * length.minutes) if length.minutes else 0.0
        return max(self.steps / length.steps, by_time) >= 1


def read_end(folder: Path, name: str) -> StageEnd | None:
    """How the stage NAME ended, as its log says for runs of earlier versions; None if nothing says it."""
    found = _ends(folder).get(name)
    if found is None:
        found = _last_line(folder / f"{name}.jsonl")
    try:
        end = StageEnd(int(found["steps"]), float(found["seconds"]), str(found["data"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return end if end.steps > 0 and math.isfinite(end.seconds) else None


def write_end(folder: Path, name: str, end: StageEnd) -> None:
    """Adds the end of a stage to the file. Raises OutputError where the disk refuses."""
    ends = _ends(folder) | {name: asdict(end)}
    write_bytes(folder / ENDS, (json.dumps(ends, indent=1) + "\n").encode())


def forget_ends(folder: Path, names: set[str]) -> None:
    """Removes the ends of stages that start again. Raises OutputError where the disk refuses."""
    ends = _ends(folder)
    if names & ends.keys():
        kept = {name: end for name, end in ends.items() if name not in names}
        write_bytes(folder / ENDS, (json.dumps(kept, indent=1) + "\n").encode())


def _ends(folder: Path) -> dict[str, Any]:
    try:
        ends = json.loads((folder / ENDS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # no stage has ended yet, or the file is damaged
    return ends if isinstance(ends, dict) else {}


def _last_line(log: Path) -> dict[str, Any]:
    try:
        line = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        return {"steps": line[STEP], "seconds": line[SECONDS], "data": ""}
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return {}
