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
    if sys.argv[1:] == ["environment"]:
        print(os.environ["HOME"], "HF_TOKEN" in os.environ, os.path.expanduser("~"), end="")
    if sys.argv[1:] == ["thread"]:
        import threading
        threading.Thread(target=lambda: (time.sleep(0.2), print("later", end=""))).start()
    if sys.argv[1:] == ["words"]:
        sys.exit("words")
    if sys.argv[1:] == ["bug"]:
        raise ZeroDivisionError
    if sys.argv[1:] == ["leave"] and os.fork() == 0:
        time.sleep(60)
    if sys.argv[1:] == ["stay"]:
        time.sleep(60)
    sys.exit(7)
"""


DECODES = """
import os, signal, sys
def main():
    from adacode_cli.imaging.decoder_pool import decoding
    data = sys.stdin.buffer.read()
    with decoding(isolated=True) as decode:
        print(decode(data, name="a").pixels.shape)
        (process,) = (one._process for one in decode._processes)
        print(type(process).__name__, process.pid != os.getpid(), os.getpgid(process.pid) == process.pid)
        os.kill(process.pid, signal.SIGSEGV)
        print(process.wait(60), process.wait(), decode(data, name="a").pixels.shape)
        (process,) = (one._process for one in decode._processes if one._process is not process)
    print(process.wait(), end="")
"""


@pytest.fixture(scope="module")
def warm():
    return WarmProgram(environment())


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "leaves_one_behind.py"
    path.write_text(LEAVES_ONE_BEHIND)
    return [str(path)]


@pytest.mark.parametrize(
    ("arguments", "code", "out"),
    [
        ((), 7, b"TEXT"),
        (("environment",), 7, b"TEXT/home/of/nobody False /home/of/nobody"),
        (("thread",), 7, b"TEXTlater"),
        (("words",), 1, b"TEXT"),
        (("bug",), 1, b"TEXT"),
    ],
    ids=str,
)
def test_it_is_what_subprocess_gives(warm, script, tmp_path, arguments, code, out):
    env = environment(HOME="/home/of/nobody")
    assert warm.can_run_in(env)
    found = warm.run(script, arguments, directory=tmp_path, environment=env, stdin=b"text", timeout_s=60)
    command = [sys.executable, "-c", LEAVES_ONE_BEHIND + "main()", *arguments]
    plain = subprocess.run(command, input=b"text", capture_output=True, check=False, env=env)
    assert (found.returncode, found.stdout) == (plain.returncode, plain.stdout) == (code, out)
    assert found.stderr.splitlines()[-1:] == plain.stderr.splitlines()[-1:]


def test_files_are_decoded_in_processes_that_can_crash_and_end_with_the_run(warm, photo, tmp_path):
    script, data = tmp_path / "decodes.py", photo("a.png").read_bytes()
    script.write_text(DECODES)
    env = environment()
    found = warm.run([str(script)], (), directory=tmp_path, environment=env, stdin=data, timeout_s=60)
    plain = subprocess.run(
        [sys.executable, "-c", DECODES + "main()"], input=data, capture_output=True, check=False, env=env
    )
    lines = ["(16, 24, 3)", "{} True True", "-11 -11 (16, 24, 3)", "-9"]
    assert (found.stdout.decode().split("\n"), found.stderr) == ([one.format("_Decoder") for one in lines], b"")
    assert plain.stdout.decode().split("\n") == [one.format("Popen") for one in lines]


@pytest.mark.parametrize("how", ["leave", "stay"])
def test_it_does_not_wait_for_ever(warm, script, tmp_path, how):
    place = {"directory": tmp_path, "environment": environment()}
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(script, (how,), **place, stdin=b"", timeout_s=1)


@pytest.mark.parametrize(
    "more", [{"LC_ALL": "C"}, {"PYTHONUTF8": "0"}, {"OMP_NUM_THREADS": "3"}, {"LD_PRELOAD": "x"}, {"PYTHONPATH": "x"}]
)
def test_what_an_interpreter_reads_when_it_starts_needs_a_fresh_one(warm, more):
    assert not warm.can_run_in(environment(**more))


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
