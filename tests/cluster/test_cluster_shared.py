"""What the machines of a cluster must share, and what a worker finds out before it writes."""

from __future__ import annotations

import shutil

import pytest
from ray_cluster import FAULTY, PATIENCE_S
from test_cluster_runs import tree

from adacode_cli.batch.cluster.actor import ClusterTask, _enter
from adacode_cli.batch.cluster.shared import marked
from adacode_cli.batch.description import Description, NetworkDescription
from adacode_cli.batch.worker import WorkerPlacement, WorkerTask
from adacode_cli.errors import UsageError

TASK = WorkerTask(Description(NetworkDescription(), "sr"), WorkerPlacement("cpu", 1, 1), False, 1.0, None)


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


def test_folders_beside_the_tree_are_written_and_have_no_marks(adacode, photos, tmp_path):
    photos(24, 24)
    more = ("--engine", "ray", "--weights", "black", "--quarantine", "refused")
    process = adacode.start("sr", "p", *more, env={"PYTHONPATH": FAULTY, "FAULTY": "1"})
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    assert sorted(tree(tmp_path / "p-sr-x4")) == ["00.png", "01.png"]
    assert not (tmp_path / "refused").exists()
