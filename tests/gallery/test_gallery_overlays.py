"""What is drawn over a picture, in a real browser: which basis weighs most, how much one weighs, and the hole."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from gallery_page import GALLERY, details_of, entries_of
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "detection"))

GREY = (128, 128, 128)
ARCHITECTURE, FACES, NATURE = (230, 159, 0), (86, 180, 233), (0, 158, 115)  # as in files of weight maps
HOLE = (255, 0, 170)


def colors_at(page, *places: tuple[float, float]) -> list[np.ndarray]:
    """The colours of places of the result, each (x, y) in shares of its width and height, in the mode "after"."""
    box, pixels = page.box("#after .frame"), page.pixels()
    return [
        pixels[int(box["top"] + y * box["height"]), int(box["left"] + x * box["width"])].astype(int) for x, y in places
    ]


def mixed(color, share: float) -> np.ndarray:
    """A colour over grey."""
    return np.add(np.multiply(share, color), np.multiply(1 - share, GREY))


def legend(page) -> list[str]:
    return page.browser_page.locator("#legend li").all_inner_texts()


def test_the_bases_are_drawn_over_the_picture_with_their_names(photo, restored, page):
    photo("photos/a.png", (40, 30), GREY)
    photo("photos/b.png", (44, 30), GREY)
    tree = restored()
    page.open(tree)
    page.show("a.png")
    press, browser = page.browser_page.keyboard.press, page.browser_page
    press("5")
    assert legend(page) == []
    np.testing.assert_allclose(colors_at(page, (0.2, 0.5))[0], GREY, atol=1)
    press("w")
    # The restorer's weights are ramps over five cells: the left two are most of one basis, the others of another.
    assert legend(page) == ["architecture: most in 60 %", "faces: most in 40 %", "nature: most in 0 %"]
    left, right = colors_at(page, (0.2, 0.5), (0.8, 0.5))
    np.testing.assert_allclose(left, mixed(FACES, 0.5), atol=2)
    np.testing.assert_allclose(right, mixed(ARCHITECTURE, 0.5), atol=2)
    browser.locator("#over").select_option("basis:nature")
    assert legend(page) == ["nature: most in 0 %"]
    for color in colors_at(page, (0.2, 0.5), (0.8, 0.5)):  # It weighs 0.3 of at most 1 everywhere.
        np.testing.assert_allclose(color, mixed(NATURE, 0.3), atol=4)
    browser.locator("#over").select_option("basis:architecture")
    shares = [color[0] for color in colors_at(page, (0.1, 0.5), (0.5, 0.5), (0.9, 0.5))]
    assert shares == sorted(shares)
    assert shares[2] == pytest.approx(ARCHITECTURE[0], abs=2)
    press("ArrowRight")
    page.until("document.getElementById('name').textContent === 'b.png'")
    page.wait_for_both()
    assert legend(page) == ["architecture: most in 50 %"]
    address = browser.evaluate("location.hash")
    browser.goto("about:blank")
    page.open(tree, address)
    page.wait_for_both()
    assert browser.locator("#over").input_value() == "basis:architecture"
    press("w")
    # 6 × 4 cells of 8 pixels cover 48 × 32 pixels, of which the picture has 44 × 30; the bases change at pixel 24.
    left, right = colors_at(page, (23.5 / 44, 0.5), (24.5 / 44, 0.5))
    np.testing.assert_allclose(left, mixed(FACES, 0.5), atol=2)
    np.testing.assert_allclose(right, mixed(ARCHITECTURE, 0.5), atol=2)
    frame, drawn = page.box("#after .frame"), page.box("#after .over img")
    assert drawn["height"] / frame["height"] == pytest.approx(32 / 30, abs=0.002)
    press("3")  # Nothing is drawn over the difference, and the key says so.
    assert legend(page) == ["Nothing is drawn over the difference."]
    press("w")
    assert legend(page) == []
    press("w")
    assert legend(page) == ["Nothing is drawn over the difference."]
    press("5")
    assert len(legend(page)) == 3
    press("w")
    assert legend(page) == []
    rows = browser.locator("#info .bases li").all_inner_texts()
    assert [row.split() for row in rows] == [["architecture", "50", "%"], ["faces", "50", "%"], ["nature", "0", "%"]]
    assert "over" not in browser.evaluate("location.hash")


def holes(tmp_path: Path, name: str) -> np.ndarray:
    """The file of a hole in the gallery, as RGBA."""
    entry = entries_of(tmp_path / "out")[name]
    assert details_of(tmp_path / "out")[entry["id"]]["hole"] is True
    data = (tmp_path / "out" / GALLERY / f"{entry['picture']}-hole.png").read_bytes()
    return np.asarray(Image.open(BytesIO(data)).convert("RGBA"))


def test_the_hole_is_drawn_over_both_sides(photo, adacode, page, tmp_path):
    photo("photos/a.png", (60, 40), GREY)
    photo("photos/sub/clear.png", (40, 30))
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 15:45] = 255
    for name, pixels in (("a.png", mask), ("sub/clear.png", np.zeros((30, 40), np.uint8))):
        path = tmp_path / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    done = adacode("inpaint", "photos", "--mask-dir", "masks", "-o", "out", "-w", "nearest", "--report")
    assert done.returncode == 0, done.stderr.decode()
    np.testing.assert_array_equal(holes(tmp_path, "a.png")[..., 3] > 0, mask > 0)
    assert not holes(tmp_path, "sub/clear.png")[..., 3].any()
    page.open(tmp_path / "out")
    page.show("a.png")
    press = page.browser_page.keyboard.press
    press("h")
    assert legend(page) == ["hole that was filled"]
    for key in "45":
        press(key)
        inside, edge, outside = colors_at(page, (0.5, 0.5), (15.5 / 60, 0.5), (0.1, 0.5))
        np.testing.assert_allclose(inside, mixed(HOLE, 105 / 255), atol=2)
        np.testing.assert_allclose(edge, HOLE, atol=2)
        np.testing.assert_allclose(outside, GREY, atol=1)
    page.browser_page.locator("#over").select_option("bases")
    assert len(legend(page)) == 3
    press("h")
    press("h")
    assert legend(page) == []


def test_holes_that_were_transparent_or_found(photo, adacode, tmp_path):
    from bright_detector import save_bright_detector

    save_bright_detector(tmp_path / "d.safetensors")
    pixels = np.full((30, 40, 4), 90, np.uint8)
    pixels[..., 3] = 255
    pixels[4:12, 6:30, :3] = 255
    pixels[15:20, 20:, 3] = 0
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    marks = pixels[..., 0] == 255
    command = ("inpaint", "photos", "-o", "out", "-w", "nearest")
    found = ("--detect", "d.safetensors", "--save-mask", "masks")
    assert adacode(*command, "--report", "--mask-alpha").returncode == 0
    np.testing.assert_array_equal(holes(tmp_path, "a.png")[..., 3] > 0, pixels[..., 3] == 0)
    done = adacode(*command, "--report", "--overwrite", *found)
    assert done.returncode == 0, done.stderr.decode()
    np.testing.assert_array_equal(holes(tmp_path, "a.png")[..., 3] > 0, marks)
    for path in (tmp_path / "out" / GALLERY / "pictures").rglob("*.*"):
        path.unlink()
    assert adacode("view", "out", "--no-open").returncode == 0  # from the mask that the run has saved
    np.testing.assert_array_equal(holes(tmp_path, "a.png")[..., 3] > 0, marks)


def test_a_wide_hole_and_a_fine_scratch_are_kept_when_a_mask_is_reduced():
    from adacode_cli.batch.gallery.overlays import reduced_hole

    mask = np.zeros((2000, 3000), np.bool_)
    mask[1000, 100:2900] = True
    mask[300:600, 300:600] = True
    small = reduced_hole(mask)
    assert small.shape == (683, 1024)
    assert small[341, 40:980].all()
    assert small.mean() == pytest.approx(mask.mean(), abs=0.004)
