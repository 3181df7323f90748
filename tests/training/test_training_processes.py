"""Several processes learn what one does from the same batches, through the real command and real messages."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_recipes import tiny_recipe, tiny_session

from adacode_cli.errors import UsageError
from adacode_cli.training.processes import OneProcess, joined
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_basis, run_fuse, run_joint, run_restore

ROOT = Path(__file__).parent.parent.parent
INSTALLED = importlib.util.find_spec("accelerate") is not None
needs_accelerate = pytest.mark.skipif(not INSTALLED, reason="accelerate is not installed (extra [train])")
# Gradients are summed in another order; Adam's first steps turn that into differences of weights.
CLOSE = 1e-4
NOT_LEARNT = ("images_per_s", "waiting", "memory_mb", "seconds")
ADVERSARIAL = {"restore__loss__adversarial": 0.1, "restore__loss__contrastive": 1.0, "restore__adversarial_from": 0.0}


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    plain = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "TERM": "dumb", "HF_HUB_OFFLINE": "1"}
    return os.environ | plain | more


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def telling_threads(folder: Path) -> str:
    """A PYTHONPATH that makes every process write the names of its last threads into `folder`/threads.txt."""
    folder.mkdir()
    tell = f"""
import atexit, pathlib
def tell():
    names = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    with open({str(folder / "threads.txt")!r}, "a") as file:
        file.write("".join(["exit\\n", *names]))
atexit.register(tell)
"""
    (folder / "sitecustomize.py").write_text(tell)
    return os.pathsep.join([str(folder), str(ROOT)])


def in_pair(*arguments: object, **more: str) -> list[tuple[int, str, str]]:
    """The command in two processes, as a launcher starts them: exit code, standard output and error of each."""
    port, started = free_port(), []
    for rank in ("0", "1"):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-m", "adacode_cli", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=environment(**place) | more, text=True, **pipes))
    try:
        outputs = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *words) for process, words in zip(started, outputs, strict=True)]


def options(recipe: Path, *more: object) -> list[object]:
    return ["-c", recipe, "--device", "cpu", "--precision", "fp32", "--threads", "1", "--validate-every", "1", *more]


def saved(path: Path, **settings: object) -> Path:
    """A tiny recipe as a file for --config."""
    path.write_text(json.dumps(tiny_recipe(**settings).to_dict()))
    return path


def lines(folder: Path, name: str) -> list[dict[str, float]]:
    read = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in NOT_LEARNT and "validation" not in k} for line in read]


def assert_alike(one: Path, many: Path, name: str) -> list[dict[str, float]]:
    """The same losses in every step, and weights that are as near as that makes them."""
    first, second = lines(one, name), lines(many, name)
    assert len(first) == len(second) > 1
    for a, b in zip(first, second, strict=True):
        # A norm magnifies what two sums in different order make of codes that are nearly equally near.
        assert b.pop("gradient") == pytest.approx(a.pop("gradient"), rel=1e-2)
        assert b == pytest.approx(a, rel=CLOSE, abs=CLOSE)
    weights = [load_file(folder / f"{name}.safetensors") for folder in (one, many)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][k], weights[1][k], atol=2e-3) for k in weights[0])
    return first


def alone(shards: Path, folder: Path, run, **settings: object) -> Path:
    assert run(tiny_session(shards, RunFolder(folder), tiny_recipe(**settings)))
    return folder


@pytest.fixture(scope="module")
def fused(shards, tmp_path_factory) -> Path:
    """A run folder with stages I and II. Not to be changed."""
    folder = alone(shards, tmp_path_factory.mktemp("fused"), run_basis, steps=2)
    return alone(shards, folder, lambda session: run_fuse(session, folder), steps=2)


@needs_accelerate
def test_accelerate_launch_trains_stage_one_in_two_processes(shards, tmp_path):
    """Without a configuration file of its own and without a network; both find one another on this machine."""
    settings = {"steps": 12, "batch": 4, "start_share": 0.4}
    one, two = alone(shards, tmp_path / "one", run_basis, **settings), tmp_path / "two"
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", free_port()]
    train = ["-m", "adacode_cli", "train", "basis", shards, "-o", two]
    command = [sys.executable, "-m", *launch, *train, *options(saved(tmp_path / "recipe.json", **settings))]
    home = environment(HF_HOME=str(tmp_path / "none"))
    done = subprocess.run([str(a) for a in command], env=home, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    names = ["basis-start", "basis-ground", "basis-sky"]
    assert done.stdout.split() == [str(two / f"{name}.safetensors") for name in names]
    for name in names:
        lines = assert_alike(one, two, name)
        assert done.stderr.count(f"{name} step ") == len(lines), "only the first process logs"
        start = "codebook.books.0.embedding.weight"
        assert load_file(one / f"{name}.safetensors")[start].shape[1] == 8
    for path in Path("/proc").glob("[0-9]*/cmdline"):  # where there is such a thing
        assert str(two).encode() not in _read(path), "a process is left"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@needs_accelerate
def test_two_processes_train_stage_three_as_one_with_contrast_and_an_adversary(shards, fused, tmp_path):
    settings = {"steps": 6, "batch": 4, **ADVERSARIAL}
    file = fused / "fused.safetensors"
    one = alone(shards, tmp_path / "one", lambda s: run_restore(s, file, task="sr", scale=2), **settings)
    two, recipe = tmp_path / "two", saved(tmp_path / "recipe.json", **settings)
    task = ["--fused", file, "--task", "sr", "--scale", 2]
    ended = in_pair("train", "restore", shards, *task, "-o", two, *options(recipe))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert ended[0][1].split() == [str(two / "sr-x2.safetensors")]
    assert ended[1][1] == "", "only the first process writes"
    assert "sr-x2 step" not in ended[1][2]
    lines = assert_alike(one, two, "sr-x2")
    assert {"contrastive", "adversarial", "discriminator", "feature"} <= lines[0].keys()
    names = {path.name for path in two.iterdir()} - {"tensorboard"}
    of_stage = {f"sr-x2{suffix}" for suffix in (".safetensors", ".checkpoint", ".jsonl")}
    assert names == of_stage | {"recipe.json", "shards.json", "stages.json", "samples"}


@needs_accelerate
def test_two_processes_stop_together_and_go_on_from_one_checkpoint(shards, tmp_path):
    """Also stages I and II at once, whose batches tell categories apart across processes."""
    settings = {"steps": 12, "batch": 4}
    one, two = alone(shards, tmp_path / "one", run_joint, **settings), tmp_path / "two"
    recipe = saved(tmp_path / "recipe.json", **settings)
    joint = ["train", "fuse", shards, "--joint", "-o", two, *options(recipe)]
    ended = in_pair(*joint, "--time-limit", "0.001s", PYTHONPATH=telling_threads(tmp_path / "told"))
    assert [(code, out) for code, out, _ in ended] == [(75, ""), (75, "")], ended
    threads = (tmp_path / "told" / "threads.txt").read_text().split()
    assert threads.count("exit") == 2
    assert not [name for name in threads if "gloo" in name], "a thread would run on into the interpreter's end"
    assert "with --resume continues" in ended[0][2]
    assert "--resume" not in ended[1][2]
    assert [line["step"] for line in lines(two, "fused")] == [1], "on a CPU they agree after every step"
    assert (two / "fused.checkpoint").is_file()
    ended = in_pair(*joint, "--resume")
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert_alike(one, two, "fused")
    assert json.loads((two / "stages.json").read_text())["fused"]["steps"] == 12


@needs_accelerate
def test_a_batch_that_two_processes_cannot_share_is_reported_before_anything_is_written(shards, tmp_path):
    recipe, run = saved(tmp_path / "recipe.json", batch=3), tmp_path / "run"
    for code, out, err in in_pair("train", "basis", shards, "-o", run, *options(recipe)):
        assert (code, out) == (2, "")
        assert "a batch of 3 crops cannot be shared by 2 processes" in err
        assert "Traceback" not in err
    assert not run.exists()


class _Two(OneProcess):
    """The first of two, as far as anything is asked of it."""

    world = 2


def test_the_clocks_of_several_processes_do_not_end_a_run(shards, tmp_path):
    session = tiny_session(shards, RunFolder(tmp_path / "run"), tiny_recipe(minutes=1))
    session.processes = _Two(torch.device("cpu"))
    with pytest.raises(UsageError, match="--minutes is for one process") as found:
        run_joint(session)
    assert "--steps" in found.value.hint
    assert not (tmp_path / "run").exists()


def test_nobody_goes_on_before_the_weights_that_the_next_stage_reads_are_there(shards, tmp_path):
    """The others would look for them while the first process still writes."""
    seen = []

    class Asked(OneProcess):
        def any(self, flag: bool) -> bool:
            seen.append((tmp_path / "fused.safetensors").is_file())
            return flag

    session = tiny_session(shards, RunFolder(tmp_path), tiny_recipe(steps=2))
    session.processes = Asked(torch.device("cpu"))
    assert run_joint(session)
    assert seen == [False, False, False, True]


def test_a_process_by_itself_needs_nobody(monkeypatch):
    cpu = torch.device("cpu")
    for size in (None, "1"):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        if size:
            monkeypatch.setenv("WORLD_SIZE", size)
        process = joined(cpu)
        assert isinstance(process, OneProcess)
        assert (process.rank, process.world, process.device) == (0, 1, cpu)
    rows = torch.randn(3, 2, requires_grad=True)
    process.gather(rows).sum().backward()
    assert torch.equal(rows.grad, torch.ones(3, 2))
    assert torch.equal(process.sum(rows), rows)
    assert (process.any(True), process.any(False)) == (True, False)


def test_several_processes_without_accelerate_are_an_error_with_the_remedy(shards, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="need the package accelerate"):
        joined(torch.device("cpu"))
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys\nsys.modules['accelerate'] = None\n")
    env = environment(WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    env["PYTHONPATH"] = os.pathsep.join([str(blocked), env["PYTHONPATH"]])
    command = [sys.executable, "-m", "adacode_cli", "train", "basis", shards, "-o", tmp_path / "run", "--steps", 1]
    done = subprocess.run([str(a) for a in command], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "several processes need the package accelerate" in done.stderr
    assert "pip install 'adacode-cli[train]'" in done.stderr
    assert not (tmp_path / "run").exists()
