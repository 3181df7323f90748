"""A mask that lies at the place of another image, in the run or not, is not used for an image of its name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from mask_pairing import paired, refused
from touched import touch

from adacode_cli.batch.discover import discover
from adacode_cli.batch.found import Found, Selection
from adacode_cli.batch.globs import Globs
from adacode_cli.batch.mask_pairs import MaskFolder
from adacode_cli.errors import InputError

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize("mask", ["masks/1931/p1.png", "masks/1931/p1_mask.png"])
def test_a_mask_of_an_image_that_is_not_in_the_run_is_not_taken_for_another(mask):
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", mask)
    assert paired("photos/1932") == {"photos/1932/p1.jpg": None}
    assert paired("photos/1932/p1.jpg") == {"photos/1932/p1.jpg": None}
    chosen = Selection(Globs(include=("1932/*",)), avoid=(Path("masks"),))
    assert paired("photos", selection=chosen) == {"photos/1932/p1.jpg": None}
    Path("photos/1931/p1.jpg").unlink()
    assert paired("photos/1932") == {"photos/1932/p1.jpg": Path(mask).relative_to("masks").as_posix()}


@pytest.mark.parametrize(
    ("given", "image", "other", "mask"),
    [
        ("photos/a.jpg", "photos/a.jpg", "photos/old/a.jpg", "old/a.png"),
        ("photos/1931", "photos/1931/p1.jpg", "photos/1932/scans/p1.jpg", "1932/scans/p1.png"),
        ("photos/1931/scans/p1.jpg", "photos/1931/scans/p1.jpg", "photos/1932/p1.jpg", "1932/p1.png"),
        ("photos/1931/scans", "photos/1931/scans/p1.jpg", "photos/1932/p1.tif", "1932/p1_mask.png"),
        ("photos/1931/scans", "photos/1931/scans/p1.jpg", "photos/photos/p1.jpg", "photos/p1.png"),
        ("photos", "photos/1931/x/p1.jpg", "photos/p1.jpg", "p1.png"),
        ("photos/1931", "photos/1931/x/p1.jpg", "photos/1931/p1.jpg", "1931/p1.png"),
        ("photos", "photos/1931/x/p1.jpg", "photos/x/p1.jpg", "x/p1.png"),
        ("photos/1931", "photos/1931/p1.jpg", "photos/Old/p1.jpg", "old/p1.png"),
    ],
)
def test_a_mask_of_an_image_at_another_depth_is_not_taken(given, image, other, mask):
    touch(image, other, f"masks/{mask}")
    include = () if given == image else (Path(image).relative_to(given).as_posix(),)
    selection = Selection(Globs(include=include), avoid=(Path("masks"),))
    assert paired(given, selection=selection) == {image: None}
    Path(other).unlink()
    assert paired(given, selection=selection) == {image: mask}


def test_a_flat_mask_is_that_of_the_image_at_its_path():
    touch("photos/p1.jpg", "photos/1932/p1.jpg", "masks/p1.png")
    chosen = Selection(Globs(include=("1932/*",)), avoid=(Path("masks"),))
    assert paired("photos", selection=chosen) == {"photos/1932/p1.jpg": None}
    assert paired("photos") == {"photos/1932/p1.jpg": None, "photos/p1.jpg": "p1.png"}
    Path("photos/p1.jpg").unlink()
    assert paired("photos", selection=chosen) == {"photos/1932/p1.jpg": "p1.png"}


def test_an_image_of_another_folder_is_found_from_a_folder_below_and_through_links(here, monkeypatch):
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", "photos/1932/sub/x.jpg", "masks/1931/p1.png", "disk/y/p1.jpg")
    Path("photos/link").symlink_to((here / "disk/y").absolute())
    assert paired("photos/link/p1.jpg") == {"photos/link/p1.jpg": None}
    monkeypatch.chdir("photos/1932/sub")
    chosen = Selection(Globs(include=("p1.*",)))
    folder = MaskFolder(here / "masks", Selection())
    pairs = folder.pair([found for found in discover([Path("..")], chosen) if isinstance(found, Found)])
    with pytest.raises(InputError, match="has no mask"):
        pairs.for_image(Path("../p1.jpg"))
    (here / "photos/1931/p1.jpg").unlink()
    assert folder.pair([Found(Path(".."), "p1.jpg", in_tree=True)]).for_image(Path("../p1.jpg"))


def test_a_folder_that_cannot_be_listed_hides_no_image_below_it(here, monkeypatch):
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", "masks/1931/p1.png", "masks/1933/p2.png")
    scandir = os.scandir
    found = Found(Path("photos/1932"), "p1.jpg", in_tree=True)
    folder = MaskFolder(Path("masks"), Selection())

    def without_photos(path):
        if Path(path) == Path(os.path.realpath(here / "photos")):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without_photos)
    with pytest.raises(InputError, match="has no mask"):
        folder.pair([found]).for_image(found.path)


def test_masks_in_a_folder_called_as_theirs_are_no_images():
    touch("photos/1932/p1.jpg", "masks/p1.png", "masks/masks/p1.png")
    assert "has 2 masks in masks: masks/p1.png, p1.png" in refused("photos").message


def test_many_masks_of_other_images_are_none_of_this_one():
    """They once refused the whole run, because there were more than three."""
    touch(*(f"photos/{index}/p1.jpg" for index in range(5)), *(f"masks/{index}/p1.png" for index in range(4)))
    touch("photos/4/p2.jpg", "masks/p2.png")
    assert paired("photos/4") == {"photos/4/p1.jpg": None, "photos/4/p2.jpg": "p2.png"}
    touch("masks/other/p1.png")
    assert paired("photos/4")["photos/4/p1.jpg"] == "other/p1.png"


@pytest.mark.parametrize("mask", ["masks/p1.png", "Mask/p1.png", "old-masks/deep/p1_mask.png"])
def test_folders_of_images_and_masks_side_by_side(mask):
    touch("data/images/p1.jpg", f"data/{mask}")
    for given in ("data/images", "data/images/p1.jpg"):
        assert paired(given, masks="data", selection=Selection()) == {"data/images/p1.jpg": mask}
    touch("data/more/p1.jpg")  # It may be this one's.
    assert paired("data/images", masks="data", selection=Selection()) == {"data/images/p1.jpg": None}
    assert refused("data/images", "data/more", masks="data").path == Path("data") / mask


@pytest.mark.parametrize("file", ["damask/p1.png", "unmasked/p1.png", "1931/p1.png", "p1.png"])
def test_a_file_that_may_be_an_image_is_no_mask(file):
    touch("data/images/1932/p1.jpg", f"data/{file}")
    assert paired("data/images", masks="data", selection=Selection()) == {"data/images/1932/p1.jpg": None}


def test_an_image_of_another_folder_is_no_mask_where_masks_lie_among_images():
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", "photos/1931/p2_mask.png", "photos/1932/p2.jpg")
    for image in ("photos/1932/p1.jpg", "photos/1932/p2.jpg"):
        mask = "1931/p2_mask.png" if image.endswith("p2.jpg") else None
        assert paired(image, masks="photos", selection=Selection()) == {image: mask}
    touch("photos/1933/p2.jpg")  # It may be this one's.
    assert paired("photos/1932/p2.jpg", masks="photos", selection=Selection()) == {"photos/1932/p2.jpg": None}
    Path("photos/1933/p2.jpg").unlink()
    touch("photos/1931/p2.jpg")
    assert paired("photos/1932/p2.jpg", masks="photos", selection=Selection()) == {"photos/1932/p2.jpg": None}


def test_thousands_of_masks_of_other_images_take_time_in_proportion(tmp_path):
    """Half of the images have masks and are not in the run. Eight times as many may take 24 times as long."""

    def seconds(count: int) -> float:
        root = tmp_path / str(count)
        for index in range(2 * count):
            touch(str(root / f"photos/{index}/scan.jpg"))
        (root / "masks").mkdir()
        images = [Found(root / f"photos/{index}", "scan.jpg", in_tree=True) for index in range(count, 2 * count)]
        found = []
        for _ in range(3):  # What else the machine does can only add to it.
            folder = MaskFolder(root / "masks", Selection())
            folder._places = [f"{index}/scan.png" for index in range(count)]
            began = time.process_time()
            pairs = folder.pair(images)
            found.append(time.process_time() - began)
            assert not pairs._places
        return min(found)

    seconds(50)
    assert seconds(1200) < 24 * max(seconds(150), 0.01)
