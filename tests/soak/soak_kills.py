"""Rounds of kills over small trees of many kinds; what must hold is what tests/faults/killed_runs.py checks."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

for folder in ("cli", "faults"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))

from adacode_process import Program  # noqa: E402 (of tests/cli)
from killed_runs import SUFFIXES, Run, killed_some_times, outputs  # noqa: E402 (of tests/faults)

ROUNDS_OF_ONE_TREE = 3


def kill_round(seed: int, number: int, folder: Path, stopped: Callable[[], bool] = bool) -> tuple[int, str]:
    """Round `number`: how many kills there were, and what did not hold, or "".

    The images and the moments are a function of `seed` and `number`; where a run is at a moment is not. What a round
    that went wrong has left stays in a folder of its own. Where `stopped` says so, the rest of the round is left out.
    """
    dice = random.Random(f"kills/{seed}/{number}")
    here = folder / f"{seed}-{number}"
    shutil.rmtree(here, ignore_errors=True)
    widths = _pictures(here / "p", dice)
    run, out = Run(Program(here, network=False), here, dice.choice((1, 2, 2, 4))), here / "out"
    kills = 0
    try:
        run.to_the_end()
        whole = outputs(out)
        assert whole.keys() == widths.keys(), "an output is missing"
        for _ in range(ROUNDS_OF_ONE_TREE):  # the undisturbed run is for all of them
            if stopped():
                break
            shutil.rmtree(out)
            run.counted.unlink(missing_ok=True)
            kills += killed_some_times(run, out, whole, widths, dice)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return kills, str(error).splitlines()[0] if str(error) else "an assertion without words"
    shutil.rmtree(here)
    return kills, ""


def _pictures(folder: Path, dice: random.Random) -> dict[str, str]:
    """Between 6 and 40 images, and their widths by name; each has its own."""
    widths = {}
    for index in range(dice.randint(6, 40)):
        name = f"{'sub/' * dice.randrange(3)}{index:02}{dice.choice(SUFFIXES)}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (dice.randint(4, 40), 16 + index, 3)
        Image.fromarray(np.random.default_rng(index).integers(0, 256, size, np.uint8)).save(path)
        widths[name] = str(16 + index)
    return widths
