"""Patterns mean what the documentation says, with and without slashes."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adacode_cli.batch.globs import Globs
from adacode_cli.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.jpg", "a.jpg", True),
        ("*.jpg", "deep/down/a.JPG", True),
        ("*.jpg", "a.jpg.png", False),
        ("thumbs", "x/thumbs", True),
        ("thumbs", "x/thumbs2", False),
        ("2019/*.jpg", "2019/a.jpg", True),
        ("2019/*.jpg", "2019/may/a.jpg", False),
        ("2019/*.jpg", "x/2019/a.jpg", False),
        ("2019/**", "2019/may/a.jpg", True),
        ("**/raw/*.tif", "raw/a.tif", True),
        ("**/raw/*.tif", "x/y/raw/a.tif", True),
        ("**/raw/*.tif", "x/yraw/a.tif", False),
        ("./2019/a.jpg", "2019/a.jpg", True),
        ("img_????.png", "IMG_0001.png", True),
        ("img_????.png", "img_001.png", False),
        ("[a-c].png", "b.png", True),
        ("[!a-c].png", "b.png", False),
        ("[!a-c].png", "d.png", True),
        ("[[]x].png", "[x].png", True),
        ("[]]x.png", "]x.png", True),
        ("a+(1).png", "a+(1).png", True),
        ("a.png", "a\n.png", False),
        ("*.png", "a\nb.png", True),
    ],
)
def test_pattern(pattern, path, matches):
    assert Globs(include=(pattern,)).takes_file(path) is matches
    assert Globs(exclude=(pattern,)).takes_file(path) is not matches


@settings(deadline=None)
@given(st.text("ab*?.x", min_size=1, max_size=8), st.text("abx.", min_size=1, max_size=8))
def test_patterns_without_slash_agree_with_fnmatch(pattern, name):
    assert Globs(include=(pattern,)).takes_file(name) is fnmatch.fnmatchcase(name, pattern)


def test_exclude_wins_over_include():
    globs = Globs(include=("*.jpg",), exclude=("b*",))
    assert [name for name in ("a.jpg", "b.jpg", "c.png") if globs.takes_file(name)] == ["a.jpg"]


@pytest.mark.parametrize("pattern", ["", "/", "./", "a[bc"])
def test_meaningless_patterns_are_refused(pattern):
    with pytest.raises(UsageError):
        Globs(include=(pattern,))
