"""What becomes of a stage while it trains: its log, samples on held-out crops, TensorBoard, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adacode_cli.checkpoints.format import Provenance
from adacode_cli.training.checkpoint import Checkpoint, write_checkpoint
from adacode_cli.training.loop import LogLine, Point
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.recipe import Recipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.sample_sheet import sample_sheet, write_sample_sheet
from adacode_cli.training.tensorboard import TensorBoard
from adacode_cli.training.validation import Validation


class Silence:
    """For all processes but the first: the same steps, and not a word of them."""

    def log(self, line: LogLine) -> None:
        """Nothing."""

    def validate(self, steps: int) -> LogLine:
        """No scores."""
        del steps
        return {}

    def keep(self, point: Point) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Watch:
    """Keeps one stage's progress in a run folder. OutputError where the disk refuses."""

    name: str
    folder: RunFolder
    optimisation: Optimisation
    recipe: Recipe
    provenance: Provenance
    data: str
    validation: Validation | None
    tensorboard: TensorBoard | None
    on_log: Callable[[str, LogLine], None]

    def log(self, line: LogLine) -> None:
        """Appends to NAME.jsonl and TensorBoard, and tells who listens."""
        self.folder.append_log(self.name, line)
        if self.tensorboard is not None:
            self.tensorboard.log(self.name, line)
        self.on_log(self.name, line)

    def validate(self, steps: int) -> LogLine:
        """Scores on held-out crops; writes samples/NAME/<steps>.png."""
        if self.validation is None:
            return {}
        scores, shown = self.validation.measure(self.optimisation.network, self.optimisation.result())
        pictures = (shown.inputs, shown.outputs, shown.targets)
        write_sample_sheet(self.folder.samples(self.name) / f"{steps:06d}.png", *pictures)
        if self.tensorboard is not None:
            self.tensorboard.samples(self.name, steps, sample_sheet(*pictures))
        return scores

    def keep(self, point: Point) -> None:
        """Writes NAME.checkpoint."""
        tensors, counters = self.optimisation.state(slim=self.folder.slim)
        path, recipe = self.folder.checkpoint(self.name), self.recipe.to_dict()
        said = self.provenance
        write_checkpoint(path, Checkpoint(point.steps, point.seconds, recipe, tensors, counters, self.data, said))
