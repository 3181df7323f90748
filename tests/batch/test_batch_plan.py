"""Targets are where the documentation says, never collide, and never are an input."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from touched import touch

from adacode_cli.batch.found import Selection
from adacode_cli.batch.globs import Globs
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.errors import InputError, OutputError, UsageError

pytestmark = pytest.mark.usefixtures("here")


def plan(*inputs: str, existing=OnExisting.REFUSE, selection=None, label="sr-x4", shard=None, ours=False, **naming):
    """A plan of runs into trees whose journals know all of the outputs that exist, or none."""
    paths, may_go_on = [Path(text) for text in inputs], lambda _job: ours
    return make_plan(
        paths, Naming(label, **naming), selection or Selection(), existing, may_go_on=may_go_on, shard=shard
    )


def targets(*inputs: str, **options) -> list[str]:
    return [str(job.target) for job in plan(*inputs, **options).jobs]


def test_directory_goes_to_a_sibling_with_its_tree():
    touch("photos/a.jpg", "photos/sub/b.PNG")
    assert targets("photos") == ["photos-sr-x4/a.jpg", "photos-sr-x4/sub/b.PNG"]
    assert targets("photos/", label="inpaint") == ["photos-inpaint/a.jpg", "photos-inpaint/sub/b.PNG"]


def test_single_file_goes_to_a_directory_beside_it():
    touch("photos/a.jpg", "b.png")
    assert targets("photos/a.jpg", "b.png") == ["photos/adacode-sr-x4/a.jpg", "adacode-sr-x4/b.png"]


def test_inputs_called_dot_go_beside_the_directory_itself(here):
    touch("photos/sub/a.jpg")
    os.chdir("photos/sub")
    assert targets(".") == [str(here / "photos" / "sub-sr-x4" / "a.jpg")]
    assert targets("..") == [str(here / "photos-sr-x4" / "sub" / "a.jpg")]


def test_root_directory_needs_an_output():
    with pytest.raises(UsageError, match="no parent directory"):
        plan("/", selection=Selection(Globs(include=("nothing-is-called-this",))))


def test_output_directory_mirrors_every_input():
    touch("x/a.jpg", "y/sub/b.jpg", "c.jpg")
    assert targets("x", "y", "c.jpg", output=Path("out")) == ["out/a.jpg", "out/sub/b.jpg", "out/c.jpg"]
    Path("shop.png").mkdir()
    assert targets("c.jpg", output=Path("shop.png")) == ["shop.png/c.jpg"]


def test_output_file_name_for_one_file():
    touch("a.jpg")
    result = plan("a.jpg", output=Path("sub/b.png"))
    assert [str(job.target) for job in result.jobs] == ["sub/b.png"]
    assert not result.has_tree


@pytest.mark.parametrize(
    ("inputs", "options", "error"),
    [
        (["a.jpg", "b.jpg"], {"output": Path("c.png")}, UsageError),
        (["x"], {"output": Path("c.png")}, UsageError),
        (["a.jpg"], {"output": Path("c.png"), "format": "jpeg"}, UsageError),
        (["a.jpg"], {"output": Path("c.png"), "suffix": "_x4"}, UsageError),
        (["a.jpg"], {"output": Path("plain")}, OutputError),
        (["a.jpg"], {"suffix": "../x"}, UsageError),
        (["a.jpg"], {"format": "gif"}, UsageError),
    ],
)
def test_outputs_that_cannot_be(inputs, options, error):
    touch("a.jpg", "b.jpg", "x/c.jpg", "plain")
    with pytest.raises(error) as caught:
        plan(*inputs, **options)
    assert caught.value.hint


def test_format_and_suffix():
    touch("a.jpeg", "b.TIF", "c.v2.bmp", "scan")
    inputs = ("a.jpeg", "b.TIF", "c.v2.bmp", "scan")
    out = {"output": Path("o")}
    assert targets(*inputs, **out) == ["o/a.jpeg", "o/b.TIF", "o/c.v2.bmp", "o/scan.png"]
    assert targets(*inputs, **out, format="jpeg") == ["o/a.jpeg", "o/b.jpg", "o/c.v2.jpg", "o/scan.jpg"]
    assert targets(*inputs, **out, suffix="_x4") == ["o/a_x4.jpeg", "o/b_x4.TIF", "o/c.v2_x4.bmp", "o/scan_x4.png"]


def test_output_inside_the_input_is_not_an_input():
    touch("photos/a.jpg", "photos/out/a.jpg", "photos/masks/a.png")
    result = targets("photos", output=Path("photos/out"), existing=OnExisting.SKIP)
    assert result == ["photos/out/masks/a.png"]


def test_default_output_below_a_parent_input_is_not_an_input(here):
    touch("all/photos/a.jpg", "all/photos-sr-x4/a.jpg")
    assert targets("all", "all/photos", existing=OnExisting.OVERWRITE, ours=True) == [
        "all-sr-x4/photos/a.jpg",
        "all/photos-sr-x4/a.jpg",
    ]
    with pytest.raises(OutputError, match="no journal names"):
        targets("all", "all/photos", existing=OnExisting.OVERWRITE)


def test_in_place_with_a_suffix_can_be_run_again():
    touch("photos/a.jpg", "photos/b.jpg", "photos/a_x4.jpg")
    result = plan("photos", output=Path("photos"), suffix="_x4", existing=OnExisting.SKIP)
    assert [str(job.source) for job in result.jobs] == ["photos/b.jpg"]
    assert [str(job.source) for job in result.to_skip] == ["photos/a.jpg"]


@pytest.mark.parametrize(
    ("first", "second", "format"),
    [
        ("x/a.jpg", "y/a.jpg", None),
        ("x/a.jpg", "x/a.png", "png"),
    ],
)
def test_two_inputs_for_one_output_are_refused_by_name(first, second, format):
    touch(first, second, "z/c.jpg")
    with pytest.raises(OutputError, match="its output would have the same name as") as caught:
        plan(first, second, output=Path("out"), format=format)
    assert first in str(caught.value)
    assert second in str(caught.value)
    assert not Path("out").exists()
    result = plan(first, second, "z/c.jpg", output=Path("out"), format=format)
    assert ([str(job.source) for job in result.jobs], result.num_files) == (["z/c.jpg"], 3)
    assert [str(one.job.source) for one in result.refused] == [first, second]
    assert [other in one.error.message for one, other in zip(result.refused, (second, first), strict=True)] == [
        True
    ] * 2


def test_of_three_inputs_for_one_output_none_is_made_and_forgiving_disks_get_the_fourth():
    touch("p/a.bmp", "p/a.jpg", "p/a.tif", "p/A.webp")
    result = plan("p", format="png")
    assert [str(job.source) for job in result.jobs] == ["p/A.webp"]
    assert {one.error.message for one in result.refused} == {
        "its output would have the same name as the outputs of p/a.bmp and 1 more: p-sr-x4/a.png",
        "its output would have the same name as the outputs of p/a.jpg and 1 more: p-sr-x4/a.png",
    }


def test_a_kept_suffix_tells_outputs_apart():
    touch("p/a.jpg", "p/a.tif", "p/b.PNG", "p/c.v2.jpeg", "scan")
    names = targets("p", "scan", output=Path("o"), format="png", keep_suffix=True)
    assert names == ["o/a.jpg.png", "o/a.tif.png", "o/b.PNG", "o/c.v2.jpeg.png", "o/scan.png"]
    assert targets("p/a.tif", output=Path("o"), format="png", keep_suffix=True, suffix="_x4") == ["o/a.tif_x4.png"]
    assert targets("p/a.tif", output=Path("o"), keep_suffix=True) == ["o/a.tif"]
    with pytest.raises(UsageError, match="--keep-suffix has no effect"):
        plan("p/a.tif", output=Path("b.png"), keep_suffix=True)


@pytest.mark.parametrize(("first", "second"), [("b.jpg", "b.mpo"), ("b.heic", "b.HIF"), ("b.jp2", "b.jpx")])
def test_a_suffix_that_no_output_can_have_stays_whatever_else_there_is(first, second):
    touch(f"p/{first}", f"p/{second}", f"q/{second}", f"p-sr-x4/{first}")
    other = f"{second}{Path(first).suffix}"
    result = plan("p", existing=OnExisting.SKIP)
    assert ([job.name for job in result.jobs], [job.name for job in result.to_skip]) == ([other], [first])
    assert {job.name for job in plan("p", ours=True).jobs} == {first, other}
    assert (targets("q"), targets(f"q/{second}")) == ([f"q-sr-x4/{other}"], [f"q/adacode-sr-x4/{other}"])
    assert targets("q", format="png") == [f"q-sr-x4/{second}.png"]


@pytest.mark.parametrize(
    ("names", "options", "helps"),
    [
        (("a.tif", "a.jpg"), {"format": "png"}, True),
        (("a.tif", "a.jpg"), {"format": "png", "output": Path("out"), "suffix": "_x4"}, True),
        (("a.tif", "a.tif.png"), {"format": "png", "keep_suffix": True}, False),
        (("a.tif", "a.jpg", "a.tif.png"), {"format": "png"}, None),
        (("IMG.JPG", "img.tif"), {"format": "jpeg"}, True),
        (("a.tif", "A.TIF"), {"format": "png"}, False),
        (("x.jpg.adacode", "x.tif.adacode"), {"format": "png"}, True),
        (("x.jpg.adacode", "X.jpg.adacode"), {}, False),
    ],
)
def test_keep_suffix_is_proposed_where_it_helps(names, options, helps):
    touch(*(f"p/{name}" for name in names), "p/other.png", "p/other2.png.adacode")
    selection = Selection(suffixes=frozenset({".adacode"})) if names[0].endswith(".adacode") else None
    hints = {str(one.job.source): one.error.hint for one in plan("p", selection=selection, **options).refused}
    proposed = {"--keep-suffix" in hint for hint in hints.values()}
    if helps is None:  # of three, it leads only one to a name of its own
        assert {source: "--keep-suffix" in hint for source, hint in hints.items()} == {
            "p/a.tif": False,
            "p/a.jpg": True,
        }
        return
    assert proposed == {helps}
    if helps:
        assert not plan("p", selection=selection, **(options | {"keep_suffix": True})).refused


def as_png(too_large: set[str]):
    """What gives those sources that are `too_large` a PNG instead."""
    other = Naming("sr-x4", format="png")
    return lambda jobs: [
        replace(job, name=other.name_of(job.found), instead_of="webp") if str(job.source) in too_large else job
        for job in jobs
    ]


@pytest.mark.parametrize(
    ("names", "too_large", "made", "failed"),
    [
        (("a.webp", "b.webp"), {"p/a.webp"}, {"a.png", "b.webp"}, {}),
        (("a.png", "a.webp"), {"p/a.webp"}, {"a.png"}, {"p/a.webp": "p/a.png"}),
        (("a.webp", "a.jpg"), {"p/a.webp", "p/a.jpg"}, set(), {"p/a.webp": "p/a.jpg", "p/a.jpg": "p/a.webp"}),
        (("A.webp", "a.png"), {"p/A.webp"}, {"a.png"}, {"p/A.webp": "p/a.png"}),
    ],
)
def test_results_in_another_format_never_take_the_name_of_others(names, too_large, made, failed):
    touch(*(f"p/{name}" for name in (*names, "other.bmp")))
    result = make_plan([Path("p")], Naming("sr-x4"), Selection(), OnExisting.REFUSE, refit=as_png(too_large))
    assert {job.name for job in result.jobs} == {*made, "other.bmp"}
    assert {str(one.job.source): failed[str(one.job.source)] in one.error.message for one in result.refused} == (
        dict.fromkeys(failed, True)
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x/a.jpg", "y/A.JPG"),
        ("x/é.png", "y/" + unicodedata.normalize("NFD", "é.png")),
        ("x/straße.png", "y/STRASSE.png"),
    ],
)
def test_names_that_meet_on_forgiving_disks_only_fail_the_second(first, second):
    touch(first, second, "z/c.jpg")
    result = plan(first, second, "z/c.jpg", output=Path("out"))
    assert [str(job.source) for job in result.jobs] == [first, "z/c.jpg"]
    (clash,) = result.refused
    assert (str(clash.job.source), result.num_files) == (second, 3)
    assert first in clash.error.message


def test_shards_partition_a_tree_by_path_alone():
    names = [f"p/{index % 7}/{index}.jpg" for index in range(60)]
    touch(*names)
    parts = [{str(job.source) for job in plan("p", output=Path("out"), shard=(i, 3)).jobs} for i in (1, 2, 3)]
    assert set().union(*parts) == set(names)
    assert sum(map(len, parts)) == 60
    assert min(map(len, parts)) > 8
    for name in names[::2]:
        Path(name).unlink()
    again = {str(job.source) for job in plan("p", output=Path("out"), shard=(2, 3)).jobs}
    assert again == parts[1] - set(names[::2])


def test_the_same_input_named_twice_is_one_job():
    touch("photos/a.jpg")
    assert targets("photos", "photos/", "photos/a.jpg", output=Path("out")) == ["out/a.jpg"]


@pytest.mark.parametrize("existing", list(OnExisting))
@pytest.mark.parametrize("link", [None, "symlink", "hardlink"])
def test_an_input_is_never_an_output(existing, link):
    touch("photos/a.jpg", "elsewhere/x")
    if link:
        Path("out").mkdir()
        {"symlink": os.symlink, "hardlink": os.link}[link](Path("photos/a.jpg").absolute(), "out/a.jpg")
    with pytest.raises(OutputError, match="would overwrite the input"):
        plan("photos/a.jpg", output=Path("out" if link else "photos"), existing=existing)


def test_existing_outputs_are_refused_with_a_way_out():
    touch("p/a.jpg", "p/b.jpg", "p/c.jpg", "p-sr-x4/a.jpg", "p-sr-x4/c.jpg")
    with pytest.raises(OutputError, match=r"2 of 3 outputs exist already, the first is p-sr-x4/a\.jpg") as caught:
        plan("p")
    assert "--skip-existing" in caught.value.hint
    assert "--overwrite" in caught.value.hint
    skipping = plan("p", existing=OnExisting.SKIP)
    assert [len(skipping.jobs), len(skipping.to_skip), skipping.num_files] == [1, 2, 3]
    assert len(plan("p", existing=OnExisting.OVERWRITE).jobs) == 3


def test_nothing_to_restore_says_why():
    touch("p/readme.txt", "q/broken.jpg")
    Path("q/broken.jpg").unlink()
    Path("q/broken.jpg").symlink_to("gone")
    with pytest.raises(InputError, match="no images found") as caught:
        plan("p")
    assert caught.value.path == Path("p")
    with pytest.raises(InputError, match="does not exist"):
        plan("q")


SAFE = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=12)


@settings(deadline=None)
@given(stem=SAFE.filter(lambda s: not s.startswith(".") and s.strip(".")), suffix=SAFE | st.just(""))
def test_no_name_leaves_the_output_tree(stem, suffix):
    from adacode_cli.batch.found import Found

    naming = Naming("sr-x4", Path("out"), "png", suffix)
    target = Path("out") / naming.name_of(Found(Path("in"), f"sub/{stem}.jpg", in_tree=True))
    assert target.parent == Path("out/sub")
    assert target.suffix == ".png"
    assert target.name.startswith(stem)
