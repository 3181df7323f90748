"""Ctrl-C and a polite kill, sent to a real process in the middle of a run."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from adacode_process import default_signals
from PIL import Image

# What stands for the network takes two files at once then.
IN_LANES = ("--device", "cuda")


def wait_for_lines(journal: Path, count: int) -> None:
    while not journal.exists() or journal.read_bytes().count(b"\n") < count:
        time.sleep(0.01)


def start_and_wait_for_the_blocking_image(adacode, photo, *options):
    """The run stands at the fourth of six images, and the first three are written."""
    for index in range(6):
        photo(f"p/{index}.png", (33 if index == 3 else 24, 16))
    process = adacode.start("sr", "p", "--weights", "wait", *options, preexec_fn=default_signals)
    lines = []
    for line in process.stderr:
        lines.append(line.decode())
        if line.startswith(b"waiting"):
            wait_for_lines(adacode.directory / "p-sr-x4" / ".adacode" / "journal.jsonl", 3)
            return process, lines
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [(), IN_LANES])
def test_a_signal_ends_the_run_with_everything_whole(adacode, photo, tmp_path, number, options):
    """What was restored beside the file that it stands at is written too, if that is quick on this machine."""
    process, before = start_and_wait_for_the_blocking_image(adacode, photo, *options)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    text = "".join(before) + stderr.decode()
    assert process.returncode == 130
    assert "Traceback" not in text
    done = sorted(path.name for path in (tmp_path / "p-sr-x4").glob("*.png"))
    assert done[:3] == ["0.png", "1.png", "2.png"]
    assert done[3:] in ([], ["4.png"] if options else [])
    assert f"interrupted: {len(done)} restored, {6 - len(done)} not done" in text
    journal = (tmp_path / "p-sr-x4" / ".adacode" / "journal.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["target"] for line in journal) == done


def test_a_signal_at_the_first_file_says_so_too(adacode, photo):
    photo("p/a.png", (33, 4))
    photo("p/b.png")
    with adacode.start("sr", "p", "--weights", "wait", preexec_fn=default_signals) as process:
        assert process.stderr.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted: 0 restored, 2 not done" in stderr
    assert b"The same command restores the rest" in stderr


def test_the_same_command_with_skip_existing_does_the_rest(adacode, photo, tmp_path):
    process, _ = start_and_wait_for_the_blocking_image(adacode, photo)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    result = adacode("sr", "p", "--weights", "nearest", "--skip-existing", "--json")
    done = [json.loads(line)["source"] for line in result.stdout.splitlines() if b"file-done" in line]
    assert done == ["p/3.png", "p/4.png", "p/5.png"]


def test_interruption_in_json(adacode, photo):
    process, _ = start_and_wait_for_the_blocking_image(adacode, photo, "--json")
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    last = json.loads(stdout.splitlines()[-1])
    assert (last["event"], last["exit_code"], last["untouched"]) == ("run-finished", 130, 3)
    assert process.returncode == 130


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(adacode, photo, second):
    photo("p/a.png", (33, 4))
    with adacode.start("sr", "p", "--weights", "deaf", preexec_fn=default_signals) as process:
        assert process.stderr.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == b"waiting\n"  # the first one was ignored
        process.send_signal(second)
        assert process.wait(60) == 130


def test_a_signal_that_was_ignored_stays_ignored(adacode, photo):
    """As in a job that a script started in the background."""
    for index in range(4):
        photo(f"p/{index}.png")
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    with adacode.start("sr", "p", "--weights", "slow", **ignore) as process:
        process.stderr.readline()  # the first file is done
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_signal_while_the_pipe_is_awaited(adacode):
    options = {"stdin": subprocess.PIPE, "preexec_fn": default_signals}
    with adacode.start("sr", "-", "--weights", "wait", **options) as process:
        Image.new("RGB", (33, 4)).save(process.stdin, "PNG")
        process.stdin.close()
        assert process.stderr.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stdout.read() == b""
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("words", [("sr", "p"), ("inpaint", "p", "--mask", "m.png"), ("reconstruct", "p"), ("sr", "-")])
def test_an_interruption_that_a_library_makes_an_error_of_is_no_bug(adacode, photo, words):
    """Weights are loaded by a library that does so."""
    photo("m.png")
    photo("p/a.png")
    process = adacode.start(*words, "--weights", "swallows", stdin=subprocess.PIPE, preexec_fn=default_signals)
    process.stdin.write((adacode.directory / "p" / "a.png").read_bytes())
    process.stdin.close()
    assert process.stderr.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.read() == b"interrupted: nothing was restored\n"
    assert process.stdout.read() == b""
    assert process.wait(60) == 130
