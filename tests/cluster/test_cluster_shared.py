"""What the machines of a cluster must share, and what a worker finds out before it writes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from adacode_cli import atomic
from adacode_cli.batch.claims import Claims, claim_path, own_token
from adacode_cli.batch.cluster.actor import ClusterTask, _enter, _Run
from adacode_cli.batch.cluster.shared import marked, other_file, seen_of
from adacode_cli.batch.description import Description, NetworkDescription
from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.masks import OneFile
from adacode_cli.batch.output_files import write_new
from adacode_cli.batch.worker import WorkerPlacement, WorkerTask
from adacode_cli.batch.worker_handle import Given
from adacode_cli.errors import InputError, OutputError, UsageError

TASK = WorkerTask(Description(NetworkDescription(), "sr"), WorkerPlacement("cpu", 1, 1), False, 1.0, None)


class Job(SimpleNamespace):
    def __hash__(self):
        return hash(self.name)


@pytest.fixture
def jobs(tmp_path):
    """Two jobs with files, and claims on their outputs."""
    found = []
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"pixels")
        out = tmp_path / "out"
        found.append(Job(name=name, source=tmp_path / name, root=out, target=out / name))
    claims = [Claims(job.root).take(job.name, [job.target]) for job in found]
    yield found
    for claim in claims:
        claim.release()


def taken(run: _Run, jobs: list[Job]) -> list[Job]:
    """The jobs, given to a worker as the run sees them."""
    run.token = own_token()
    run.answer([Given(number, Assignment(job), 1, seen_of(TASK.description, job)) for number, job in enumerate(jobs)])
    given = run.jobs()
    return [next(given) for _ in jobs]


def test_a_machine_with_files_of_its_own_ends_the_run(jobs):
    run = _Run()
    first, _ = taken(run, jobs)
    first.source.write_bytes(b"others")  # the same size; an older copy has another time
    os.utime(first.source, ns=(1, 1))
    with pytest.raises(UsageError, match=r"is another file on .*, a machine of the cluster"):
        run.take(first)


def test_a_file_that_was_changed_just_now_fails_alone(jobs):
    run = _Run()
    first, second = taken(run, jobs)
    assert run.take(first) is not None
    second.source.write_bytes(b"other pixels")
    with pytest.raises(InputError, match="or was changed just now"):
        run.take(second)


def test_masks_are_compared_too(jobs, tmp_path):
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"holes")
    description = replace(TASK.description, holes=OneFile(mask))
    seen = seen_of(description, jobs[0])
    assert other_file(seen) is None
    mask.write_bytes(b"other holes")
    assert other_file(seen) == str(mask)
    mask.unlink()
    assert other_file(seen) == str(mask)


def test_a_worker_that_was_given_up_writes_no_file(jobs, monkeypatch):
    monkeypatch.setattr(atomic, "_checks_before_rename", [])
    run = _Run()
    first, second = taken(run, jobs)
    assert run.take(first) is not None
    atomic.check_before_rename(run.require_claim)
    write_new(first.target, b"restored")
    # Another run has the claim now.
    claim = claim_path(first.root, first.name)
    claim.write_text(claim.read_text().replace(own_token(), "another"))
    with pytest.raises(OutputError, match="the run has no claim on it any more"):
        write_new(first.target, b"later")
    assert first.target.read_bytes() == b"restored"
    assert [path.name for path in first.root.iterdir() if path.is_file()] == ["a.png"]
    claim_path(second.root, second.name).unlink()
    with pytest.raises(UsageError, match="this is not the output directory of the run"):
        run.take(second)


def test_a_machine_with_another_folder_of_the_same_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maps = tmp_path / "beside" / "maps"
    with marked([maps]) as marks:
        task = ClusterTask(TASK, str(tmp_path), marks=marks)
        _enter(task, "here")
        # As on another machine, whose folder of this name is on its own disk.
        shutil.move(tmp_path / "beside", tmp_path / "elsewhere")
        maps.mkdir(parents=True)
        with pytest.raises(UsageError, match="this is not the directory of the run"):
            _enter(task, "here")


def test_marks_leave_nothing(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "map.png").touch()
    with marked([tmp_path / "new" / "maps", tmp_path / "kept"]) as marks:
        assert len(marks) == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "map.png"]
