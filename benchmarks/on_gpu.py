"""Tests, benchmarks and training in one command, for a few minutes on a machine with a GPU.

    python benchmarks/on_gpu.py --minutes 9 --out results
    python benchmarks/on_gpu.py --minutes 9 --out results --wheels wheels --shards shards -- --batch 128
    python benchmarks/on_gpu.py --out rehearsal --device cpu --tiny

The machine needs a checkout of this project, Python 3.11 or newer with torch, and no network. Parts:

    preparation   finds which packages are missing and installs them from --wheels, only for this run
    tests         pytest tests/gpu
    engine        adacode bench and benchmarks/engine.py
    end-to-end    a folder of JPEGs through `adacode sr`, the engine alone, the codecs alone
    training      adacode train restore from the bundled weights, in the time that is left

A part that fails, or that is stopped at its limit, does not stop the others. The output of a part is in
DIR/N-NAME.log; DIR/summary.md has the figures of all parts, and is always up to date. Training copies its
weights (or a checkpoint, once a minute) and its log into DIR. There are at most 8 files in DIR, each smaller than
16 MiB.

Arguments after -- are passed to `adacode train restore`, and override those of this program.
Exit status: 0 if all parts succeeded, 1 otherwise, 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_run import parts, processes, summary
from gpu_run.parts import Part
from gpu_run.processes import Interruption
from gpu_run.summary import Row

ROOT = Path(__file__).resolve().parents[1]
MAX_FILES = 8
# Seconds reserved for the end: a part that is stopped may finish its work, and the summary is written.
_RESERVE_S = processes.GRACE_S + 2
# With fewer seconds a part is not started.
_LEAST_S = 2.0
_OWN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}=.+", re.DOTALL)
_LIMIT = re.compile(r"[A-Za-z0-9._-]+=[0-9]+(\.[0-9]+)?")
_INTERRUPTED = 130


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; `training` has what follows "--"."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="the folder for the results; it has to be empty")
    add("--minutes", type=float, default=9.0, metavar="N", help="how long all parts together may take (default: 9)")
    add("--device", default="cuda", metavar="NAME", help="cuda (default), cuda:1 or cpu")
    add("--tiny", action="store_true", help="tiny sizes in all parts: a rehearsal of about a minute")
    add("--only", metavar="LIST", help=f"only these parts, separated by commas, or none: {', '.join(parts.NAMES)}")
    add("--limit", action="append", default=[], metavar="PART=SECONDS", help="the longest time of a part")
    add("--also", action="append", default=[], metavar="NAME=COMMAND", help="a part of your own, after the others")
    group = parser.add_argument_group("preparation")
    add = group.add_argument
    add("--wheels", type=Path, metavar="DIR", help="wheels of packages that may be missing; torch is never installed")
    add("--module", action="append", default=[], metavar="NAME", help="another module that is required")
    group = parser.add_argument_group("tests and end-to-end")
    add = group.add_argument
    add("--test-processes", type=int, metavar="N", help="default: 4 with pytest-xdist and a GPU, else 1")
    add("--photos", type=int, metavar="N", help="photographs of 1 MP for the run over files (default: 500)")
    add("--jobs", type=int, metavar="N", help="`adacode sr --jobs` (default: one for each core, at most 16)")
    group = parser.add_argument_group("training")
    add = group.add_argument
    add("--task", choices=("sr", "inpaint"), default="sr", help="the bundled network to train (default: sr)")
    add("--shards", type=Path, metavar="DIR", help="what `adacode train prepare` wrote")
    add("--photos-for-training", type=Path, metavar="DIR", help="or photographs, from which shards are made first")
    given, own = (list(arguments), []) if "--" not in arguments else _split(arguments)
    namespace = parser.parse_args(given)
    namespace.training = own
    _check(parser, namespace)
    return namespace


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    given.only = list(parts.NAMES) if given.only is None else [name for name in given.only.split(",") if name]
    for path in ("out", "wheels", "shards", "photos_for_training"):
        value = getattr(given, path)
        setattr(given, path, None if value is None else value.resolve())
    if given.test_processes is None:
        parallel = given.device != "cpu" and importlib.util.find_spec("xdist") is not None
        given.test_processes = 4 if parallel else 1
    if unknown := [name for name in given.only if name not in parts.NAMES]:
        parser.error(f"there is no part {unknown[0]!r}; choose among {', '.join(parts.NAMES)}")
    if wrong := [text for text in given.also if not _OWN_NAME.fullmatch(text)]:
        parser.error(f"--also {wrong[0]!r} is not NAME=COMMAND with a name of letters, digits, '.', '_' and '-'")
    if wrong := [text for text in given.limit if not _LIMIT.fullmatch(text)]:
        parser.error(f"--limit {wrong[0]!r} is not PART=SECONDS")
    files = 1 + sum(1 + parts.FILES_BESIDE.get(name, 0) for name in given.only) + len(given.also)
    if files > MAX_FILES:
        parser.error(f"{files} files would be written, more than {MAX_FILES}; leave parts out with --only")
    _check_values(parser, given)
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"{given.out} is not a directory")
    if given.out.is_dir() and any(given.out.iterdir()):
        parser.error(f"{given.out} is not empty")


def _check_values(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Checks values early, because a mistake that is found later costs minutes of the GPU."""
    if not 0 < given.minutes < 1e6:
        parser.error(f"--minutes {given.minutes:g} is not a number above 0")
    names = {*parts.NAMES, *(text.partition("=")[0] for text in given.also)}
    if wrong := [text for text in given.limit if text.partition("=")[0] not in names]:
        parser.error(f"--limit {wrong[0]!r} is of no part; there are {', '.join(sorted(names))}")
    if wrong := [text for text in given.also if not _words(text.partition("=")[2])]:
        parser.error(f"--also {wrong[0]!r} has no command, or a quotation mark that is not closed")
    for option in ("wheels", "shards", "photos_for_training"):
        folder = getattr(given, option)
        if folder is not None and not folder.is_dir():
            parser.error(f"--{option.replace('_', '-')} {folder} is not a directory")
    for option in ("jobs", "photos", "test_processes"):
        if getattr(given, option) is not None and getattr(given, option) < 1:
            parser.error(f"--{option.replace('_', '-')} {getattr(given, option)} is less than 1")


def _words(command: str) -> list[str]:
    """The words of a command; none if it cannot be parsed."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


class Run:
    """One run of all parts, one after the other."""

    def __init__(self, given: argparse.Namespace, temporary: Path, interruption: Interruption) -> None:
        self._given, self._temporary, self._interruption = given, temporary, interruption
        self._start, self._rows = time.monotonic(), list[Row]()
        self._limits = parts.limits(given)
        self._known_as = {sys.executable: "python", f"{ROOT}/": "", str(temporary): "TEMPORARY"}

    def run(self) -> list[Row]:
        """Runs every part, until an interruption; each part has a row."""
        for part in parts.parts_of(self._given, ROOT, self._temporary):
            row, number = Row(part.name), self._number(part)
            self._rows.append(row)
            try:
                self._part(row, part, self._given.out / f"{number}-{part.name}.log")
            except Exception as error:  # noqa: BLE001 (an error of one part must not stop the others)
                row.note = f"{type(error).__name__}: {error}"
            self.write_summary()
        return self._rows

    def table(self) -> str:
        """The results so far."""
        return summary.table(self._rows, self._known_as)

    def write_summary(self) -> None:
        """Writes the current summary."""
        minutes = f"{(time.monotonic() - self._start) / 60:.1f} of {self._given.minutes:g} minutes"
        head = f"{time.strftime('%Y-%m-%d %H:%M')}, {minutes}, `--device {self._given.device}`"
        summary.write(self._given.out / "summary.md", self._rows, head, self._known_as)

    def _part(self, row: Row, part: Part, log: Path) -> None:
        start, limit_s = time.monotonic(), min(self._limits.get(part.name, self._left_s), self._left_s)
        if self._interruption or limit_s < _LEAST_S:
            row.note = "not run: interrupted" if self._interruption else "not run: no time was left"
            return
        print(f"{part.name}: at most {limit_s:.0f} s", flush=True)
        row.note = "running"
        self.write_summary()
        for command in part.commands:
            left_s = limit_s - (time.monotonic() - start)
            if self._interruption or left_s <= 0:
                break
            words = command(left_s)
            ended = processes.run(
                words,
                log,
                left_s,
                self._interruption,
                cwd=ROOT,
                environment=self._environment(),
                meanwhile=part.meanwhile,
            )
            row.commands.append((words, ended))
        row.note = ""
        row.figures = part.figures(log.read_text(encoding="utf-8", errors="replace"))
        processes.shorten(log)

    @property
    def _left_s(self) -> float:
        return 60 * self._given.minutes - (time.monotonic() - self._start) - _RESERVE_S

    def _environment(self) -> Mapping[str, str]:
        """The environment of this process, with this checkout and the installed packages, without network access."""
        paths = [str(self._temporary / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        return {**os.environ, **own, "COLUMNS": "120", "TERM": "dumb"}

    def _number(self, part: Part) -> int:
        """The numbers of the built-in parts are fixed; those of --also follow."""
        before = [row.name for row in self._rows if row.name not in parts.NAMES]
        return parts.NAMES.index(part.name) if part.name in parts.NAMES else len(parts.NAMES) + len(before)


def main() -> int:
    """Runs the chosen parts, and prints the summary at the end."""
    given, interruption = parsed(sys.argv[1:]), Interruption()
    interruption.listen()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="adacode-on-gpu-", ignore_cleanup_errors=True) as temporary:
        run = Run(given, Path(temporary), interruption)
        rows = run.run()
    print(f"\n{run.table()}", flush=True)
    if interruption:
        return _INTERRUPTED
    return 0 if all(row.well for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
