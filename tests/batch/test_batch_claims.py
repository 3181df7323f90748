"""A claim is taken in a folder that may vanish at any moment."""

from __future__ import annotations

import os

import pytest

from adacode_cli.batch.claims import Claims
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
