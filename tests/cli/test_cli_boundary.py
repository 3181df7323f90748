"""How a block of work ends at a signal."""

from __future__ import annotations

import signal

import pytest
import typer

from adacode_cli.cli.boundary import ended_by_interruption
from adacode_cli.errors import EXIT_INTERRUPTED


@pytest.fixture(autouse=True)
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_error_that_a_library_makes_of_an_interruption_is_one():
    """torch does so while it makes a tensor of a storage."""

    def storage():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape") from None

    with pytest.raises(typer.Exit) as ended, ended_by_interruption():
        storage()
    assert ended.value.exit_code == EXIT_INTERRUPTED


def test_an_error_without_a_signal_stays_what_it_is():
    with pytest.raises(ValueError, match="a bug"), ended_by_interruption():
        raise ValueError("a bug")
