"""Ranges are measured so that images in 8 bits stay near to those in float32, and the network stays as it was."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "engine"))
from tiny_networks import LAYOUTS, lively, photograph, psnr, tensor

from adacode_cli.checkpoints.format import Provenance, Weights
from adacode_cli.engine.device import has_openvino
from adacode_cli.engine.restorer import network_digest
from adacode_cli.errors import DeviceError, InputError
from adacode_cli.evaluation import calibration
from adacode_cli.evaluation.calibration import calibrate, convolutions_for, in_eight_bits, measured, through
from adacode_cli.model.ranges import Filters, InputRange, rounded_weight


@pytest.fixture(scope="module")
def net():
    return lively(LAYOUTS["trunk sr ×4"])


def images(net, *seeds):
    return [tensor(net.config, 64, 64, seed=seed) for seed in seeds]


def test_every_chosen_convolution_has_a_range_that_fits_it(net):
    told = []
    ranges = measured(net, images(net, 1, 2), told.append)
    assert list(ranges) == told == list(convolutions_for(net))
    for name, conv in convolutions_for(net).items():
        assert ranges[name].steps_C.shape == (conv.in_channels,)


def test_measuring_twice_gives_the_same_and_leaves_the_network_as_it_was(net):
    before = network_digest(net)
    one, other = (measured(net, images(net, 1)) for _ in range(2))
    assert network_digest(net) == before
    assert all(torch.equal(one[k].steps_C, other[k].steps_C) and one[k].zero == other[k].zero for k in one)
    x = images(net, 3)[0]
    plain = through(net, x)
    with in_eight_bits(net, one):
        assert not torch.equal(through(net, x), plain)
    assert torch.equal(through(net, x), plain)
    assert network_digest(net) == before


def test_the_measured_range_is_better_than_the_plain_one_of_all_values(net):
    """Per channel and clipped where that helps: the plain range is that of the lowest and the highest value."""
    x = images(net, 4)[0]
    plain = through(net, x)
    found = measured(net, images(net, 1, 2))

    def of_all_values(name, conv):
        seen = []
        handle = conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        for image in images(net, 1, 2):
            through(net, image)
        handle.remove()
        low, high = min(0, *(float(v.amin()) for v in seen)), max(0, *(float(v.amax()) for v in seen))
        step = (high - low) / 255
        return InputRange(torch.full((conv.in_channels,), step), round(-low / step))

    usual = {name: of_all_values(name, conv) for name, conv in convolutions_for(net).items()}
    levels = []
    for ranges in (found, usual):
        with in_eight_bits(net, ranges):
            levels.append(psnr(through(net, x), plain))
    assert levels[0] > levels[1]


def test_equalisation_helps_where_channels_differ_much():
    """One channel has large values and small weights: with one step for all, the other channels would be lost."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 4, 3, padding=1)
    with torch.no_grad():
        conv.weight[:, 0] *= 1e-3
    x = torch.randn(1, 4, 24, 24) * torch.tensor([1000.0, 1, 1, 1])[:, None, None]
    given = calibration._nearest(conv, [x])
    assert float(given.steps_C[0] / given.steps_C[1]) > 30
    conv.requires_grad_(requires_grad=False)
    exact = F.conv2d(x, conv.weight, padding=1)
    error = F.conv2d(given.rounded(x), rounded_weight(conv.weight, given), padding=1) - exact
    assert float(error.std() / exact.std()) < 0.03


def test_photographs_become_inputs_and_small_ones_are_left_out(net, tmp_path):
    for seed, (height, width) in enumerate([(70, 90), (3, 200), (40, 40)]):
        Image.fromarray(photograph(max(height, 3), width, seed=seed)).save(tmp_path / f"{seed}.png")
    weights = Weights("whole", net.config, Provenance(), net.state_dict())
    steps = []
    found = calibrate(weights, net, sorted(tmp_path.glob("*.png")), steps.append)
    assert steps[:3] == ["reading 0.png", "reading 1.png", "reading 2.png"]
    ranges = [f"range of {name}" for name in convolutions_for(net)]
    assert steps[3 : 3 + len(ranges)] == ranges
    filters = {f"filter of {name}" for name in convolutions_for(net) if name.startswith("trunk.")}
    assert {step for step in steps[3 + len(ranges) :] if " of " in step} == filters
    assert set(found.weights.ranges) == set(convolutions_for(net))
    assert found.least_db <= found.psnr_db
    assert found.least_db > 20
    assert all(torch.equal(found.weights.tensors[k], v) for k, v in net.state_dict().items())
    with pytest.raises(InputError, match="large enough"):
        calibrate(weights, net, [tmp_path / "1.png"])


@pytest.mark.parametrize(
    ("number", "fitted_on", "compared_with"), [(5, 5, 5), (8, 8, 8), (16, 16, 8), (17, 11, 6), (32, 24, 8)]
)
def test_filters_are_judged_by_photographs_that_they_were_not_fitted_on(
    net, tmp_path, monkeypatch, number, fitted_on, compared_with
):
    """If there are more than sixteen."""
    for seed in range(number):
        Image.fromarray(photograph(40, 40, seed=seed)).save(tmp_path / f"{seed:02}.png")
    seen = {"fitted": [], "compared": []}

    def fit(_network, images, ranges, _on_fit):
        seen["fitted"].append(images)
        return ranges

    def images_of(_network, images, _ranges):
        seen["compared"].append(images)
        return [torch.zeros(1, 3, 160, 160) for _ in images]

    monkeypatch.setattr(calibration, "fitted", fit)
    monkeypatch.setattr(calibration, "_images_in_eight_bits", images_of)
    weights = Weights("whole", net.config, Provenance(), net.state_dict())
    calibrate(weights, net, sorted(tmp_path.glob("*.png")))
    (fitted,), (compared, again) = seen["fitted"], seen["compared"]
    assert [len(fitted), len(compared), len(again)] == [fitted_on, compared_with, compared_with]
    assert all(one is other for one, other in zip(compared, again, strict=True))
    if number > 16:
        assert not {id(image) for image in fitted} & {id(image) for image in compared}


def test_filters_that_are_no_better_are_not_kept(net, tmp_path, monkeypatch):
    for seed in range(2):
        Image.fromarray(photograph(40, 40, seed=seed)).save(tmp_path / f"{seed}.png")
    weights = Weights("whole", net.config, Provenance(), net.state_dict())

    def worse(_network, _images, ranges, _on_fit):
        return {
            name: replace(one, filters=Filters(0.5 * conv.weight, conv.bias))
            for (name, one), conv in zip(ranges.items(), convolutions_for(net).values(), strict=True)
        }

    monkeypatch.setattr(calibration, "fitted", worse)
    found = calibrate(weights, net, sorted(tmp_path.glob("*.png")))
    assert found.psnr_db < 45
    assert all(one.filters is None for one in found.weights.ranges.values())


def test_ranges_that_are_kept_are_neither_measured_nor_fitted(net, tmp_path, monkeypatch):
    Image.fromarray(photograph(40, 40)).save(tmp_path / "0.png")
    coarse = {name: replace(one, steps_C=9 * one.steps_C) for name, one in measured(net, images(net, 1)).items()}
    weights = Weights("whole", net.config, Provenance(), net.state_dict(), ranges=coarse)
    for name in ("fitted", "measured"):
        monkeypatch.setattr(calibration, name, None)
    found = calibrate(weights, net, [tmp_path / "0.png"], keep_ranges=True)
    assert found.weights.ranges is coarse
    assert found.psnr_db < 45


@pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")
@pytest.mark.parametrize("ending", ["with a result", "with an error"])
def test_calibrating_leaves_ranges_and_statement_of_the_network_as_they_were(tmp_path, monkeypatch, ending):
    network = lively(LAYOUTS["trunk sr ×4"])
    network.ranges = {"trunk.join": InputRange(torch.ones(1), 3)}
    network.int8_psnr_db = 47.5
    weights = Weights("whole", network.config, Provenance(), network.state_dict())
    Image.fromarray(photograph(40, 48)).save(tmp_path / "0.png")
    digest = network_digest(network)
    if ending == "with a result":
        assert len(calibrate(weights, network, [tmp_path / "0.png"]).weights.ranges) > 1
    else:
        seen = []

        def fail(runner, *_, **__):
            seen.append((len(runner.network.ranges), runner.network.int8_psnr_db))
            raise DeviceError("out of memory", hint="")

        monkeypatch.setattr(calibration.Runner, "run", fail)
        with pytest.raises(DeviceError):
            calibrate(weights, network, [tmp_path / "0.png"])
        assert seen == [(len(convolutions_for(network)), None)]
    assert network_digest(network) == digest


def test_unreadable_photographs_are_left_out_and_named(net, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    Image.fromarray(photograph(70, 90)).save(tmp_path / "b.png")
    weights, named = Weights("whole", net.config, Provenance(), net.state_dict()), []
    calibrate(weights, net, sorted(tmp_path.glob("*.png")), on_left_out=named.append)
    assert [Path(error.path).name for error in named] == ["a.png"]


def test_what_is_enlarged_has_noise_in_every_second_photograph(net):
    flat = np.full((64, 64, 3), 128, np.uint8)
    levels = [float(calibration.parts_of(flat, net.config, n)[0].std()) for n in range(4)]
    assert levels[0] == levels[2] == 0
    assert 0.09 < levels[1] < 0.11
    assert 0.2 < levels[3] < 0.26


def test_a_network_that_fills_holes_sees_some():
    config = replace(LAYOUTS["compact inpaint"], codebooks=((8, 4),), categories=())
    holes = [calibration.parts_of(photograph(64, 80), config, n)[0][:, 3] for n in range(3)]
    assert all(0.01 < float(hole.mean()) < 0.6 for hole in holes)
    assert not torch.equal(holes[0], holes[1])
    (x,) = calibration.parts_of(photograph(64, 80, np.uint16), config, 0)
    assert float((x[:, :3] * x[:, 3:]).abs().max()) == 0
