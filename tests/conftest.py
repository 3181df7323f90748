"""Fixtures that tests of more than one module share."""

import pytest
from atomic_target import OLD


@pytest.fixture
def target(tmp_path):
    """A file with content, in a directory of its own."""
    path = tmp_path / "out" / "photo.png"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path
