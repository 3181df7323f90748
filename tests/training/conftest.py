"""What to train on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_families import save_photos
from tiny_shards import save_shards


@pytest.fixture(autouse=True)
def _one_thread():
    """Tests share a machine; tiny networks gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A directory with two categories of two pictures of 176×160 pixels."""
    return save_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    """Shards of two categories: three crops of 160 px each to train on, one to validate on."""
    return save_shards(tmp_path_factory.mktemp("data") / "shards")
