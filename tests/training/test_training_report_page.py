"""The page of a report is whole in itself: valid, escaped, with every curve, sample, setting and figure in it."""

from __future__ import annotations

import base64
import importlib.util
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_run import CATEGORIES, UNFRIENDLY, save_run

from adacode_cli.training.report.overview import overview_png
from adacode_cli.training.report.page import page_html
from adacode_cli.training.report.panels import panels, sections
from adacode_cli.training.report.tables import duration, escaped, flattened, setting
from adacode_cli.training.run_record import read_run

if importlib.util.find_spec("matplotlib") is None:
    pytest.skip("matplotlib is not installed", allow_module_level=True)

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Elements of a page, checked for balance while it is read."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text, self.rows = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return read_run(save_run(tmp_path_factory.mktemp("runs") / "run & <co>"))


@pytest.fixture(scope="module")
def html(record) -> str:
    return page_html(record).decode("utf-8")


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def data_of(source: str) -> tuple[str, bytes]:
    kind, _, content = source.removeprefix("data:").partition(";base64,")
    return kind, base64.b64decode(content, validate=True)


def test_it_needs_nothing_but_itself(html, page):
    assert html.startswith("<!DOCTYPE html>")
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object"})
    assert all(attributes["src"].startswith("data:image/") for attributes in page.all("img"))
    assert all(attributes["href"].startswith("#") for attributes in page.all("a"))
    assert "url(" not in html
    assert "@import" not in html


def test_links_lead_to_the_sections(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert [attributes["href"] for attributes in page.all("a")] == [f"#{name}" for name in ids]
    assert len(ids) == 5  # stage I, fused, sr-x4, photographs, settings


def test_what_a_person_wrote_is_text_never_markup(html, page):
    assert "<script" not in html
    assert "<b>" not in html
    for text in (
        UNFRIENDLY,
        "run & <co>",
        "</td><script>alert(1)</script>",
        "CC0 <mine>",
        "https://example.org/?a=1&b=2",
    ):
        assert text in page.text
    assert any(UNFRIENDLY in attributes["alt"] for attributes in page.all("img"))


def test_every_panel_is_there_as_a_drawing_with_words_for_it(record, page):
    drawings = [a for a in page.all("img") if data_of(a["src"])[0] == "image/svg+xml"]
    titles = [panel.title for section in sections(record) for panel in panels(section)]
    assert len(drawings) == len(titles) > 25
    for attributes, title in zip(drawings, titles, strict=True):
        assert title in attributes["alt"]
        assert ElementTree.fromstring(data_of(attributes["src"])[1]).tag.endswith("}svg")


def test_the_latest_sample_is_there_pixel_for_pixel_and_the_earlier_ones_small(record, page):
    sample = record.stages[-1].samples[-1]
    kinds = [data_of(attributes["src"]) for attributes in page.all("img")]
    (png,) = [data for kind, data in kinds if kind == "image/png"]
    shown = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown, cv2.imread(str(sample.path)))
    assert len([data for kind, data in kinds if kind == "image/jpeg"]) == 2
    assert all(f"Step {step}" in page.text for step in (100, 150, 200))


def test_tables_hold_the_figures(page):
    rows = {row[0]: row for row in page.rows}
    stages = {row[0]: row for row in page.rows if len(row) > 2 and row[1] in ("finished", "not finished")}
    assert list(stages) == [*(f"basis-{name}" for name in sorted(CATEGORIES)), "fused", "sr-x4"]
    assert stages["sr-x4"][1:] == [
        "not finished",
        "200",
        "1 min 40 s",
        "21.5",
        "2%",
        "4000",
        "21.00",
        "0.8000",
        "0.3000",
    ]
    assert stages["fused"][1:4] == ["finished", "20000", "2 h 46 min"]
    assert rows["Licence"] == ["Licence", "CC0 <mine>"]
    assert rows["Photographs"] == ["Photographs", "4213"]
    assert rows["Left out"] == ["Left out", "120 blurred"]
    assert rows["loss.pixel"] == ["loss.pixel", "1.0"]
    assert ["nature", "1234", "56"] in page.rows
    assert [UNFRIENDLY, "77", "0"] in page.rows


def test_few_codes_are_warned_of_and_many_are_not(page):
    assert "basis-nature uses only 20.0% of the codes of nature" in page.text
    assert page.text.count("uses only") == 1  # 50 % and 80 % are enough
    assert page.text.count("⚠ fewer than half of the codes") == 1


def test_the_unfinished_and_the_damaged_are_reported(page):
    assert "Not finished: sr-x4." in page.text
    assert "The last line of sr-x4.jsonl is incomplete" in page.text


def test_the_same_folder_gives_the_same_page(record):
    shorter = replace(record, stages=record.stages[-1:])
    assert page_html(shorter) == page_html(shorter)


def test_a_run_with_one_line_and_nothing_else_has_a_page_and_an_image(tmp_path):
    (tmp_path / "fused.jsonl").write_text('{"step": 0, "total": 0.0, "used/a": 0, "future/key": 1e300}\n')
    samples = tmp_path / "samples" / "fused"
    samples.mkdir(parents=True)
    (samples / "000001.png").write_bytes(b"half a p")
    record = read_run(tmp_path)
    page = Page(page_html(record).decode("utf-8"))
    assert "has no record of its training photographs" in page.text
    assert "no settings" in page.text
    assert "The sample is damaged." in page.text
    assert cv2.imdecode(np.frombuffer(overview_png(record), np.uint8), cv2.IMREAD_COLOR) is not None


def test_the_overview_shows_all_sections_and_the_latest_samples(record):
    one, two = (
        cv2.imdecode(np.frombuffer(overview_png(replace(record, stages=stages)), np.uint8), cv2.IMREAD_COLOR)
        for stages in (record.stages[-1:], record.stages[-2:])
    )
    sheet = cv2.imread(str(record.stages[-1].samples[-1].path))
    assert one.shape[1] > 1900
    assert two.shape[0] > 1.5 * one.shape[0]
    # The sheet is smaller than its place, so it is shown as it is: the best match is a perfect one.
    assert cv2.minMaxLoc(cv2.matchTemplate(one, sheet, cv2.TM_SQDIFF))[0] == 0


@given(st.text())
def test_escaped_text_comes_back_as_it_was_or_written_out(text):
    parser = Page(f"<p>{escaped(text)}</p>")
    assert [tag for tag, _ in parser.elements] == ["p"]
    assert parser.text.isprintable()
    if text.isprintable():
        assert parser.text == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (725, "12 min 5 s"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_settings_are_reported_plainly():
    values = [True, None, [], [1, 2.5], "text", {"a": [1]}, 0]
    assert [setting(value) for value in values] == ["yes", "–", "–", "1, 2.5", "text", "a: 1", "0"]
    assert flattened({"a": 1, "b": {"c": {"d": 2}, "e": {}}}) == [("a", 1), ("b.c.d", 2), ("b.e", {})]
