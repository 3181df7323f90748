"""`--engine ray` from and to a store: workers read and write it themselves, and only while the run has its lease."""

from __future__ import annotations

import json
import os
import pickle
import signal

import pytest
from ray_cluster import PATIENCE_S, until, write_photos
from test_cluster_runs import events, ray, tree

from adacode_cli.batch import lease as lease_module
from adacode_cli.batch import tickets as tickets_module
from adacode_cli.batch.output_files import write_new
from adacode_cli.batch.remote_tree import RemoteTree
from adacode_cli.errors import JournalError
from adacode_cli.storage import objects
from adacode_cli.storage.path import path_of

__all__ = ["ray"]
WIDTHS = (24, 40, 56) * 4
BUCKET, LEASES = "museum", ".adacode/leases/whole"


@pytest.fixture(scope="module")
def client(store_env):
    """A real server on loopback with an empty bucket, as its own client sees it."""
    for name in ("s3fs", "boto3", "moto.server"):
        pytest.importorskip(name, reason="the packages of the extra `s3` or moto's server are absent")
    import boto3
    from moto.server import ThreadedMotoServer

    url = store_env["AWS_ENDPOINT_URL"]
    server = ThreadedMotoServer("127.0.0.1", int(url.rpartition(":")[2]), verbose=False)
    server.start()
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    found = boto3.client("s3", endpoint_url=url, **keys)
    found.create_bucket(Bucket=BUCKET)
    yield found
    server.stop()


def names(client, prefix: str) -> list[str]:
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", ())
    return [one["Key"].removeprefix(f"{prefix}/") for one in listed]


def outputs(client, prefix: str) -> dict[str, bytes]:
    found = (name for name in names(client, prefix) if ".adacode" not in name)
    return {name: client.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["Body"].read() for name in found}


def test_a_run_that_loses_its_lease_stops_and_goes_on_with_killed_workers(
    adacode, cluster, ray, client, store_env, tmp_path
):
    write_photos(tmp_path / "p", WIDTHS)
    for path in (tmp_path / "p").iterdir():
        client.put_object(Bucket=BUCKET, Key=f"scans/{path.name}", Body=path.read_bytes())
    env = {**cluster.env, **store_env}
    run = ("sr", "s3://museum/scans", "-o", "s3://museum/large", "--no-provenance", "--weights")
    with adacode.start(*run, "slow", *ray, env=env) as process:
        until(lambda: outputs(client, "large"), process)
        lease = json.dumps({"id": "another", "pid": 7, "host": "elsewhere"}).encode()
        client.put_object(Bucket=BUCKET, Key=f"large/{LEASES}.000002.json", Body=lease)
        client.delete_object(Bucket=BUCKET, Key=f"large/{LEASES}.000001.json")
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    error = events(stdout)[-1]["error"]
    assert (process.returncode, stderr) == (7, b""), error
    # A worker finds it out when it is about to write, or the driver, when it is to give a sign of life.
    said = ("the run of this worker has lost its lease", "another run has taken over: process 7 on elsewhere")
    assert any(words in error["message"] for words in said)
    before = len(outputs(client, "large"))
    assert before < len(WIDTHS)
    client.delete_object(Bucket=BUCKET, Key=f"large/{LEASES}.000002.json")
    with adacode.start(*run, "slow", *ray, env=env) as process:
        until(lambda: len(outputs(client, "large")) > before, process)
        killed = cluster.workers()
        for number in killed:
            os.kill(number, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    last = events(stdout)[-1]
    assert (len(killed), process.returncode, stderr) == (2, 0, b"")
    assert (last["done"] + last["skipped"], last["failed"]) == (len(WIDTHS), 0)
    here = adacode("sr", "p", "-o", "here", "--no-provenance", "--weights", "nearest")
    assert here.returncode == 0, here.stderr
    assert outputs(client, "large") == tree(tmp_path / "here")
    state = {name.split("/")[1] for name in names(client, "large") if name.startswith(".adacode/")}
    assert state == {"journal", "report.json"}


def test_one_image_at_an_address_is_refused(adacode, client, store_env):
    client.put_object(Bucket=BUCKET, Key="alone/a.png", Body=b"of any content")
    result = adacode("sr", "s3://museum/alone/a.png", "-o", "large", "--engine", "ray", **store_env)
    assert result.returncode == 2
    assert "--engine ray needs a directory or several images" in " ".join(result.stderr.decode().split())


def test_a_worker_writes_only_while_its_run_has_the_lease(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(lease_module, "_taken", [])
    monkeypatch.setattr(tickets_module, "_shown", [])
    root = path_of("memory://museum/large")
    driver = RemoteTree(root)
    driver.hold(None, print)
    shown = pickle.loads(pickle.dumps(lease_module.tickets()))
    monkeypatch.setattr(lease_module, "_taken", [])  # As on another machine.
    tickets_module.work_for(shown)
    write_new(root / "a.png", b"in time")
    driver.close()
    with pytest.raises(JournalError, match="the run of this worker has lost its lease, or has ended"):
        write_new(root / "b.png", b"late")
    other = RemoteTree(root)
    other.hold(None, print)
    with pytest.raises(JournalError, match="the run of this worker has lost its lease, or has ended"):
        write_new(root / "a.png", b"late")
    assert objects.read(root / "a.png") == b"in time"
    other.close()
