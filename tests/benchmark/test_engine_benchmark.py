"""`benchmarks/engine.py` in small: int8, a run over files and its parts, and the files that are written for ncnn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from engine_run import peer, run_parts

from adacode_cli.benchmark.image import synthetic_image
from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.engine.device import has_openvino
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.evaluation.calibration import measured
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")
FIGURE = r"[0-9]+\.[0-9]+"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """plain.safetensors and quantized.safetensors, a tiny sr ×4 network without and with ranges."""
    config = NetworkConfig(
        channels=(8, 16), grid=4, stem="shuffle", norm="none", base="upsampled", codebooks=((8, 4),), task="sr", scale=4
    )
    torch.manual_seed(0)
    network = AdaCode(config)
    initialise(network)
    with torch.no_grad():  # its images are the enlarged photographs, with little change, as the guard wants them
        network.drawing.head.conv.weight *= 0.05
    made = tmp_path_factory.mktemp("weights")
    ranges = measured(network.eval(), [to_tensor(synthetic_image(32, 32))])
    assert ranges
    for name, given in (("plain", {}), ("quantized", ranges)):
        weights = Weights("whole", config, Provenance(), network.state_dict(), ranges=given)
        write_weights(made / f"{name}.safetensors", weights)
    return made


def engine(*words: object, path: Path = BENCHMARKS) -> subprocess.CompletedProcess[str]:
    """The benchmark as a process. path: where it finds modules first."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{path}{os.pathsep}{BENCHMARKS.parent}"}
    command = [sys.executable, str(BENCHMARKS / "engine.py"), "--device", "cpu", "--repeats", "1", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@needs_openvino
@pytest.mark.parametrize("name", ["plain", "quantized"])
def test_int8_is_compared_with_the_plain_pass_and_ranges_are_measured_where_there_are_none(folder, name):
    words = ("--families", "compact", "--side", 24, "--precision", "fp32,int8")
    done = engine(*words, "--weights", folder / f"{name}.safetensors")
    assert done.returncode == 0, done.stderr
    found = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert list(found) == ["plain", "fp32", "int8"]
    decibels = {key: float(re.search(rf"PSNR ({FIGURE}) dB", found[key])[1]) for key in ("fp32", "int8")}
    assert decibels["fp32"] > 80 > decibels["int8"] > 20
    assert "at most, fp32" in done.stdout
    assert "at most, int8" not in done.stdout


@needs_openvino
def test_a_run_in_8_bits_is_taken_apart(folder):
    words = ("--files", 2, "--megapixels", 0.002, "--precision", "int8")
    done = engine(*words, "--weights", folder / "quantized.safetensors")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"2 files of 0.002 MP, precision int8: engine {FIGURE} s, run {FIGURE} s", done.stdout)
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [row[0] for row in rows[1:]] == list(run_parts.PARTS)


@needs_openvino
def test_a_run_in_8_bits_without_ranges_says_what_to_do(folder):
    done = engine("--files", 1, "--precision", "int8", "--weights", folder / "plain.safetensors")
    assert done.returncode == 1
    assert "adacode weights quantize" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_peer_and_wrong_words_are_named(tmp_path):
    (tmp_path / "ncnn.py").write_text("raise ImportError\n", encoding="utf-8")
    done = engine("--peer", "ncnn", path=tmp_path)
    assert (done.returncode, done.stderr) == (1, "--peer ncnn needs the Python package ncnn: pip install ncnn\n")
    for words in (("--precision", "int7"), ("--peer", "ncnn", "--peer-weights", tmp_path / "no")):
        wrong = engine(*words)
        assert wrong.returncode == 2
        assert words[-2] in wrong.stderr


def test_a_part_interrupts_the_part_that_calls_it(monkeypatch):
    clock = iter((0.0, 1.0, 1.0, 4.0, 4.0, 6.0))
    monkeypatch.setattr(run_parts.time, "perf_counter", lambda: next(clock))
    times = run_parts._PartTimes()
    with times.during("guard"), times.during("network"):
        pass
    assert times.of_part["guard"] == [(0.0, 1.0), (4.0, 6.0)]
    assert times.of_part["network"] == [(1.0, 4.0)]


def test_parts_of_threads_do_not_interrupt_one_another():
    times, both = run_parts._PartTimes(), threading.Barrier(2)

    def work(part: str) -> None:
        with times.during(part):
            both.wait(30)
            time.sleep(0.01)

    threads = [threading.Thread(target=work, args=(part,)) for part in ("network", "encoding")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [len(times.of_part[part]) for part in ("network", "encoding")] == [1, 1]
    found = {one.name: one for one in run_parts._parts(times, 1.0)}
    assert found["encoding"].alone_share < found["encoding"].share


class Numbers:
    """The contents of a .bin file, from its beginning."""

    def __init__(self, content: bytes) -> None:
        self.left = torch.from_numpy(np.frombuffer(content, "<f4").copy())

    def take(self, count: int) -> torch.Tensor:
        taken, self.left = self.left[:count], self.left[count:]
        return taken


def layer(kind: str, values: dict[int, float], numbers: Numbers, *inputs: torch.Tensor) -> torch.Tensor:
    """What ncnn's documentation says of a layer."""
    if kind == "Convolution":
        channels, side, size = int(values[0]), int(values[1]), int(values[6])
        assert numbers.take(1).numpy().tobytes() == bytes(4)
        weight = numbers.take(size).reshape(channels, -1, side, side)
        return F.conv2d(*inputs, weight, numbers.take(channels), padding=int(values[4]))
    if kind == "PReLU":
        return F.prelu(*inputs, numbers.take(int(values[0])))
    if kind == "PixelShuffle":
        return F.pixel_shuffle(*inputs, int(values[0]))
    if kind == "Interp":
        assert (values[0], values[1]) == (1, values[2])
        return F.interpolate(*inputs, scale_factor=values[1], mode="nearest")
    if kind == "BinaryOp":
        assert values[0] == 0
        return torch.add(*inputs)
    assert kind == "Split"
    return inputs[0]


def read_by_the_rules(layers: str, numbers: Numbers, x_BCHW: torch.Tensor) -> torch.Tensor:
    """What ncnn does with its two files: a line is a type, a name, numbers of inputs and outputs, these, and values."""
    magic, counts, _, *lines = layers.splitlines()
    blobs = {"x": x_BCHW}
    for line in lines:
        kind, _, num_inputs, num_outputs, *words = line.split()
        first, second = int(num_inputs), int(num_inputs) + int(num_outputs)
        values = {int(key): float(value) for key, value in (word.split("=") for word in words[second:])}
        result = layer(kind, values, numbers, *(blobs[name] for name in words[:first]))
        blobs |= dict.fromkeys(words[first:second], result)
    assert (magic, counts) == ("7767517", f"{len(lines) + 1} {len(blobs)}")
    assert not len(numbers.left)
    return blobs["y"]


def test_the_files_for_ncnn_are_the_network():
    network, x = peer.small_general(None), torch.rand(1, 3, 5, 7)
    layers, numbers = peer.ncnn_files(network)
    found = read_by_the_rules(layers.decode(), Numbers(numbers), x)
    assert found.shape == (1, 3, 20, 28)
    torch.testing.assert_close(found, peer.enlarged(network, x))
