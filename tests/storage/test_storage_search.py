"""The search below an address follows the rules of a search on a disk."""

from __future__ import annotations

import pytest

from adacode_cli.batch import discover_remote
from adacode_cli.batch.discover import discover
from adacode_cli.batch.found import Found, PassedOver, Selection
from adacode_cli.batch.globs import Globs
from adacode_cli.batch.left_out import LeftOut
from adacode_cli.batch.outcome import failed_entry
from adacode_cli.batch.report import Tally
from adacode_cli.cli.run_text import finished_lines
from adacode_cli.storage import objects
from adacode_cli.storage.path import path_of

FILES = (
    *("b.jpg", "a/1.png", "a/2.TIF", "a/notes.txt", "a/.hidden.png", ".git/x.png", "a/@eaDir/b.jpg", "a/raw.PSD"),
    *("out/.adacode/journal.jsonl", "out/1.png", "out/deep/2.png", "out/(1).png", "out/-2.png"),
    *("thumbs/1.png", "z/thumbs/1.png", "(c).png", "-d.png"),
)


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """A folder in each kind of store: one with folders, one with a list of keys."""
    if request.param == "s3":
        request.getfixturevalue("in_process")
    else:
        from fsspec.implementations.memory import MemoryFileSystem

        MemoryFileSystem.store.clear()
    return path_of(f"{request.param}://museum/scans")


def search(place, tmp_path=None, **selection):
    left_out = LeftOut()
    found = list(discover([place], Selection(**selection), left_out))
    return (
        sorted(one.place for one in found if isinstance(one, Found)),
        {str(one.path): one.reason for one in found if isinstance(one, PassedOver)},
        left_out,
    )


def test_what_is_found_and_what_is_left_out(place):
    for name in FILES:
        objects.write(place / name, b"x")
    places, passed_over, left_out = search(place)
    assert places == ["(c).png", "-d.png", "a/1.png", "a/2.TIF", "b.jpg", "thumbs/1.png", "z/thumbs/1.png"]
    assert list(passed_over) == [f"{place}/out"]
    assert passed_over[f"{place}/out"].startswith("outputs of an earlier run")
    assert left_out.files == {".txt": 1, ".*": 1, ".psd": 1}
    assert left_out.folders == {".*": 1, "@eaDir": 1}
    assert left_out.unread == [f"{place}/a/raw.PSD"]


def test_patterns_and_folders_of_this_run(place):
    for name in FILES:
        objects.write(place / name, b"x")
    globs = Globs(include=("*.png",), exclude=("thumbs", "a/2*"))
    places, passed_over, _ = search(place, globs=globs, avoid=(place / "a", place / "b.jpg"))
    assert places == ["(c).png", "-d.png"]
    assert set(passed_over) == {f"{place}/out", f"{place}/a"}


def test_the_output_tree_itself_may_be_an_input(place):
    for name in FILES:
        objects.write(place / name, b"x")
    places, passed_over, _ = search(place / "out")
    assert places == ["(1).png", "-2.png", "1.png", "deep/2.png"]
    assert not passed_over


def test_a_key_that_no_path_can_name_is_a_failure(in_process):
    unusable = ("scans//e.png", "scans/a//b.png", "scans/./c.png", "scans/d.png?versionId=1.png")
    for key in (*unusable, "scans/d.png", "scans/folder/"):
        in_process.put(key, b"x")
    found = list(discover([path_of("s3://museum/scans")], Selection(), LeftOut()))
    assert [one.place for one in found if isinstance(one, Found)] == ["d.png"]
    tally = Tally(total=4)
    for one in found:
        if isinstance(one, PassedOver) and one.failed:
            tally.add(failed_entry(one))
    summary = finished_lines(tally.report(), (), detailed=False).plain
    why = "a part that is empty, '.' or '..', which no path can have"
    assert sorted(summary.splitlines()[1:]) == [
        f"  failed: s3://museum/scans: all keys that begin with './' have {why}",
        f"  failed: s3://museum/scans: all keys that begin with 'a//' have {why}",
        f"  failed: s3://museum/scans: the key '/e.png' has {why}",
        "  failed: s3://museum/scans: the key 'd.png?versionId=1.png' contains ?versionId=, which would name another "
        "object",
    ]


def test_keys_that_are_other_files_on_windows_fail_there(in_process, monkeypatch):
    """A drive, a folder, a stream of another file, a device: on other systems they are names like all others."""
    other = ("C:/photos/a.png", "a\\b.png", "a.png:b.png", "con.png", "sub/NUL/a.png", "dot./a.png", "what?.png")
    for key in (*other, "console.png", "a b.png", "sub.d/a.png"):
        in_process.put(f"scans/{key}", b"x")

    def found():
        entries = list(discover([path_of("s3://museum/scans")], Selection(), LeftOut()))
        passed_over = [one for one in entries if isinstance(one, PassedOver)]
        assert all(one.failed and one.reason.endswith("cannot be the name of a file on Windows") for one in passed_over)
        return {one.place for one in entries if isinstance(one, Found)}, len(passed_over)

    assert found() == ({*other, "console.png", "a b.png", "sub.d/a.png"}, 0)
    monkeypatch.setattr(discover_remote, "_IS_WINDOWS", True)
    assert found() == ({"console.png", "a b.png", "sub.d/a.png"}, len(other))
