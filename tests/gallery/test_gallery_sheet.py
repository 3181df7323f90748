"""`adacode sheet`: contact sheets of a run."""

from __future__ import annotations

import numpy as np
import pytest
from gallery_page import entries_of
from PIL import Image

from adacode_cli.batch.gallery.sheet import _plain

RED = (200, 30, 20)


def close(pixel, color) -> bool:
    return bool(np.abs(np.subtract(pixel[:3], color, dtype=int)).max() < 14)


def test_each_image_is_on_a_sheet_before_and_after(photo, restored, adacode, tmp_path):
    for number in range(5):
        photo(f"photos/{number}.png", (40, 40), RED if number == 4 else (30, 40 * number, 200))
    photo("photos/broken.png").write_bytes(b"no image\n")
    tree = restored(code=9)
    done = adacode("sheet", "out", "--columns", "2", "--rows", "2")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == ["sheet.png", "sheet-2.png"]
    second = Image.open(tmp_path / "sheet-2.png")
    assert second.size == (Image.open(tmp_path / "sheet.png").width, 278 + 16)
    assert close(second.getpixel((16 + 110, 16 + 110)), RED)
    assert close(second.getpixel((16 + 330, 16 + 110)), RED)
    assert tree.is_dir()


def test_the_largest_change_comes_first(photo, restored, adacode, tmp_path):
    for name, color in (("a", (0, 0, 200)), ("b", RED), ("c", (0, 200, 0))):
        photo(f"photos/{name}.png", (40, 40), color)
    tree = restored()
    of_b = tree / ".adacode" / "report" / f"{entries_of(tree)['b.png']['picture']}.json"
    of_b.write_text(of_b.read_text().replace('"change":0.0', '"change":0.5'))
    assert adacode("sheet", "out", "-o", "worst.jpg", "--sort", "change", "--first", "1").returncode == 0
    assert close(Image.open(tmp_path / "worst.jpg").getpixel((16 + 330, 16 + 110)), RED)


def test_nothing_that_matters_is_replaced(photo, restored, adacode, tmp_path):
    original = photo("photos/a.png").read_bytes()
    tree = restored()
    result = (tree / "a.png").read_bytes()
    assert adacode("sheet", "out").returncode == 0
    assert adacode("sheet", "out").returncode == 6
    assert adacode("sheet", "out", "--overwrite").returncode == 0
    for path in ("photos/a.png", "out/a.png"):
        for options in ((), ("--overwrite",)):
            assert adacode("sheet", "out", "-o", path, *options).returncode == 6
    assert (tmp_path / "photos" / "a.png").read_bytes() == original
    assert (tree / "a.png").read_bytes() == result


@pytest.mark.parametrize("name", ["sheet", "sheet.txt", "sheet.adacode"])
def test_a_sheet_is_an_image(photo, restored, adacode, name):
    photo("photos/a.png")
    restored()
    done = adacode("sheet", "out", "-o", name)
    assert done.returncode == 2
    assert "is not the name of an image" in done.stderr.decode()


def test_names_that_cannot_be_drawn_do_no_harm(photo, restored, adacode, tmp_path):
    photo("photos/two\nlines \udcff 北京 😀.png")
    restored()
    done = adacode("sheet", "out")
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "sheet.png").is_file()


def test_a_tree_that_may_not_be_changed_has_sheets_too(photo, adacode, tmp_path):
    photo("photos/a.png", (40, 40), RED)
    assert adacode("sr", "photos", "-o", "out", "-w", "nearest").returncode == 0
    report = tmp_path / "out" / ".adacode" / "report"
    report.write_text("in the way")  # also for root, who may write into every directory
    done = adacode("sheet", "out", "-o", "sheet.png")
    assert done.returncode == 0, done.stderr.decode()
    assert close(Image.open(tmp_path / "sheet.png").getpixel((16 + 110, 16 + 110)), RED)
    assert report.read_text() == "in the way"
    done = adacode("sheet", "out", "-o", "sheet.png/sheet.png")
    assert done.returncode == 6
    assert "(-o)" in done.stderr.decode()


def test_names_have_letters_that_the_font_has():
    assert _plain("Café/Ščerba ñ\n") == "Cafe/Scerba n\\n"
