"""Killed at any moment and started again, as often as it takes: nothing is half written, lost, or done twice.

ADACODE_KILLS=200 kills that often (minutes); without it a few times, always at the same moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

NUM_FILES = 40
NUM_KILLS = int(os.environ.get("ADACODE_KILLS", "8"))
JOBS = 2
# Read ahead, at the network, waiting for the disk, being written.
MOST_IN_FLIGHT = 2 * JOBS + 2
LONGEST_S = 1.0
SUFFIXES = (".png", ".jpg", ".tif", ".webp", ".bmp")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def outputs(tree: Path) -> dict[str, bytes]:
    """Every file under a final name, our own directory left out."""
    files = (path for path in tree.rglob("*") if path.is_file() and ".adacode" not in path.relative_to(tree).parts)
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in files if path.suffix != ".adacode-part"}


def leftovers(tree: Path) -> list[Path]:
    return [*tree.rglob("*.adacode-part"), *(tree / ".adacode" / "in-flight").iterdir()]


def journalled(tree: Path) -> set[str]:
    """What whole lines of the journal say is done; a torn one says nothing."""
    path = tree / ".adacode" / "journal.jsonl"
    text = path.read_bytes() if path.exists() else b""
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    return {entry["target"] for entry in map(json.loads, lines) if entry["outcome"] == "done"}


def counted(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


class Run:
    """The command over the 40 pictures; each picture's width tells which it is."""

    def __init__(self, adacode, tmp_path: Path) -> None:
        self.adacode, self.counted = adacode, tmp_path / "counted.txt"
        self.arguments = ("sr", "p", "-o", "out", "--weights", "counted", "--jobs", str(JOBS), "--json")

    def killed_after(self, seconds: float) -> bool:
        """Starts it and kills it so long after its first event. False if it was faster."""
        env = {"COUNTED": str(self.counted)}
        with self.adacode.start(*self.arguments, env=env, stderr=subprocess.DEVNULL) as process:
            assert b"run-started" in process.stdout.readline()
            time.sleep(seconds)
            process.kill()
            process.stdout.read()
            code = process.wait(60)
        assert code in (0, -signal.SIGKILL)
        return code != 0

    def to_the_end(self) -> None:
        result = self.adacode(*self.arguments, COUNTED=str(self.counted))
        assert result.returncode == 0, result.stdout


def test_killed_at_random_moments(adacode, photo, tmp_path):
    widths = {}
    for index in range(NUM_FILES):
        name = f"{index % 3}/{index:02}{SUFFIXES[index % len(SUFFIXES)]}"
        photo(f"p/{name}", (16 + index, 12))
        widths[name] = str(16 + index)
    run, out, chance = Run(adacode, tmp_path), tmp_path / "out", random.Random(7)
    run.to_the_end()
    whole = outputs(out)
    assert len(whole) == NUM_FILES
    kills = 0
    while kills < NUM_KILLS:
        out.rename(tmp_path / f"earlier-{kills}-{chance.random()}")
        run.counted.unlink(missing_ok=True)
        for _ in range(chance.randint(1, 4)):  # restarted runs are killed too
            done_before, computed_before = journalled(out), counted(run.counted)
            kills += run.killed_after(chance.uniform(0, LONGEST_S))
            computed = counted(run.counted) - computed_before
            assert not [name for name in done_before if computed[widths[name]]], "done and computed again"
            unfinished = [name for name in widths if computed[widths[name]] and name not in journalled(out)]
            assert len(unfinished) <= MOST_IN_FLIGHT
            assert outputs(out).items() <= whole.items()
        done_before, computed_before = journalled(out), counted(run.counted)
        run.to_the_end()
        computed = counted(run.counted) - computed_before
        assert not [name for name in done_before if computed[widths[name]]], "done and computed again"
        assert outputs(out) == whole
        assert leftovers(out) == []


def test_two_processes_share_a_tree_and_one_is_killed(adacode, photo, tmp_path):
    for index in range(NUM_FILES):
        photo(f"p/{index:02}.png", (16 + index, 12))
    run, out = Run(adacode, tmp_path), tmp_path / "out"
    env = {"COUNTED": str(run.counted)}
    processes = [adacode.start(*run.arguments, env=env) for _ in range(3)]
    assert b"run-started" in processes[0].stdout.readline()
    while len(journalled(out)) < 5:
        time.sleep(0.01)
    processes[0].kill()
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [-signal.SIGKILL, 0, 0], ends
    assert len(outputs(out)) == NUM_FILES
    assert leftovers(out) == []
    times = counted(run.counted)
    assert len(times) == NUM_FILES
    assert sum(times.values()) <= NUM_FILES + MOST_IN_FLIGHT
    lines = [json.loads(line) for line in (out / ".adacode" / "journal.jsonl").read_bytes().splitlines()]
    assert len(lines) == len({line["target"] for line in lines}) == NUM_FILES


def test_shards_on_one_disk_together_make_the_whole(adacode, photo, tmp_path):
    for index in range(12):
        photo(f"p/{index:02}.png", (16 + index, 12))
    env = {"COUNTED": str(tmp_path / "counted.txt")}
    shards = [adacode.start(*Run(adacode, tmp_path).arguments, "--shard", f"{i}/3", env=env) for i in (1, 2, 3)]
    for process in shards:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert len(outputs(tmp_path / "out")) == 12
    assert set(counted(tmp_path / "counted.txt").values()) == {1}
