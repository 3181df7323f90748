"""Whole runs from and to a real S3 server: the same bytes as on a disk, continued, in parts, without faults."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NAMES = ("a.png", "1931/b.jpg", "1931/c.png", "1932/sub/d.tif")


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".adacode" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def wanted(adacode, tmp_path, scans):
    """The tree that a local run makes of the same images."""
    scans(*NAMES)
    assert adacode("sr", "photos", "-o", "wanted", "-q").returncode == 0
    return tree(tmp_path / "wanted")


def test_a_tree_in_a_bucket_is_the_same_as_on_a_disk(adacode, store, wanted):
    result = adacode("sr", "s3://museum/scans", "-o", "s3://museum/large", **store.env)
    assert result.returncode == 0, result.stderr
    assert b"s3://museum/scans/1931/b.jpg -> s3://museum/large/1931/b.jpg" in result.stderr + result.stdout
    assert store.outputs("large") == wanted
    head = store.client.head_object(Bucket="museum", Key="large/1931/b.jpg")
    assert head["ContentType"] == "image/jpeg"
    assert set(head["Metadata"]) == {"adacode-version", "adacode-source-sha256"}
    state = store.keys("large/.adacode/")
    assert [key.split("/")[2] for key in state] == ["journal", "report.json"]
    report = json.loads(store.get("large/.adacode/report.json"))
    assert (report["done"], report["failed"], report["exit_code"]) == (4, 0, 0)
    lines = [json.loads(line) for line in store.get(state[0]).splitlines()]
    assert {line["path"] for line in lines} == {f"s3://museum/scans/{name}" for name in NAMES}
    secrets = [store.env["AWS_SECRET_ACCESS_KEY"], store.env["AWS_ACCESS_KEY_ID"]]
    everything = b"".join([result.stdout, result.stderr, *map(store.get, state)]).decode()
    assert not any(secret in everything for secret in secrets)


def test_a_second_run_reads_no_source_and_writes_no_output(adacode, store, wanted):
    command = ("sr", "s3://museum/scans", "-o", "s3://museum/large")
    assert adacode(*command, **store.env).returncode == 0
    store.put("scans/a.png", store.get("scans/1931/c.png"))
    store.proxy.seen.clear()
    result = adacode(*command, "-v", **store.env)
    # One was changed, so it is refused nowhere: its output was made from this file, which now is another.
    assert result.returncode == 0, result.stderr
    read = [path for method, path in store.proxy.seen if method == "GET" and "/scans/" in path]
    assert len(read) == 1
    assert "/scans/a.png" in read[0]
    written = [path for method, path in store.proxy.seen if method == "PUT" and "/.adacode/" not in path]
    assert len(written) == 1
    assert store.get("large/a.png") != wanted["a.png"]


@pytest.mark.parametrize(
    ("source", "target"), [("photos", "s3://museum/large"), ("s3://museum/scans", "large")], ids=["up", "down"]
)
def test_one_side_may_be_local(adacode, store, wanted, tmp_path, source, target):
    for _ in range(2):  # The second run finds all done.
        result = adacode("sr", source, "-o", target, **store.env)
        assert result.returncode == 0, result.stderr
    assert b"4 skipped" in result.stdout + result.stderr
    assert (tree(tmp_path / "large") if target == "large" else store.outputs("large")) == wanted


def test_parts_can_run_one_after_another_and_make_the_whole(adacode, store, wanted):
    for part in (1, 2, 3):
        result = adacode("sr", "s3://museum/scans", "-o", "s3://museum/large", "--shard", f"{part}/3", **store.env)
        assert result.returncode == 0, result.stderr
    assert store.outputs("large") == wanted
    result = adacode("sr", "s3://museum/scans", "-o", "s3://museum/large", "-v", **store.env)
    assert b"4 skipped" in result.stdout + result.stderr


def test_one_file_to_one_file(adacode, store, wanted):
    result = adacode("sr", "s3://museum/scans/a.png", "-o", "s3://museum/one/b.png", **store.env)
    assert result.returncode == 0, result.stderr
    assert store.outputs("one") == {"b.png": wanted["a.png"]}
    result = adacode("sr", "s3://museum/scans/a.png", "-o", "s3://museum/one/b.png", **store.env)
    assert result.returncode == 6
    assert b"exists already" in result.stderr


def test_without_o_the_outputs_are_beside_the_inputs(adacode, store, wanted):
    assert adacode("sr", "s3://museum/scans", **store.env).returncode == 0
    assert store.outputs("scans-sr-x4") == wanted


def test_a_list_of_addresses(adacode, store, wanted, tmp_path):
    (tmp_path / "list.txt").write_text("s3://museum/scans/a.png\ns3://museum/scans/none.png\nphotos/1931/b.jpg\n")
    result = adacode("sr", "--from-file", "list.txt", "-o", "s3://museum/large", **store.env)
    assert result.returncode == 9
    assert b"none.png: there is no such file" in result.stderr
    assert store.outputs("large") == {
        "museum/scans/a.png": wanted["a.png"],
        "photos/1931/b.jpg": wanted["1931/b.jpg"],
    }


def test_masks_in_a_bucket(adacode, store, photo, scans, tmp_path):
    scans("a.png", "1931/b.png")
    for name in ("a.png", "1931/b_mask.png"):
        store.put(f"masks/{name}", photo(f"masks/{name}").read_bytes())
    result = adacode("inpaint", "photos", "--mask-dir", "masks", "-o", "wanted")
    assert result.returncode == 0, result.stderr
    result = adacode(
        "inpaint", "s3://museum/scans", "--mask-dir", "s3://museum/masks", "-o", "s3://museum/mended", **store.env
    )
    assert result.returncode == 0, result.stderr
    assert store.outputs("mended") == tree(tmp_path / "wanted")
    one = adacode(
        "inpaint", "s3://museum/scans/a.png", "--mask", "s3://museum/masks/a.png", "-o", "one.png", **store.env
    )
    assert one.returncode == 0, one.stderr
    assert (tmp_path / "one.png").read_bytes() == store.get("mended/a.png")


def test_several_processes(adacode, store, wanted):
    command = ("sr", "s3://museum/scans", "-o", "s3://museum/large", "--processes", "2")
    run = adacode.start(*command, env=store.env)  # A forked program would start processes without the restorer of it.
    _, errors = run.communicate()
    assert run.returncode == 0, errors
    assert store.outputs("large") == wanted


def test_long_documents(adacode, store, tmp_path):
    import numpy as np
    import tifffile

    pages = np.random.default_rng(1).integers(0, 256, (3, 3000, 2000), np.uint8)
    (tmp_path / "photos").mkdir()
    tifffile.imwrite(tmp_path / "photos" / "long.tif", pages, photometric="minisblack", compression="zlib")
    store.put("scans/long.tif", (tmp_path / "photos" / "long.tif").read_bytes())
    assert adacode("reconstruct", "photos", "-o", "wanted").returncode == 0
    result = adacode("reconstruct", "s3://museum/scans", "-o", "s3://museum/same", **store.env)
    assert result.returncode == 0, result.stderr
    assert store.outputs("same") == tree(tmp_path / "wanted")


def test_a_dry_run_writes_nothing(adacode, store, wanted):
    before = store.keys()
    result = adacode("sr", "s3://museum/scans", "-o", "s3://museum/large", "--dry-run", **store.env)
    assert result.returncode == 0, result.stderr
    assert b"s3://museum/scans/a.png -> s3://museum/large/a.png" in result.stdout
    assert re.fullmatch(rb"store: about [0-9.]+ kB for s3://museum/large", result.stderr.splitlines()[-1])
    assert store.keys() == before
    assert store.proxy.count("PUT", "") == 0
