"""Tables of a report's page: figures of the stages, use of the codes, photographs, settings. All text is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from adacode_cli.training.report import curves
from adacode_cli.training.report.summary import Measure, Summary, summary
from adacode_cli.training.run_record import StageRecord

_UNITS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}
_DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4}
_NOTHING = "–"


def stages_table(stages: Sequence[StageRecord]) -> str:
    """One row for each stage: how long, how fast, how good at its end, and under the table the final losses."""
    figures = [(stage, summary(stage)) for stage in stages]
    measures = list(dict.fromkeys(measure.name for _, one in figures for measure in one.validation))
    heads = ["Stage", "State", "Steps", "Time", "Images/s", "Waiting", "Memory (MB)"]
    heads += [_UNITS.get(name, name) for name in measures]
    rows = [_stage_row(stage, one, measures) for stage, one in figures]
    note = "<p>Validation figures are the last; the best follows in brackets, with its step, where it is another.</p>"
    return _table("Stages", heads, rows, numbers_from=2, kind="stages") + (note if measures else "") + _losses(figures)


def codes_table(stages: Sequence[StageRecord]) -> str:
    """How the codes of each basis are used at the end of the log; "" where no stage logs it."""
    several = len(stages) > 1
    rows = [
        [
            *([stage.name] if several else []),
            use.basis or _NOTHING,
            _or_nothing(use.perplexity, "{:.0f}"),
            _or_nothing(use.used, "{:.1%}"),
            "⚠ fewer than half of the codes" if use.too_few else "",
        ]
        for stage in stages
        for use in summary(stage).codes
    ]
    if not rows:
        return ""
    heads = [*(["Stage"] if several else []), "Basis", "Perplexity", "Codes used", "Warning"]
    first = 1 + several
    return _table("Use of the codes, at the end of the log", heads, rows, numbers_from=first, numbers_to=first + 2)


def photographs_table(shards: Mapping[str, object]) -> str:
    """What a run was trained on, from the shards' manifest; a sentence where that is missing."""
    if not shards:
        return "<p>The run folder has no record of its training photographs.</p>"
    rows = [
        ["Source", setting(shards.get("source"))],
        ["Licence", setting(shards.get("licence") or "not stated")],
        ["Photographs", setting(shards.get("photographs"))],
        ["Megapixels", _measured(shards.get("megapixels"))],
        ["Side of a crop (pixels)", setting(shards.get("crop_px"))],
        ["Encoding", setting(shards.get("encoding"))],
        ["Seed", setting(shards.get("seed"))],
        *_left_out(shards.get("left_out")),
    ]
    return f'<div class="tables">{_table("Where they come from", [], rows)}{_crops(shards.get("crops"))}</div>'


def settings_tables(recipe: Mapping[str, object]) -> str:
    """The recipe of a run: a table of its plain values, and one for each group of settings."""
    if not recipe:
        return "<p>The run folder holds no settings (recipe.json).</p>"
    plain = {key: value for key, value in recipe.items() if not isinstance(value, Mapping)}
    groups = {"Run": plain, **{key: value for key, value in recipe.items() if isinstance(value, Mapping)}}
    tables = [
        _table(name, [], [[key, setting(value)] for key, value in flattened(group)])
        for name, group in groups.items()
        if group
    ]
    return f'<div class="tables">{"".join(tables)}</div>'


def _stage_row(stage: StageRecord, figures: Summary, measures: Sequence[str]) -> list[str]:
    by_name = {measure.name: measure for measure in figures.validation}
    return [
        stage.name,
        "finished" if stage.finished else "not finished",
        str(figures.steps),
        _NOTHING if figures.seconds is None else duration(figures.seconds),
        _or_nothing(figures.images_per_s, "{:.3g}"),
        _or_nothing(figures.waiting, "{:.0%}"),
        _or_nothing(figures.memory_mb, "{:.0f}"),
        *(_measure(by_name.get(name)) for name in measures),
    ]


def _losses(figures: Sequence[tuple[StageRecord, Summary]]) -> str:
    terms = list(dict.fromkeys(name for _, one in figures for name, _ in one.losses))
    if not terms:
        return ""
    rows = []
    for stage, one in figures:
        values = dict(one.losses)
        rows.append([stage.name, *(number(values[term]) if term in values else _NOTHING for term in terms)])
    return _table("Losses at the end of the log", ["Stage", *terms], rows, numbers_from=1, kind="stages")


def _measure(measure: Measure | None) -> str:
    if measure is None:
        return _NOTHING
    digits = _DIGITS.get(measure.name, 4)
    last = f"{measure.last:.{digits}f}"
    return last if measure.best == measure.last else f"{last} ({measure.best:.{digits}f} at {measure.best_step})"


def _measured(value: object) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else setting(value)


def _or_nothing(value: float | None, form: str) -> str:
    return _NOTHING if value is None else form.format(value)


def _crops(crops: object) -> str:
    """Crops of each category, for training and for validation."""
    splits = crops if isinstance(crops, Mapping) else {}
    train, validation = (
        counts if isinstance(counts := splits.get(split), Mapping) else {} for split in ("train", "validation")
    )
    categories = list(dict.fromkeys([*train, *validation]))
    rows = [[name, setting(train.get(name, 0)), setting(validation.get(name, 0))] for name in categories]
    return _table("Crops", ["Category", "Training", "Validation"], rows, numbers_from=1) if rows else ""


def _left_out(left_out: object) -> list[list[str]]:
    counts = left_out.get("counts") if isinstance(left_out, Mapping) else None
    if not isinstance(counts, Mapping) or not counts:
        return []
    return [["Left out", ", ".join(f"{setting(count)} {reason}" for reason, count in counts.items())]]


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers_from: int = 99,
    numbers_to: int = 99,
    kind: str = "",
) -> str:
    """Rows whose first cell names them; columns from `numbers_from` up to `numbers_to` hold numbers."""

    def attribute(column: int) -> str:
        return ' class="number"' if numbers_from <= column < numbers_to else ""

    head = "".join(f'<th scope="col"{attribute(column)}>{escaped(text)}</th>' for column, text in enumerate(heads))
    body = "".join(
        f'<tr><th scope="row">{escaped(row[0])}</th>'
        + "".join(f"<td{attribute(column)}>{escaped(text)}</td>" for column, text in enumerate(row[1:], 1))
        + "</tr>\n"
        for row in rows
    )
    top = f"<thead><tr>{head}</tr></thead>\n" if heads else ""
    named = f' class="{kind}"' if kind else ""
    table = f"<table{named}><caption>{escaped(caption)}</caption>\n{top}<tbody>\n{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>\n'


def number(value: float) -> str:
    """At least four significant digits: 0.03122, 108.2, 12345."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time span in readable units: 45 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
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


def escaped(text: str) -> str:
    """`text` for HTML content or a quoted attribute; undecodable bytes and control characters are written out."""
    return html.escape(curves.visible(text))
