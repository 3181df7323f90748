"""What is read of images in stores before a run: for a dry run, and for names that depend on sizes."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
import tifffile
from faulty_proxy import Fault
from PIL import Image

from adacode_cli.batch.estimate import Needs
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.found import Found
from adacode_cli.batch.plan import Job, Plan
from adacode_cli.batch.trees import Trees
from adacode_cli.cli import dry_run
from adacode_cli.cli.console import console_for
from adacode_cli.cli.cost import Cost, cost_lines
from adacode_cli.errors import InputError
from adacode_cli.imaging.codec import Header
from adacode_cli.storage import pieces
from adacode_cli.storage.path import path_of

SCANS = "s3://museum/scans"


def jobs_of(*names: str) -> list[Job]:
    return [Job(Found(path_of(SCANS), name, True), path_of("s3://museum/out"), name) for name in names]


def encoded(format: str, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = BytesIO()
    if format == "tiff":  # Its directory is at the end.
        tifffile.imwrite(file, pixels, photometric="rgb")
        data = bytearray(file.getvalue())
        first = int.from_bytes(data[4:8], "little")
        data += bytes(-len(data) % 2)
        start = len(data)
        data += data[first : first + 2 + 12 * int.from_bytes(data[first : first + 2], "little") + 4]
        data[4:8] = start.to_bytes(4, "little")
        return bytes(data)
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def test_a_header_takes_few_requests(in_process):
    for name, format in (("small.png", "png"), ("large.png", "png"), ("large.tif", "tiff")):
        in_process.put(f"scans/{name}", encoded(format, (20, 10) if name == "small.png" else (300, 200)))
    in_process.put("scans/none.png", b"no image at all")
    names = ("small.png", "large.png", "large.tif", "none.png", "gone.png")
    jobs = Foresight().with_remote_headers(jobs_of(*names), lambda _job: True, strict=True)
    sizes = {job.name: job.header and (job.header.width, job.header.height, job.header.format) for job in jobs}
    assert sizes == {
        "small.png": (20, 10, "png"),
        "large.png": (300, 200, "png"),
        "large.tif": (300, 200, "tiff"),
        "none.png": None,
        "gone.png": None,
    }
    seen = [(method, path.rpartition("/")[2]) for method, path in in_process.proxy.seen if "/scans/" in path]
    asked = {name: [method for method, path in seen if path == name] for name in names}
    assert asked["small.png"] == ["GET"]
    assert sorted(asked["large.png"]) == ["GET", "HEAD"]
    assert sorted(asked["large.tif"]) == ["GET", "GET", "HEAD"]


def test_a_file_is_not_read_on_and_on(in_process):
    in_process.put("scans/long", bytes(2 << 20))
    file, num_bytes = pieces.opened(path_of(f"{SCANS}/long"))
    assert num_bytes == 2 << 20
    with pytest.raises(ValueError, match="too many places"):
        file.read()


def test_names_do_not_depend_on_a_store_that_does_not_answer(in_process):
    in_process.put("scans/a.webp", encoded("webp", (20, 10)))
    in_process.proxy.faults.append(Fault("busy", "GET", "a.webp", times=99))
    with pytest.raises(InputError, match="did not answer as it should"):
        Foresight().with_remote_headers(jobs_of("a.webp"), lambda _job: True, strict=True)
    in_process.proxy.faults[:] = [Fault("denied", "GET", "a.webp", times=99)]
    (job,) = Foresight().with_remote_headers(jobs_of("a.webp"), lambda _job: True, strict=True)
    assert job.header is None


def test_of_very_many_images_some_are_read(in_process, monkeypatch, tmp_path):
    monkeypatch.setattr(dry_run, "_MOST_HEADERS", 3)
    names = [f"{number}.png" for number in range(8)]
    for name in names:
        in_process.put(f"scans/{name}", encoded("png", (20, 10)))
    plan = Plan(tuple(jobs_of(*names)), (), (), has_tree=False)
    console = console_for("sr", quiet=True, verbose=0, as_json=False)
    plan, unread = dry_run._with_remote_headers(plan, Trees(), Foresight(), console)
    assert sum(job.header is not None for job in plan.jobs) == 3
    assert len(unread) == 5
    needs = Needs(95, lambda height, width: (4 * height, 4 * width))
    for job in plan.jobs:
        needs.add(job, is_read=job not in unread)
    # Of an image on a disk, the size is known, so it stands for no other.
    needs.add(Job(Found(tmp_path, "b.png", True), tmp_path / "out", "b.png", header=Header(1000, 1000, 3, 8, False)))
    needs.extrapolate()
    assert (needs.num_files, needs.num_known, needs.input_pixels, needs.num_runs) == (9, 4, 10**6 + 8 * 200, 9)
    lines = [line.plain for line in cost_lines(Cost(needs, (), None, None, "it is a test"))]
    assert lines[:2] == [
        "to restore: 9 files, 1 megapixels; results: 16 megapixels",
        "  estimated from the headers of 4 of them",
    ]


def test_a_dry_run_knows_as_much_as_on_a_disk_and_names_too(adacode, store, scans, tmp_path):
    scans("a.png", "1931/b.jpg")
    scans("wide.webp", size=(5000, 2))  # Four times as wide is too large for a WebP file.
    options = ("--if-too-large", "png", "--weights", "nearest")
    here = adacode("sr", "photos", "-o", "wanted", "--dry-run", "--json", *options)
    there = adacode("sr", SCANS, "-o", "s3://museum/large", "--dry-run", "--json", *options, **store.env)
    assert there.returncode == here.returncode == 0, there.stderr
    wanted, found = (json.loads(result.stdout.splitlines()[-1]) for result in (here, there))
    assert wanted["unknown_files"] == 0
    for name in ("files", "unknown_files", "unread_files", "input_megapixels", "output_megapixels", "output_bytes"):
        assert found[name] == wanted[name], name
    assert found["seconds"] is not None
    store_needs = {"path": "s3://museum/large", "needed_bytes": found["output_bytes"]}
    assert found["disks"] == [{**store_needs, "free_bytes": None, "is_too_small": False}]
    result = adacode("sr", SCANS, "-o", "s3://museum/large", *options, **store.env)
    assert result.returncode == 0, result.stderr
    assert adacode("sr", "photos", "-o", "wanted", *options).returncode == 0
    assert set(store.outputs("large")) == {"a.png", "1931/b.jpg", "wide.png"}
    for name, data in store.outputs("large").items():
        assert data == (tmp_path / "wanted" / name).read_bytes(), name
