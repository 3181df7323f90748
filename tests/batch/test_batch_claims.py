"""A claim is taken in a folder that may vanish at any moment, and says who has it; what it says is not trusted."""

from __future__ import annotations

import json
import os
import socket

import pytest

from adacode_cli.batch.claims import CLAIMS, Claims, Holder
from adacode_cli.batch.journal import JOURNAL
from adacode_cli.batch.trees import Trees
from adacode_cli.errors import OutputError


@pytest.mark.parametrize("times", [1, 2])
def test_a_folder_that_vanishes_before_the_claim_is_made_again(tmp_path, monkeypatch, times):
    opened, out, vanished = os.open, tmp_path / "out", []

    def open_after_it_vanished(*arguments, **more):
        if len(vanished) < times:
            vanished.append(out.rename(tmp_path / f"gone{len(vanished)}"))
        return opened(*arguments, **more)

    monkeypatch.setattr("adacode_cli.batch.claims.os.open", open_after_it_vanished)
    claim = Claims(out).take("a.png", [out / "a.png"])
    assert claim is not None
    assert len(vanished) == times
    assert Claims(out).take("a.png", []) is None
    claim.release()


def test_a_folder_that_never_stays_is_an_error(tmp_path, monkeypatch):
    def gone(*_):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("adacode_cli.batch.claims.os.open", gone)
    with pytest.raises(OutputError, match="cannot be written to"):
        Claims(tmp_path / "out").take("a.png", [])


def test_a_claim_says_who_has_it(tmp_path):
    claims = Claims(tmp_path)
    claim = claims.take("a.png", [tmp_path / "a.png"])
    assert Claims(tmp_path).holder("a.png") == Holder(os.getpid(), socket.gethostname())
    assert Claims(tmp_path).holder("b.png") == Holder()
    for said in ({}, {"pid": "7", "host": 7}, {"pid": -1, "host": ""}, {"pid": True, "host": "h" * 999}):
        claim.path.write_text(json.dumps(said))
        assert Claims(tmp_path).holder("a.png") == Holder()
    claim.release()


def test_leftovers_are_removed_in_the_tree_and_where_this_run_writes_only(tmp_path):
    out, maps, elsewhere = (tmp_path / name for name in ("out", "maps", "elsewhere"))
    left = []
    for folder in (out, maps, elsewhere):
        folder.mkdir()
        left.append(folder / ".a.png.01234567.adacode-part")
        left[-1].write_bytes(b"half")
    (out / "sub").symlink_to(elsewhere)  # a name below the tree for a place that is not
    paths = [*(path.with_name("a.png") for path in left), out / "sub" / "a.png", tmp_path / "out-2" / "a.png"]
    claim = Claims(out).take("a.png", paths)
    os.close(claim.handle)  # as the end of a process does
    asked = []

    def folders():
        asked.append(1)
        return {str(maps.resolve())}

    Claims(out).clean(folders)
    assert [path.exists() for path in left] == [False, False, True]
    assert asked
    assert len(list((out / CLAIMS).iterdir())) == 1


def test_two_names_of_one_tree_are_one_tree(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    trees = Trees()
    trees.begin([tmp_path / "out", tmp_path / "link", tmp_path / "none-yet"])
    assert trees._tree(tmp_path / "out") is trees._tree(tmp_path / "link")
    assert trees._tree(tmp_path / "out") is not trees._tree(tmp_path / "none-yet")
    assert trees._tree(tmp_path / "none-yet") is trees._tree(tmp_path / "none-yet")
    assert not (tmp_path / "out" / JOURNAL).exists()
