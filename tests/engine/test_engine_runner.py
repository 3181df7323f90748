"""A run is what the network makes; what overflows is computed again in float32; what was padded is cut off."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_networks import ATTENTIVE, CPU, LOCAL, PUBLISHED, for_task, network, psnr, tensor

from adacode_cli.engine.options import RunOptions
from adacode_cli.engine.runner import Runner, add_base
from adacode_cli.errors import InputError
from adacode_cli.model.base import base_picture

TASKS = [("reconstruct", 1), ("sr", 2), ("sr", 4), ("inpaint", 1)]


def runner(config, seed=0, **options):
    return Runner(network(config, seed), CPU, RunOptions(**{"precision": "fp32", **options}))


def run(config, x, **options):
    return runner(config, **options).run(x, deep=False)


@pytest.mark.parametrize(("task", "scale"), TASKS)
@pytest.mark.parametrize("family", [LOCAL, ATTENTIVE, PUBLISHED])
@pytest.mark.parametrize("size", [(37, 50), (1, 1), (5, 90)])
def test_a_whole_image_is_what_the_network_makes_of_it(family, task, scale, size):
    config = for_task(family, task, scale)
    height, width = size
    x = tensor(config, height, width)
    result = run(config, x, tile="none")
    with torch.inference_mode():
        wanted = network(config)(x)
    assert result.image_CHW.shape == (3, height * scale, width * scale)
    assert result.image_CHW.dtype == torch.float32
    # GroupNorm sums in another order where channels lie last.
    atol = 1e-4 if family is PUBLISHED else 1e-5
    np.testing.assert_allclose(result.image_CHW, wanted.image_BCHW[0], atol=atol)
    rows, columns = (math.ceil(side * scale / config.latent_stride) for side in size)
    assert result.mixing_KHW.shape == (2, rows, columns)
    np.testing.assert_allclose(result.mixing_KHW, wanted.weights_BKHW[0, :, :rows, :columns], atol=atol)
    assert result.notes == ()


@pytest.mark.parametrize("size", [(2, 900), (900, 2), (1, 700)])
def test_long_thin_images(size):
    config = for_task(LOCAL, "sr", 2)
    x = tensor(config, 8, 8).expand(1, 3, 8, 8).repeat(1, 1, size[0] // 8 + 1, size[1] // 8 + 1)
    x = x[..., : size[0], : size[1]]
    tiled, whole = run(config, x, tile=64), run(config, x, tile="none")
    assert tiled.image_CHW.shape == (3, size[0] * 2, size[1] * 2)
    np.testing.assert_allclose(tiled.image_CHW, whole.image_CHW, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_close_and_in_float32_afterwards(precision):
    config = for_task(ATTENTIVE, "sr", 2)
    x = tensor(config, 60, 60)
    half, full = run(config, x, precision=precision), run(config, x)
    assert half.notes == ()
    assert half.image_CHW.dtype == half.mixing_KHW.dtype == torch.float32
    assert not torch.equal(half.image_CHW, full.image_CHW)
    assert psnr(half.image_CHW, full.image_CHW) > 40


def overflowing(precision):
    """A network that is finite in float32 and not in `precision`."""
    net = network(for_task(LOCAL, "sr", 2))
    with torch.no_grad():
        if precision == "fp16":
            net.decoder.head.conv.weight *= 1e8
        else:
            net.decoder.head.conv.bias.fill_(3.4e38)  # rounds to infinity in bf16
    return net


@pytest.mark.parametrize(("precision", "name"), [("bf16", "bfloat16"), ("fp16", "float16")])
@pytest.mark.parametrize("tile", ["none", 64])
def test_what_overflows_is_computed_again_in_float32(precision, name, tile):
    x = tensor(LOCAL, 50, 70)
    result = Runner(overflowing(precision), CPU, RunOptions(precision, tile)).run(x, deep=False)
    wanted = Runner(overflowing(precision), CPU, RunOptions("fp32", tile)).run(x, deep=False)
    assert bool(torch.isfinite(result.image_CHW).all())
    assert torch.equal(result.image_CHW, wanted.image_CHW)
    assert torch.equal(result.mixing_KHW, wanted.mixing_KHW)
    assert len(result.notes) == 1
    assert name in result.notes[0]
    assert "float32" in result.notes[0]
    assert wanted.notes == ()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_not_finite_in_float32_either_is_refused(precision):
    net = network(LOCAL)
    with torch.no_grad():
        net.decoder.head.conv.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="not finite") as caught:
        Runner(net, CPU, RunOptions(precision)).run(tensor(LOCAL, 20, 20), deep=False)
    assert caught.value.hint


def test_mixing_weights_that_are_not_finite_count_too():
    net = network(LOCAL)
    with torch.no_grad():
        net.codebook.predictor.out.bias[0] = torch.inf
    with pytest.raises(InputError, match="not finite"):
        Runner(net, CPU, RunOptions("fp32")).run(tensor(LOCAL, 20, 20), deep=False)


def test_a_run_leaves_nothing_behind():
    """Neither in its input, nor in the network, nor in the next run."""
    config = for_task(ATTENTIVE, "sr", 2)
    net, x = network(config), tensor(config, 30, 40)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    r = Runner(net, CPU, RunOptions("bf16", 64))
    kept = x.clone()
    first, other, second = (r.run(v, deep=False).image_CHW for v in (x, x.flip(2), x))
    assert torch.equal(x, kept)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net(x).image_BCHW.sum().backward()  # inference must not spoil what the network has cached for training


@pytest.mark.parametrize(("task", "scale"), [("sr", 2), ("sr", 4), ("inpaint", 1), ("reconstruct", 1)])
@pytest.mark.parametrize("strip_px", [1, 2000, 10**9])
def test_the_base_added_in_strips_is_the_base(task, scale, strip_px):
    config = for_task(LOCAL, task, scale)
    x = tensor(config, 33, 21)
    image = torch.zeros(3, 33 * scale, 21 * scale)
    add_base(image, x, config, strip_px)
    wanted = base_picture(x, config.base, scale)
    assert torch.equal(image, torch.zeros_like(image) if wanted is None else wanted[0])


@torch.inference_mode()
@pytest.mark.parametrize("tile", ["none", 64])
def test_holes_are_filled_in_the_networks_coarse_passes(tile):
    config = replace(for_task(LOCAL, "inpaint"), coarse_passes=2)
    net, x = network(config), tensor(config, 150, 201)
    result = Runner(net, CPU, RunOptions("fp32", tile)).run(x, deep=False)
    torch.testing.assert_close(result.image_CHW, net(x).image_BCHW[0], rtol=0, atol=1e-5)
    assert not torch.allclose(result.image_CHW, net(x, 0).image_BCHW[0], atol=1e-3)
