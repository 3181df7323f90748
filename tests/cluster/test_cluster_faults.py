"""`--engine ray` with workers that fail by themselves: each fault costs what it must, and no more."""

from __future__ import annotations

import socket

from test_cluster_runs import events, ray, tree

__all__ = ["ray"]


def test_a_file_that_ends_two_workers_fails_by_name(adacode, cluster, ray, photos, tmp_path):
    photos(24, 24, 33, 24, 24, 24)
    result = adacode("sr", "p", "--weights", "dies", *ray, **cluster.env)
    assert result.returncode == 9, result.stderr
    assert result.stderr == b""
    (failed,) = (event for event in events(result.stdout) if event["event"] == "file-failed")
    assert failed["source"] == "p/02.png"
    assert "two workers ended while they restored it" in failed["error"]["message"]
    assert sorted(tree(tmp_path / "p-sr-x4")) == ["00.png", "01.png", "03.png", "04.png", "05.png"]


def test_a_device_error_that_every_file_meets_ends_the_run(adacode, cluster, ray, photos, tmp_path):
    photos(24, 24, *[33] * 6)
    result = adacode("sr", "p", "--weights", "no-device", *ray, **cluster.env)
    assert result.returncode == 5, result.stdout
    assert "the device is gone" in events(result.stdout)[-1]["error"]["message"]
    assert result.stderr == b""
    assert sorted(tree(tmp_path / "p-sr-x4")) == ["00.png", "01.png"]


def test_unknown_weights_of_workers_end_the_run(adacode, cluster, ray, photos, tmp_path):
    photos(24, 24)
    result = adacode("sr", "p", "--weights", "other-task", *ray[:-1], **cluster.env)
    assert result.returncode == 4
    assert result.stderr.decode().count("other-task is not for sr") == 1
    assert f"on {socket.gethostname()}: other-task" in " ".join(result.stderr.decode().split())
    assert not (tmp_path / "p-sr-x4").exists()


def test_folders_beside_the_tree_are_written_and_have_no_marks(adacode, cluster, ray, photos, tmp_path):
    photos(24, 24)
    result = adacode("sr", "p", "--weights", "black", "--quarantine", "refused", *ray, **cluster.env)
    assert result.returncode == 0, result.stderr
    assert sorted(tree(tmp_path / "p-sr-x4")) == ["00.png", "01.png"]
    assert not (tmp_path / "refused").exists()
