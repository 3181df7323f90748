"""What `--engine ray` refuses before anything is written, and what the parts of a cluster decide by themselves."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray_cluster import FAULTY, comes

from adacode_cli.batch.cluster import actor, carried, probe, sameness
from adacode_cli.batch.cluster.carried import CarriedFiles
from adacode_cli.batch.cluster.connection import Machine, resolved
from adacode_cli.batch.cluster.executor import ClusterRequest, placements_on
from adacode_cli.batch.cluster.ray_worker import Needs
from adacode_cli.batch.description import Description, NetworkDescription
from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.worker import WorkerPlacement
from adacode_cli.batch.worker_handle import Given, Room
from adacode_cli.cli import executing
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.errors import DeviceError, UsageError, WeightsError

RAY = ("--engine", "ray")


@pytest.fixture
def two(photos):
    photos(24, 24)


def nobody() -> str:
    """An address of this machine where nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.without_ray
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-", *RAY), 2, "--engine ray cannot be used with '-'"),
        (("p/00.png", *RAY), 2, "--engine ray needs a directory or several images"),
        (("p/00.png", "-o", "a.png", *RAY), 2, "--engine ray needs a directory or several images"),
        (("p", "--address", "auto"), 2, "--address has no effect without --engine ray"),
        (("p", "--num-workers", "2"), 2, "--num-workers has no effect without --engine ray"),
        (("p", "--worker-cpus", "2"), 2, "--worker-cpus has no effect without --engine ray"),
        (("p", "--processes", "2", *RAY), 2, "--processes has no effect with --engine ray"),
        (("p", "--device", "cuda:1", *RAY), 2, "--device cuda:1 cannot be used with --engine ray"),
        (("p", "--engine", "spark"), 2, "--engine"),
        (("nothing", *RAY), 3, "there is no such file or directory"),
    ],
)
def test_what_cannot_be(adacode, two, tmp_path, arguments, code, message):
    result = adacode("sr", *arguments, "--weights", "nearest")
    assert (result.returncode, message in " ".join(result.stderr.decode().split())) == (code, True), result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]


@pytest.mark.without_ray
def test_without_the_package_the_extra_is_named(adacode, two, tmp_path):
    process = adacode.start("sr", "p", *RAY, "--weights", "nearest", env={"PYTHONPATH": FAULTY, "HIDDEN": "ray"})
    text = " ".join(process.communicate()[1].decode().split())
    assert process.returncode == 2
    assert "--engine ray needs the package ray" in text
    assert "pip install 'adacode-cli[ray]'" in text
    assert not (tmp_path / "p-sr-x4").exists()


@pytest.mark.parametrize("address", ["nobody", "no address", "ray://127.0.0.1:10001"])
def test_an_address_of_no_cluster(adacode, two, tmp_path, address):
    address = nobody() if address == "nobody" else address
    result = adacode("sr", "p", *RAY, "--address", address, "--weights", "nearest")
    text = result.stderr.decode()
    assert result.returncode == 2
    assert f"--address {address}: " in " ".join(text.split())
    assert "Traceback" not in text
    assert not (tmp_path / "p-sr-x4").exists()


def test_a_server_that_is_no_cluster(monkeypatch):
    monkeypatch.setattr(probe, "_LIMIT_S", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(UsageError) as raised:
            resolved(address)
    assert f"the cluster at {address} cannot be used: it has not answered within 1.5 s" in str(raised.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc as Linux has it")
def test_what_tries_an_address_ends_with_the_run():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code = f"from adacode_cli.batch.cluster.probe import problem_with; problem_with({address!r})"
        process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": FAULTY})
        assert comes(lambda: processes_with(address) - {process.pid})
        time.sleep(3)
        process.kill()
        process.wait(30)
        assert comes(lambda: not processes_with(address))


def processes_with(text: str) -> set[int]:
    """The numbers of the processes that have this text in their command."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text.encode() in (path / "cmdline").read_bytes():
                found.add(int(path.name))
    return found


@pytest.mark.parametrize("device", ["auto", "cuda", "all"])
def test_every_gpu_of_this_machine_gets_a_worker(monkeypatch, device):
    placements = [WorkerPlacement(f"cuda:{index}", processes=3) for index in range(3)]
    monkeypatch.setattr(executing, "placements_of", lambda options: placements[: 3 if options.device == "all" else 1])
    monkeypatch.setattr("adacode_cli.engine.device.choose_device", lambda name: name)
    options = RestoreOptions(device=device, engine="ray", num_workers=2)
    assert [place.device for place in executing._here(options)] == ["cuda"] * 2
    assert len(executing._here(replace(options, num_workers=None))) == 3
    placements[:] = [WorkerPlacement("mps")]
    with pytest.raises(UsageError, match="--engine ray cannot use the device mps"):
        executing._here(replace(options, num_workers=None))


def test_a_gpu_that_this_machine_has_not_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError):
        executing._here(RestoreOptions(device="cuda", engine="ray"))


def test_what_differs_is_named():
    ours = {"adacode": "1", "torch": "2.9.0", "rawpy": "0.24"}
    sameness.require_same("host", dict(ours), ours)
    with pytest.raises(UsageError) as raised:
        sameness.require_same("host", {"adacode": "1", "torch": "2.8.0", "pillow-heif": "1.0"}, ours)
    said = str(raised.value)
    assert said.startswith("host has other versions than this machine: torch 2.8.0 (here 2.9.0)")
    assert "rawpy not at all (here 0.24)" in said
    assert "pillow-heif 1.0 (here not at all)" in said
    assert {"adacode", "Python", "torch", "numpy", "pillow"} <= sameness.versions().keys()


@pytest.mark.parametrize(
    ("machines", "request_", "expected"),
    [
        ([Machine(8, 0), Machine(4, 0)], ClusterRequest("a", None), [("cpu", 8, 1), ("cpu", 4, 1)]),
        ([Machine(8, 0), Machine(4, 0)], ClusterRequest("a", 3), [("cpu", 4, 2), ("cpu", 4, 2), ("cpu", 4, 1)]),
        ([Machine(2, 0)], ClusterRequest("a", 3), [("cpu", 1, 3)] * 3),
        ([Machine(16, 8), Machine(8, 0)], ClusterRequest("a", None), [("cuda", None, 8)] * 8),
        ([Machine(16, 8), Machine(8, 0)], ClusterRequest("a", 1, "cpu"), [("cpu", 16, 1)]),
        (
            [Machine(9, 0), Machine(4, 0)],
            ClusterRequest("a", None, worker_cpus=4),
            [("cpu", 4, 2)] * 2 + [("cpu", 4, 1)],
        ),
        ([Machine(8, 0), Machine(2, 0)], ClusterRequest("a", 1, worker_cpus=4), [("cpu", 4, 2)]),
        ([Machine(8, 0), Machine(8, 0)], ClusterRequest("a", 2, worker_cpus=2), [("cpu", 2, 4)] * 2),
    ],
)
def test_workers_are_placed_by_what_machines_have(machines, request_, expected):
    found = placements_on(machines, request_)
    assert [(place.device, place.threads, place.processes) for place, _ in found] == expected
    assert all(needs == (Needs(2, 1) if place.device == "cuda" else Needs(place.threads)) for place, needs in found)


def test_a_worker_of_a_cpu_is_asked_for_on_the_machine_that_has_its_share():
    found = placements_on([Machine(8, 0, "large"), Machine(2, 0, "small")], ClusterRequest("a", 3))
    assert [needs for _, needs in found] == [Needs(2, machine="large")] * 3
    found = placements_on([Machine(8, 0, "large"), Machine(4, 0, "small")], ClusterRequest("a", None))
    assert [needs for _, needs in found] == [Needs(8, machine="large"), Needs(4, machine="small")]


def test_workers_with_cpus_of_their_own_leave_the_rest_to_others():
    found = placements_on([Machine(8, 0, "a"), Machine(8, 0, "b")], ClusterRequest("a", 3, worker_cpus=2))
    assert [needs for _, needs in found] == [Needs(2, machine="a")] * 2 + [Needs(2, machine="b")]
    found = placements_on([Machine(32, 4)], ClusterRequest("a", None, worker_cpus=6))
    assert [needs for _, needs in found] == [Needs(6, 1)] * 4
    with pytest.raises(DeviceError, match=r"--worker-cpus 9: no machine of the Ray cluster has so many CPUs; .* has 8"):
        placements_on([Machine(8, 0)], ClusterRequest("a", None, worker_cpus=9))


def test_workers_with_cpus_of_their_own_on_this_machine(monkeypatch):
    monkeypatch.setattr(executing.os, "cpu_count", lambda: 8)
    options = RestoreOptions(device="cpu", engine="ray", worker_cpus=3)
    assert executing._here(options) == (WorkerPlacement("cpu", 3, 2),) * 2
    assert executing._here(replace(options, num_workers=1)) == (WorkerPlacement("cpu", 3, 2),)
    with pytest.raises(DeviceError, match="--worker-cpus 9: this machine has 8 CPUs"):
        executing._here(replace(options, worker_cpus=9))


def test_a_gpu_that_no_machine_has_is_refused():
    with pytest.raises(DeviceError, match="no machine of the Ray cluster offers a GPU"):
        placements_on([Machine(8, 0)], ClusterRequest("a", None, "cuda"))


def test_files_of_weights_are_unpacked_once_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(carried.tempfile, "gettempdir", lambda: str(tmp_path))
    description = Description(NetworkDescription("here/own.safetensors"), "sr")
    files = CarriedFiles(
        {"weights/own.safetensors": b"values", "weights/catalogue.json": b"{}"}, "weights/own.safetensors"
    )
    path = Path(carried.unpacked(files, description).network.weights)
    assert (path.name, path.read_bytes()) == ("own.safetensors", b"values")
    assert description.network.shown == carried.unpacked(files, description).network.shown
    path.write_bytes(b"forged")
    assert Path(carried.unpacked(files, description).network.weights).read_bytes() == b"values"
    path.parents[2].chmod(0o777)
    with pytest.raises(WeightsError, match="belongs to another user, or others may write to it"):
        carried.unpacked(files, description)


class Job(SimpleNamespace):
    def __hash__(self):
        return hash(self.name)


def given(number: int, pixels: int, root: Path) -> Given:
    return Given(number, Assignment(Job(name=f"{number}.png", root=root, target=root / f"{number}.png")), pixels)


def test_a_worker_asks_for_as_much_as_it_restores_in_half_a_second(monkeypatch, tmp_path):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(actor.time, "monotonic", lambda: clock.now)
    run = actor._Run()
    run.answer([given(number, 1000, tmp_path) for number in range(3)])
    jobs = run.jobs()
    for _ in range(3):
        one = next(jobs)
        clock.now += 0.1
        run.ended(one, None)
    kinds = [message for message in run.messages(0) if message[0] == "next"]
    # It has restored 10,000 pixels a second, has 1,000 left, and asks before it has none.
    assert kinds == [("next", Room(64, 4000))]


def test_a_machine_that_does_not_see_the_claim_ends_the_run(tmp_path):
    run = actor._Run()
    run.answer([given(0, 1, tmp_path)])
    one = next(run.jobs())
    with pytest.raises(UsageError, match="this is not the output directory of the run"):
        run.take(one)


def test_a_stop_interrupts_once(tmp_path):
    run = actor._Run()
    run.answer([given(0, 1, tmp_path)])
    one = next(run.jobs())
    run.stop()
    run.advanced(one, 0.5)
    with pytest.raises(KeyboardInterrupt):
        run.allow_stop()
    run.advanced(one, 0.6)
    assert run.begun == (0,)


def test_tasks_can_be_pickled(tmp_path):
    from adacode_cli.batch.worker import WorkerPlacement, WorkerTask

    task = WorkerTask(Description(NetworkDescription(), "sr"), WorkerPlacement("cpu", 1, 2), True, 1.0, None)
    assert pickle.loads(pickle.dumps(actor.ClusterTask(task, str(tmp_path)))).task == task
