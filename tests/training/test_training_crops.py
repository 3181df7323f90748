"""Windows of crops: where they lie, and that both stores cut the same pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import packed
from tiny_shards import save_shards

from adacode_cli.errors import TrainingError
from adacode_cli.training.crops import (
    MIN_COARSE_SHRINK,
    MIN_SHRINK,
    Contents,
    DeviceCrops,
    HostCrops,
    Wanted,
    Window,
    shrink_for,
)
from adacode_cli.training.shards import Crop, Shards, read_crop

CPU = torch.device("cpu")
# OpenCV averages areas and torch a triangle of twice their width: both are sound. In levels of 255, over 1500 windows
# of these drawings: 0.16 apart on average and 0.81 at most, root mean square 2.5 at most; neighbouring pixels 3.2.
SHRUNK_MEAN, SHRUNK_RMS, SHRUNK_BIAS = 1.2, 3.5, 0.25


@pytest.fixture(scope="module")
def contents(shards) -> Contents:
    return Contents(Shards(shards), "train")


@pytest.fixture(scope="module")
def host(contents) -> HostCrops:
    return HostCrops(contents, keep=True, workers=2)


@pytest.fixture(scope="module")
def on_device(contents) -> DeviceCrops:
    return DeviceCrops(contents, CPU, 2)


def bytes_of(image_CHW: torch.Tensor) -> np.ndarray:
    """The levels k/255 as uint8 H×W×3, exactly."""
    levels = image_CHW * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    return levels.round().to(torch.uint8).permute(1, 2, 0).numpy()


@given(st.integers(0, 2**63), st.integers(1, 160), st.sampled_from(["ground", "sky", None]))
def test_windows_lie_inside_their_crop_and_are_never_enlarged(contents, seed, side, category):
    (window,) = contents.draw(np.random.default_rng(seed), Wanted(side, category))
    assert 0 <= window.y <= window.y + window.span <= 160
    assert 0 <= window.x <= window.x + window.span <= 160
    assert side <= window.span <= round(side / MIN_SHRINK)
    assert (window.turns in range(4), window.mirrored in (True, False)) == (True, True)
    assert category in (None, contents.crops[window.crop].category)
    assert [window] == contents.draw(np.random.default_rng(seed), Wanted(side, category))


def test_networks_that_look_at_halved_images_learn_from_smaller_windows(contents):
    rng, side = np.random.default_rng(0), 40
    plain, coarse = packed("inpaint"), replace(packed("inpaint"), coarse_passes=1)
    both = (Wanted(side, shrink=shrink_for(config)) for config in (plain, coarse))
    usual, spans = ([contents.draw(rng, wanted)[0].span for _ in range(400)] for wanted in both)
    assert max(usual) <= side / MIN_SHRINK < max(spans) <= side / MIN_COARSE_SHRINK
    assert min(spans) == side


class Uneven:
    """Shards of one crop of a and three of b."""

    crop_px, categories, folder = 64, ("a", "b"), Path("nowhere")

    def crops(self, split: str) -> list[Crop]:
        return [Crop(self.folder, 0, 0, category, "0") for category in "babb"]


def test_every_category_crop_turn_mirror_and_place_is_as_likely_as_the_others():
    both = Contents(Uneven(), "train")
    rng, count = np.random.default_rng(0), 6000
    windows = [both.draw(rng, Wanted(48))[0] for _ in range(count)]

    def shares(values) -> list[float]:
        return [n / count for n in Counter(values).values()]

    category = [both.crops[w.crop].category for w in windows]
    assert shares(category) == pytest.approx([1 / 2] * 2, abs=0.03)
    per_crop = Counter(w.crop for w in windows)
    assert sorted(n / count for n in per_crop.values()) == pytest.approx([1 / 6] * 3 + [1 / 2], abs=0.03)
    assert shares(w.turns for w in windows) == pytest.approx([1 / 4] * 4, abs=0.03)
    assert shares(w.mirrored for w in windows) == pytest.approx([1 / 2] * 2, abs=0.03)
    whole = [w for w in windows if w.span == 48]
    assert len(whole) / count == pytest.approx(1 / 2, abs=0.05)
    for places in ([w.y for w in whole], [w.x for w in whole]):
        assert (min(places), max(places)) == (0, 16)
        assert np.mean(places) == pytest.approx(8, abs=0.4)
        assert len(set(places)) == 17
    shrunk = [w.span for w in windows if w.span > 48]
    assert max(shrunk) == 64
    assert np.mean(shrunk) == pytest.approx(55.2, abs=0.5)  # 48 / shrink, shrink uniform from 48/64 to 1


def test_the_whole_crop_is_the_only_window_of_its_size(contents):
    for seed in range(20):
        window = contents.draw(np.random.default_rng(seed), Wanted(160))[0]
        assert (window.y, window.x, window.span) == (0, 0, 160)


def test_kept_crops_are_the_ones_on_disk(contents, host):
    read = HostCrops(contents, keep=False, workers=1)
    rng = np.random.default_rng(3)
    for number, crop in enumerate(contents.crops):
        assert np.array_equal(host.pixels(number), read_crop(crop))
        assert np.array_equal(read.pixels(number), host.pixels(number))
    for _ in range(10):
        window = contents.draw(rng, Wanted(72))[0]
        assert np.array_equal(host.cut(window, 72), read.cut(window, 72))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_both_stores_turn_left_and_then_mirror(contents, host, on_device, turns, mirrored):
    window = Window(crop=4, y=7, x=31, span=96, turns=turns, mirrored=mirrored)
    patch = read_crop(contents.crops[4])[7:103, 31:127]
    y, x = np.mgrid[:96, :96]
    for _ in range(turns):  # a quarter turn to the left: what was the right edge becomes the top
        patch = patch[x, 95 - y]
    expected = patch[:, ::-1] if mirrored else patch
    cut = host.cut(window, 96)
    assert np.array_equal(cut, expected)
    assert (cut.dtype, cut.flags.c_contiguous) == (np.uint8, True)
    assert np.array_equal(bytes_of(on_device.cut([window], 96)[0]), expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(32, 160))
def test_the_device_cuts_the_pixels_that_the_host_cuts(contents, host, on_device, seed, side):
    rng = np.random.default_rng(seed)
    windows = [contents.draw(rng, Wanted(side))[0] for _ in range(3)]
    images = on_device.cut(windows, side)
    assert (images.shape, images.dtype) == ((3, 3, side, side), torch.float32)
    for window, image in zip(windows, images, strict=True):
        here, there = host.cut(window, side), bytes_of(image)
        if window.span == side:
            assert np.array_equal(here, there)
            continue
        apart = here.astype(float) - there
        assert np.abs(apart).mean() < SHRUNK_MEAN
        assert (apart**2).mean() ** 0.5 < SHRUNK_RMS
        assert abs(apart.mean()) < SHRUNK_BIAS


def test_a_shrunk_window_shows_all_of_its_span_and_no_more(host, on_device):
    window = Window(crop=0, y=20, x=40, span=100, turns=0, mirrored=False)
    expected = cv2.resize(host.pixels(0)[20:120, 40:140], (50, 50), interpolation=cv2.INTER_AREA).astype(float)
    assert np.array_equal(host.cut(window, 50), expected)
    shrunk = bytes_of(on_device.cut([window], 50)[0]).astype(float)
    right = np.abs(shrunk - expected).mean()
    for dy, dx in ((1, 0), (0, 1), (-1, 0), (0, -1)):  # registered to less than half an output pixel
        assert right < 0.5 * np.abs(np.roll(shrunk, (dy, dx), (0, 1)) - expected).mean()


def test_fine_stripes_become_grey_rather_than_coarse_ones(contents, host):
    """What is finer than the new pixels must not come back as a pattern that was not there."""
    striped = DeviceCrops(contents, CPU, 1)
    striped._pixels[0] = torch.tensor([0, 255], dtype=torch.uint8).repeat(80)
    window = Window(crop=0, y=0, x=0, span=120, turns=0, mirrored=False)
    shrunk = striped.cut([window], 80)[0] * 255
    stripes = striped._pixels[0, :, :120, :120].permute(1, 2, 0).contiguous().numpy()
    areas = cv2.resize(stripes, (80, 80), interpolation=cv2.INTER_AREA)
    assert float(shrunk.std()) < 1.1 * areas.std()


def test_cutting_does_not_change_what_is_kept(contents, host):
    before = host.pixels(1).copy()
    rng = np.random.default_rng(0)
    for side in (40, 160):
        for _ in range(10):
            host.cut(contents.draw(rng, Wanted(side))[0], side)
    assert np.array_equal(host.pixels(1), before)


def test_windows_that_do_not_fit_are_refused_with_a_way_out(contents, shards):
    contents.require(160)
    with pytest.raises(TrainingError, match="windows of 161 px are wanted from crops of 160 px") as found:
        contents.require(161)
    assert found.value.path == shards
    assert "--patch" in found.value.hint


def test_a_split_without_crops_is_refused_and_has_no_numbers(tmp_path):
    folder = save_shards(tmp_path / "shards", 64, 1, 0)
    held_out = Contents(Shards(folder), "validation")
    assert [list(held_out.numbers(name)) for name in held_out.categories] == [[], []]
    assert held_out.decoded_bytes == 0
    with pytest.raises(TrainingError, match="the category ground has no crops"):
        held_out.require(64)


def test_crops_of_another_size_than_the_manifest_says_are_refused(tmp_path):
    folder = save_shards(tmp_path / "shards", 64, 1, 0)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"crop_px": 64', '"crop_px": 128'))
    contents = Contents(Shards(folder), "train")
    for read in (
        lambda: HostCrops(contents, keep=True, workers=1),
        lambda: HostCrops(contents, keep=False, workers=1).pixels(0),
        lambda: DeviceCrops(contents, CPU, 1),
    ):
        with pytest.raises(TrainingError, match=r"64×64 px .* where the manifest states 128"):
            read()


def test_a_damaged_crop_is_named(tmp_path):
    folder = save_shards(tmp_path / "shards", 64, 1, 0)
    contents = Contents(Shards(folder), "train")
    crop = contents.crops[1]
    with crop.shard.open("r+b") as file:
        file.seek(crop.offset)
        file.write(bytes(crop.size))
    with pytest.raises(TrainingError, match=f"{crop.shard.name}: is damaged"):
        HostCrops(contents, keep=True, workers=2)


def test_the_size_of_a_corpus_counts_its_decoded_bytes(contents, on_device):
    assert contents.decoded_bytes == 6 * 160 * 160 * 3 == on_device._pixels.numel()
