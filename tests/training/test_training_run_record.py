"""Run folders are read as they are found: growing, resumed, cut off by a crash, or with damage in the middle."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adacode_cli.errors import TrainingError
from adacode_cli.training.report.summary import summary
from adacode_cli.training.run_record import read_run


def write_log(folder: Path, name: str, lines: list[dict]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def stage_of(folder: Path, name: str):
    return next(stage for stage in read_run(folder).stages if stage.name == name)


@pytest.mark.parametrize("make", ["nothing", "file", "empty", "weights only"])
def test_a_folder_without_a_log_is_reported_with_what_to_do(tmp_path, make):
    run = tmp_path / "run"
    if make == "file":
        run.write_text("no folder")
    elif make != "nothing":
        run.mkdir()
    if make == "weights only":
        (run / "fused.safetensors").touch()
    with pytest.raises(TrainingError) as raised:
        read_run(run).require_lines()
    assert raised.value.exit_code == 8
    assert raised.value.path == run
    assert "adacode train" in raised.value.hint


def test_logs_without_a_line_are_no_run_yet(tmp_path):
    (tmp_path / "fused.jsonl").touch()
    with pytest.raises(TrainingError, match="no line yet"):
        read_run(tmp_path).require_lines()
    write_log(tmp_path, "basis-sky", [{"step": 50, "pixel": 1.0}])
    record = read_run(tmp_path)
    record.require_lines()
    assert [stage.name for stage in record.stages] == ["basis-sky"]
    assert record.notes == ("fused.jsonl holds no line yet.",)


def test_stages_come_in_the_order_of_training(tmp_path):
    names = ["sr-x2", "inpaint", "basis-start", "basis-a", "basis-zoo", "fused", "sr-x4", "another"]
    for name in names:
        write_log(tmp_path, name, [{"step": 1}])
    (tmp_path / "fused.safetensors").touch()
    stages = read_run(tmp_path).stages
    order = ["basis-start", "basis-a", "basis-zoo", "fused", "sr-x4", "sr-x2", "inpaint", "another"]
    assert [stage.name for stage in stages] == order
    assert [stage.name for stage in stages if stage.finished] == ["fused"]


def test_a_last_line_cut_off_anywhere_is_skipped_with_a_note(tmp_path):
    whole = [{"step": 50 * n, "total": 1 / n, "learning_rate": 1e-4} for n in (1, 2, 3)]
    path = write_log(tmp_path, "sr-x4", whole)
    data = path.read_bytes()
    last = len(json.dumps(whole[-1])) + 1
    for cut in range(2, last):
        path.write_bytes(data[:-cut])
        record = read_run(tmp_path)
        assert [dict(line) for line in record.stages[0].lines] == whole[:2], cut
        assert len(record.notes) == 1
        assert "last line of sr-x4.jsonl is incomplete" in record.notes[0]
    path.write_bytes(data[:-1])  # whole but for its newline
    assert len(read_run(tmp_path).stages[0].lines) == 3


def test_damage_in_the_middle_is_counted_and_the_rest_is_read(tmp_path):
    rows = [b'{"step": 1, "pixel": 2.5}', b"\x00\xff\xfe", b"[1]", b'{"pixel": 1}', b'{"step": "3"}', b"[" * 100_000]
    rows += [b'{"step": 9, "pixel": 1.5, "note": "text", "on": true, "none": null, "list": [1]}', b""]
    (tmp_path / "fused.jsonl").write_bytes(b"\n".join(rows))
    record = read_run(tmp_path)
    assert [dict(line) for line in record.stages[0].lines] == [{"step": 1, "pixel": 2.5}, {"step": 9, "pixel": 1.5}]
    assert record.notes == ("fused.jsonl: 5 damaged lines left out (2, 3, 4, 5, 6).",)


def test_a_resumed_run_has_each_step_once_and_the_later_one_counts(tmp_path):
    before = [{"step": s, "total": 1.0, "seconds": s / 10} for s in (50, 100, 150, 200)]
    again = [{"step": s, "total": 2.0, "seconds": (s - 100) / 10} for s in (150, 200, 250)]
    write_log(tmp_path, "fused", before + again)
    stage = stage_of(tmp_path, "fused")
    assert stage.series("total").steps == (50, 100, 150, 200, 250)
    assert stage.series("total").values == (1.0, 1.0, 2.0, 2.0, 2.0)
    assert stage.seconds() == pytest.approx(25.0)  # 10 s up to the checkpoint, 15 s since


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(allow_nan=True)), min_size=1, max_size=40))
def test_series_rise_and_are_finite_whatever_was_logged(tmp_path_factory, points):
    folder = tmp_path_factory.mktemp("run")
    write_log(folder, "fused", [{"step": step, "total": value} for step, value in points])
    series = stage_of(folder, "fused").series("total")
    assert list(series.steps) == sorted(set(series.steps))
    assert all(map(math.isfinite, series.values))
    last = dict(points)[points[-1][0]]
    if math.isfinite(last):
        assert (series.steps[-1], series.values[-1]) == (points[-1][0], last)


def test_settings_and_photographs_may_be_missing_or_damaged(tmp_path):
    write_log(tmp_path, "fused", [{"step": 1}])
    assert read_run(tmp_path) == replace(read_run(tmp_path), recipe=None, shards=None, notes=(), damage=())
    (tmp_path / "recipe.json").write_text('{"seed": 3}')
    (tmp_path / "shards.json").write_text('{"licence": "CC')
    record = read_run(tmp_path)
    assert record.recipe == {"seed": 3}
    assert record.shards is None
    assert record.notes == ("shards.json is damaged: left out.",)
    assert [error.path for error in record.damage] == [tmp_path / "shards.json"]


def test_samples_are_found_in_the_order_of_steps(tmp_path):
    write_log(tmp_path, "fused", [{"step": 1}])
    folder = tmp_path / "samples" / "fused"
    folder.mkdir(parents=True)
    for name in ("1000000.png", "000100.png", "020000.png", "notes.txt", ".000300.png.adacode-part", "last.png"):
        (folder / name).touch()
    assert [sample.step for sample in stage_of(tmp_path, "fused").samples] == [100, 20000, 1000000]


def test_the_figures_of_a_stage(tmp_path):
    lines = [
        {"step": 50, "total": 3.0, "used/sky": 0.2, "perplexity/sky": 10.0, "images_per_s": 1.0, "waiting": 0.5},
        {"step": 100, "total": 2.0, "used/sky": 0.8, "perplexity/sky": 90.0, "images_per_s": 9.0, "waiting": 0.1},
        {"step": 150, "total": 1.0, "used/sky": 0.49, "images_per_s": 8.0, "waiting": 0.3, "memory_mb": 7.0},
    ]
    lines[0] |= {"validation/psnr": 20.0, "validation/lpips": 0.5}
    lines[1] |= {"validation/psnr": 22.0, "validation/lpips": 0.3, "used/sea": 0.5}
    lines[2] |= {"validation/psnr": 21.0, "validation/lpips": 0.4}
    write_log(tmp_path, "fused", lines)
    figures = summary(stage_of(tmp_path, "fused"))
    assert (figures.steps, figures.seconds, figures.losses) == (150, None, (("total", 1.0),))
    assert (figures.images_per_s, figures.waiting, figures.memory_mb) == (8.0, pytest.approx(0.3), 7.0)
    assert [(m.name, m.last, m.best, m.best_step) for m in figures.validation] == [
        ("psnr", 21.0, 22.0, 100),
        ("lpips", 0.4, 0.3, 100),
    ]
    assert {use.basis: (use.perplexity, use.used, use.too_few) for use in figures.codes} == {
        "sky": (90.0, 0.49, True),
        "sea": (None, 0.5, False),
    }
    few, waits = figures.warnings()
    assert "49.0% of the codes of sky" in few
    assert "waited for data in 30%" in waits


def test_a_log_that_grows_is_read_further(tmp_path):
    path = write_log(tmp_path, "fused", [{"step": 1}])
    assert read_run(tmp_path).stages[0].updated <= time.time() + 1
    with path.open("a") as log:
        log.write('{"step": 2}\n')
    assert len(stage_of(tmp_path, "fused").lines) == 2
