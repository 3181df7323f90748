"""The worst images are found, cut where they are worst, and drawn so that one can read it."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adacode_cli.evaluation.score import ExampleImages, Row, Scores
from adacode_cli.evaluation.worst import CROP_PX, Worst, draw_sheet, worst_corner


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 420), st.integers(40, 420), st.data())
def test_the_crop_lies_in_the_image_and_holds_the_spot_that_is_wrong(height, width, data):
    y, x = data.draw(st.integers(0, height - 20)), data.draw(st.integers(0, width - 20))
    original = noise(height, width)
    restored = original.copy()
    restored[y : y + 20, x : x + 20] ^= 128
    left, top = worst_corner(restored, original)
    assert 0 <= left <= max(0, width - CROP_PX)
    assert 0 <= top <= max(0, height - CROP_PX)
    assert left <= x
    assert x + 20 <= left + CROP_PX
    assert top <= y
    assert y + 20 <= top + CROP_PX


def test_of_two_spots_the_greater_error_counts():
    original = np.full((300, 900, 3), 100, np.uint8)
    restored = original.copy()
    restored[100:140, 50:90] += 20
    restored[200:240, 700:740] += 60
    x, y = worst_corner(restored, original)
    assert x <= 700 < x + CROP_PX
    assert y <= 200 < y + CROP_PX


def images_of(seed: int, *, scale: int = 4, hole: bool = False, baseline: bool = True) -> ExampleImages:
    original = noise(240, 260, seed)
    restored = 255 - original
    small = original[::scale, ::scale]
    where = np.zeros((240, 260), np.bool_)
    where[100:150, 100:180] = True
    return ExampleImages(small, where if hole else None, original // 2 if baseline else None, restored, original)


def scored(name: str, psnr: float, perceptual: float | None = None) -> Row:
    return Row(name, Scores(psnr, 0.5, perceptual), Scores(psnr + 1, 0.25, perceptual), "fp32")


@pytest.mark.parametrize("measured", [True, False])
@given(order=st.permutations(range(9)))
@settings(max_examples=10, deadline=None)
def test_the_five_worst_are_kept_the_worst_first(measured, order):
    worst, images = Worst("sr", 4), images_of(0)
    for i in order:
        # Where a distance is measured it decides, and here says the opposite of PSNR.
        worst.add(scored(str(i), 20 + i, i / 10 if measured else None), images)
    assert [poor.name for poor in worst.found] == (list("87654") if measured else list("01234"))
    assert worst.num_seen == 9


def test_cells_are_the_same_place_of_every_image():
    images, worst = images_of(1), Worst("sr", 4)
    worst.add(scored("a", 20), images)
    (poor,) = worst.found
    place = (slice(poor.y, poor.y + CROP_PX), slice(poor.x, poor.x + CROP_PX))
    given_, baseline, ours, original = (cell.crop for cell in poor.cells)
    np.testing.assert_array_equal(given_, np.kron(images.input, np.ones((4, 4, 1), np.uint8))[place])
    np.testing.assert_array_equal(baseline, images.baseline[place])
    np.testing.assert_array_equal(ours, images.restored[place])
    np.testing.assert_array_equal(original, images.original[place])
    assert [cell.scores and cell.scores.psnr for cell in poor.cells] == [None, 21, 20, None]
    assert [cell.title.split(",")[0] for cell in poor.cells] == ["input", "bicubic", "adacode", "original"]


def test_holes_are_shown_as_holes():
    images, worst = images_of(2, scale=1, hole=True), Worst("inpaint")
    worst.add(scored("a", 20), images)
    (poor,) = worst.found
    crop, where = poor.cells[0].crop, images.hole[poor.y : poor.y + CROP_PX, poor.x : poor.x + CROP_PX]
    assert len(np.unique(crop[where])) == 2
    outside = images.original[poor.y : poor.y + CROP_PX, poor.x : poor.x + CROP_PX]
    np.testing.assert_array_equal(crop[~where], outside[~where])


def test_what_is_reconstructed_has_two_columns():
    worst = Worst("reconstruct")
    worst.add(scored("a", 20), images_of(3, scale=1, baseline=False))
    assert [cell.title for cell in worst.found[0].cells] == ["adacode", "original"]


def sheet_of(names: list[str]) -> np.ndarray:
    worst = Worst("sr", 4)
    for i, name in enumerate(names):
        worst.add(scored(name, 20 + i, 0.5 - i / 100), images_of(i))
    data = draw_sheet(worst, "title", "LPIPS")
    assert data.startswith(b"\x89PNG")
    return np.asarray(Image.open(BytesIO(data)))


def test_the_sheet_holds_every_crop_pixel_by_pixel():
    sheet = sheet_of(["a", "b"])
    worst = Worst("sr", 4)
    for i, name in enumerate("ab"):
        worst.add(scored(name, 20 + i, 0.5 - i / 100), images_of(i))
    for poor in worst.found:
        for cell in poor.cells:
            twice = np.kron(cell.crop, np.ones((2, 2, 1), np.uint8))
            corner = np.argwhere((sheet == twice[0, 0]).all(2))
            found = [
                (y, x)
                for y, x in corner
                if np.array_equal(sheet[y : y + twice.shape[0], x : x + twice.shape[1]], twice)
            ]
            assert found, (poor.name, cell.title)


def test_names_are_written_and_long_or_foreign_ones_do_no_harm():
    sheets = [sheet_of([name]) for name in ("a", "b", "ж" * 500, "x" * 500)]
    assert len({sheet.shape for sheet in sheets}) == 1
    heading = [sheet[48:84] for sheet in sheets]  # the line of the name
    assert all(not np.array_equal(heading[0], other) for other in heading[1:])
    assert all((line[:, -12:] == line[0, 0]).all() for line in heading)  # nothing runs over the edge


def test_small_images_fit_in():
    worst, original = Worst("reconstruct"), noise(40, 50)
    worst.add(scored("a", 20), ExampleImages(original, None, None, 255 - original, original))
    assert (worst.found[0].x, worst.found[0].y) == (0, 0)
    assert worst.found[0].cells[0].crop.shape == (40, 50, 3)
    assert Image.open(BytesIO(draw_sheet(worst, "t", "LPIPS"))).size[0] > 800
