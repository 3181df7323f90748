"""What a training says: lines for people on standard error and paths on standard output, or events for programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from adacode_cli.cli import train_events
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.training.run_names import STEP

if TYPE_CHECKING:
    from adacode_cli.cli.train_progress import Progress
    from adacode_cli.training.recipe import StageRecipe
    from adacode_cli.training.run_folder import RunFolder
    from adacode_cli.training.run_names import LogLine
    from adacode_cli.training.session import Listeners, TrainingSession


@dataclass(frozen=True)
class Voice:
    """json: events are written. mute: of a process of a launcher that is not the first one, which says nothing."""

    json: bool = False
    mute: bool = False
    began: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        """A note for the user."""
        if self.mute:
            return
        if self.json:
            train_events.note(text)
        else:
            stderr_console().print(Text(printable(text), style="dim"))

    def started(self, command: str, output: Path, shards: Path, device: str) -> None:
        """All is loaded, and the training begins."""
        if self.json and not self.mute:
            train_events.started(command, output, shards, device)

    def logged(self, name: str, line: LogLine) -> None:
        """A line of the log, for programs."""
        if self.json and not self.mute:
            train_events.logged(name, round(line[STEP]), {key: value for key, value in line.items() if key != STEP})

    def kept(self, name: str, path: Path) -> None:
        """A file was finished before, and nothing of it is trained."""
        if self.json and not self.mute:
            train_events.stage_kept(name, path)

    def written(self, path: Path) -> None:
        """A file is finished, of which no stage has told yet."""
        if not self.json:
            write_line(str(path))

    def ended(self, written: list[Path], stopped: str | None, checkpoint: Path | None, exit_code: int) -> None:
        """The training is over, or was stopped with a checkpoint."""
        if self.mute:
            return
        if self.json:
            seconds = time.monotonic() - self.began
            train_events.finished(written, stopped=stopped, checkpoint=checkpoint, seconds=seconds, exit_code=exit_code)
        elif checkpoint is not None:
            self.note(f"stopped: {checkpoint}; the same command with --resume continues")

    def session_ended(self, session: TrainingSession, exit_code: int) -> None:
        """As `ended`, of a session."""
        folder, stopped = session.folder, session.stopped
        paths = [folder.weights(name) for name in session.written]
        self.ended(paths, stopped, None if stopped is None else folder.checkpoint(stopped), exit_code)

    def listeners(self, folder: RunFolder, shown: Progress, stop: Callable[[], bool]) -> Listeners:
        """The callbacks of a session that trains into `folder`. shown: for people."""
        from adacode_cli.training.session import Listeners

        if self.mute or not self.json:
            return Listeners(shown.log, self.note, stop, shown.stepped)

        def begun(name: str, settings: StageRecipe) -> None:
            train_events.stage_started(name, None if settings.minutes else settings.steps)

        return Listeners(
            self.logged,
            self.note,
            stop,
            on_begin=begun,
            on_kept=lambda name: self.kept(name, folder.weights(name)),
            on_finished=lambda name: train_events.stage_finished(name, folder.weights(name)),
        )
