"""Things in a tree that are no images, or are not the same from one moment to the next."""

from __future__ import annotations

import os
import socket
import threading
import time
import unicodedata

import pytest
from PIL import Image
from test_faults_disk import RUN, W, names, said

from adacode_cli.batch.contents import read_whole
from adacode_cli.errors import InputError

SLOW_TO_READ = 400_000_000
"""Bytes that take long enough to read that even a busy machine writes to the file meanwhile."""


def test_what_is_no_file_is_left_out(adacode, photo, tmp_path, table, monkeypatch):
    photo("p/a.png")
    os.mkfifo(tmp_path / "p" / "fifo.png")
    monkeypatch.chdir(tmp_path / "p")  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        result = adacode(*RUN)
    assert (result.returncode, names(tmp_path / "out")) == (0, {"a.png"})
    table.row("a FIFO in the tree", 0, said(result, "left out: p/fifo.png"), "is done")
    assert said(result, "left out: p/socket.png").endswith("not a regular file")


def test_a_device_node_is_left_out(adacode, photo, tmp_path, table):
    photo("p/a.png")
    try:
        os.mknod(tmp_path / "p" / "zero.png", 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes device nodes")
    result = adacode(*RUN)
    assert (result.returncode, names(tmp_path / "out")) == (0, {"a.png"})
    table.row("a device node in the tree", 0, said(result, "left out: p/zero.png"), "is done")


def test_links_that_lead_nowhere_or_around(adacode, photo, tmp_path, table):
    photo("p/sub/a.png")
    (tmp_path / "p" / "around").symlink_to("..")
    (tmp_path / "p" / "sub" / "up").symlink_to("../sub")
    result = adacode(*RUN)
    assert (result.returncode, names(tmp_path / "out")) == (0, {"sub"})
    assert names(tmp_path / "out" / "sub") == {"a.png"}
    table.row("directories linked in a loop", 0, said(result, "left out: p/sub/up"), "is done, once")
    (tmp_path / "p" / "self.png").symlink_to("self.png")
    (tmp_path / "p" / "dead.png").symlink_to("nowhere.png")
    result = adacode(*RUN)
    assert result.returncode == 9
    table.row("a link to itself", 9, said(result, "failed: p/self.png"), "is done")
    table.row("a link to nothing", 9, said(result, "failed: p/dead.png"), "is done")


def test_an_input_that_vanishes(adacode, photo, tmp_path, table):
    for index in range(6):
        photo(f"p/{index}.png", (33 if index == 0 else 24, 16))
    run = ("sr", "p", "-o", "out", "--jobs", "1", "--weights", "vanish")
    result = adacode(*run, VANISH=str(tmp_path / "p" / "5.png"))
    assert (result.returncode, names(tmp_path / "out")) == (9, {f"{index}.png" for index in range(5)})
    table.row("an input vanishes", 9, said(result, "failed: p/5.png"), "is done")


def test_an_input_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "growing.tif"
    path.touch()
    os.truncate(path, SLOW_TO_READ)
    ended = threading.Event()

    def grow():
        with path.open("ab", buffering=0) as file:
            while not ended.is_set():
                file.write(b"more")

    writer = threading.Thread(target=grow)
    writer.start()
    while path.stat().st_size == SLOW_TO_READ and writer.is_alive():
        time.sleep(0.001)
    try:
        with pytest.raises(InputError, match="changed while it was read"):
            read_whole(path)
    finally:
        ended.set()
        writer.join()
    assert len(read_whole(path)) == path.stat().st_size


def test_a_growing_input_fails_alone(adacode, photo, tmp_path, table):
    photo("p/a.png")
    (tmp_path / "p" / "growing.png").write_bytes(photo("p/b.png").read_bytes())
    os.truncate(tmp_path / "p" / "growing.png", SLOW_TO_READ)
    ended = threading.Event()

    def grow():
        with (tmp_path / "p" / "growing.png").open("ab", buffering=0) as file:
            while not ended.wait(0.0005):
                file.write(b"more")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        result = adacode(*RUN)
    finally:
        ended.set()
        writer.join()
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png", "b.png"})
    table.row("an input changes while it is read", 9, said(result, "failed: p/growing.png"), "is done")


def test_names_as_long_as_the_file_system_allows(adacode, photo, tmp_path, table):
    long = "x" * 251 + ".png"
    photo(f"p/{long}")
    photo("p/a.png")
    assert adacode(*RUN).returncode == 0
    assert names(tmp_path / "out") == {"a.png", long}
    table.row("a name of 255 bytes", 0, "", "is done, this file too")
    result = adacode("sr", "p", "-o", "longer", "--suffix", "-large", *W)
    assert (result.returncode, names(tmp_path / "longer")) == (9, {"a-large.png"})
    assert "the file name is too long" in said(result, "failed: p/xxx")
    shown = said(result, "failed: p/xxx").replace("x" * 251, "x…x")
    table.row("a name that --suffix makes longer than 255 bytes", 9, shown, "is done")


def test_a_name_that_is_too_long_stops_no_later_run_either(adacode, photo, tmp_path):
    photo(f"p/{'x' * 251}.png")
    photo("p/a.png")
    command = ("sr", "p", "-o", "longer", "--suffix", "-large", *W)
    assert adacode(*command).returncode == 9
    again = adacode(*command)
    assert (again.returncode, names(tmp_path / "longer")) == (9, {"a-large.png"})
    assert "the file name is too long" in said(again, "failed: p/xxx")
    assert adacode(*command, "--dry-run").returncode == 0


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        ("A.png", "a.png", "names that differ in letter case only"),
        ("é.png", unicodedata.normalize("NFD", "é.png"), "names that differ in Unicode composition only"),
    ],
)
def test_names_that_are_one_elsewhere(adacode, photo, tmp_path, table, first, second, fault):
    photo(f"p/{first}")
    photo(f"p/{second}")
    photo("p/z.png")
    if len(list((tmp_path / "p").iterdir())) < 3:
        pytest.skip("this file system takes them for one name")
    result = adacode(*RUN)
    assert result.returncode == 9
    assert len(names(tmp_path / "out")) == 2
    table.row(fault, 9, said(result, "failed: "), "is done, the first of the two too")


def test_what_only_looks_like_an_image(adacode, photo, tmp_path, table):
    whole = photo("p/a.jpg", (64, 64)).read_bytes()
    (tmp_path / "p" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "p" / "empty.png").write_bytes(b"")
    (tmp_path / "p" / "text.tif").write_text("Dear diary,\n")
    result = adacode(*RUN)
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.jpg"})
    for name, fault in (("cut.jpg", "a truncated image"), ("empty.png", "an empty file"), ("text.tif", "a text")):
        table.row(fault, 9, said(result, f"failed: p/{name}"), "is done")
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.size == (256, 256)


def test_a_journal_whose_last_line_is_torn(adacode, photo, tmp_path, table):
    for index in range(3):
        photo(f"p/{index}.png")
    assert adacode(*RUN).returncode == 0
    journal = tmp_path / "out" / ".adacode" / "journal.jsonl"
    (tmp_path / "out" / "2.png").unlink()  # as if the power had failed before it and its line were on the disk
    journal.write_bytes(journal.read_bytes()[:-40])
    result = adacode(*RUN)
    assert result.returncode == 0
    assert "1 restored, 2 skipped" in result.stderr.decode()
    assert journal.read_bytes().count(b"\n") == 3
    table.row("the journal's last line is torn", 0, said(result, "finished: ").split(" in ")[0], "is done")
