"""What programs read (events, reports, logs) is what the schemas in docs/ promise, in good runs and bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
W = ("--weights", "nearest")


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((DOCS / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture(scope="module")
def event_schema() -> Draft202012Validator:
    return validator("events.schema.json")


def checked(result, schema) -> list[dict]:
    events = [json.loads(line) for line in result.stdout.splitlines()]
    for event in events:
        schema.validate(event)
    return events


def test_every_kind_of_event_and_the_report(adacode, photo, tmp_path, event_schema):
    photo("p/a.jpg")
    photo("p/wide.png", (33, 16))
    pages = [Image.new("L", (8, 6), value) for value in (1, 2, 3)]
    pages[0].save(tmp_path / "p" / "pages.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "p" / "text.jpg").write_text("no image")
    (tmp_path / "p" / "gone.png").symlink_to("nowhere")
    photo("p/@eaDir/a.jpg")
    for name in ("a.xmp", "a.gif", "b.GIF"):
        (tmp_path / "p" / name).write_bytes(b"x")
    seen = set()
    for arguments in (
        ("p", "--dry-run"),
        ("p",),
        ("p",),
        ("missing",),
        ("p", "-o", "other", "--weights", "no-device"),
        ("p", "-o", "third", "--weights", "bug"),
    ):
        weights = () if "--weights" in arguments else W
        names = [event["event"] for event in checked(adacode("sr", *arguments, "--json", *weights), event_schema)]
        if "run-started" in names and len(names) > 1:
            assert names[:2] == ["run-started", "others-left-out"]
        seen |= set(names)
    known = {option["properties"]["event"]["const"] for option in event_schema.schema["oneOf"]}
    assert seen == known - {"file-awaited"}  # tests/faults/test_faults_tampered.py waits for another process
    report_schema = validator("report.schema.json")
    reports = {}
    for tree in ("p-sr-x4", "other", "third"):
        reports[tree] = json.loads((tmp_path / tree / ".adacode" / "report.json").read_text(encoding="ascii"))
        report_schema.validate(reports[tree])
    assert [reports["p-sr-x4"][key] for key in ("files", "done", "skipped", "failed", "exit_code")] == [5, 0, 3, 2, 9]
    assert {Path(entry["source"]).name for entry in reports["p-sr-x4"]["failures"]} == {"text.jpg", "gone.png"}
    for tree in reports.values():
        assert tree["left_out"] == {"unread_images": {".gif": 2}, "files": {".xmp": 1}, "folders": {"@eaDir": 1}}
        assert sorted(Path(path).name for path in tree["unread"]) == ["a.gif", "b.GIF"]
    assert reports["other"]["stopped_by"]["kind"] == "device"
    assert "bug" in {entry["error"]["kind"] for entry in reports["third"]["failures"]}


def test_the_schemas_refuse_what_is_not_promised(event_schema):
    good = {"event": "file-skipped", "source": "a", "target": None, "reason": "r"}
    assert event_schema.is_valid(good)
    for bad in ({**good, "more": 1}, {**good, "event": "file-lost"}, {"event": "file-skipped", "source": "a"}):
        assert not event_schema.is_valid(bad)


def test_a_log_file_keeps_every_file_and_the_traceback_of_failures(adacode, photo, tmp_path):
    photo("p/a.jpg")
    (tmp_path / "p" / "text.jpg").write_text("no image")
    (tmp_path / "p" / "a.gif").write_text("raw")
    for _ in range(2):
        assert adacode("sr", "p", "--log-file", "run.log", "--quiet", *W).returncode == 9
    text = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert text.count("started: 2 files") == 2
    assert text.count("p/a.jpg -> p-sr-x4/a.jpg") == 1
    assert text.count("p/a.jpg: skipped, done already") == 1
    assert text.count("failed: p/text.jpg: holds no image") == 2
    assert "Traceback" in text
    advice = "Convert GIF files with ImageMagick (convert a.gif a.png)."
    assert text.count(f"\n  1 file was not read: 1 GIF\n  {advice}\n") == 2
    assert text.count("left out: p/a.gif: a GIF, which is not read; convert it with ImageMagick (") == 2
    planned = adacode("sr", "p", "--dry-run", "--no-resume", *W)
    would_fail, *lines = planned.stderr.decode().splitlines()
    assert would_fail.startswith("would fail: p/text.jpg: holds no image")
    assert lines[:2] == ["1 file was not read: 1 GIF", advice]
    refused = adacode("sr", "p", "--log-file", "nowhere/run.log", *W)
    assert (refused.returncode, b"nowhere/run.log: cannot be written" in refused.stderr) == (6, True)


def test_lists_of_paths(adacode, photo, tmp_path):
    odd = "new\nline.png"
    for name in ("a/x.png", "b/x.png", f"c/{odd}"):
        photo(name)
    listed = f"a/x.png\0./b/x.png\0c/{odd}\0missing.png\0../escape.png\0"
    result = adacode("sr", "--from-file", "-", "--null", "-o", "out", "--json", *W, stdin=listed.encode())
    assert result.returncode == 9
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert written == {"a/x.png", "b/x.png", f"c/{odd}"}
    failed = {json.loads(line)["source"] for line in result.stdout.splitlines() if b"file-failed" in line}
    assert failed == {"missing.png", "../escape.png"}
    (tmp_path / "list.txt").write_text("a/x.png\r\n\nb/x.png\n")
    again = adacode("sr", "--from-file", "list.txt", "-o", "out", "--dry-run", *W)
    assert b"a/x.png: done already" in again.stderr
    beside = adacode("sr", "--from-file", "list.txt", "--dry-run", *W)
    assert beside.stdout.splitlines()[0] == b"a/x.png -> a/adacode-sr-x4/x.png"


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        ((), b"", 2),
        (("a.png", "--null"), b"", 2),
        (("a.png", "--from-file", "-"), b"a.png", 2),
        (("--from-file", "-"), b"a\0b", 2),
        (("--from-file", "-"), b"\n", 3),
        (("--from-file", "missing.txt"), b"", 3),
        (("a.png", "--shard", "3/2"), b"", 2),
        (("a.png", "--shard", "0/2"), b"", 2),
        (("a.png", "--no-isolate", "--decode-timeout", "5"), b"", 2),
    ],
)
def test_lists_and_shards_that_cannot_be(adacode, photo, arguments, stdin, code):
    photo("a.png")
    assert adacode("sr", *arguments, *W, stdin=stdin).returncode == code


def test_options_combine_as_the_journal_s_page_says(adacode, photo, tmp_path):
    photo("p/a.png")
    photo("p/b.png")

    def counts(*options):
        result = adacode("sr", "p", "--json", *options, *W)
        last = json.loads(result.stdout.splitlines()[-1])
        return result.returncode, last.get("done"), last.get("skipped")

    assert counts() == (0, 2, 0)
    assert counts() == (0, 0, 2)
    assert counts("--jobs", "5", "--tile", "64", "--device", "cpu") == (0, 0, 2)
    assert counts("--quality", "80") == (6, None, None)
    assert counts("--no-resume") == (0, 2, 0)
    assert counts("--skip-existing", "--quality", "80") == (0, 0, 2)
    assert counts("--overwrite") == (0, 2, 0)
    assert counts("--overwrite", "--resume") == (0, 0, 2)
    (tmp_path / "p-sr-x4" / ".adacode" / "journal.jsonl").unlink()
    assert counts() == (6, None, None)
    assert counts("--no-resume") == (6, None, None)
    assert counts("--overwrite", "--resume") == (0, 2, 0)
