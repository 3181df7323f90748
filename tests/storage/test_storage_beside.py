"""Files beside the outputs in a real S3 server: masks, weight maps, codes and refused results, as on a disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from adacode_process import Program
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "detection"))
from bright_detector import save_bright_detector

STORE, LOCAL = "s3://museum", "local"
SCANS = ("inpaint", "s3://museum/scans", "--detect", "d.safetensors")


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".adacode" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def beside(place: str) -> tuple[str, ...]:
    return ("--save-mask", f"{place}/masks", "--save-weights-map", f"{place}/maps")


@pytest.fixture
def marked(store, tmp_path):
    """Two images with white marks, below `photos/` and in the bucket, and the detector that finds them."""
    save_bright_detector(tmp_path / "d.safetensors")
    for seed, name in enumerate(("a.png", "1931/b.png")):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 200, (16, 24, 3), np.uint8)
        image[rng.random((16, 24)) < 0.05] = 255
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        store.put(f"scans/{name}", path.read_bytes())


def written(store) -> list[str]:
    """The objects that were written since the list of requests was emptied, without the state of runs."""
    return [path for method, path in store.proxy.seen if method == "PUT" and "/.adacode/" not in path]


def test_masks_and_maps_are_those_of_a_disk_and_are_known_to_later_runs(adacode, store, marked, tmp_path):
    wanted = adacode("inpaint", "photos", *SCANS[2:], "-o", "local/out", *beside(LOCAL))
    assert wanted.returncode == 0, wanted.stderr
    command = (*SCANS, "-o", "s3://museum/out", *beside(STORE))
    result = adacode(*command, **store.env)
    assert result.returncode == 0, result.stderr
    for name in ("out", "masks", "maps"):
        assert store.outputs(name) == tree(tmp_path / "local" / name), name
    head = store.client.head_object(Bucket="museum", Key="masks/1931/b.png_mask.png")
    assert head["ContentType"] == "image/png"
    assert set(head["Metadata"]) == {"adacode-version", "adacode-source-sha256"}
    assert store.keys("masks/.adacode/") == ["masks/.adacode/beside.json"]
    keys = [key for key in store.keys("out/.adacode/journal/") if key.endswith(".jsonl")]
    lines = [json.loads(line) for key in keys for line in store.get(key).splitlines()]
    assert {one["path"] for line in lines for one in line["besides"]} == {
        f"{STORE}/{folder}/{name}"
        for name in ("a.png", "1931/b.png")
        for folder, name in (("masks", f"{name}_mask.png"), ("maps", f"{name}.weights.png"))
    }
    store.proxy.seen.clear()
    assert b"2 skipped" in (again := adacode(*command, **store.env)).stdout + again.stderr
    assert written(store) == []
    # What was removed is made again, and nothing else.
    store.client.delete_object(Bucket="museum", Key="maps/a.png.weights.png")
    assert adacode(*command, **store.env).returncode == 0
    assert {path.partition("?")[0] for path in written(store)} == {
        "/museum/out/a.png",
        "/museum/maps/a.png.weights.png",
        "/museum/masks/a.png_mask.png",
    }
    assert store.outputs("maps") == tree(tmp_path / "local" / "maps")
    # A mask that somebody has corrected is theirs.
    store.put("masks/a.png_mask.png", b"corrected")
    refused = adacode(*command, **store.env)
    assert refused.returncode == 6
    assert b"s3://museum/masks/a.png_mask.png: exists already" in refused.stderr
    assert store.get("masks/a.png_mask.png") == b"corrected"
    assert adacode(*command, "--overwrite", **store.env).returncode == 0
    assert store.outputs("masks") == tree(tmp_path / "local" / "masks")
    # The folders of files beside outputs are no inputs of later runs.
    plan = adacode("sr", "s3://museum", "-o", "x", "--dry-run", **store.env)
    assert plan.stdout.count(b" -> ") == 2, plan.stdout
