"""What is written to terminals that cannot replace a line, and to those whose standard output is read by a program."""

from __future__ import annotations

import json
import os
import re
import signal
import sys

import pytest
from adacode_process import Program, default_signals

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

TIMEOUT_S = 120


def written(program: Program, *arguments: str, term: str, stop_at: bytes = b"") -> tuple[int, bytes, bytes]:
    """(exit code, standard output, what the program writes to a terminal that is its standard error).

    stop_at: when the terminal has received this, SIGINT is sent.
    """
    ours, theirs = os.openpty()
    options = {"stderr": theirs, "preexec_fn": default_signals}
    with program.start(*arguments, env={"TERM": term}, **options) as process:
        os.close(theirs)
        received = b""
        while data := _read(ours):
            received += data
            if stop_at and stop_at in received:
                process.send_signal(signal.SIGINT)
                stop_at = b""
        output, _ = process.communicate(timeout=TIMEOUT_S)
    os.close(ours)
    return process.returncode, output, received.replace(b"\r\n", b"\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux reports so that the other end is closed
        return b""


def test_a_dumb_terminal_has_a_plain_line_for_each_file(adacode, photo):
    for name in "abc":
        photo(f"p/{name}.png")
    code, output, shown = written(adacode, "sr", "p", "-o", "out", "--weights", "nearest", term="dumb")
    assert (code, output) == (0, b"")
    assert re.findall(rb"^\[(\d)/3\] p/([abc])\.png", shown, re.MULTILINE) == [(b"1", b"a"), (b"2", b"b"), (b"3", b"c")]
    assert b"\x1b" not in shown
    assert b"\r" not in shown
    _, _, live = written(adacode, "sr", "p", "-o", "other", "--weights", "nearest", term="xterm")
    assert b"\x1b" in live  # the same program on a terminal that can


def test_a_dumb_terminal_receives_no_escape_sequences_from_a_run_that_is_ended_at_once(adacode, photo):
    photo("p/a.png", (33, 4))
    words = ("sr", "p", "-o", "out", "--weights", "stuck")
    code, _, shown = written(adacode, *words, term="dumb", stop_at=b"waiting")
    assert code == 130
    # Where the signal comes before the call that hears none, the run ends by itself.
    assert re.search(rb"interrupted: (ended at once|nothing was restored|0 restored)", shown), shown
    assert b"\x1b" not in shown


@pytest.mark.parametrize("words", [("bench",), ("doctor",)])
def test_nothing_but_json_is_shown(real_adacode, words):
    code, output, shown = written(real_adacode, *words, "--json", term="xterm")
    assert (code, shown) == (0, b"")
    assert isinstance(json.loads(output), dict)


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (("sr", "p", "--scael", "2", "--json"), {}, "there is no option --scael"),
        (("sr", "p", "--json", "--scale", "big"), {}, "--scale cannot be 'big'"),
        (("sr", "--json", "-output", "x"), {}, "there is no option -output"),
        (("inpaint", "p", "--grow"), {"ADACODE_INPAINT_JSON": "1"}, "--grow needs a value"),
        (("doctor", "too much", "--json"), {}, "too much is given"),
    ],
)
def test_mistakes_on_the_command_line_are_events_too(real_adacode, words, variables, said):
    result = real_adacode(*words, **variables)
    event = json.loads(result.stdout)
    assert (result.returncode, result.stderr) == (2, b"")
    assert (event["event"], event["error"]["kind"], event["error"]["exit_code"]) == ("error", "usage", 2)
    assert event["error"]["message"].startswith(said)


def test_a_name_after_two_hyphens_asks_for_no_events(real_adacode):
    result = real_adacode("sr", "--scael", "2", "--", "--json")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"--scael" in result.stderr
