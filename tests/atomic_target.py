"""A file that something is about to replace, and what it looks like when nothing did."""

import os

import pytest

posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits as POSIX has them")
OLD = b"what was there before"


def assert_untouched(target):
    assert target.read_bytes() == OLD
    assert list(target.parent.iterdir()) == [target]
