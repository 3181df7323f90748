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

STORE, HERE = "s3://museum", "here"
DETECT = ("--detect", "d.safetensors", "--weights", "nearest")
SCANS = ("inpaint", "s3://museum/scans", *DETECT)


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".adacode" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def beside(place: str) -> tuple[str, ...]:
    return ("--save-mask", f"{place}/masks", "--save-weights-map", f"{place}/maps")


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """A directory with images with white marks, the detector that finds them, and what a local run makes of them."""
    directory = tmp_path_factory.mktemp("local")
    save_bright_detector(directory / "d.safetensors")
    for seed, (name, width) in enumerate({"a.png": 24, "1931/b.png": 24, "z.png": 33}.items()):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 200, (16, width, 3), np.uint8)
        image[rng.random((16, width)) < 0.05] = 255
        path = directory / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    run = Program(directory, network=False)("inpaint", "photos", *DETECT, "-o", "out", *beside("."))
    assert run.returncode == 0, run.stderr
    return directory


@pytest.fixture
def marked(store, local, tmp_path):
    """The same images and the detector below `tmp_path`, and the images in the bucket."""
    for name in ("photos", "d.safetensors"):
        (tmp_path / name).symlink_to(local / name)
    for name, data in tree(local / "photos").items():
        store.put(f"scans/{name}", data)


def written(store) -> list[str]:
    """The objects that were written since the list of requests was emptied, without the state of runs."""
    return [path for method, path in store.proxy.seen if method == "PUT" and "/.adacode/" not in path]


def test_masks_and_maps_are_those_of_a_disk_and_are_known_to_later_runs(adacode, store, marked, local):
    command = (*SCANS, "-o", "s3://museum/out", *beside(STORE))
    result = adacode(*command, **store.env)
    assert result.returncode == 0, result.stderr
    for name in ("out", "masks", "maps"):
        assert store.outputs(name) == tree(local / name), name
    head = store.client.head_object(Bucket="museum", Key="masks/1931/b.png_mask.png")
    assert head["ContentType"] == "image/png"
    assert set(head["Metadata"]) == {"adacode-version", "adacode-source-sha256"}
    assert store.keys("masks/.adacode/") == ["masks/.adacode/beside.json"]
    keys = [key for key in store.keys("out/.adacode/journal/") if key.endswith(".jsonl")]
    lines = [json.loads(line) for key in keys for line in store.get(key).splitlines()]
    assert {one["path"] for line in lines for one in line["besides"]} == {
        f"{STORE}/{folder}/{name}"
        for name in ("a.png", "1931/b.png", "z.png")
        for folder, name in (("masks", f"{name}_mask.png"), ("maps", f"{name}.weights.png"))
    }
    store.proxy.seen.clear()
    assert b"3 skipped" in (again := adacode(*command, **store.env)).stdout + again.stderr
    assert written(store) == []
    # What was removed is made again, and nothing else.
    store.client.delete_object(Bucket="museum", Key="maps/a.png.weights.png")
    assert adacode(*command, **store.env).returncode == 0
    assert {path.partition("?")[0] for path in written(store)} == {
        "/museum/out/a.png",
        "/museum/maps/a.png.weights.png",
        "/museum/masks/a.png_mask.png",
    }
    assert store.outputs("maps") == tree(local / "maps")
    # A mask that somebody has corrected is theirs.
    store.put("masks/a.png_mask.png", b"corrected")
    refused = adacode(*command, **store.env)
    assert refused.returncode == 6
    assert b"s3://museum/masks/a.png_mask.png: exists already" in refused.stderr
    assert store.get("masks/a.png_mask.png") == b"corrected"
    assert adacode(*command, "--overwrite", **store.env).returncode == 0
    assert store.outputs("masks") == tree(local / "masks")
    # The folders of files beside outputs are no inputs of later runs.
    plan = adacode("sr", "s3://museum", "-o", "x", "--dry-run", **store.env)
    assert plan.stdout.count(b" -> ") == 3, plan.stdout


@pytest.mark.parametrize(
    ("source", "output", "place"),
    [("photos/", "out", STORE), ("s3://museum/scans", "s3://museum/out", HERE)],
    ids=["up", "down"],
)
def test_only_one_of_them_may_be_in_a_store(adacode, store, marked, local, tmp_path, source, output, place):
    for _ in range(2):
        result = adacode("inpaint", source, *DETECT, "-o", output, *beside(place), **store.env)
        assert result.returncode == 0, result.stderr
    assert b"3 skipped" in result.stdout + result.stderr
    for name in ("masks", "maps"):
        assert (store.outputs(name) if place == STORE else tree(tmp_path / HERE / name)) == tree(local / name), name


def test_a_killed_run_is_continued_and_files_of_others_stay(adacode, store, marked, local, tmp_path):
    places = ("--save-mask", f"{STORE}/masks", "--save-weights-map", f"{HERE}/maps")
    command = (*SCANS, "-o", "s3://museum/out", *places, "-j", "1")
    killed = adacode.start(*command, "--weights", "dies-once", env={**store.env, "DIED": str(tmp_path / "died")})
    assert killed.wait(120) == -9, killed.stderr.read()
    assert store.keys("out/.adacode/in-flight/")
    store.put("masks/z.png_mask.png", b"of somebody else")
    map_of_another = tmp_path / HERE / "maps" / "a.png.weights.png"
    map_of_another.write_bytes(b"of somebody else")
    # Masks and maps that the run made without a line in the journal are its own; the other file is not.
    result = adacode(*command, **store.env)
    assert result.returncode == 9, result.stderr
    assert b"s3://museum/masks/z.png_mask.png: exists already, and no run made it from this input" in result.stderr
    assert b"maps/a.png.weights.png: exists already, and no run is known to have made it" in result.stderr
    assert store.get("masks/z.png_mask.png") == map_of_another.read_bytes() == b"of somebody else"
    store.client.delete_object(Bucket="museum", Key="masks/z.png_mask.png")
    map_of_another.unlink()
    assert adacode(*command, **store.env).returncode == 0
    for name in ("out", "masks"):
        assert store.outputs(name) == tree(local / name), name
    assert tree(tmp_path / HERE / "maps") == tree(local / "maps")


def test_addresses_in_a_journal_are_not_opened(adacode, store, photo, tmp_path):
    photo("photos/a.png", (24, 16))
    assert adacode("sr", "photos", "-o", "out").returncode == 0
    made = (tmp_path / "out" / "a.png").read_bytes()
    journal = tmp_path / "out" / ".adacode" / "journal.jsonl"
    line = json.loads(journal.read_bytes().splitlines()[-1])
    addresses = ("s3://museum/secret", "foo://evil/x", "s3://")  # The folder came from somebody else.
    forged = line | {"besides": [{"path": one, "bytes": 1, "sha256": "0" * 64} for one in addresses]}
    with journal.open("ab") as file:
        file.write(json.dumps(forged).encode() + b"\n")
    result = adacode("sr", "photos", "-o", "out", **store.env)
    assert (result.returncode, store.proxy.seen) == (0, []), result.stderr
    assert (tmp_path / "out" / "a.png").read_bytes() == made


def test_a_file_that_appears_during_the_run_is_not_replaced(adacode, store, marked, tmp_path):
    env = {**store.env, "PAUSE": str(tmp_path / "go-on")}
    run = adacode.start(*SCANS, "-o", "out", *beside(STORE), "--weights", "pause", env=env)
    while b"waiting" not in run.stderr.readline():
        assert run.poll() is None
    store.put("maps/z.png.weights.png", b"of somebody else")
    (tmp_path / "go-on").touch()
    _, errors = run.communicate()
    assert run.returncode == 9, errors
    assert b"s3://museum/maps/z.png.weights.png: exists already: it was written after the run began" in errors
    assert store.get("maps/z.png.weights.png") == b"of somebody else"


def test_refused_results_are_kept_under_free_names(adacode, store, photo, scans, tmp_path):
    scans("a.png", "1931/b.png", size=(33, 16))
    black = ("--weights", "black", "--quarantine")
    store.put("doubtful/a.png", b"of somebody else")
    for _ in range(2):
        result = adacode("sr", "s3://museum/scans", "-o", "out", *black, "s3://museum/doubtful", **store.env)
        assert result.returncode == 9, result.stderr
        assert b"it is kept as s3://museum/doubtful/1931/b.png" in result.stderr
    assert adacode("sr", "photos", "-o", "wanted", *black, "refused").returncode == 9
    kept = tree(tmp_path / "refused")
    assert store.outputs("doubtful") == {
        "a.png": b"of somebody else",
        "a-2.png": kept["a.png"],
        "1931/b.png": kept["1931/b.png"],
    }


def test_codes_in_a_bucket_are_those_of_a_disk(store, scans, tmp_path):
    scans("a.png", "1931/b.jpg")
    adacode = Program(tmp_path, network=True)
    local = adacode("reconstruct", "photos", "-o", "out", "--save-codes", "codes")
    assert local.returncode == 0, local.stderr
    command = ("reconstruct", "s3://museum/scans", "-o", "s3://museum/out", "--save-codes", "s3://museum/codes")
    result = adacode(*command, **store.env)
    assert result.returncode == 0, result.stderr
    written = {key.removeprefix("codes/"): store.get(key) for key in store.keys("codes/")}
    assert written == tree(tmp_path / "codes")
    assert store.outputs("out") == tree(tmp_path / "out")
    one = adacode("reconstruct", "photos/a.png", "-o", "a.png", "--save-codes", "s3://museum/a.adacode", **store.env)
    assert one.returncode == 0, one.stderr
    assert store.get("a.adacode") == (tmp_path / "codes" / "a.png.adacode").read_bytes()
    again = adacode("reconstruct", "--from-codes", "s3://museum/codes", "-o", "s3://museum/again", **store.env)
    assert again.returncode == 0, again.stderr
    assert store.outputs("again") == tree(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--save-mask", "https://example.org/m"), 2, b"--save-mask https://example.org/m: on HTTP, files can only be"),
        (("--save-mask", "s3:/museum/m"), 2, b"--save-mask s3:/museum/m: this is neither an address nor a local path"),
        (("--quarantine", "file:///q"), 2, b"--quarantine file:/q: this is neither an address nor a local path"),
        (("--save-mask", "s3://museum/m.png"), 2, b"--save-mask s3://museum/m.png names a single file"),
        (("--save-mask", "memory://museum/m"), 2, b"would lose what it writes there"),
        (("--save-mask", "s3://museum/scans"), 6, b"holds the inputs of the run"),
        (("--save-weights-map", "s3://museum/scans/of-others"), 6, b"holds files that no run wrote"),
        (("--save-weights-map", "s3://none/maps"), 6, b"there is no bucket none"),
    ],
)
def test_places_that_cannot_be_used_are_refused_before_anything_is_written(
    adacode, store, marked, arguments, code, message
):
    store.put("scans/of-others/note.txt", b"x")
    before = store.keys()
    result = adacode(*SCANS, "-o", "out", *arguments, **store.env)
    assert (result.returncode, message in result.stderr) == (code, True), result.stderr
    assert store.keys() == before
