"""A run is what the network makes; what overflows is computed again in float32; what was padded is cut off."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_networks import ATTENTIVE, CPU, LOCAL, PUBLISHED, for_task, network, photograph, psnr, tensor

from adacode_cli.engine import passage as passage_module
from adacode_cli.engine import runner as runner_module
from adacode_cli.engine.halves import run_encoder
from adacode_cli.engine.plan import RunOptions, plan_tiles
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.tiled import Finiteness
from adacode_cli.errors import DeviceError, InputError

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


@torch.inference_mode()
@pytest.mark.parametrize("tile", ["none", 64])
def test_holes_are_filled_in_the_networks_coarse_passes(tile):
    config = replace(for_task(LOCAL, "inpaint"), coarse_passes=2)
    net, x = network(config), tensor(config, 150, 201)
    result = Runner(net, CPU, RunOptions("fp32", tile)).run(x, deep=False)
    torch.testing.assert_close(result.image_CHW, net(x).image_BCHW[0], rtol=0, atol=1e-5)
    assert not torch.allclose(result.image_CHW, net(x, 0).image_BCHW[0], atol=1e-3)


@pytest.mark.parametrize("tile", ["none", 64])
def test_a_device_that_is_asked_once_an_image_has_it_computed_again_too(monkeypatch, tile):
    """As on a GPU, where each question would wait for all that is queued."""
    image = photograph(50, 70)
    wanted = Runner(overflowing("bf16"), CPU, RunOptions("bf16", tile)).restore(image)
    monkeypatch.setattr(runner_module, "Finiteness", lambda _: Finiteness(torch.device("cuda")))
    found = Runner(overflowing("bf16"), CPU, RunOptions("bf16", tile)).restore(image)
    np.testing.assert_array_equal(found.pixels, wanted.pixels)
    assert found.notes == wanted.notes
    assert len(found.notes) == 1
    net = network(LOCAL)
    with torch.no_grad():
        net.decoder.head.conv.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        Runner(net, CPU, RunOptions("fp32", tile)).restore(image)


@pytest.mark.parametrize("half", ["run_encoder", "run_decoder"])
def test_codes_too_have_a_second_try_in_host_memory(monkeypatch, half):
    image, asked, plan = photograph(90, 70), [], plan_tiles
    plain = Runner(network(LOCAL), CPU, RunOptions("fp32"))
    code, _ = plain.encode(image)
    wanted = plain.decode(code, dtype=np.uint8, grey=False).pixels
    whole = getattr(passage_module, half)

    def planned(*args, resident=True):
        asked.append(resident)
        return replace(plan(*args, resident=resident), resident=resident)

    def scarce(*args):
        if asked[-1]:
            raise torch.OutOfMemoryError("no room")
        return whole(*args)

    monkeypatch.setattr(passage_module, "plan_tiles", planned)
    monkeypatch.setattr(passage_module, half, scarce)
    again, _ = plain.encode(image)
    assert all(torch.equal(a, b) for a, b in zip(code.codes, again.codes, strict=True))
    np.testing.assert_array_equal(plain.decode(code, dtype=np.uint8, grey=False).pixels, wanted)
    assert asked == ([True, False, True] if half == "run_encoder" else [True, True, False])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), DeviceError("the smallest tile")])
@pytest.mark.parametrize("passes", [0, 1])
def test_maps_that_do_not_fit_the_device_after_all_lie_in_host_memory(monkeypatch, error, passes):
    config = replace(for_task(LOCAL, "inpaint"), coarse_passes=passes)
    image, hole = photograph(90, 70), np.zeros((90, 70), bool)
    hole[20:40, 30:50] = True
    wanted, asked, plan = Runner(network(config), CPU, RunOptions("fp32")).restore(image, hole), [], plan_tiles

    def planned(*args, resident=True):
        asked.append(resident)
        return replace(plan(*args, resident=resident), resident=resident)

    def encoded(*args):
        if asked[-1]:
            raise type(error)(*error.args)
        return run_encoder(*args)

    monkeypatch.setattr(passage_module, "plan_tiles", planned)
    monkeypatch.setattr(passage_module, "run_encoder", encoded)
    found = Runner(network(config), CPU, RunOptions("fp32")).restore(image, hole)
    np.testing.assert_array_equal(found.pixels, wanted.pixels)
    assert asked == ([True, False] if passes == 0 else [True, True, False, True, False][: len(asked)])
    monkeypatch.setattr(passage_module, "run_encoder", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        Runner(network(config), CPU, RunOptions("fp32")).restore(image, hole)


def test_threads_take_turns():
    runner = Runner(network(for_task(ATTENTIVE, "sr", 2)), CPU, RunOptions("fp32", 64))
    images = [photograph(40 + 5 * i, 60, seed=i) for i in range(6)]
    wanted = [runner.restore(image).pixels for image in images]
    with ThreadPoolExecutor(3) as threads:
        for found, expected in zip(threads.map(runner.restore, images), wanted, strict=True):
            np.testing.assert_array_equal(found.pixels, expected)
