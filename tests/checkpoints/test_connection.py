"""Why a server was not reached, in words of ours, with what the system really raises."""

from __future__ import annotations

import socket

import httpx2
import pytest

from adacode_cli.checkpoints.connection import why_not_reached


def error_of(url: str, **options) -> httpx2.HTTPError:
    with pytest.raises(httpx2.HTTPError) as caught:
        httpx2.get(url, trust_env=False, **options)
    return caught.value


def test_nothing_listens():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # a port that is taken, and on which nobody listens
        error = error_of(f"http://127.0.0.1:{held.getsockname()[1]}/")
    assert why_not_reached(error) == "the connection was refused"


def test_nothing_answers():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        error = error_of(f"http://127.0.0.1:{held.getsockname()[1]}/", timeout=0.1)
    assert why_not_reached(error) == "the server does not answer in time"


def test_a_name_that_does_not_exist():
    """The top-level domain is reserved for names that never exist."""
    why = "the name of the server cannot be looked up, as without a network"
    assert why_not_reached(error_of("http://adacode.invalid/")) == why


def test_what_no_system_says_is_said_as_the_library_says_it():
    assert why_not_reached(RuntimeError("\n  gave up\nafter a while")) == "gave up"
    assert why_not_reached(ValueError()) == "ValueError"
