"""Faults of the processes of a run: the real program keeps its promises, those of a run in one process.

No file is lost, the same command goes on with exit code 0, and what ends a run has its exit code and its message.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from adacode_process import ROOT, default_signals
from test_cli_processes import PATIENCE_S, TWO, events, finished, journal, tree

from adacode_cli.batch import worker_process
from adacode_cli.batch.claiming import Claiming
from adacode_cli.batch.description import Description, NetworkDescription
from adacode_cli.batch.dispatcher import Dispatcher, _Execution
from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.worker import WorkerPlacement, WorkerTask, sendable
from adacode_cli.batch.worker_process import WorkerProcess
from adacode_cli.engine import memory
from adacode_cli.errors import DeviceError

TASK = WorkerTask(Description(NetworkDescription(), "sr"), WorkerPlacement("cpu", 1, 2), False, 1.0, None)


@pytest.fixture
def folder(photo, tmp_path):
    """Writes `p` with eight images, of which those of the given numbers are 33 pixels wide; returns where they go."""

    def write(*numbers: int) -> Path:
        for number in range(8):
            photo(f"p/{number}.png", (33 if number in numbers else 24, 16))
        return tmp_path / "p-sr-x4"

    return write


def all_done(out: Path) -> bool:
    """Whether every image has its output and one line of the journal, and nothing else is left."""
    names = [f"{number}.png" for number in range(8)]
    claims = list((out / ".adacode" / "in-flight").iterdir())
    return sorted(tree(out)) == sorted(line["target"] for line in journal(out)) == names and not claims


def children_of(pid: int) -> list[str]:
    """The numbers of all processes that a process has started."""
    return [one for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split()]


def interrupted_when(adacode, condition, **env: str) -> bytes:
    """What a run in two processes says that gets Ctrl-C as soon as a condition holds; nothing of it is left."""
    arguments = ("sr", "p", "--weights", "nearest", *TWO)
    with adacode.start(*arguments, env=env, preexec_fn=default_signals) as process:
        while not condition():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 130
    assert b"Traceback" not in text
    return text


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc as Linux has it")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1"])
def test_a_signal_to_one_process_costs_no_file(adacode, folder, tmp_path, number):
    out, died = folder(3), tmp_path / "died"
    result = finished(adacode, "sr", "p", "--weights", "signalled", "--json", *TWO, DIED=str(died), SIGNAL=number)
    assert (result.returncode, died.exists(), events(result)[-1]["done"]) == (0, True, 8), result.stderr
    assert all_done(out)


def test_a_signal_to_all_that_the_run_ignores_costs_no_file(adacode, folder, tmp_path):
    out, go = folder(3), tmp_path / "go"

    def ignoring() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    arguments = ("sr", "p", "--weights", "pause", *TWO)
    options = {"env": {"PAUSE": str(go)}, "preexec_fn": ignoring, "start_new_session": True}
    with adacode.start(*arguments, **options) as process:
        while (line := process.stderr.readline()) != b"waiting\n":
            assert line, "it ended"
        os.killpg(process.pid, signal.SIGTERM)
        go.touch()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert all_done(out)


@linux
def test_ctrl_c_reaches_all_processes_while_they_start(adacode, folder):
    folder()
    arguments = ("sr", "p", "--weights", "nearest", "--processes", "3")
    with adacode.start(*arguments, preexec_fn=default_signals, start_new_session=True) as process:
        while len(children_of(process.pid)) < 2:  # one of Python's own, and the first that will restore
            assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)  # It imports modules now.
        os.killpg(process.pid, signal.SIGINT)
        text = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 130
    assert b"Traceback" not in text
    assert b"Error" not in text


def test_an_output_that_a_killed_process_has_not_reported_does_not_stop_the_next_run(adacode, folder):
    out = folder()
    interrupted_when(adacode, (out / "0.png").exists, SLOW_SYNC="5")
    again = adacode("sr", "p", "--weights", "nearest")
    assert again.returncode == 0, again.stderr
    assert all_done(out)


def test_what_a_stopped_process_had_begun_to_write_is_removed(adacode, folder):
    out = folder()
    interrupted_when(adacode, lambda: list(out.glob(".*.adacode-part")), SLOW_WRITE="5")
    assert tree(out) == {}
    again = adacode("sr", "p", "--weights", "nearest")
    assert again.returncode == 0, again.stderr
    assert all_done(out)


def test_ctrl_c_while_a_line_is_written_loses_no_line(adacode, folder):
    out = folder()
    text = interrupted_when(adacode, (out / "0.png").exists, SLOW_JOURNAL="0.2")
    assert [line["target"] for line in journal(out)].count("0.png") == 1
    said = int(re.search(rb"interrupted: (\d+) restored", text)[1])
    # The signal may come between the line of the last file and the report of it.
    assert len(journal(out)) - 1 <= said <= len(journal(out))
    again = adacode("sr", "p", "--weights", "nearest")
    assert again.returncode == 0, again.stderr
    assert all_done(out)


def test_weights_that_change_end_the_run(adacode, folder, tmp_path):
    out = folder(7)
    result = finished(adacode, "sr", "p", "--weights", "changes", "--json", *TWO, DIED=str(tmp_path / "died"))
    assert result.returncode == 4
    assert events(result)[-1]["error"]["message"] == "the weights were changed during the run"
    assert {line["weights_sha256"] for line in journal(out)} == {"a" * 64}


def test_a_claim_that_cannot_be_taken_fails_one_file(adacode, folder, tmp_path):
    claims = folder() / ".adacode" / "in-flight"
    claims.mkdir(parents=True)
    (claims / f"{hashlib.sha256(b'3.png').hexdigest()[:32]}.json").symlink_to(tmp_path / "elsewhere")
    result = finished(adacode, "sr", "p", "--weights", "nearest", "--json", *TWO)
    assert result.returncode == 9
    assert [event["source"] for event in events(result) if event["event"] == "file-failed"] == ["p/3.png"]
    assert events(result)[-1]["done"] == 7


def test_processes_that_cannot_be_started_end_the_run(adacode, folder):
    folder()

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    arguments = ("sr", "p", "--weights", "slow-start", "--processes", "16")
    with adacode.start(*arguments, preexec_fn=few_files) as process:
        text = process.communicate(timeout=PATIENCE_S)[1].decode()
    assert process.returncode == 5, text
    assert "cannot be started: too many files are open (ulimit -n)" in text
    assert "Traceback" not in text


def test_a_process_that_cannot_be_replaced_ends_the_run(adacode, folder, tmp_path):
    out = folder(3)
    result = finished(adacode, "sr", "p", "--weights", "no-return", "--json", *TWO, DIED=str(tmp_path / "died"))
    *_, last, error = events(result)
    assert (result.returncode, error["error"]["message"]) == (5, "the process for cpu cannot be started any more")
    # On a busy machine, the process may end before it has restored a file.
    lines = journal(out) if (out / ".adacode" / "journal.jsonl").exists() else []
    assert last["done"] == len(tree(out)) == len(lines)
    assert json.loads((out / ".adacode" / "report.json").read_text())["exit_code"] == 5
    assert b"Traceback" not in result.stderr
    again = adacode("sr", "p", "--weights", "nearest")
    assert again.returncode == 0, again.stderr
    assert all_done(out)


def test_what_a_process_had_begun_to_write_is_removed(adacode, folder, tmp_path):
    out, marker = folder(), tmp_path / "marker"
    result = finished(adacode, "sr", "p", "--weights", "nearest", *TWO, DIES_WRITING=str(marker))
    assert (result.returncode, marker.exists()) == (0, True)
    assert all_done(out)


def test_libraries_in_processes_are_quiet(adacode, folder):
    folder()
    result = finished(adacode, "sr", "p", "--weights", "warns", "--quiet", *TWO)
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_bug_in_a_process_is_a_bug_of_the_run(adacode, folder):
    folder()
    result = finished(adacode, "sr", "p", "--weights", "broken", *TWO)
    assert result.returncode == 1
    text = result.stderr.decode()
    assert "in the worker for cpu:" in text
    assert 'raise ZeroDivisionError("a bug while loading")' in text
    assert text.count("This is a bug in adacode") == 1


def test_a_place_sets_threads_and_the_device():
    code = """
import os
from adacode_cli.batch.worker import WorkerPlacement, take_place
take_place(WorkerPlacement("cpu", 3, 2))
import cv2, torch
from adacode_cli.engine import memory
print(torch.get_num_threads(), cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"], memory._host.processes)
place = WorkerPlacement("cuda:1", None, 2)
take_place(place)
print(os.environ["CUDA_VISIBLE_DEVICES"], place.own_device, cv2.getNumThreads())
del os.environ["CUDA_VISIBLE_DEVICES"]
take_place(place)
print(os.environ["CUDA_VISIBLE_DEVICES"])
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MKL_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "4,7"}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    share = max(1, (os.cpu_count() or 1) // 2)
    assert result.stdout.split() == ["3", "3", "3", "2", "7", "cuda", str(share), "1"]


def test_memory_of_the_host_is_divided_and_limits_of_the_process_are_not(monkeypatch):
    monkeypatch.setattr(memory, "_host", memory._Host(4))
    monkeypatch.setattr(memory, "_available", lambda: 400)
    monkeypatch.setattr(memory, "_machine_room", lambda: 400)
    monkeypatch.setattr(memory, "_meminfo", lambda _field: 40)
    monkeypatch.setattr(memory, "cgroup_room", lambda *_: None)
    monkeypatch.setattr(memory, "_room_of_process", lambda: 105)
    cpu = torch.device("cpu")
    assert memory.free_bytes(cpu) == 100
    if sys.platform.startswith("linux"):
        assert memory.obtainable_bytes(cpu) == 105
        monkeypatch.setattr(memory, "_room_of_process", lambda: None)
        assert memory.obtainable_bytes(cpu) == 110


def test_errors_of_processes_can_be_sent_and_name_the_gpu():
    lost = pickle.loads(pickle.dumps(sendable(DeviceError("the device is gone", hint="h"), "cuda:1")))
    assert (lost.message, lost.hint) == ("cuda:1: the device is gone", "h")
    told = sendable(ValueError(lambda: None), "cpu")
    assert "ValueError" in str(pickle.loads(pickle.dumps(told)))


def test_a_file_is_tried_again_while_all_others_are_idle():
    dispatcher = Dispatcher([WorkerProcess(TASK), WorkerProcess(TASK)], TASK.description.paths)
    busy, idle = dispatcher.workers
    job = SimpleNamespace(name="a.png")
    execution = _Execution(Claiming(iter(()), lambda _job: None, 0), SimpleNamespace(), deque([Assignment(job)]))
    busy.assigned[0] = Assignment(SimpleNamespace(name="b.png"))
    assert dispatcher._next(execution) is None
    busy.returned.append(busy.assigned.pop(0))
    assert dispatcher._next(execution) is None
    busy.returned.clear()
    assert dispatcher._next(execution) == Assignment(job)
    assert not idle.is_busy


def test_what_a_stopped_process_never_began_is_given_up():
    worker, ended = WorkerProcess(TASK), []
    dispatcher = Dispatcher([worker], TASK.description.paths)
    coordinator = SimpleNamespace(ended=lambda job, outcome: ended.append((job, outcome)))
    dispatcher._execution = _Execution(Claiming(iter(()), lambda _job: None, 0), coordinator)
    worker.assigned = {number: Assignment(f"job {number}") for number in (4, 5, 6)}
    dispatcher._about_job(worker, "stopped", (4,))
    assert list(worker.assigned) == [4]
    worker.assigned.clear()  # whose files would be looked for
    dispatcher._give_up_claims()
    assert ended == [("job 5", None), ("job 6", None)]


def test_a_process_that_was_refused_can_be_ended(monkeypatch):
    def refuse(_self):
        raise OSError(errno.EAGAIN, "no more processes")

    context = worker_process.multiprocessing.get_context("spawn")
    monkeypatch.setattr(context.Process, "start", refuse)
    worker = WorkerProcess(TASK)
    for start in (worker.start, worker.start_again):
        with pytest.raises(DeviceError, match="a process for cpu cannot be started: no more processes"):
            start()
        assert not worker.is_running
        worker.interrupt()
        worker.end()
