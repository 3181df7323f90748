"""A file appears whole or not at all, whatever goes wrong while it is written."""

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
from atomic_target import OLD, assert_untouched, posix

from adacode_cli.atomic import TEMPORARY_SUFFIX, replacing, sibling, write_bytes
from adacode_cli.errors import OutputError, reason


def write_half_then(target, action):
    """Writes to `target` and does something else before the end."""
    with replacing(target) as file:
        file.write(b"half")
        action()


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_new_and_replaced_files(tmp_path, data):
    target = tmp_path / "ü b.bin"
    for content in (data, b"other", data):
        write_bytes(target, content)
        assert target.read_bytes() == content
        assert list(tmp_path.iterdir()) == [target]


def test_times_are_there_as_soon_as_the_name_is(tmp_path):
    target, times = tmp_path / "a", (1_000_000_000_123_456_700, 1_200_000_000_987_654_300)
    write_bytes(target, b"x" * 100_000, times_ns=times)
    status = target.stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == times


def test_nothing_is_seen_until_the_end(target):
    new = target.with_name("new.png")
    for path, before in ((target, OLD), (new, None)):
        with replacing(path) as file:
            file.write(b"half")
            file.flush()
            assert (path.read_bytes() if path.exists() else None) == before
            (temporary,) = target.parent.glob(f".*{TEMPORARY_SUFFIX}")
            assert temporary.read_bytes() == b"half"
            file.write(b" and half")
        assert path.read_bytes() == b"half and half"
    assert not list(target.parent.glob(f".*{TEMPORARY_SUFFIX}"))


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit(), MemoryError()])
def test_an_error_of_the_writer_passes_and_leaves_no_trace(target, error):
    with pytest.raises(type(error)) as caught:
        write_half_then(target, raising(error))
    assert caught.value is error
    assert_untouched(target)


def test_an_error_of_the_system_is_told_with_the_target(target):
    with pytest.raises(OutputError, match="the disk quota is used up") as caught:
        write_half_then(target, raising(OSError(errno.EDQUOT, "Disk quota exceeded")))
    assert caught.value.path == target
    assert caught.value.exit_code == 6
    assert "-o" in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)
    assert_untouched(target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_real_full_device(target):
    with pytest.raises(OutputError, match="the disk is full"), replacing(target), open("/dev/full", "wb", 0) as full:  # noqa: PTH123
        full.write(b"x")
    assert_untouched(target)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory(target):
    target.parent.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied") as caught:
            write_bytes(target, b"new")
    finally:
        target.parent.chmod(0o700)
    assert caught.value.path == target
    assert_untouched(target)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_a_directory_that_may_be_written_but_not_read(target):
    target.parent.chmod(0o300)
    try:
        write_bytes(target, b"new")
    finally:
        target.parent.chmod(0o700)
    assert target.read_bytes() == b"new"


def test_a_directory_that_is_not_there(tmp_path):
    target = tmp_path / "gone" / "photo.png"
    with pytest.raises(OutputError, match="no such file or directory") as caught:
        write_bytes(target, b"new")
    assert caught.value.path == target
    assert not target.parent.exists()


@posix
def test_a_directory_that_vanishes_while_writing(target):
    with pytest.raises(OutputError, match="no such file or directory"):
        write_half_then(target, lambda: shutil.rmtree(target.parent))
    assert not target.parent.exists()


@posix
def test_a_directory_that_becomes_a_file_while_writing(target):

    def replace_directory():
        shutil.rmtree(target.parent)
        target.parent.write_bytes(b"a file")

    with pytest.raises(OutputError, match="a file is where a directory should be"):
        write_half_then(target, replace_directory)
    assert target.parent.read_bytes() == b"a file"


def test_a_directory_in_the_place_of_the_file(tmp_path):
    target = tmp_path / "photo.png"
    (target / "kept").mkdir(parents=True)
    with pytest.raises(OutputError) as caught:
        write_bytes(target, b"new")
    assert caught.value.path == target
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "kept").is_dir()


@pytest.mark.parametrize(
    "name", ["a" * 255, "é" * 127 + "a", "漢" * 85, "😀" * 63 + "abc", "x" * 251 + ".png", "p", ".hidden"]
)
def test_names_as_long_as_the_system_allows(tmp_path, name):
    target = tmp_path / name
    try:
        target.write_bytes(OLD)
    except OSError:
        pytest.skip("this file system has a shorter limit")
    assert len(os.fsencode(sibling(target).name)) <= 255
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(OutputError, match="the file name is too long"):
        write_bytes(tmp_path / ("a" * 256), b"new")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are bytes on Linux")
def test_a_name_that_is_not_utf_8(tmp_path):
    target = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfcn" + b"\xff" * 200))
    write_bytes(target, b"new")
    assert list(tmp_path.iterdir()) == [target]


def test_siblings_are_hidden_and_never_the_same(tmp_path):
    names = {sibling(tmp_path / "photo.png") for _ in range(200)}
    assert len(names) == 200
    assert all(p.parent == tmp_path and p.name.startswith(".photo.png.") for p in names)
    assert all(p.name.endswith(TEMPORARY_SUFFIX) for p in names)


def test_two_writers_in_turn_and_the_last_to_finish_stays(target):
    with replacing(target) as first:
        first.write(b"first")
        with replacing(target) as second:
            second.write(b"second")
        assert target.read_bytes() == b"second"
        first.write(b" after all")
    assert target.read_bytes() == b"first after all"
    assert list(target.parent.iterdir()) == [target]


def test_reasons_are_in_a_persons_words():
    assert reason(OSError(errno.ENOSPC, "No space left on device")) == "the disk is full"
    assert reason(OSError(errno.EROFS, "x")) == "the file system is read-only"
    assert reason(OSError(errno.EIO, "Input/output error")) == "Input/output error"
    assert reason(OSError("just words")) == "just words"
    assert reason(PermissionError(errno.EACCES, "x")) == reason(OSError(errno.EPERM, "x")) == "permission denied"
