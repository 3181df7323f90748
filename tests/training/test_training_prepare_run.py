"""`train prepare` on real files: what is left out, what is written, and that it is the same every time."""

from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image
from prepared_photos import contents, made, reasons, save, save_good, save_network
from tiny_families import picture

from adacode_cli.errors import InputError, TrainingError, UsageError
from adacode_cli.training.prepare import run
from adacode_cli.training.prepare.photos import find_photos
from adacode_cli.training.shards import Shards, read_crop


@pytest.fixture
def photos(tmp_path):
    return save_good(tmp_path / "photos")


def cropped_photos(folder, split):
    """The photographs that a split's crops come from, by the .json members."""
    found = set()
    for crop in Shards(folder).crops(split):
        data = crop.shard.read_bytes()
        start = data.index(b'"photo": "', crop.offset + crop.size)
        found.add(json.loads(b"{" + data[start : data.index(b'",', start)] + b'"}')["photo"])
    return found


def test_crops_are_the_photographs_pixels(photos, tmp_path):
    made(photos, tmp_path / "out", encoding="webp")
    shards = Shards(tmp_path / "out")
    seen = {}
    for crop in (*shards.crops("train"), *shards.crops("validation")):
        data = crop.shard.read_bytes()
        at = data.index(b'{"category"', crop.offset + crop.size)
        place = json.loads(data[at : data.index(b"}", at) + 1])
        image = cv2.imread(str(photos / place["photo"]))[..., ::-1]
        y, x = place["y"], place["x"]
        assert np.array_equal(read_crop(crop), image[y : y + 64, x : x + 64])
        assert crop.category == place["category"] == place["photo"].split("/")[0]
        seen.setdefault(place["photo"], set()).add((y, x))
    # 176×160 px: three crops a row, three rows; every photograph has its own.
    assert len(seen) == 8
    assert all(places == {(y, x) for y in (0, 48, 96) for x in (0, 56, 112)} for places in seen.values())


def test_poor_photographs_are_left_out_with_reason_value_and_limit(photos, tmp_path):
    good = picture(50, 200, 200)
    save(photos / "sky/bad/blurred.png", cv2.GaussianBlur(picture(51), (0, 0), 3))
    save(photos / "sky/bad/flat.png", np.full((100, 100, 3), 90, np.uint8))
    save(photos / "sky/bad/tiny.png", picture(52, 63, 300))
    save(photos / "sky/bad/compressed.jpg", picture(53), quality=30)
    from_jpeg = cv2.imread(str(save(tmp_path / "q10.jpg", picture(54), quality=10)))[..., ::-1]
    save(photos / "sky/bad/blocky.png", from_jpeg)
    save(photos / "sky/fine.jpg", good, quality=90)
    save(photos / "ground/again.jpg", cv2.resize(good, (120, 120), interpolation=cv2.INTER_AREA), quality=90)
    (photos / "sky/bad/broken.jpg").write_bytes((photos / "sky/fine.jpg").read_bytes()[:300])
    (photos / "sky/bad/empty.png").touch()
    Image.fromarray(np.dstack((picture(55), np.full((160, 176), 100, np.uint8)))).save(photos / "sky/bad/glass.png")
    save(photos / "stray.png", picture(56))
    (photos / "sky/notes.txt").write_text("no image")
    manifest = made(photos, tmp_path / "out")
    assert reasons(manifest) == {
        "ground/again.jpg": "duplicate",
        "sky/bad/blocky.png": "blocky",
        "sky/bad/blurred.png": "blurred",
        "sky/bad/broken.jpg": "unreadable",
        "sky/bad/compressed.jpg": "compressed",
        "sky/bad/empty.png": "unreadable",
        "sky/bad/flat.png": "flat",
        "sky/bad/glass.png": "transparent",
        "sky/bad/tiny.png": "tiny",
        "stray.png": "uncategorised",
    }
    files = {entry["file"]: entry for entry in manifest["left_out"]["files"]}
    assert files["ground/again.jpg"]["detail"] == "of sky/fine.jpg"
    assert (files["sky/bad/tiny.png"]["value"], files["sky/bad/tiny.png"]["limit"]) == (63, 64)
    assert files["sky/bad/blurred.png"]["value"] > files["sky/bad/blurred.png"]["limit"] == 1.2
    assert files["sky/bad/compressed.jpg"]["value"] == pytest.approx(30, abs=1)
    assert sum(manifest["left_out"]["counts"].values()) == len(files)
    assert manifest["photographs"] == 9


def test_every_limit_can_be_lifted(photos, tmp_path):
    save(photos / "sky/blurred.png", cv2.GaussianBlur(picture(51), (0, 0), 3))
    save(photos / "sky/compressed.jpg", picture(53), quality=10)
    save(photos / "sky/flat.png", np.full((100, 100, 3), 90, np.uint8))
    save(photos / "sky/again.png", picture(100))
    limits = run.PrepareSettings().limits.__class__(10, 0, -1, 0, 255)
    assert reasons(made(photos, tmp_path / "out", limits=limits)) == {}


def test_flat_crops_of_a_good_photograph_are_left_out(photos, tmp_path):
    image = np.full((64, 192, 3), 120, np.uint8)
    image[:, :64] = picture(60)[:64, :64]
    save(photos / "sky/half.png", image)
    manifest = made(photos, tmp_path / "out", validation=0)
    assert manifest["left_out"]["crops"]["flat"] == 2
    assert manifest["crops"]["train"] == {"ground": 36, "sky": 37}


@pytest.mark.parametrize("kind", ["grey", "deep", "turned", "inks", "opaque"])
def test_every_kind_of_image_becomes_upright_rgb(kind, photos, tmp_path):
    image = picture(70, 64, 96)
    path = photos / "sky/odd.png"
    if kind == "grey":
        image = np.repeat(image[..., :1], 3, 2)
        Image.fromarray(image[..., 0]).save(path)
    elif kind == "deep":
        cv2.imwrite(str(path), image[..., ::-1].astype(np.uint16) * 257)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # stored turned to the left: a viewer turns it by 90° to the right
        Image.fromarray(np.ascontiguousarray(np.rot90(image))).save(path, exif=exif.tobytes())
    elif kind == "inks":
        path = path.with_suffix(".tif")
        Image.fromarray(image).convert("CMYK").save(path)
    else:
        Image.fromarray(np.dstack((image, np.full((64, 96), 255, np.uint8)))).save(path)
    made(photos, tmp_path / "out", encoding="webp")
    shards = Shards(tmp_path / "out")
    wanted = image[:64, 32:96]  # 1.5 sides wide: the second of two crops
    crops = [read_crop(crop) for split in ("train", "validation") for crop in shards.crops(split)]
    assert any(np.abs(crop.astype(int) - wanted).max() <= (2 if kind == "inks" else 0) for crop in crops)


def test_the_same_bytes_whatever_the_workers_and_the_order_of_files(photos, tmp_path, monkeypatch):
    made(photos, tmp_path / "a", workers=1, max_mb=0.5, shard_mb=0.1)
    walk = os.walk

    def backwards(*args, **more):
        for base, folders, files in walk(*args, **more):
            folders.reverse()
            yield base, folders, files[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    shutil.copytree(photos, tmp_path / "copy")
    made(tmp_path / "copy", tmp_path / "b", workers=5, max_mb=0.5, shard_mb=0.1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) > 3
    made(photos, tmp_path / "c", seed=1, max_mb=0.5, shard_mb=0.1)
    assert contents(tmp_path / "c") != contents(tmp_path / "a")


def test_crops_come_in_a_mixed_order(photos, tmp_path):
    made(photos, tmp_path / "out", validation=0)
    order = [crop.category for crop in Shards(tmp_path / "out").crops("train")]
    changes = sum(a != b for a, b in pairwise(order))
    assert changes > len(order) / 4


@pytest.mark.parametrize("max_mb", [0.2, 0.25])
def test_a_bound_on_all_shards_holds_and_balances_categories(max_mb, tmp_path):
    photos = save_good(tmp_path / "photos", ("large",), each=12)
    save_good(photos, ("small",), each=3, seed=50)
    everything = made(photos, tmp_path / "all")["crops"]["train"]
    assert everything["large"] > 2 * everything["small"]
    manifest = made(photos, tmp_path / "out", max_mb=max_mb, shard_mb=0.1)
    assert sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar")) <= max_mb * 1e6
    crops = manifest["crops"]["train"]
    assert 0.7 < crops["large"] / crops["small"] < 1.5
    assert manifest["crops"]["validation"].keys() == {"large", "small"}
    assert manifest["left_out"]["crops"]["beyond max_mb"] > 0


def test_a_bound_too_small_for_anything_is_refused(photos, tmp_path):
    with pytest.raises(UsageError, match="no room"):
        made(photos, tmp_path / "out", max_mb=0.01)
    assert contents(tmp_path / "out") == {}


def test_validation_is_split_by_photograph(photos, tmp_path):
    save(photos / "lonely/only.png", picture(80))
    manifest = made(photos, tmp_path / "out", validation=0.25)
    train, validation = (cropped_photos(tmp_path / "out", split) for split in ("train", "validation"))
    assert train & validation == {"lonely/only.png"}, "of one photograph, crops are held out"
    assert {file.split("/")[0] for file in validation} == {"ground", "sky", "lonely"}
    assert len(validation) == 3
    assert manifest["held_out_by"] == {"ground": "photographs", "lonely": "crops", "sky": "photographs"}


def test_categories_are_found_without_labels(tmp_path):
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i in range(4):
        save(photos / f"deep/{i}/rough.png", rng.integers(0, 256, (70, 90, 3), np.uint8))
    for i in range(6):
        save(photos / f"smooth-{i}.png", picture(i))
    network = save_network(tmp_path / "tiny.safetensors")
    manifest = made(photos, tmp_path / "out", categories=2, features=network, validation=0)
    assert manifest["categories"] == ["category-1", "category-2"]
    assert manifest["crops"]["train"] == {"category-1": 6 * 9, "category-2": 4}
    made(photos, tmp_path / "again", categories=2, features=network, validation=0, workers=4)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    with pytest.raises(TrainingError, match="too few for 11"):
        made(photos, tmp_path / "more", categories=11, features=network)


def test_photographs_without_categories_need_a_word(tmp_path):
    photos = save(tmp_path / "photos/a.png", picture(0)).parent
    with pytest.raises(TrainingError) as caught:
        made(photos, tmp_path / "out")
    assert "sub-folder" in caught.value.hint
    assert "--categories" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_category_with_nothing_usable_is_named(photos, tmp_path):
    save(photos / "fog/a.png", np.full((100, 100, 3), 200, np.uint8))
    manifest = made(photos, tmp_path / "out")
    assert manifest["categories"] == ["ground", "sky"]
    assert manifest["left_out"]["categories"]["fog"]["what"] == "1 flat (at best 0, limit 2)"
    for name in ("ground", "sky"):
        shutil.rmtree(photos / name)
    with pytest.raises(TrainingError, match="fog: has no photograph that can be used: 1 flat"):
        made(photos, tmp_path / "none")
    assert contents(tmp_path / "none") == {}


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_nothing_to_read_is_reported(name, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        made(tmp_path / name, tmp_path / "out")


def test_links_are_followed_once_and_hidden_files_are_not_read(photos, tmp_path):
    (photos / "sky/loop").symlink_to(photos)
    (photos / "linked").symlink_to(save_good(tmp_path / "elsewhere", ("x",), 1) / "x")
    shutil.copy(photos / "sky/0.png", photos / "sky/._0.png")
    assert [f for f in find_photos(photos) if f.startswith("linked")] == ["linked/0.png"]
    assert len(find_photos(photos)) == 9
