"""A task from outside the package: its entry in the table is all that engine, runs, guard and evaluation want of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from adacode_cli.batch.description import Description, NetworkDescription
from adacode_cli.batch.found import Selection
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.run import run
from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.evaluation.metrics import psnr_luma
from adacode_cli.evaluation.score import evaluate
from adacode_cli.evaluation.testset import load_testset
from adacode_cli.evaluation.worst import Worst
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.sizes import Sizing
from adacode_cli.tasks import TASKS, Task
from adacode_cli.training.initialise import initialise
from adacode_cli.training.presets import family_network

TOY = Task("toy", "toying", scales=(2,), training_input="degraded", baseline="bicubic", test_inputs="toys_x{scale}")
FILLING = Task("toyfill", "toy filling", fills_hole=True, training_input="holed", baseline="Telea")
PHOTO = skimage.data.astronaut()[:96, 200:328]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for task in (TOY, FILLING):
        monkeypatch.setitem(TASKS, task.name, task)


def weights_of(folder: Path, **config) -> Path:
    """A tiny network with random values that adds little to its base image, as a file."""
    config = NetworkConfig(**config, channels=(8, 16), grid=4, stem="shuffle", norm="none", codebooks=((8, 4),))
    torch.manual_seed(0)
    network = AdaCode(config)
    initialise(network)
    with torch.no_grad():
        network.decoder.head.conv.weight.mul_(0.02)
    path = folder / f"{config.task}.safetensors"
    write_weights(path, Weights("whole", config, Provenance(), network.state_dict()))
    return path


@pytest.fixture
def toy(tmp_path, registered) -> Path:
    return weights_of(tmp_path, task="toy", scale=2, base="upsampled")


@pytest.fixture
def toyfill(tmp_path, registered) -> Path:
    return weights_of(tmp_path, task="toyfill", mask_channel=True, base="filled")


def restorer(weights: Path) -> Restorer:
    return Restorer.from_pretrained(str(weights), device="cpu", precision="fp32")


def test_the_engine_enlarges_by_it(toy):
    by = restorer(toy)
    restored = by.restore("toy", PHOTO, scale=1.5)
    assert restored.image.shape == (144, 192, 3)
    twice = by.restore("toy", PHOTO, scale=2).image
    np.testing.assert_array_equal(restored.image, cv2.resize(twice, (192, 144), interpolation=cv2.INTER_AREA))
    with pytest.raises(UsageError, match="not between 1 and 2"):
        by.restore("toy", PHOTO, scale=4)
    with pytest.raises(WeightsError, match="is for toy, not for sr"):
        by.sr(PHOTO)


def test_the_engine_fills_holes_by_it(toyfill):
    mask = np.zeros(PHOTO.shape[:2], np.bool_)
    mask[20:40, 30:60] = True
    filled = restorer(toyfill).restore("toyfill", PHOTO, mask=mask).image
    np.testing.assert_array_equal(filled[~mask], PHOTO[~mask])
    assert (filled[mask] != PHOTO[mask]).any()


def test_a_run_over_a_folder_makes_what_the_engine_makes(toy, tmp_path):
    source, target = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    Image.fromarray(PHOTO).save(source / "a.png")
    coverage = np.where(np.eye(96, 128), 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack((PHOTO, coverage))).save(source / "b.png")
    plan = make_plan([source], Naming(TOY.label(2), target), Selection(), OnExisting.REFUSE)
    network = NetworkDescription(str(toy), device="cpu", precision="fp32")
    described = Description(network, "toy", Sizing("scale", 2.0), step=TOY.label(2), guarded=TOY.keeps_colors)
    stages, _ = described.stages(decode)
    report = run(plan, LocalExecutor(stages), on_event=lambda _: None)
    assert (report.done, report.exit_code) == (2, 0)
    by = restorer(toy)
    np.testing.assert_array_equal(read_image(target / "a.png").pixels, by.restore("toy", PHOTO, scale=2).image)
    wanted = by.restore("toy", np.dstack((PHOTO, coverage)), scale=2).image
    found = read_image(target / "b.png")
    np.testing.assert_array_equal(np.dstack((found.pixels, found.alpha)), wanted)
    assert read_image(target / "a.png").size == (192, 256)


def test_its_default_folder_has_its_label(tmp_path):
    assert Naming(TOY.label(2)).root_of(tmp_path).name == f"{tmp_path.name}-toy-x2"
    assert Naming(FILLING.label(1)).root_of(tmp_path).name == f"{tmp_path.name}-toyfill"


def test_it_is_measured_beside_its_baseline(toy, tmp_path):
    small = cv2.resize(PHOTO, (64, 48), interpolation=cv2.INTER_AREA)
    for folder, image in (("hr", PHOTO), ("toys_x2", small)):
        (tmp_path / folder).mkdir()
        Image.fromarray(image).save(tmp_path / folder / "a.png")
    by, worst = restorer(toy), Worst("toy", 2)
    (row,) = evaluate(by, load_testset(tmp_path, "toy", 2), "toy", 2, on_row=worst.add)
    assert row.restored.psnr == psnr_luma(by.restore("toy", small, scale=2).image, PHOTO)
    assert row.baseline.psnr == psnr_luma(cv2.resize(small, (128, 96), interpolation=cv2.INTER_CUBIC), PHOTO)
    assert [cell.title for cell in worst.found[0].cells] == ["input, x2 by nearest", "bicubic", "adacode", "original"]
    with pytest.raises(UsageError, match="scale 4 is not 2"):
        load_testset(tmp_path, "toy", 4)


def test_its_holes_are_measured_beside_its_baseline(toyfill, tmp_path):
    hole = np.zeros(PHOTO.shape[:2], np.uint8)
    hole[20:40, 30:60] = 255
    for folder, image in (("hr", PHOTO), ("mask", hole)):
        (tmp_path / folder).mkdir()
        Image.fromarray(image).save(tmp_path / folder / "a.png")
    (row,) = evaluate(restorer(toyfill), load_testset(tmp_path, "toyfill"), "toyfill")
    assert row.restored.ssim is None
    assert row.baseline.psnr > 0


@pytest.mark.parametrize("name", ["compact", "published"])
def test_training_has_a_network_for_it(name):
    toy, fill = family_network(name, "toy", 2), family_network(name, "toyfill")
    assert (toy.purpose, toy.scale) == (TOY, 2)
    assert fill.purpose == FILLING
    assert toy == replace(family_network(name, "sr", 2), task="toy")
    assert fill == replace(family_network(name, "inpaint"), task="toyfill")


def test_without_its_entry_its_weights_are_refused_by_name(toy, monkeypatch):
    monkeypatch.delitem(TASKS, "toy")
    with pytest.raises(UsageError, match="unknown task 'toy'"):
        restorer(toy).restore("toy", PHOTO)
    with pytest.raises(WeightsError, match="unknown task 'toy'"):
        restorer(toy).sr(PHOTO)
