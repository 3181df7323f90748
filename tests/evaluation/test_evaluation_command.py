"""`adacode eval` as a person and a script meet it: tables, JSON, the sheet of the worst, and mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from perceptual_fixture import save_perceptual
from PIL import Image
from small_testset import NAMES, ORIGINALS, hole_of, save, small

from adacode_cli.cli.evaluate import Evaluation, json_object, table_lines
from adacode_cli.cli.main import app
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import InputError, OutputError, UsageError, WeightsError
from adacode_cli.evaluation.metrics import perceptual_distance, psnr_in_hole
from adacode_cli.evaluation.perceptual import load_perceptual
from adacode_cli.evaluation.score import Row, Scores, evaluate
from adacode_cli.evaluation.testset import load_testset

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "json.md"
NONE = ("--perceptual", "")


def run_eval(capfd, *arguments: object) -> str:
    typer.main.get_command(app)(["eval", *(str(a) for a in arguments)], standalone_mode=False)
    out, err = capfd.readouterr()
    assert err == ""
    return out


@pytest.fixture(scope="module")
def perceptual(tmp_path_factory) -> Path:
    return save_perceptual(tmp_path_factory.mktemp("perceptual") / "lpips.safetensors")


def keys_documented() -> set[str]:
    """The keys that the part of docs/json.md about `adacode eval` names."""
    part = PAGE.read_text(encoding="utf-8").split("## `adacode eval --json`", 1)[1]
    rows = [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("| `")]
    return {key.strip("`") for key in rows}


def test_json_has_the_means_and_every_image(testset, weights, perceptual, capfd):
    arguments = ("--data", testset, "--weights", weights["sr-2"], "--perceptual", perceptual, "--device", "cpu")
    out = run_eval(capfd, "sr", *arguments, "--scale", 2, "--json")
    assert out.count("\n") == 1
    found = json.loads(out)
    restorer, network = Restorer.from_pretrained(str(weights["sr-2"]), device="cpu"), load_perceptual(perceptual)
    rows = evaluate(restorer, load_testset(testset, "sr", 2), "sr", 2, perceptual=network)
    assert (found["task"], found["scale"], found["images"], found["baseline_method"]) == ("sr", 2, 2, "bicubic")
    assert (found["weights"], found["perceptual"]) == (str(weights["sr-2"]), str(perceptual))
    assert (found["border_px"], found["worst"]) == (4, None)
    assert found["baseline"]["psnr"] == pytest.approx(np.mean([row.baseline.psnr for row in rows]))
    assert found["restored"]["ssim"] == pytest.approx(np.mean([row.restored.ssim for row in rows]), abs=1e-3)
    assert [row["name"] for row in found["rows"]] == list(NAMES)
    bicubic = cv2.resize(small("coffee", 2), ORIGINALS["coffee"].shape[1::-1], interpolation=cv2.INTER_CUBIC)
    expected = perceptual_distance(network, bicubic, ORIGINALS["coffee"])
    assert found["rows"][1]["baseline"]["perceptual"] == pytest.approx(expected, rel=1e-4)
    assert keys_documented() == {*found, *found["restored"]}


def test_json_of_holes_has_no_border_and_no_ssim(testset, weights, capfd):
    found = json.loads(run_eval(capfd, "inpaint", "--data", testset, "-w", weights["inpaint"], *NONE, "--json"))
    assert (found["border_px"], found["perceptual"], found["scale"]) == (0, None, 1)
    assert found["restored"]["ssim"] is None
    assert found["restored"]["perceptual"] is None
    found = json.loads(run_eval(capfd, "reconstruct", "--data", testset, "-w", weights["reconstruct"], "--json"))
    assert (found["border_px"], found["baseline"], found["baseline_method"]) == (4, None, None)
    assert found["rows"][0]["baseline"] is None


def test_a_table_has_every_image_then_the_means_then_what_they_are(testset, weights, perceptual, capfd):
    out = run_eval(capfd, "inpaint", "--data", testset, "-w", weights["inpaint"], "--perceptual", perceptual)
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0] == ["adacode", "adacode", "Telea", "Telea"]
    assert lines[1] == ["image", "PSNR", "LPIPS", "PSNR", "LPIPS"]
    first = [line[0] for line in lines]
    assert first.index(NAMES[0]) < first.index(NAMES[1]) < first.index("mean")
    expected = []
    for name, original in ORIGINALS.items():
        filled = cv2.inpaint(original, hole_of(name).astype(np.uint8), 5, cv2.INPAINT_TELEA)
        expected.append(psnr_in_hole(filled, original, hole_of(name)))
        row = next(line for line in lines if line[0] == name)
        assert float(row[3]) == pytest.approx(expected[-1], abs=0.006)
    mean = lines[first.index("mean")]
    assert mean[:3] == ["mean", "of", "2"]
    assert float(mean[5]) == pytest.approx(np.mean(expected), abs=0.006)
    assert "inside the holes" in out
    assert f"LPIPS: {perceptual}" in out


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_table_and_json_say_in_which_precision_images_were_computed(testset, weights, capfd, precision):
    arguments = ("--data", testset, "-w", weights["reconstruct"], "--device", "cpu", "--precision", precision)
    assert f"computed in {precision}" in run_eval(capfd, "reconstruct", *arguments).splitlines()
    found = json.loads(run_eval(capfd, "reconstruct", *arguments, "--json"))
    assert found["precisions"] == {precision: 2}
    assert [row["precision"] for row in found["rows"]] == [precision, precision]


def test_where_auto_takes_several_precisions_each_is_counted():
    scores = Scores(30.0, 0.9, None)
    rows = [Row(str(i), scores, None, precision) for i, precision in enumerate(("int8", "fp32", "fp32"))]
    found = Evaluation("reconstruct", 1, 1.0, "mine.safetensors", None, None, rows)
    assert "computed in int8 (1), fp32 (2)" in table_lines(found)
    assert json_object(found)["precisions"] == {"int8": 1, "fp32": 2}


def test_a_table_says_which_border_is_left_out(testset, weights, capfd):
    out = run_eval(capfd, "reconstruct", "--data", testset, "-w", weights["reconstruct"], *NONE)
    assert "without a border of 4 px" in out
    assert "LPIPS" not in out
    assert out.splitlines()[0].split() == ["adacode", "adacode"]


def test_the_worst_are_drawn_and_an_older_sheet_is_replaced(testset, weights, tmp_path, capfd):
    sheet = tmp_path / "worst.png"
    sheet.write_bytes(b"older")
    arguments = ("sr", "--data", testset, "-w", weights["sr-4"], "--worst", sheet)
    assert f"worst: {sheet}" in run_eval(capfd, *arguments)
    image = np.asarray(Image.open(sheet))
    assert image.shape[1] > 4 * 384
    assert list(tmp_path.iterdir()) == [sheet]
    assert json.loads(run_eval(capfd, *arguments, "--json"))["worst"] == str(sheet)


def test_a_directory_is_a_page_of_all_results_the_worst_first(testset, weights, tmp_path, capfd):
    page = tmp_path / "page"
    arguments = ("inpaint", "--data", testset, "-w", weights["inpaint"], *NONE, "--worst")
    rows = json.loads(run_eval(capfd, *arguments, page, "--json"))["rows"]
    sys.path.append(str(ROOT / "tests" / "gallery"))
    from gallery_page import data_of, details_of, entries_of

    found = entries_of(page)
    assert {entry["folder"] for entry in found.values()} == {"original", "input", "Telea"}
    for row in rows:
        entry = found[f"original/{row['name']}"]
        assert entry["figures"] == {"psnr": pytest.approx(row["restored"]["psnr"], abs=1e-4)}
        assert entry["sides"] == ["original", "adacode"]
        original, result = (np.asarray(Image.open(page / entry[side])) for side in ("original", "result"))
        np.testing.assert_array_equal(original, ORIGINALS[row["name"]])
        outside = ~hole_of(row["name"])
        np.testing.assert_array_equal(result[outside], original[outside])
        assert details_of(page)[entry["id"]]["hole"] is True
    assert data_of(page, "state")[0][0]["view"] == "folder=original&sort=psnr"
    for place in (testset / "page", testset):
        with pytest.raises(OutputError):
            run_eval(capfd, *arguments, place)


def exit_of(*arguments: object) -> tuple[int, str, str]:
    """The program as a process of its own: exit code, standard output, standard error."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "adacode_cli", "eval", *(str(a) for a in arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return result.returncode, result.stdout, result.stderr


def test_a_process_ends_with_the_documented_code(testset, weights, tmp_path):
    folder = Path(shutil.copytree(testset, tmp_path / "set"))
    shutil.rmtree(folder / "lr_x4")
    code, out, err = exit_of("sr", "--data", folder)
    assert (code, out) == (3, "")
    assert "lr_x4: there is no such directory" in err
    code, out, err = exit_of("sr", "--data", testset, "--worst", tmp_path / "none" / "worst.png", "--json")
    assert code == 6
    assert json.loads(out)["error"]["kind"] == "output"
    assert not (tmp_path / "none").exists()
    code, out, err = exit_of("sr", "--data", testset, "-w", weights["sr-4"], "--perceptual", "lpips-none")
    assert (code, out) == (4, "")
    assert "lpips-alex" in err


def test_mistakes_on_the_command_line(testset, weights, tmp_path, capfd):
    with pytest.raises(UsageError, match="2 or 4"):
        run_eval(capfd, "sr", "--data", testset, "--scale", 3, "-w", weights["sr-2"])
    with pytest.raises(InputError, match="no such directory"):
        run_eval(capfd, "sr", "--data", tmp_path)
    with pytest.raises(WeightsError):
        run_eval(capfd, "sr", "--data", testset, "-w", tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="is for sr, not for inpaint"):
        run_eval(capfd, "inpaint", "--data", testset, "-w", weights["sr-2"])


def test_a_sheet_that_cannot_be_written_is_reported_before_the_weights_are_read(testset, tmp_path, capfd):
    nothing = ("-w", tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match=r"is not a \.png"):
        run_eval(capfd, "sr", "--data", testset, *nothing, "--worst", tmp_path / "worst.jpg")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="is a directory"):
        run_eval(capfd, "sr", "--data", testset, *nothing, "--worst", tmp_path / "folder.png")
    with pytest.raises(OutputError, match="would overwrite the input"):
        run_eval(capfd, "sr", "--data", testset, *nothing, "--worst", testset / "hr" / "coffee.png")
    with pytest.raises(WeightsError):
        run_eval(capfd, "sr", "--data", testset, *nothing, "--worst", tmp_path / "worst.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png"]


def test_a_damaged_image_is_named(testset, weights, tmp_path, capfd):
    folder = Path(shutil.copytree(testset, tmp_path / "set"))
    (folder / "hr" / "coffee.png").write_bytes(b"no picture")
    with pytest.raises(InputError) as found:
        run_eval(capfd, "reconstruct", "--data", folder, "-w", weights["reconstruct"])
    assert str(found.value.path) == str(folder / "hr" / "coffee.png")


def test_names_of_all_kinds_are_shown(weights, tmp_path, capfd):
    save(tmp_path / "hr" / "[red]ж.png", ORIGINALS["coffee"])
    arguments = ("reconstruct", "--data", tmp_path, "-w", weights["reconstruct"])
    assert "[red]ж" in run_eval(capfd, *arguments, "--worst", tmp_path / "worst.png")
