"""`adacode train report` as people meet it: what it writes, what it refuses, and with which exit code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from adacode_cli.cli.boundary import Invocation, guarded
from adacode_cli.cli.train import report

if importlib.util.find_spec("matplotlib") is None:
    pytest.skip("matplotlib is not installed", allow_module_level=True)


ROOT = Path(__file__).parents[2]


def run_report(*arguments: object) -> int:
    """The command behind the boundary that all commands run behind; its exit code."""
    app = typer.Typer()
    app.command("report")(report)
    command = typer.main.get_command(app)

    def started(invocation: Invocation) -> object:
        return command([str(argument) for argument in arguments], standalone_mode=False, obj=invocation)

    return guarded(started)


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "fused.jsonl").write_text('{"step": 50, "total": 2.0}\n{"step": 100, "total": 1.0}\n{"step": 150, "t')
    return folder


def test_both_files_are_written_and_their_paths_printed(run, capfd):
    assert run_report(run) == 0
    out, err = capfd.readouterr()
    assert [Path(line) for line in out.splitlines()] == [run / "report.html", run / "report.png"]
    assert (run / "report.html").read_bytes().startswith(b"<!DOCTYPE html>")
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")
    assert err.splitlines() == [
        "The last line of fused.jsonl is incomplete (still being written, or cut off by a crash): left out."
    ]


def test_the_files_in_the_run_follow_the_log(run):
    assert run_report(run) == 0
    first = (run / "report.html").read_text(encoding="utf-8")
    with (run / "fused.jsonl").open("a") as log:
        log.write('otal": 0.5}\n')
    assert run_report(run) == 0
    second = (run / "report.html").read_text(encoding="utf-8")
    assert "incomplete" in first
    assert "incomplete" not in second
    assert '<td class="number">150</td>' in second
    assert sorted(path.name for path in run.iterdir()) == ["fused.jsonl", "report.html", "report.png"]


@pytest.mark.parametrize(("name", "start"), [("page.HTML", b"<!DOCTYPE html>"), ("curves.png", b"\x89PNG")])
def test_the_suffix_picks_what_is_written(run, tmp_path, name, start, capfd):
    assert run_report(run, "-o", tmp_path / name) == 0
    assert (tmp_path / name).read_bytes().startswith(start)
    assert capfd.readouterr().out == f"{tmp_path / name}\n"
    assert [path.name for path in run.iterdir()] == ["fused.jsonl"]


def test_a_file_that_exists_is_kept_unless_a_person_says_so(run, tmp_path, capfd):
    target = tmp_path / "page.html"
    target.write_text("mine")
    assert run_report(run, "-o", target) == 6
    assert target.read_text() == "mine"
    assert "--overwrite" in capfd.readouterr().err
    assert run_report(run, "-o", target, "--overwrite") == 0
    assert target.read_bytes().startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("page.pdf", 2, ".html nor .png"), ("report", 3, "has no samples"), ("missing/page.html", 6, "no such")],
)
def test_a_place_that_does_not_serve_is_reported(run, tmp_path, name, code, message, capfd):
    assert run_report(run, "-o", tmp_path / name) == code
    assert message in capfd.readouterr().err


def test_a_folder_named_like_a_page_is_reported(run, tmp_path, capfd):
    (tmp_path / "page.html").mkdir()
    assert run_report(run, "-o", tmp_path / "page.html", "--overwrite") == 6
    assert "is a directory" in capfd.readouterr().err


def test_a_folder_that_is_no_run_is_reported_and_left_alone(tmp_path, capfd):
    assert run_report(tmp_path) == 8
    out, err = capfd.readouterr()
    assert out == ""
    assert "holds no training log" in err
    assert "adacode train" in err
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_nothing_is_written(run, monkeypatch, capfd):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run_report(run) == 2
    assert "pip install 'adacode-cli[train]'" in capfd.readouterr().err
    assert [path.name for path in run.iterdir()] == ["fused.jsonl"]


def test_the_samples_are_a_page_of_outputs_beside_inputs_and_targets(run, tmp_path, capfd):
    np, validation = pytest.importorskip("numpy"), importlib.import_module("adacode_cli.training.validation")
    colors = {step: [(step // 100, side, row) for row in (1, 2) for side in (10, 20, 30)] for step in (50, 100, 150)}
    for step, some in colors.items():
        images = [np.full((16, 16, 3), color, np.uint8) for color in some]
        sheet = validation.sample_sheet([tuple(images[:3]), tuple(images[3:])])
        validation.write_sample_sheet(run / "samples" / "fused" / f"{step:06d}.png", sheet)
    assert run_report(run, "-o", tmp_path / "page") == 0
    assert capfd.readouterr().out == f"{tmp_path / 'page' / 'index.html'}\n"
    sys.path.append(str(ROOT / "tests" / "gallery"))
    from gallery_page import entries_of
    from PIL import Image

    found = entries_of(tmp_path / "page")
    assert len(found) == 2 * 2 * 3
    entry = found["fused/target/step 000100, 2"]
    assert (entry["sides"], entry["figures"]) == (["output", "target"], {"step": 100})
    for side, color in (("original", (1, 20, 2)), ("result", (1, 30, 2))):
        assert Image.open(tmp_path / "page" / entry[side]).getpixel((8, 8)) == color
    assert run_report(run, "-o", run / "samples") == 6  # It has other files.


def test_it_is_a_command_of_the_program(run):
    command = [sys.executable, "-m", "adacode_cli", "train", "report", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"{run / 'report.html'}\n{run / 'report.png'}\n")
    (run / "fused.jsonl").unlink()
    failed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (failed.returncode, failed.stdout) == (8, "")
    assert "holds no training log" in failed.stderr
