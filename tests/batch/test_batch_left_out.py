"""What folders hold beside images is counted by kind, once, and what the walk stays out of is not listed for it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from touched import touch_below

from adacode_cli.batch.discover import discover
from adacode_cli.batch.found import Found, Selection
from adacode_cli.batch.globs import Globs
from adacode_cli.batch.left_out import LeftOut
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.record import Settings
from adacode_cli.batch.report import REPORT, Tally, write_report
from adacode_cli.batch.state_files import STATE
from adacode_cli.errors import InputError


def counted(*inputs: Path, selection: Selection | None = None) -> tuple[list[str], LeftOut]:
    """The places of the images, and what was counted beside them."""
    left_out = LeftOut()
    stream = discover(inputs, selection or Selection(), left_out)
    return [entry.place for entry in stream if isinstance(entry, Found)], left_out


def test_files_are_counted_by_kind_and_folders_of_attributes_by_name(tmp_path):
    touch_below(
        tmp_path, "a.jpg", "a.XMP", "sub/b.xmp", "clip.mov", "README", "Mr. Smith, 1931", "x.", "letter.jpg_original"
    )
    touch_below(tmp_path, "raw/1.PSD", "raw/2.exr", "raw/3.exr", "anim.gif")
    touch_below(tmp_path, "._a.jpg", ".DS_Store", "sub/.DS_Store", "Thumbs.db", ".hidden.jpg", ".adacode/journal.jsonl")
    touch_below(
        tmp_path, "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "sub/@eaDir/b.jpg", "__MACOSX/a.jpg", ".thumbnails/a.png"
    )
    touch_below(tmp_path, ".AppleDouble/a.jpg", ".git/picture.png", ".cache/x.png")
    places, left_out = counted(tmp_path)
    assert places == ["a.jpg"]
    assert left_out.counts == {
        "unread_images": {".exr": 2, ".gif": 1, ".mov": 1, ".psd": 1},
        "files": {
            "": 3,
            ".DS_Store": 2,
            ".xmp": 2,
            ".*": 1,
            "._*": 1,
            ".jpg_original": 1,
            "Thumbs.db": 1,
        },
        "folders": {".*": 2, "@eaDir": 2, ".AppleDouble": 1, ".thumbnails": 1, "__MACOSX": 1},
    }
    assert left_out.text == (
        "5 files were not read: 2 EXR, 1 GIF, 1 MOV, 1 PSD; "
        "left out: 3 without a suffix, 2 .DS_Store, 2 .xmp, 1 hidden, 1 ._*, 1 .jpg_original, 1 Thumbs.db, "
        "2 hidden folders, 2 folders @eaDir, 1 folder .AppleDouble, 1 folder .thumbnails, 1 folder __MACOSX"
    )
    assert left_out.advice == (
        "Convert EXR files with ImageMagick (convert a.exr a.tif). Convert GIF files with ImageMagick "
        "(convert a.gif a.png). Convert MOV files with FFmpeg (ffmpeg -i a.mov a-%05d.png)."
    )
    assert sorted(Path(path).relative_to(tmp_path).as_posix() for path in left_out.unread) == [
        *("anim.gif", "clip.mov", "raw/1.PSD", "raw/2.exr", "raw/3.exr")
    ]


def test_what_was_deleted_is_left_out_and_counted_unless_it_is_named(tmp_path):
    folders = ("#recycle", "@Recycle", "$RECYCLE.BIN", "#snapshot")
    touch_below(tmp_path, "a.jpg", *(f"{folder}/b.jpg" for folder in folders))
    places, left_out = counted(tmp_path)
    assert places == ["a.jpg"]
    assert left_out.folders == dict.fromkeys(folders, 1)
    assert counted(tmp_path / "#recycle")[0] == ["b.jpg"]


@pytest.mark.parametrize("name", ["$Recycle.Bin", "@eadir", "#Recycle"])
def test_the_case_of_their_names_does_not_count(tmp_path, name):
    """Windows writes `$Recycle.Bin` on some disks, and `$RECYCLE.BIN` on others."""
    touch_below(tmp_path, "a.jpg", f"{name}/b.jpg")
    places, left_out = counted(tmp_path)
    assert places == ["a.jpg"]
    assert {folder.lower(): count for folder, count in left_out.folders.items()} == {name.lower(): 1}


def test_nothing_left_out_is_nothing_to_say(tmp_path):
    touch_below(tmp_path, "a.jpg", ".adacode/claims/x")
    _, left_out = counted(tmp_path)
    assert not left_out
    assert left_out.text == ""


def test_folders_that_are_left_out_are_not_listed(tmp_path, monkeypatch):
    touch_below(tmp_path, "a.jpg", "sub/b.jpg", "@eaDir/x/y.jpg", ".hidden/y.jpg", "sub/__MACOSX/z.jpg")
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    assert counted(tmp_path)[0] == ["a.jpg", "sub/b.jpg"]
    assert listed == [str(tmp_path), str(tmp_path / "sub")]


def test_what_is_named_is_tried_whatever_its_kind(tmp_path):
    touch_below(tmp_path, "@eaDir/a.jpg", "x.psd", "._b.jpg")
    places, left_out = counted(tmp_path / "@eaDir", tmp_path / "x.psd", tmp_path / "._b.jpg")
    assert places == ["a.jpg", "x.psd", "._b.jpg"]
    assert not left_out


def test_what_patterns_leave_out_is_not_counted(tmp_path):
    touch_below(tmp_path, "a.jpg", "a.xmp", "sub/b.xmp", "sub/.c", ".d/e", "f.mov")
    assert counted(tmp_path, selection=Selection(Globs(include=("*.jpg",))))[1].files == {}
    assert counted(tmp_path, selection=Selection(Globs(exclude=("*.xmp", ".d"))))[1].counts == {
        "unread_images": {".mov": 1},
        "files": {".*": 1},
        "folders": {},
    }


def test_a_folder_below_two_inputs_is_counted_once(tmp_path):
    touch_below(tmp_path, "a.jpg", "a.xmp", "sub/b.jpg", "sub/b.xmp", "sub/@eaDir/x")
    for inputs in ((tmp_path, tmp_path / "sub"), (tmp_path / "sub", tmp_path), (tmp_path, tmp_path)):
        left_out = counted(*inputs)[1]
        assert (left_out.files, left_out.folders) == ({".xmp": 2}, {"@eaDir": 1})


def test_what_a_run_has_written_is_not_counted(tmp_path):
    touch_below(tmp_path, "a.jpg", "a.xmp", "out/.adacode/journal.jsonl", "out/a.jpg", "out/a.jpg.adacode", "out/b.txt")
    selection = Selection(outputs_in=lambda _path: {"a.jpg", "a.jpg.adacode"}.__contains__)
    places, left_out = counted(tmp_path, selection=selection)
    assert places == ["a.jpg"]
    assert left_out.files == {".xmp": 1, ".txt": 1}


def test_links_that_lead_nowhere_or_around_count_as_files(tmp_path):
    touch_below(tmp_path, "a.jpg")
    for name, target in ((".#lock", "user@host.1"), (".loop", ".loop"), ("gone.txt", "nowhere")):
        (tmp_path / name).symlink_to(target)
    places, left_out = counted(tmp_path)
    assert places == ["a.jpg"]
    assert left_out.files == {".*": 2, ".txt": 1}


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    touch_below(tmp_path, "a.psd", "b.psd", "a.xmp")
    with pytest.raises(InputError, match=r"no images found; 2 files were not read: 2 PSD; left out: 1 \.xmp") as caught:
        make_plan([tmp_path], Naming("sr-x4"), Selection(), OnExisting.REFUSE)
    assert "Convert" in caught.value.hint


def test_a_report_names_the_first_thousand(tmp_path):
    tally = Tally(0)
    for number in range(1234):
        tally.left_out.add_file(f"{number}.mov", f"p/{number}.mov")
    (tmp_path / STATE).mkdir()
    write_report(tmp_path, tally.report(), Settings(), datetime.now(UTC))
    written = json.loads((tmp_path / REPORT).read_text())
    assert written["left_out"]["unread_images"] == {".mov": 1234}
    assert written["unread"] == [f"p/{number}.mov" for number in range(1000)]
