"""Steps and time left of a training, as a person reads them."""

from __future__ import annotations

import pytest

from adacode_cli.cli.train_progress import Progress
from adacode_cli.training.loop import Step

LINE = {"step": 20.0, "loss": 0.25, "images_per_s": 8.0, "waiting": 0.01, "memory_mb": 400.0}
SPEED = "8 images/s, 1% waiting, 400 MB"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def progress(clock, shown) -> Progress:
    return Progress(shown.append, quiet=False, clock=clock)


def test_a_training_of_so_many_steps(progress, clock, shown, capsys):
    progress.stepped("basis", None)
    for step in range(1, 21):
        clock.now += 3.0
        progress.stepped("basis", Step(step, 100, step / 100))
    assert shown[0] == "basis: the first step"
    assert shown[1] == "basis: step 1 of 100"
    assert shown[-1] == "basis: step 20 of 100, 4 min 0 s left"
    progress.log("basis", LINE)
    assert capsys.readouterr().err == f"basis step 20 of 100: loss 0.2500; {SPEED}; 4 min 0 s left\n"


def test_a_training_of_so_many_minutes_that_is_continued(progress, clock, shown):
    """Steps of earlier sessions, and the time before the first step, say nothing of the speed."""
    clock.now = 1000.0
    progress.stepped("fuse", Step(500, 0, 0.5))
    clock.now += 60.0
    progress.stepped("fuse", Step(510, 0, 0.6))
    assert shown == ["fuse: step 500", "fuse: step 510, 4 min 0 s left"]


def test_the_next_stage_begins_anew_and_the_last_step_has_no_time_left(progress, clock, shown):
    for name in ("prior of codes", "prior of weights"):
        for step in (1, 2):
            clock.now += 10.0
            progress.stepped(name, Step(step, 2, step / 2))
    assert shown == [f"{name}: step {i} of 2" for name in ("prior of codes", "prior of weights") for i in (1, 2)]


def test_quiet_prints_no_lines_of_the_log(clock, shown, capsys):
    Progress(shown.append, quiet=True, clock=clock).log("basis", LINE)
    assert capsys.readouterr().err == ""
