"""Journal lines as what the gallery shows: one entry for each output, and its details.

Journals may be copied or forged, so every value is checked; the page shows all texts as text.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from adacode_cli.batch.gallery.overlays import HOLE_COLOR
from adacode_cli.batch.gallery.pictures import SHOWN_BY_BROWSERS, has_picture
from adacode_cli.batch.gallery.places import picture_name, picture_path, url_of_output, url_to
from adacode_cli.batch.mask_owners import MARK
from adacode_cli.batch.record import FORMAT_VERSION
from adacode_cli.batch.state_files import is_path, object_of
from adacode_cli.storage.path import is_remote_text

_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_PAGES = 1000  # in a forged file
_COLOR = re.compile("#[0-9a-f]{6}")
MAX_FACTS_BYTES = 1 << 20
_NUMBERS = ("width", "height", "bits", "pages", "bytes", "profile", "xmp", "iptc")
_YES_OR_NO = ("grey", "alpha", "preview", "turned")

Fields = dict[str, Any]
Addresses = Callable[[Fields], tuple[str | None, str | None]]
"""(the fields of a line) → the addresses of its original and of its result, for the page."""


@dataclass(frozen=True)
class Entry:
    """What is shown of one output. shown: in the grid. details: of the picture alone."""

    shown: Fields
    details: Fields


@dataclass(frozen=True)
class Again:
    """How an output can be made again. command: that does it, or "". list_name: of the list on which it would stand."""

    command: str = ""
    list_name: str = ""


def fields_of(line: bytes) -> Fields | None:
    """The fields of a journal line on a file that was done or failed; None for other lines."""
    fields = object_of(line)
    if fields is None or fields.get("version") != FORMAT_VERSION or not is_path(fields.get("target")):
        return None
    return fields if fields.get("outcome") in ("done", "failed") else None


def addresses_in(folder: Path) -> Addresses:
    """The addresses of originals and results for the page in `folder`, which lies in its output tree."""

    def addresses(fields: Fields) -> tuple[str | None, str | None]:
        path = fields.get("path")
        original = url_to(str(path), folder) if is_path(path) else None
        return original, url_of_output(fields["target"]) if fields["outcome"] == "done" else None

    return addresses


def entry_of(
    fields: Fields, number: int, facts_of: Callable[[str], Fields], addresses: Addresses, again: Again
) -> Entry:
    """The entry of a line. number: of the line in its journal. facts_of: as `facts_in` a gallery."""
    done, sha256 = fields["outcome"] == "done", digest_in(fields.get("sha256"))
    facts = facts_of(sha256) if done and sha256 else {}
    before, after = facts.get("before") or {}, facts.get("after") or {}
    original, result = addresses(fields)
    shown = _of_line(fields) | {
        "line": number,
        "list": again.list_name,
        "picture": picture_name(sha256, "") if facts else "",
        **_of_facts(facts, before, after),
        "original": original if _is_for_browsers(before) else None,
        "result": result if _is_for_browsers(after) else None,
    }
    details = {
        "path": _text(fields.get("path")),
        "originalFile": original,
        "resultFile": result,
        "command": again.command,
        "weights": _text(fields.get("weights_sha256")),
        "tool": _text(fields.get("tool")),
        "before": _side(before),
        "after": _side(after),
        "basis": [one for one in map(_basis, facts.get("basis") or []) if one],
        "maps": facts.get("maps") is True,
        "mapsExtent": _extent(facts.get("mapsExtent")),
        "hole": facts.get("hole") is True,
        "holeColor": HOLE_COLOR,
        "pages": [page for page in map(_page, _list(facts.get("pages"))[:_MOST_PAGES]) if page],
    }
    return Entry(shown, details)


def _of_line(fields: Fields) -> Fields:
    """What the grid shows of a line of the journal."""
    target = fields["target"]
    return {
        "id": identifier(target),
        "target": target,
        "folder": str(PurePosixPath(target).parent),
        "source": _text(fields.get("source")),
        "outcome": fields["outcome"],
        "error": _text(fields.get("error")),
        "notes": [note for note in _list(fields.get("notes")) if isinstance(note, str)],
        "time": _text(fields.get("time")),
        "seconds": _number(fields.get("seconds")),
        "sourceBytes": _number(fields.get("source_bytes")),
        "bytes": _number(fields.get("bytes")),
        "fate": _text(fields.get("fate")),
        "precisions": [one for one in _list(fields.get("precisions")) if isinstance(one, str)],
        "sides": [side for side in _list(fields.get("sides")) if isinstance(side, str)],
    }


def _of_facts(facts: Fields, before: Fields, after: Fields) -> Fields:
    """What the grid shows of the facts beside a picture, and of its two sides."""
    bases = facts.get("basis") or []
    return {
        "hasBefore": bool(before),
        "width": _number(before.get("width")),
        "height": _number(before.get("height")),
        "resultWidth": _number(after.get("width")),
        "resultHeight": _number(after.get("height")),
        "change": _number(facts.get("change")),
        "drift": _number(facts.get("drift")),
        "basis": _text(bases[0].get("name")) if bases else "",
        "figures": _figures(facts.get("figures")),
    }


def identifier(target: str) -> str:
    """By what the address of a picture in the page names an output: its name may hold any bytes."""
    return hashlib.sha256(target.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def facts_in(folder: Path, sha256: str) -> Fields:
    """What `pictures.save_picture` has written of an output; nothing if it is missing, or was not written by it."""
    if not has_picture(folder, sha256):
        return {}
    try:
        with picture_path(folder, sha256, ".json").open("rb") as file:
            return facts_from(file.read(MAX_FACTS_BYTES))
    except OSError:
        return {}


def facts_from(data: bytes) -> Fields:
    """The facts in a file of `pictures.save_picture`; nothing if it was not written by it."""
    facts = object_of(data)
    if facts is None or not isinstance(facts.get("after"), dict) or not isinstance(facts.get("before"), dict | None):
        return {}
    bases = facts.get("basis")
    facts["basis"] = [one for one in _list(bases) if isinstance(one, dict)]
    return facts


def _is_for_browsers(facts: Mapping[str, Any]) -> bool:
    """Whether the page shows the file itself: also if nothing is known of it."""
    return not facts or (_text(facts.get("format")) in SHOWN_BY_BROWSERS and facts.get("turned") is not True)


def _side(facts: Mapping[str, Any]) -> Fields | None:
    if not facts:
        return None
    side: Fields = {"format": _text(facts.get("format"))}
    side |= {name: value for name in _NUMBERS if (value := _number(facts.get(name))) is not None}
    side |= {name: facts.get(name) is True for name in _YES_OR_NO}
    exif = [pair for pair in _list(facts.get("exif")) if isinstance(pair, list) and len(pair) == 2]
    side["exif"] = [[_text(name), _text(value)] for name, value in exif]
    channels = [one for one in _list(facts.get("histogram")) if isinstance(one, list)]
    side["histogram"] = [[_number(count) or 0 for count in channel] for channel in channels]
    return side


def _basis(one: Mapping[str, Any]) -> Fields | None:
    share, panel, color = _number(one.get("share")), _number(one.get("panel")), _text(one.get("color"))
    if share is None:
        return None
    color = color if _COLOR.fullmatch(color) else ""
    used, size = _number(one.get("used")), _number(one.get("size"))
    basis = {"name": _text(one.get("name")), "share": share, "panel": panel or 0, "color": color}
    return basis if used is None or size is None else {**basis, "used": used, "size": size}


def _figures(value: object) -> dict[str, int | float]:
    """Figures by their names."""
    some = value if isinstance(value, dict) else {}
    return {name: number for name, one in some.items() if (number := _number(one)) is not None}


def _page(value: object) -> Fields | None:
    """What `documents.save_pages` gives of a page; earlier versions wrote its size alone."""
    facts = value if isinstance(value, dict) else {"size": value}
    before, after = (side if isinstance(side := facts.get(name), dict) else {} for name in ("before", "after"))
    size = [side for one in _list(facts.get("size")) if (side := _number(one))]
    if len(size) != 2:
        return None
    differences = {name: _number(facts.get(name)) for name in ("change", "drift")}
    return {"size": size, "before": _side(before), "after": _side(after), **differences}


def _extent(value: object) -> list[int | float]:
    """Height and width of maps in shares of the picture's; earlier versions did not state them."""
    sides = [side for one in _list(value) if (side := _number(one)) and side >= 1]
    return sides if len(sides) == 2 else [1, 1]


def saved_mask(fields: Fields) -> tuple[Path, str] | None:
    """The mask of what was found in an original, if the run has written it: its path, and the digest of its content."""
    for one in filter(lambda one: isinstance(one, dict), _list(fields.get("besides"))):
        path, sha256 = one.get("path"), digest_in(one.get("sha256"))
        # A journal may be forged, so no address in it is opened.
        if is_path(path) and not is_remote_text(path) and sha256 and PurePosixPath(path).stem.endswith(MARK):
            return Path(path), sha256
    return None


def digest_in(value: object) -> str:
    """A value that is a SHA-256; "" for another one."""
    return value if isinstance(value, str) and _SHA256.fullmatch(value) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def as_script(call: str, *values: object) -> bytes:
    """A script that calls a function of the page with values; only ASCII, so no text in it can end early."""
    arguments = ",".join(json.dumps(value, separators=(",", ":")) for value in values)
    return f"{call}({arguments});\n".encode("ascii")
