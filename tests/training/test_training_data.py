"""A folder of shards as the stages need it: where crops are kept, and which are for validation."""

from __future__ import annotations

import pytest
import torch
from tiny_families import packed, plain
from tiny_shards import save_shards

from adacode_cli.errors import TrainingError
from adacode_cli.training import crops as crops_module
from adacode_cli.training.batches import TRAINING, degraded_side
from adacode_cli.training.data import Data
from adacode_cli.training.presets import family_network, named_recipe
from adacode_cli.training.processes import OneProcess
from adacode_cli.training.recipe import StageRecipe
from adacode_cli.training.shards import Shards, read_crop

RECIPE = named_recipe("compact")
STAGE = StageRecipe(batch=2, patch=64)
CORPUS_BYTES = 6 * 160 * 160 * 3
MUCH = 2**40
CONFIGS = [
    packed("basis"),
    packed("reconstruct"),
    packed("sr", 2),
    packed("sr", 4),
    packed("inpaint"),
    plain("inpaint"),
]


class Rank(OneProcess):
    """One process of several, as far as batches are concerned."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__(torch.device("cpu"))
        self.rank, self.world = rank, world


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the shards from which crops were decoded, one for each crop."""
    names = []
    monkeypatch.setattr(crops_module, "read_crop", lambda crop: names.append(crop.shard.name) or read_crop(crop))
    return names


def data(shards, cache="none", *, free: int = MUCH, rank: int = 0, world: int = 1) -> Data:
    return Data(Shards(shards), Rank(rank, world), cache, 2, host_bytes=free)


@pytest.mark.parametrize(
    ("free", "world", "expected"),
    [
        (2 * CORPUS_BYTES + 1, 1, "memory"),
        (2 * CORPUS_BYTES, 1, "none"),
        (0, 1, "none"),
        (2 * CORPUS_BYTES + 1, 2, "none"),  # each process would keep a copy
        (4 * CORPUS_BYTES + 1, 2, "memory"),
    ],
)
def test_auto_keeps_crops_in_memory_where_they_fit_in_half_of_it(shards, free, world, expected):
    assert data(shards, "auto", free=free, world=world).cache == expected


@pytest.mark.parametrize(("cache", "at_first", "later"), [("none", 0, 2), ("memory", 6, 0), ("device", 6, 0)])
def test_each_cache_reads_when_it_says(shards, read, cache, at_first, later):
    opened = data(shards, cache, free=0)  # what was chosen is not questioned
    assert (opened.cache, len(read)) == (cache, at_first)
    make = opened.batches(CONFIGS[1], RECIPE, STAGE, 7)
    assert len(read) == at_first
    make(0, TRAINING)
    make(1, TRAINING)
    assert len(read) == at_first + 2 * later
    assert set(read) <= {"train-000000.tar"}


def learnt(config) -> str | None:
    """The category of which stage I learns, as it does of each in turn."""
    return "sky" if config.task == "basis" else None


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.task}-{c.scale}-{c.norm}")
def test_batches_fit_the_task_and_are_shared_by_processes(shards, config):
    def made(opened: Data, seed: int = 7):
        return opened.batches(config, RECIPE, STAGE, seed, learnt(config))(4, TRAINING)

    whole = made(data(shards))
    low = 64 // config.scale
    assert whole.input_BCHW.shape == (2, config.in_channels, low, low)
    assert whole.target_BCHW.shape == (2, 3, 64, 64)
    assert (whole.hole_B1HW is not None) == (config.task == "inpaint")
    assert learnt(config) is None or whole.category_B.tolist() == [1, 1]
    kept = made(data(shards, "memory"))
    halves = [made(data(shards, rank=r, world=2)) for r in range(2)]
    for other in (kept.input_BCHW, torch.cat([h.input_BCHW for h in halves])):
        assert torch.equal(whole.input_BCHW, other)
    there = made(data(shards, "device"))
    assert there.input_BCHW.shape == whole.input_BCHW.shape
    assert torch.equal(there.category_B, whole.category_B)
    assert not torch.equal(whole.target_BCHW, made(data(shards), 8).target_BCHW)


@pytest.mark.parametrize("cache", ["none", "memory", "device"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.task}-{c.scale}-{c.norm}")
def test_validation_is_the_same_wherever_crops_are_kept(shards, config, cache, read):
    here = data(shards, cache)
    read.clear()
    batches = here.validation(config, RECIPE, learnt(config))
    assert set(read) == {"validation-000000.tar"}
    assert len(batches) == (1 if learnt(config) else 2)
    expected = data(shards).validation(config, RECIPE, learnt(config))
    for a, b in zip(batches, expected, strict=True):
        assert torch.equal(a.input_BCHW, b.input_BCHW)
        assert torch.equal(a.target_BCHW, b.target_BCHW)


@pytest.mark.parametrize("crop_px", [64, 96, 128, 160, 288, 512])
@pytest.mark.parametrize("family", ["compact", "published"])
@pytest.mark.parametrize(("task", "scale"), [("basis", 1), ("reconstruct", 1), ("sr", 2), ("sr", 4), ("inpaint", 1)])
def test_validation_crops_are_as_large_as_whole_windows_fit(tmp_path, family, task, scale, crop_px):
    config = family_network(family, task, scale)
    opened = data(save_shards(tmp_path / "shards", crop_px, 1, 1, ("sky",)))
    margin = 0 if scale == 1 else degraded_side(0, scale)
    side = min(256, (crop_px - margin) // 64 * 64)
    batches = opened.validation(config, RECIPE)
    assert [tuple(b.target_BCHW.shape) for b in batches] == [(1, 3, side, side)][: side > 0]
    assert all(b.input_BCHW.shape[-1] * scale == side for b in batches)
    assert all(b.input_BCHW.shape[-1] % config.pad_multiple == 0 for b in batches)


@pytest.mark.parametrize("config", CONFIGS[:5], ids=lambda c: f"{c.task}-{c.scale}")
def test_there_is_no_validation_where_nothing_was_held_back(tmp_path, config):
    assert data(save_shards(tmp_path / "shards", 160, 1, 0)).validation(config, RECIPE, learnt(config)) == []


@pytest.mark.parametrize("cache", ["none", "device"])
def test_crops_too_small_for_a_stage_are_refused(shards, cache):
    opened = data(shards, cache)
    large = StageRecipe(batch=2, patch=192)
    for config, side in zip(CONFIGS[1:4], (192, 208, 224), strict=True):
        with pytest.raises(TrainingError, match=f"windows of {side} px"):
            opened.batches(config, RECIPE, large, 0)


def test_a_category_without_crops_is_refused(tmp_path):
    folder = save_shards(tmp_path / "shards", 160, 1, 1, ("sky",))
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('["sky"]', '["ground", "sky"]'))
    with pytest.raises(TrainingError, match="the category ground has no crops"):
        data(folder).batches(CONFIGS[1], RECIPE, STAGE, 0)


def test_seeds_of_whole_recipes_give_batches(shards):
    """The largest seed that a recipe may have, with a stage's own part added."""
    make = data(shards).batches(CONFIGS[3], RECIPE, STAGE, (2**32 - 1) * 2**32 + 2**32 - 1)
    assert not torch.equal(make(0, TRAINING).input_BCHW, make(1, TRAINING).input_BCHW)
