"""A file appears whole or not at all, through real crashes, full disks and writers that race."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from atomic_target import OLD, assert_untouched, posix

from adacode_cli.atomic import TEMPORARY_SUFFIX, write_bytes

ROOT = Path(__file__).parents[1]


def started(script, *arguments, **options):
    """A Python process running `script`, which finds the package."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(script, *arguments, **options):
    process = started(script, *arguments, **options)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


@posix
def test_a_real_limit_reached_while_writing(target):
    script = """
        import resource, sys
        from pathlib import Path
        from adacode_cli.atomic import replacing, write_bytes
        from adacode_cli.errors import OutputError

        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, -1))
        target = Path(sys.argv[1])

        def in_parts():
            with replacing(target) as file:
                for _ in range(11):
                    file.write(bytes(1000))

        for write in (in_parts, lambda: write_bytes(target, bytes(10_001))):
            try:
                write()
            except OutputError as error:
                print(error.exit_code, error.message)
        write_bytes(target.with_name("small.png"), bytes(10_000))
    """
    told = "6 cannot be written: the file is larger than the system allows\n"
    assert finished(script, target) == told * 2
    small = target.with_name("small.png")
    assert small.stat().st_size == 10_000
    small.unlink()
    assert_untouched(target)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a small file system as Linux does")
def test_a_real_full_disk(tmp_path):
    script = f"""
        mount -t tmpfs -o size=64k none {tmp_path} && cd {tmp_path} && exec {sys.executable} -c '
        from pathlib import Path
        from adacode_cli.atomic import write_bytes
        from adacode_cli.errors import OutputError
        target = Path("photo.png")
        write_bytes(target, b"old")
        try:
            write_bytes(target, bytes(200_000))
        except OutputError as error:
            print(error)
        print(target.read_bytes(), [p.name for p in Path().iterdir()])
        write_bytes(target, b"fits")
        print(target.read_bytes())
        '
    """
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", textwrap.dedent(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here")
    if "unshare" in run.stderr or "mount:" in run.stderr:
        pytest.skip(f"no private mount allowed here: {run.stderr.strip()}")
    assert run.stdout.splitlines() == [
        "photo.png: cannot be written: the disk is full",
        "b'old' ['photo.png']",
        "b'fits'",
    ], run.stderr


def test_many_writers_at_once(target):
    contents = [bytes([n]) * 200_000 for n in range(6)]
    ended = threading.Event()
    seen = set()

    def write(content):
        for _ in range(5):
            write_bytes(target, content)

    def watch():
        while not ended.is_set():
            seen.add(target.read_bytes())

    watcher = threading.Thread(target=watch)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in (watcher, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    watcher.join()
    assert seen <= {OLD, *contents}
    assert target.read_bytes() in contents
    assert list(target.parent.iterdir()) == [target]


@posix
@pytest.mark.parametrize("point", ["written", "flushed", "synced"])
def test_a_crash_before_the_end_leaves_the_old_file(target, point):
    script = """
        import os, signal, sys
        from pathlib import Path
        from adacode_cli.atomic import replacing

        with replacing(Path(sys.argv[1])) as file:
            file.write(bytes(100_000))
            if sys.argv[2] != "written":
                file.flush()
            if sys.argv[2] == "synced":
                os.fsync(file.fileno())
            os.kill(os.getpid(), signal.SIGKILL)
    """
    process = started(script, target, point)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert target.read_bytes() == OLD
    left = [p for p in target.parent.iterdir() if p != target]
    assert all(p.name.endswith(TEMPORARY_SUFFIX) for p in left)
    write_bytes(target, b"new")  # what a crash left behind is in nobody's way
    assert target.read_bytes() == b"new"


@posix
def test_a_crash_at_any_moment_leaves_one_whole_file(target):
    script = """
        import itertools, sys
        from pathlib import Path
        from adacode_cli.atomic import write_bytes

        target = Path(sys.argv[1])
        write_bytes(target, b"a" * 1_000_000)
        print("ready", flush=True)
        for content in itertools.cycle((b"b" * 2_000_000, b"c" * 500_000)):
            write_bytes(target, content)
    """
    whole = {b"a" * 1_000_000, b"b" * 2_000_000, b"c" * 500_000}
    for moment in range(6):
        process = started(script, target)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.003 * moment)
        process.kill()
        process.communicate()
        assert target.read_bytes() in whole
