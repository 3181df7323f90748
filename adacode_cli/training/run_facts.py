"""What a run folder tells of how its weights came to be: settings, photographs, logs.

All of it may be missing, as runs of earlier versions kept less; what is missing is None, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adacode_cli.atomic import reason
from adacode_cli.checkpoints.format import read_weights
from adacode_cli.errors import TrainingError
from adacode_cli.training.report.read import read_stages

Line = Mapping[str, Any]
# Beyond any count, size or time of a run.
_NO_FIGURE = 1e18
_HINT = "Put it right, or remove it: the model card then says less."


@dataclass(frozen=True)
class RunFacts:
    """`recipe`: all settings of the last command (recipe.json); `manifest`: the shards' (shards.json).

    `logs`: lines of each NAME.jsonl; `recipes`: the settings that NAME.safetensors carries, where it does.
    """

    recipe: Mapping[str, Any] | None
    manifest: Mapping[str, Any] | None
    logs: Mapping[str, tuple[Line, ...]]
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def setting(self, name: str, stage: str, key: str) -> object:
        """A value of NAME's settings for its stage ("basis", "fuse", "restore"); None where it is not recorded."""
        own = mapping(mapping(self.recipes.get(name)).get(stage))
        return (own or mapping(mapping(self.recipe).get(stage))).get(key)

    def last(self, name: str, key: str) -> float | None:
        """The number that the log of NAME has under `key` most recently; None where there is none."""
        found = (number(line.get(key)) for line in reversed(self.logs.get(name, ())))
        return next((value for value in found if value is not None), None)

    def validation(self, name: str) -> Line:
        """The last line of NAME's log with a figure on held-out crops (keys "validation/…"); {} where there is none."""
        lines = reversed(self.logs.get(name, ()))
        return next((line for line in lines if any(key.startswith("validation/") for key in line)), {})


def read_run_facts(folder: Path) -> RunFacts:
    """The record of a run folder.

    Raises TrainingError for a file that is there and cannot be read, WeightsError where that is one of weights.
    """
    logs = {stage.name: stage.lines for stage in read_stages(folder, [])} if folder.is_dir() else {}
    recipes = {name: _own_recipe(folder / f"{name}.safetensors") for name in logs}
    return RunFacts(_object(folder / "recipe.json"), _object(folder / "shards.json"), logs, recipes)


def number(value: object) -> float | None:
    """`value` if it is a number of sensible size, else None: JSON as Python writes it may hold NaN and Infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _NO_FIGURE else None


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _own_recipe(path: Path) -> Mapping[str, Any]:
    text = read_weights(path).provenance.recipe if path.is_file() else ""
    try:
        return mapping(json.loads(text or "{}"))
    except ValueError:
        return {}  # of a version that writes it otherwise


def _object(path: Path) -> Mapping[str, Any] | None:
    data = _bytes(path)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except ValueError as error:  # both broken JSON and broken UTF-8
        raise TrainingError(f"is not valid JSON: {error}", path=path, hint=_HINT) from error
    if not isinstance(found, dict):
        raise TrainingError("must be a JSON object", path=path, hint=_HINT)
    return found


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TrainingError(f"cannot be read: {reason(error)}", path=path, hint=_HINT) from error
