"""One plan through two executors: this process, and processes that get nothing but what can be pickled."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from adacode_cli.atomic import TEMPORARY_SUFFIX
from adacode_cli.batch import masks
from adacode_cli.batch.coding import CodesPlace
from adacode_cli.batch.description import Description, NetworkDescription
from adacode_cli.batch.events import FileFinished, FileStarted, RunFinished
from adacode_cli.batch.found import Selection
from adacode_cli.batch.journal import JOURNAL
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.processes import Processes
from adacode_cli.batch.record import Settings
from adacode_cli.batch.run import run
from adacode_cli.batch.trees import Trees
from adacode_cli.batch.worker import WorkerPlacement, WorkerTask
from adacode_cli.imaging.decode import decode
from adacode_cli.limits import DECODING_LIMIT_S
from adacode_cli.sizes import Sizing

DESCRIPTION = Description(NetworkDescription(device="cpu", precision="fp32"), "sr", Sizing("scale", 2.0), step="sr x2")
OF_TIME = {"time", "seconds", "peak_memory_bytes", "target", "error"}


@pytest.fixture(scope="module")
def local():
    stages, _ = DESCRIPTION.stages(decode)
    return LocalExecutor(stages)


@contextmanager
def two_processes():
    task = WorkerTask(DESCRIPTION, WorkerPlacement("cpu", 1, 2), isolated=False, limit_s=DECODING_LIMIT_S, jobs=None)
    with Processes([task, task]) as executor:
        executor.start()
        yield executor


@pytest.fixture(scope="module")
def workers():
    with two_processes() as executor:
        yield executor


def carried_out(executor, folder: Path, out: Path, listener=lambda _event: None):
    """The events of a run, which goes on from an earlier one."""
    log = []

    def on_event(event):
        log.append(event)
        listener(event)

    trees = Trees(Settings("o", "w"), resume=True, replace=False)
    plan = make_plan([folder], Naming("sr-x2", out), Selection(), OnExisting.REFUSE, may_go_on=trees.may_go_on)
    trees.begin(plan.roots)
    run(plan, executor, on_event=on_event, trees=trees)
    return log


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a tree except the state of runs."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".adacode" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def lines(out: Path) -> list[dict]:
    """The journal without what another run of the same plan has otherwise."""
    every = map(json.loads, (out / JOURNAL).read_text().splitlines())
    return sorted(({k: v for k, v in line.items() if k not in OF_TIME} for line in every), key=str)


def outcomes(log):
    """Of all files, in one order: what fails is reported at once."""
    return sorted((event.outcome for event in log if isinstance(event, FileFinished)), key=lambda one: one.source)


def test_both_executors_make_the_same_tree(local, workers, mixed_folder, tmp_path):
    here = carried_out(local, mixed_folder, tmp_path / "a")
    there = carried_out(workers, mixed_folder, tmp_path / "b")
    assert len(tree(tmp_path / "a")) == 12
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    for one, other in zip(outcomes(here), outcomes(there), strict=True):
        assert (one.result, one.source, one.notes, one.made) == (other.result, other.source, other.notes, other.made)
        assert (one.failure and one.failure.message) == (other.failure and other.failure.message)
    again = carried_out(workers, mixed_folder, tmp_path / "a")[-1].report
    assert (again.skipped, again.done, len(again.failed)) == (12, 0, 2)


def test_a_worker_that_is_killed_costs_no_file(local, workers, image, tmp_path):
    for index in range(4):
        image(f"p/{index}.png", seed=index)

    killed = []

    def kill(event):
        if isinstance(event, FileStarted) and event.job.name == "2.png" and not killed:
            killed.append(event)
            for pid in workers.pids:
                os.kill(pid, signal.SIGKILL)

    log = carried_out(workers, tmp_path / "p", tmp_path / "b", kill)
    assert (log[-1].report.done, log[-1].report.exit_code) == (4, 0)
    carried_out(local, tmp_path / "p", tmp_path / "a")
    # A worker that is killed while it writes leaves a temporary file, which the next run removes.
    made = {name: data for name, data in tree(tmp_path / "b").items() if not name.endswith(TEMPORARY_SUFFIX)}
    assert tree(tmp_path / "a") == made


def test_an_idle_worker_that_dies_is_replaced_at_once(workers):
    """So a watch leaves no dead process behind until its next file."""
    before = workers.pids
    os.kill(before[0], signal.SIGKILL)
    while len(set(workers.pids) - {before[0]}) < 2:
        time.sleep(0.01)
    assert before[1] in workers.pids
    with pytest.raises(ProcessLookupError):
        os.kill(before[0], 0)


def test_an_interrupted_run_has_a_line_for_each_file_and_goes_on(local, image, tmp_path):
    for index in range(6):
        image(f"p/{index}.png", seed=index)
    log, interrupted = [], []

    def interrupt(event):
        log.append(event)
        outputs = [name for name in tree(tmp_path / "b") if not name.endswith(TEMPORARY_SUFFIX)]
        if isinstance(event, FileFinished) and len(outputs) >= 2 and not interrupted:
            interrupted.append(event)
            raise KeyboardInterrupt

    with two_processes() as executor, pytest.raises(KeyboardInterrupt):
        carried_out(executor, tmp_path / "p", tmp_path / "b", interrupt)
    written = tree(tmp_path / "b")
    assert 2 <= len(written) < 6
    journal = (tmp_path / "b" / JOURNAL).read_text().splitlines()
    assert sorted(json.loads(line)["target"] for line in journal) == sorted(written)
    assert isinstance(log[-1], RunFinished)
    assert (log[-1].report.exit_code, log[-1].report.done) == (130, len(written))
    with two_processes() as executor:
        rest = carried_out(executor, tmp_path / "p", tmp_path / "b")[-1].report
    assert (rest.skipped, rest.done) == (len(written), 6 - len(written))
    carried_out(local, tmp_path / "p", tmp_path / "a")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_descriptions_of_every_kind_can_be_pickled(image, tmp_path):
    image("p/a.png")
    Image.new("L", (24, 16)).save(tmp_path / "m.png")
    edge = masks.Edge(1, 2)
    holes = (masks.OneFile(tmp_path / "m.png", edge), masks.Transparency(edge), masks.OneColor("#ffffff"), None)
    for source in holes:
        description = Description(NetworkDescription(), "inpaint", holes=source, save_codes=CodesPlace(tmp_path / "c"))
        assert pickle.loads(pickle.dumps(description)) == description
    (job,) = make_plan([tmp_path / "p"], Naming("x", tmp_path / "o"), Selection(), OnExisting.REFUSE).jobs
    assert pickle.loads(pickle.dumps(job)) == job
    assert [path.name for path in description.paths(job)] == ["a.png", "a.png.adacode"]
