"""What a training shows while it runs: on a terminal a line with steps and time left, below the lines of its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from adacode_cli.cli.run_text import rough
from adacode_cli.cli.status import Show, showing
from adacode_cli.cli.streams import printable, stderr_console

if TYPE_CHECKING:
    from adacode_cli.training.loop import Step
    from adacode_cli.training.run_names import LogLine

_CODES = ("perplexity/", "used/")
_SPEED = ("images_per_s", "waiting", "memory_mb")
_NOT_SHOWN = ("step", "learning_rate", "seconds", "gradient", "discriminator_gradient")


class Progress:
    """The steps of a training: of how many, and the time that is left, from the steps of this session.

    show: replaces the text of the line. left: the time that is left, in words, or "".
    """

    def __init__(self, show: Show, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.show, self._quiet, self._clock = show, quiet, clock
        self._begun: tuple[float, float] | None = None  # the time and the progress after the first step
        self._of, self.left, self._name = 0, "", ""

    def stepped(self, name: str, step: Step | None) -> None:
        """After a step of a stage, or before its first one (None)."""
        if step is None:
            self._begun, self._of, self.left = None, 0, ""
            self.show(f"{name}: the first step")
            return
        now, self._of = self._clock(), step.of
        if self._begun is None or self._name != name:
            self._begun, self._name = (now, step.progress), name
        seconds, progress, rest = now - self._begun[0], step.progress - self._begun[1], 1 - step.progress
        self.left = f"{rough(seconds * rest / progress)} left" if progress > 0 and rest > 0 else ""
        self.show(f"{name}: {', '.join(filter(None, (counted_step(step.steps, step.of), self.left)))}")

    def log(self, name: str, line: LogLine) -> None:
        """A line of the log."""
        if not self._quiet:
            stderr_console().print(log_text(name, line, self._of, self.left))


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Progress]:
    """Within the block, a terminal shows the progress; at first, `what` is done."""
    with showing(what, quiet=quiet) as show:
        yield Progress(show, quiet=quiet)


def counted_step(step: int, of: int) -> str:
    """The number of a step; of: of all steps, or 0 if that is not known."""
    return f"step {step} of {of}" if of else f"step {step}"


def log_text(name: str, line: LogLine, of: int = 0, left: str = "") -> Text:
    """A log line in one line of text. of: the steps of the whole run, 0 if that is not known. left: the time left."""
    words = [f"{name} {counted_step(round(line['step']), of)}:"]
    words += [f"{k} {v:.4f}" for k, v in line.items() if not k.startswith((*_CODES, *_SPEED, *_NOT_SHOWN))]
    perplexity = [v for k, v in line.items() if k.startswith(_CODES[0])]
    used = [v for k, v in line.items() if k.startswith(_CODES[1])]
    codes = f"; perplexity {sum(perplexity) / len(perplexity):.0f}, {min(used):.0%} of codes used" if used else ""
    speed = f"; {line['images_per_s']:.3g} images/s, {line['waiting']:.0%} waiting, {line['memory_mb']:.0f} MB"
    return Text(printable(" ".join(words) + codes + speed + (f"; {left}" if left else "")))
