"""Values of a run folder as text of a page: escaped, with what cannot be shown made visible."""

from __future__ import annotations

import html
from collections.abc import Mapping


def escaped(text: str) -> str:
    """`text` for HTML content or a quoted attribute; undecodable bytes and control characters are written out."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    visible = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
    return html.escape(visible)


def number(value: float) -> str:
    """Four digits that count: 0.03122, 108.2, 12345."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time span as people say it: 45 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    whole = round(seconds)
    units = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next((place for place, (count, _) in enumerate(units) if count), len(units) - 1)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count or unit == "s")


def setting(value: object) -> str:
    """A value of a settings file: yes and no, lists with commas, nothing as a dash."""
    if value is None or value in ([], {}, ""):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(setting, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting(inner)}" for key, inner in value.items())
    return str(value)


def flattened(settings: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Nested settings as rows: {"loss": {"pixel": 1}} is [("loss.pixel", 1)]."""
    rows: list[tuple[str, object]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += flattened(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
