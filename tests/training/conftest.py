"""What to train on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_families import save_photos
from tiny_sessions import NAMES, TASKS, tiny_session
from tiny_shards import save_shards

from adacode_cli.training.loop import Pace
from adacode_cli.training.runs import run_all


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A directory with two categories of two images of 176×160 pixels."""
    return save_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    """Shards of two categories: three crops of 160 px each to train on, one to validate on."""
    return save_shards(tmp_path_factory.mktemp("data") / "shards")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, shards) -> Path:
    """A run folder with all stages and tasks of the tiny family. Not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    session = tiny_session(shards, folder, pace=Pace(log_every=2, validate_every=4))
    assert run_all(session, TASKS)
    assert session.written == NAMES
    assert session.stopped is None
    return folder
