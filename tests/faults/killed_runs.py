"""Runs that are killed and started again, and what must hold after each kill; for a test and for the soak."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from adacode_process import Program

LONGEST_S = 1.0
SUFFIXES = (".png", ".jpg", ".tif", ".webp", ".bmp")


def max_in_flight(jobs: int) -> int:
    """Read ahead, at the network, waiting for the disk, being written."""
    return 2 * jobs + 2


def outputs(tree: Path) -> dict[str, bytes]:
    """Every file under a final name, our own directory left out."""
    files = (path for path in tree.rglob("*") if path.is_file() and ".adacode" not in path.relative_to(tree).parts)
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in files if path.suffix != ".adacode-part"}


def leftovers(tree: Path) -> list[Path]:
    """Temporary files, and claims."""
    return [*tree.rglob("*.adacode-part"), *(tree / ".adacode" / "in-flight").iterdir()]


def journalled(tree: Path) -> set[str]:
    """What whole lines of the journal say is done; a torn one says nothing."""
    path = tree / ".adacode" / "journal.jsonl"
    text = path.read_bytes() if path.exists() else b""
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    return {entry["target"] for entry in map(json.loads, lines) if entry["outcome"] == "done"}


def counted(path: Path) -> Counter[str]:
    """How often each image was computed, by its width."""
    return Counter(path.read_text().split()) if path.exists() else Counter()


class Run:
    """The command over the images `p` in `folder`; each image's width tells which it is."""

    def __init__(self, adacode: Program, folder: Path, jobs: int = 2) -> None:
        self.adacode, self.counted, self.jobs = adacode, folder / "counted.txt", jobs
        self.arguments = ("sr", "p", "-o", "out", "--weights", "counted", "--jobs", str(jobs), "--json")

    def killed_after(self, seconds: float) -> bool:
        """Starts it and kills it so long after its first event. False if it was faster."""
        env = {"COUNTED": str(self.counted)}
        with self.adacode.start(*self.arguments, env=env, stderr=subprocess.DEVNULL) as process:
            assert b"run-started" in process.stdout.readline(), "the run does not start"
            time.sleep(seconds)
            process.kill()
            process.stdout.read()
            code = process.wait(60)
        assert code in (0, -signal.SIGKILL), f"the run ended with {code}"
        return code != 0

    def to_the_end(self) -> None:
        """Starts it and waits for its end."""
        result = self.adacode(*self.arguments, COUNTED=str(self.counted))
        assert result.returncode == 0, f"the run ended with {result.returncode}: {result.stdout!r}"


def killed_some_times(run: Run, out: Path, whole: dict[str, bytes], widths: dict[str, str], dice: random.Random) -> int:
    """From an empty tree `out` to the same `whole` outputs with up to four kills; how many there were.

    `widths`: of the inputs, by their outputs' names. Raises AssertionError where anything does not hold.
    """
    kills = 0
    for _ in range(dice.randint(1, 4)):  # restarted runs are killed too
        done_before, computed_before = journalled(out), counted(run.counted)
        kills += run.killed_after(dice.uniform(0, LONGEST_S))
        computed = counted(run.counted) - computed_before
        assert not [name for name in done_before if computed[widths[name]]], "done and computed again"
        unfinished = [name for name in widths if computed[widths[name]] and name not in journalled(out)]
        assert len(unfinished) <= max_in_flight(run.jobs), "more in flight than there may be"
        assert outputs(out).items() <= whole.items(), "a file that is not whole"
    done_before, computed_before = journalled(out), counted(run.counted)
    run.to_the_end()
    computed = counted(run.counted) - computed_before
    assert not [name for name in done_before if computed[widths[name]]], "done and computed again"
    assert outputs(out) == whole, "the last tree is another"
    assert leftovers(out) == [], "something is left over"
    return kills
