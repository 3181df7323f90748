"""Sample sheets show the pixels that they were given: in place, enlarged without smoothing, apart by white lines."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adacode_cli.errors import OutputError
from adacode_cli.training.validation import LINE_PX, MAX_ROWS, sample_sheet, write_sample_sheet


def noise(rng, height: int, width: int):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@given(
    rows=st.integers(1, 9),
    side=st.integers(1, 12),
    factor=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_picture_is_where_it_belongs(rows, side, factor, seed):
    rng = np.random.default_rng(seed)
    full = side * factor
    inputs = [noise(rng, side, side) for _ in range(rows)]
    outputs, targets = ([noise(rng, full, full) for _ in range(rows)] for _ in range(2))
    sheet = sample_sheet(inputs, outputs, targets)
    shown = min(rows, MAX_ROWS)
    step = full + LINE_PX
    assert sheet.dtype == np.uint8
    assert sheet.shape == (shown * step - LINE_PX, 3 * step - LINE_PX, 3)
    covered = np.zeros(sheet.shape[:2], bool)
    for row in range(shown):
        enlarged = np.kron(inputs[row], np.ones((factor, factor, 1), np.uint8))
        for column, picture in enumerate((enlarged, outputs[row], targets[row])):
            place = np.s_[row * step : row * step + full, column * step : column * step + full]
            np.testing.assert_array_equal(sheet[place], picture)
            covered[place] = True
    assert (sheet[~covered] == 255).all()


def test_a_factor_that_is_no_whole_number_keeps_all_pixels_in_their_order():
    ramp = np.repeat(np.arange(3, dtype=np.uint8)[None, :, None], 2, axis=0).repeat(3, axis=2)
    target = np.zeros((5, 7, 3), np.uint8)
    shown = sample_sheet([ramp], [target], [target])[:, :7, 0]
    assert [sorted(set(row)) for row in shown.tolist()] == [[0, 1, 2]] * 5
    assert (np.diff(shown.astype(int), axis=1) >= 0).all()


def test_rows_of_different_widths_are_filled_with_white():
    black = [np.zeros((4, width, 3), np.uint8) for width in (4, 8)]
    sheet = sample_sheet(black, black, black)
    assert sheet.shape == (8 + LINE_PX, 24 + 2 * LINE_PX, 3)
    assert (sheet[:4, 12 + 2 * LINE_PX :] == 255).all()


@pytest.mark.parametrize("which", ["none", "fewer", "float", "grey", "larger", "empty"])
def test_what_makes_no_sheet_is_refused(which):
    good = np.zeros((8, 8, 3), np.uint8)
    inputs = {
        "none": [],
        "fewer": [good],
        "float": [good.astype(np.float32)],
        "grey": [good[..., 0]],
        "larger": [np.zeros((9, 8, 3), np.uint8)],
        "empty": [good[:0]],
    }[which]
    others = {"none": [], "fewer": [good, good]}.get(which, [good])
    with pytest.raises(ValueError, match=r"make no rows|not H×W×3|larger than"):
        sample_sheet(inputs, others, others)


def test_the_file_holds_the_sheet_and_nothing_is_left_beside_it(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [noise(rng, 16, 16)], [noise(rng, 32, 32)], [noise(rng, 32, 32)]
    path = tmp_path / "samples" / "sr-x2" / "000100.png"
    write_sample_sheet(path, *pictures)
    write_sample_sheet(path, *pictures)
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(stored, sample_sheet(*pictures))
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "samples").write_text("a file")
    picture = [np.zeros((4, 4, 3), np.uint8)]
    with pytest.raises(OutputError, match="cannot be made"):
        write_sample_sheet(tmp_path / "samples" / "fused" / "000001.png", picture, picture, picture)
