"""`benchmarks/on_gpu.py` rehearsed on a CPU, as a process of its own, so that on a GPU nothing of it is new."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "on_gpu.py"
MAX_FILES, MAX_BYTES = 8, 16 << 20
HANGS = 'python -c \'import subprocess, sys, time; subprocess.Popen(["sleep", "987"]); print(1); time.sleep(987)\''


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", *(str(argument) for argument in arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}


def on_gpu(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, check=False)


def wheel(folder: Path, module: str) -> Path:
    """A wheel of one module, as small as they get."""
    folder.mkdir(exist_ok=True)
    name, info = f"{module}-1.0", f"{module}-1.0.dist-info"
    files = {
        f"{module}.py": "VALUE = 7\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return folder


def rows(page: str) -> dict[str, dict[str, str]]:
    """The summary's table: part → column → cell."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    names = [cell.strip() for cell in lines[0].strip("|").split("|")]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    return {row[0]: dict(zip(names, row, strict=True)) for row in cells}


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """All parts, with time enough for a busy machine; training ends by its steps."""
    folder = tmp_path_factory.mktemp("on-gpu")
    wheels = wheel(folder / "wheels", "adacode_invented_module")
    options = ("--minutes", 60, "--wheels", wheels, "--module", "adacode_invented_module")
    done = on_gpu("--out", folder / "out", *options, "--", "--steps", 2, "--validate-every", 1)
    return folder / "out", done


def test_every_part_comes_to_a_good_end(rehearsal):
    out, done = rehearsal
    page = (out / "summary.md").read_text(encoding="utf-8")
    assert done.returncode == 0, page
    found = rows(page)
    assert list(found) == ["preparation", "tests", "engine", "end-to-end", "training"]
    for row in found.values():
        assert set(row["ended"].split("<br>")) == {"exit 0"}, row
        assert float(row["seconds"]) > 0
    assert done.stdout.strip().endswith(page[page.index("| part |") :].strip())


def test_figures_are_those_of_real_measurements(rehearsal):
    out, _ = rehearsal
    found = {name: row["figures"] for name, row in rows((out / "summary.md").read_text(encoding="utf-8")).items()}
    assert re.search(r"torch \d+\.\d+", found["preparation"])
    assert "installed: adacode_invented_module" in found["preparation"]
    assert "cannot be imported" not in found["preparation"]
    assert int(re.search(r"(\d+) passed", found["tests"])[1]) > 2
    ratios = [float(text) for text in re.findall(r"compact 24² \w+ [\d.]+ s, ratio ([\d.]+)", found["engine"])]
    assert len(ratios) >= 4
    assert all(0.01 < ratio < 100 for ratio in ratios)
    assert "4 of 4 photographs" in found["end-to-end"]
    assert float(re.search(r"([\d.]+) of the limit", found["end-to-end"])[1]) > 0
    assert "2 steps" in found["training"]
    assert re.search(r"[\d.e+-]+ images/s", found["training"])
    assert "kept: sr-x4.jsonl, sr-x4.safetensors" in found["training"]


def test_what_comes_back_is_small_flat_and_whole(rehearsal):
    from adacode_cli.checkpoints.format import read_weights

    out, _ = rehearsal
    files = sorted(out.rglob("*"))
    assert len(files) <= MAX_FILES
    assert all(path.is_file() and path.parent == out for path in files)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", path.name) for path in files)
    assert all(0 < path.stat().st_size < MAX_BYTES for path in files)
    logs = [f"{number}-{name}.log" for number, name in enumerate(("preparation", "tests", "engine", "end-to-end"))]
    names = {path.name for path in files}
    assert {*logs, "4-training.log", "summary.md", "sr-x4.jsonl", "sr-x4.safetensors"} == names
    assert read_weights(out / "sr-x4.safetensors").config.scale == 4


def running(word: str) -> list[str]:
    """Command lines of processes with a word in them."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if word in line and "on_gpu.py" not in line]


def test_a_part_that_hangs_is_ended_with_its_children_and_the_others_run(tmp_path):
    parts = (
        "--also",
        f"hangs={HANGS}",
        "--also",
        "fails=python -c 'raise SystemExit(3)'",
        "--also",
        "works=echo 42 it is",
    )
    done = on_gpu("--out", tmp_path / "out", "--only", "", *parts, "--limit", "hangs=4", "--minutes", 10)
    found = rows((tmp_path / "out" / "summary.md").read_text(encoding="utf-8"))
    assert done.returncode == 1
    assert found["hangs"]["ended"] == "stopped at its limit: killed by SIGTERM"
    assert found["fails"]["ended"] == "exit 3"
    assert (found["works"]["ended"], found["works"]["figures"]) == ("exit 0", "42 it is")
    assert running("sleep 987") == []
    assert (tmp_path / "out" / "7-works.log").read_text().splitlines()[1] == "42 it is"


def test_what_heeds_no_signal_is_killed(tmp_path):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(986)"
    options = ("--only", "", "--also", f'deaf=python -c "{deaf}"', "--limit", "deaf=4")
    on_gpu("--out", tmp_path / "out", *options)
    found = rows((tmp_path / "out" / "summary.md").read_text(encoding="utf-8"))
    assert found["deaf"]["ended"] == "stopped at its limit: killed by SIGKILL"
    assert running("sleep(986)") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_ends_what_runs_and_the_summary_is_written(tmp_path, number):
    out = tmp_path / "out"
    options = ("--out", out, "--only", "", "--also", f"hangs={HANGS}", "--also", "later=echo never")
    process = subprocess.Popen(
        command(*options),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (a shell may have it ignored)
    )
    log = out / "5-hangs.log"
    while not log.is_file() or log.read_text().splitlines()[1:] != ["1"]:
        assert process.poll() is None
        time.sleep(0.1)
    assert rows((out / "summary.md").read_text(encoding="utf-8"))["hangs"]["ended"] == "running"
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == 130
    found = rows((out / "summary.md").read_text(encoding="utf-8"))
    assert found["hangs"]["ended"] == "interrupted: killed by SIGTERM"
    assert found["later"]["ended"] == "not run: interrupted"
    assert "not run: interrupted" in output.splitlines()[-1]
    assert running("sleep 987") == []


def test_a_program_that_is_not_there_fails_alone(tmp_path):
    options = ("--only", "", "--also", "absent=no-such-program-of-ours -x", "--also", "works=echo 1")
    done = on_gpu("--out", tmp_path / "out", *options)
    found = rows((tmp_path / "out" / "summary.md").read_text(encoding="utf-8"))
    assert (done.returncode, found["absent"]["ended"], found["works"]["ended"]) == (1, "exit 127", "exit 0")


def test_a_log_that_is_too_long_loses_its_middle(tmp_path):
    options = ("--only", "", "--also", """long=python -c 'print("a" * (20 << 20)); print("end")'""")
    on_gpu("--out", tmp_path / "out", *options)
    log = tmp_path / "out" / "5-long.log"
    assert log.stat().st_size < MAX_BYTES
    assert "end" in log.read_text().splitlines()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--only", "engines"), "no part 'engines'"),
        (("--also", "a/b=echo"), "not NAME=COMMAND"),
        (("--also", "more=echo"), "9 files would be written"),
        (("--limit", "tests"), "not PART=SECONDS"),
        (("--limit", "typo=3"), "is of no part"),
        (("--task", "sharpen"), "invalid choice"),
        (("--minutes", "nan"), "not a number above 0"),
        (("--wheels", "/nowhere"), "is not a directory"),
        (("--only", "none-", "--also", "x='"), "no part"),
        (("--only", "tests", "--also", "x=python -c 'print"), "not closed"),
        (("--jobs", "0"), "less than 1"),
    ],
    ids=str,
)
def test_mistakes_are_reported_before_anything_runs(tmp_path, arguments, match):
    done = on_gpu("--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert match in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("1")
    done = on_gpu("--out", tmp_path)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
