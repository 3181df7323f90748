"""Runs for hours: mutated files of every format through what a run does with them, and runs killed at random moments.

    python tests/soak/soak.py --state runs/soak [--mutations 1000000] [--kills 1000] [--seed 0]
    python tests/soak/soak.py --state runs/soak --case N      once more, and the file is kept in the folder
    python tests/soak/soak.py --state runs/soak --table       what was found so far

It goes on where it was stopped (SIGTERM and Ctrl-C stop it cleanly; a kill costs the last seconds). The exit code is 1
where there are findings. README.md beside it says what counts as one.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soak_cases import case
from soak_kills import kill_round
from soak_state import State

PASSAGE = Path(__file__).parent / "soak_passage.py"
BATCH = 10_000
SILENT_LIMIT_S = 120.0
SAVED_EVERY_S = 5.0
_ENDS_WITHIN_S = 20.0


class Stop:
    """Whether somebody has asked for the end."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def mutate(state: State, folder: Path, until: int, stop: Stop) -> None:
    """Takes cases through, in processes that live for a batch, until case `until` or a stop."""
    began, before = time.monotonic(), state.seconds
    saved = began
    while state.next < until and not stop.asked:
        count = min(BATCH, until - state.next)
        last = state.next
        ended = "was silent for too long"
        with _passage(state.seed, state.next, count, folder) as process:
            for line in _lines(process, stop):
                event = json.loads(line)
                last = event.get("begun", last)
                if "done" in event:
                    for name in state.note(event):
                        keep(state, folder, event["done"], name)
                    state.next = event["done"] + 1
                if time.monotonic() - saved > SAVED_EVERY_S:
                    state.seconds, saved = before + time.monotonic() - began, time.monotonic()
                    state.save(folder)
            if process.poll() is not None:
                ended = f"ended with {process.returncode}"
        if state.next < until and state.next == last and not stop.asked:
            name = f"{case(state.seed, last).kind}: the process of the run {ended}"
            if state.found(name, last):
                keep(state, folder, last, name)
            state.next = last + 1
    state.seconds = before + time.monotonic() - began
    state.save(folder)


def keep(state: State, folder: Path, number: int, why: str) -> Path:
    """Writes a case's file into the folder, for a look at it."""
    found = case(state.seed, number)
    path = folder / "found" / f"{state.seed}-{number}.{found.kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found.data)
    print(f"case {number} (of {found.of}): {why}", flush=True)
    return path


def kill(state: State, folder: Path, until: int, stop: Stop) -> None:
    """Rounds of kills, each a function of seed and round, until `until` kills or a stop."""
    began, before = time.monotonic(), state.kill_seconds
    while state.kills < until and not stop.asked:
        kills, wrong = kill_round(state.seed, state.kill_rounds, folder / "kills", lambda: stop.asked)
        if stop.asked:  # Ctrl-C is heard by the runs too
            wrong = ""
        if wrong and state.found(f"kills: {wrong}", state.kill_rounds):
            print(f"round {state.kill_rounds} of kills: {wrong}", flush=True)
        state.kills += kills
        state.kill_rounds += 1
        state.kill_seconds = before + time.monotonic() - began
        state.save(folder)


@contextmanager
def _passage(seed: int, first: int, count: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes a batch through; what libraries print goes into a file, of the last batch only."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(PASSAGE), str(seed), str(first), str(count)]
    root = str(PASSAGE.parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with (folder / "libraries.txt").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, env=env, process_group=0
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None, "asked for"
            process.stdout.close()


def _lines(process: subprocess.Popen[bytes], stop: Stop) -> Iterator[bytes]:
    """What the process prints, line by line, until it ends, is silent for too long, or a stop is asked for."""
    assert process.stdout is not None, "asked for"
    handle, rest, heard = process.stdout.fileno(), b"", time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(handle, selectors.EVENT_READ)
        while not stop.asked and time.monotonic() - heard < SILENT_LIMIT_S:
            if not selector.select(1.0):
                continue
            piece = os.read(handle, 1 << 16)
            if not piece:
                process.wait()
                return
            heard = time.monotonic()
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines


def once_more(state: State, folder: Path, number: int) -> None:
    """One case again, in this process's terminal, and its file beside the state."""
    path = keep(state, folder, number, "kept")
    print(path)
    with _passage(state.seed, number, 1, folder) as process:
        assert process.stdout is not None, "asked for"
        for line in process.stdout:
            print(line.decode().strip())
    print((folder / "libraries.txt").read_text(errors="replace"))


def main() -> int:
    """The command; see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="the folder of the state, made if need be")
    parser.add_argument("--mutations", type=int, default=0, help="how many cases in all, earlier sittings counted")
    parser.add_argument("--kills", type=int, default=0, help="how many kills in all, earlier sittings counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="take this case through once more")
    parser.add_argument("--table", action="store_true", help="print the table and do nothing")
    chosen = parser.parse_args()
    try:
        state = State.load(chosen.state, chosen.seed)
    except ValueError as error:
        parser.error(str(error))
    if chosen.case is not None:
        once_more(state, chosen.state, chosen.case)
        return 0
    if not chosen.table:
        stop = Stop()
        mutate(state, chosen.state, chosen.mutations, stop)
        kill(state, chosen.state, chosen.kills, stop)
    print(state.table())
    return 1 if state.findings else 0


if __name__ == "__main__":
    sys.exit(main())
