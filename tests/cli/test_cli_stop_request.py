"""Signals and deadlines, sent to a real process while it prepares, works, or does not listen."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from adacode_process import default_signals, environment

from adacode_cli.cli.signals import StopRequest

PROGRAM = Path(__file__).parent / "stoppable_program.py"
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def ignored_signals() -> None:
    """As in a job that a script started in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def program(*arguments: str, prepare=default_signals) -> Iterator[subprocess.Popen[str]]:
    """The program after it has printed "ready"; killed where a test fails."""
    command = [sys.executable, str(PROGRAM), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": prepare}
    with subprocess.Popen(command, env=environment(), **pipes) as process:
        try:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            yield process
        finally:
            process.kill()


def ending(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Exit status, and the output from here on."""
    output, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    return process.returncode, output.splitlines()


@pytest.mark.parametrize("number", SIGNALS)
def test_before_the_work_asks_a_signal_ends_it_at_once(number):
    with program("prepare") as process:
        process.send_signal(number)
        assert ending(process) == (3, ["KeyboardInterrupt True", "tidied up"])


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_a_finalizer_is_not_lost(number):
    with program("finalizer") as process:
        process.send_signal(number)
        assert ending(process) == (3, ["KeyboardInterrupt True", "tidied up"])


@pytest.mark.parametrize("number", SIGNALS)
def test_what_rich_draws_is_not_left_half_begun(number):
    with program("drawing") as process:
        process.send_signal(number)
        assert ending(process) == (3, ["drawn", "KeyboardInterrupt True", "tidied up"])


@pytest.mark.parametrize("number", SIGNALS)
def test_once_the_work_asks_a_signal_is_an_answer(number):
    with program("work") as process:
        process.send_signal(number)
        assert process.stderr.readline() == "stopping\n"
        assert ending(process) == (0, ["tidied up", "stopped True True"])


@pytest.mark.parametrize("first", SIGNALS)
def test_a_second_interrupt_that_is_no_echo_ends_the_process_whatever_it_does(first):
    with program("deaf") as process:
        process.send_signal(first)
        assert process.stderr.readline() == "stopping\n"
        time.sleep(1.2)  # longer than the echoes of one wish
        process.send_signal(signal.SIGINT)
        assert ending(process) == (130, [])


def test_one_wish_may_come_as_several_signals():
    with program("deaf") as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        for _ in range(3):
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
        assert process.poll() is None


def test_an_ignored_signal_stays_ignored():
    with program("work", prepare=ignored_signals) as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == "stopping\n"
        assert ending(process) == (0, ["tidied up", "stopped True True"])


def test_after_the_block_signals_do_what_they_did():
    with program("nested", "0.05") as process:
        assert [process.stdout.readline() for _ in range(3)] == ["tidied up\n", "stopped False True\n", "outside\n"]
        process.send_signal(signal.SIGINT)
        assert ending(process) == (0, ["as before"])


def test_the_work_stops_when_its_time_is_over():
    with program("work", "0.05") as process:
        assert ending(process) == (0, ["tidied up", "stopped False True"])


def test_without_a_limit_the_clock_ends_nothing(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stop_request, limited = StopRequest(None, ""), StopRequest(60.0, "")
    assert not stop_request.should_stop()
    assert not limited.should_stop()
    now[0] += 60
    assert not limited.should_stop()
    now[0] += 1
    assert limited.should_stop()
    assert not limited.interrupted
    now[0] += 10**9
    assert not stop_request.should_stop()
