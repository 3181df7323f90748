"""The parts of a run on a machine with a GPU: their commands, their share of the time, and how to read their output."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_run import figures
from gpu_run.training import Command, Training

NAMES = ("preparation", "tests", "engine", "end-to-end", "training")
# The largest share of the minutes for each; training takes the rest.
SHARES = {"preparation": 0.12, "tests": 0.3, "engine": 0.25, "end-to-end": 0.25}
# Files of a part beside its log: training's weights (or checkpoint) and its JSON lines.
FILES_BESIDE = {"training": 2}
# Stopped at its limit, a part would not have printed anything yet, so it ends itself earlier.
_IN_TIME = 0.8


@dataclass(frozen=True)
class Part:
    """commands: functions of the seconds that are left to the part. figures: a summary of the log.

    meanwhile: called repeatedly while it runs.
    """

    name: str
    commands: Sequence[Command]
    figures: Callable[[str], list[str]]
    meanwhile: Callable[[], None] = lambda: None


def parts_of(given: argparse.Namespace, root: Path, temporary: Path) -> list[Part]:
    """All chosen parts, in their order."""
    training = Training(
        root,
        temporary,
        given.out,
        given.task,
        given.device,
        given.tiny,
        given.shards,
        given.photos_for_training,
        given.training,
    )
    known = (
        Part("preparation", [lambda _: _preparation(given, temporary)], figures.preparation),
        Part("tests", [lambda _: _tests(given)], figures.tests),
        Part("engine", [lambda _: _bench(given), lambda _: _engine(given)], figures.engine),
        Part("end-to-end", [lambda left_s: _end_to_end(given, left_s)], figures.end_to_end),
        Part("training", training.commands, training.figures, training.bring_out),
    )
    own = [_own(text) for text in given.also]
    return [part for part in known if part.name in given.only] + own


def limits(given: argparse.Namespace) -> dict[str, float]:
    """The largest number of seconds of a part, if it has another limit than the time that is left."""
    total_s = 60 * given.minutes
    chosen = {name: float(seconds) for name, _, seconds in (text.partition("=") for text in given.limit)}
    return {name: share * total_s for name, share in SHARES.items()} | chosen


def _preparation(given: argparse.Namespace, temporary: Path) -> Sequence[str]:
    script = Path(__file__).with_name("preparation.py")
    wheels = ("--wheels", str(given.wheels)) if given.wheels else ()
    modules = ("--modules", ",".join(given.module)) if given.module else ()
    return (sys.executable, str(script), "--target", str(temporary / "site"), *modules, *wheels)


def _tests(given: argparse.Namespace) -> Sequence[str]:
    few = ("tests/gpu/test_gpu_codes.py",) if given.tiny else ("tests/gpu",)
    # Small networks use neither the whole GPU nor a whole core.
    beside = ("-n", str(given.test_processes), "--dist", "loadfile") if given.test_processes > 1 else ()
    how = ("-m", "cuda", "-v", "--tb=short", "-p", "no:cacheprovider", "--durations=10", *beside)
    return (sys.executable, "-m", "pytest", *few, *how)


def _bench(given: argparse.Namespace) -> Sequence[str]:
    tiny = ("--side", "24", "--repeats", "1", "--files", "2", "--megapixels", "0.002", "--precision", "fp32")
    full = ("--side", "512", "--repeats", "5", "--files", "16", "--megapixels", "1", "--growth")
    measured = tiny if given.tiny else full
    return (sys.executable, "-m", "adacode_cli", "bench", "--full", "--device", given.device, "--json", *measured)


def _engine(given: argparse.Namespace) -> Sequence[str]:
    measured = (
        ("--side", "24", "--repeats", "1", "--families", "compact")
        if given.tiny
        else ("--side", "512", "--repeats", "2")
    )
    return (sys.executable, "benchmarks/engine.py", "--device", given.device, *measured)


def _end_to_end(given: argparse.Namespace, left_s: float) -> Sequence[str]:
    megapixels = "0.003" if given.tiny else "1"
    jobs = given.jobs or (2 if given.tiny else min(16, os.cpu_count() or 1))
    photos = given.photos or (4 if given.tiny else 500)
    what = ("--photos", str(photos), "--megapixels", megapixels, "--jobs", str(jobs), "--device", given.device)
    seconds = f"{_IN_TIME * left_s:.0f}"
    return (sys.executable, "benchmarks/end_to_end.py", *what, "--seconds", seconds, "--json")


def _own(text: str) -> Part:
    """NAME=COMMAND, in which `python` is the one that runs this program."""
    name, _, command = text.partition("=")
    words = shlex.split(command)
    words = [sys.executable, *words[1:]] if words[:1] == ["python"] else words
    return Part(name, [lambda _: words], lambda log: log.strip().splitlines()[-2:-1])
