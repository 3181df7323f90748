"""Names and texts of others are data: never markup, never control sequences, never a line that passes for ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from adacode_process import environment
from PIL import Image

from adacode_cli.cli.streams import printable

posix = pytest.mark.skipif(os.name != "posix", reason="names and terminals as POSIX has them")

STAMP = "2026-01-01T00:00:00+00:00"
FORGED = f"{STAMP} finished: 9 restored"
# A name may hold all bytes but "/" and NUL: markup, terminal codes (a link, the clipboard), C1, bidi, bytes of no text.
NAMES = [
    "[bold]b[] :smile:.png",
    "c\x1b]8;;http:e\x07\x1b]52;c;QQ==\x07\x1b[2J.png",
    f"d\n{FORGED}\r{FORGED}\x0b\x85.png",
    "e\u202e\u2066gnp\u2028\u200d\ufeff.png",
    "f\udc9b\udcff.png",
    "g" + "n" * 195 + ".png",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("é ß 漢字 кот ελ ̈a", "é ß 漢字 кот ελ ̈a"),
        ("a\x1b[31m\r\n\t\0", r"a\x1b[31m\r\n\t\x00"),
        ("\x85\x9b31m\x7f", r"\x85\x9b31m\x7f"),
        ("\u202e\u2066\u200b\ufeff\u2028\u2029", r"\u202e\u2066\u200b\ufeff\u2028\u2029"),
        ("\udcff \udc80", r"\xff \x80"),
        ("\ud800 \udfff \udc7f", r"\ud800 \udfff \udc7f"),
        ("\udcc3\udca9", "é"),
        ("[/x] [bold]", "[/x] [bold]"),
    ],
)
def test_what_is_shown_of_a_text(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def bad(text: str) -> list[str]:
    """Characters that may control a terminal or how others are shown."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return [char for char in text if char != "\n" and unicodedata.category(char) in kinds]


def test_hostile_texts_for_every_option_of_every_command(tmp_path):
    program = [sys.executable, str(Path(__file__).parent / "hostile_program.py")]
    result = subprocess.run(program, cwd=tmp_path, env=environment(), capture_output=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr.decode()
    results = json.loads(result.stdout)
    assert results["faults"] == []
    assert results["runs"] > 400


@pytest.fixture
def hostile_tree(tmp_path) -> Path:
    """An image under each of the names; and one that cannot be read, the last."""
    tree = tmp_path / "p"
    tree.mkdir()
    for name in NAMES:
        Image.new("RGB", (8, 8)).save(tree / name)
    (tree / f"z{NAMES[2]}").write_bytes(b"no picture")
    return tree


@posix
@pytest.mark.usefixtures("hostile_tree")
@pytest.mark.parametrize("options", [("-v",), ()])
def test_hostile_names_in_a_run_and_its_log(adacode, tmp_path, options):
    result = adacode("sr", "p", "-o", "out", "--weights", "nearest", "--log-file", "log", *options)
    assert result.returncode == 9
    assert len(list((tmp_path / "out").glob("*.png"))) == len(NAMES)
    for text in (result.stderr.decode(), (tmp_path / "log").read_text()):
        assert bad(text) == []
        assert "[bold]b[] :smile:.png" in text
        assert not [line for line in text.splitlines() if line.startswith(STAMP)]
    lines = (tmp_path / "log").read_text().splitlines()
    assert {line[:2] for line in lines} == {"20", "  "}
    assert sum(line.startswith("20") for line in lines) == len(NAMES) + 3


@posix
def test_hostile_names_in_a_dry_run(adacode, hostile_tree):
    """In a pipe all bytes are kept but those of control characters and line separators; `--json` is exact."""
    result = adacode("sr", "p", "-o", "out", "--dry-run")
    lines = result.stdout.split(b"\n")
    assert (result.returncode, len(lines), lines[-1]) == (9, len(NAMES) + 1, b"")
    assert bad(result.stderr.decode()) == []
    assert b"p/f\x9b\xff.png -> out/f\x9b\xff.png" in lines
    assert "p/e\u202e\u2066gnp\\u2028\u200d\ufeff.png -> ".encode() in result.stdout
    text = result.stdout.decode("utf-8", "surrogateescape")
    assert [char for char in text if char != "\n" and unicodedata.category(char) in ("Cc", "Zl", "Zp")] == []
    events = [json.loads(line) for line in adacode("sr", "p", "--dry-run", "--json").stdout.splitlines()]
    exact = [event["source"] for event in events if event["event"] != "run-estimated"]
    assert sorted(exact) == sorted(str(Path("p") / path.name) for path in hostile_tree.iterdir())


@posix
@pytest.mark.usefixtures("hostile_tree")
@pytest.mark.parametrize("words", [("--dry-run",), ("--weights", "[/x]"), ("--weights", "nearest", "-v")])
def test_hostile_names_on_a_terminal(adacode, words):
    """What is left are the codes of the live line, and nothing of the names."""
    import pty

    ours, theirs = pty.openpty()
    streams = {"stdout": theirs, "stderr": theirs}
    process = adacode.start("sr", "p", "-o", "out", *words, env={"TERM": "xterm", "COLUMNS": "500"}, **streams)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # Linux says so that the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 9
    for code in (b"\x1b]", b"\x1b[2J", b"\x07", "\u202e".encode(), b"\xff", b"\x85"):
        assert code not in shown
    assert not [line for line in shown.splitlines() if line.startswith(STAMP.encode())]


@posix
def test_hostile_names_of_test_images_in_a_table(real_adacode, tmp_path):
    (tmp_path / "set" / "hr").mkdir(parents=True)
    for name in NAMES[:4]:
        Image.new("RGB", (32, 32)).save(tmp_path / "set" / "hr" / name)
    result = real_adacode("eval", "reconstruct", "--data", "set")
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode()
    assert "[bold]b[] :smile:" in text
    assert bad(text) == []
    assert result.stderr == b""
