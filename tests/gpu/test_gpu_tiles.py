"""On a GPU too, tiles leave no trace, short precisions are close, and the result is the CPU's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from gpu_networks import CPU, CUDA, NETWORKS, PRECISIONS, SHORT, TASKS, cells_apart, made, picture, run, same_codes
from tiny_networks import psnr

from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner

pytestmark = pytest.mark.cuda

# Against the whole image in float32, whose standard deviation counts as 1 for random networks: it is 0.3 to 4.5 there.
# Weights that were trained keep their codes when the latent is rounded; those of the small networks are random and lie
# near one another, so some cells take another code.
BUNDLED_DB = {"bf16": 40.0, "fp16": 50.0}
RANDOM_DB = {"bf16": 18.0, "fp16": 27.0}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("tile", [64, 128] if CUDA else [64])
def test_tiles_in_float32_give_what_the_whole_gives(name, tile, device):
    x = picture(name)
    whole, tiled = run(name, device, x), run(name, device, x, tile=tile)
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, tiled.codes, strict=True))
    np.testing.assert_allclose(tiled.image_CHW, whole.image_CHW, rtol=0, atol=1e-4)
    np.testing.assert_allclose(tiled.mixing_KHW, whole.mixing_KHW, rtol=0, atol=1e-4)


SMALL = [name for name in NETWORKS if name not in TASKS]


@pytest.mark.parametrize(
    ("name", "precision"),
    [*itertools.product(NETWORKS, ("bf16", "fp16"))] if CUDA else [*itertools.product(SMALL, ("bf16",))],
)
def test_short_precisions_are_close(name, precision, device):
    x = picture(name)
    full, short = run(name, device, x), run(name, device, x, precision=precision, tile=64)
    assert bool(torch.isfinite(short.image_CHW).all())
    assert short.notes == ()
    least, unit = (BUNDLED_DB, 1.0) if name in TASKS else (RANDOM_DB, float(full.image_CHW.std()))
    assert psnr(short.image_CHW / unit, full.image_CHW / unit) > least[precision]


@pytest.mark.parametrize("precision", SHORT)
@pytest.mark.parametrize("name", TASKS)
def test_tiles_in_short_precisions_leave_no_trace_either(name, precision, device):
    x = picture(name)
    whole, tiled = (run(name, device, x, precision=precision, tile=tile) for tile in ("none", 64))
    assert psnr(tiled.image_CHW, whole.image_CHW) > 50
    assert same_codes(tiled, whole) > 0.99


@pytest.mark.parametrize("name", NETWORKS)
def test_the_device_gives_what_the_cpu_gives(name, device):
    """Sums in another order differ in the last bits, and decide where two codes are equally near."""
    x, config = picture(name), made(name).config
    here, there = run(name, CPU, x), run(name, device, x)
    assert same_codes(here, there) > 0.99
    apart = cells_apart(here, there, config.latent_stride)
    assert float(apart.float().mean()) < 0.5, "too few pixels are left to compare"
    difference = (there.image_CHW - here.image_CHW).abs().amax(0)[~apart]
    assert float(difference.max()) < 1e-3
    np.testing.assert_allclose(there.mixing_KHW, here.mixing_KHW, rtol=0, atol=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TASKS)
def test_images_of_many_sizes_in_turn(name, precision, device):
    """One runner, so what is kept between runs must not depend on the size that came before."""
    runner = Runner(made(name), device, RunOptions(precision, 128))
    sizes = [(64, 130), (1, 1), (33, 47), (140, 40), (64, 130)]
    results = [runner.run(picture(name, *size), deep=False).image_CHW for size in sizes]
    for result, size in zip(results, sizes, strict=True):
        alone = run(name, device, picture(name, *size), precision=precision, tile=128).image_CHW
        assert result.shape == alone.shape
        assert psnr(result, alone) > (80 if precision == "fp32" else 50)
    assert psnr(results[0], results[-1]) > 80


def test_a_plain_pass_of_the_network_is_the_engines(device):
    """Against torch alone, without any of the engine: convolutions in full float32, as the engine is to have them."""
    name = "sr-x4"
    x, net = picture(name), made(name).to(device)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode():
            wanted = net(x.to(device))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    found = run(name, device, x, tile=64)
    height, width = found.codes[0].shape
    chosen = [codes[0, :height, :width].cpu() for codes in wanted.codes]
    assert np.mean([np.mean((a == b).numpy()) for a, b in zip(found.codes, chosen, strict=True)]) > 0.99
    assert psnr(found.image_CHW, wanted.image_BCHW[0].cpu()) > 70
