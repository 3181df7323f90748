"""`adacode bench` as a person and a script meet it: lines, JSON, and mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from adacode_cli.benchmark.files import Files
from adacode_cli.benchmark.whole import BenchSettings, Measurements
from adacode_cli.cli.bench_text import lines
from adacode_cli.cli.main import app
from adacode_cli.errors import DeviceError, InputError, OutputError, UsageError, WeightsError
from adacode_cli.model.network import AdaCode

PAGE = Path(__file__).parents[2] / "docs" / "json.md"


def bench(capfd, *arguments: object) -> str:
    typer.main.get_command(app)(["bench", *(str(a) for a in arguments)], standalone_mode=False)
    out, err = capfd.readouterr()
    assert err == ""
    return out


def few(weights: Path) -> tuple[object, ...]:
    return ("-w", weights, "-s", 2, "--side", 24, "--repeats", 1, "--device", "cpu", "--megapixels", 0.002)


def test_json_has_what_its_page_says(weights, capfd, monkeypatch):
    monkeypatch.setattr("adacode_cli.benchmark.speed.MEGAPIXELS", (1,))
    out = bench(capfd, *few(weights), "--files", 2, "--growth", "--precision", "bf16", "--json")
    assert out.count("\n") == 1
    found = json.loads(out)
    assert (found["version"], found["task"], found["scale"], found["side"]) == (1, "sr", 2, 24)
    assert (found["machine"]["device"], found["weights"]) == ("cpu", str(weights))
    assert [one["precision"] for one in found["ceilings"]] == ["fp32", "bf16"]
    assert [one["name"] for one in found["passes"]] == ["plain", "fp32", "bf16"]
    assert found["passes"][1]["psnr_db"] > 80
    assert (found["files"]["count"], found["files"]["megapixels"]) == (2, 0.002025)
    assert [one["megapixels"] for one in found["growth"]] == [1]
    part = PAGE.read_text(encoding="utf-8").split("## `adacode bench", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`(\w+)`", "\n".join(rows)))
    keys = {*found, *found["ceilings"][0], *found["passes"][0], *found["growth"][0], *found["files"]}
    assert keys <= named
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])} == set(found)


def test_a_person_gets_lines(weights, capfd):
    out = bench(capfd, *few(weights), "--files", 1, "--precision", "fp32")
    assert re.search(r"^cpu: .+ cores, ", out)
    assert "GFLOP/s at most in fp32: matrices " in out
    assert f"{weights}, 24×24 → 48×48" in out
    assert re.search(r"^  plain +[\d.]+ +1\.00 +\d+$", out, re.MULTILINE)
    assert re.search(r"^  fp32 +[\d.]+ +[\d.]+ +\d+ +([\d.]+|inf)$", out, re.MULTILINE)
    assert re.search(r"^1 JPEGs of 0.002 MP: engine .+ whole run .+ times the engine$", out, re.MULTILINE)
    assert "at this speed" not in out  # too short to reckon with


def test_a_run_that_is_long_enough_says_what_an_archive_takes():
    files = Files(10, 0.5, 90.0, 100.0, 1.11)
    settings = BenchSettings("w", 2, np.zeros((1, 1, 3), np.uint8), 16, 10, 0.5, (), 1)
    *_, last = lines(settings, Measurements("cpu", (), 1.0, (), (), files))
    assert last == "at this speed 10000 photographs of 1 MP, ×2, take 55.6 hours"


def test_equal_images_are_json_too(weights, capfd, monkeypatch):
    monkeypatch.setattr("adacode_cli.benchmark.speed.psnr", lambda *_: float("inf"))
    out = bench(capfd, *few(weights), "--files", 0, "--precision", "fp32", "--json")
    assert [one["psnr_db"] for one in json.loads(out, parse_constant=pytest.fail)["passes"]] == [None, None]


def test_memory_that_runs_out_is_no_bug(weights, monkeypatch):
    monkeypatch.setattr(AdaCode, "forward", lambda *_: torch.empty(1 << 62, dtype=torch.uint8))
    with pytest.raises(DeviceError, match="out of memory") as raised:
        typer.main.get_command(app)(["bench", *(str(a) for a in few(weights))], standalone_mode=False)
    assert "--side" in raised.value.hint


def test_no_room_for_files_is_reported(weights, monkeypatch, tmp_path):
    (tmp_path / "photos").touch()  # where the folder of photographs should be made
    monkeypatch.setattr("adacode_cli.benchmark.files.tempfile.mkdtemp", lambda *_: str(tmp_path))
    with pytest.raises(OutputError, match="cannot be written") as raised:
        typer.main.get_command(app)(["bench", *(str(a) for a in few(weights))], standalone_mode=False)
    assert "TMPDIR" in raised.value.hint


def test_a_photograph_of_ones_own_and_no_run(weights, capfd, tmp_path):
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((9, 30), 40_000, np.uint16)).save(grey)
    out = bench(capfd, *few(weights), "--files", 0, "--photo", grey)
    assert "plain" in out
    assert "JPEGs" not in out


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("--scale", 3), UsageError, "not 2 or 4"),
        (("--side", 8), UsageError, "from 16"),
        (("--files", -1), UsageError, "from 0"),
        (("--megapixels", 0), UsageError, "less than 0.001"),
        (("--megapixels", "nan"), UsageError, "less than 0.001"),
        (("--megapixels", 20, "--files", 60), UsageError, "more than 1000"),
        (("--repeats", 0), UsageError, "less than 1"),
        (("--photo", "nowhere.png"), InputError, "no such file"),
        (("--device", "cuda:77"), DeviceError, "no CUDA|no cuda:77"),
        (("--device", "tpu"), UsageError, "unknown device"),
        (("--weights", "nothing"), WeightsError, "nothing"),
    ],
    ids=str,
)
def test_mistakes_are_reported_before_anything_is_measured(monkeypatch, arguments, error, match):
    monkeypatch.setattr("adacode_cli.benchmark.whole.ceiling", None)
    with pytest.raises(error, match=match):
        typer.main.get_command(app)(["bench", *(str(a) for a in arguments)], standalone_mode=False)
