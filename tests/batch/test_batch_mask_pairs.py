"""A mask goes to the image at whose path it lies, then by name; what is not clear is refused before any work."""

from __future__ import annotations

import ntpath
import os
import time
import unicodedata
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest
from mask_pairing import paired, pairs_of, refused
from touched import touch

from adacode_cli.batch import discover as discover_module
from adacode_cli.batch import found as found_module
from adacode_cli.batch import mask_owners, mask_pairs
from adacode_cli.batch.found import Found, Selection
from adacode_cli.batch.globs import Globs
from adacode_cli.batch.mask_pairs import MaskFolder
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.errors import InputError

pytestmark = pytest.mark.usefixtures("here")


def test_a_mirrored_tree_pairs_by_paths():
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", "photos/p1.tif", "photos/1932/p2.v1.PNG")
    touch("masks/1931/p1.png", "masks/1932/p1.tiff", "masks/p1.png", "masks/1932/p2.v1.BMP", "masks/1932/notes.txt")
    assert paired("photos") == {
        "photos/1931/p1.jpg": "1931/p1.png",
        "photos/1932/p1.jpg": "1932/p1.tiff",
        "photos/1932/p2.v1.PNG": "1932/p2.v1.BMP",
        "photos/p1.tif": "p1.png",
    }


def test_a_mask_of_one_folder_is_not_taken_for_another():
    """A hole in the wrong place: `1931/p1.png` once was the mask of `1932/p1.jpg` too."""
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", "masks/1931/p1.png")
    assert paired("photos") == {"photos/1931/p1.jpg": "1931/p1.png", "photos/1932/p1.jpg": None}


def test_a_mask_at_the_path_and_one_at_a_longer_path_are_two():
    """Whether the folder of masks mirrors the input or the folder above it, nobody can tell."""
    touch("photos/p1.jpg", "photos/1932/p1.jpg", "masks/p1.png", "masks/1932/p1.png")
    assert "has 2 masks in masks: 1932/p1.png, p1.png" in refused("photos/1932").message
    assert paired("photos") == {"photos/1932/p1.jpg": "1932/p1.png", "photos/p1.jpg": "p1.png"}


def test_the_path_counts_before_the_name_with_mask_and_that_before_the_name():
    touch("photos/1931/p1.jpg", "photos/1931/p2.jpg", "photos/1931/p3.jpg", "photos/1931/p4.jpg")
    touch("masks/1931/p1.png", "masks/1931/p1_mask.png", "masks/p1.png")
    touch("masks/1931/p2_mask.png", "masks/p2.png", "masks/p3.png", "masks/other/p4_mask.png")
    assert list(paired("photos").values()) == ["1931/p1.png", "1931/p2_mask.png", "p3.png", "other/p4_mask.png"]


def test_a_name_that_two_images_have_is_refused():
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", "masks/p1.png")
    error = refused("photos")
    assert (
        error.message == "could be the mask of photos/1931/p1.jpg and of photos/1932/p1.jpg; and 1 more case like this"
    )
    assert (error.path, error.exit_code) == (Path("masks/p1.png"), 3)
    assert "put it at masks/1931/p1.png" in error.hint
    touch("masks/1931/p1.png")  # p1.png may still be meant for either
    assert refused("photos").path == Path("masks/p1.png")
    assert "If it is the mask of photos/1932/p1.jpg, put it at masks/1932/p1.png" in refused("photos").hint
    touch("masks/1932/p1.png")
    assert set(paired("photos").values()) == {"1931/p1.png", "1932/p1.png"}


@pytest.mark.parametrize(
    "names", [("a.png", "a.tif"), ("a_mask.png", "a_mask.bmp"), ("s/a.png", "t/a.png"), ("s/a.png", "t/a_mask.png")]
)
def test_two_masks_for_one_image_are_refused(names):
    touch("photos/a.jpg", *(f"masks/{name}" for name in names))
    error = refused("photos")
    assert error.path == Path("photos/a.jpg")
    assert error.message == f"has 2 masks in masks: {', '.join(sorted(names))}"


def test_images_that_differ_in_their_suffix_share_a_mask():
    touch("photos/1931/a.jpg", "photos/1931/a.tif", "masks/a.png")
    assert set(paired("photos").values()) == {"a.png"}
    touch("masks/1931/a.png")
    assert set(paired("photos").values()) == {"1931/a.png"}


def test_of_many_masks_for_one_image_three_are_named():
    touch("photos/a.jpg", *(f"masks/{index}/a.png" for index in range(5)))
    assert refused("photos").message == "has 5 masks in masks: 0/a.png, 1/a.png, 2/a.png and 2 more"


@pytest.mark.parametrize(
    ("inputs", "images", "masks", "lacks", "place"),
    [
        (["p"], ["p/a/1.jpg", "p/b/1.jpg"], ["a/1.png"], "p/b/1.jpg", "b/1.png"),
        (["p", "q"], ["p/1.jpg", "q/1.jpg"], ["p/1.png"], "q/1.jpg", "q/1.png"),
        (["p/x", "q"], ["p/x/1.jpg", "q/x/1.jpg"], ["q/x/1.png"], "p/x/1.jpg", "p/x/1.png"),
        (["p/a/1.jpg", "p/b/1.jpg"], ["p/a/1.jpg", "p/b/1.jpg"], ["a/1.png"], "p/b/1.jpg", "b/1.png"),
        (["p/a/1.jpg", "p/a/1.tif"], ["p/a/1.jpg", "p/a/1.tif"], ["2.png"], "p/a/1.tif", "1.png"),
        (["../p/1.jpg"], ["../p/1.jpg"], ["2.png"], "../p/1.jpg", "1.png"),
        (["../1.jpg", "1.jpg"], ["../1.jpg", "1.jpg"], ["2.png"], "../1.jpg", "1.png"),
    ],
)
def test_the_place_that_an_image_without_a_mask_is_told_is_its_own(
    here, monkeypatch, inputs, images, masks, lacks, place
):
    """Whoever puts a mask there has paired it with this image, and the run goes on."""
    (here / "work").mkdir()
    monkeypatch.chdir(here / "work")
    touch(*images, *(f"masks/{mask}" for mask in masks))
    with pytest.raises(InputError) as caught:
        pairs_of(*inputs).for_image(Path(lacks))
    assert f"at masks/{place}." in caught.value.hint
    if lacks != "../1.jpg":  # its path ends another's, so no place is its own
        before = paired(*inputs)
        touch(f"masks/{place}")
        twins = {path for path in images if Path(path).with_suffix("") == Path(lacks).with_suffix("")}
        assert paired(*inputs) == {**before, **dict.fromkeys(twins, place)}


def test_windows_separates_with_backslashes(monkeypatch):
    touch("masks/1931/p1.png", "masks/p2.png")
    folder = MaskFolder(Path("masks"), Selection())
    windows = SimpleNamespace(
        path=ntpath, sep="\\", fspath=os.fspath, stat=os.stat, pardir="..", curdir=".", scandir=os.scandir
    )
    for module in (found_module, discover_module, mask_pairs, mask_owners):
        monkeypatch.setattr(module, "os", windows)
    photos = [
        Found(PureWindowsPath(given), place, in_tree=True)
        for given in ("photos", "C:/photos", "C:/", "C:", ".", "//server/share", "//server/share/photos")
        for place in ("1931/p1.jpg", "1931/p2.jpg", "p1.jpg")
    ]
    assert [found.path_text for found in photos] == [str(found.path) for found in photos]
    for found in photos[:2], photos[3:5], photos[18:20]:
        pairs = folder.pair(found)
        assert [pairs.for_image(one.path) for one in found] == [Path("masks/1931/p1.png"), Path("masks/p2.png")]


def test_inputs_with_paths_of_their_own():
    touch("p/1.jpg", "q/1.jpg", "masks/1.png")
    assert refused("p", "q").path == Path("masks/1.png")
    Path("masks/1.png").unlink()
    touch("masks/p/1.png", "masks/q/1.png")
    assert paired("p", "q") == {"p/1.jpg": "p/1.png", "q/1.jpg": "q/1.png"}


def test_a_folder_called_as_the_input_does_not_lead_astray():
    touch("photos/x.jpg", "photos/photos/x.jpg", "masks/x.png", "masks/photos/x.png")
    assert paired("photos") == {"photos/photos/x.jpg": "photos/x.png", "photos/x.jpg": "x.png"}


def test_files_that_are_named_pair_by_the_longest_end_of_their_paths(here):
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", "photos/p1.jpg")
    touch("masks/1931/p1.png", "masks/1932/p1.png", "masks/p1.png")
    named = ("photos/1931/p1.jpg", "photos/1932/p1.jpg", "photos/p1.jpg")
    assert list(paired(*named).values()) == ["1931/p1.png", "1932/p1.png", "p1.png"]
    assert list(paired(str(here / named[1])).values()) == ["1932/p1.png"]
    Path("masks/1932/p1.png").unlink()
    assert refused(*named).path == Path("masks/p1.png")
    assert paired(named[1]) == {named[1]: "p1.png"}


def test_two_inputs_that_lead_to_one_image():
    touch("photos/1931/p1.jpg", "photos/1931/p2.jpg", "masks/1931/p1.png", "masks/p2.png")
    for inputs in (("photos", "photos/1931"), ("photos/1931", "photos"), ("photos", "photos/1931/p1.jpg")):
        assert paired(*inputs) == {"photos/1931/p1.jpg": "1931/p1.png", "photos/1931/p2.jpg": "p2.png"}


def test_composed_and_decomposed_letters_are_the_same_name():
    touch("photos/" + unicodedata.normalize("NFC", "Café/é.jpg"), "masks/" + unicodedata.normalize("NFD", "Café/é.png"))
    assert None not in paired("photos").values()


def test_hidden_files_and_other_kinds_are_no_masks():
    touch("photos/a.jpg", "masks/.a.png", "masks/a.txt", "masks/.adacode/a.png", "masks/@eaDir/a.png", "masks/a")
    assert paired("photos") == {"photos/a.jpg": None}
    with pytest.raises(InputError) as caught:
        pairs_of("photos").for_image(Path("photos/a.jpg"))
    assert caught.value.path == Path("photos/a.jpg")
    assert "at masks/a.png." in caught.value.hint


def test_masks_beside_their_images_are_no_images():
    touch("both/a.jpg", "both/a_mask.png", "both/sub/b.jpg", "both/sub/b_mask.png", "both/c.jpg", "both/d_mask.png")
    touch("both/e.jpg", "both/e.png")
    everything = Selection()
    pairs = pairs_of("both", masks="both", selection=everything)
    assert pairs.masks == {"both/a_mask.png", "both/sub/b_mask.png"}
    assert paired("both", masks="both", selection=everything) == {
        "both/a.jpg": "a_mask.png",
        "both/c.jpg": None,
        "both/d_mask.png": None,
        "both/e.jpg": None,
        "both/e.png": None,  # which of the two is the mask, nobody says
        "both/sub/b.jpg": "sub/b_mask.png",
    }
    with pytest.raises(InputError) as caught:
        pairs.for_image(Path("both/e.jpg"))
    assert "both/e_mask.png;" in caught.value.hint
    jpegs = Selection(Globs(include=("*.jpg",)))
    assert paired("both", masks="both", selection=jpegs)["both/e.jpg"] == "e.png"
    plan = make_plan(
        [Path("both")],
        Naming("inpaint"),
        everything,
        OnExisting.REFUSE,
        masks=MaskFolder(Path("both"), Selection()),
    )
    assert {job.name for job in plan.jobs} == {"a.jpg", "c.jpg", "d_mask.png", "e.jpg", "e.png", "sub/b.jpg"}
    assert {(entry.path.name, entry.reason, entry.failed) for entry in plan.passed_over} == {
        ("a_mask.png", "it is a mask", False),
        ("b_mask.png", "it is a mask", False),
    }


def test_images_below_the_folder_of_masks_are_no_masks():
    touch("all/photos/a.jpg", "all/photos/b.jpg", "all/a.png")
    assert paired("all/photos", masks="all") == {"all/photos/a.jpg": "a.png", "all/photos/b.jpg": None}


def test_a_link_to_the_image_itself_is_not_its_mask():
    touch("photos/a.jpg")
    Path("masks").mkdir()
    Path("masks/a.jpg").symlink_to(Path("photos/a.jpg").absolute())
    with pytest.raises(InputError, match="has no mask") as caught:
        pairs_of("photos").for_image(Path("photos/a.jpg"))
    assert "masks/a.jpg is this image itself" in caught.value.hint


def test_disks_that_do_not_tell_files_apart_have_masks_too(monkeypatch):
    touch("photos/a.jpg", "masks/a.png")
    monkeypatch.setattr(mask_pairs, "identity", lambda _path: None)
    assert paired("photos") == {"photos/a.jpg": "a.png"}


def test_a_part_of_a_run_pairs_as_the_whole_does():
    touch("photos/1931/p1.jpg", "photos/1932/p1.jpg", "masks/p1.png")
    for part in (1, 2):
        with pytest.raises(InputError, match="could be the mask of"):
            make_plan(
                [Path("photos")],
                Naming("inpaint"),
                Selection(),
                OnExisting.REFUSE,
                shard=(part, 2),
                masks=MaskFolder(Path("masks"), Selection()),
            )


def test_what_is_no_folder():
    touch("mask.png")
    for place in ("mask.png", "gone", "mask.png/below"):
        with pytest.raises(InputError) as caught:
            MaskFolder(Path(place), Selection())
        assert caught.value.path == Path(place)
        assert caught.value.hint


def test_a_mask_that_cannot_be_read_is_not_replaced_by_another_of_its_name(monkeypatch):
    """It fails its own image; a folder that cannot be listed may hold any."""
    touch("photos/1931/a.jpg", "photos/1931/b.jpg", "masks/a.png", "masks/b.png", "masks/1931/c.png")
    Path("masks/1931/a.png").symlink_to("nowhere.png")
    os.mkfifo("masks/1931/b.png")
    assert paired("photos") == {"photos/1931/a.jpg": "1931/a.png", "photos/1931/b.jpg": "1931/b.png"}
    scandir = os.scandir

    def without_1931(path):
        if Path(path).name == "1931":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without_1931)
    with pytest.raises(InputError, match="cannot be listed") as caught:
        MaskFolder(Path("masks"), Selection())
    assert caught.value.path == Path("masks/1931")


def test_thousands_of_folders_with_the_same_names_take_time_in_proportion():
    """All are without a mask at their path, and may be meant by one. Eight times as many may take 24 times as long."""

    def seconds(count: int) -> float:
        images = [Found(Path("photos"), f"{index}/scan.jpg", in_tree=True) for index in range(count)]
        folder = MaskFolder(Path("masks"), Selection())
        began = time.process_time()
        with pytest.raises(InputError, match=f"{count - 1} more cases like this"):
            folder.pair(images)
        return time.process_time() - began

    touch("masks/scan.png", "masks/1/a.png")
    seconds(100)
    assert seconds(4000) < 24 * max(seconds(500), 0.01)


def test_thousands_of_masks_with_the_name_of_as_many_images_take_time_in_proportion():
    """Eight times as many of both may take 24 times as long, to pair and to say what lacks a mask."""
    Path("masks").mkdir()
    folder = MaskFolder(Path("masks"), Selection())

    def seconds(count: int) -> float:
        images = [Found(Path("photos"), f"{index}/scan.jpg", in_tree=True) for index in range(count)]
        folder._places = []
        began = time.process_time()
        pairs = folder.pair(images)
        for found in images:
            with pytest.raises(InputError, match="has no mask"):
                pairs.for_image(found.path)
        folder._places = [f"m{index}/scan.png" for index in range(count)]
        with pytest.raises(InputError, match=f"{count} masks in masks: .*; and {count - 1} more cases like this"):
            folder.pair(images)
        return time.process_time() - began

    seconds(100)
    assert seconds(2400) < 24 * max(seconds(300), 0.01)
