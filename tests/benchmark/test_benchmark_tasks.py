"""What `adacode bench` says in its first lines: the speed of each task, and whether other programs disturbed it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer

from adacode_cli.benchmark import calm, task_speed
from adacode_cli.benchmark.calm import Load, Watch
from adacode_cli.benchmark.task_speed import TaskSpeed, spread_of, task_speeds
from adacode_cli.benchmark.whole import BenchSettings, Measurements
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.cli.bench_text import lines
from adacode_cli.cli.main import app
from adacode_cli.engine.device import computes_bf16
from adacode_cli.errors import DeviceError, WeightsError

CPU = torch.device("cpu")
QUIET = Load(0.1, 2, 2, 0.01)
FAST = TaskSpeed("sr", 4, "int8", 0.5, 2.0, 3.0, 0.02, True)
SLOW = TaskSpeed("sr", 4, "fp32", 1.5, 1 / 1.5, 1.0, 0.03, False)


def bench(capfd, *arguments: object) -> str:
    typer.main.get_command(app)(["bench", *(str(a) for a in arguments)], standalone_mode=False)
    out, err = capfd.readouterr()
    assert err == ""
    return out


def told(*tasks: TaskSpeed, load: Load = QUIET) -> list[str]:
    settings = BenchSettings("w", 4, np.zeros((1, 1, 3), np.uint8), 16, 0, 0.5, (), 1)
    return list(lines(settings, Measurements("cpu", (), None, (), (), None, None, tasks, load)))


def test_a_file_for_one_task_is_measured_for_this_task_alone(weights):
    steps: list[str] = []
    (found,) = task_speeds(WeightsSource(str(weights)), CPU, 2, "fp32", steps.append)
    assert (found.task, found.scale, found.precision, found.ratio) == ("sr", 2, "fp32", 1.0)
    assert found.megapixels_per_second * found.seconds_per_megapixel == pytest.approx(1)
    assert found.is_auto == (not computes_bf16(CPU)), "the faster of the two is what auto takes"
    assert steps == ["each task in each precision", "round 1", "round 2", "round 3"]


def test_the_time_of_a_megapixel_is_that_of_the_results_not_of_the_inputs(weights, monkeypatch):
    monkeypatch.setattr(task_speed._Case, "seconds", lambda self, side: 2.0 * side**2 / 1e6)
    (found,) = task_speeds(WeightsSource(str(weights)), CPU, 2, "fp32", lambda _: None)
    assert found.seconds_per_megapixel == pytest.approx(2)
    assert found.spread == 0


def test_the_bundled_family_is_measured_for_every_task_in_the_precisions_of_the_device():
    found = task_speeds(WeightsSource("compact"), CPU, 4, "bf16", lambda _: None)
    assert [(one.task, one.scale, one.precision) for one in found] == [
        (task, scale, precision)
        for task, scale in (("sr", 4), ("inpaint", 1), ("reconstruct", 1))
        for precision in ("fp32", "bf16")
    ]
    assert [one.ratio for one in found if one.precision == "fp32"] == [1, 1, 1]


def test_int8_is_offered_where_it_can_be_computed_and_the_weights_have_ranges(weights, monkeypatch):
    networks = [WeightsSource(name).network("sr", 2)[0] for name in ("compact", str(weights))]
    monkeypatch.setattr(task_speed, "computes_bf16", lambda _: False)
    for installed in (True, False):
        monkeypatch.setattr(task_speed, "has_openvino", lambda installed=installed: installed)
        offered = [list(task_speed._offered(CPU, network)) for network in networks]
        assert offered == [["int8"] if installed else [], []]


def test_what_cannot_be_measured_is_an_error(weights, monkeypatch):
    damaged = weights.with_name("damaged.safetensors")
    damaged.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="damaged"):
        task_speeds(WeightsSource(str(damaged)), CPU, 2, "fp32", lambda _: None)
    monkeypatch.setattr("adacode_cli.engine.device.has_openvino", lambda: False)
    with pytest.raises(DeviceError, match="OpenVINO"):
        task_speeds(WeightsSource(str(weights)), CPU, 2, "int8", lambda _: None)


def test_a_slow_machine_gets_two_rounds_and_a_fast_one_many(monkeypatch):
    monkeypatch.undo()  # the lengths as they are
    assert [next(n for n in range(99) if task_speed._is_enough(n, n * took)) for took in (0.1, 1.5, 4.0, 60.0)] == [
        9,
        6,
        3,
        2,
    ]


def test_the_spread_is_of_ratios_so_a_slow_round_does_not_count():
    steady = [[1.0, 3.0], [2.0, 6.0], [1.5, 4.5]]
    assert spread_of(steady, 0) == spread_of(steady, 1) == 0
    uneven = [[1.0, 4.0], [2.0, 4.0], [1.2, 4.0]]
    assert spread_of(uneven, 0) == pytest.approx((2 / 4 - 1 / 4) / (1.2 / 4))
    assert spread_of([[1.0], [2.0], [1.0]], 0) == 1


@pytest.mark.parametrize(
    ("load", "disturbs"),
    [
        (Load(7.0, 2, 2, 0.05), False),  # whoever wanted the processor before has ended
        (Load(0.0, 2, 2, 0.2), True),
        (Load(1.2, 2, 1, None), False),
        (Load(1.2, 2, 2, None), True),
        (Load(None, 2, 2, None), False),
    ],
    ids=str,
)
def test_what_disturbs(load, disturbs):
    assert load.is_disturbing() == disturbs


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="programs cannot be put onto one core here")
def test_waiting_for_a_core_that_others_use_is_seen():
    code = (
        "import os, subprocess, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from adacode_cli.benchmark.calm import Watch\n"
        "others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(3)]\n"
        "watch = Watch()\n"
        "total = sum(range(20_000_000))\n"
        "load = watch.load()\n"
        "for other in others: other.kill(); other.wait()\n"
        "print(load.waited_share, load.is_disturbing())"
    )
    share, disturbs = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert share == "None" or (float(share) > 0.3 and disturbs == "True")


def test_a_system_that_tells_nothing_of_threads(monkeypatch, tmp_path):
    monkeypatch.setattr(calm, "_THREADS", tmp_path / "none")
    assert Watch().load().waited_share is None
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "schedstat").write_text("no numbers")
    monkeypatch.setattr(calm, "_THREADS", tmp_path)
    assert Watch().load().waited_share is None


def test_a_quiet_machine_has_final_figures():
    text = told(SLOW, FAST)
    assert "  sr ×4       fp32        1.5   0.667    1.00       3%" in text
    assert "              int8*       0.5       2    3.00       2%" in text
    assert "fastest: int8 for sr" in text
    assert text[-4:] == [
        "load 0.1 on 2 cores before",
        "threads waited 1% of their time for a core",
        "ratios spread by up to 3%",
        "final: nothing else disturbed the measurement",
    ]


def test_a_busy_machine_has_none():
    by_load = told(SLOW, FAST, load=replace(QUIET, waited_share=0.4))
    close = "Close other programs and measure again."
    assert " ".join(by_load[-2:]) == f"NOT FINAL: other programs used the processor. {close}"
    by_spread = told(SLOW, replace(FAST, spread=0.3))
    assert " ".join(by_spread[-2:]) == f"NOT FINAL: ratios differ from round to round. {close}"
    assert by_spread[-3] == "ratios spread by up to 30%"
    assert max(map(len, (*by_load[3:], *by_spread[3:]))) <= 60


def test_without_options_nothing_else_is_measured(weights, capfd, monkeypatch):
    monkeypatch.setattr("adacode_cli.benchmark.whole.ceiling", None)
    found = json.loads(bench(capfd, "-w", weights, "-s", 2, "--device", "cpu", "--precision", "fp32", "--json"))
    assert [one["task"] for one in found["tasks"]] == ["sr"]
    assert (found["ceilings"], found["passes"], found["yardstick_seconds"], found["files"]) == ([], [], None, None)
    assert found["load"]["cores"] == os.cpu_count()
    assert isinstance(found["final"], bool)
    text = bench(capfd, "-w", weights, "-s", 2, "--device", "cpu", "--precision", "fp32")
    star = "" if computes_bf16(CPU) else r"\*"
    assert re.search(rf"^  sr ×2 +fp32{star} +[\d.e+-]+ +[\d.e+-]+ +1\.00 +\d+%$", text, re.MULTILINE)
    assert re.search(r"^(final|NOT FINAL): ", text, re.MULTILINE)
    assert "GFLOP" not in text


@pytest.mark.parametrize("option", [("--full",), ("--side", 24), ("--repeats", 1), ("--files", 0)], ids=str)
def test_full_and_each_of_its_options_measure_the_rest(weights, capfd, monkeypatch, option):
    monkeypatch.setattr("adacode_cli.benchmark.whole.files", lambda *_: None)
    found = json.loads(
        bench(capfd, "-w", weights, "-s", 2, "--device", "cpu", "--precision", "fp32", "--json", *option)
    )
    assert found["tasks"]
    assert [one["name"] for one in found["passes"]] == ["plain", "fp32"]


def test_settings_of_the_rest_in_a_file_do_not_measure_it(weights, capfd, tmp_path):
    (tmp_path / "mine.toml").write_text("[bench]\nrepeats = 5\n")
    options = ("--device", "cpu", "--precision", "fp32", "--config", tmp_path / "mine.toml", "--json")
    typer.main.get_command(app)(["bench", "-w", str(weights), "-s", "2", *map(str, options)], standalone_mode=False)
    assert json.loads(capfd.readouterr().out)["passes"] == []
