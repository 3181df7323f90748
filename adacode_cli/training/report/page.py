"""A run as one self-contained HTML page: it needs no network, no script and no other file.

Everything from a run folder (names, settings, licences) is escaped. The same folder gives the same page."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import cv2
import numpy as np

from adacode_cli.training.report import curves
from adacode_cli.training.report.overview import read_sample
from adacode_cli.training.report.panels import Section, panels, sections
from adacode_cli.training.report.summary import summary
from adacode_cli.training.report.tables import codes_table, escaped, photographs_table, settings_tables, stages_table
from adacode_cli.training.run_record import RunRecord, SampleFile, StageRecord

_EARLIER_SAMPLES = 3
_EARLIER_WIDTH_PX = 480
_JPEG_QUALITY = 90
_MAX_PNG_BYTES = 4_000_000


def page_html(record: RunRecord) -> bytes:
    """The page of a run as a UTF-8 HTML file. Raises UsageError where matplotlib is missing."""
    curves.check_available()
    name, parts = escaped(record.folder.resolve().name), sections(record)
    body = [f"<h1>Training run {name}</h1>", f"<p>{escaped(_state(record))}</p>"]
    body += [f'<p class="note">{escaped(note)}</p>' for note in record.notes]
    body += [_contents(parts), stages_table(record.stages)]
    for number, section in enumerate(parts, 1):
        body += _section(section, number)
    body += ['<h2 id="photographs">Photographs</h2>', photographs_table(record.shards or {})]
    body += ['<h2 id="settings">Settings</h2>', settings_tables(record.recipe or {})]
    lines = "\n".join(body)
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Training run {name}</title>\n<style>{_STYLE}</style>"
    )
    text = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{lines}\n</body>\n</html>\n'
    return text.encode("utf-8")


def _state(record: RunRecord) -> str:
    going_on = [stage.name for stage in record.stages if not stage.finished]
    when = datetime.fromtimestamp(max(stage.updated for stage in record.stages), UTC)
    state = "All stages are finished." if not going_on else f"Not finished: {', '.join(going_on)}."
    return f"{state} The last log line was written on {when:%Y-%m-%d at %H:%M} UTC."


def _contents(parts: Sequence[Section]) -> str:
    links = [(f"stage-{number}", section.title) for number, section in enumerate(parts, 1)]
    links += [("photographs", "Photographs"), ("settings", "Settings")]
    items = "".join(f'<li><a href="#{anchor}">{escaped(title)}</a></li>' for anchor, title in links)
    return f'<nav aria-label="Sections"><ul>{items}</ul></nav>'


def _section(section: Section, number: int) -> Iterator[str]:
    yield f'<section>\n<h2 id="stage-{number}">{escaped(section.title)}</h2>'
    for stage in section.stages:
        for warning in summary(stage).warnings():
            yield f'<p class="warning"><strong>Warning:</strong> {escaped(f"{stage.name} {warning}")}</p>'
    yield '<div class="curves">'
    for panel in panels(section):
        names = ", ".join(line.label for line in panel.lines if line.label)
        text = f"Curve over the steps: {panel.title}" + (f" ({names})" if names else "")
        yield _img("image/svg+xml", curves.svg(panel), text)
    yield "</div>"
    yield codes_table(section.stages)
    for stage in section.stages:
        yield from _samples(stage)
    yield "</section>"


def _samples(stage: StageRecord) -> Iterator[str]:
    if not stage.samples:
        return
    *earlier, latest = stage.samples
    yield f"<h3>Samples of {escaped(stage.name)}</h3>"
    whole = _whole(latest, stage.name)
    yield f'<figure class="sheet">{whole}<figcaption>Step {latest.step}: input | output | target</figcaption></figure>'
    if not earlier:
        return
    count = min(_EARLIER_SAMPLES, len(earlier))
    yield '<div class="earlier">'
    for number in range(count):
        sample = earlier[number * len(earlier) // count]
        yield f"<figure>{_small(sample, stage.name)}<figcaption>Step {sample.step}</figcaption></figure>"
    yield "</div>"


def _whole(sample: SampleFile, name: str) -> str:
    """The sheet without loss; a very large sheet as JPEG, so that the page is not too large to send."""
    image = read_sample(sample.path)
    if image is None:
        return "<p>The sample is damaged.</p>"
    bgr = np.ascontiguousarray(image[..., ::-1])
    kind, data = "image/png", cv2.imencode(".png", bgr)[1].tobytes()
    if len(data) > _MAX_PNG_BYTES:
        kind, data = "image/jpeg", _jpeg(bgr)
    return _img(kind, data, f"Samples of {name} after {sample.step} steps", image.shape)


def _small(sample: SampleFile, name: str) -> str:
    image = read_sample(sample.path)
    if image is None:
        return "<p>The sample is damaged.</p>"
    factor = min(1.0, _EARLIER_WIDTH_PX / image.shape[1])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = cv2.resize(np.ascontiguousarray(image[..., ::-1]), size, interpolation=cv2.INTER_AREA)
    return _img("image/jpeg", _jpeg(small), f"Samples of {name} after {sample.step} steps", small.shape)


def _jpeg(bgr: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes())


def _img(kind: str, data: bytes, text: str, shape: Sequence[int] | None = None) -> str:
    size = f' width="{shape[1]}" height="{shape[0]}"' if shape else ""
    content = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escaped(text)}"{size} src="data:{kind};base64,{content}">'


# One column on a phone, several on a screen, dark if the reader's system is.
_STYLE = """
:root { color-scheme: light dark; --edge: #8884; --soft: #8881; --warn: #e69f0033; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 90rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--edge); }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; overflow-wrap: anywhere; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
a { color: inherit; }
.curves, .tables { display: grid; align-items: start; }
.curves { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: .75rem; }
.tables { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: .25rem 2rem; }
.curves img { width: 100%; height: auto; display: block; background: #fff; }
.curves img { border: 1px solid var(--edge); border-radius: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .5rem 0 .25rem; overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .2rem .75rem .2rem 0; overflow-wrap: break-word; }
th, td { border-bottom: 1px solid var(--edge); }
thead th { font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; }
.stages th, .stages td { overflow-wrap: normal; }
.stages tbody th { font-weight: 600; min-width: 8rem; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.warning, .note { padding: .4rem .75rem; border-radius: .4rem; margin: .4rem 0; overflow-wrap: anywhere; }
.note { background: var(--soft); }
.warning { background: var(--warn); }
figure { margin: .5rem 0; }
figcaption { font-size: .9rem; overflow-wrap: anywhere; }
.sheet img { max-width: 100%; height: auto; display: block; }
.earlier { display: flex; flex-wrap: wrap; gap: .75rem; align-items: flex-start; }
.earlier figure { flex: 0 1 15rem; min-width: 8rem; }
.earlier img { width: 100%; height: auto; display: block; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .curves { grid-template-columns: 1fr 1fr; }
  .curves img, figure, tr, .warning { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  .sheet img { max-height: 22cm; }
  .earlier figure { flex: 0 1 30%; }
  .scroll { overflow: visible; }
  .stages { font-size: 7pt; }
  .stages th, .stages td { white-space: normal; padding-right: .3rem; }
  .stages tbody th { min-width: 2cm; }
  nav { display: none; }
}
"""
