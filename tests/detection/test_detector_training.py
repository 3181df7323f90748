"""The damage that a detector learns from, its loss, and a training that can be stopped and continued."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "training"))
from tiny_families import picture
from tiny_shards import save_shards

from adacode_cli.checkpoints.detectors import read_detector
from adacode_cli.checkpoints.format import Provenance
from adacode_cli.errors import OutputError, TrainingError, UsageError, WeightsError
from adacode_cli.training import detection, marks
from adacode_cli.training.checkpoint import read_checkpoint, write_checkpoint
from adacode_cli.training.crops import Contents, HostCrops
from adacode_cli.training.detection import (
    DetectionRecipe,
    DetectionRun,
    DetectorTraining,
    batches,
    detection_loss,
    sample,
    train_detector,
)
from adacode_cli.training.marks import KINDS, scanned, with_marks
from adacode_cli.training.shards import Shards

CPU = torch.device("cpu")
TINY = DetectionRecipe(steps=6, batch=2, patch=32)
STATED = Provenance(licence="CC0-1.0", source="tests")


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> HostCrops:
    folder = save_shards(tmp_path_factory.mktemp("shards") / "s")
    return HostCrops(Contents(Shards(folder), "train"), keep=True, workers=1)


@given(seed=st.integers(0, 10**6), height=st.sampled_from([48, 96]), width=st.sampled_from([64, 96]))
@settings(max_examples=40, deadline=None)
def test_marks_are_where_the_image_changes(seed, height, width):
    image = picture(seed % 7, height, width)
    before = image.copy()
    marked = with_marks(image, rng(seed))
    np.testing.assert_array_equal(image, before)
    change = np.abs(marked.image.astype(int) - image).max(2)
    assert not (marked.visible & marked.unclear).any()
    assert (change[marked.visible] > 8).all()
    assert (change[~(marked.visible | marked.unclear)] <= 8).all()
    again = with_marks(image, rng(seed))
    np.testing.assert_array_equal(again.image, marked.image)
    np.testing.assert_array_equal(again.visible, marked.visible)


def test_a_mark_that_texture_hides_is_not_to_be_found():
    flat = np.full((128, 128, 3), 120, np.uint8)
    noise = rng(0).integers(0, 256, (128, 128, 1)).repeat(3, 2).astype(np.uint8)
    seen = [np.mean([with_marks(image, rng(seed)).visible.mean() for seed in range(60)]) for image in (flat, noise)]
    assert seen[1] < 0.8 * seen[0]


def test_every_kind_of_mark_is_drawn_and_none_covers_much(monkeypatch):
    image = np.full((128, 128, 3), 120, np.uint8)
    for i in range(len(KINDS)):
        monkeypatch.setattr(marks, "_SHARES", tuple(float(i == j) for j in range(len(KINDS))))
        visible = [with_marks(image, rng(seed)).visible for seed in range(25)]
        assert 0.0005 < np.mean(visible) < 0.2, KINDS[i]
    assert len({mask.tobytes() for mask in visible}) > 20


def test_a_scan_keeps_what_it_shows():
    image = picture(3, 96, 96)
    looks = [scanned(image, rng(seed)) for seed in range(20)]
    assert len({look.tobytes() for look in looks}) > 10
    assert all((look.shape, look.dtype) == (image.shape, np.uint8) for look in looks)
    assert max(np.abs(look.astype(float) - image).mean() for look in looks) < 20


def test_samples_are_damaged_sound_and_toned(crops):
    recipe = replace(TINY, patch=64)
    samples = [sample(crops, recipe, rng(seed)) for seed in range(60)]
    sound = np.mean([not answer.any() for _, answer in samples])
    assert 0.1 < sound < 0.5
    assert {int(v) for _, answer in samples for v in np.unique(answer)} == {0, 1, 2}
    assert not any(answer.any() for _, answer in (sample(crops, replace(recipe, sound=1.0), rng(s)) for s in range(9)))
    coloured = replace(recipe, grey=0.0, sound=1.0)
    spread = [
        np.mean([np.ptp(sample(crops, r, rng(s))[0].astype(int).mean((0, 1))) for s in range(20)])
        for r in (coloured, replace(coloured, grey=1.0))
    ]
    assert spread[1] < spread[0]


def test_the_loss_counts_clear_pixels_only():
    answer = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    answer[..., 4:8, 4:8] = 1
    answer[..., 12:, :] = 2
    right = torch.where(answer == 1, 20.0, -20.0)
    assert float(detection_loss(right, answer)) == pytest.approx(0, abs=1e-4)
    for place in ((14, 3), (3, 4)):  # not clear; the border of the mark
        other = right.clone()
        other[..., place[0], place[1]] *= -1
        assert float(detection_loss(other, answer)) == pytest.approx(0, abs=1e-4)
    wrong = {}
    for name, place in (("missed", (5, 5)), ("invented", (10, 10))):
        other = right.clone()
        other[..., place[0], place[1]] *= -1
        wrong[name] = float(detection_loss(other, answer))
    assert wrong["missed"] > 2 * wrong["invented"] > 0
    assert torch.isfinite(detection_loss(right, torch.zeros_like(answer)))


def test_batches_depend_on_their_number_alone(crops):
    def some(first: int, workers: int) -> list:
        source = batches(crops, TINY, first, workers)
        found = [next(source) for _ in range(3)]
        source.close()
        return found

    one, other = some(2, 1), some(0, 3)
    for here, there in zip(one[0], other[2], strict=True):
        np.testing.assert_array_equal(here[0], there[0])
        np.testing.assert_array_equal(here[1], there[1])


def test_a_stopped_training_ends_as_one_that_was_not(crops, tmp_path):
    whole = DetectionRun(tmp_path / "whole.safetensors", CPU)
    assert train_detector(crops.contents, "d", TINY, whole, STATED)
    part = DetectionRun(tmp_path / "part.safetensors", CPU, stop=iter([False, False, False, True]).__next__)
    assert not train_detector(crops.contents, "d", TINY, part, STATED)
    assert part.checkpoint.exists()
    assert not part.path.exists()
    assert train_detector(crops.contents, "d", TINY, DetectionRun(part.path, CPU, resume=True), STATED)
    assert not part.checkpoint.exists()
    assert part.path.read_bytes() == whole.path.read_bytes()
    network, threshold = read_detector(part.path)
    assert threshold == TINY.threshold
    assert not network.training
    before = part.path.read_bytes()
    ended = DetectionRun(part.path, CPU, resume=True)
    assert train_detector(crops.contents, "d", TINY, ended, STATED), "it has ended already"
    assert part.path.read_bytes() == before
    with pytest.raises(TrainingError, match="other settings: steps: 6 → 9"):
        train_detector(crops.contents, "d", replace(TINY, steps=9), ended, STATED)
    part.path.write_bytes(b"something else")
    with pytest.raises(WeightsError):
        train_detector(crops.contents, "d", TINY, ended, STATED)


def test_what_is_there_is_neither_replaced_nor_continued_by_mistake(crops, tmp_path):
    path = tmp_path / "x.safetensors"
    stopped = DetectionRun(path, CPU, stop=iter([False, True]).__next__)
    assert not train_detector(crops.contents, "d", TINY, stopped, STATED)
    with pytest.raises(OutputError, match="exists already"):
        train_detector(crops.contents, "d", TINY, DetectionRun(path, CPU), STATED)
    again = DetectionRun(path, CPU, resume=True)
    with pytest.raises(TrainingError, match=r"other settings: patch: 32 → 64"):
        train_detector(crops.contents, "d", replace(TINY, patch=64, rate=1e-4), again, STATED)
    with pytest.raises(TrainingError, match="other shards"):
        train_detector(crops.contents, "e", TINY, again, STATED)
    checkpoint = read_checkpoint(stopped.checkpoint)
    strange = replace(checkpoint, tensors=checkpoint.tensors | {"strange": torch.ones(1)})
    write_checkpoint(stopped.checkpoint, strange)
    with pytest.raises(TrainingError, match="another detector"):
        train_detector(crops.contents, "d", TINY, again, STATED)
    stopped.checkpoint.write_bytes(stopped.checkpoint.read_bytes()[:-10])
    with pytest.raises(TrainingError, match="not a whole checkpoint"):
        train_detector(crops.contents, "d", TINY, again, STATED)
    assert train_detector(crops.contents, "d", TINY, DetectionRun(path, CPU, overwrite=True), STATED)


def test_fewer_steps_than_are_done_do_not_end_a_training(crops, tmp_path):
    run = DetectionRun(tmp_path / "x.safetensors", CPU, stop=iter([False, False, True]).__next__)
    assert not train_detector(crops.contents, "d", TINY, run, STATED)
    before = run.checkpoint.read_bytes()
    done = read_checkpoint(run.checkpoint).steps
    assert done > 1
    with pytest.raises(TrainingError, match=f"has done {done} steps already, and would have to end after 1"):
        train_detector(crops.contents, "d", replace(TINY, steps=1), replace(run, resume=True), STATED)
    assert run.checkpoint.read_bytes() == before
    assert not run.path.exists()


def test_a_checkpoint_is_written_into_a_new_folder_and_an_old_one_is_not_continued(crops, tmp_path):
    path = tmp_path / "new" / "folder" / "x.safetensors"
    stopped = DetectionRun(path, CPU, stop=iter([False, True]).__next__)
    assert not train_detector(crops.contents, "d", TINY, stopped, STATED)
    assert stopped.checkpoint.exists()
    DetectionRun(path, CPU, overwrite=True).begin(TINY, "d")
    assert not stopped.checkpoint.exists()


def test_crops_smaller_than_the_patch_are_refused(crops, tmp_path):
    with pytest.raises(TrainingError, match="windows of 256 px are wanted from crops of 160 px"):
        train_detector(
            crops.contents, "d", replace(TINY, patch=256), DetectionRun(tmp_path / "x.safetensors", CPU), STATED
        )


def test_a_loss_that_is_not_finite_ends_the_training(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "detection_loss", lambda x, _: x.sum() * torch.nan)
    with pytest.raises(TrainingError, match=r"detection.*at step 1"):
        train_detector(crops.contents, "d", TINY, DetectionRun(tmp_path / "x.safetensors", CPU), STATED)
    assert not (tmp_path / "x.safetensors").exists()


def test_it_learns_to_find_marks(crops):
    """From one batch over and over: afterwards marks are more likely than the rest by far."""
    training = DetectorTraining(replace(TINY, steps=60, patch=64, rate=5e-3), CPU)
    images = [sample(crops, replace(TINY, patch=64, sound=0.0), rng(seed)) for seed in range(2)]
    losses = [training.step(images) for _ in range(60)]
    assert losses[-1] < 0.4 * losses[0]
    batch = torch.from_numpy(np.stack([image for image, _ in images])).permute(0, 3, 1, 2).float() / 255
    answers = np.stack([answer for _, answer in images])
    training.network.eval()
    with torch.inference_mode():
        found = torch.sigmoid(training.network(batch))[:, 0].numpy()
    assert found[answers == 1].mean() > 5 * found[answers == 0].mean()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"patch": 40}, {"batch": 0}, {"sound": 1.5}, {"threshold": 1.0}, {"rate": 0.0}], ids=str
)
def test_impossible_settings_are_usage_errors(wrong):
    with pytest.raises(UsageError):
        DetectionRecipe(**wrong)
