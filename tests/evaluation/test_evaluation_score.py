"""Test sets and their scores, on a network with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_testset import NAMES, ORIGINALS, hole_of, save, small

from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import InputError, UsageError
from adacode_cli.evaluation.metrics import psnr_in_hole, psnr_luma, ssim_luma
from adacode_cli.evaluation.score import Scores, evaluate, mean_scores
from adacode_cli.evaluation.testset import load_testset


@pytest.mark.parametrize("scale", [2, 4])
def test_super_resolution_is_scored_beside_bicubic(testset, weights, scale):
    restorer = Restorer.from_pretrained(str(weights[f"sr-{scale}"]), device="cpu", precision="fp32")
    examples = load_testset(testset, "sr", scale)
    assert [example.name for example in examples] == list(NAMES)
    seen = []
    rows = evaluate(restorer, examples, "sr", scale, on_example=lambda example: seen.append(example.name))
    assert seen == list(NAMES) == [row.name for row in rows]
    for row in rows:
        original, degraded = ORIGINALS[row.name], small(row.name, scale)
        bicubic = cv2.resize(degraded, original.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        assert row.baseline == Scores(psnr_luma(bicubic, original), ssim_luma(bicubic, original), None)
        restored = restorer.sr(degraded, scale)
        assert row.restored == Scores(psnr_luma(restored, original), ssim_luma(restored, original), None)
        assert row.restored != row.baseline


def test_filled_holes_are_scored_beside_telea(testset, weights):
    restorer = Restorer.from_pretrained(str(weights["inpaint"]), device="cpu", precision="fp32")
    rows = evaluate(restorer, load_testset(testset, "inpaint"), "inpaint", perceptual=lambda x, y: (x - y).abs().mean())
    for row in rows:
        original, hole = ORIGINALS[row.name], hole_of(row.name)
        telea = cv2.inpaint(original, hole.astype(np.uint8), 5, cv2.INPAINT_TELEA)
        assert row.baseline.psnr == pytest.approx(psnr_in_hole(telea, original, hole))
        assert row.baseline.perceptual == pytest.approx(np.abs(telea / 255 - original / 255).mean(), rel=1e-4)
        filled = restorer.inpaint(original, hole)
        assert row.restored.psnr == pytest.approx(psnr_in_hole(filled, original, hole))
        assert row.restored.ssim is None


def test_reconstruction_has_nothing_beside_it(testset, weights):
    restorer = Restorer.from_pretrained(str(weights["reconstruct"]), device="cpu", precision="fp32")
    rows = evaluate(restorer, load_testset(testset, "reconstruct"), "reconstruct")
    assert [row.baseline for row in rows] == [None, None]
    assert all(0 < row.restored.psnr < 60 for row in rows)


def test_means_are_of_all_images_or_none():
    full, partial = Scores(20, 0.5, 0.25), Scores(30, 0.75, None)
    assert mean_scores([full, Scores(30, 0.75, 0.75)]) == Scores(25, 0.625, 0.5)
    assert mean_scores([full, partial]) == Scores(25, 0.625, None)


def test_test_sets_that_are_not_whole_are_refused(testset, weights, tmp_path):
    def broken(name: str) -> Path:
        return Path(shutil.copytree(testset, tmp_path / name))

    with pytest.raises(InputError, match="no such directory"):
        load_testset(tmp_path / "missing", "sr", 4)
    folder = broken("a")
    (folder / "lr_x4" / "coffee.png").unlink()
    with pytest.raises(InputError, match="lacks 1 of the 2 images, such as coffee"):
        load_testset(folder, "sr", 4)
    assert len(load_testset(folder, "sr", 2)) == 2
    save(folder / "hr" / "coffee.bmp", ORIGINALS["coffee"])
    with pytest.raises(InputError, match="same name"):
        load_testset(folder, "reconstruct")
    with pytest.raises(UsageError, match="2 or 4"):
        load_testset(testset, "sr", 3)
    empty = tmp_path / "empty"
    (empty / "hr").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no images"):
        load_testset(empty, "reconstruct")


@pytest.mark.parametrize(
    ("file", "image", "words"),
    [
        ("lr_x2/coffee.bmp", ORIGINALS["coffee"], "64×64 pixels, and its original 64×64"),
        ("hr/coffee.png", ORIGINALS["coffee"][:20, :20], "smaller than 32 px"),
        ("mask/coffee.png", np.zeros((64, 64), np.uint8), "has no hole"),
        ("mask/coffee.png", np.full((60, 64), 255, np.uint8), "the mask has"),
    ],
    ids=("size", "small", "no hole", "mask size"),
)
def test_images_that_do_not_fit_are_named(testset, weights, tmp_path, file, image, words):
    folder = Path(shutil.copytree(testset, tmp_path / "set"))
    save(folder / file, image)
    task, name, scale = ("inpaint", "inpaint", 1) if file.startswith("mask") else ("sr", "sr-2", 2)
    restorer = Restorer.from_pretrained(str(weights[name]), device="cpu")
    with pytest.raises(InputError, match=words) as found:
        evaluate(restorer, load_testset(folder, task, scale), task, scale)
    assert Path(str(found.value.path)) == folder / file


def test_every_image_is_read_before_the_first_is_restored(testset, weights, tmp_path):
    folder = Path(shutil.copytree(testset, tmp_path / "set"))
    (folder / "hr" / "coffee.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    restorer = Restorer.from_pretrained(str(weights["reconstruct"]), device="cpu")
    started = []
    with pytest.raises(InputError) as found:
        evaluate(restorer, load_testset(folder, "reconstruct"), "reconstruct", on_example=started.append)
    assert (str(found.value.path), started) == (str(folder / "hr" / "coffee.png"), [])


def test_rows_come_with_the_images_that_they_were_measured_on(testset, weights):
    restorer = Restorer.from_pretrained(str(weights["inpaint"]), device="cpu", precision="fp32")
    seen = {}
    rows = evaluate(
        restorer, load_testset(testset, "inpaint"), "inpaint", on_row=lambda row, images: seen.update({row: images})
    )
    assert list(seen) == rows
    for row, images in seen.items():
        np.testing.assert_array_equal(images.original, ORIGINALS[row.name])
        np.testing.assert_array_equal(images.hole, hole_of(row.name))
        assert psnr_in_hole(images.restored, images.original, images.hole) == row.restored.psnr
        assert psnr_in_hole(images.baseline, images.original, images.hole) == row.baseline.psnr
