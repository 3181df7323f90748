"""Reading shards: what was packed comes back, and damage is named."""

from __future__ import annotations

import json
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import cv2
import numpy as np
import pytest
from prepared_photos import made, save_good

from adacode_cli.errors import TrainingError
from adacode_cli.training.shards import Shards, read_crop


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Shards of eight photographs in several files."""
    folder = tmp_path_factory.mktemp("shards")
    made(save_good(folder / "photos"), folder / "out", shard_mb=0.1, licence="CC0-1.0", source="tests")
    return folder / "out"


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def changed(folder, **more):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_the_index_is_the_manifest(whole):
    shards = Shards(whole)
    assert (shards.crop_px, shards.categories) == (64, ("ground", "sky"))
    for split in ("train", "validation"):
        crops = shards.crops(split)
        counts = {c: sum(crop.category == c for crop in crops) for c in shards.categories}
        assert counts == shards.manifest["crops"][split]
        assert len({crop.key for crop in crops}) == len(crops)
    assert len({crop.shard for crop in shards.crops("train")}) > 1
    for shard in shards.manifest["shards"]:
        assert sha256((whole / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]


def test_the_same_bytes_as_any_tar_reader_finds(whole):
    for crop in Shards(whole).crops("train"):
        with tarfile.open(crop.shard) as tar:
            data = tar.extractfile(f"{crop.key}.jpg").read()
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.array_equal(read_crop(crop), expected)


def test_members_say_nothing_of_the_machine(whole):
    for path in whole.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_many_threads_read_the_same(whole):
    crops = Shards(whole).crops("train") * 4
    alone = [read_crop(crop) for crop in crops]
    with ThreadPoolExecutor(8) as pool:
        assert all(map(np.array_equal, pool.map(read_crop, crops), alone))


def test_statistics_are_those_of_the_training_crops(whole):
    shards = Shards(whole)
    pixels = np.concatenate([read_crop(crop).reshape(-1, 3) for crop in shards.crops("train")]) / 255
    assert np.allclose(shards.manifest["statistics"]["mean_rgb"], pixels.mean(0), atol=5e-3)
    assert np.allclose(shards.manifest["statistics"]["std_rgb"], pixels.std(0), atol=5e-3)


def test_provenance_is_one_sentence(whole):
    text = Shards(whole).describe()
    assert text.startswith("8 photographs (0 megapixels) in 2 categories (ground, sky)")
    assert "CC0-1.0" in text
    assert "tests" in text


def test_an_unfinished_folder_is_reported_with_the_remedy(tmp_path):
    with pytest.raises(TrainingError) as caught:
        Shards(tmp_path)
    assert "adacode train prepare" in caught.value.hint
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "short", "longer", "header", "swapped"])
def test_a_damaged_shard_is_named(damage, folder):
    path = folder / "train-000001.tar"
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(data[:-1])
    elif damage == "longer":
        path.write_bytes(data + b"\0")
    elif damage == "header":
        data[:512] = b"x" * 512
        path.write_bytes(data)
    else:  # as large as it was, but with nothing in it
        path.write_bytes(bytes(len(data)))
    with pytest.raises(TrainingError, match=r"train-000001\.tar"):
        Shards(folder)


def restated(folder, name):
    """The manifest states the digest that the shard has now, as if it had been packed so."""
    entries = json.loads((folder / "manifest.json").read_text())["shards"]
    entry = next(entry for entry in entries if entry["file"] == name)
    entry["sha256"] = sha256((folder / name).read_bytes()).hexdigest()
    changed(folder, shards=entries)


@pytest.mark.parametrize("damage", ["start", "end"])
def test_a_crop_that_cannot_be_decoded_is_no_image(damage, folder):
    crop = Shards(folder).crops("train")[0]
    data = bytearray(crop.shard.read_bytes())
    if damage == "start":
        data[crop.offset : crop.offset + 20] = bytes(20)
    else:
        data[crop.offset + crop.size // 2 : crop.offset + crop.size] = bytes(crop.size - crop.size // 2)
    crop.shard.write_bytes(data)
    restated(folder, crop.shard.name)
    with pytest.raises(TrainingError, match=crop.key):
        read_crop(Shards(folder).crops("train")[0])


@pytest.mark.parametrize("place", ["in the crop", "in another crop", "at the end"])
def test_no_crop_is_used_of_a_shard_with_one_changed_bit(place, folder):
    """The size stays, and OpenCV decodes the crop without a complaint."""
    first, second = (crop for crop in Shards(folder).crops("train")[:2])
    places = {"in the crop": first.offset + first.size // 2, "in another crop": second.offset + second.size // 2}
    data = bytearray(first.shard.read_bytes())
    data[places.get(place, len(data) - 1)] ^= 1
    first.shard.write_bytes(data)
    for crop in Shards(folder).crops("train")[:2]:
        with pytest.raises(TrainingError, match=r"train-000000\.tar: is damaged: its SHA-256") as caught:
            read_crop(crop)
        assert "Copy it again" in caught.value.hint


def test_what_changes_after_the_verification_is_noticed_too(folder):
    first, second = Shards(folder).crops("train")[:2]
    read_crop(first)
    data = bytearray(first.shard.read_bytes())
    data[second.offset + second.size // 2] ^= 1
    first.shard.write_bytes(data)
    read_crop(first)
    with pytest.raises(TrainingError, match="has changed since it was verified"):
        read_crop(second)


def test_a_crop_of_a_vanished_shard_is_reported(whole, tmp_path):
    crop = replace(Shards(whole).crops("train")[0], shard=tmp_path / "gone.tar")
    with pytest.raises(TrainingError, match=r"gone\.tar"):
        read_crop(crop)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"encoding": "png"}, "encoding"),
        ({"shards": [{"file": "a.tar"}]}, "incompletely"),
        ({"shards": [{"file": "../a.tar", "split": "train", "crops": 1, "bytes": 1, "sha256": ""}]}, "impossible"),
        ({"categories": ["ground"]}, "sky"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(more, message, folder):
    changed(folder, **more)
    with pytest.raises(TrainingError, match=message):
        Shards(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}'])
def test_something_else_by_the_name_of_a_manifest_is_refused(text, folder):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(TrainingError, match=r"manifest\.json"):
        Shards(folder)
