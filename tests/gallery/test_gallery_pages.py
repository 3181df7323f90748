"""Documents of several pages in the page of a run: each page has thumbnails and large views of both sides."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tifffile
from gallery_page import GALLERY, details_of, entries_of
from PIL import Image

COLORS = [(200, 30, 20), (20, 40, 210), (10, 160, 40)]
SIZES = [(40, 30), (30, 40), (24, 24)]


@pytest.fixture
def document(tmp_path):
    """A TIFF file whose pages have colours and sizes of their own, and another image."""
    (tmp_path / "photos").mkdir()
    with tifffile.TiffWriter(tmp_path / "photos" / "pages.tif") as writer:
        for color, (width, height) in zip(COLORS, SIZES, strict=True):
            page = np.empty((height, width, 3), np.uint8)
            page[:] = color
            writer.write(page, photometric="rgb")
    Image.new("RGB", (20, 20), COLORS[0]).save(tmp_path / "photos" / "single.png")
    return tmp_path / "photos" / "pages.tif"


def assert_has_pages(tree):
    """All pictures of the document are there, on both sides."""
    entry = entries_of(tree)["pages.tif"]
    pages = details_of(tree)[entry["id"]]["pages"]
    assert [page["size"] for page in pages] == [[120, 160], [96, 96]]
    for page, (width, height) in zip(pages, SIZES[1:], strict=True):
        sides = page["before"], page["after"]
        assert [(side["width"], side["height"]) for side in sides] == [(width, height), (4 * width, 4 * height)]
        assert [side["format"] for side in sides] == ["tiff"] * 2
        assert dict(sides[1]["exif"])["Software"].startswith("adacode ")
        assert all(sum(side["histogram"][0]) == side["width"] * side["height"] for side in sides)
        assert page["change"] == 0
    for number, color, (width, height) in zip((1, 2, 3), COLORS, SIZES, strict=True):
        start = f"{tree / GALLERY / entry['picture']}{'' if number == 1 else f'-p{number}'}"
        for ending, size in ((".webp", (8 * width, 4 * height)), ("-before.webp", (width, height))):
            with Image.open(f"{start}{ending}") as picture:
                assert picture.size == size
                assert np.abs(np.subtract(picture.convert("RGB").getpixel((5, 5)), color)).max() < 12
        with Image.open(f"{start}-after.webp") as picture:
            assert picture.size == (4 * width, 4 * height)


@pytest.mark.parametrize("window", [None, "1500"], ids=["at once", "as a stream"])
def test_every_page_has_pictures(document, adacode, restored, tmp_path, window):
    env = {"WINDOW_PIXELS": window} if window else {}
    done = adacode("sr", "photos", "-o", "out", "-w", "nearest", "--report", **env)
    assert done.returncode == 0, done.stderr.decode()
    assert_has_pages(tmp_path / "out")
    for path in (tmp_path / "out" / GALLERY / "pictures").rglob("*.*"):
        path.unlink()
    if window:
        restored()  # The same command makes what is missing.
    else:
        assert adacode("view", "out", "--no-open").returncode == 0
    assert_has_pages(tmp_path / "out")


def test_pages_of_earlier_versions_and_forged_ones_have_their_size_alone(document, restored, adacode):
    tree = restored()
    entry = entries_of(tree)["pages.tif"]
    path = tree / GALLERY / f"{entry['picture']}.json"
    odd = [[120, 160], {"size": [96, 96], "before": 7, "after": [], "change": "x"}, {"size": [0, 3]}, 7]
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "pages": odd, "mapsExtent": [0.5, "x"]}))
    assert adacode("view", "out", "--no-open").returncode == 0
    found = details_of(tree)[entry["id"]]
    unknown = {"before": None, "after": None, "change": None, "drift": None}
    assert found["pages"] == [{"size": [120, 160], **unknown}, {"size": [96, 96], **unknown}]
    assert found["mapsExtent"] == [1, 1]


def test_pages_are_turned(document, restored, adacode, page, tmp_path):
    tree = restored()
    assert adacode("view", "out", "--no-open", "--self-contained", "page").returncode == 0
    page.open(tmp_path / "page")
    page.show("pages.tif")
    browser = page.browser_page
    press = browser.keyboard.press

    def shown(number):
        page.until(f"document.querySelector('#pages [aria-current]').textContent === 'Page {number}'")
        page.wait_for_both()
        pixels = page.pixels()
        return [tuple(pixels[pixels.shape[0] // 3, int(x * pixels.shape[1])].astype(int)) for x in (0.45, 0.55)]

    def assert_shows(number):
        for color in shown(number):
            assert np.abs(np.subtract(color, COLORS[number - 1])).max() < 12
        info = browser.locator("#info")
        cells = "all => all.map((row) => [...row.cells].map((cell) => cell.textContent))"
        rows = info.locator("tbody tr").evaluate_all(cells)
        width, height = SIZES[number - 1]
        assert ["Pixels", f"{width} × {height}", f"{4 * width} × {4 * height}"] in rows
        later = number > 1  # What is of the whole file says so there; the bases are those of the first page.
        heads = info.locator("h3").all_inner_texts()
        assert ("The whole file" in heads, "Make the whole file again" in heads) == (later, later)
        assert info.locator(".bases").count() == (not later)
        assert [row[0] for row in rows if row[0] in ("Bytes", "Pages")] == ([] if later else ["Pages", "Bytes"])
        # The colour of a page is the only value in its histograms, so each curve has one peak.
        curves = info.locator("figure").first.locator("polygon").evaluate_all("all => all.map((one) => one.outerHTML)")
        peaks = [[y for _, y in re.findall(r"([\d.]+),([\d.]+)", one)].index("0.0") - 1 for one in curves]
        assert peaks == [value // 4 for value in COLORS[number - 1]]

    assert_shows(1)
    press(">")
    assert_shows(2)
    frame = page.box("#after .frame")
    assert frame["width"] / frame["height"] == pytest.approx(0.75, abs=0.01)
    browser.locator("#pages button", has_text="Page 3").click()
    assert_shows(3)
    press(">")
    assert_shows(3)
    press("<")
    assert_shows(2)
    address = browser.evaluate("location.hash")
    browser.goto("about:blank")
    page.open(tree, address)
    assert_shows(2)
    press("ArrowRight")
    page.until("document.getElementById('name').textContent === 'single.png'")
    page.wait_for_both()
    assert not browser.locator("#pages").is_visible()
    assert "page=" not in browser.evaluate("location.hash")


def test_a_long_document_says_that_there_are_more_pages(restored, page, tmp_path):
    from adacode_cli.batch.gallery.documents import MOST_PAGES

    (tmp_path / "photos").mkdir()
    pages = np.zeros((MOST_PAGES + 3, 8, 8, 3), np.uint8)
    tifffile.imwrite(tmp_path / "photos" / "long.tif", pages, photometric="rgb")
    tree = restored()
    found = details_of(tree)[entries_of(tree)["long.tif"]["id"]]["pages"]
    assert len(found) == MOST_PAGES - 1
    assert all(one["after"]["width"] == 32 for one in found)
    assert [bool(found[at]["after"]["histogram"]) for at in (0, -1)] == [True, False]
    page.open(tree)
    page.show("long.tif")
    assert page.browser_page.locator("#pages button").count() == MOST_PAGES
    text = f"This page shows the first {MOST_PAGES} of {MOST_PAGES + 3} pages."
    assert page.browser_page.locator("#pages p").inner_text() == text
