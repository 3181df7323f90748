from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adacode_cli.checkpoints import catalogue_file, integrity
from adacode_cli.checkpoints.format import read_weights
from adacode_cli.errors import WeightsError

PACKAGE = Path(catalogue_file.__file__).resolve().parents[1]
SMALL = {
    "version": 1,
    "hub_repo": "owner/repo",
    "release": "https://example.org/files",
    "files": [
        {"name": "tiny-shared.safetensors", "bytes": None, "sha256": None},
        {"name": "tiny-sr-x4.safetensors", "bytes": 1, "sha256": "0" * 64},
        {"name": "old.pth", "bytes": None, "sha256": None},
    ],
    "entries": [
        {
            "name": "tiny-sr-x4",
            "family": "tiny",
            "task": "sr",
            "scale": 4,
            "kind": "bundled",
            "files": ["tiny-shared.safetensors", "tiny-sr-x4.safetensors"],
            "licence": "CC0-1.0",
            "source": "tests",
        },
        {
            "name": "old-reconstruct",
            "family": "old",
            "task": "reconstruct",
            "scale": 1,
            "kind": "release",
            "files": ["old.pth"],
            "licence": "theirs",
            "source": "https://example.org",
        },
    ],
}


def write(folder: Path, data: object) -> Path:
    (folder / "catalogue.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def test_the_catalogue_that_ships_has_both_families():
    catalogue = catalogue_file.load()
    assert catalogue.families() == ("compact", "published")
    for family in catalogue.families():
        for task, scale in (("sr", 2), ("sr", 4), ("inpaint", 1), ("reconstruct", 1)):
            assert catalogue.for_task(family, task, scale).family == family
    compact = catalogue.entry("compact-sr-x4")
    assert compact.files == ("compact-basis.safetensors", "compact-fused.safetensors", "compact-sr-x4.safetensors")
    published = catalogue.entry("published-reconstruct")
    assert published.files == ("AdaCode_S2_model_g.pth",)
    assert published.kind == "release"


def test_the_digests_that_ship_are_those_of_the_files_beside_them():
    folder, catalogue = catalogue_file.weights_folder(), catalogue_file.load()
    bundled = {name for entry in catalogue.entries if entry.kind == "bundled" for name in entry.files}
    for name in sorted(bundled):
        path, file = folder / name, catalogue.file(name)
        if path.exists():
            assert (file.bytes, file.sha256) == (path.stat().st_size, integrity.sha256_of(path)), name
    for entry in catalogue.entries:
        if (folder / entry.files[-1]).exists():
            assert entry.denoise == bool(read_weights(folder / entry.files[-1]).faithful), entry.name


def test_fields_arrive_as_written(tmp_path):
    catalogue = catalogue_file.load(write(tmp_path, SMALL))
    entry = catalogue.entry("tiny-sr-x4")
    assert (entry.task, entry.scale, entry.kind, entry.licence) == ("sr", 4, "bundled", "CC0-1.0")
    assert catalogue.file("tiny-sr-x4.safetensors").sha256 == "0" * 64
    assert (catalogue.hub_repo, catalogue.release) == ("owner/repo", "https://example.org/files")


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("version",), 2, "version 2; this program reads version 1"),
        (("version",), True, "version True"),
        (("surprise",), 1, "unknown 'surprise'"),
        (("files", 0, "sha265"), None, r"files\[0\]: unknown 'sha265'"),
        (("files", 0, "bytes"), "12", r"files\[0\]: 'bytes' has the wrong type \(str\)"),
        (("files", 0, "bytes"), -1, "must be positive"),
        (("files", 1, "sha256"), "ABC", "64 lower-case hex digits"),
        (("files", 0, "name"), "../evil.safetensors", "bad file name"),
        (("files", 0, "name"), "other.safetensors", "without a description: tiny-shared.safetensors"),
        (("files", 0), 7, r"files\[0\] must be a JSON object"),
        (("entries", 0, "files"), ["tiny-sr-x4.safetensors"], "no entry uses: tiny-shared.safetensors"),
        (("entries", 0, "files"), [1], "must hold names"),
        (("entries", 0, "files"), [], "no files"),
        (("entries", 0, "task"), "colour", "unknown task 'colour'"),
        (("entries", 0, "kind"), "gift", "unknown kind 'gift'"),
        (("entries", 0, "kind"), "hub", "tiny-shared.safetensors comes from the Hub and needs a 'sha256'"),
        (("entries", 0, "scale"), 3, "bad scale 3"),
        (("entries", 0, "scale"), True, "wrong type"),
        (("entries", 1, "scale"), 2, "bad scale 2"),
        (("entries", 0, "name"), "Tiny", "bad name 'Tiny'"),
        (("entries", 0, "name"), "old-reconstruct", "named twice: old-reconstruct"),
        (("entries", 0, "name"), "old", "both an entry and a family"),
        (("entries", 0, "licence"), "", "must not be empty"),
        (("entries", 0, "base_model"), None, "'base_model' has the wrong type"),
        (("entries", 0, "base_modle"), "theirs", "unknown 'base_modle'"),
        (("entries", 0, "denoise"), 1, "'denoise' has the wrong type"),
        (("entries", 1, "denoise"), True, "reconstruction has no strengths"),
        (("release",), None, "'release' is not set"),
    ],
)
def test_every_mistake_is_named(tmp_path, where, value, message):
    data = copy.deepcopy(SMALL)
    place = data
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(WeightsError, match=message) as caught:
        catalogue_file.load(write(tmp_path, data))
    assert caught.value.path == tmp_path / "catalogue.json"


def test_a_base_model_and_strengths_are_read_and_written_and_may_be_missing(tmp_path):
    data = copy.deepcopy(SMALL)
    data["entries"][0] |= {"base_model": "theirs (MIT, somewhere)", "denoise": True}
    catalogue = catalogue_file.load(write(tmp_path, data))
    assert [entry.denoise for entry in catalogue.entries] == [True, False]
    assert [entry.base_model for entry in catalogue.entries] == ["theirs (MIT, somewhere)", ""]
    assert json.loads(catalogue_file.to_bytes(catalogue)) == data  # an earlier version reads what has none
    (tmp_path / "catalogue.json").write_bytes(catalogue_file.to_bytes(catalogue))
    assert catalogue_file.load(tmp_path) == catalogue


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff\xfe"])
def test_a_file_that_is_no_json_object(tmp_path, text):
    (tmp_path / "catalogue.json").write_bytes(text)
    with pytest.raises(WeightsError, match="JSON"):
        catalogue_file.load(tmp_path)


def test_a_field_that_is_missing(tmp_path):
    data = copy.deepcopy(SMALL)
    del data["entries"][1]["licence"]
    with pytest.raises(WeightsError, match=r"entries\[1\]: missing 'licence'"):
        catalogue_file.load(write(tmp_path, data))


def test_a_missing_catalogue(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        catalogue_file.load(tmp_path)


def test_lookups_that_fail_say_what_there_is(tmp_path):
    catalogue = catalogue_file.load(write(tmp_path, SMALL))
    with pytest.raises(WeightsError, match="Did you mean tiny-sr-x4") as caught:
        catalogue.entry("tiny-sr-x2")
    assert "adacode weights list" in caught.value.hint
    assert catalogue.for_task("tiny", "sr", 2).name == "tiny-sr-x4", "the next larger factor"
    with pytest.raises(WeightsError, match="no weights for inpaint; it has tiny-sr-x4"):
        catalogue.for_task("tiny", "inpaint", 1)
    with pytest.raises(WeightsError, match=r"no weights are called 'tyni'\. Did you mean tiny"):
        catalogue.for_task("tyni", "sr", 4)


def test_what_is_written_is_what_was_read(tmp_path):
    written = catalogue_file.to_bytes(catalogue_file.load(write(tmp_path, SMALL)))
    assert json.loads(written) == SMALL


PROBE = """
import sys
from adacode_cli.checkpoints import catalogue_file, location, store
print(catalogue_file.weights_folder(), len(catalogue_file.load().entries))
print(sorted({"torch", "numpy", "huggingface_hub", "httpx2", "filelock"} & set(sys.modules)))
"""


@pytest.mark.parametrize("inside", [True, False], ids=["wheel", "checkout"])
def test_the_folder_is_found_in_both_layouts_without_heavy_imports(tmp_path, inside):
    skip = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(PACKAGE, tmp_path / "adacode_cli", ignore=skip)
    weights = tmp_path / "adacode_cli" / "weights" if inside else tmp_path / "weights"
    shutil.rmtree(weights, ignore_errors=True)
    shutil.copytree(catalogue_file.weights_folder(), weights, ignore=skip)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines() == [f"{weights.resolve()} 7", "[]"]


def test_a_digest_that_differs_names_both(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    integrity.verify(path, abc, hint="")
    with pytest.raises(WeightsError, match=f"expected {'1' * 64}, found {abc}") as caught:
        integrity.verify(path, "1" * 64, hint="reinstall")
    assert (caught.value.exit_code, caught.value.path, caught.value.hint) == (4, path, "reinstall")
    with pytest.raises(WeightsError, match="cannot be read"):
        integrity.verify(tmp_path / "gone", abc, hint="")


PRIOR = {"family": "tiny", "name": "tiny-prior.safetensors", "bytes": 5, "sha256": "0" * 64}


def test_priors_are_read_and_written_and_may_be_missing(tmp_path):
    data = copy.deepcopy(SMALL) | {"priors": [PRIOR]}
    catalogue = catalogue_file.load(write(tmp_path, data))
    assert [(file.family, file.name) for file in catalogue.priors] == [("tiny", "tiny-prior.safetensors")]
    assert json.loads(catalogue_file.to_bytes(catalogue)) == data
    assert catalogue.with_family("old", (), ()).priors == catalogue.priors


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ([PRIOR | {"family": "Tiny"}], "bad name 'Tiny'"),
        ([PRIOR | {"name": "../x.safetensors"}], "bad file name"),
        ([PRIOR | {"task": "sr"}], r"priors\[0\]: unknown 'task'"),
        ([{"name": "x.safetensors", "bytes": None, "sha256": None}], r"priors\[0\]: missing 'family'"),
        ([PRIOR, PRIOR | {"name": "other.safetensors"}], "named twice: tiny"),
        ([PRIOR | {"name": "old.pth"}], "named twice: old.pth"),
        ({}, "'priors' has the wrong type"),
    ],
    ids=str,
)
def test_every_mistake_in_priors_is_named(tmp_path, priors, message):
    with pytest.raises(WeightsError, match=message):
        catalogue_file.load(write(tmp_path, copy.deepcopy(SMALL) | {"priors": priors}))


def test_the_prior_that_ships_is_the_one_beside_it():
    (prior,) = catalogue_file.load().priors
    path = catalogue_file.weights_folder() / prior.name
    assert (prior.family, prior.bytes, prior.sha256) == ("compact", path.stat().st_size, integrity.sha256_of(path))
