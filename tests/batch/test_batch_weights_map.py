"""The image of the mixing weights shows what the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearest import NearestRestorer
from PIL import Image

from adacode_cli.batch import weights_map
from adacode_cli.batch.found import Selection
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages


def contains_color(sheet: np.ndarray, color, at_least: int) -> bool:
    return int((sheet == np.array(color, np.uint8)).all(axis=2).sum()) >= at_least


def test_panels_are_heat_maps_on_one_scale():
    """Two flat bases at 1.0 and 0.0 fill their panels with the two ends of one colour scale."""
    weights = np.stack([np.ones((5, 5)), np.zeros((5, 5))]).astype(np.float32)
    sheet = weights_map.draw(np.full((100, 100, 3), 128, np.uint8), weights, ("a", "b"))
    assert sheet.dtype == np.uint8
    assert contains_color(sheet, (253, 231, 37), 400 * 400)  # the bright end of viridis
    assert contains_color(sheet, (68, 1, 84), 400 * 400)  # the dark end


def test_overlay_colors_the_dominant_basis():
    weights = np.zeros((2, 1, 2), np.float32)
    weights[0, 0, 0] = weights[1, 0, 1] = 1.0
    white = np.full((50, 100), 255, np.uint8)
    sheet = weights_map.draw(white, weights, ("left", "right")).astype(int)
    ideal = [0.45 * 255 + 0.55 * np.array(color) for color in ((230, 159, 0), (86, 180, 233))]
    for color in ideal:
        near = (np.abs(sheet - color).max(axis=2) <= 1).sum()
        assert 0.9 * 200 * 200 <= near <= 1.1 * 200 * 200


def test_cells_that_reach_beyond_the_edge_are_cut_off():
    """Three cells are twice as wide as the image: it shows the first, and half of the second."""
    weights = np.stack([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]]]).astype(np.float32)
    sheet = weights_map.draw(np.full((100, 100), 255, np.uint8), weights, ("left", "right"), (2.0, 2.0))
    bright = (sheet == np.array((253, 231, 37), np.uint8)).all(axis=2)[400:-70]
    left, right = (half.sum() for half in np.hsplit(bright, 2))
    assert (left, right) == (400 * 267, 400 * 133)


def test_names_are_written():
    """Different names give different sheets; the same ones the same."""
    weights = np.zeros((2, 2, 2), np.float32)
    image = np.zeros((64, 64, 3), np.uint8)
    one = weights_map.draw(image, weights, ("nature", "faces"))
    np.testing.assert_array_equal(one, weights_map.draw(image, weights, ("nature", "faces")))
    assert (one != weights_map.draw(image, weights, ("nature", "streets"))).any()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    count=st.integers(1, 9),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    spread=st.sampled_from([0.0, 1e-6, 1.0, 30.0]),
    offset=st.sampled_from([-5.0, 0.0, 2.0]),
)
def test_any_image_and_any_weights_can_be_drawn(height, width, count, dtype, spread, offset):
    weights = np.random.default_rng(0).normal(offset, spread, (count, 3, 4)).astype(np.float32)
    names = tuple(f"a rather long category name {index}" * 3 for index in range(count))
    sheet = weights_map.draw(np.zeros((height, width), dtype), weights, names)
    assert sheet.ndim == 3
    assert max(sheet.shape) < 6000


def test_maps_mirror_the_output_tree(image, tmp_path):
    image("p/sub/a.png")
    image("p/sub/a.jpg")
    plan = make_plan([tmp_path / "p"], Naming("sr-x2"), Selection(), OnExisting.REFUSE)
    stages = Stages(Restoring(NearestRestorer(), "sr", 2.0), maps_dir=tmp_path / "maps")
    assert run(plan, LocalExecutor(stages), on_event=lambda event: None).exit_code == 0
    made = sorted(path.relative_to(tmp_path / "maps").as_posix() for path in (tmp_path / "maps").rglob("*.png"))
    assert made == ["sub/a.jpg.weights.png", "sub/a.png.weights.png"]
    with Image.open(tmp_path / "maps" / made[0]) as sheet:
        assert sheet.mode == "RGB"


@pytest.mark.parametrize("count", [1, 5])
def test_number_of_names_must_fit(count):
    with pytest.raises(AssertionError):
        weights_map.draw(np.zeros((4, 4), np.uint8), np.zeros((3, 2, 2), np.float32), ("x",) * count)
