"""What a terminal of 60, 80 and 200 columns shows of errors, hints and notes: no word is broken, and no path."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress

import pytest
from rich.cells import cell_len
from rich.text import Text

from adacode_cli.cli.streams import WHOLE, error_text, in_lines
from adacode_cli.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")

WIDTHS = (60, 80, 200)
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = "./a/path/that/is/longer/than/the/narrowest/of/these/terminals/weights.safetensors"
PAGE = "https://huggingface.co/owner/repo"
SPACED = "a path/with spaces/that is longer than/the narrowest of/these terminals/photo.jpg"

# The words after `adacode`, and the words that must stay together.
SCREENS = [
    (["upscale", "p"], ["adacode"]),
    (["sr", "p", "--scael", "2"], ["--scale?"]),
    (["sr", "p", "--scale", "99"], ["--scale"]),
    (["sr", "p", "--format", "jpgg"], ["'jpgg':"]),
    (["sr", "p", "--precision", "half"], ["'half':"]),
    (["inpaint", "p"], ["--mask-color,"]),
    (["sr", "p", "out"], ["out"]),
    (["sr", "p", SPACED, "-o", "out"], [SPACED]),
    (["sr", "p", "--weights", LONG], [LONG]),
    (["sr", "p", "--weights", f"{PAGE}/resolve/v1/{LONG[2:]}"], [f"hub:owner/repo@v1/{LONG[2:]}?"]),
    (["sr", "p", "--weights", "hub:owner/repo/a.safetensors"], ["hub:owner/repo/a.safetensors", "HF_HUB_OFFLINE,"]),
    (["sr", "p", "--device", "cuda:99"], ["--device"]),
    (["sr", "p", "-o", "out"], ["--overwrite"]),
]


SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"  # It begins a line that says what is waited for, and that is erased again.


def screen(program, columns: int, *words: str) -> tuple[list[str], int]:
    """(the lines that a terminal of so many columns gets, the exit code)."""
    import fcntl
    import struct
    import termios

    leader, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {"TERM": "xterm", "COLUMNS": ""}  # the terminal's own width
    with program.start(*words, stdout=terminal, stderr=terminal, env=env) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # Linux reports so that the other end is closed
            while data := os.read(leader, 65536):
                shown += data
        code = process.wait(60)
    os.close(leader)
    lines = CODES.sub("", shown.decode()).replace("\r\n", "\n").splitlines()
    return [line for line in lines if line and line[0] not in SPINNER], code


@pytest.mark.parametrize(("words", "together"), SCREENS, ids=[" ".join(each[0])[:40] for each in SCREENS])
def test_an_error_has_whole_words_at_every_width(real_adacode, photo, words, together):
    photo("p/a.png")
    if words == ["sr", "p", "-o", "out"]:
        photo("out/a.png")
    plain = real_adacode(*words)
    assert plain.stdout == b""
    for columns in WIDTHS:
        lines, code = screen(real_adacode, columns, *words)
        assert code == plain.returncode != 0
        assert " ".join(" ".join(lines).split()) == " ".join(plain.stderr.decode().split())
        for line in lines:
            only_one = any(line.strip().rstrip(":") == whole for whole in together) or " " not in line.strip()
            assert cell_len(line) <= columns or only_one, line
        for whole in together:
            assert any(whole in line for line in lines), whole
        assert [line for line in lines[1:] if not line.startswith("  ")] == []


TRANSCRIPTS = {
    ("sr", "p", "--gpu-id", "0"): {
        60: """\
error: there is no option --gpu-id
  Did you mean --device cuda:0? 'adacode sr --help' lists
  what can be given.
""",
        80: """\
error: there is no option --gpu-id
  Did you mean --device cuda:0? 'adacode sr --help' lists what can be given.
""",
    },
    ("sr", "p", "--precision", "half"): {
        60: """\
error: --precision cannot be 'half': it must be auto, fp32,
  bf16, fp16 or int8
  Did you mean --precision fp16? 'adacode sr --help' lists
  what can be given.
""",
        80: """\
error: --precision cannot be 'half': it must be auto, fp32, bf16, fp16 or int8
  Did you mean --precision fp16? 'adacode sr --help' lists what can be given.
""",
    },
    ("sr", "p", "--weights", LONG): {
        60: f"""\
error:
  {LONG}:
  does not exist
  Check the path; `adacode weights list` shows known names.
""",
        80: f"""\
error:
  {LONG}:
  does not exist
  Check the path; `adacode weights list` shows known names.
""",
        200: f"""\
error: {LONG}: does not exist
  Check the path; `adacode weights list` shows known names.
""",
    },
    ("sr", "p", "out"): {
        60: """\
error: out: there is no such file or directory
  Did you mean -o out? Otherwise check the spelling; nothing
  was restored.
""",
        80: """\
error: out: there is no such file or directory
  Did you mean -o out? Otherwise check the spelling; nothing was restored.
""",
    },
}


@pytest.mark.parametrize("words", TRANSCRIPTS, ids=lambda words: " ".join(words)[:40])
def test_screens_of_errors(real_adacode, photo, words):
    photo("p/a.png")
    for columns, expected in TRANSCRIPTS[words].items():
        lines, _ = screen(real_adacode, columns, *words)
        assert "\n".join([*lines, ""]) == expected


def words_of(text: str) -> set[str]:
    """The words of a text, without what differs between two runs, or between a terminal and a file."""
    return {word.strip("(),:[]") for word in text.split() if not re.search(r"\d", word)}


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_screen_of_a_run_has_whole_words(adacode, photo, columns):
    """Files that fail for one reason, whose hint is said once, a note, and the summary."""
    folder = "some photographs/of a summer that was long ago/and a very long name of its own"
    for name in "ab":
        photo(f"{folder}/{name}.png").write_bytes(b"no picture")
    photo(f"{folder}/c.png", mode="RGBA")
    words = ("sr", "some photographs", "-o", "out", "--weights", "nearest", "--format", "jpeg", "-v")
    plain = adacode(*words)
    lines, code = screen(adacode, columns, *words, "--overwrite")
    assert code == plain.returncode == 9
    assert words_of(plain.stderr.decode()) <= words_of("\n".join(lines))
    text = "\n".join(lines)
    for name in ("a.png", "b.png", "c.png"):
        assert f"{folder}/{name}" in text
    (hint,) = set(re.findall(r"\((\w[^()]*\.)\)$", plain.stderr.decode(), re.MULTILINE))
    assert " ".join(text.split()).count(hint) == 1


def test_lines_are_filled_and_keep_their_styles():
    text = Text.assemble(("error: ", "bold red"), "one two three four")
    text.append("\n  five six seven", style="dim")
    lines = in_lines(text, 15)
    assert lines.plain == "error: one two\n  three four\n  five six\n  seven"
    red = [lines.plain[span.start : span.end] for span in lines.spans if span.style == "bold red"]
    dim = [lines.plain[span.start : span.end].strip() for span in lines.spans if span.style == "dim"]
    assert (red, dim) == (["error: "], ["five six", "seven"])


def test_wide_characters_take_two_columns():
    assert in_lines(Text("漢字 漢字 漢字"), 11).plain == "漢字 漢字\n  漢字"
    assert in_lines(Text("漢字 漢字 漢字"), 14).plain == "漢字 漢字 漢字"


def test_what_is_whole_is_not_broken_at_its_spaces():
    assert in_lines(Text.assemble("at ", ("a b c d e", WHOLE), " or not"), 8).plain == "at\n  a b c d e\n  or not"
    error = InputError("is no image", path="my own photographs/a b.jpg")
    assert in_lines(error_text(error), 20).plain == "error:\n  my own photographs/a b.jpg:\n  is no image"
