"""Test sets and their scores, through the library and through `adacode eval`, on a network with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
import typer

from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.cli.main import app
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import InputError, UsageError, WeightsError
from adacode_cli.evaluation.metrics import psnr_in_hole, psnr_luma, ssim_luma
from adacode_cli.evaluation.score import Scores, evaluate, mean_scores
from adacode_cli.evaluation.testset import load_testset
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise

NAMES = ("astronaut", "coffee")
ORIGINALS = {"astronaut": skimage.data.astronaut()[:96, 200:328], "coffee": skimage.data.coffee()[100:164, 200:264]}


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)


def hole_of(name: str) -> np.ndarray:
    hole = np.zeros(ORIGINALS[name].shape[:2], np.bool_)
    hole[20:30, 10:50] = True
    return hole


def small(name: str, scale: int) -> np.ndarray:
    height, width = ORIGINALS[name].shape[:2]
    return cv2.resize(ORIGINALS[name], (width // scale, height // scale), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def testset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("testset")
    for name, picture in ORIGINALS.items():
        save(folder / "hr" / f"{name}.png", picture)
        save(folder / "lr_x2" / f"{name}.bmp", small(name, 2))
        save(folder / "lr_x4" / f"{name}.png", small(name, 4))
        save(folder / "mask" / f"{name}.png", hole_of(name).astype(np.uint8) * 255)
    (folder / "hr" / "readme.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """A tiny network a task, with random values."""
    folder, common = (
        tmp_path_factory.mktemp("weights"),
        {"channels": (8, 16), "grid": 4, "stem": "shuffle", "norm": "none"},
    )
    upsampled = {"base": "upsampled", "codebooks": ((8, 4),)}
    configs = {
        "sr-2": NetworkConfig(task="sr", scale=2, **common, **upsampled),
        "sr-4": NetworkConfig(task="sr", scale=4, **common, **upsampled),
        "inpaint": NetworkConfig(task="inpaint", mask_channel=True, base="filled", codebooks=((8, 4),), **common),
        "reconstruct": NetworkConfig(task="reconstruct", codebooks=((8, 4),), **common),
    }
    for name, config in configs.items():
        torch.manual_seed(0)
        network = AdaCode(config)
        initialise(network)
        write_weights(folder / f"{name}.safetensors", Weights("whole", config, Provenance(), network.state_dict()))
    return {name: folder / f"{name}.safetensors" for name in configs}


def run_eval(capfd, *arguments: object) -> str:
    typer.main.get_command(app)(["eval", *(str(a) for a in arguments)], standalone_mode=False)
    out, err = capfd.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("scale", [2, 4])
def test_super_resolution_is_scored_beside_bicubic(testset, weights, scale):
    restorer = Restorer.from_pretrained(str(weights[f"sr-{scale}"]), device="cpu", precision="fp32")
    examples = load_testset(testset, "sr", scale)
    assert [example.name for example in examples] == list(NAMES)
    seen = []
    rows = evaluate(restorer, examples, "sr", scale, on_example=lambda example: seen.append(example.name))
    assert seen == list(NAMES) == [row.name for row in rows]
    for row in rows:
        original, worn = ORIGINALS[row.name], small(row.name, scale)
        bicubic = cv2.resize(worn, original.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        assert row.simple == Scores(psnr_luma(bicubic, original), ssim_luma(bicubic, original), None)
        restored = restorer.sr(worn, scale)
        assert row.restored == Scores(psnr_luma(restored, original), ssim_luma(restored, original), None)
        assert row.restored != row.simple


def test_filled_holes_are_scored_beside_telea(testset, weights):
    restorer = Restorer.from_pretrained(str(weights["inpaint"]), device="cpu", precision="fp32")
    rows = evaluate(restorer, load_testset(testset, "inpaint"), "inpaint", perceptual=lambda x, y: (x - y).abs().mean())
    for row in rows:
        original, hole = ORIGINALS[row.name], hole_of(row.name)
        telea = cv2.inpaint(original, hole.astype(np.uint8), 5, cv2.INPAINT_TELEA)
        assert row.simple.psnr == pytest.approx(psnr_in_hole(telea, original, hole))
        assert row.simple.lpips == pytest.approx(np.abs(telea / 255 - original / 255).mean(), rel=1e-4)
        filled = restorer.inpaint(original, hole)
        assert row.restored.psnr == pytest.approx(psnr_in_hole(filled, original, hole))
        assert row.restored.ssim is None


def test_reconstruction_has_nothing_beside_it(testset, weights):
    restorer = Restorer.from_pretrained(str(weights["reconstruct"]), device="cpu", precision="fp32")
    rows = evaluate(restorer, load_testset(testset, "reconstruct"), "reconstruct")
    assert [row.simple for row in rows] == [None, None]
    assert all(0 < row.restored.psnr < 60 for row in rows)


def test_means_are_of_all_pictures_or_none():
    full, partial = Scores(20, 0.5, 0.25), Scores(30, 0.75, None)
    assert mean_scores([full, Scores(30, 0.75, 0.75)]) == Scores(25, 0.625, 0.5)
    assert mean_scores([full, partial]) == Scores(25, 0.625, None)


def test_json_has_the_means_and_every_picture(testset, weights, capfd):
    out = run_eval(capfd, "sr", "--data", testset, "--scale", 2, "--weights", weights["sr-2"], "--json")
    assert out.count("\n") == 1
    found = json.loads(out)
    rows = evaluate(Restorer.from_pretrained(str(weights["sr-2"])), load_testset(testset, "sr", 2), "sr", 2)
    assert (found["task"], found["scale"], found["images"], found["simple_method"]) == ("sr", 2, 2, "bicubic")
    assert found["simple"]["psnr"] == pytest.approx(np.mean([row.simple.psnr for row in rows]))
    assert found["restored"]["ssim"] == pytest.approx(np.mean([row.restored.ssim for row in rows]), abs=1e-3)
    assert [row["name"] for row in found["rows"]] == list(NAMES)
    assert found["restored"]["lpips"] is None


def test_tables_for_a_person(testset, weights, capfd):
    out = run_eval(capfd, "inpaint", "--data", testset, "-w", weights["inpaint"], "-v")
    assert all(name in out for name in ("mean of 2", "PSNR", "Telea", *NAMES))
    telea = next(line for line in out.splitlines() if line.strip().startswith("Telea"))
    expected = []
    for name, original in ORIGINALS.items():
        filled = cv2.inpaint(original, hole_of(name).astype(np.uint8), 5, cv2.INPAINT_TELEA)
        expected.append(psnr_in_hole(filled, original, hole_of(name)))
    assert float(telea.split()[1]) == pytest.approx(np.mean(expected), abs=0.006)
    out = run_eval(capfd, "reconstruct", "--data", testset, "-w", weights["reconstruct"])
    assert "coffee" not in out
    assert len([line for line in out.splitlines() if str(weights["reconstruct"]) in line]) == 1


def test_test_sets_that_are_not_whole_are_refused(testset, weights, tmp_path):
    def broken(name: str) -> Path:
        return Path(shutil.copytree(testset, tmp_path / name))

    with pytest.raises(InputError, match="no such directory"):
        load_testset(tmp_path / "missing", "sr", 4)
    folder = broken("a")
    (folder / "lr_x4" / "coffee.png").unlink()
    with pytest.raises(InputError, match="lacks 1 of the 2 pictures, such as coffee"):
        load_testset(folder, "sr", 4)
    assert len(load_testset(folder, "sr", 2)) == 2
    save(folder / "hr" / "coffee.bmp", ORIGINALS["coffee"])
    with pytest.raises(InputError, match="same name"):
        load_testset(folder, "reconstruct")
    with pytest.raises(UsageError, match="2 or 4"):
        load_testset(testset, "sr", 3)
    empty = tmp_path / "empty"
    (empty / "hr").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no pictures"):
        load_testset(empty, "reconstruct")


@pytest.mark.parametrize(
    ("file", "picture", "words"),
    [
        ("lr_x2/coffee.bmp", ORIGINALS["coffee"], "64×64 pixels, its original 64×64"),
        ("hr/coffee.png", ORIGINALS["coffee"][:20, :20], "smaller than 32 px"),
        ("mask/coffee.png", np.zeros((64, 64), np.uint8), "has no hole"),
        ("mask/coffee.png", np.full((60, 64), 255, np.uint8), "the mask has"),
    ],
    ids=("size", "small", "no hole", "mask size"),
)
def test_pictures_that_do_not_fit_are_named(testset, weights, tmp_path, file, picture, words):
    folder = Path(shutil.copytree(testset, tmp_path / "set"))
    save(folder / file, picture)
    task, name, scale = ("inpaint", "inpaint", 1) if file.startswith("mask") else ("sr", "sr-2", 2)
    restorer = Restorer.from_pretrained(str(weights[name]), device="cpu")
    with pytest.raises(InputError, match=words) as found:
        evaluate(restorer, load_testset(folder, task, scale), task, scale)
    assert Path(str(found.value.path)) == folder / file


def test_mistakes_on_the_command_line(testset, weights, tmp_path, capfd):
    with pytest.raises(UsageError, match="2 or 4"):
        run_eval(capfd, "sr", "--data", testset, "--scale", 3, "-w", weights["sr-2"])
    with pytest.raises(InputError, match="no such directory"):
        run_eval(capfd, "sr", "--data", tmp_path)
    with pytest.raises(WeightsError):
        run_eval(capfd, "sr", "--data", testset, "-w", tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="is for sr, not for inpaint"):
        run_eval(capfd, "inpaint", "--data", testset, "-w", weights["sr-2"])
