"""`adacode eval folders`: which files belong together, sizes, several methods, and what programs read of it."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.metrics
import typer
from small_testset import NAMES, ORIGINALS, hole_of, save

from adacode_cli.cli.main import app
from adacode_cli.errors import InputError, OutputError, UsageError
from adacode_cli.evaluation.metrics import luma
from adacode_cli.evaluation.pairs import counterparts, load_pairs

NONE = ("--perceptual", "")


def run_eval(capfd, *arguments: object) -> str:
    capfd.readouterr()
    typer.main.get_command(app)(["eval", *(str(a) for a in arguments)], standalone_mode=False)
    out, err = capfd.readouterr()
    assert err == ""
    return out


def blurred(name: str, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(ORIGINALS[name], (0, 0), sigma)


@pytest.fixture
def originals(tmp_path) -> Path:
    for name in NAMES:
        save(tmp_path / "hr" / f"{name}.png", ORIGINALS[name])
    return tmp_path / "hr"


def restored(folder: Path, sigma: float, added: str = "") -> Path:
    for name in NAMES:
        save(folder / f"{name}{added}.png", blurred(name, sigma))
    return folder


@pytest.mark.parametrize("added", ["", "x4", "_x4", "-sr", " (1)", ".out", "X2.5"])
def test_names_may_go_on(added, originals, tmp_path):
    pairs = load_pairs(originals, restored(tmp_path / "out", 1, added))
    assert [(pair.name, pair.restored.name) for pair in pairs] == [(n, f"{n}{added}.png") for n in NAMES]


def test_a_file_belongs_to_the_longest_name_and_to_no_other_number():
    paths = {name: Path(f"{name}.png") for name in ("img1", "img10", "img1_a", "sub/img1")}
    found = {name: Path(f"{name}.png") for name in ("img1x4", "img10x4", "img1_a_out", "sub/img1_out", "img2")}
    chosen = counterparts(paths, found, Path("out"))
    assert {owner: path.stem for owner, path in chosen.items()} == {
        "img1": "img1x4",
        "img10": "img10x4",
        "img1_a": "img1_a_out",
        "sub/img1": "img1_out",
    }
    with pytest.raises(InputError, match="lacks 1 of the 1 images, such as img1"):
        counterparts({"img1": Path("img1.png")}, {"img10": Path("img10.png")}, Path("out"))
    two = {name: Path(f"{name}.png") for name in ("a_x2", "a_x4")}
    with pytest.raises(InputError, match="holds 2 files for a: a_x2, a_x4"):
        counterparts({"a": Path("a.png")}, two, Path("out"))
    exact = counterparts({"a": Path("a.png")}, two | {"a": Path("a.jpg")}, Path("out"))
    assert exact == {"a": Path("a.jpg")}


def test_several_methods_are_in_one_table(originals, tmp_path, capfd):
    near, far = restored(tmp_path / "near", 0.6), restored(tmp_path / "far", 2, "x4")
    lines = [line.split() for line in run_eval(capfd, "folders", originals, near, f"theirs={far}").splitlines() if line]
    assert lines[0] == ["method", "PSNR", "SSIM", "LPIPS"]
    rows = {line[0]: [float(v) for v in line[1:]] for line in lines if line[0] in ("near", "theirs")}
    assert rows["near"][0] > rows["theirs"][0]
    assert rows["near"][2] < rows["theirs"][2]
    for method, sigma in (("near", 0.6), ("theirs", 2)):
        expected = [
            skimage.metrics.peak_signal_noise_ratio(luma(ORIGINALS[n]), luma(blurred(n, sigma)), data_range=255)
            for n in NAMES
        ]
        assert rows[method][0] == pytest.approx(np.mean(expected), abs=0.006)


def test_json_and_csv_have_every_image(originals, tmp_path, capfd):
    near, far, table = restored(tmp_path / "near", 0.6), restored(tmp_path / "far", 2), tmp_path / "scores.csv"
    table.write_text("older")
    found = json.loads(run_eval(capfd, "folders", originals, near, far, *NONE, "--csv", table, "--json"))
    assert [(method["name"], method["folder"]) for method in found["methods"]] == [
        ("near", str(near)),
        ("far", str(far)),
    ]
    assert (found["version"], found["images"], found["perceptual"], found["border_px"]) == (1, 2, None, 4)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["image"]) for row in rows] == [(m, n) for m in ("near", "far") for n in NAMES]
    listed = [row for method in found["methods"] for row in method["rows"]]
    assert [float(row["psnr"]) for row in rows] == [row["scores"]["psnr"] for row in listed]
    assert {row["perceptual"] for row in rows} == {""}
    assert {row["cut"] for row in rows} == {"0"}
    for method in found["methods"]:
        assert method["means"]["psnr"] == pytest.approx(np.mean([row["scores"]["psnr"] for row in method["rows"]]))


def test_results_that_lack_the_rest_of_a_division_are_compared_with_the_rest_of_the_original(tmp_path, capfd):
    image = ORIGINALS["astronaut"][:95, :125]
    save(tmp_path / "hr" / "a.png", image)
    save(tmp_path / "out" / "a.png", image[:92, :124])
    out = run_eval(capfd, "folders", tmp_path / "hr", tmp_path / "out", *NONE)
    assert "out: 1 originals were cut at the right or the bottom to the size of the image" in out
    assert f"{10 * math.log10(255**2 / 1e-10):.2f}" in out, "the same pixels"
    for shape in ((87, 125), (96, 125)):
        save(tmp_path / "out" / "a.png", ORIGINALS["astronaut"][: shape[0], : shape[1]])
        with pytest.raises(InputError, match="and its original 125×95"):
            run_eval(capfd, "folders", tmp_path / "hr", tmp_path / "out", *NONE)


def test_a_test_set_whose_sizes_are_no_multiples_is_measured(weights, tmp_path, capfd):
    image = ORIGINALS["astronaut"][:95, :127]
    save(tmp_path / "hr" / "0001.png", image)
    lower = cv2.resize(image[:92, :124], (31, 23), interpolation=cv2.INTER_AREA)
    save(tmp_path / "lr_x4" / "0001x4.png", lower)
    arguments = ("sr", "--data", tmp_path, "-w", weights["sr-4"], *NONE, "--csv", tmp_path / "all.csv")
    out = run_eval(capfd, *arguments)
    assert "1 originals were cut at the right or the bottom to a multiple of the scale" in out
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["image"], row["cut"]) for row in rows] == [
        ("adacode", "0001", "1"),
        ("bicubic", "0001", "1"),
    ]
    bicubic = cv2.resize(lower, (124, 92), interpolation=cv2.INTER_CUBIC)
    expected = skimage.metrics.peak_signal_noise_ratio(luma(image[:92, :124]), luma(bicubic), data_range=255)
    assert float(rows[1]["psnr"]) == pytest.approx(expected)
    assert rows[0]["precision"] in ("fp32", "bf16")


def test_holes_are_measured_inside_a_mask(originals, tmp_path, capfd):
    out = restored(tmp_path / "out", 2)
    for name in NAMES:
        save(tmp_path / "masks" / f"{name}_mask.png", hole_of(name).astype(np.uint8) * 255)
    arguments = ("folders", originals, out, "--mask-dir", tmp_path / "masks", *NONE)
    found = json.loads(run_eval(capfd, *arguments, "--json"))
    assert found["border_px"] == 0
    for row in found["methods"][0]["rows"]:
        original, image, hole = ORIGINALS[row["name"]], blurred(row["name"], 2), hole_of(row["name"])
        expected = skimage.metrics.peak_signal_noise_ratio(original[hole], image[hole], data_range=255)
        assert row["scores"]["psnr"] == pytest.approx(expected)
        assert row["scores"]["ssim"] is None
    assert "inside the holes" in run_eval(capfd, *arguments)


def test_mistakes_are_reported(originals, tmp_path, capfd):
    near = restored(tmp_path / "near", 0.6)
    with pytest.raises(UsageError, match="two methods have the name near"):
        run_eval(capfd, "folders", originals, near, near)
    with pytest.raises(InputError, match="no such directory"):
        run_eval(capfd, "folders", originals, tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"is not a \.csv"):
        run_eval(capfd, "folders", originals, near, "--csv", tmp_path / "scores.txt")
    (near / "a.csv").write_text("mine")
    with pytest.raises(OutputError, match="would overwrite a file"):
        run_eval(capfd, "folders", originals, near, "--csv", near / "a.csv")
    (near / "coffee.png").unlink()
    with pytest.raises(InputError, match="lacks 1 of the 2 images, such as coffee"):
        run_eval(capfd, "folders", originals, near, *NONE)


def test_the_keys_are_documented(originals, tmp_path, capfd):
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    part = text.partition("## `adacode eval folders --json`")[2].partition("\n## ")[0]
    documented = {line.split("|")[1].strip(" `") for line in part.splitlines() if line.startswith("| `")}
    out = restored(tmp_path / "out", 1)
    found = json.loads(run_eval(capfd, "folders", originals, out, *NONE, "--json"))
    method = found["methods"][0]
    assert documented == {*found, *method, *method["rows"][0], *method["means"]}
