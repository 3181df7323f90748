"""Killed at any moment and started again, as often as it takes: nothing is half written, lost, or done twice.

ADACODE_KILLS=200 kills that often (minutes); without it a few times, always at the same moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest
from killed_runs import SUFFIXES, Run, counted, journalled, killed_some_times, leftovers, max_in_flight, outputs

NUM_FILES = 40
NUM_KILLS = int(os.environ.get("ADACODE_KILLS", "8"))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


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
        kills += killed_some_times(run, out, whole, widths, chance)


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
    assert sum(times.values()) <= NUM_FILES + max_in_flight(run.jobs)
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
