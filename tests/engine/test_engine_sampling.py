"""Normalisation by a sample: the codes of the exact run, nearly its image, and no whole maps in memory."""

from dataclasses import replace

import pytest
import torch
from tiny_networks import CPU, LAYOUTS, PUBLISHED, lively, network_of, psnr, tensor, varied

from adacode_cli.engine import passage as passage_module
from adacode_cli.engine.halves import sample
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner

LARGE = varied(PUBLISHED, task="sr", scale=4, skip="add", num_skips=2, up_depth=1, decoder_depth=2)


def run(net, x, tiling, tile="auto"):
    return Runner(net, CPU, RunOptions("fp32", tile, tiling)).run(x, deep=False)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_sampled_image_is_close_to_the_exact_one_and_its_codes_are_the_same(seed):
    net = lively(LARGE, seed)
    x = tensor(LARGE, 80, 96, seed)
    exact, sampled = run(net, x, "exact"), run(net, x, "sampled", 128)
    assert 40 <= psnr(sampled.image_CHW, exact.image_CHW) < 150
    assert all(torch.equal(a, b) for a, b in zip(sampled.codes, exact.codes, strict=True))
    assert sampled.notes == ()


@pytest.mark.parametrize("layout", [name for name, config in LAYOUTS.items() if config.norm == "none"])
def test_without_normalisation_there_is_nothing_to_sample(layout):
    net = network_of(layout)
    x = tensor(net.config, 60, 50)
    assert torch.equal(run(net, x, "sampled", 64).image_CHW, run(net, x, "exact", 64).image_CHW)


def test_a_sample_is_spread_over_all_of_the_image():
    grid = Grid(128, 200, 8, 8, 8)
    boxes = sample(grid)
    assert sum(box.area for box in boxes) == pytest.approx(grid.num_cells / 2, rel=0.1)
    for top in range(0, 128, 32):
        for left in range(0, 200, 40):
            assert any(abs(box.top - top) <= 32 and abs(box.left - left) <= 40 for box in boxes)


def test_it_is_chosen_by_itself_only_where_maps_do_not_fit_and_reported(monkeypatch):
    net = lively(LARGE)
    x = tensor(LARGE, 50, 60)
    plan = Runner(net, CPU, RunOptions("fp32", 128)).plan(50, 60, deep=False)
    assert not plan.sampled
    free = 0.9 * plan.memory.host_bytes / passage_module.SHARE
    monkeypatch.setattr(passage_module, "free_bytes", lambda _: free)
    result = run(net, x, "exact", 128)
    assert any("sample" in note and "--tiling sampled" in note for note in result.notes)
    assert torch.equal(result.image_CHW, run(net, x, "sampled", 128).image_CHW)
    unnormalised = replace(network_of("compact sr ×4").config)
    monkeypatch.setattr(passage_module, "free_bytes", lambda _: 1)
    assert run(network_of("compact sr ×4"), tensor(unnormalised, 20, 20), "exact").notes == ()
