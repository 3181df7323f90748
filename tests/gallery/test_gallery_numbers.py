"""Filters and order by numbers in a real browser: ranges, hits and links."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gallery_page import GALLERY, entries_of
from test_gallery_grid import line_on, select

GUARD = [0.1, 0.5, 0.9, None]
HOSTILE = "<b>:,;&%"


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A tree with four results of different numbers, and a failure, which has none."""
    from adacode_cli.batch.gallery.folder import Gallery
    from adacode_cli.batch.gallery.pictures import save_picture, shown_of
    from adacode_cli.imaging.image import Decoded

    tree, lines = tmp_path_factory.mktemp("numbered"), []
    for index, guard in enumerate(GUARD):
        grey = [Decoded(np.full((10, 1000 * (index + 1), 3), value, np.uint8)) for value in (100, 100 + 20 * index)]
        figures = {} if guard is None else {"guard": guard, HOSTILE: index}
        save_picture(tree / GALLERY, f"{index}" * 64, *(shown_of(one, 1) for one in grey), figures=figures)
        lines.append(line_on(f"{index}.png", f"{index}" * 64, {"seconds": 10.0 - index, "bytes": 1_000_000 * index}))
    lines.append(line_on("bad.png", "9" * 64, {"outcome": "failed", "error": "no image", "seconds": None}))
    (tree / ".adacode" / "journal.jsonl").write_bytes(b"".join(lines))
    Gallery(tree).begin(running=False)
    return tree


def type_range(page, name, least="", largest=""):
    for end, value in zip(("first", "last"), (least, largest), strict=True):
        inputs = page.browser_page.locator(f"#numbers [data-name='{name}'] input")
        getattr(inputs, end).fill(value)


def hits(page, name):
    return page.browser_page.locator(f"#numbers [data-name='{name}'] .hits").inner_text()


def test_ranges_of_numbers_choose_pictures_and_are_in_the_link(numbered, page):
    page.open(numbered)
    browser = page.browser_page
    assert len(page.cards()) == 5
    browser.locator("#numbers-open").click()
    assert hits(page, "guard") == "pictures: 3"  # A picture without the number is in no range.
    type_range(page, "guard", "40")
    assert page.cards() == ["1.png", "2.png"]
    type_range(page, "seconds", "", "8")
    assert page.cards() == ["2.png"]
    assert (hits(page, "guard"), hits(page, "seconds")) == ("pictures: 2", "pictures: 2")
    assert browser.locator("#numbers-open").inner_text() == "Numbers (2)"
    address = browser.evaluate("location.hash")
    browser.goto("about:blank")
    page.open(numbered, address)
    assert page.cards() == ["2.png"]
    assert browser.locator("#numbers [data-name='guard'] input").first.input_value() == "40"
    browser.locator("#reset").click()
    assert len(page.cards()) == 5
    browser.locator("#numbers-open").click()
    assert not browser.locator("#numbers").is_visible()
    for words, names in {
        "pixels:0.015:0.03": ["1.png", "2.png"],
        "bytes:2": ["2.png", "3.png"],
        "change:7:16": ["1.png", "2.png"],
        "drift::8": ["0.png", "1.png"],
        f"{'%253Cb%253E%253A%252C%253B%2526%2525'}:1": ["1.png", "2.png"],
        "no such number:1": [],
        ":::,%25,guard:x:y": ["0.png", "1.png", "2.png", "3.png", "bad.png"],
    }.items():
        page.open(numbered, f"#range={words}")
        page.until(f"JSON.stringify({_CARDS}) === JSON.stringify({json.dumps(names)})")


_CARDS = "[...document.querySelectorAll('a.card .caption')].map((one) => one.textContent)"


def test_pictures_are_ordered_by_any_number(numbered, page):
    page.open(numbered)
    select(page, "sort", "guard")
    assert page.cards() == ["0.png", "1.png", "2.png", "3.png", "bad.png"]
    page.browser_page.locator("#down").check()
    assert page.cards() == ["2.png", "1.png", "0.png", "3.png", "bad.png"]
    page.browser_page.locator("#down").uncheck()
    select(page, "sort", "seconds")
    assert page.cards() == ["3.png", "2.png", "1.png", "0.png", "bad.png"]
    options = page.browser_page.locator("#sort option").all_inner_texts()
    assert HOSTILE in options
    page.browser_page.locator("a.card").first.click()
    page.browser_page.wait_for_selector("dialog[data-shown]")
    assert "PSNR" not in page.browser_page.locator("#info dl").inner_text()
    page.errors.clear()  # The browser reports the files that are not there.


def test_the_distance_that_the_guard_measures_is_a_number(photo, adacode, tmp_path):
    photo("photos/a.png", (40, 30))
    command = ("sr", "photos", "-w", "nearest", "--report")
    assert adacode(*command, "-o", "out").returncode == 0
    assert 0 <= entries_of(tmp_path / "out")["a.png"]["figures"]["guard"] < 0.05
    assert adacode(*command, "-o", "without", "--no-guard").returncode == 0
    assert entries_of(tmp_path / "without")["a.png"]["figures"] == {}


def test_the_distance_is_a_share_of_what_the_guard_accepts():
    from adacode_cli.batch.guard import MAX_DRIFT, judged
    from adacode_cli.imaging.image import Decoded

    rng = np.random.default_rng(0)
    before = Decoded(rng.uniform(0.2, 0.8, (64, 64, 3)).astype(np.float32))
    for share in (0.25, 0.75, 1.25):
        found = judged(before, Decoded(before.pixels + np.float32(share * MAX_DRIFT)))
        assert found.distance == pytest.approx(share, abs=0.01)
        assert (found.defect is None) == (share < 1)
