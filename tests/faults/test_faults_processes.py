"""Processes of a run that are killed, by something else or by a file, and devices that are lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from adacode_process import default_signals
from test_faults_disk import names

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

PATIENCE_S = 200.0


@pytest.fixture
def run(adacode, photo, tmp_path):
    """A run in two processes over eight images, of which some are 33 pixels wide: (exit code, lines, folder)."""

    def finished(weights: str, *wide: int, **env: str) -> tuple[int, list[str], Path]:
        for index in range(8):
            photo(f"p/{index}.png", (33 if index in wide else 24, 16))
        arguments = ("sr", "p", "-o", "out", "--weights", weights, "--processes", "2", "-vv")
        process = adacode.start(*arguments, preexec_fn=default_signals, env=env)
        _, stderr = process.communicate(timeout=PATIENCE_S)
        out = tmp_path / "out"
        journal = (out / ".adacode" / "journal.jsonl").read_text().splitlines()
        done = {line["target"] for line in map(json.loads, journal) if line["outcome"] == "done"}
        assert done == names(out), stderr
        return process.returncode, stderr.decode().splitlines(), out

    return finished


def beginning(lines: list[str], start: str) -> list[str]:
    return [line for line in lines if line.startswith(start)]


def test_a_process_that_is_killed_costs_no_file(run, tmp_path, table):
    died = tmp_path / "died"
    code, lines, out = run("dies-once", 2, DIED=str(died))
    assert (code, died.exists(), len(names(out))) == (0, True, 8), lines
    assert list((out / ".adacode" / "in-flight").iterdir()) == []
    assert beginning(lines, "error: ") == beginning(lines, "failed: ") == []
    table.row("with --processes 2: a process is killed", 0, "", "is done, its file too")


def test_a_file_with_which_processes_die_fails_and_the_others_do_not(run, table):
    code, lines, out = run("dies", 2, 5)
    failed = sorted(beginning(lines, "failed: "))
    assert (code, len(names(out)), len(failed)) == (9, 6, 2), lines
    assert list((out / ".adacode" / "in-flight").iterdir()) == []
    assert failed[1].startswith("failed: p/5.png: two processes ended while they restored it (signal 9)")
    table.row("with --processes 2: two processes are killed with one file", 9, failed[0], "is done")


def test_a_lost_device_ends_the_run(run, table):
    code, lines, out = run("no-device", 2)
    assert (code, len(names(out)) < 8) == (5, True), lines
    (told,) = beginning(lines, "error: ")
    assert any("in the worker for cpu:" in line for line in lines)
    assert any('raise DeviceError("the device is gone"' in line for line in lines)
    table.row("with --processes 2: a process loses its device", 5, told, "the same command does it")
