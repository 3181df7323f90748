"""TensorBoard shows what was logged, read back by TensorBoard's own reader."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from adacode_cli.errors import OutputError, UsageError
from adacode_cli.training import tensorboard
from adacode_cli.training.tensorboard import SAMPLES_TAG, TensorBoard, tag_of

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
ROOT = Path(__file__).parents[2]


def events(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def next_second() -> None:
    """Event files are read in the order of the second in their name."""
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        ("pixel", "loss/pixel"),
        ("total", "loss/total"),
        ("learning_rate", "schedule/learning_rate"),
        ("learning_rate/discriminator", "schedule/learning_rate/discriminator"),
        ("perplexity/street views", "codes/perplexity/street views"),
        ("used/nature", "codes/used/nature"),
        ("used", "codes/used"),
        ("validation/psnr", "validation/psnr"),
        ("images_per_s", "speed/images_per_s"),
        ("waiting", "speed/waiting"),
        ("memory_mb", "speed/memory_mb"),
        ("new/thing", "other/new/thing"),
    ],
)
def test_keys_are_grouped(key, tag):
    assert tag_of(key) == tag


@needs_tensorboard
def test_every_value_but_the_step_is_read_back(tmp_path):
    board = TensorBoard(tmp_path)
    for step in (50, 100):
        board.log("fused", {"step": step, "pixel": 1 / step, "used/sky": 0.25, "validation/psnr": 20 + step})
    board.log("sr-x4", {"step": 7, "total": 3.0})
    board.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fused", "sr-x4"]
    tags = events(tmp_path / "fused").Tags()["scalars"]
    assert sorted(tags) == ["codes/used/sky", "loss/pixel", "validation/psnr"]
    assert points(tmp_path / "fused", "loss/pixel") == [(50, pytest.approx(0.02)), (100, pytest.approx(0.01))]
    assert points(tmp_path / "fused", "validation/psnr") == [(50, 70.0), (100, 120.0)]
    assert points(tmp_path / "sr-x4", "loss/total") == [(7, 3.0)]


@needs_tensorboard
def test_lines_are_there_before_training_ends(tmp_path):
    board = TensorBoard(tmp_path)
    board.log("fused", {"step": 50, "pixel": 1.0})
    assert points(tmp_path / "fused", "loss/pixel") == [(50, 1.0)]
    board.close()


@needs_tensorboard
def test_samples_keep_every_pixel(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    board = TensorBoard(tmp_path)
    board.log("fused", {"step": 100, "pixel": 1.0})
    board.samples("fused", 100, image)
    board.close()
    (stored,) = events(tmp_path / "fused").Images(SAMPLES_TAG)
    decoded = cv2.imdecode(np.frombuffer(stored.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert stored.step == 100
    np.testing.assert_array_equal(decoded, image)


@needs_tensorboard
def test_a_resumed_run_has_each_step_once(tmp_path):
    first = TensorBoard(tmp_path)
    for step in (50, 100, 150, 200):
        first.log("fused", {"step": step, "pixel": 1.0})
    first.close()
    next_second()
    again = TensorBoard(tmp_path)  # from a checkpoint after 100 steps
    for step in (150, 200, 250):
        again.log("fused", {"step": step, "pixel": 2.0})
    again.close()
    assert points(tmp_path / "fused", "loss/pixel") == [(50, 1.0), (100, 1.0), (150, 2.0), (200, 2.0), (250, 2.0)]


@needs_tensorboard
def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "board").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        TensorBoard(tmp_path / "board").log("fused", {"step": 1, "pixel": 1.0})


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not tensorboard.available()
    with pytest.raises(UsageError) as raised:
        TensorBoard(tmp_path)
    assert "pip install 'adacode-cli[train]'" in raised.value.hint


def test_importing_it_does_not_load_tensorboard():
    script = "import sys, adacode_cli.training.tensorboard as t; t.available(); print('tensorboard' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "False"
