"""One picture in a real browser: before and after are in the same place, at every zoom, by mouse, keys and touch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

RED, BLUE = (200, 30, 20), (20, 40, 210)


@pytest.fixture
def red_and_blue(photo, restored, page):
    """A red picture whose result is blue, opened; another picture follows it."""
    photo("photos/a.png", (40, 30), RED)
    photo("photos/b.png", (40, 30))
    tree = restored()
    Image.new("RGB", (160, 120), BLUE).save(tree / "a.png")
    page.open(tree)
    page.show("a.png")
    return page


def at(page, x: float) -> tuple[int, ...]:
    """The colour of the stage at a share of its width, above the middle, where the divider's handle is not."""
    pixels = page.pixels()
    return tuple(pixels[pixels.shape[0] // 3, int(x * pixels.shape[1])])


def drag(page, selector, share):
    """Drags an element to a share of the stage's width."""
    mouse = page.browser_page.mouse
    box = page.browser_page.locator(selector).bounding_box()
    stage = page.browser_page.locator("#stage").bounding_box()
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(stage["x"] + stage["width"] * (share + 0.1), box["y"] + 100, steps=3)
    mouse.move(stage["x"] + stage["width"] * share, box["y"] + 100, steps=3)
    mouse.up()


def test_the_slider_shows_before_at_its_left_and_after_at_its_right(red_and_blue):
    page = red_and_blue
    assert at(page, 0.4) == RED
    assert at(page, 0.6) == BLUE
    drag(page, "#divider", 0.3)
    assert at(page, 0.25) == RED
    assert at(page, 0.4) == BLUE
    drag(page, "#divider", 0.7)
    assert at(page, 0.6) == RED
    assert at(page, 0.75) == BLUE


def test_the_slider_follows_keys(red_and_blue):
    page = red_and_blue
    divider = page.browser_page.locator("#divider")
    divider.focus()
    for _ in range(2):
        page.browser_page.keyboard.press("Shift+ArrowLeft")
    page.browser_page.keyboard.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "31"
    assert at(page, 0.29) == RED
    assert at(page, 0.33) == BLUE
    page.browser_page.keyboard.press("Home")
    assert at(page, 0.2) == BLUE
    page.browser_page.keyboard.press("End")
    assert at(page, 0.8) == RED


def test_the_slider_follows_a_finger(chromium, photo, restored):
    from gallery_page import Page

    photo("photos/a.png", (40, 30), RED)
    tree = restored()
    Image.new("RGB", (160, 120), BLUE).save(tree / "a.png")
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = Page(context)
    page.open(tree)
    page.browser_page.locator("a.card").tap()
    page.wait_for_both()
    session = context.new_cdp_session(page.browser_page)
    box = page.browser_page.locator("#stage").bounding_box()
    y = box["y"] + box["height"] / 2

    def touch(kind, *shares):
        points = [{"x": box["x"] + share * box["width"], "y": y} for share in shares]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.5)
    for share in (0.4, 0.3, 0.25):
        touch("touchMove", share)
    touch("touchEnd")
    assert at(page, 0.2) == RED
    assert at(page, 0.3) == BLUE
    before = page.box("#after .frame")["width"]
    touch("touchStart", 0.4, 0.45)  # two fingers enlarge
    for spread in (0.08, 0.12, 0.2):
        touch("touchMove", 0.42 - spread, 0.42 + spread)
    touch("touchEnd")
    assert page.box("#after .frame")["width"] > 1.5 * before
    assert page.errors == []
    context.close()


def test_keys_choose_how_both_are_shown(red_and_blue):
    page, press = red_and_blue, red_and_blue.browser_page.keyboard.press
    drag(page, "#divider", 0.5)  # It has the focus now, and disappears.
    press("2")
    assert (at(page, 0.25), at(page, 0.75)) == (RED, BLUE)
    press("4")
    assert (at(page, 0.25), at(page, 0.75)) == (RED, RED)
    press("5")
    assert (at(page, 0.25), at(page, 0.75)) == (BLUE, BLUE)
    press(" ")
    assert at(page, 0.5) == RED
    press(" ")
    assert at(page, 0.5) == BLUE
    page.browser_page.locator("#gain").evaluate("one => { one.value = '1'; one.dispatchEvent(new Event('change')); }")
    press("3")
    assert at(page, 0.5) == tuple(abs(a - b) for a, b in zip(RED, BLUE, strict=True))
    press("1")
    assert (at(page, 0.25), at(page, 0.75)) == (RED, BLUE)


@pytest.mark.parametrize(("key", "ratio"), [("z", 1), ("x", 8)])
@pytest.mark.parametrize("mode", ["4", "5", "2"])
def test_every_pixel_of_the_result_is_where_it_should_be(photo, restored, page, key, ratio, mode):
    photo("photos/a.png", (40, 30))
    tree = restored()
    page.open(tree)
    page.show("a.png")
    page.browser_page.keyboard.press(mode)
    page.browser_page.keyboard.press(key)
    result = np.asarray(Image.open(tree / "a.png"))
    side = {"4": "before", "5": "after", "2": "after"}[mode]
    boxes = [page.box(f"#{one} .frame") for one in ("before", "after")]
    assert boxes[0]["width"] == pytest.approx(160 * ratio)
    assert boxes[0]["height"] == boxes[1]["height"]
    assert boxes[0]["top"] == boxes[1]["top"]
    pixels, box, seen = page.pixels(), boxes[side == "after"], 0
    left = pixels.shape[1] // 2 if mode == "2" else 0  # where the side begins
    tolerance = 3 if ratio > 1 else 120  # at 1:1 the screen's pixels lie between those of the picture
    for row in range(0, 120, 4):  # Each pixel of the input became 4 × 4 of the result.
        for column in range(0, 160, 4):
            x, y = (box["left"] + (column + 2) * ratio, box["top"] + (row + 2) * ratio)
            if left + 4 < x < pixels.shape[1] - 4 and 40 < y < pixels.shape[0] - 40:
                difference = np.abs(pixels[int(y), int(x)].astype(int) - result[row, column]).max()
                assert difference < tolerance, (row, column)
                seen += 1
    assert seen > 30


def test_the_wheel_enlarges_what_is_under_the_pointer_on_both_sides(photo, restored, page):
    photo("photos/a.png", (40, 30))
    page.open(restored())
    page.show("a.png")
    page.browser_page.keyboard.press("2")
    stage = page.browser_page.locator("#stage").bounding_box()

    def place(share):
        """Where in the picture a share of the right half of the stage is."""
        box = page.box("#after .frame")
        return (stage["width"] * (0.5 + share / 2) - box["left"]) / box["width"]

    before = place(0.3)
    page.browser_page.mouse.move(stage["x"] + stage["width"] * 0.65, stage["y"] + stage["height"] / 2)
    for _ in range(6):
        page.browser_page.mouse.wheel(0, -100)
        page.browser_page.wait_for_timeout(30)
    boxes = [page.box(f"#{side} .frame") for side in ("before", "after")]
    assert boxes[1]["width"] > 2 * stage["width"] / 2
    assert boxes[1]["left"] - boxes[0]["left"] == pytest.approx(stage["width"] / 2, abs=2)
    assert place(0.3) == pytest.approx(before, abs=0.01)
    page.browser_page.mouse.down()
    page.browser_page.mouse.move(
        stage["x"] + stage["width"] * 0.65 + 50, stage["y"] + stage["height"] / 2 + 20, steps=4
    )
    page.browser_page.mouse.up()
    moved = [page.box(f"#{side} .frame") for side in ("before", "after")]
    for one, other in zip(boxes, moved, strict=True):
        assert other["left"] - one["left"] == pytest.approx(50, abs=1)
        assert other["top"] - one["top"] == pytest.approx(20, abs=1)


def test_keys_go_on_and_back_and_close(red_and_blue):
    page, browser = red_and_blue, red_and_blue.browser_page
    browser.keyboard.press("ArrowRight")
    page.until("document.getElementById('name').textContent === 'b.png'")
    assert browser.locator("#next").is_disabled()
    browser.keyboard.press("ArrowLeft")
    page.until("document.getElementById('name').textContent === 'a.png'")
    browser.keyboard.press("Escape")
    assert not browser.locator("#picture").is_visible()
    focused = browser.evaluate("document.activeElement.querySelector('.caption').textContent")
    assert focused == "a.png"
    browser.keyboard.press("ArrowRight")
    browser.keyboard.press("Enter")
    page.wait_for_both()
    assert browser.locator("#name").text_content() == "b.png"


def test_a_link_opens_the_picture_as_it_was_shown(red_and_blue, tmp_path):
    page = red_and_blue
    page.browser_page.keyboard.press("4")
    address = page.browser_page.evaluate("location.hash")
    page.browser_page.goto("about:blank")
    page.open(tmp_path / "out", address)
    page.wait_for_both()
    assert page.browser_page.locator("#name").text_content() == "a.png"
    assert at(page, 0.75) == RED
    page.browser_page.go_back()


def test_what_is_known_of_the_picture_is_listed(photo, restored, page):
    exif = Image.Exif()
    exif[0x010F], exif[0x0132] = "Maker of cameras", "2019:07:14 12:00:00"
    photo("photos/a.jpg", (40, 30), exif=exif)
    page.open(restored("--format", "png"))
    page.show("a.png")
    info = page.browser_page.locator("#info")
    rows = dict(
        info.locator("tbody tr").evaluate_all(
            "rows => rows.map(r => [r.cells[0].textContent, [...r.cells].slice(1).map(c => c.textContent)])"
        )
    )
    assert rows["Format"] == ["JPEG", "PNG"]
    assert rows["Pixels"] == ["40 × 30", "160 × 120"]
    assert rows["Make"] == ["Maker of cameras"] * 2
    assert rows["Software"][1].startswith("adacode ")
    assert "adacode sr" in info.locator("pre").text_content()
    assert info.locator("svg").count() == 2


def test_a_format_that_browsers_cannot_show_has_a_copy(photo, restored, page):
    photo("photos/a.tif", (40, 30), RED)
    photo("photos/wide.tif", (520, 8))
    page.open(restored())
    message = page.browser_page.locator("#message")
    page.show("wide.tif")  # The copy of its result, which is 2080 pixels wide, has 2048.
    assert sorted(message.inner_text().splitlines(), reverse=True) == [
        "Before: browsers cannot show TIFF, so a copy of the same size is shown.",
        "After: browsers cannot show TIFF, so a reduced copy is shown.",
    ]
    page.browser_page.keyboard.press("Escape")
    page.show("a.tif")
    assert message.inner_text().count("a copy of the same size") == 2
    close = np.abs(np.subtract(at(page, 0.25), RED, dtype=int)).max()
    assert close < 12


def test_without_the_original_its_thumbnail_is_shown(photo, restored, page):
    source = photo("photos/a.png", (40, 30), RED)
    tree = restored()
    source.unlink()
    page.open(tree)
    page.browser_page.locator("a.card").click()
    page.browser_page.wait_for_selector("#message span")
    assert "Before: the file cannot be shown" in page.browser_page.locator("#message").inner_text()
    assert np.abs(np.subtract(at(page, 0.25), RED, dtype=int)).max() < 12
    page.errors.clear()  # The browser reports the missing file.


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.avif"])
def test_an_original_that_states_an_orientation_is_shown_upright(photo, restored, page, tmp_path, name):
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    image = Image.new("RGB", (48, 32), RED)
    image.paste(BLUE, (0, 0, 24, 16))
    (tmp_path / "photos").mkdir()
    image.save(tmp_path / "photos" / name, exif=exif)
    page.open(restored())
    page.show(name)
    sides = []
    for key in "45":
        page.browser_page.keyboard.press(key)
        pixels = page.pixels().astype(int)
        height, width = pixels.shape[:2]
        sides.append(pixels[:: height // 8, width // 2 - 80 : width // 2 + 80 : 30])
    assert np.median(np.abs(sides[0] - sides[1])) < 12
    assert np.mean(np.abs(sides[0] - sides[1])) < 12
