"""`--engine ray`: several drivers on the CPUs of one cluster, and a watch."""

from __future__ import annotations

import os
import signal

from adacode_process import default_signals
from ray_cluster import PATIENCE_S, until, write_photos
from test_cluster_runs import claims, events, linux, ray, tree

__all__ = ["ray"]
SHARE = ("--num-workers", "1", "--worker-cpus", "1")
DRIVER = {"start_new_session": True, "preexec_fn": default_signals}


@linux
def test_parts_of_many_small_files_and_a_watch_share_the_cpus_of_a_cluster(adacode, cluster, ray, photos, tmp_path):
    """Three drivers at once; with all CPUs of a machine for each worker, the last one would wait for five minutes."""
    photos(*[8] * 120)
    write_photos(tmp_path / "w", [24])
    env, out = cluster.env, tmp_path / "out"
    options = ("--weights", "nearest", *ray, *SHARE)
    watching = adacode.start("sr", "w", "--watch", "--watch-interval", "0.1", *options, env=env, **DRIVER)
    parts = [adacode.start("sr", "p", "-o", "out", "--shard", f"{part}/2", *options, env=env) for part in (1, 2)]
    with watching, parts[0], parts[1]:
        until(lambda: len(tree(tmp_path / "w-sr-x4")) == 1, watching)
        ended = [part.communicate(timeout=PATIENCE_S) for part in parts]
        assert [(part.returncode, stderr) for part, (_, stderr) in zip(parts, ended, strict=True)] == [(0, b"")] * 2
        assert sum(events(stdout)[-1]["done"] for stdout, _ in ended) == 120
        (tmp_path / "p" / "00.png").rename(tmp_path / "w" / "later.png")
        until(lambda: len(tree(tmp_path / "w-sr-x4")) == 2, watching)
        os.killpg(watching.pid, signal.SIGTERM)
        stdout, stderr = watching.communicate(timeout=PATIENCE_S)
    assert (watching.returncode, stderr) == (130, b"")
    assert events(stdout)[-1]["done"] == 2
    (tmp_path / "w" / "later.png").rename(tmp_path / "p" / "00.png")
    assert adacode("sr", "p", "-o", "here", "--weights", "nearest").returncode == 0
    assert tree(out) == tree(tmp_path / "here")
    assert len(tree(out)) == 120
    assert claims(out) == []
