"""Contact sheets of a run: its pictures before and after, with names and figures, as images."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from adacode_cli import atomic
from adacode_cli.batch.gallery.entries import Fields
from adacode_cli.batch.gallery.folder import Gallery
from adacode_cli.batch.kept import Kept
from adacode_cli.batch.state_files import is_path
from adacode_cli.errors import OutputError

_SIDE_PX = 220
_GAP_PX = 16
_CAPTION_PX = 42
_FONT_PX = 14
_PAPER, _INK, _SOFT, _BAD = (255, 255, 255), (28, 33, 38), (86, 96, 106), (179, 38, 30)
_BACK = (233, 236, 239)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Key = Callable[[Fields], object]
SORTS = ("name", "change", "drift", "seconds", "run")


@dataclass(frozen=True)
class Layout:
    """How many pictures a sheet has in a row, and how many rows."""

    columns: int = 3
    rows: int = 6

    @property
    def count(self) -> int:
        """The number of pictures of a sheet."""
        return self.columns * self.rows


def ordered(entries: Sequence[Fields], sort: str) -> list[Fields]:
    """The entries by name or in the order of the run, or, by a figure, the largest first and those without it last."""
    if sort == "name":
        return sorted(entries, key=lambda entry: str(entry["target"]))
    if sort == "run":
        return list(entries)
    return sorted(entries, key=lambda entry: (entry[sort] is None, -(entry[sort] or 0.0)))


def sheet_paths(first: Path, count: int) -> list[Path]:
    """`first`, and the names of further sheets beside it: sheet.png, sheet-2.png, …"""
    return [first, *(first.with_name(f"{first.stem}-{number}{first.suffix}") for number in range(2, count + 1))]


def check_free(paths: Sequence[Path], gallery: Gallery, *, overwrite: bool) -> None:
    """Raises OutputError if one of the files exists; with `overwrite`, if it is an original or a result of the run."""
    if overwrite:
        lines = list(gallery.last_lines())
        originals = (str(fields["path"]) for fields in lines if is_path(fields.get("path")))
        results = (str(gallery.root / fields["target"]) for fields in lines)
        Kept().refuse(chain(originals, results), paths)
        return
    for path in paths:
        if os.path.lexists(path):
            raise OutputError("exists already", path=path, hint="Choose another name with -o, or add --overwrite.")


def write_sheets(entries: Sequence[Fields], folder: Path, paths: Sequence[Path], layout: Layout) -> None:
    """Draws the entries of the gallery `folder` on sheets, and writes each to its path. Raises OutputError."""
    for number, path in enumerate(paths):
        part = entries[number * layout.count : (number + 1) * layout.count]
        buffer = BytesIO()
        _sheet(part, folder, layout).save(buffer, Image.registered_extensions()[path.suffix.lower()])
        atomic.write_bytes(path, buffer.getvalue())


def _sheet(entries: Sequence[Fields], folder: Path, layout: Layout) -> Image.Image:
    rows = max(1, -(-len(entries) // layout.columns))
    cell_width, cell_height = 2 * _SIDE_PX + 2 * _GAP_PX, _SIDE_PX + _CAPTION_PX + _GAP_PX
    sheet = Image.new("RGB", (layout.columns * cell_width + _GAP_PX, rows * cell_height + _GAP_PX), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=_FONT_PX)
    for index, entry in enumerate(entries):
        row, column = divmod(index, layout.columns)
        left, top = _GAP_PX + column * cell_width, _GAP_PX + row * cell_height
        for number, side in enumerate(_sides(entry, folder)):
            _paste(sheet, pen, side, left + number * _SIDE_PX, top)
        below = top + _SIDE_PX + 4
        pen.text((left, below), _fitting(pen, font, _plain(entry["target"])), fill=_INK, font=font)
        failed = entry["outcome"] == "failed"
        figures = _plain(entry["error"]) if failed else _figures(entry)
        pen.text((left, below + 18), _fitting(pen, font, figures), fill=_BAD if failed else _SOFT, font=font)
    return sheet


def _sides(entry: Fields, folder: Path) -> Iterator[Image.Image | None]:
    """The thumbnails before and after; None where there is none."""
    try:
        picture = Image.open(folder / f"{entry['picture']}.webp").convert("RGBA") if entry["picture"] else None
    except (OSError, UnidentifiedImageError, ValueError):
        picture = None
    if picture is None or not entry["hasBefore"]:
        yield None
        yield picture
        return
    half = picture.width // 2
    yield picture.crop((0, 0, half, picture.height))
    yield picture.crop((half, 0, 2 * half, picture.height))


def _paste(sheet: Image.Image, pen: ImageDraw.ImageDraw, side: Image.Image | None, left: int, top: int) -> None:
    pen.rectangle((left, top, left + _SIDE_PX - 3, top + _SIDE_PX - 1), fill=_BACK)
    if side is None:
        return
    scale = min((_SIDE_PX - 2) / side.width, _SIDE_PX / side.height)
    size = max(1, round(side.width * scale)), max(1, round(side.height * scale))
    small = side.resize(size, Image.Resampling.LANCZOS)
    at = left + (_SIDE_PX - 2 - size[0]) // 2, top + (_SIDE_PX - size[1]) // 2
    sheet.paste(small, at, small)


def _figures(entry: Fields) -> str:
    parts = []
    if entry["resultWidth"] is not None:
        # The font that comes with Pillow has neither × nor arrows.
        before = f"{entry['width']} x {entry['height']} to " if entry["width"] is not None else ""
        parts.append(f"{before}{entry['resultWidth']} x {entry['resultHeight']}")
    if entry["change"] is not None:
        parts.append(f"change {100 * entry['change']:.1f} %")
    if entry["notes"]:
        parts.append(f"{len(entry['notes'])} note{'s' if len(entry['notes']) > 1 else ''}")
    return ", ".join(parts)


def _plain(text: str) -> str:
    """The text in one line, with escapes for what is not printed, and without accents, which the font lacks."""
    letters = (char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in letters)


def _fitting(pen: ImageDraw.ImageDraw, font: _Font, text: str) -> str:
    width = 2 * _SIDE_PX
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(f"{text}…", font=font) > width:
        text = text[:-1]
    return f"{text}…"
