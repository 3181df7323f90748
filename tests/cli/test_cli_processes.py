"""`--processes` and several devices: the real program, whose processes die, are interrupted, or have no device.

Every process of a run holds its standard error, so whoever has read that to its end knows that none is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from adacode_process import default_signals

from adacode_cli.batch.description import Description, NetworkDescription
from adacode_cli.cli import dry_run
from adacode_cli.cli.executing import executing, is_for_several, placements_of
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.speed import Speed
from adacode_cli.errors import UsageError
from adacode_cli.sizes import Sizing

PATIENCE_S = 200.0  # no machine is too slow for this
TWO = ("--processes", "2")


def finished(adacode, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A run to its end, and to the end of all of its processes, by an interpreter of its own."""
    process = adacode.start(*arguments, env=env, preexec_fn=default_signals)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".adacode" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def journal(folder: Path) -> list[dict]:
    lines = (folder / ".adacode" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def events(result: subprocess.CompletedProcess[bytes]) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("command", [("sr",), ("inpaint", "--mask-alpha"), ("reconstruct",)])
def test_the_tree_is_that_of_one_process(real_adacode, photo, tmp_path, command):
    for number, name in enumerate(("a.jpg", "b.png", "c.tif", "d.webp", "deep/e.png", "deep/f.jpg")):
        photo(f"p/{name}", (40 + 9 * number, 32), "RGB" if name.endswith("jpg") else "RGBA")
    (tmp_path / "p" / "bad.png").write_text("no image")
    # An inpainting fails for images without transparency, in both runs.
    one, two = (
        finished(real_adacode, *command, "p", "-o", out, "--json", *more) for out, more in (("one", ()), ("two", TWO))
    )
    assert (one.returncode, two.returncode) == (9, 9)
    assert b"Traceback" not in two.stderr
    assert len(tree(tmp_path / "one")) >= 4
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    last_one, last_two = events(one)[-1], events(two)[-1]
    assert {**last_one, "seconds": 0} == {**last_two, "seconds": 0}
    same = ("source", "source_sha256", "weights_sha256", "options_sha256", "outcome", "sha256", "error", "notes")
    summaries = [sorted([str(line[key]) for key in same] for line in journal(tmp_path / out)) for out in ("one", "two")]
    assert summaries[0] == summaries[1]
    again = finished(real_adacode, *command, "p", "-o", "two", "--json", *TWO)
    assert events(again)[-1]["done"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_processes(adacode, photo, tmp_path, number):
    for index in range(8):
        photo(f"p/{index}.png", (33 if index > 1 else 24, 16))
    with adacode.start(
        "sr", "p", "--weights", "wait", *TWO, preexec_fn=default_signals, start_new_session=True
    ) as process:
        text = b""
        while text.count(b"waiting\n") < 2:  # both processes stand at a file
            text += process.stderr.readline()
        if number is signal.SIGHUP:
            process.send_signal(number)
        else:  # as a terminal and a service do
            os.killpg(process.pid, number)
        text += process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 130
    assert b"Traceback" not in text
    done = tree(tmp_path / "p-sr-x4")
    assert f"interrupted: {len(done)} restored, {8 - len(done)} not done".encode() in text
    assert sorted(line["target"] for line in journal(tmp_path / "p-sr-x4")) == sorted(done)
    rest = finished(adacode, "sr", "p", "--weights", "nearest", "--json", *TWO)
    assert (events(rest)[-1]["skipped"], events(rest)[-1]["done"]) == (len(done), 8 - len(done))


def test_processes_end_with_a_run_that_is_killed(adacode, photo):
    photo("p/a.png", (33, 16))
    photo("p/b.png", (33, 16))
    with adacode.start("sr", "p", "--weights", "wait", *TWO, preexec_fn=default_signals) as process:
        assert process.stderr.readline() == b"waiting\n"
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGKILL


def test_unknown_weights_are_reported_once(adacode, photo):
    photo("p/a.png")
    result = finished(adacode, "sr", "p", "--weights", "unknown", *TWO)
    assert result.returncode == 4
    assert result.stderr.decode().count("no weights are called 'unknown'") == 1


def test_a_watch_uses_all_processes(adacode, photo, tmp_path):
    photo("p/a.png")
    arguments = ("sr", "p", "--watch", "--watch-interval", "0.2", "--weights", "nearest", "--json", *TWO)
    with adacode.start(*arguments, preexec_fn=default_signals) as process:
        for name in ("a", "b", "c"):
            photo(f"p/{name}.png")
            while not (tmp_path / "p-sr-x4" / f"{name}.png").exists():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=PATIENCE_S)
    last = json.loads(stdout.splitlines()[-1])
    assert (process.returncode, last["event"], last["exit_code"]) == (130, "run-finished", 130)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-", *TWO), 2, "one image on standard input cannot be restored by several processes"),
        (("p", "--device", "cuda:0,cuda:0"), 2, "--device cuda:0,cuda:0 names a device twice"),
        (("p", "--device", "cuda:0,cpu"), 2, "--device cannot be 'cuda:0,cpu'"),
        (("p", "--processes", "0"), 2, "--processes"),
    ],
)
def test_what_cannot_be(adacode, photo, arguments, code, message):
    photo("p/a.png")
    result = finished(adacode, "sr", *arguments, "--weights", "nearest")
    assert (result.returncode, message in " ".join(result.stderr.decode().split())) == (code, True), result.stderr


def test_devices_that_are_not_there_are_named(adacode, photo):
    photo("p/a.png")
    missing = f"cuda:{torch.cuda.device_count()}"
    result = finished(adacode, "sr", "p", "--device", f"{missing},cuda:97", "--weights", "nearest")
    assert result.returncode == 5
    assert b"no CUDA device is available" in result.stderr or f"there is no {missing}".encode() in result.stderr


def test_threads_and_memory_are_shared_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    three = placements_of(RestoreOptions(processes=3))
    assert [(one.device, one.threads, one.processes) for one in three] == [("cpu", 2, 3)] * 3
    assert [p.threads for p in placements_of(RestoreOptions(processes=8))] == [1] * 8
    assert [p.device for p in placements_of(RestoreOptions(device="all"))] == ["cpu"]
    assert not is_for_several(RestoreOptions(processes=1))


def test_all_devices_are_those_of_the_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    devices = [place.device for place in placements_of(RestoreOptions(device="all"))]
    assert devices == ["cuda:0", "cuda:1", "cuda:2"]
    assert [place.device for place in placements_of(RestoreOptions(device="cuda:2,cuda:0"))] == ["cuda:2", "cuda:0"]
    with pytest.raises(UsageError, match="--processes is for a CPU"):
        placements_of(RestoreOptions(device="all", processes=2))


def test_a_dry_run_knows_processes_and_devices(adacode, photo):
    photo("p/a.png")
    result = finished(adacode, "sr", "p", "--dry-run", "--json", "--weights", "nearest", *TWO)
    assert (result.returncode, events(result)[-1]["device"]) == (0, "cpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    refused = finished(adacode, "sr", "p", "--dry-run", "--device", f"{missing},cuda:97", "--weights", "nearest")
    assert refused.returncode == 5


def test_several_devices_take_a_part_of_the_time(monkeypatch):
    restorer = SimpleNamespace(needs_download=lambda *_: False, device="cuda:0")
    monkeypatch.setattr(NetworkDescription, "restorer", lambda _: restorer)
    monkeypatch.setattr(Description, "stages", lambda *_: (None, "digest"))
    monkeypatch.setattr(dry_run, "speed_of", lambda *_: Speed(1.0, 4.0, "bf16", "cuda:0", 1))
    needs = SimpleNamespace(num_known=8, num_unread=0, num_files=9, num_runs=8, run_pixels=8_000_000)
    description = Description(NetworkDescription(), "sr", Sizing("scale", 4))
    for devices, seconds in (([], 40), (["cuda:0"], 40), (["cuda:0", "cuda:1"], 20)):
        found, speed, _ = dry_run._time(description, needs, 0.0, lambda _: None, devices)
        assert (round(found), speed.device) == (seconds, ",".join(devices) or "cuda:0")
    few = SimpleNamespace(num_known=1, num_unread=0, num_files=2, num_runs=8, run_pixels=8_000_000)
    found, speed, _ = dry_run._time(description, few, 0.0, lambda _: None, ["cuda:0", "cuda:1"])
    assert (round(found), speed.device) == (40, "cuda:0")


def test_a_pipe_uses_the_first_of_the_devices_that_a_variable_names(adacode, photo):
    data = photo("a.png").read_bytes()
    settings = {"ADACODE_SR_DEVICE": "all", "ADACODE_SR_PROCESSES": "2"}
    result = adacode("sr", "-", "--weights", "nearest", stdin=data, **settings)
    assert (result.returncode, result.stdout[:4]) == (0, b"\x89PNG"), result.stderr
    refused = adacode("sr", "-", "--weights", "nearest", "--device", "all", stdin=data, **settings)
    assert refused.returncode == 2


def test_other_commands_use_one_device(real_adacode):
    result = real_adacode("bench", "--device", "all")
    assert result.returncode == 2
    assert "Only sr, inpaint and reconstruct use several devices." in result.stderr.decode()


def test_a_frozen_program_refuses_several_processes(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    description = Description(NetworkDescription(), "sr")
    with pytest.raises(UsageError, match="a frozen program"), executing(RestoreOptions(processes=2), description, None):
        pass


def test_one_process_is_allowed_on_every_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    placements = placements_of(RestoreOptions(device="cuda:0,cuda:1", processes=1))
    assert [(one.device, one.own_device, one.processes) for one in placements] == [
        ("cuda:0", "cuda", 2),
        ("cuda:1", "cuda", 2),
    ]
