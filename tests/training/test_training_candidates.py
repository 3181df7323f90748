"""Of several drawn crops the most detailed one is learnt from: how it is found, the same way in both stores."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from degradation_statistics import textured
from tiny_families import packed, picture

from adacode_cli.errors import UsageError
from adacode_cli.training.batches import TRAINING
from adacode_cli.training.crops import Contents, DeviceCrops, HostCrops, Wanted
from adacode_cli.training.data import Data
from adacode_cli.training.presets import named_recipe
from adacode_cli.training.processes import OneProcess
from adacode_cli.training.recipe import MAX_CANDIDATES, StageRecipe
from adacode_cli.training.shards import Crop, Shards

CPU = torch.device("cpu")
STORES = pytest.mark.parametrize("on", ["host", "device"])


class Drawn(Contents):
    """Crops that a test draws, each the only one of its file: the categories are those given."""

    def __init__(self, images: list[np.ndarray], categories: str) -> None:
        self.pictures = images
        super().__init__(Folder(images[0].shape[0], categories), "train")

    def read(self, crop: Crop) -> np.ndarray:
        return self.pictures[crop.offset]


class Folder:
    """Stands where `Shards` stands; a letter a category."""

    folder = Path("nowhere")

    def __init__(self, crop_px: int, categories: str) -> None:
        self.crop_px, self.categories, self._each = crop_px, tuple(sorted(set(categories))), categories

    def crops(self, split: str) -> list[Crop]:
        return [Crop(self.folder, i, 0, category, str(i)) for i, category in enumerate(self._each)]


def detail(pixels: np.ndarray) -> float:
    """Mean step of the luma between neighbours, H×W×3 uint8; steps of more than 40 levels count as 40."""
    luma = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    return sum(float(np.minimum(np.abs(np.diff(luma, axis=axis)), 40).mean()) for axis in (0, 1))


def drawn(on: str, contents: Contents, wanted: Wanted, seeds: range) -> list[np.ndarray]:
    """The pixels that each seed leads to."""
    rngs = [np.random.default_rng(seed) for seed in seeds]
    if on == "host":
        host = HostCrops(contents, keep=True, workers=1)
        return [host.draw(rng, wanted)[1] for rng in rngs]
    cuts = DeviceCrops(contents, CPU, 1).draw([contents.draw(rng, wanted) for rng in rngs], wanted.side)
    return list(pixels_of(cuts))


def pixels_of(images_BCHW: torch.Tensor) -> np.ndarray:
    return (images_BCHW * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


@pytest.fixture(scope="module")
def uneven() -> Drawn:
    """Three crops of each of two categories, with places of all degrees of detail in each."""
    return Drawn([textured(i, 160) for i in range(6)], "aaabbb")


@STORES
@pytest.mark.parametrize("max_shrink", [1.0, 0.5])
def test_more_candidates_have_more_detail(uneven, on, max_shrink):
    means = [
        np.mean([detail(x) for x in drawn(on, uneven, Wanted(32, None, max_shrink, count), range(120))])
        for count in (1, 2, 8)
    ]
    assert means[1] > 1.1 * means[0]
    assert means[2] > 1.35 * means[0]


@STORES
def test_it_is_the_most_detailed_of_the_candidates_that_is_used(uneven, on):
    wanted, host, device = (
        Wanted(24, candidates=5),
        HostCrops(uneven, keep=True, workers=1),
        DeviceCrops(uneven, CPU, 1),
    )
    for seed, found in enumerate(drawn(on, uneven, wanted, range(60))):
        windows = uneven.draw(np.random.default_rng(seed), wanted)
        cuts = [host.cut(w, 24) for w in windows] if on == "host" else list(pixels_of(device.cut(windows, 24)))
        # On a device, a value of a shrunk window may be rounded another way beside other windows.
        apart = [int(np.abs(found.astype(int) - cut).max()) for cut in cuts]
        assert min(apart) <= (1 if on == "device" else 0)
        assert detail(found) == pytest.approx(max(detail(cut) for cut in cuts), rel=1e-3)


def test_both_stores_choose_the_same_windows_where_nothing_is_resized(uneven):
    soft = Drawn([picture(i, 160, 160) for i in range(6)], "aaabbb")
    for contents in (uneven, soft):
        wanted = Wanted(40, None, 1.0, 6)
        both = (drawn(on, contents, wanted, range(150)) for on in ("host", "device"))
        assert [seed for seed, (a, b) in enumerate(zip(*both, strict=True)) if not np.array_equal(a, b)] == []


@STORES
def test_the_host_says_which_window_it_was(uneven, on):
    wanted, host = Wanted(40, None, 1.0, 4), HostCrops(uneven, keep=False, workers=1)
    there = drawn(on, uneven, wanted, range(20))
    for seed in range(20):
        window, pixels = host.draw(np.random.default_rng(seed), wanted)
        assert np.array_equal(host.cut(window, 40), pixels)
        assert np.array_equal(there[seed], pixels)


@STORES
def test_fine_texture_is_more_than_a_hard_contour(on):
    """A few steps of all levels weigh no more than as many of forty."""
    contour = np.zeros((64, 64, 3), np.uint8)
    contour[:, 32:] = 255
    texture = np.full((64, 64, 3), 120, np.uint8)
    texture[::2, ::2] += 6
    both = Drawn([contour, texture], "aa")
    found = drawn(on, both, Wanted(64, None, 1.0, MAX_CANDIDATES), range(20))
    assert all(int(pixels.max()) == 126 for pixels in found)
    assert np.abs(np.diff(cv2.cvtColor(contour, cv2.COLOR_RGB2GRAY).astype(float))).mean() > 3.0


def test_all_candidates_are_of_one_category_and_every_category_is_as_likely(uneven):
    firsts = []
    for seed in range(400):
        windows = uneven.draw(np.random.default_rng(seed), Wanted(20, candidates=6))
        assert len(windows) == 6
        categories = {uneven.crops[window.crop].category for window in windows}
        assert len(categories) == 1
        firsts.append(categories.pop())
        only = uneven.draw(np.random.default_rng(seed), Wanted(20, "b", candidates=3))
        assert {uneven.crops[window.crop].category for window in only} == {"b"}
    assert firsts.count("a") / 400 == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("side", "category", "max_shrink", "expected"),
    [
        (48, None, 0.5, "154522058c6fb784"),
        (20, "b", 0.5, "d37bc231db496d8c"),
        (20, None, 0.25, "226b8a52e2ec430a"),
    ],
)
def test_one_candidate_is_the_window_of_before(side, category, max_shrink, expected):
    """Digests recorded with the version that knew of no candidates."""
    both, rng = Drawn([picture(i, 64, 64) for i in range(4)], "babb"), np.random.default_rng(side)
    windows = [both.draw(rng, Wanted(side, category, max_shrink))[0] for _ in range(200)]
    values = [[w.crop, w.y, w.x, w.span, w.turns, w.mirrored] for w in windows]
    assert hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16] == expected


@pytest.mark.parametrize("cache", ["none", "memory", "device"])
@pytest.mark.parametrize("config", [packed("reconstruct"), packed("sr", 2), packed("inpaint")], ids=lambda c: c.task)
def test_a_recipe_asks_for_candidates(shards, cache, config):
    data, recipe = Data(Shards(shards), OneProcess(CPU), cache, 1), named_recipe("compact")

    def mean_detail(candidates: int) -> float:
        stage = StageRecipe(batch=12, patch=64, candidates=candidates)
        batch = data.batches(config, recipe, stage, 7)(0, TRAINING)
        assert batch.target_BCHW.shape == (12, 3, 64, 64)
        assert torch.equal(batch.target_BCHW, data.batches(config, recipe, stage, 7)(0, TRAINING).target_BCHW)
        return float(np.mean([detail(image) for image in pixels_of(batch.target_BCHW)]))

    assert mean_detail(8) > 1.1 * mean_detail(1)


@pytest.mark.parametrize("wrong", [0, -1, MAX_CANDIDATES + 1])
def test_impossible_numbers_of_candidates_are_reported(wrong):
    with pytest.raises(UsageError, match="candidates are from 1 to"):
        StageRecipe(candidates=wrong)
