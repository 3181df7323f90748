"""Files in directories that hold images of kinds that are not read: counted, listed, and failures with --strict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

W = ("--weights", "nearest")
UNREAD = {
    "a.gif": b"GIF89a",
    "b.pdf": b"%PDF-1.7",
    "sub/c.PSD": b"8BPS",
    "sub/d.mp4": b"\0\0\0\x18ftypmp42",
}
OTHERS = ("a.xmp", "notes.txt", ".DS_Store")


@pytest.fixture
def folder(photo, tmp_path) -> Path:
    photo("p/a.png")
    photo("p/sub/b.jpg")
    for name, data in UNREAD.items():
        (tmp_path / "p" / name).write_bytes(data)
    for name in OTHERS:
        (tmp_path / "p" / name).write_bytes(b"x")
    return tmp_path / "p"


def lines_of(result) -> list[str]:
    return result.stderr.decode().splitlines()


def test_the_summary_counts_them_by_kind_and_says_what_converts_them(adacode, folder):
    result = adacode("sr", "p", *W)
    assert result.returncode == 0
    *files, summary, counts, advice = lines_of(result)
    assert len(files) == 2
    assert summary.startswith("finished: 2 restored in ")
    left_out = "left out: 1 .DS_Store, 1 .txt, 1 .xmp"
    assert counts == f"  4 files were not read: 1 GIF, 1 MP4, 1 PDF, 1 PSD; {left_out}"
    commands = (
        "Convert GIF files with ImageMagick (convert a.gif a.png).",
        "Convert MP4 files with FFmpeg (ffmpeg -i a.mp4 a-%05d.png).",
        "Convert PDF files with Poppler (pdftoppm -r 300 -tiff a.pdf a).",
    )
    assert advice == f"  {' '.join(commands)}"


def test_each_is_named_with_v_in_the_events_in_the_log_and_in_the_report(adacode, folder, tmp_path):
    reason = "p/b.pdf: a PDF document, which is not read; convert it with Poppler (pdftoppm -r 300 -tiff a.pdf a)"
    for extra in ((), ("--dry-run",)):
        text = adacode("sr", "p", "-v", "--overwrite", *extra, *W).stderr.decode()
        assert f"left out: {reason}" in text
        assert all(f"left out: p/{name}: " in text for name in UNREAD)
        assert not any(f"p/{name}" in text for name in OTHERS)
    result = adacode("sr", "p", "--json", "--overwrite", "--log-file", "run.log", *W)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    named = {event["source"]: event for event in events if event["event"] == "file-skipped"}
    assert sorted(named) == [f"p/{name}" for name in UNREAD]
    assert f"p/b.pdf: {named['p/b.pdf']['reason']}" == reason
    assert all(event["target"] is None for event in named.values())
    assert f"left out: {reason}" in (tmp_path / "run.log").read_text()
    report = json.loads((tmp_path / "p-sr-x4" / ".adacode" / "report.json").read_text())
    assert sorted(report["unread"]) == [f"p/{name}" for name in UNREAD]
    assert report["exit_code"] == 0


def test_strict_makes_them_failures_and_restores_the_others(adacode, folder, tmp_path):
    planned = adacode("sr", "p", "--strict", "--dry-run", *W)
    assert planned.returncode == 9
    assert sum(line.startswith("would fail: ") for line in lines_of(planned)) == 4
    result = adacode("sr", "p", "--strict", *W)
    text = result.stderr.decode()
    assert result.returncode == 9
    assert "2 restored, 4 failed" in text
    assert "failed: p/a.gif: a GIF, which is not read; convert it with ImageMagick (convert a.gif a.png)" in text
    report = json.loads((tmp_path / "p-sr-x4" / ".adacode" / "report.json").read_text())
    assert sorted(entry["source"] for entry in report["failures"]) == [f"p/{name}" for name in UNREAD]
    for left in (("--exclude", "*.[gpmP]*[f4D]"), ("--include", "*.png", "--include", "*.jpg")):
        assert adacode("sr", "p", "--strict", "--no-resume", *left, *W).returncode == 0


def test_a_folder_with_nothing_else_is_refused_with_the_command(adacode, folder):
    for name in ("a.png", "sub/b.jpg"):
        (folder / name).unlink()
    for strict in ((), ("--strict",)):
        result = adacode("sr", "p", *strict, *W)
        text = result.stderr.decode()
        assert result.returncode == 3
        assert "p: no images found; 4 files were not read: 1 GIF, 1 MP4, 1 PDF, 1 PSD; left out:" in text
        assert "Convert GIF files with ImageMagick (convert a.gif a.png). " in text


@pytest.mark.parametrize(
    ("name", "command"), [("a.gif", "ImageMagick (convert a.gif a.png)"), ("b.pdf", "Poppler (pdftoppm -r 300")]
)
def test_one_that_is_named_itself_fails_with_the_command(adacode, folder, name, command):
    result = adacode("sr", f"p/{name}", *W)
    assert result.returncode == 3
    assert b"which is not read" in result.stderr
    assert f"Convert it first, for example with {command}" in result.stderr.decode()
