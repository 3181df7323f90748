"""Places to write to that are full, read-only, forbidden or gone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from adacode_process import FAKE, environment

W = ("--weights", "nearest")
RUN = ("sr", "p", "-o", "out", "--jobs", "1", *W)

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts and capabilities as Linux has them")


def lines(result) -> list[str]:
    return result.stderr.decode().splitlines()


def said(result, start: str) -> str:
    """The line that begins with `start`, and its hint."""
    found = [line for line in lines(result) if line.startswith(start)]
    assert found, result.stderr.decode()
    return found[0]


def names(tree: Path) -> set[str]:
    return {path.name for path in tree.iterdir()} - {".adacode"}


def in_private_mounts(script: str, tmp_path: Path) -> subprocess.CompletedProcess[bytes]:
    """A shell script in a mount namespace of its own; `$adacode` is the program. Skips where that is not allowed."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no `unshare` here")
    probe = ["unshare", "--mount", "--map-root-user", "sh", "-c", "mount -t tmpfs none /mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no private mount allowed here")
    program = " ".join(f"'{part}'" for part in FAKE)
    return subprocess.run(
        ["unshare", "--mount", "--map-root-user", "bash", "-c", f'adacode() {{ {program} "$@"; }}\n{script}'],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=300,
        check=False,
    )


@linux
def test_a_full_disk_ends_the_run_and_the_rest_follows_when_there_is_room(photo, tmp_path, table):
    for index in range(8):
        photo(f"p/{index}.png", (96, 64))  # some 20 kB each when restored
    (tmp_path / "out").mkdir()
    script = f"""
        mount -t tmpfs -o size=120k none out
        adacode {" ".join(RUN)}; echo "code $?"
        find out -name '*.png' | wc -l
        find out -name '*.adacode-part'
        {sys.executable} -c "import glob; from PIL import Image; [Image.open(f).load() for f in glob.glob('out/*')]"
        mount -o remount,size=10m out
        adacode {" ".join(RUN)} 2>/dev/null; echo "code $?"
        find out -name '*.png' | wc -l
    """
    result = in_private_mounts(script, tmp_path)
    first_code, first_files, second_code, second_files = result.stdout.decode().split("\n")[:4]
    assert (first_code, second_code, second_files) == ("code 6", "code 0", "8"), result.stderr.decode()
    assert 1 <= int(first_files) <= 7
    error = said(result, "error: ")
    assert "the disk is full" in error
    table.row("the disk is full", 6, error.split("/")[0] + "/…: " + error.split(": ")[-1], "the same command does it")


@linux
def test_a_read_only_file_system(photo, tmp_path, table):
    photo("p/a.png")
    (tmp_path / "out").mkdir()
    script = f"mount --bind out out && mount -o remount,ro,bind out && adacode {' '.join(RUN)}"
    result = in_private_mounts(script, tmp_path)
    assert result.returncode in (6, 7), result.stderr.decode()
    error = said(result, "error: ")
    assert "the file system is read-only" in error
    table.row("the output's file system is read-only", result.returncode, error, "nothing is done")


@linux
def test_a_limit_on_the_size_of_a_file_fails_only_what_exceeds_it(adacode, photo, tmp_path, table):
    """As a quota does: each write beyond it is refused."""
    import resource

    photo("p/a.png")
    photo("p/large.png", (200, 150))
    photo("p/z.png")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))}
    with adacode.start(*RUN, **limit) as process:
        _, stderr = process.communicate(timeout=120)
    result = subprocess.CompletedProcess([], process.returncode, b"", stderr)
    assert result.returncode == 9, stderr
    assert names(tmp_path / "out") == {"a.png", "z.png"}
    error = said(result, "failed: p/large.png")
    table.row("a file is larger than the system allows", 9, error, "is done")


@linux
def test_permissions(adacode, photo, tmp_path, table):
    """Root may do anything, but for its capabilities to; without them its own files have permissions too."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("there is no `setpriv` here")
    for name in ("a.png", "closed/b.png", "secret.png", "unreadable/c.png", "z.png"):
        photo(f"p/{name}")
    (tmp_path / "p" / "secret.png").chmod(0)
    (tmp_path / "p" / "unreadable").chmod(0)
    (tmp_path / "out" / "closed").mkdir(parents=True)
    (tmp_path / "out" / "closed").chmod(0o555)
    adacode.command = [setpriv, "--bounding-set", "-dac_override,-dac_read_search", *FAKE]
    result = adacode(*RUN)
    (tmp_path / "p" / "unreadable").chmod(0o755)
    if b"setpriv" in result.stderr:
        pytest.skip(f"capabilities cannot be dropped here: {result.stderr.decode()}")
    assert result.returncode == 9, result.stderr
    assert names(tmp_path / "out") == {"a.png", "z.png", "closed"}
    for path, fault in (
        ("p/secret.png", "an input may not be read"),
        ("p/unreadable", "a directory may not be read"),
        ("p/closed/b.png", "an output's directory may not be written to"),
    ):
        error = said(result, f"failed: {path}")
        assert "permission denied" in error
        table.row(fault, 9, error, "is done")


def test_an_output_directory_that_vanishes_is_made_again(adacode, photo, tmp_path, table):
    for index in range(5):
        photo(f"p/{index}.png", (33 if index == 2 else 24, 16))
    run = ("sr", "p", "-o", "out", "--jobs", "1", "--weights", "vanish")
    result = adacode(*run, VANISH=str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert {"2.png", "3.png", "4.png"} <= names(tmp_path / "out") < {f"{index}.png" for index in range(5)}
    again = adacode(*RUN)
    assert again.returncode == 0, again.stderr
    assert names(tmp_path / "out") == {f"{index}.png" for index in range(5)}
    table.row("the output directory vanishes", 0, "", "is done; the same command makes what vanished again")


def test_a_file_where_the_journal_should_be(adacode, photo, tmp_path, table):
    photo("p/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".adacode").write_text("in the way")
    result = adacode(*RUN)
    assert result.returncode == 7, result.stderr
    table.row("the journal cannot be written", 7, said(result, "error: "), "nothing is done")


def test_a_file_where_a_directory_should_be(adacode, photo, tmp_path, table):
    photo("p/a.png")
    photo("p/sub/b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("in the way")
    result = adacode(*RUN)
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png", "sub"})
    error = said(result, "failed: p/sub/b.png")
    table.row("a file lies where an output's directory should be", 9, error, "is done")


def test_outputs_that_exist_and_are_not_ours(adacode, photo, tmp_path, table):
    photo("p/a.png")
    photo("p/b.png")
    kept = photo("out/a.png").read_bytes()
    result = adacode(*RUN)
    assert (result.returncode, names(tmp_path / "out")) == (6, {"a.png"})
    assert (tmp_path / "out" / "a.png").read_bytes() == kept
    table.row("an output exists that the journal does not know", 6, said(result, "error: "), "nothing is done")


def test_the_same_tree_with_other_options(adacode, photo, table):
    photo("p/a.png")
    assert adacode(*RUN).returncode == 0
    result = adacode(*RUN, "--scale", "2")
    assert result.returncode == 6
    table.row("outputs were made with other options", 6, said(result, "error: "), "nothing is done")
    result = adacode("sr", "p", "-o", "out", "--weights", "other")
    assert result.returncode == 6
    table.row("outputs were made with other weights", 6, said(result, "error: "), "nothing is done")


def test_nobody_reads_standard_output(adacode, photo, tmp_path, table):
    import os

    data = photo("p/a.png").read_bytes()
    read, write = os.pipe()
    os.close(read)
    with adacode.start("sr", "-", *W, stdin=subprocess.PIPE, stdout=write) as process:
        os.close(write)
        _, stderr = process.communicate(data, timeout=120)
    assert (process.returncode, stderr) == (6, b"")
    table.row("the reader of a pipe goes away", 6, "", "ends quietly")
