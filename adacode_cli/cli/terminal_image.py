"""Images in a terminal: by the protocols of kitty, iTerm2 and sixel, and as half blocks everywhere else.

Sources: the documentation of kitty's graphics protocol and of iTerm2's inline images; for sixel, the manual of the
VT330/VT340 (chapter 14).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Way = Literal["kitty", "iterm", "sixel", "blocks"]
_KITTY_CHUNK = 4096
_SIXEL_COLORS = 255
_SIXEL_ROWS = 6


def way_of(variables: Mapping[str, str]) -> Way:
    """How the terminal that these environment variables describe shows images. Within tmux and screen: half blocks."""
    term, program = variables.get("TERM", ""), variables.get("TERM_PROGRAM", "")
    if variables.get("TMUX") or term.startswith(("screen", "tmux")):
        return "blocks"
    if variables.get("KITTY_WINDOW_ID") or "kitty" in term or "ghostty" in term or program in ("ghostty", "WezTerm"):
        return "kitty"
    if program == "iTerm.app" or variables.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    if term.startswith(("foot", "mlterm", "contour", "yaft")) or "sixel" in term:
        return "sixel"
    return "blocks"


def cell_pixels(descriptor: int) -> tuple[int, int]:
    """(width, height) of a character in pixels; a usual size where the terminal does not say it."""
    try:
        import fcntl
        import struct
        import termios

        rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, b"\0" * 8))
    except (ImportError, OSError):
        return 10, 20
    return (width // columns, height // rows) if width and height and columns and rows else (10, 20)


def drawn(image: Image, way: Way, columns: int) -> bytes:
    """What a terminal is sent to show an RGB image, and to begin a new line after it.

    columns: the characters that it takes in a row; for half blocks, the image has that many pixels in a row.
    """
    if way == "blocks":
        return _blocks(image)
    if way == "sixel":
        return _sixel(image) + b"\n"
    buffer = BytesIO()
    image.save(buffer, "png")
    data = base64.b64encode(buffer.getvalue())
    return (_kitty(data, columns) if way == "kitty" else _iterm(data, columns)) + b"\n"


def _kitty(data: bytes, columns: int) -> bytes:
    chunks = [data[at : at + _KITTY_CHUNK] for at in range(0, len(data), _KITTY_CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        keys = f"a=T,f=100,c={columns}," if number == 0 else ""
        parts.append(f"\x1b_G{keys}m={int(number < len(chunks) - 1)};".encode() + chunk + b"\x1b\\")
    return b"".join(parts)


def _iterm(data: bytes, columns: int) -> bytes:
    return f"\x1b]1337;File=inline=1;width={columns};preserveAspectRatio=1:".encode() + data + b"\a"


def _blocks(image: Image) -> bytes:
    """Two pixels in each character: the upper one as its colour, the lower one as that of its background."""
    rgb = image.convert("RGB")
    lines = []
    for top in range(0, rgb.height, 2):
        line = []
        for x in range(rgb.width):
            upper = rgb.getpixel((x, top))
            lower = rgb.getpixel((x, top + 1)) if top + 1 < rgb.height else upper
            assert isinstance(upper, tuple), "RGB has three values"
            assert isinstance(lower, tuple), "RGB has three values"
            fore, back = (";".join(map(str, color)) for color in (upper, lower))
            line.append(f"\x1b[38;2;{fore};48;2;{back}m▀")
        lines.append("".join(line) + "\x1b[0m" + os.linesep)
    return "".join(lines).encode()


def _sixel(image: Image) -> bytes:
    """The image in 255 colours, in bands of six rows; each colour of a band is drawn over the others."""
    import numpy as np

    indexed = image.convert("RGB").quantize(_SIXEL_COLORS)
    palette = indexed.getpalette() or []
    pixels = np.asarray(indexed)
    out = [f'\x1bPq"1;1;{indexed.width};{indexed.height}']
    for color in np.unique(pixels).tolist():
        red, green, blue = (round(value * 100 / 255) for value in palette[3 * color : 3 * color + 3])
        out.append(f"#{color};2;{red};{green};{blue}")
    for top in range(0, indexed.height, _SIXEL_ROWS):
        band = pixels[top : top + _SIXEL_ROWS]
        weights = 1 << np.arange(len(band))[:, None]
        for color in np.unique(band).tolist():
            values = ((band == color) * weights).sum(axis=0)
            out.append(f"#{color}{_runs(values.tolist())}$")
        out.append("-")
    return "".join([*out, "\x1b\\"]).encode("ascii")


def _runs(values: list[int]) -> str:
    """The characters of one colour in one band; equal ones in a row are written once with their number."""
    parts, at = [], 0
    while at < len(values):
        end = at
        while end < len(values) and values[end] == values[at]:
            end += 1
        char, count = chr(63 + values[at]), end - at
        parts.append(f"!{count}{char}" if count > 3 else char * count)
        at = end
    return "".join(parts)
