"""Figures mean what their docstrings say: medians, operations, likeness, growth, and what a run is held against."""

from __future__ import annotations

import itertools
import tempfile
import threading

import numpy as np
import pytest
import torch

from adacode_cli.benchmark import files as files_module
from adacode_cli.benchmark import speed, timing
from adacode_cli.benchmark.files import files
from adacode_cli.benchmark.image import cut, synthetic_image
from adacode_cli.benchmark.speed import ceiling, growth, operations, passes, psnr, yardstick
from adacode_cli.benchmark.timing import in_lanes, seconds, steady_seconds
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.errors import QualityError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise

CPU = torch.device("cpu")
CONFIG = NetworkConfig(
    channels=(8, 16), grid=4, stem="shuffle", norm="none", base="upsampled", codebooks=((8, 4),), task="sr", scale=2
)


@pytest.fixture(scope="module")
def network() -> AdaCode:
    torch.manual_seed(0)
    made = AdaCode(CONFIG)
    initialise(made)
    return made.eval()


def test_the_first_call_does_not_count_and_the_median_of_the_others_does(monkeypatch):
    calls, clock = [], itertools.chain.from_iterable((0.0, took) for took in (5.0, 1.0, 3.0))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert seconds(lambda: calls.append(1), 3) == 3.0
    assert len(calls) == 4


@pytest.mark.parametrize("lanes", [1, 3])
def test_work_in_lanes_is_all_done_and_its_errors_are_seen(lanes):
    done = []
    in_lanes(done.append, range(10), lanes)
    assert sorted(done) == list(range(10))
    with pytest.raises(ZeroDivisionError):
        in_lanes(lambda task: 1 / task, [1, 0], lanes)


def test_steady_seconds_are_of_one_call_among_as_many_as_run_at_once(monkeypatch):
    """Of each lane's first call the last one waits for all others: only in threads can they meet."""
    clock, together = iter((0.0, 24.0)), threading.Barrier(3)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert steady_seconds(lambda: together.wait(30), 1, CPU, 3) == 2.0


def test_rates_follow_from_the_time_of_a_product(monkeypatch, small_ceilings):
    monkeypatch.setattr("adacode_cli.benchmark.speed.seconds", lambda run, *_: (run(), 0.5)[1])
    found = ceiling("bf16", torch.bfloat16, CPU, 1)
    side, rows = small_ceilings
    assert found.matrices == pytest.approx(2 * side**3 / 0.5 / 1e9)
    assert found.convolutions == pytest.approx(2 * 9 * 256 * 256 * rows * rows / 0.5 / 1e9)


def test_the_yardstick_is_the_network_that_it_says():
    network = yardstick()
    assert sum(p.numel() for p in network.parameters()) == 1_213_296
    assert network(torch.rand(1, 3, 5, 7)).shape == (1, 3, 20, 28)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network) == 34


def test_operations_are_those_of_the_definition(network):
    """They grow with the pixels, and are not those of the shorter way without gradients."""
    x = torch.rand(1, 3, 64, 64)
    assert operations(network, x.repeat(1, 1, 2, 2)) == pytest.approx(4 * operations(network, x))
    conv = torch.nn.Conv2d(3, 5, 3, padding=1)
    assert operations(conv, x) == pytest.approx(2 * 9 * 3 * 5 * 64 * 64 / 1e9)


def test_passes_are_compared_with_the_plain_one(network):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    x = to_tensor(image)
    plain, fp32, bf16 = passes(network, image, CPU, ("fp32", "bf16"), 1)
    assert (plain.name, plain.ratio, plain.psnr_db) == ("plain", 1.0, None)
    gflop = operations(network, x)
    for one in (plain, fp32, bf16):
        assert one.ratio == pytest.approx(plain.seconds / one.seconds)
        assert one.gflop_per_s * one.seconds == pytest.approx(gflop)
    assert fp32.psnr_db > 80 > bf16.psnr_db > 20


def test_psnr_is_of_clipped_images():
    a, b = torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), 0.6)
    assert psnr(a, b) == pytest.approx(20, abs=1e-4)
    assert psnr(a + 7, b + 9) == float("inf")


def test_growth_is_reported_against_the_first_size(network, monkeypatch):
    clock = iter((0.0, 2.0, 10.0, 26.0))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    sizes, restore = [], Runner.restore
    monkeypatch.setattr(Runner, "restore", lambda self, x: (sizes.append(x.shape[1]), restore(self, x))[1])
    small, large = growth(Runner(network, CPU, RunOptions("fp32")), (0.01, 0.04))
    assert sizes == [64, 50, 100]
    assert (small.seconds, large.seconds) == (2.0, 16.0)
    assert (small.to_first, large.to_first) == (1.0, pytest.approx(2.0))
    assert large.seconds_per_megapixel == pytest.approx(400)


class Recording:
    """A restorer that enlarges by repeating, and remembers what it saw; `black`: it makes nothing of all."""

    lanes = 1

    def __init__(self, *, black: bool = False) -> None:
        self.alone, self.in_runs, self.black = [], [], black

    def sr(self, image, scale):
        self.alone.append(image)
        return image.repeat(scale, 0).repeat(scale, 1)

    def restore(self, task, image, *, scale, **others):
        from adacode_cli.engine.restorer import Restored

        assert task == "sr"
        self.in_runs.append(image)
        large = image.repeat(scale, 0).repeat(scale, 1) * (not self.black)
        return Restored(large.astype(image.dtype), np.ones((1, 1, 1), np.float32), ("all",), (), "fp32")


def test_a_run_sees_the_same_files_as_the_engine_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    restorer = Recording()
    found = files(restorer, 2, 3, 0.01)
    warm_up, *alone = restorer.alone
    assert (len(alone), len(restorer.in_runs)) == (3, 3)
    for one, other in zip(alone, restorer.in_runs, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(warm_up, alone[0])
    assert (found.count, found.megapixels, alone[0].shape) == (3, 0.01, (100, 100, 3))
    assert found.ratio == pytest.approx(found.run_seconds / found.engine_seconds)
    assert list(tmp_path.iterdir()) == []


def test_engine_seconds_leave_reading_out(monkeypatch):
    """What the run is held against is the network's time alone: here of four images, timed together."""
    clock, read = itertools.count(), files_module.read_image
    monkeypatch.setattr(files_module.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(files_module, "read_image", lambda path: (next(clock), read(path))[1])
    assert files(Recording(), 2, 4, 0.001).engine_seconds == 1.0


def test_a_run_that_fails_is_no_figure():
    with pytest.raises(QualityError, match="the run that was timed failed"):
        files(Recording(black=True), 2, 1, 0.01)


def test_synthetic_images_are_like_photographs():
    image = synthetic_image(256, 256)
    np.testing.assert_array_equal(image, synthetic_image(256, 256))
    assert (image.dtype, image.shape) == (np.uint8, (256, 256, 3))
    assert not np.array_equal(image, synthetic_image(256, 256, 1))
    power = np.abs(np.fft.fft2(image[..., 1] - image[..., 1].mean())) ** 2
    bands = [power[low:high, low:high].mean() for low, high in ((2, 4), (8, 16), (32, 64))]
    assert bands[0] > 3 * bands[1] > 9 * bands[2] > 0


def test_an_image_that_is_too_small_is_repeated():
    image = synthetic_image(10, 7)
    square = cut(image, 16)
    np.testing.assert_array_equal(square[:10, :7], image)
    np.testing.assert_array_equal(square[10:, 7:14], image[:6])
    assert square.shape == (16, 16, 3)
    assert square.flags.c_contiguous
