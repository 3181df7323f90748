"""Surroundings that nobody thinks of: no width, no working directory, a full standard output, overlong names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

LONG = "x" * 300


def first_line(result) -> str:
    return result.stderr.decode().splitlines()[0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("sr", ""), 2, "error: an input has an empty name"),
        (("sr", "p", ""), 2, "error: an input has an empty name"),
        (("sr", "p", "--include", "[z-a]"), 2, "error: the pattern '[z-a]': bad character range z-a"),
        (("sr", LONG), 3, f"error: {LONG}: the file name is too long"),
        (("sr", "p", "-o", LONG), 3, f"error: {LONG}: the file name is too long"),
    ],
)
def test_what_a_person_gave_is_no_bug(adacode, photo, tmp_path, words, code, message):
    photo("p/a.png")
    for options in ((), ("--dry-run",)):
        result = adacode(*words, "--weights", "nearest", *options)
        assert (result.returncode, first_line(result)) == (code, message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]


def test_a_terminal_of_no_width_shows_errors(adacode):
    result = adacode("sr", "nope", COLUMNS="0")
    assert result.returncode == 3
    assert "nope: there is no such file" in result.stderr.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="there a working directory cannot be removed")
def test_a_working_directory_that_is_gone(adacode, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    adacode.directory = gone
    process = adacode.start("sr", "p", "--weights", "nearest", preexec_fn=gone.rmdir)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert stderr.decode().startswith("error: the working directory is no longer there\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("words", [("--help",), ("sr", "--help"), ("weights", "list"), ("doctor",)])
def test_a_standard_output_that_is_full(adacode, words):
    with Path("/dev/full").open("wb") as full:
        process = adacode.start(*words, stdout=full)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "Traceback" not in stderr.decode()
