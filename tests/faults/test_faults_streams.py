"""Standard streams and logs that go away, before a run and in the middle of it: no image depends on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from adacode_process import Program
from test_faults_disk import RUN, W, in_private_mounts, lines, linux, names, said

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors and terminals as POSIX has them")

HANGS_AFTER_S = 120
GONE = "standard error goes away: its terminal under nohup, its reader, or its disk is full"
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


def report(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "out" / ".adacode" / "report.json").read_text())


def on_a_terminal(adacode, weights: str, prepare=lambda: None, **env: str) -> tuple[subprocess.Popen[bytes], int]:
    """A run as the leader of a session on a terminal of its own, which stands at the fourth image; and our end."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()

    def begin() -> None:
        for number in (signal.SIGINT, signal.SIGHUP):  # whoever runs the tests may ignore them
            signal.signal(number, signal.SIG_DFL)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        prepare()

    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    arguments = ("sr", "p", "-o", "out", "--jobs", "1", "--weights", weights)
    process = adacode.start(*arguments, env=env, start_new_session=True, preexec_fn=begin, **streams)
    os.close(theirs)
    seen = b""
    while b"waiting" not in seen:
        seen += os.read(ours, 4096)
    journal = adacode.directory / "out" / ".adacode" / "journal.jsonl"
    while journal.read_bytes().count(b"\n") < 3:
        pass
    return process, ours


@pytest.fixture
def six(photo):
    """Six images, of which the fourth is the one that a restorer waits at."""
    for index in range(6):
        photo(f"p/{index}.png", (33 if index == 3 else 24, 16))


@pytest.mark.usefixtures("six")
def test_a_terminal_that_is_closed_stops_the_run_as_ctrl_c_does(adacode, tmp_path, table):
    process, ours = on_a_terminal(adacode, "wait")
    os.close(ours)
    assert process.wait(HANGS_AFTER_S) == 130
    assert names(tmp_path / "out") == {"0.png", "1.png", "2.png"}
    assert (report(tmp_path)["exit_code"], report(tmp_path)["untouched"]) == (130, 3)
    again = adacode(*RUN)
    assert (again.returncode, "3 restored, 3 skipped" in again.stderr.decode()) == (0, True)
    table.row("the terminal is closed (SIGHUP)", 130, "", "the same command does it")


@pytest.mark.usefixtures("six")
def test_a_terminal_that_is_closed_under_nohup_stops_nothing(adacode, tmp_path, table):
    go = tmp_path / "go"
    process, ours = on_a_terminal(adacode, "pause", lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN), PAUSE=str(go))
    os.close(ours)
    go.touch()
    assert process.wait(HANGS_AFTER_S) == 0
    assert names(tmp_path / "out") == {f"{index}.png" for index in range(6)}
    assert (report(tmp_path)["exit_code"], report(tmp_path)["done"]) == (0, 6)
    table.row(GONE, 0, "", "is done; `.adacode/report.json` tells how it ended")


@pytest.mark.usefixtures("six")
@pytest.mark.parametrize("options", [(), ("--verbose",)])
def test_nobody_reads_standard_error(adacode, tmp_path, options):
    (tmp_path / "p" / "bad.png").write_bytes(b"")
    read, write = os.pipe()
    os.close(read)
    with adacode.start(*RUN, *options, stderr=write) as process:
        os.close(write)
        assert process.wait(HANGS_AFTER_S) == 9
    assert names(tmp_path / "out") == {f"{index}.png" for index in range(6)}
    assert (report(tmp_path)["exit_code"], report(tmp_path)["done"], report(tmp_path)["failed"]) == (9, 6, 1)


@full
@pytest.mark.usefixtures("six")
@pytest.mark.parametrize(
    ("words", "code"),
    [(RUN, 0), ((*RUN, "--json"), 0), (("sr", "nope", *W), 3), (("sr", "--nope"), 2), (("weights", "pull", "x"), 4)],
)
def test_a_standard_error_that_is_full(adacode, words, code):
    with Path("/dev/full").open("wb") as device, adacode.start(*words, stderr=device) as process:
        assert process.wait(HANGS_AFTER_S) == code


@pytest.mark.usefixtures("six")
def test_streams_that_are_closed_from_the_start(adacode, tmp_path):
    """Nothing that is written gets the number of a standard stream, and a text with it."""

    def close() -> None:
        for number in range(3):
            os.close(number)

    (tmp_path / "p" / "bad.png").write_bytes(b"")
    with adacode.start(*RUN, "--log-file", "log", preexec_fn=close) as process:
        assert process.wait(HANGS_AFTER_S) == 9
    whole = names(tmp_path / "out")
    assert whole == {f"{index}.png" for index in range(6)}
    elsewhere = adacode("sr", "p", "-o", "other", *W)
    assert elsewhere.returncode == 9
    assert all((tmp_path / "out" / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in whole)
    logged = (tmp_path / "log").read_text().splitlines()
    assert all(line.startswith((" ", "20")) for line in logged)
    assert "6 restored, 1 failed" in logged[-3]
    assert logged[-2] == "  computed in fp32"


@full
@pytest.mark.usefixtures("six")
def test_a_log_on_a_full_disk_stops_no_image(adacode, tmp_path, table):
    result = adacode(*RUN, "--log-file", "/dev/full")
    assert result.returncode == 6
    assert names(tmp_path / "out") == {f"{index}.png" for index in range(6)}
    error = said(result, "error: ")
    assert error == "error: /dev/full: 8 entries of the log could not be written: the disk is full"
    assert "finished: 6 restored" in result.stderr.decode()
    told = report(tmp_path)
    assert (told["exit_code"], told["done"], told["log_error"]["kind"]) == (6, 6, "output")
    table.row("the file of --log-file lies on a full disk", 6, error, "is done")
    events = adacode(*RUN, "--no-resume", "--log-file", "/dev/full", "--json").stdout.splitlines()
    last = json.loads(events[-1])
    assert (last["event"], last["exit_code"], last["log_error"]["path"]) == ("run-finished", 6, "/dev/full")


@linux
def test_a_log_whose_disk_gets_full_in_the_middle_and_has_room_again(photo, tmp_path):
    """What there was room for is whole, and the first image after that has a line of its own."""
    for index in range(8):
        photo(f"p/{index}.png", (33 if index == 5 else 24, 16))
    (tmp_path / "log").mkdir()
    script = """
        mount -t tmpfs -o size=8k none log
        echo "2026-11-28T12:00:00+00:00 started: 1 files" > log/log
        head -c 8055 /dev/zero | tr '\\0' '\\n' >> log/log
        export PAUSE="$PWD/go"
        adacode sr p -o out --jobs 1 --weights pause --log-file log/log & run=$!
        until [ "$(wc -l < out/.adacode/journal.jsonl)" -ge 5 ]; do kill -0 $run || break; sleep 0.05; done 2>/dev/null
        mount -o remount,size=1m log; touch go
        wait $run; echo "code $?"
        cat log/log | tr -s '\\n'
    """
    result = in_private_mounts(script, tmp_path)
    first, *log = result.stdout.decode().splitlines()
    assert first == "code 6", result.stderr.decode()
    assert names(tmp_path / "out") == {f"{index}.png" for index in range(8)}
    assert "of the log could not be written: the disk is full" in said(result, "error: ")
    log = [line for line in log if line]
    assert [line.count("finished: 8 restored") for line in log][-2:] == [1, 0]
    assert log[-1] == "  computed in fp32"
    assert [line for line in log if "p/7.png -> out/7.png" in line]
    assert not [line for line in log if "p/3.png -> out/3.png" in line]
    assert any("started: 8 files" in line for line in log)


@pytest.mark.usefixtures("six")
def test_a_log_that_cannot_be_opened(adacode, tmp_path, table):
    (tmp_path / "log").mkdir()
    result = adacode(*RUN, "--log-file", "log")
    assert (result.returncode, (tmp_path / "out").exists()) == (6, False)
    table.row("the file of --log-file cannot be opened", 6, lines(result)[0], "nothing is done")


@pytest.mark.parametrize(
    ("number", "words", "otherwise"),
    [
        (signal.SIGINT, ("eval", "sr", "--data", "nope"), 3),
        (signal.SIGTERM, ("doctor",), 0),
    ],
)
def test_a_signal_at_any_moment_of_the_start(tmp_path, number, words, otherwise):
    """While the commands are imported, while torch is, soon after that, and while the interpreter is taken down."""
    begun = tmp_path / "begun"
    # As the program starts, with a sign that it hears signals from here on.
    code = """if True:
        import sys
        from pathlib import Path
        from adacode_cli.cli.signals import end_at_a_signal
        end_at_a_signal()
        Path("begun").touch()
        from adacode_cli.cli.main import main
        main()
    """
    program = Program(tmp_path, network=True)
    program.command = [sys.executable, "-c", code]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    ends = []
    for delay_s in (0.0, 0.4, 1.2):
        begun.unlink(missing_ok=True)
        with program.start(*words, **heard) as process:
            while not begun.exists():
                time.sleep(0.01)
            time.sleep(delay_s)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=HANGS_AFTER_S)
        ends.append(process.returncode)
        assert b"Traceback" not in stderr
    assert set(ends) <= {otherwise, 130}
    assert ends[0] == 130
