"""The result does not depend on how an image was cut: against one plain pass over all of it."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_networks import (
    ATTENTIVE,
    CPU,
    LAYOUTS,
    detail_canvas,
    for_task,
    lively,
    network_of,
    photograph,
    psnr,
    tensor,
    whole,
)

from adacode_cli.engine.halves import coded, halves_of, run_decoder, run_encoder
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.tiled import Map, Tiler
from adacode_cli.geometry import Box
from adacode_cli.model.blocks import Sums
from adacode_cli.model.input import pad_mirrored, padded_size, prepare_input

every_layout = pytest.mark.parametrize("layout", LAYOUTS)
SIZES = [(1, 1), (1, 150), (97, 3), (70, 133), (129, 65)]


def cut(rng, box, times):
    """The box cut at random places, at most `times` deep."""
    if times == 0 or (box.height < 2 and box.width < 2):
        return [box]
    if box.height >= 2 and (box.width < 2 or rng.random() < 0.5):
        at = rng.randrange(box.top + 1, box.bottom)
        halves = Box(box.top, box.left, at, box.right), Box(at, box.left, box.bottom, box.right)
    else:
        at = rng.randrange(box.left + 1, box.right)
        halves = Box(box.top, box.left, box.bottom, at), Box(box.top, at, box.bottom, box.right)
    return [tile for half in halves for tile in cut(rng, half, times - 1)]


@torch.inference_mode()
def by_tiles(net, x, encoder=None, decoder=None):
    """Detail, codes and weights of an image, cut into boxes; None for one tile."""
    config = net.config
    prepared = prepare_input(pad_mirrored(x, *padded_size(config, *x.shape[-2:])), config.base)
    grid, parts = Grid.of(config, *x.shape[-2:]), halves_of(net, torch.float32)
    boxes = [Box(0, 0, grid.height, grid.width)]
    canvas, take_detail = detail_canvas(grid)
    tiler = Tiler(grid, CPU, take_detail=take_detail)
    maps = run_encoder(net, parts.encoder, tiler, encoder or boxes, prepared)
    code = coded(maps, 0, 0)
    run_decoder(parts.decoder, tiler, decoder or boxes, maps)
    return canvas.image_CHW, code, prepared


@every_layout
@pytest.mark.parametrize("size", SIZES)
def test_tiles_of_64_pixels_give_what_the_whole_gives(layout, size):
    net = network_of(layout)
    scale, stride = net.config.scale, net.config.latent_stride
    x = tensor(net.config, *(-(-side // scale) for side in size))
    wanted, found = whole(net, x), Runner(net, CPU, RunOptions("fp32", 64)).run(x, deep=False)
    np.testing.assert_allclose(found.image_CHW, wanted.image_BCHW[0], rtol=0, atol=1e-4)
    assert found.image_CHW.dtype == found.mixing_KHW.dtype == torch.float32
    rows, columns = (math.ceil(side * scale / stride) for side in x.shape[-2:])
    assert found.mixing_KHW.shape == (net.config.num_bases, rows, columns)
    np.testing.assert_allclose(found.mixing_KHW, wanted.weights_BKHW[0, :, :rows, :columns], rtol=0, atol=1e-4)
    for codes, expected in zip(found.codes, wanted.codes, strict=True):
        assert codes.dtype == torch.int64
        assert torch.equal(codes, expected[0, :rows, :columns])
    assert found.notes == ()


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(LAYOUTS)), st.integers(1, 90), st.integers(1, 90), st.integers(0, 99))
def test_any_cut_of_either_half_in_any_order_gives_what_the_whole_gives(layout, height, width, seed):
    """Tiles down to a single latent cell, far below what a plan would make."""
    net, rng = network_of(layout), random.Random(seed)
    x = tensor(net.config, max(1, height // net.config.scale), max(1, width // net.config.scale), seed)
    grid = Grid.of(net.config, *x.shape[-2:])
    cuts = [cut(rng, Box(0, 0, grid.height, grid.width), 3) for _ in range(2)]
    for boxes in cuts:
        rng.shuffle(boxes)
    detail, code, prepared = by_tiles(net, x, *cuts)
    with torch.inference_mode():
        wanted = net.detail(prepared)
    np.testing.assert_allclose(detail, wanted.image_BCHW[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(code.weights_KHW, wanted.weights_BKHW[0], rtol=0, atol=1e-4)
    assert all(torch.equal(a, b[0]) for a, b in zip(code.codes, wanted.codes, strict=True))


@every_layout
@torch.inference_mode()
def test_no_halo_is_wider_than_it_must_be(layout):
    """With a cell less on each side, a tile in the middle lacks a part of what it should make."""
    net = network_of(layout)
    part = halves_of(net, torch.float32).decoder
    side = 4 * part.whole.halo + 9
    grid = Grid(side, side, net.config.latent_stride, 1, 1)
    middle = side // 2
    keep = Box(middle, middle, middle + 1, middle + 1)
    maps = {
        name: Map(torch.zeros(1, s.channels, side * s.per_cell, side * s.per_cell, dtype=s.dtype), s.per_cell)
        for name, s in part.shapes.items()
        if name in {read for step in part.whole.steps for read in step.reads}
    }
    known = {step.norm: Sums(1, *torch.ones(2, 1, step.norm.num_channels)) for step in part.whole.steps if step.norm}
    tiler = Tiler(grid, CPU, known_sums=known)
    tiler.sums_of("detail", part.whole, maps, [keep])
    with pytest.raises(AssertionError, match="is not in"):
        tiler.sums_of("detail", replace(part.whole, halo=part.whole.halo - 1), maps, [keep])


@every_layout
def test_short_precision_is_that_of_the_whole_pass(layout):
    net = network_of(layout)
    x = tensor(net.config, 150 // net.config.scale, 180 // net.config.scale)
    wanted = whole(net, x, "bf16").image_BCHW[0].float()
    for tile in (64, "none"):
        found = Runner(net, CPU, RunOptions("bf16", tile)).run(x, deep=False).image_CHW
        assert psnr(found, wanted) >= 50


@every_layout
def test_the_encoder_is_cut_the_same_way_whatever_tile_is_asked_for(layout):
    """Which makes the codes bit for bit the same, on devices too whose convolutions differ with the size."""
    net = network_of(layout)
    plans = [Runner(net, CPU, RunOptions("fp32", tile)).plan(700, 900, deep=False) for tile in (64, 200, "none")]
    assert len({plan.encoder for plan in plans}) == 1
    assert len({plan.decoder for plan in plans}) == 3


@pytest.mark.parametrize("task", ["reconstruct", "sr"])
def test_the_halves_make_the_whole(task):
    """Codes and weights alone carry a reconstruction; where the encoder hands maps on, they carry less."""
    net = lively(for_task(ATTENTIVE, task, 1))
    image = photograph(90, 70, np.float32)
    runner = Runner(net, CPU, RunOptions("fp32", 64))
    code, notes = runner.encode(image)
    assert not notes
    assert (code.height, code.width) == (90, 70)
    assert code.weights_KHW.shape[1:] == code.codes[0].shape == tuple(s // 8 for s in padded_size(net.config, 90, 70))
    decoded = runner.decode(code, dtype=np.float32, grey=False).pixels
    assert decoded.shape == (90, 70, 3)
    assert np.array_equal(decoded, runner.restore(image).pixels) == (task == "reconstruct")
    with torch.inference_mode():
        latent = net.codebook.mixed(tuple(c[None] for c in code.codes), code.weights_KHW[None])
        rendered = net.render(latent)[0, :, :90, :70].permute(1, 2, 0).clamp(0, 1)
        np.testing.assert_allclose(decoded, rendered, atol=1e-5)
