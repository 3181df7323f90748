"""What starts the program for the tests: as `subprocess.run` would, and the program starts without it too."""

import subprocess
import sys

import pytest
from adacode_process import REAL, environment
from warm_program import WarmProgram

LEAVES_ONE_BEHIND = """
import os, sys, time
def main():
    sys.stdout.write(sys.stdin.read().upper())
    sys.stdout.flush()
    if sys.argv[1:] == ["leave"] and os.fork() == 0:
        time.sleep(60)
    if sys.argv[1:] == ["stay"]:
        time.sleep(60)
    sys.exit(7)
"""


@pytest.fixture(scope="module")
def warm():
    return WarmProgram(environment())


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "leaves_one_behind.py"
    path.write_text(LEAVES_ONE_BEHIND)
    return [str(path)]


def test_it_is_what_subprocess_gives(warm, script, tmp_path):
    found = warm.run(script, (), tmp_path, b"text", 60)
    plain = subprocess.run(
        [sys.executable, "-c", LEAVES_ONE_BEHIND + "main()"], input=b"text", capture_output=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert (found.returncode, found.stdout) == (7, b"TEXT")


@pytest.mark.parametrize("how", ["leave", "stay"])
def test_it_does_not_wait_for_ever(warm, script, tmp_path, how):
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(script, (how,), tmp_path, b"", 1)


@pytest.mark.parametrize(
    "words", [("sr", "-"), ("reconstruct", "a.png", "-o", "out", "--json"), ("inpaint", "-", "--mask-color", "#ffffff")]
)
def test_a_fresh_interpreter_runs_the_program_too(tmp_path, photo, words):
    data = photo("a.png").read_bytes()
    run = subprocess.run(
        [*REAL, *words], input=data, capture_output=True, check=False, cwd=tmp_path, env=environment(), timeout=300
    )
    assert run.returncode == 0, run.stderr.decode()
    assert (tmp_path / "out" / "a.png").exists() if "--json" in words else run.stdout.startswith(b"\x89PNG")
