"""Ctrl-C and a polite kill, whatever the program is doing; how fast is bounded here only against hanging."""

from __future__ import annotations

import json
import os
import signal

import pytest
from adacode_process import default_signals
from test_faults_disk import names

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

HANGS_AFTER_S = 30


def at_the_fourth_image(adacode, photo, weights: str, **env: str):
    """A run over six images that stands at the fourth, when three are done."""
    for index in range(6):
        photo(f"p/{index}.png", (33 if index == 3 else 24, 16))
    arguments = ("sr", "p", "-o", "out", "--weights", weights)
    process = adacode.start(*arguments, preexec_fn=default_signals, env=env)
    before = []
    for line in process.stderr:
        before.append(line)
        if line.startswith(b"waiting"):
            journal = adacode.directory / "out" / ".adacode" / "journal.jsonl"
            while journal.read_bytes().count(b"\n") < 3:
                pass
            return process, b"".join(before)
    raise AssertionError(b"".join(before))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("weights", ["wait", "stuck"])
def test_one_signal_ends_the_run_wherever_it_stands(adacode, photo, tmp_path, table, number, weights):
    process, before = at_the_fourth_image(adacode, photo, weights)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=HANGS_AFTER_S)
    assert process.returncode == 130
    assert b"Traceback" not in before + stderr
    assert names(tmp_path / "out") == {"0.png", "1.png", "2.png"}
    lines = (tmp_path / "out" / ".adacode" / "journal.jsonl").read_bytes().splitlines()
    assert sorted(json.loads(line)["target"] for line in lines) == ["0.png", "1.png", "2.png"]
    again = adacode("sr", "p", "-o", "out", "--weights", "nearest")
    assert again.returncode == 0
    assert "3 restored, 3 skipped" in again.stderr.decode()
    assert not list((tmp_path / "out").rglob("*.adacode-part"))
    assert not list((tmp_path / "out" / ".adacode" / "in-flight").iterdir())
    name = signal.Signals(number).name
    if weights == "wait":
        told = next(line for line in stderr.decode().splitlines() if line.startswith("interrupted"))
        table.row(f"{name} at the fourth of six files", 130, told.split(" in ")[0], "the same command does it")
    else:
        table.row(f"{name} inside a call that hears no signal", 130, "", "the same command does it")


def test_a_second_signal_ends_at_once(adacode, photo, table):
    process, _ = at_the_fourth_image(adacode, photo, "deaf")
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == b"waiting\n"  # the first one was not heeded
    process.send_signal(signal.SIGINT)
    assert process.wait(HANGS_AFTER_S) == 130
    table.row("SIGINT twice", 130, "", "the same command does it")


def test_a_signal_while_another_process_has_the_last_file(adacode, photo, tmp_path):
    """Waiting for somebody else is given up as easily as anything."""
    holder, _ = at_the_fourth_image(adacode, photo, "pause", PAUSE=str(tmp_path / "go"))
    waiter = adacode.start("sr", "p", "-o", "out", "--weights", "nearest", preexec_fn=default_signals)
    while waiter.poll() is None and b"skipped" not in waiter.stderr.readline():
        pass
    waiter.send_signal(signal.SIGINT)
    _, stderr = waiter.communicate(timeout=HANGS_AFTER_S)
    assert waiter.returncode == 130, stderr
    (tmp_path / "go").touch()
    holder.communicate(timeout=HANGS_AFTER_S)
    assert holder.returncode == 0
    assert names(tmp_path / "out") == {f"{index}.png" for index in range(6)}
