"""The detector's network: sizes, how far it looks, its files."""

from __future__ import annotations

import json

import pytest
import torch
from bright_detector import SMALL, bright_detector, save_bright_detector
from safetensors.torch import load_file, save_file

from adacode_cli.checkpoints.detectors import load_detector, read_detector, write_detector
from adacode_cli.checkpoints.format import DETECTOR_KEY, Provenance
from adacode_cli.errors import WeightsError
from adacode_cli.model.detector import MULTIPLE, Detector, DetectorConfig, initialise

UNEVEN = DetectorConfig((6, 5, 4, 3), (2, 1, 1), (5, 3))


def lively(config: DetectorConfig, seed: int = 0) -> Detector:
    """A detector in which every parameter counts."""
    torch.manual_seed(seed)
    network = Detector(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    return network


@pytest.mark.parametrize("config", [DetectorConfig(), SMALL, UNEVEN], ids=["own", "small", "uneven"])
@torch.inference_mode()
def test_a_result_has_a_value_for_each_pixel(config):
    network = lively(config)
    for height, width in ((16, 16), (48, 32)):
        assert network(torch.rand(2, 3, height, width)).shape == (2, 1, height, width)


@pytest.mark.parametrize("config", [SMALL, UNEVEN], ids=["small", "uneven"])
@torch.inference_mode()
def test_what_is_beyond_the_reach_does_not_matter_and_what_is_near_does(config):
    network, reach = lively(config), config.reach_px
    assert reach % MULTIPLE == 0
    side = 2 * reach + 2 * MULTIPLE
    image = torch.rand(1, 3, side, side)
    changed = image.clone()
    changed[..., :MULTIPLE, :] = 1 - changed[..., :MULTIPLE, :]
    difference = (network(image) - network(changed)).abs().amax((0, 1, 3))
    assert bool((difference[MULTIPLE + reach :] == 0).all())
    farthest = int(difference.nonzero().max())
    # The depthwise kernels on the coarsest grid are the last to see it.
    assert farthest >= MULTIPLE + (config.kernels[1] // 2) * config.depth[1] * MULTIPLE - MULTIPLE


def test_every_parameter_learns():
    network = lively(UNEVEN).train().requires_grad_(True)
    network(torch.rand(1, 3, 32, 32)).square().sum().backward()
    assert all(bool(parameter.grad.any()) for parameter in network.parameters())


def test_at_the_start_residual_branches_add_nothing():
    network = Detector(UNEVEN)
    initialise(network)
    x = torch.rand(1, 6, 8, 8)
    assert torch.equal(network.before[0](x), x)
    x = torch.rand(1, 4, 8, 8)
    assert torch.equal(network.after[2](x), x)


@pytest.mark.parametrize(
    "values",
    [
        {"channels": [4, 4, 4]},
        {"channels": [4, 4, 4, 1.5]},
        {"channels": [4, 4, 4, True]},
        {"channels": [4, 4, 4, 10**6]},
        {"depth": [0, 1, 1]},
        {"kernels": [3, 4]},
        {"kernels": [3, 101]},
        {"unknown": [1]},
        {"depth": 3},
    ],
    ids=str,
)
def test_impossible_shapes_are_refused_before_a_network_is_made(values):
    with pytest.raises(WeightsError, match="configuration"):
        DetectorConfig.from_dict(values)


def test_a_file_gives_back_the_detector(tmp_path):
    network, path = lively(UNEVEN), tmp_path / "own.safetensors"
    write_detector(path, network, 0.7, Provenance(licence="CC0-1.0"), torch.float32)
    again, threshold = read_detector(path)
    assert (again.config, threshold, again.training) == (UNEVEN, 0.7, False)
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items())
    write_detector(path, network, 0.7, Provenance())
    rounded, _ = load_detector(str(path))
    assert all(torch.equal(v, network.state_dict()[k].half().float()) for k, v in rounded.state_dict().items())


def header(**changes: object) -> dict[str, str]:
    whole = {"format": 1, "config": SMALL.to_dict(), "threshold": 0.5, "provenance": {}} | changes
    return {DETECTOR_KEY: json.dumps(whole)}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "does not hold a detector"),
        ({DETECTOR_KEY: "{"}, "damaged metadata"),
        (header(format=2), "has format 2"),
        (header(threshold=1.0), "threshold"),
        (header(threshold="often"), "damaged metadata"),
        (header(config={"kernels": [3, 4]}), "impossible"),
        (header(config=UNEVEN.to_dict()), "wrong shapes|missing keys"),
        (header(config=None), "damaged metadata"),
    ],
    ids=["other", "JSON", "format", "threshold", "text", "shape", "mismatch", "null"],
)
def test_other_and_damaged_files_are_named(tmp_path, metadata, message):
    path = tmp_path / "x.safetensors"
    save_file(bright_detector().state_dict(), path, metadata)
    with pytest.raises(WeightsError, match=message) as caught:
        read_detector(path)
    assert caught.value.path == path
    assert caught.value.hint


def test_values_that_are_not_finite_are_refused(tmp_path):
    path = save_bright_detector(tmp_path / "x.safetensors")
    tensors = load_file(path)
    tensors["stem.bias"][0] = torch.nan
    save_file(tensors, path, header())
    with pytest.raises(WeightsError, match=r"stem\.bias"):
        read_detector(path)


def test_unknown_names_are_reported():
    with pytest.raises(WeightsError, match="no detector is called 'wrinkles'"):
        load_detector("wrinkles")
    with pytest.raises(WeightsError, match="no such file"):
        load_detector("/nowhere/marks.safetensors")
