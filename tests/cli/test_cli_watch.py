"""`--watch`: the real program over a folder into which files come, are replaced and are removed."""

from __future__ import annotations

import json
import queue
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from adacode_process import default_signals
from jsonschema import Draft202012Validator
from PIL import Image

W = ("--weights", "nearest")
FAST = ("--watch", "--watch-interval", "0.2")
PATIENCE_S = 120.0  # no machine is too slow for this
PAGE = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
SCHEMA = Path(__file__).parents[2] / "docs" / "events.schema.json"


class Watching:
    """A watch that runs, and its events in their order."""

    def __init__(self, adacode, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.directory = adacode.directory
        fast = () if "--watch" in arguments else FAST
        self.process = adacode.start(
            *arguments, *fast, "--json", env=env, preexec_fn=default_signals, stderr=subprocess.PIPE
        )
        self.events: list[dict] = []
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self.until("run-started")["files"] == 0

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def until(self, name: str, source: str | None = None) -> dict:
        """The next event of this name, about this source."""
        while True:
            event = self._next()
            if event["event"] == name and source in (None, event.get("source")):
                return event

    def until_all(self, sources: set[str]) -> None:
        """Waits until each source is done or skipped."""
        while not sources <= {source for name, source in self.of_files() if name in ("file-done", "file-skipped")}:
            self._next()

    def _next(self) -> dict:
        if line := self._lines.get(timeout=PATIENCE_S):
            self.events.append(json.loads(line))
            return self.events[-1]
        raise AssertionError(f"it ended with {self.process.wait()}: {self.process.stderr.read().decode()}")

    def ended(self, number: signal.Signals = signal.SIGTERM) -> dict:
        """Its last event, after a signal. All events are as their schema says."""
        self.process.send_signal(number)
        last = self.until("run-finished")
        assert self.process.wait(PATIENCE_S) == last["exit_code"] == 130
        assert b"Traceback" not in self.process.stderr.read()
        self.process.stderr.close()
        self._thread.join()
        self.process.stdout.close()
        validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
        for event in self.events:
            validator.validate(event)
        return last

    def of_files(self) -> list[tuple[str, str]]:
        return [(event["event"], event["source"]) for event in self.events if "source" in event]


@pytest.fixture
def watch(adacode):
    started = []

    def begin(*arguments: str, env: dict[str, str] | None = None) -> Watching:
        started.append(Watching(adacode, *arguments, env=env))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def journal(tree: Path) -> list[dict]:
    return [json.loads(line) for line in (tree / ".adacode" / "journal.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_files_that_come_in_are_restored_until_a_signal(watch, photo, tmp_path, number):
    """The folder of results lies in the one that is watched; files are copied, moved in, and come with their folder."""
    inbox = tmp_path / "inbox"
    photo("inbox/first.png")
    run = watch("sr", "inbox", "-o", "inbox/out", *W)
    run.until("file-done", "inbox/first.png")
    photo("inbox/copied.jpg")
    run.until("file-done", "inbox/copied.jpg")
    photo("moved.png").rename(inbox / "moved.png.part")
    photo("inbox/2031/may/deep.png")
    run.until("file-done", "inbox/2031/may/deep.png")
    (inbox / "moved.png.part").rename(inbox / "moved.png")
    run.until("file-done", "inbox/moved.png")
    last = run.ended(number)
    assert (last["files"], last["done"], last["skipped"], last["failed"], last["untouched"]) == (4, 4, 0, 0, 0)
    made = {path.relative_to(inbox / "out").as_posix() for path in (inbox / "out").rglob("*.*g")}
    assert made == {"first.png", "copied.jpg", "moved.png", "2031/may/deep.png"}
    assert sorted(line["target"] for line in journal(inbox / "out")) == sorted(made)
    assert list((inbox / "out" / ".adacode" / "in-flight").iterdir()) == []
    report = json.loads((inbox / "out" / ".adacode" / "report.json").read_text())
    assert (report["done"], report["exit_code"], report["stopped_by"]["kind"]) == (4, 130, "interrupted")


def test_a_start_after_a_break_makes_only_what_came_meanwhile(watch, photo, tmp_path):
    counted = tmp_path / "counted"
    counting = {"COUNTED": str(counted)}
    for width in (20, 21, 22):
        photo(f"inbox/{width}.png", (width, 16))
    run = watch("sr", "inbox", "--weights", "counted", env=counting)
    run.until("file-done", "inbox/22.png")
    run.process.kill()
    run.process.wait()
    photo("inbox/23.png", (23, 16))
    photo("inbox/21.png", (24, 16))  # replaced
    again = watch("sr", "inbox", "--weights", "counted", env=counting)
    again.until("file-done", "inbox/23.png")
    last = again.ended()
    assert (last["done"], last["skipped"]) == (2, 2)
    assert counted.read_text().split() == ["20", "21", "22", "24", "23"]
    assert {e["reason"] for e in again.events if e["event"] == "file-skipped"} == {"done already"}


def test_a_file_that_fails_is_tried_again_when_it_changes_and_not_before(watch, photo, tmp_path):
    whole = photo("whole.png").read_bytes()
    bad = tmp_path / "inbox" / "bad.png"
    bad.parent.mkdir()
    bad.write_bytes(whole[:100])
    run = watch("sr", "inbox", *W)
    run.until("file-failed", "inbox/bad.png")
    for number in range(3):  # each needs two looks
        photo(f"inbox/{number}.png")
        run.until("file-done", f"inbox/{number}.png")
    bad.write_bytes(whole)
    run.until("file-done", "inbox/bad.png")
    last = run.ended()
    assert (last["files"], last["done"], last["failed"]) == (5, 4, 1)
    assert [event for event in run.of_files() if event[1] == "inbox/bad.png"] == [
        ("file-failed", "inbox/bad.png"),
        ("file-done", "inbox/bad.png"),
    ]


def test_a_file_that_grows_ends_as_its_whole_self(watch, photo, tmp_path):
    whole = photo("whole.jpg", (64, 48)).read_bytes()
    photo("inbox/other.png")
    run = watch("sr", "inbox", "-o", "out", *W)
    with (tmp_path / "inbox" / "slow.jpg").open("wb", buffering=0) as file:
        step = len(whole) // 20 + 1
        for start in range(0, len(whole), step):
            file.write(whole[start : start + step])
            time.sleep(0.05)
    done = run.until("file-done", "inbox/slow.jpg")
    run.ended()
    assert done["target"] == "out/slow.jpg"
    (line,) = [line for line in journal(tmp_path / "out") if line["outcome"] == "done" and "slow" in line["target"]]
    assert line["source_bytes"] == len(whole)
    with Image.open(tmp_path / "out" / "slow.jpg") as image:
        assert image.size == (256, 192)


def test_a_file_that_is_replaced_is_restored_again(watch, photo, tmp_path):
    photo("inbox/a.png", (20, 16))
    run = watch("sr", "inbox", "-o", "out", *W)
    run.until("file-done", "inbox/a.png")
    photo("other.png", (30, 16)).replace(tmp_path / "inbox" / "a.png")
    run.until("file-done", "inbox/a.png")
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (120, 64)
    assert run.ended()["done"] == 2


def test_a_file_that_is_removed_before_it_is_read_is_no_failure(watch, photo, tmp_path):
    photo("inbox/0.png", (33, 16))
    for number in range(1, 8):
        photo(f"inbox/{number}.png")
    go = tmp_path / "go"
    run = watch("sr", "inbox", "--jobs", "1", "--weights", "pause", env={"PAUSE": str(go)})
    assert run.process.stderr.readline() == b"waiting\n"
    (tmp_path / "inbox" / "7.png").unlink()
    go.touch()
    skipped = run.until("file-skipped", "inbox/7.png")
    assert skipped["reason"] == "it was removed before it was read"
    last = run.ended()
    assert (last["done"], last["skipped"], last["failed"]) == (7, 1, 0)
    assert [line["outcome"] for line in journal(tmp_path / "inbox-sr-x4")] == ["done"] * 7


def test_a_signal_while_a_file_is_computed(watch, photo, tmp_path):
    photo("inbox/0.png")
    photo("inbox/1.png", (33, 16))
    photo("inbox/2.png")
    run = watch("sr", "inbox", "--weights", "wait")
    assert run.process.stderr.readline() == b"waiting\n"
    last = run.ended(signal.SIGINT)
    assert (last["files"], last["done"], last["untouched"]) == (3, 1, 2)
    assert not (tmp_path / "inbox-sr-x4" / "1.png").exists()


def test_a_folder_that_goes_and_comes_back(watch, photo, tmp_path):
    photo("inbox/a.png")
    run = watch("sr", "inbox", "-o", "out", *W)
    run.until("file-done", "inbox/a.png")
    (tmp_path / "inbox").rename(tmp_path / "away")
    failed = run.until("file-failed", "inbox")
    assert "the folder is not there any more" in failed["error"]["message"]
    photo("away/b.png")
    (tmp_path / "away").rename(tmp_path / "inbox")
    run.until("file-done", "inbox/b.png")
    last = run.ended()
    assert (last["done"], last["skipped"], last["failed"]) == (2, 1, 1)


def test_an_output_that_is_not_ours_fails_alone(watch, photo, tmp_path):
    photo("inbox/a.png")
    run = watch("sr", "inbox", "-o", "out", *W)
    run.until("file-done", "inbox/a.png")
    foreign = photo("out/b.png").read_bytes()
    photo("inbox/b.png")
    photo("inbox/c.png")
    failed = run.until("file-failed", "inbox/b.png")
    assert (failed["error"]["kind"], failed["error"]["message"]) == ("output", "out/b.png: exists already")
    run.until("file-done", "inbox/c.png")
    run.ended()
    assert (tmp_path / "out" / "b.png").read_bytes() == foreign


def test_two_watches_of_one_folder_make_each_file_once(watch, photo, tmp_path):
    counted = tmp_path / "counted"
    photo("inbox/20.png", (20, 16))
    runs = [watch("sr", "inbox", "-o", "out", "--weights", "counted", env={"COUNTED": str(counted)}) for _ in range(2)]
    widths = range(20, 32)
    for width in widths:
        photo(f"inbox/{width}.png", (width, 16))
    for run in runs:
        run.until_all({f"inbox/{width}.png" for width in widths})
    for run in runs:
        assert run.ended()["failed"] == 0
    assert sorted(counted.read_text().split()) == [str(width) for width in widths]


def test_other_options_are_refused_at_the_start(adacode, watch, photo):
    photo("inbox/a.png")
    run = watch("sr", "inbox", *W)
    run.until("file-done")
    run.ended()
    for other in (("--quality", "80", *W), ("--weights", "other")):
        result = adacode("sr", "inbox", "--watch", *other)
        assert result.returncode == 6
        assert b"exists already, and was made with other" in result.stderr


def test_for_a_person_each_file_is_a_line(adacode, photo, tmp_path):
    photo("inbox/a.png")
    (tmp_path / "inbox" / "b.png").write_text("no image")
    process = adacode.start("sr", "inbox", "-o", "out", *FAST, *W, preexec_fn=default_signals)
    lines = [process.stderr.readline().decode() for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert process.returncode == 130
    assert lines[0] == "inbox: watched, every 0.2 s; Ctrl-C ends it\n"
    assert sum(line.startswith("[") and "/2] inbox/a.png -> out/a.png" in line for line in lines[1:]) == 1
    assert sum(line.startswith("failed: inbox/b.png: holds no image") for line in lines[1:]) == 1
    assert "interrupted: 1 restored, 1 failed in " in rest


def test_holes_and_codes_are_watched_too(adacode, real_adacode, photo, tmp_path):
    """The network of reconstruct, and an inpainting whose hole is in the image."""
    Image.new("RGBA", (24, 16), (9, 9, 9, 0)).save(photo("inbox/a.png"))
    for command, program in ((("inpaint", "inbox", "--mask-alpha"), adacode), (("reconstruct", "inbox"), real_adacode)):
        weights = W if program is adacode else ()
        run = Watching(program, *command, "-o", f"out-{command[0]}", *weights)
        run.until("file-done", "inbox/a.png")
        assert run.ended()["done"] == 1
    assert (tmp_path / "out-inpaint" / "a.png").exists()
    assert (tmp_path / "out-reconstruct" / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("sr", "-", "--watch"), 2, "--watch cannot be used with '-'"),
        (("sr", "a.png", "--watch"), 2, "--watch needs directories, and a.png is none"),
        (("sr", "missing", "--watch"), 3, "missing: there is no such directory"),
        (("sr", "inbox", "--watch", "--dry-run"), 2, "--watch and --dry-run cannot be combined"),
        (("sr", "--from-file", "list", "--watch"), 2, "--watch and --from-file cannot be combined"),
        (("sr", "inbox", "--watch", "-o", "b.png"), 2, "-o b.png names a single file"),
        (("sr", "inbox", "--watch", "-o", "inbox"), 2, "the directory of results inbox is watched"),
        (("sr", "inbox/deep", "--watch", "-o", "inbox"), 2, "contains inbox/deep, which is watched"),
        (("sr", "inbox", "--watch-interval", "1"), 2, "--watch-interval has no effect without --watch"),
        (("sr", "inbox", "--watch", "--watch-interval", "0"), 2, "--watch-interval"),
        (("inpaint", "inbox", "--watch", "--mask-dir", "m"), 2, "--watch and --mask-dir cannot be combined"),
        (("sr", "inbox", "--watch", "--weights", "unknown"), 4, "no weights are called 'unknown'"),
    ],
)
def test_what_cannot_be_combined(adacode, photo, tmp_path, arguments, code, message):
    photo("a.png")
    photo("inbox/deep/b.png")
    (tmp_path / "m").mkdir()
    result = adacode(*arguments, *(() if "--weights" in arguments else W))
    assert (result.returncode, message in " ".join(result.stderr.decode().split())) == (code, True), result.stderr
    assert not (tmp_path / "inbox-sr-x4").exists()


def test_results_that_can_no_longer_be_recorded_end_the_watch(adacode, photo, tmp_path):
    """As they end every run: a service starts it again later."""
    photo("inbox/a.png")
    run = Watching(adacode, "sr", "inbox", "-o", "out", *W)
    run.until("file-done")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").write_text("in the way")
    photo("inbox/b.png")
    error = run.until("error")
    assert error["error"]["exit_code"] == run.process.wait(PATIENCE_S) != 0


@pytest.mark.parametrize(
    "command",
    [
        shlex.split(re.search(r"^ExecStart=\S+ (.*)$", PAGE, re.MULTILINE)[1]),
        shlex.split(re.search(r" adacode (sr /inbox .*)$", PAGE, re.MULTILINE)[1]),
    ],
    ids=["service", "container"],
)
def test_the_commands_of_the_page_do_what_it_says(watch, photo, tmp_path, command):
    """With folders of this test in the place of those of the page."""
    photo("photos/inbox/a.png")
    inside = {"/srv/photos": "photos", "/inbox": "photos/inbox", "/results": "photos/results"}
    here = []
    for part in command:
        name = next((name for name in inside if part.startswith(name)), "")
        here.append(inside.get(name, "") + part.removeprefix(name))
    run = watch(*here, *W)
    run.until("file-done", "photos/inbox/a.png")
    assert run.ended()["done"] == 1
    assert (tmp_path / "photos" / "results" / "a.png").exists()
    assert "--log-file" not in command or "a.png" in (tmp_path / "photos" / "adacode.log").read_text()
