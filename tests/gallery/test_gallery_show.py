"""`adacode show`: what a terminal gets, read again by an emulator or by the decoders of the image formats."""

from __future__ import annotations

import base64
import re
import subprocess
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from adacode_cli.cli.terminal_image import drawn, way_of

RED, BLUE = (200, 30, 20), (20, 40, 210)
SIZE = {"COLUMNS": "61", "LINES": "23"}


@pytest.fixture
def red_and_blue(photo, restored):
    """A tree with a red original and a blue result."""
    photo("photos/sub/a.png", (40, 30), RED)
    tree = restored()
    Image.new("RGB", (160, 120), BLUE).save(tree / "sub" / "a.png")
    return tree


def test_half_blocks_show_before_and_after_in_any_terminal(red_and_blue, adacode):
    pyte = pytest.importorskip("pyte", reason="pyte is absent")
    done = adacode("show", "out/sub/a.png", "--graphics", "blocks", **SIZE)
    assert done.returncode == 0, done.stderr.decode()
    screen = pyte.Screen(120, 40)
    pyte.Stream(screen).feed(done.stdout.decode().replace("\n", "\r\n"))
    cells = screen.buffer[3]
    assert [cells[5].data, cells[5].fg, cells[5].bg] == ["▀", "c81e14", "c81e14"]
    assert [cells[50].fg, cells[50].bg] == ["1428d2", "1428d2"]
    text = "".join("".join(screen.display).split())  # where the line breaks depends on the length of the paths
    assert "a.png(40×30)→out/sub/a.png(160×120)" in text
    assert all(cell.data != "▀" for row in range(40) for column, cell in screen.buffer[row].items() if column > 60)


def sides(image: Image.Image) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The colours at a quarter and three quarters of the width."""
    rgb = image.convert("RGB")
    return tuple(rgb.getpixel((rgb.width * part // 4, rgb.height // 2)) for part in (1, 3))


def test_kitty_and_iterm_get_a_png(red_and_blue, adacode):
    sent = adacode("show", "out/sub/a.png", "--graphics", "kitty", **SIZE).stdout
    pieces = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sent)
    assert pieces[0][0].startswith(b"a=T,f=100,c=")
    assert [keys[-3:] for keys, _ in pieces] == [b"m=1"] * (len(pieces) - 1) + [b"m=0"]
    assert all(len(data) <= 4096 for _, data in pieces)
    image = Image.open(BytesIO(base64.b64decode(b"".join(data for _, data in pieces))))
    assert sides(image) == (RED, BLUE)
    sent = adacode("show", "out/sub/a.png", "--graphics", "iterm", **SIZE).stdout
    (data,) = re.findall(rb"\x1b\]1337;File=inline=1;[^:]*:([^\a]*)\a", sent)
    assert sides(Image.open(BytesIO(base64.b64decode(data)))) == (RED, BLUE)


def from_sixel(data: bytes) -> np.ndarray:
    """The H×W×3 pixels of a sixel image, as a terminal draws them."""
    body = re.fullmatch(rb'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\', data, re.DOTALL)
    width, height = int(body[1]), int(body[2])
    pixels, palette, color, x, top = np.zeros((height + 6, width, 3), int), {}, 0, 0, 0
    for token in re.finditer(rb"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)(.)|([?-~])|([$-])", body[3]):
        if token[1]:
            palette[int(token[1])] = [round(int(token[n]) * 2.55) for n in (2, 3, 4)]
        elif token[5]:
            color = int(token[5])
        elif token[9]:
            x, top = 0, top + (6 if token[9] == b"-" else 0)
        else:
            count, bits = int(token[6] or 1), (token[7] or token[8])[0] - 63
            for bit in range(6):
                if bits >> bit & 1:
                    pixels[top + bit, x : x + count] = palette[color]
            x += count
    return pixels[:height]


def test_sixel_has_every_pixel_of_the_image():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (8, 11, 3), np.uint8).repeat(3, 0).repeat(2, 1)[:23]
    sent = drawn(Image.fromarray(blocks), "sixel", 10).removesuffix(b"\n")
    assert np.abs(from_sixel(sent) - blocks.astype(int)).max() <= 3  # its colours have percents


def test_without_a_journal_the_image_is_alone_or_beside_a_named_one(photo, adacode, tmp_path):
    photo("a.png", (40, 30), RED)
    photo("b.png", (80, 60), BLUE)
    alone = adacode("show", "a.png", "--graphics", "blocks", **SIZE).stdout.decode()
    assert "a.png (40 × 30)" in alone
    assert "20;40;210" not in alone
    both = adacode("show", "b.png", "a.png", "--graphics", "blocks", **SIZE).stdout.decode()
    assert "a.png (40 × 30)   →   b.png (80 × 60)" in both
    assert "200;30;20" in both


def test_a_missing_original_is_named(red_and_blue, adacode, tmp_path):
    (tmp_path / "photos" / "sub" / "a.png").unlink()
    done = adacode("show", "out/sub/a.png", "--graphics", "blocks", **SIZE)
    assert done.returncode == 0
    assert f"its original {tmp_path}/photos/sub/a.png is not there" in done.stdout.decode()


def test_an_original_that_cannot_be_read_any_more_does_not_hide_the_result(red_and_blue, adacode, tmp_path):
    (tmp_path / "photos" / "sub" / "a.png").write_text("no image")
    done = adacode("show", "out/sub/a.png", "--graphics", "blocks", **SIZE)
    assert done.returncode == 0, done.stderr.decode()
    assert b"20;40;210" in done.stdout
    assert f"its original {tmp_path}/photos/sub/a.png cannot be shown: holds no image" in done.stdout.decode()


@pytest.mark.parametrize("columns", [12, 40])
def test_a_narrow_terminal_is_not_exceeded(red_and_blue, adacode, columns):
    done = adacode("show", "out/sub/a.png", "--graphics", "blocks", COLUMNS=str(columns), LINES="6")
    assert done.returncode == 0, done.stderr.decode()
    drawn_lines = [line for line in done.stdout.decode().splitlines() if "▀" in line]
    assert 0 < len(drawn_lines) <= 6
    assert all(line.count("▀") < columns for line in drawn_lines)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("a.png",), 2, "standard output is not a terminal"),
        (("no.png", "--graphics", "blocks"), 3, "no.png"),
        (("text.png", "--graphics", "blocks"), 3, "text.png"),
        (("a.png", "no.png", "--graphics", "blocks"), 3, "no.png"),
    ],
)
def test_what_cannot_be_shown_is_said(photo, adacode, tmp_path, arguments, code, said):
    photo("a.png")
    (tmp_path / "text.png").write_text("no image")
    done = adacode("show", *arguments)
    assert done.returncode == code
    assert said in done.stderr.decode()


@pytest.mark.parametrize(
    ("variables", "way"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({}, "blocks"),
    ],
)
def test_the_terminal_is_recognised(variables, way):
    assert way_of(variables) == way


def test_a_real_terminal_is_filled_and_not_exceeded(red_and_blue, tmp_path):
    """In a pseudo-terminal, nothing is named and the size is that of the terminal."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
    import fcntl
    import os
    import struct
    import termios

    from adacode_process import REAL, environment

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))
    env = environment(TERM="xterm-256color")
    del env["COLUMNS"]
    process = subprocess.Popen(
        [*REAL, "show", "out/sub/a.png"], cwd=tmp_path, env=env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    sent = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        sent += piece
    assert process.wait(60) == 0, sent
    lines = [line for line in sent.decode().split("\n") if "▀" in line]
    (columns,) = {line.count("▀") for line in lines}
    assert 46 <= columns < 50
    assert len(lines) == 9  # of 17 that there are: both are as wide as fits


def test_an_original_that_has_changed_since_is_shown_with_a_line_about_it(red_and_blue, photo, adacode):
    command = ("show", "out/sub/a.png", "--graphics", "blocks")
    assert "has changed" not in adacode(*command, COLUMNS="200").stdout.decode()
    photo("photos/sub/a.png", (40, 30), BLUE)
    done = adacode(*command, COLUMNS="200")
    assert done.returncode == 0
    assert done.stdout.decode().endswith("photos/sub/a.png has changed since it was restored\n")
