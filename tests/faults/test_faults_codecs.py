"""A library that crashes or hangs on a file takes that file along only; what a run started ends with it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from test_faults_disk import RUN as PLAIN_RUN
from test_faults_disk import names, said
from test_faults_signals import HANGS_AFTER_S, default_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files are not decoded in processes of their own there")

RUN = (*PLAIN_RUN, "--isolate")
CODECS = str(Path(__file__).parent / "codecs")
CRASHED = -signal.SIGSEGV


@pytest.fixture
def tree(photo, tmp_path):
    """Three pictures, and between them a file that makes its decoder do what `word` says: tree("crash")."""

    def make(word: str) -> None:
        for name in ("a", "c", "d"):
            photo(f"p/{name}.png")
        (tmp_path / "p" / "b.heic").write_bytes(b"\0\0\0\x0cftypheic" + word.encode())

    return make


def decoders(text: bytes) -> list[int]:
    """The processes that the codec was called in."""
    return [int(line.split()[-1]) for line in text.splitlines() if line.startswith(b"decoding in ")]


def is_gone(pid: int) -> bool:
    """Waits for the end of a process that is not ours; one that nobody has reaped yet has ended too."""
    for _ in range(HANGS_AFTER_S * 20):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("word", "fault", "more"),
    [
        ("crash", "a codec crashes its process", ()),
        ("leave", "a codec ends its process", ()),
        ("hang", "a codec hangs", ("--decode-timeout", "2")),
    ],
)
def test_a_codec_takes_its_file_along_only(adacode, tree, tmp_path, table, word, fault, more):
    tree(word)
    result = adacode(*RUN, *more, PYTHONPATH=os.pathsep.join([CODECS, *sys.path]))
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png", "c.png", "d.png"})
    (pid,) = decoders(result.stderr)
    assert is_gone(pid)
    table.row(fault, 9, said(result, "failed: p/b.heic"), "is done")


def test_without_isolation_the_run_dies(adacode, tree, tmp_path):
    """What the processes are for; and that the codec is not a fake of ours that only they see."""
    tree("crash")
    result = adacode(*PLAIN_RUN, PYTHONPATH=os.pathsep.join([CODECS, *sys.path]))
    assert result.returncode == CRASHED
    assert "c.png" not in names(tmp_path / "out")


def test_a_crash_in_a_mask_fails_its_picture_only(adacode, photo, tmp_path):
    for name in ("a", "b"):
        photo(f"p/{name}.png")
    photo("m/a.png")
    (tmp_path / "m" / "b.heic").write_bytes(b"\0\0\0\x0cftypheiccrash")
    run = ("inpaint", "p", "--mask-dir", "m", "-o", "out", "--weights", "nearest", "--isolate")
    result = adacode(*run, PYTHONPATH=os.pathsep.join([CODECS, *sys.path]))
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png"})
    assert "m/b.heic: its decoder crashed" in said(result, "failed: p/b.png")


def hanging(adacode, tree):
    """A run whose decoder hangs, and that decoder's process."""
    tree("hang")
    env = {"PYTHONPATH": os.pathsep.join([CODECS, *sys.path])}
    process = adacode.start(*RUN, preexec_fn=default_signals, env=env)
    for line in process.stderr:
        if pids := decoders(line):
            return process, pids[0]
    raise AssertionError("no decoder was started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_decoder_outlives_its_run(adacode, tree, number):
    process, decoder = hanging(adacode, tree)
    process.send_signal(number)
    process.communicate(timeout=HANGS_AFTER_S)
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert is_gone(decoder)


def test_a_decoder_does_not_hear_an_interruption(adacode, tree):
    process, decoder = hanging(adacode, tree)
    os.kill(decoder, signal.SIGINT)
    time.sleep(1)
    os.kill(decoder, signal.SIGKILL)  # raises if it were gone
    _, stderr = process.communicate(timeout=HANGS_AFTER_S)
    assert process.returncode == 9
    assert b"its decoder was killed (signal 9, SIGKILL)" in stderr
