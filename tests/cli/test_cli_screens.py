"""What a person sees of a run in terminals of 60, 80 and 200 columns: progress and summary, in whole words."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from adacode_cli.cli.live_line import LiveLine
from adacode_cli.cli.time_left import Work

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

from terminal import CTRL_C, Look, Seen, seen

COLUMNS = (60, 80, 200)
PROGRESS = re.compile(
    r". (?P<done>\d+)/(?P<all>\d+) [━╸╺]+ "
    r"(\d+\.\d s so far|((\d+\.\d files/s|\d+\.\d s/file), )?(\d+ s|\d+ min \d+ s) left)( (?P<path>\S.*))?"
)
TILES = re.compile(r" {1,3}[━╸╺]+ (\d+\.\d\d) of (\d+\.\d\d) megapixels")
FOLDER = "a folder with a name that is longer than others"


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Page:
    """The progress of a run over 12 files of 1 megapixel, drawn for a terminal of some columns."""

    def __init__(self, columns: int, num_files: int = 12) -> None:
        self.clock, self.paper = Clock(), StringIO()
        self.console = Console(file=self.paper, width=columns, height=24, force_terminal=True, color_system="standard")
        self.line = LiveLine(self.console, self.clock)
        works = self.line.expect(num_files)
        self.paths = [Path(f"{FOLDER}/2026/photograph-{i:03d}.jpg") for i in range(12)]
        for path in self.paths:
            works.add(str(path), Work(1, 12.0))
        self.line.begin(num_files)
        self.line.end()

    def restore(self, seconds: float) -> None:
        """Restores one file in so many seconds."""
        path = self.paths.pop(0)
        self.line.at(path)
        self.clock.now += seconds
        self.line.advanced(path, 1.0)
        self.line.step(path, worked=True)

    def begin(self, share: float, seconds: float) -> None:
        """Begins with the next file, and computes this share of it in so many seconds."""
        self.line.at(self.paths[0])
        self.clock.now += seconds
        self.line.advanced(self.paths[0], share)

    def lines(self) -> list[str]:
        """What is shown now, without the spinner."""
        self.paper.seek(0)
        self.paper.truncate()
        self.console.print(self.line._shown())
        plain = re.sub(r"\x1b\[[\d;]*m", "", self.paper.getvalue())
        return [line[2:].rstrip() for line in plain.splitlines()]


def test_the_line_of_a_run_as_it_is_drawn():
    drawn = {}
    for columns in COLUMNS:
        page = Page(columns)
        for _ in range(3):
            page.restore(41.0)
        page.begin(0.25, 10.25)
        drawn[columns] = page.lines()
    short, long = "━━╸━━━━━━━", "━━━━━━╸━━━━━━━━━━━━━━━━━"
    assert drawn[60] == [f"3/12 {short} 5 min 59 s left …26/photograph-003.jpg", f"{short} 3.0 of 12.0 megapixels"]
    assert drawn[80] == [
        f"3/12 {short} 41.0 s/file, 5 min 59 s left …hers/2026/photograph-003.jpg",
        f"{short} 3.0 of 12.0 megapixels",
    ]
    assert drawn[200] == [
        f"3/12 {long} 41.0 s/file, 5 min 59 s left {FOLDER}/2026/photograph-003.jpg",
        f"{long.replace('╸', '╺')} 3.0 of 12.0 megapixels",
    ]


@pytest.mark.parametrize("columns", range(60, 140))
def test_no_word_of_it_is_broken_in_any_state(columns):
    page = Page(columns, num_files=100_000 if columns % 2 else 12)
    words = {"so", "far", "left", "files/s", "s/file,", "s", "min", "h", "of", "megapixels"}

    def check() -> None:
        lines = page.lines()
        assert len(lines) <= 2
        for line in lines:
            assert len(line) + 2 <= columns - 4  # room for ^C
            plain = [word for word in line.split(" ") if word.isalpha() or word in words]
            name = str(page.paths[0]).split(" ")
            assert all(word in words or word in name or any(word in part for part in name) for word in plain)

    check()
    for seconds in (0.01, 1.0, 4000.0, 90_000.0):
        page.restore(seconds)
        page.begin(0.3, 3.0)
        check()
        page.line.at_page(page.paths[0], 3, 1200)
        check()


@pytest.fixture
def photos(photo):
    for i in range(5):
        photo(f"{FOLDER}/{i}.png", (200, 120))


def check_progress(found: Seen, columns: int) -> list[re.Match[str]]:
    """Every line that has been seen of the progress, and none that has another form."""
    matches = []
    for lines in found.pictures:
        for line in lines:
            if "━" in line:
                match = PROGRESS.fullmatch(line) or TILES.fullmatch(line)
                assert match, f"{line!r} in {lines}"
                assert len(line) <= columns - 4
                matches.append(match)
    return matches


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("columns", COLUMNS)
def test_progress_and_summary_of_a_run(adacode, columns):
    found = seen(adacode, "sr", FOLDER, "-o", "results", "--weights", "slow", columns=columns)
    assert (found.returncode, found.cursor_shown) == (0, True)
    runs = [match for match in check_progress(found, columns) if match.re is PROGRESS]
    done = [int(match["done"]) for match in runs]
    assert done == sorted(done)
    assert {match["all"] for match in runs} == {"5"}
    paths = {match["path"] for match in runs if match["path"]}
    assert all(f"{FOLDER}/{i}.png".endswith(path.removeprefix("…")) for path in paths for i in path[-5:-4])
    assert any("left" in match[0] for match in runs)
    assert [re.sub(r"\d+\.\d s", "T", line) for line in found.last] == ["finished: 5 restored in T -> results/"]


@pytest.mark.parametrize("columns", COLUMNS)
def test_the_tiles_of_a_large_picture_move(adacode, photo, columns):
    photo("p/large.png", (500, 300))
    found = seen(adacode, "sr", "p", "-o", "results", "--weights", "tiles", columns=columns)
    assert found.returncode == 0
    tiles = [match for match in check_progress(found, columns) if match.re is TILES]
    amounts = [float(match[1]) for match in tiles]
    assert len(set(amounts)) > 2
    assert amounts == sorted(amounts)
    assert {match[2] for match in tiles} == {"0.15"}


def test_in_a_pipe_tiles_change_nothing(adacode, photo):
    photo("p/large.png", (500, 300))
    result = adacode("sr", "p", "-o", "results", "--weights", "tiles")
    said = re.sub(r"\d+\.\d s", "T", result.stderr.decode())
    assert said == "[1/1] p/large.png -> results/large.png (T)\nfinished: 1 restored in T -> results/\n"


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("columns", COLUMNS)
def test_the_summary_is_in_whole_words(adacode, photo, tmp_path, columns):
    """In a terminal it has the words that it has in a pipe, each of them whole."""
    for name in ("broken.png", "b.png"):
        (tmp_path / FOLDER / name).write_bytes(b"no image")
    (tmp_path / FOLDER / "notes.pdf").write_bytes(b"%PDF-1.4")
    options = ("--weights", "nearest", "--format", "jpeg")
    result = adacode("sr", FOLDER, "-o", "results", *options)
    found = seen(adacode, "sr", FOLDER, "-o", "other-results", *options, columns=columns)
    assert found.returncode == result.returncode == 9

    def summary(lines: list[str]) -> list[str]:
        text = "\n".join(lines)
        return re.sub(r"\d+\.\d s", "T", text[text.index("finished: ") :]).replace("other-", "").split()

    assert summary(found.last) == summary(result.stderr.decode().splitlines())
    assert all(len(line) <= columns for line in found.last)


@pytest.mark.usefixtures("photos")
def test_the_path_of_the_summary_is_not_broken_even_if_it_has_spaces(adacode):
    target = "results of the first try, which is not the last one/in 2026"
    found = seen(adacode, "sr", FOLDER, "-o", target, "--weights", "nearest", columns=80)
    lines = [re.sub(r"\d+\.\d s", "T", line) for line in found.last]
    assert lines == ["finished: 5 restored in T ->", f"  {target}/"]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("columns", COLUMNS)
def test_ctrl_c_ends_with_the_summary(adacode, columns):
    arguments = ("sr", FOLDER, "-o", "results", "--weights", "slow")
    found = seen(adacode, *arguments, columns=columns, look=once_there_is(" left"))
    assert (found.returncode, found.cursor_shown) == (130, True)
    text = " ".join(" ".join(found.last).split())
    expected = (
        r"interrupted: \d restored, \d not done in \d\.\d s -> results/ "
        r"The same command restores the rest; after --overwrite, add --resume\."
    )
    assert re.fullmatch(expected, text)


def once_there_is(what: str) -> Look:
    """Presses Ctrl-C once, when a line of the screen has this text in it."""
    pressed = []

    def look(lines: list[str]) -> bytes | None:
        if pressed or not any(what in line for line in lines):
            return None
        pressed.append(True)
        return CTRL_C

    return look


@pytest.mark.parametrize(
    ("arguments", "status", "last"),
    [
        (("sr", "p", "-o", "results"), "loading", "interrupted: nothing was restored"),
        (("reconstruct", "p", "--dry-run"), "loading", "interrupted: nothing was restored"),
        (("doctor",), "looking", "interrupted: nothing was done yet"),
        (("bench",), "loading", "interrupted: the measurement was not finished; no figures are shown"),
        (("weights", "show", "compact"), "loading", "interrupted: the command was not finished; run it again"),
        (("train", "detect", "none", "-o", "d.safetensors"), "loading", "interrupted: the steps since the last"),
    ],
)
def test_ctrl_c_while_something_is_loaded_has_a_last_line_too(real_adacode, photo, arguments, status, last):
    photo("p/a.png")
    found = seen(real_adacode, *arguments, columns=80, look=once_there_is(status), fresh=True)
    if found.returncode != 130:  # It was faster than the finger.
        assert "interrupted" not in "".join(found.last)
        return
    assert found.last[-1].startswith(last)
    assert found.cursor_shown


@pytest.mark.parametrize("columns", COLUMNS)
def test_a_second_ctrl_c_ends_at_once_with_a_last_line_in_whole_words(adacode, photo, columns):
    photo("p/a.png", (33, 4))
    pressed = []

    def look(lines: list[str]) -> bytes | None:
        if len(pressed) >= sum("waiting" in line for line in lines) or len(pressed) == 2:
            return None
        pressed.append(True)
        return CTRL_C

    found = seen(adacode, "sr", "p", "-o", "results", "--weights", "deaf", columns=columns, look=look)
    assert (found.returncode, found.cursor_shown) == (130, True)
    text = " ".join(" ".join(found.last).split())
    assert text.endswith("interrupted: ended at once; the same command restores the rest")


class SlowFile(BaseHTTPRequestHandler):
    """Sends 2 MB in a few seconds."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2000000")
        self.end_headers()
        with suppress(OSError):  # the program was interrupted
            for _ in range(20):
                self.wfile.write(bytes(100_000))
                time.sleep(0.15)

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowFile) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("columns", COLUMNS)
def test_a_download_has_a_bar_and_ctrl_c_a_last_line(real_adacode, tmp_path, server, columns):
    env = {"ADACODE_CACHE": str(tmp_path / "cache"), "ADACODE_RELEASE_BASE": server}
    arguments = ("weights", "pull", "published-sr-x4")
    found = seen(real_adacode, *arguments, columns=columns, look=once_there_is("1.0/2.0 MB"), env=env)
    bars = [line for lines in found.pictures for line in lines if "MB" in line]
    speed, left = r"( +(\?|\d+(\.\d)? (bytes|kB|MB)/s))?", r"( +(-:--:--|0:00:\d\d))?"
    form = re.compile(rf". published-sr-x4 [━╸╺]+ \d\.\d/2\.0 MB{speed}{left}(\^C)?")
    assert bars
    assert [line for line in bars if not form.fullmatch(line)] == []
    assert found.returncode == 130
    said = " ".join(" ".join(found.last[1:]).split())
    assert said == "interrupted: what has arrived is kept; the same command continues"


@pytest.mark.parametrize("arguments", [("doctor",), ("weights", "show", "compact"), ("sr", "p", "--dry-run")])
def test_what_takes_long_says_what_it_does(real_adacode, photo, arguments):
    """While libraries and weights are loaded, and while files are hashed."""
    photo("p/a.png")
    found = seen(real_adacode, *arguments, columns=60, fresh=True)
    assert found.returncode == 0
    statuses = [line for lines in found.pictures for line in lines if line.endswith("…")]
    assert statuses
    assert not any(line.endswith("…") for line in found.last)
