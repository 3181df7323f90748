"""`--engine ray` on two machines: the same bytes as without it, whatever happens to workers, machines and the run."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from adacode_process import Program, default_signals
from ray_cluster import PATIENCE_S, until, write_photos

from adacode_cli.atomic import TEMPORARY_SUFFIX

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc as Linux has it")
WIDTHS = (48, 56, 40, 64, 48, 72, 40, 48)
SR = ("sr", "p", "--scale", "2", "--precision", "fp32")


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".adacode" not in path.parts)
    kept = (path for path in files if not path.name.endswith(TEMPORARY_SUFFIX))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def journal(folder: Path) -> list[dict]:
    lines = (folder / ".adacode" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def claims(folder: Path) -> list[Path]:
    return list((folder / ".adacode" / "in-flight").iterdir())


def events(output: bytes) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def on_cluster(real_adacode, cluster, tmp_path):
    """Starts a run on the cluster: on_cluster(folder of outputs, *more options)."""

    def start(out: str, *more: str):
        arguments = (*SR, "-o", out, "--engine", "ray", "--address", cluster.address, "--json", *more)
        # Neither the program nor a worker may look for modules in the folder in which somebody starts it.
        (tmp_path / "cv2.py").write_text("raise RuntimeError('a module of somebody else')")
        env = {**cluster.env, "PYTHONSAFEPATH": "1"}
        return real_adacode.start(*arguments, env=env, start_new_session=True, preexec_fn=default_signals)

    return start


@pytest.fixture(scope="module")
def made_here(tmp_path_factory):
    """A folder in which a run without a cluster has made `local` of the images in `p`."""
    folder = tmp_path_factory.mktemp("here")
    write_photos(folder / "p", WIDTHS)
    result = Program(folder, network=True)(*SR, "-o", "local")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def local(made_here, tmp_path):
    """The tree that a run without a cluster makes of the images, which are in `p`."""
    write_photos(tmp_path / "p", WIDTHS)
    return tree(made_here / "local")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_makes_the_same_tree(on_cluster, local, made_here, tmp_path, workers):
    (tmp_path / "p" / "bad.png").write_text("no image")
    with on_cluster("out", "--num-workers", str(workers)) as process:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 9, stderr
    assert stderr == b""
    assert tree(tmp_path / "out") == local
    first, *_, last = events(stdout)
    assert (first["event"], last["event"]) == ("run-started", "run-finished")
    assert (last["done"], last["failed"], last["exit_code"]) == (len(WIDTHS), 1, 9)
    lines = {line["target"]: line for line in journal(tmp_path / "out") if line["outcome"] == "done"}
    same = ("source_sha256", "options_sha256", "weights_sha256", "sha256", "precisions")
    for other in journal(made_here / "local"):
        assert [lines[other["target"]][key] for key in same] == [other[key] for key in same]
    assert claims(tmp_path / "out") == []


@linux
def test_killed_workers_cost_no_file(on_cluster, cluster, local, tmp_path):
    with on_cluster("out") as process:
        until(lambda: tree(tmp_path / "out"), process)
        killed = cluster.workers()
        for number in killed:
            os.kill(number, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert len(killed) == 2
    assert (process.returncode, stderr) == (0, b"")
    assert events(stdout)[-1]["done"] == len(WIDTHS)
    assert tree(tmp_path / "out") == local
    assert claims(tmp_path / "out") == []


def test_a_lost_machine_costs_no_file(on_cluster, cluster, local, tmp_path):
    with on_cluster("out") as process:
        until(lambda: tree(tmp_path / "out"), process)
        cluster.lose()
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    cluster.gain()
    assert (process.returncode, stderr) == (0, b"")
    assert events(stdout)[-1]["done"] == len(WIDTHS)
    assert tree(tmp_path / "out") == local


def test_a_run_that_is_killed_goes_on(on_cluster, local, tmp_path):
    with on_cluster("out") as process:
        until(lambda: len(tree(tmp_path / "out")) >= 2, process)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    # The workers of the run that was killed may still finish a file; this is the same file.
    with on_cluster("out", "--num-workers", "1") as process:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    last = events(stdout)[-1]
    assert (process.returncode, stderr) == (0, b"")
    assert last["skipped"] + last["done"] == len(WIDTHS)
    assert last["skipped"] >= 1
    assert tree(tmp_path / "out") == local
    assert claims(tmp_path / "out") == []


def test_ctrl_c_stops_a_run_which_goes_on_without_a_cluster(on_cluster, real_adacode, local, tmp_path):
    with on_cluster("out") as process:
        until(lambda: tree(tmp_path / "out"), process)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    done = tree(tmp_path / "out")
    assert (process.returncode, stderr) == (130, b"")
    assert events(stdout)[-1]["exit_code"] == 130
    assert sorted(line["target"] for line in journal(tmp_path / "out")) == sorted(done)
    again = real_adacode(*SR, "-o", "out", "--json")
    assert (again.returncode, events(again.stdout)[-1]["skipped"]) == (0, len(done)), again.stderr
    assert tree(tmp_path / "out") == local


def test_weights_of_this_machine_are_taken_along(real_adacode, cluster, photos, tmp_path):
    photos(*WIDTHS[:2])
    assert real_adacode("weights", "export", "compact-sr-x4", "--to", "single", "-o", "own.safetensors").returncode == 0
    arguments = ("sr", "p", "--scale", "2", "--weights", "own.safetensors")
    assert real_adacode(*arguments, "-o", "local").returncode == 0
    more = ("--engine", "ray", "--address", cluster.address)
    # A folder for temporary files of this test would be that of the driver; the machines have their own.
    with real_adacode.start(*arguments, "-o", "out", *more, env=cluster.env) as process:
        _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    assert tree(tmp_path / "out") == tree(tmp_path / "local")


def test_a_wrong_password_is_refused(real_adacode, cluster, photos, tmp_path):
    photos(*WIDTHS[:2])
    env = {**cluster.env, "RAY_AUTH_TOKEN": "0" * 64}
    with real_adacode.start(*SR, "--engine", "ray", "--address", cluster.address, env=env) as process:
        text = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert process.returncode == 2
    assert "it asks for another password (RAY_AUTH_MODE, RAY_AUTH_TOKEN)" in " ".join(text.split())
    assert "gcs_client" not in text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTHER_TORCH": "1.0.0"}, "has other versions than this machine: torch 1.0.0 (here "),
        ({"HIDDEN": "adacode_cli.batch.cluster.actor"}, "a machine of the cluster has no adacode, or another one"),
    ],
)
def test_machines_with_other_programs_are_refused(on_cluster, cluster, photos, tmp_path, variables, message):
    photos(*WIDTHS[:2])
    cluster.gain(**variables)
    try:
        with on_cluster("out", "--num-workers", "6") as process:
            stdout, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        cluster.lose()
    assert process.returncode == 2, stdout
    assert message in events(stdout)[-1]["error"]["message"]
    assert stderr == b""
    assert not (tmp_path / "out").exists()
