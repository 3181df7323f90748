"""Every image once, in a stable order; links, pipes and unreadable places never hang or hide the rest."""

from __future__ import annotations

import ntpath
import os
import posixpath
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from touched import touch_below

from adacode_cli.batch.discover import discover, place_of
from adacode_cli.batch.found import Found, PassedOver, Selection
from adacode_cli.batch.globs import Globs
from adacode_cli.errors import InputError


def found(*inputs: Path, selection: Selection | None = None) -> list[str]:
    return [e.place for e in discover(inputs, selection or Selection()) if isinstance(e, Found)]


def passed_over(*inputs: Path) -> dict[str, PassedOver]:
    return {e.path.name: e for e in discover(inputs, Selection()) if isinstance(e, PassedOver)}


def test_tree_is_walked_in_name_order_and_only_images_count(tmp_path):
    touch_below(
        tmp_path, "b.jpg", "a/z.PNG", "a/b/c.tiff", "c.txt", "noext", "jpg", ".hidden.jpg", ".adacode/x.png", "z.webp"
    )
    assert found(tmp_path) == ["a/b/c.tiff", "a/z.PNG", "b.jpg", "z.webp"]


def test_paths_come_out_as_they_were_given(tmp_path, monkeypatch):
    touch_below(tmp_path, "photos/a.jpg", "photos/sub/b.jpg")
    monkeypatch.chdir(tmp_path)
    paths = [str(e.path) for e in discover([Path("photos")], Selection()) if isinstance(e, Found)]
    assert paths == ["photos/a.jpg", "photos/sub/b.jpg"]
    assert found(Path()) == ["photos/a.jpg", "photos/sub/b.jpg"]
    assert found(Path("photos/..")) == ["photos/a.jpg", "photos/sub/b.jpg"]


def test_a_file_named_outright_is_taken_whatever_its_name(tmp_path):
    touch_below(tmp_path, "scan", ".hidden.jpg")
    assert found(tmp_path / "scan", tmp_path / ".hidden.jpg") == ["scan", ".hidden.jpg"]


def test_globs_prune_directories_and_filter_named_files_too(tmp_path):
    touch_below(tmp_path, "a.jpg", "thumbs/b.jpg", "sub/thumbs/c.jpg", "sub/d.png")
    no_thumbs = Selection(Globs(exclude=("thumbs",)))
    assert found(tmp_path, selection=no_thumbs) == ["a.jpg", "sub/d.png"]
    assert found(tmp_path, selection=Selection(Globs(include=("sub/**",)))) == ["sub/d.png", "sub/thumbs/c.jpg"]
    assert found(tmp_path / "a.jpg", selection=Selection(Globs(include=("*.png",)))) == []


def test_avoided_places_are_left_out_however_they_are_spelt(tmp_path, monkeypatch):
    touch_below(tmp_path, "a.jpg", "out/b.jpg", "masks/c.png", "mask.png", "sub/mask.png")
    monkeypatch.chdir(tmp_path)
    avoid = (Path("sub/../out"), tmp_path / "masks", Path("mask.png"))
    assert found(tmp_path, selection=Selection(avoid=avoid)) == ["a.jpg", "sub/mask.png"]
    named = [tmp_path / "a.jpg", tmp_path / "mask.png", tmp_path / "sub" / "mask.png"]
    assert found(*named, selection=Selection(avoid=avoid)) == ["a.jpg", "mask.png"]


@pytest.mark.parametrize("target", ["..", ".", "../tree"])
def test_links_that_loop_end(tmp_path, target):
    touch_below(tmp_path, "tree/a.jpg", "tree/sub/b.jpg")
    (tmp_path / "tree" / "loop").symlink_to(target)
    assert found(tmp_path / "tree") == ["a.jpg", "sub/b.jpg"]
    assert "visited anyway" in passed_over(tmp_path / "tree")["loop"].reason


def test_a_link_to_itself_is_a_failure_and_not_an_exception(tmp_path):
    touch_below(tmp_path, "a.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    assert found(tmp_path) == ["a.jpg"]
    assert passed_over(tmp_path)["self.jpg"].failed


def test_directories_outside_are_followed_once(tmp_path):
    touch_below(tmp_path, "tree/a.jpg", "elsewhere/b.jpg", "elsewhere/sub/c.jpg")
    (tmp_path / "tree" / "link1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree" / "link2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "tree")
    (tmp_path / "elsewhere" / "sub" / "up").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "tree") == ["a.jpg", "link1/b.jpg", "link1/sub/c.jpg"]
    assert set(passed_over(tmp_path / "tree")) == {"link2", "back", "up"}


def test_linked_files_are_images_like_others(tmp_path):
    touch_below(tmp_path, "elsewhere/b.jpg", "tree/a.jpg")
    (tmp_path / "tree" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "tree" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert found(tmp_path / "tree") == ["a.jpg", "c.jpg"]
    assert passed_over(tmp_path / "tree")["gone.jpg"].failed


def test_pipes_and_directories_with_image_names(tmp_path):
    touch_below(tmp_path, "a.jpg", "folder.jpg/b.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert found(tmp_path) == ["a.jpg", "folder.jpg/b.jpg"]
    entry = passed_over(tmp_path)["pipe.jpg"]
    assert (entry.reason, entry.failed) == ("not a regular file", False)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything, as all on Windows"
)
def test_unreadable_directory_is_a_failure_beside_the_others(tmp_path):
    touch_below(tmp_path, "a.jpg", "locked/b.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        assert found(tmp_path) == ["a.jpg"]
        assert "permission denied" in passed_over(tmp_path)["locked"].reason
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_directory_that_vanishes_during_the_walk(tmp_path):
    touch_below(tmp_path, "a.jpg", "b/c.jpg", "d.jpg")
    stream = discover([tmp_path], Selection())
    first = next(stream)
    (tmp_path / "b" / "c.jpg").unlink()
    (tmp_path / "b").rmdir()
    rest = list(stream)
    assert isinstance(first, Found)
    assert [type(e) for e in rest] == [PassedOver, Found]
    assert rest[0].failed


def test_inputs_that_cannot_be_are_refused_before_anything(tmp_path):
    touch_below(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe")
    for bad in ("missing.jpg", "pipe", "a.jpg/x.jpg"):
        with pytest.raises(InputError) as caught:
            discover([tmp_path / "a.jpg", tmp_path / bad], Selection())
        assert caught.value.path == tmp_path / bad


@pytest.mark.parametrize(
    ("system", "listed", "place"),
    [
        (posixpath, "a/b.jpg", "a/b.jpg"),
        (posixpath, "/a//b/./c.jpg", "a/b/c.jpg"),
        (posixpath, "a/../b.jpg", "b.jpg"),
        (posixpath, "../b.jpg", None),
        (posixpath, "/../b.jpg", "b.jpg"),
        (posixpath, "C:\\b.jpg", "C:\\b.jpg"),  # a name like others there
        (ntpath, "C:\\photos\\a.jpg", "photos/a.jpg"),
        (ntpath, "D:/photos/a.jpg", "photos/a.jpg"),
        (ntpath, "C:a.jpg", "a.jpg"),
        (ntpath, "C:..\\a.jpg", None),
        (ntpath, "\\\\server\\share\\a.jpg", "a.jpg"),
        (ntpath, "\\\\?\\C:\\photos\\a.jpg", "photos/a.jpg"),
        (ntpath, "x\\C:\\a.jpg", None),
        (ntpath, "a.jpg:stream", None),
    ],
)
def test_a_listed_file_lies_below_the_outputs(system, listed, place):
    assert place_of(listed, system) == place


def test_deep_trees_do_not_exhaust_the_stack(tmp_path):
    deep = tmp_path
    made = []
    for _ in range(400):  # paths stay below the system's limit of 4096 bytes
        deep = deep / "d"
        made.append(deep)
    deep.mkdir(parents=True)
    touch_below(deep, "a.jpg")
    assert len(found(tmp_path)) == 1


NAMES = st.sampled_from(["a.jpg", "B.PNG", "c.txt", ".d.jpg", "é.webp", "e", "f.tif"])
TREES = st.recursive(
    st.dictionaries(NAMES, st.none(), max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(["p", "q", ".r", "s.jpg"]), inner, max_size=3),
    max_leaves=6,
)


def build(root: Path, tree: dict) -> set[str]:
    """Makes the tree; returns the relative paths that should be found."""
    root.mkdir(exist_ok=True)
    expected = set()
    for name, inner in tree.items():
        if inner is None:
            (root / name).write_bytes(b"")
            suffix = name.rpartition(".")[2].lower()
            if not name.startswith(".") and suffix in ("jpg", "png", "webp", "tif") and "." in name:
                expected.add(name)
        else:
            below = build(root / name, inner)
            expected |= set() if name.startswith(".") else {f"{name}/{path}" for path in below}
    return expected


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tree=TREES)
def test_any_tree_is_found_whole_and_once(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree")
    expected = build(root, tree)
    names = found(root)
    assert sorted(names) == sorted(expected)
    assert names == found(root)
