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
OWN = "own.safetensors"


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
def ray(cluster):
    """The options of a run on the cluster."""
    return ("--engine", "ray", "--address", cluster.address, "--json")


@pytest.fixture
def on_cluster(real_adacode, adacode, cluster, ray, tmp_path):
    """Starts a run on the cluster, as a program that can get signals: on_cluster(weights, *more options)."""

    def start(weights: str, *more: str):
        # Neither the program nor a worker may look for modules in the folder in which somebody starts it.
        (tmp_path / "cv2.py").write_text("raise RuntimeError('a module of somebody else')")
        env = {**cluster.env, "PYTHONSAFEPATH": "1"}
        program = real_adacode if weights == "compact" else adacode
        arguments = (*SR, "--weights", weights, *ray, *more)
        return program.start(*arguments, env=env, start_new_session=True, preexec_fn=default_signals)

    return start


@pytest.fixture(scope="module")
def made_here(tmp_path_factory):
    """A folder in which runs without a cluster have made `compact`, `slow` and `own.safetensors` of the images."""
    folder = tmp_path_factory.mktemp("here")
    write_photos(folder / "p", WIDTHS)
    real, slow = Program(folder, network=True), Program(folder, network=False)
    results = [real("weights", "export", "compact-sr-x4", "--to", "single", "-o", OWN)]
    results += [real(*SR, "--weights", weights, "-o", f"out-{weights}") for weights in ("compact", OWN)]
    results.append(slow(*SR, "--weights", "slow", "-o", "out-slow"))
    assert [result.returncode for result in results] == [0] * 4, results
    return folder


@pytest.fixture
def images(tmp_path):
    write_photos(tmp_path / "p", WIDTHS)


@pytest.mark.parametrize(("workers", "weights"), [(1, OWN), (4, "compact")])
def test_any_number_of_workers_makes_the_same_tree(
    real_adacode, cluster, ray, images, made_here, tmp_path, workers, weights
):
    (tmp_path / "p" / "bad.png").write_text("no image")
    if weights == OWN:  # The machines have other folders for temporary files, and this file must be taken along.
        (tmp_path / OWN).write_bytes((made_here / OWN).read_bytes())
    here = made_here / f"out-{weights}"
    options = ("--weights", weights, "-o", "out", "--num-workers", str(workers))
    result = real_adacode(*SR, *options, *ray, **cluster.env)
    assert result.returncode == 9, result.stderr
    assert result.stderr == b""
    assert tree(tmp_path / "out") == tree(here)
    first, *_, last = events(result.stdout)
    assert (first["event"], last["event"]) == ("run-started", "run-finished")
    assert (last["done"], last["failed"], last["exit_code"]) == (len(WIDTHS), 1, 9)
    lines = {line["target"]: line for line in journal(tmp_path / "out") if line["outcome"] == "done"}
    same = ("source_sha256", "options_sha256", "weights_sha256", "sha256", "precisions")
    for other in journal(here):
        assert [lines[other["target"]][key] for key in same] == [other[key] for key in same]
    assert claims(tmp_path / "out") == []


@linux
def test_killed_workers_and_a_lost_machine_cost_no_file(on_cluster, cluster, images, made_here, tmp_path):
    with on_cluster("slow", "-o", "out") as process:
        until(lambda: tree(tmp_path / "out"), process)
        killed = cluster.workers()
        for number in killed:
            os.kill(number, signal.SIGKILL)
        before = len(tree(tmp_path / "out"))
        until(lambda: len(tree(tmp_path / "out")) > before, process)
        cluster.lose()
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert len(killed) == 2
    assert (process.returncode, stderr) == (0, b"")
    assert events(stdout)[-1]["done"] == len(WIDTHS)
    assert tree(tmp_path / "out") == tree(made_here / "out-slow")
    assert claims(tmp_path / "out") == []


def test_a_run_that_is_killed_goes_on_and_another_stops_at_ctrl_c(on_cluster, adacode, images, made_here, tmp_path):
    with on_cluster("slow", "-o", "out") as process:
        until((tmp_path / "out" / ".adacode" / "journal.jsonl").is_file, process)
        until(lambda: len(journal(tmp_path / "out")) >= 1, process)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    # The workers of the run that was killed may still finish a file; this is the same file.
    before = len(journal(tmp_path / "out"))
    with on_cluster("slow", "-o", "out", "--num-workers", "1") as process:
        until(lambda: len(journal(tmp_path / "out")) > before, process)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    noted = {line["target"] for line in journal(tmp_path / "out")}
    assert (process.returncode, stderr) == (130, b"")
    last = events(stdout)[-1]
    assert last["exit_code"] == 130
    assert last["skipped"] >= 1
    assert last["skipped"] + last["done"] <= len(noted)
    assert noted <= tree(tmp_path / "out").keys()
    again = adacode(*SR, "--weights", "slow", "-o", "out", "--json")
    assert again.returncode == 0, again.stdout
    assert events(again.stdout)[-1]["skipped"] == len(noted)
    assert tree(tmp_path / "out") == tree(made_here / "out-slow")
    assert claims(tmp_path / "out") == []


def test_a_wrong_password_is_refused(real_adacode, cluster, ray, photos):
    photos(*WIDTHS[:2])
    result = real_adacode(*SR, *ray[:-1], **{**cluster.env, "RAY_AUTH_TOKEN": "0" * 64})
    text = result.stderr.decode()
    assert result.returncode == 2
    assert "it asks for another password (RAY_AUTH_MODE, RAY_AUTH_TOKEN)" in " ".join(text.split())
    assert "gcs_client" not in text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTHER_TORCH": "1.0.0"}, "has other versions than this machine: torch 1.0.0 (here "),
        ({"HIDDEN": "adacode_cli.batch.cluster.actor"}, "a machine of the cluster has no adacode, or another one"),
    ],
)
def test_machines_with_other_programs_are_refused(adacode, cluster, ray, photos, tmp_path, variables, message):
    photos(*WIDTHS[:2])
    cluster.gain(**variables)
    result = adacode(*SR, "--weights", "nearest", "-o", "out", *ray, "--worker-cpus", "2", **cluster.env)
    assert result.returncode == 2, result.stdout
    assert message in events(result.stdout)[-1]["error"]["message"]
    assert result.stderr == b""
    assert not (tmp_path / "out").exists()
