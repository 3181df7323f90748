"""Scores and samples of held-out crops: always the same crops, degraded the same way; sheets show their very pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_families import packed, plain
from tiny_shards import save_shards
from torch import nn

from adacode_cli.errors import OutputError
from adacode_cli.evaluation.metrics import perceptual_distance, psnr_in_hole, psnr_luma, ssim_luma
from adacode_cli.model.network import Restoration
from adacode_cli.training import crops as crops_module
from adacode_cli.training.batches import Batch, clean_samples, degraded_samples, degraded_side, holed_samples, painted
from adacode_cli.training.crops import Contents
from adacode_cli.training.data import NUM_VALIDATION_CROPS, validation_batches
from adacode_cli.training.degradation import MODERATE
from adacode_cli.training.holes import MIXED
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.shards import Shards, read_crop
from adacode_cli.training.validation import LINE_PX, MAX_ROWS, Validation, sample_sheet, write_sample_sheet

EQUAL_DB = 148.13  # PSNR of equal images
KINDS = ["clean", "sr", "mask", "white"]


def sample_maker(kind: str):
    if kind == "sr":
        return degraded_samples(2, MODERATE)
    return clean_samples() if kind == "clean" else holed_samples(MIXED)


def chosen(folder, kind: str = "clean", category: str | None = None, patch: int = 64) -> list[Batch]:
    side = degraded_side(patch, 2) if kind == "sr" else patch
    held_out = Contents(Shards(folder), "validation")
    return validation_batches(held_out, sample_maker(kind), side, category, mask_channel=kind == "mask")


class Answer(nn.Module):
    """Takes the place of the network: its output is the value that was set for that input, plus its only weight."""

    def __init__(self, batches: list[Batch]) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))
        self.known = [(b.input_BCHW, b.target_BCHW) for b in batches]

    def forward(self, image_BCHW: torch.Tensor) -> Restoration:
        for seen, target in self.known:
            if torch.equal(seen, image_BCHW):
                return Restoration(target + self.offset, (), torch.zeros(1))
        raise AssertionError("an image that is not one of the chosen ones")


class Difference:
    """A perceptual distance in place of a network's: the mean difference."""

    device = torch.device("cpu")

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x - y).abs().mean((1, 2, 3))


def measured(batches: list[Batch], offset: float = 0.0, perceptual=None):
    network = Answer(batches)
    weights = {"offset": torch.full((1,), offset)}
    return Validation(batches, perceptual, bf16=False).measure(network, weights)


def test_the_chosen_crops_are_the_middles_of_each_category_in_turn(tmp_path):
    folder = save_shards(tmp_path / "shards", 160, 1, 3)
    held_out = Shards(folder).crops("validation")
    middles = {i: read_crop(crop)[48:112, 48:112] for i, crop in enumerate(held_out)}
    pixels = [(b.target_BCHW[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy() for b in chosen(folder)]
    order = [next(i for i, middle in middles.items() if np.array_equal(p, middle)) for p in pixels]
    assert order == [0, 3, 1, 4, 2, 5]
    assert [held_out[i].category for i in order] == ["ground", "sky"] * 3
    for a, b in zip(chosen(folder, category="sky"), chosen(folder)[1::2], strict=True):
        assert torch.equal(a.target_BCHW, b.target_BCHW)


def test_there_is_a_most_of_crops_and_all_categories_are_among_them(tmp_path):
    folder = save_shards(tmp_path / "shards", 64, 1, NUM_VALIDATION_CROPS)
    assert len(chosen(folder)) == NUM_VALIDATION_CROPS
    assert len(chosen(folder, category="sky")) == NUM_VALIDATION_CROPS


@pytest.mark.parametrize("category", [None, "sky"])
def test_there_are_none_where_none_were_held_back(tmp_path, category):
    assert chosen(save_shards(tmp_path / "shards", 64, 1, 0), category=category) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_choice_and_its_wear_are_fixed_and_one_image_a_batch(shards, kind):
    batches, again = chosen(shards, kind), chosen(shards, kind)
    assert len(batches) == 2
    for a, b in zip(batches, again, strict=True):
        assert torch.equal(a.input_BCHW, b.input_BCHW)
        assert torch.equal(a.target_BCHW, b.target_BCHW)
        low = 32 if kind == "sr" else 64
        assert a.input_BCHW.shape == (1, 4 if kind == "mask" else 3, low, low)
        assert a.target_BCHW.shape == (1, 3, 64, 64)
        if kind in ("mask", "white"):
            assert torch.equal(a.hole_B1HW, b.hole_B1HW)
            expected = painted(a.target_BCHW, a.hole_B1HW, mask_channel=kind == "mask")
            assert torch.equal(a.input_BCHW, expected)
        else:
            assert a.hole_B1HW is None
            assert torch.equal(a.input_BCHW, a.target_BCHW) == (kind == "clean")


def test_crops_to_train_on_are_never_read(shards, monkeypatch):
    read = []
    monkeypatch.setattr(crops_module, "read_crop", lambda crop: read.append(crop) or read_crop(crop))
    for kind in KINDS:
        chosen(shards, kind)
    assert {crop.shard.name for crop in read} == {"validation-000000.tar"}
    assert len(read) == 2 * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_network_has_the_best_scores_and_a_worse_one_lower_ones(shards, kind):
    batches = chosen(shards, kind)
    best, rows = measured(batches, perceptual=Difference())
    assert best["validation/psnr"] == pytest.approx(EQUAL_DB, abs=0.01)
    assert best["validation/ssim"] == pytest.approx(1)
    assert best["validation/lpips"] == 0
    assert best["validation/crops"] == 2
    assert len(rows) == 2
    assert all(np.array_equal(output, target) for _, output, target in rows)
    worse, _ = measured(batches, 0.1, Difference())
    assert worse["validation/psnr"] < 30
    assert worse["validation/ssim"] < 1
    assert worse["validation/lpips"] > 0
    assert "validation/lpips" not in measured(batches)[0]


def test_scores_are_the_means_of_what_eval_measures(shards):
    batches = chosen(shards, "sr")
    scores, rows = measured(batches, 0.05, Difference())
    pairs = [(output, target) for _, output, target in rows]
    assert scores["validation/psnr"] == np.mean([psnr_luma(a, b) for a, b in pairs])
    assert scores["validation/ssim"] == np.mean([ssim_luma(a, b) for a, b in pairs])
    assert scores["validation/lpips"] == np.mean([perceptual_distance(Difference(), a, b) for a, b in pairs])
    assert all(image.dtype == np.uint8 for row in rows for image in row)


def test_outside_of_holes_the_image_is_the_photograph(shards):
    batches = chosen(shards, "mask")
    scores, rows = measured(batches, 0.2)
    holes = [b.hole_B1HW[0, 0].numpy() > 0 for b in batches]
    assert scores["validation/psnr"] == np.mean(
        [psnr_in_hole(output, target, hole) for (_, output, target), hole in zip(rows, holes, strict=True)]
    )
    for (seen, output, target), hole in zip(rows, holes, strict=True):
        assert np.array_equal(output[~hole], target[~hole])
        assert not np.array_equal(output[hole], target[hole])
        assert np.array_equal(seen[~hole], target[~hole])
        assert not seen[hole].any()


@pytest.mark.parametrize("config", [packed("sr", 2), plain("sr", 2), packed("reconstruct")], ids=["a", "b", "c"])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_network_is_scored_with_the_given_weights_and_left_as_it_is(shards, config, bf16):
    network, other = fresh_network(config, 0), fresh_network(config, 1)
    validation = Validation(chosen(shards, "sr" if config.task == "sr" else "clean"), None, bf16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    scores, _ = validation.measure(network, other.state_dict())
    assert scores == validation.measure(network, other.state_dict())[0]
    assert scores == validation.measure(other, other.state_dict())[0]
    assert scores != validation.measure(network, network.state_dict())[0]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training


def noise(rng, height: int, width: int):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@given(
    rows=st.integers(1, 9),
    side=st.integers(1, 12),
    factor=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_image_is_where_it_belongs(rows, side, factor, seed):
    rng = np.random.default_rng(seed)
    full = side * factor
    inputs = [noise(rng, side, side) for _ in range(rows)]
    outputs, targets = ([noise(rng, full, full) for _ in range(rows)] for _ in range(2))
    sheet = sample_sheet(list(zip(inputs, outputs, targets, strict=True)))
    shown = min(rows, MAX_ROWS)
    step = full + LINE_PX
    assert sheet.dtype == np.uint8
    assert sheet.shape == (shown * step - LINE_PX, 3 * step - LINE_PX, 3)
    covered = np.zeros(sheet.shape[:2], bool)
    for row in range(shown):
        enlarged = np.kron(inputs[row], np.ones((factor, factor, 1), np.uint8))
        for column, image in enumerate((enlarged, outputs[row], targets[row])):
            place = np.s_[row * step : row * step + full, column * step : column * step + full]
            np.testing.assert_array_equal(sheet[place], image)
            covered[place] = True
    assert (sheet[~covered] == 255).all()


def test_a_factor_that_is_no_whole_number_keeps_all_pixels_in_their_order():
    ramp = np.repeat(np.arange(3, dtype=np.uint8)[None, :, None], 2, axis=0).repeat(3, axis=2)
    target = np.zeros((5, 7, 3), np.uint8)
    shown = sample_sheet([(ramp, target, target)])[:, :7, 0]
    assert [sorted(set(row)) for row in shown.tolist()] == [[0, 1, 2]] * 5
    assert (np.diff(shown.astype(int), axis=1) >= 0).all()


def test_rows_of_different_widths_are_filled_with_white():
    black = [np.zeros((4, width, 3), np.uint8) for width in (4, 8)]
    sheet = sample_sheet([(image, image, image) for image in black])
    assert sheet.shape == (8 + LINE_PX, 24 + 2 * LINE_PX, 3)
    assert (sheet[:4, 12 + 2 * LINE_PX :] == 255).all()


@pytest.mark.parametrize("which", ["none", "float", "grey", "larger", "empty"])
def test_rows_that_do_not_fit_are_refused(which):
    good = np.zeros((8, 8, 3), np.uint8)
    inputs = {
        "none": [],
        "float": [good.astype(np.float32)],
        "grey": [good[..., 0]],
        "larger": [np.zeros((9, 8, 3), np.uint8)],
        "empty": [good[:0]],
    }[which]
    with pytest.raises(ValueError, match=r"at least one row|not H×W×3|larger than"):
        sample_sheet([(given, good, good) for given in inputs])


def test_the_file_holds_the_sheet_and_nothing_is_left_beside_it(tmp_path):
    rng = np.random.default_rng(0)
    sheet = sample_sheet([(noise(rng, 16, 16), noise(rng, 32, 32), noise(rng, 32, 32))])
    path = tmp_path / "samples" / "sr-x2" / "000100.png"
    write_sample_sheet(path, sheet)
    write_sample_sheet(path, sheet)
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(stored, sheet)
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to_is_reported(tmp_path):
    (tmp_path / "samples").write_text("a file")
    sheet = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(OutputError, match="cannot be made"):
        write_sample_sheet(tmp_path / "samples" / "fused" / "000001.png", sheet)
