"""Locks hold while their owner lives and no longer; what lies about is removed only when its owner is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from atomic_target import posix

from adacode_cli import atomic, locks

ROOT = Path(__file__).parents[1]


def holding(script: str, *arguments: Path) -> subprocess.Popen[str]:
    """A process that has reached the line which it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@posix
def test_a_lock_ends_with_its_process_however_that_ends(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    script = """
        import os, sys, time
        from adacode_cli import locks
        handle = os.open(sys.argv[1], os.O_RDWR)
        assert locks.lock(handle, wait=False)
        print("ready", flush=True)
        time.sleep(600)
    """
    with holding(script, path) as process:
        handle = os.open(path, os.O_RDWR)
        assert not locks.lock(handle, wait=False)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert locks.lock(handle, wait=False)
        os.close(handle)


def test_a_file_that_was_replaced_is_no_longer_at_its_path(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    handle = os.open(path, os.O_RDWR)
    assert locks.is_at(handle, path)
    path.unlink()
    assert not locks.is_at(handle, path)
    path.touch()
    assert not locks.is_at(handle, path)
    os.close(handle)


@posix
def test_leftovers_go_only_when_their_owner_is_dead(tmp_path):
    target = tmp_path / ("ü" * 120 + ".png")
    script = """
        import sys, time
        from pathlib import Path
        from adacode_cli.atomic import replacing
        with replacing(Path(sys.argv[1])) as file:
            file.write(b"half")
            print("ready", flush=True)
            time.sleep(600)
    """
    others = [tmp_path / ".other.png.0123abcd.adacode-part", tmp_path / "mine.adacode-part"]
    for path in others:
        path.touch()
    with holding(script, target) as process:
        (temporary,) = set(tmp_path.iterdir()) - set(others)
        assert atomic.remove_leftovers(target) == 0
        assert temporary.exists()
        process.kill()
        process.wait(60)
    assert atomic.remove_leftovers(target) == 1
    assert set(tmp_path.iterdir()) == set(others)
    assert atomic.remove_leftovers(tmp_path / "nowhere" / "a.png") == 0
