"""A run folder holds, for each stage, NAME.safetensors, its settings (NAME.json) and its log (NAME.jsonl).

Weights appear there whole, when their run has ended well, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from adacode_cli.atomic import reason, write_bytes
from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.errors import OutputError
from adacode_cli.model.config import Task
from adacode_cli.training.batches import BatchMaker, ordered
from adacode_cli.training.loop import LogLine, Trained, train
from adacode_cli.training.settings import TrainSettings
from adacode_cli.training.stages import Stage

OnLog = Callable[[str, LogLine], None]

BASIS = "basis-"
START = "start"
FUSED = "fused"


def task_name(task: Task, scale: int) -> str:
    """Name of a task's files: sr-x4, sr-x2, inpaint, reconstruct."""
    return f"sr-x{scale}" if task == "sr" else task


class Run:
    """A run folder: where weights and logs go, and whom to tell. Raises OutputError where it cannot be made.

    `written` lists the files of weights of this run, in the order of their appearance.
    """

    def __init__(self, folder: Path, settings: TrainSettings, provenance: Provenance, on_log: OnLog) -> None:
        self.folder, self.settings, self.provenance, self.on_log = folder, settings, provenance, on_log
        self.written: list[Path] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot be made: {reason(error)}", path=folder, hint="Choose another -o.") from error

    def weights_path(self, name: str) -> Path:
        """Where the weights of that name are, or will be."""
        return self.folder / f"{name}.safetensors"

    def train(self, name: str, stage: Stage, make: BatchMaker, settings: TrainSettings) -> Trained:
        """Trains a stage, appends its log to NAME.jsonl and writes NAME.safetensors.

        Raises TrainingError, and OutputError where the disk refuses.
        """
        write_bytes(self.folder / f"{name}.json", json.dumps(asdict(settings), default=str, indent=1).encode())
        with closing(ordered(make, settings.seed)) as batches:
            trained = train(stage, batches, settings, lambda line: self._tell(name, line))
        config = stage.network.config
        write_weights(self.weights_path(name), Weights("whole", config, self.provenance, trained.state))
        self.written.append(self.weights_path(name))
        return trained

    def _tell(self, name: str, line: LogLine) -> None:
        path = self.folder / f"{name}.jsonl"
        try:
            with path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OutputError(f"cannot be written: {reason(error)}", path=path, hint="Make room for it.") from error
        self.on_log(name, line)
