"""A run folder: the files that each stage writes there, and finds there from an earlier session.

NAME is basis-<category>, basis-start, fused, or a task's label: sr-x4, sr-x2, inpaint.

- NAME.safetensors: averaged weights, whole, once the stage is finished
- NAME.checkpoint: the state of a stage, to continue from, also beyond its end
- NAME.jsonl: its log; samples/NAME/000500.png: input | output | target on held-out crops; tensorboard/NAME
- recipe.json: the settings of all stages; shards.json: the manifest of its training data; stages.json: how finished
  stages ended
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from adacode_cli.atomic import write_bytes
from adacode_cli.checkpoints.format import Weights, read_weights
from adacode_cli.errors import OutputError, TrainingError, UsageError, translated
from adacode_cli.evaluation.perceptual import same_network
from adacode_cli.training.checkpoint import SUFFIX, Checkpoint, read_checkpoint
from adacode_cli.training.overrides import differences, recipe_from
from adacode_cli.training.recipe import STAGES, Recipe, StageName
from adacode_cli.training.run_names import RECIPE, SHARDS, LogLine
from adacode_cli.training.stage_ends import StageEnd, forget_ends, read_end, write_end

# Settings that may change when a run continues: its length.
_LENGTH = ("steps", "minutes")
# Settings that may change too, with a note: otherwise a run with an infinite loss, or without enough memory, could not
# continue.
_MAY_CHANGE = ("optimiser.rate", "optimiser.clip", "precision", "batch")
_MOST_NAMED = 8
State = Literal["absent", "unfinished", "finished"]


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run, and the state of its files.

    resume: results of earlier sessions are kept; overwrite: they are replaced. slim: checkpoints hold only weights.
    """

    path: Path
    resume: bool = False
    overwrite: bool = False
    slim: bool = False
    # Names that this command will train; all their old files are removed before the first one starts again.
    _claimed: list[str] = field(default_factory=list, repr=False, compare=False)

    def make(self) -> None:
        """Raises OutputError where the folder cannot be made."""
        with translated(OutputError, "cannot be made", self.path, hint="Choose another -o."):
            self.path.mkdir(parents=True, exist_ok=True)

    def weights(self, name: str) -> Path:
        """The path of the weights of that name."""
        return self.path / f"{name}.safetensors"

    def checkpoint(self, name: str) -> Path:
        """The path of the state of an unfinished stage."""
        return self.path / f"{name}{SUFFIX}"

    def log(self, name: str) -> Path:
        """The path of the log."""
        return self.path / f"{name}.jsonl"

    def samples(self, name: str) -> Path:
        """The folder of the images of held-out crops."""
        return self.path / "samples" / name

    def tensorboard(self, name: str) -> Path:
        """The folder of TensorBoard's files."""
        return self.path / "tensorboard" / name

    def state(self, name: str) -> State:
        """The state of a stage in the folder; "absent" if it is to be replaced."""
        if self.overwrite:
            return "absent"
        if self.weights(name).is_file():
            return "finished"
        return "unfinished" if self.checkpoint(name).is_file() else "absent"

    def require_free(self, names: list[str]) -> None:
        """Raises OutputError for files of an earlier session, unless they are kept or replaced."""
        for name in names if not self.resume else []:
            state = self.state(name)
            if state != "absent":
                path = self.weights(name) if state == "finished" else self.checkpoint(name)
                hint = "Add --resume to continue, --overwrite to start again, or choose another -o."
                raise OutputError(f"exists already ({name} is {state})", path=path, hint=hint)
        self._claimed.extend(names)

    def start_again(self, name: str) -> None:
        """Removes the files to replace: of that stage, and of all names in `require_free`.

        Otherwise a later session could use an old result as one of this run. Raises OutputError if it cannot.
        """
        if self.overwrite:
            forget_ends(self.path, {name, *self._claimed})
        for each in {name, *self._claimed} if self.overwrite else ():
            drawn = [*self.samples(each).glob("*.png"), *self.tensorboard(each).glob("events.*")]
            for path in (self.weights(each), self.checkpoint(each), self.log(each), *drawn):
                with translated(OutputError, "cannot be removed", path):
                    path.unlink(missing_ok=True)
        self._claimed.clear()

    def read_checkpoint(
        self, name: str, stage: StageName, recipe: Recipe, data: str = ""
    ) -> tuple[Checkpoint | None, list[str]]:
        """The state to continue a stage from, if there is one, and which of the variable settings have changed.

        That of a finished stage is its checkpoint too, or, without one, its weights: then less exactly. Raises
        TrainingError if any other setting, or the shards, are different.
        """
        state = self.state(name)
        if not self.resume or state == "absent":
            return None, []
        path = self.checkpoint(name)
        if not path.is_file():
            return self._from_weights(name), []
        found = read_checkpoint(path)
        return found, self._changed(path, stage, (found.recipe, recipe), (found.data, data))

    def require_same(self, name: str, stage: StageName, weights: Weights, recipe: Recipe, data: str) -> list[str]:
        """Of the settings of a finished stage, those that differ now and may, such as its learning rate.

        Raises TrainingError if it was trained with other settings than that, or with other shards.

        weights: its file's. What that file and stages.json do not say, as those of earlier versions, is not compared.
        """
        end, earlier = self.end(name), json.loads(weights.provenance.recipe or "null")
        recipes = (earlier or recipe.to_dict(), recipe)
        return self._changed(self.weights(name), stage, recipes, (end.data if end and end.data else data, data))

    def end(self, name: str) -> StageEnd | None:
        """How a finished stage ended; None if the folder does not say it."""
        return read_end(self.path, name)

    def record_end(self, name: str, end: StageEnd) -> None:
        """Writes into stages.json how a stage ended. Raises OutputError where the disk refuses."""
        write_end(self.path, name, end)

    def _from_weights(self, name: str) -> Checkpoint | None:
        end, weights = self.end(name), read_weights(self.weights(name))
        if end is None or weights.ranges:
            hint = "Start again with --overwrite, or train from it with --start into another folder."
            what = "cannot be extended: the state that its training ended with is not there"
            raise TrainingError(what, path=self.checkpoint(name), hint=hint)
        tensors = {f"network.{key}": tensor for key, tensor in weights.tensors.items()}
        return Checkpoint(end.steps, end.seconds, {}, tensors, {}, end.data, weights.provenance)

    @staticmethod
    def _changed(
        path: Path, stage: StageName, recipes: tuple[dict[str, Any], Recipe], data: tuple[str, str]
    ) -> list[str]:
        """Of the settings before and now, those that differ and may. Raises TrainingError for any other difference."""
        earlier, recipe = recipes
        changed = differences(_relevant(_whole(earlier), stage), _relevant(recipe.to_dict(), stage))
        free = [text for text in changed if text.split(":")[0].removeprefix(f"{stage}.") in _MAY_CHANGE]
        fixed = [text for text in changed if text not in free]
        if fixed:
            hint = "Give the same settings as before, start again with --overwrite, or choose another -o."
            more = f"; and {len(fixed) - _MOST_NAMED} more" if len(fixed) > _MOST_NAMED else ""
            named = "; ".join(fixed[:_MOST_NAMED]) + more
            raise TrainingError(f"began with other settings: {named}", path=path, hint=hint)
        if data[0] != data[1]:
            hint = "Give the shards that it was trained on, start again with --overwrite, or choose another -o."
            raise TrainingError("began with other shards", path=path, hint=hint)
        return free

    def describe(self, recipe: Recipe, stage: StageName, manifest: Mapping[str, Any]) -> None:
        """Writes recipe.json and shards.json; settings of stages that ran earlier are kept."""
        path = self.path / RECIPE
        values = recipe.to_dict()
        try:
            earlier = json.loads(path.read_bytes())
            values |= {name: earlier[name] for name in STAGES if name != stage and name in earlier}
        except (OSError, ValueError, TypeError):
            pass  # the first stage in this folder, or a damaged file
        write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())
        write_bytes(self.path / SHARDS, (json.dumps(dict(manifest), indent=1, ensure_ascii=False) + "\n").encode())

    def begin_log(self, name: str, steps: int) -> None:
        """Keeps only the lines and samples up to `steps`: the steps after them will be trained again."""
        path, kept = self.log(name), []
        if steps and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    kept += [line] if json.loads(line)["step"] <= steps else []
                except (ValueError, KeyError, TypeError):
                    continue  # truncated when a session crashed
        write_bytes(path, "".join(f"{line}\n" for line in kept).encode())
        for sample in self.samples(name).glob("*.png"):
            if sample.stem.isdecimal() and int(sample.stem) > steps:
                sample.unlink()

    def append_log(self, name: str, line: LogLine) -> None:
        """Raises OutputError where the disk refuses."""
        path = self.log(name)
        refused = translated(OutputError, "cannot be written", path, hint="Free some disk space.")
        with refused, path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


def _whole(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe of an earlier version, with the default values of the settings that it did not have yet."""
    try:
        return recipe_from(recipe).to_dict()
    except UsageError:  # of a later version; the differences are reported
        return recipe


def _relevant(recipe: dict[str, Any], stage: StageName) -> dict[str, Any]:
    """The part of a recipe's dictionary on which the result of one stage depends, except its length."""
    own = {k: v for k, v in recipe.get(stage, {}).items() if k not in _LENGTH}
    recipe = recipe | {"perceptual": same_network(str(recipe.get("perceptual", "")))}
    return {k: v for k, v in recipe.items() if k not in (*STAGES, "preset")} | {stage: own}
