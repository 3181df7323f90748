"""One session of training: stages in sequence, each begun, continued or already finished, until one must stop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from zlib import crc32

from torch import Tensor

from adacode_cli.checkpoints.format import Provenance, Weights, read_weights, write_weights
from adacode_cli.errors import TrainingError, UsageError
from adacode_cli.evaluation.perceptual import PerceptualNetwork
from adacode_cli.model.ranges import Ranges
from adacode_cli.training.batches import BEGINNING, BatchMaker, ordered
from adacode_cli.training.checkpoint import Checkpoint, write_checkpoint
from adacode_cli.training.codebooks import health_warning
from adacode_cli.training.data import Data
from adacode_cli.training.loop import Pace, Point, Step, Watcher, run_loop
from adacode_cli.training.optimisation import Optimisation, step_seed
from adacode_cli.training.processes import Processes
from adacode_cli.training.recipe import Recipe, StageName, StageRecipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.run_lock import RunLock
from adacode_cli.training.run_names import LogLine
from adacode_cli.training.stage_ends import StageEnd
from adacode_cli.training.stages import Stage, StageContext
from adacode_cli.training.tensorboard import TensorBoard
from adacode_cli.training.validation import Validation, sample_sheet, write_sample_sheet


@dataclass(frozen=True)
class Listeners:
    """Callbacks of a session.

    on_log: gets the stage's name and each line of its log.
    on_note: gets notes for the user.
    stop: returns whether the session should stop.
    on_step: gets the stage's name after each of its steps, and before the first one with None.
    on_begin: gets the stage's name and its settings before its first step.
    on_kept: gets the name of a stage that is finished already, of which nothing is trained.
    on_finished: gets the name of a stage whose weights have been written.
    """

    on_log: Callable[[str, LogLine], None] = lambda _name, _line: None
    on_note: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    on_step: Callable[[str, Step | None], None] = lambda _name, _step: None
    on_begin: Callable[[str, StageRecipe], None] = lambda _name, _settings: None
    on_kept: Callable[[str], None] = lambda _name: None
    on_finished: Callable[[str], None] = lambda _name: None


class SilentWatcher:
    """For all processes except the first: they do the same steps and write nothing."""

    def stepped(self, step: Step) -> None:
        """Does nothing."""

    def log(self, line: LogLine) -> None:
        """Does nothing."""

    def validate(self, steps: int) -> LogLine:
        """Returns no scores."""
        del steps
        return {}

    def keep(self, point: Point) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class FolderWatcher:
    """Keeps one stage's progress in a run folder. Raises OutputError if it cannot be written."""

    session: TrainingSession
    name: str
    optimisation: Optimisation
    validation: Validation | None

    def stepped(self, step: Step) -> None:
        """Passes it to the listeners."""
        self.session.listeners.on_step(self.name, step)

    def log(self, line: LogLine) -> None:
        """Appends to NAME.jsonl and TensorBoard, and passes the line to the listeners."""
        self.session.folder.append_log(self.name, line)
        if self.session.tensorboard is not None:
            self.session.tensorboard.log(self.name, line)
        self.session.listeners.on_log(self.name, line)

    def validate(self, steps: int) -> LogLine:
        """Scores on held-out crops; writes samples/NAME/<steps>.png."""
        if self.validation is None:
            return {}
        scores, rows = self.validation.measure(
            self.optimisation.network, self.optimisation.result(), self.optimisation.ranges()
        )
        sheet = sample_sheet(rows)
        write_sample_sheet(self.session.folder.samples(self.name) / f"{steps:06d}.png", sheet)
        if self.session.tensorboard is not None:
            self.session.tensorboard.samples(self.name, steps, sheet)
        return scores

    def keep(self, point: Point) -> None:
        """Writes NAME.checkpoint."""
        session, recipe = self.session, self.session.recipe.to_dict()
        tensors, counters = self.optimisation.state(slim=session.folder.slim)
        shards, stated = session.data.identity, session.stated
        checkpoint = Checkpoint(point.steps, point.seconds, recipe, tensors, counters, shards, stated)
        write_checkpoint(session.folder.checkpoint(self.name), checkpoint)
        session.reached = point


@dataclass
class TrainingSession:
    """What all stages of one command share.

    provenance: for files that did not start from earlier weights.
    stated: the provenance of the next stage's file.
    lock: on the folder, if other processes may train into it too.
    extends: the recipe's length was asked for: finished stages that are shorter go on from their end.
    as_whole: one command trains all stages, so those that others were trained over are kept.
    written: names of the weights that this session finished, in their order.
    stopped: the stage that was left unfinished, if any.
    reached: where the present stage has been kept last.
    """

    folder: RunFolder
    data: Data
    recipe: Recipe
    processes: Processes
    perceptual: PerceptualNetwork | None
    provenance: Provenance
    pace: Pace = field(default_factory=Pace)
    listeners: Listeners = field(default_factory=Listeners)
    tensorboard: TensorBoard | None = None
    lock: RunLock | None = None
    extends: bool = False
    as_whole: bool = False
    written: list[str] = field(default_factory=list)
    stopped: str | None = None
    reached: Point = field(default_factory=Point)
    stated: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        self.stated = self.provenance

    def context(self, stage: StageName) -> StageContext:
        """The context of a stage of that kind."""
        recipe = self.recipe.stage(stage)
        return StageContext(recipe.loss, self.perceptual, self.processes, recipe.magnified)

    def seed(self, name: str) -> int:
        """The random seed of the stage of that name."""
        return step_seed(self.recipe.seed, crc32(name.encode()))

    def finished(
        self, name: str, kind: StageName, *, length: StageRecipe | None = None, later: Iterable[str] = ()
    ) -> Weights | None:
        """The result of an earlier session under that name, if it is to be kept; None if it is to be trained.

        length: as in `train`. later: names of stages that are trained over this one; once there is one of them, this
        one cannot go on. Raises TrainingError for that, and for a result of other settings or other shards.
        """
        if not self.folder.resume or self.folder.state(name) != "finished":
            return None
        weights, end = read_weights(self.folder.weights(name)), self.folder.end(name)
        changed = self.folder.require_same(name, kind, weights, self.recipe, self.data.identity)
        unused = f"; without effect: {'; '.join(changed)}" if changed else ""
        steps = f", after {end.steps} steps" if end else ""
        above = next((other for other in later if self.folder.state(other) != "absent"), None)
        if not self.extends or end is None or end.reaches(length or self.recipe.stage(kind)):
            more = "" if above or end is None else "; with more --steps or --minutes it goes on from its end"
            self._keep(name, f"{name} is finished already{steps}: nothing of it is trained{more}{unused}")
        elif above is None:
            self.listeners.on_note(f"{name} goes on from its end{steps}; its learning rate rises once more")
            return None
        elif self.as_whole:
            self._keep(name, f"{name} stays as it is{steps}, because {above} was trained over it")
        else:
            hint = f"Copy the files of {name} into another folder and continue there, or give the --steps that it has."
            what = f"cannot go on, because {above} was trained over it"
            raise TrainingError(what, path=self.folder.weights(name), hint=hint)
        return weights

    def _keep(self, name: str, note: str) -> None:
        self.listeners.on_note(note)
        self.listeners.on_kept(name)

    def train(
        self,
        name: str,
        kind: StageName,
        stage: Stage,
        *,
        category: str | None = None,
        length: StageRecipe | None = None,
    ) -> dict[str, Tensor] | None:
        """Trains a stage to its end and writes its weights, or stops it and writes a checkpoint.

        category: the only one whose crops are used; None for all.
        length: this stage's settings if it has only a part of the recipe's steps.
        Returns the resulting state dict, None if it was stopped. Raises TrainingError, and OutputError if a file cannot
        be written.
        """
        if self._leads:
            self.listeners.on_step(name, None)
        settings = length or self.recipe.stage(kind)
        _require_divisible(settings, self.processes)
        if self._leads:
            self.listeners.on_begin(name, settings)
        optimisation = Optimisation(stage, settings, self.seed(name), self.recipe.precision)
        batches = self.data.batches(stage.network.config, self.recipe, settings, self.seed(name), category)
        found = self._begin(name, kind, settings.steps)
        if found is None:
            point = Point()
            optimisation.begin(lambda i: batches(i, BEGINNING).to(stage.device))
        else:
            point = Point(found.steps, found.seconds)
            optimisation.load(found.tensors, found.counters)
        if self._run(name, optimisation, batches, category, point):
            return self._finish(name, kind, stage, *stage.result(optimisation.result(), optimisation.ranges()))
        self.processes.any(
            False
        )  # a launcher ends all processes when one ends, so wait until the checkpoint is written
        self.stopped = name
        return None

    def _begin(self, name: str, kind: StageName, steps: int) -> Checkpoint | None:
        """Makes the run folder ready for a stage; returns the checkpoint that it is to continue from, if any.

        steps: where the stage is to end. Raises TrainingError for a checkpoint beyond that.
        """
        found, changed = self.folder.read_checkpoint(name, kind, self.recipe, self.data.identity)
        if found is not None and found.steps > steps:
            hint = "Give as many --steps as before, or more; a mistake here would end the training for good."
            what = f"has done {found.steps} steps already, and would have to end after {steps}"
            raise TrainingError(what, path=self.folder.checkpoint(name), hint=hint)
        self.processes.any(False)  # all have read it before one writes
        for change in changed:
            self.listeners.on_note(f"{name} continues with another setting: {change}")
        if found is not None and found.stated is not None:
            # An earlier version may have stated less of what the stage was begun from.
            self.stated = found.stated.with_sources([found.stated, self.stated])
        if self._leads:
            self.folder.make()
            if self.lock is not None:
                self.lock.take()
                self.folder.require_free([name])  # another process may have been here since this one looked
            if found is None:
                self.folder.start_again(name)
            self.folder.describe(self.recipe, kind, self.data.shards.manifest)
            self.folder.begin_log(name, 0 if found is None else found.steps)
        return found

    def _run(self, name: str, optimisation: Optimisation, make: BatchMaker, category: str | None, point: Point) -> bool:
        self.reached = point
        watcher: Watcher = SilentWatcher()
        if self._leads:
            held_out = self.data.validation(optimisation.network.config, self.recipe, category)
            bf16 = self.recipe.precision == "bf16"
            validation = Validation(held_out, self.perceptual, bf16) if held_out else None
            watcher = FolderWatcher(self, name, optimisation, validation)
        # On a device, another thread queues batches while this one queues steps.
        workers = 1 if self.data.cache == "device" else self.data.workers
        with closing(ordered(make, point.steps, workers)) as batches:
            return run_loop(optimisation, batches, watcher, self.pace, point=point, stop=self.listeners.stop)

    def _finish(
        self, name: str, kind: StageName, stage: Stage, state: dict[str, Tensor], ranges: Ranges
    ) -> dict[str, Tensor]:
        if self._leads:
            provenance = replace(self.stated, recipe=json.dumps(self.recipe.to_dict(), sort_keys=True))
            weights = Weights("whole", stage.network.config, provenance, state, ranges=ranges)
            write_weights(self.folder.weights(name), weights)
            self.folder.record_end(name, StageEnd(self.reached.steps, self.reached.seconds, self.data.identity))
            if self.folder.slim:  # it holds no more than the weights
                self.folder.checkpoint(name).unlink(missing_ok=True)
            self.written.append(name)
            self.listeners.on_finished(name)
            self._warn_of_few_steps(name, kind)
            self._warn_of_idle_codes(name, stage)
        self.processes.any(False)  # wait for the file, because the next stage may read it
        return state

    def _warn_of_few_steps(self, name: str, kind: StageName) -> None:
        steps, warmup = self.reached.steps, self.recipe.stage(kind).optimiser.warmup
        if steps < warmup:
            self.listeners.on_note(
                f"warning: {name} ended at step {steps}, before the learning rate had risen (at step {warmup}): it has "
                "learnt next to nothing, and images made with it are unusable"
            )

    def _warn_of_idle_codes(self, name: str, stage: Stage) -> None:
        if stage.frozen:
            return  # a later stage may use only some of the frozen codes
        single = len(stage.usage) == 1
        for basis, usage in zip(stage.network.config.names(), stage.usage, strict=True):
            warning = health_warning(name if single else basis, usage.used, len(usage.share))
            if warning:
                self.listeners.on_note(f"warning: {warning}")

    @property
    def _leads(self) -> bool:
        return self.processes.rank == 0


def _require_divisible(settings: StageRecipe, processes: Processes) -> None:
    world = processes.world
    if settings.batch % world:
        what = f"a batch of {settings.batch} crops cannot be shared by {world} processes"
        raise UsageError(what, hint="Choose a --batch that they can share evenly.")
    if settings.minutes and world > 1:
        raise UsageError("--minutes is for one process", hint="Use --steps, and --time-limit to stop in time.")
