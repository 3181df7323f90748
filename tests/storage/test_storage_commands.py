"""Commands with addresses that are refused, and what they show of secrets."""

from __future__ import annotations

import pytest
from web_site import Site


@pytest.fixture
def site(photo):
    pytest.importorskip("aiohttp", reason="the package of the extra `http` is absent")
    one = Site({f"/img.png?id={number}": photo(f"web/{number}.png").read_bytes() for number in (1, 2)})
    yield one
    one.close()


def test_two_files_of_a_script_on_a_server_are_not_mixed_up(adacode, site, tmp_path):
    address = f"http://{site.place}/img.png"
    both = adacode("sr", f"{address}?id=1", f"{address}?id=2", "-o", "both")
    assert both.returncode == 2
    assert b"two addresses differ only in what follows the question mark" in both.stderr
    assert adacode("sr", f"{address}?id=1", "-o", "out/").returncode == 0
    first = (tmp_path / "out" / "img.png").read_bytes()
    second = adacode("sr", f"{address}?id=2", "-o", "out/")
    assert second.returncode == 6, second.stderr
    assert b"was made from another input" in second.stderr
    assert (tmp_path / "out" / "img.png").read_bytes() == first
    again = adacode("sr", f"{address}?id=1", "-o", "out/")
    assert again.returncode == 0
    assert b"1 skipped" in again.stderr + again.stdout


def test_neither_vv_nor_a_log_shows_secrets(adacode, site, tmp_path):
    address = f"http://{site.place}".replace("//", "//ada:l%2Fvelace@") + "/none.png?sig=abc123&x=hidden%20word"
    site.answers[:] = [403] * 99
    result = adacode("sr", address, "-o", "out/", "-vv", "--log-file", "log.txt")
    assert result.returncode == 3, result.stderr
    assert b"Traceback" in result.stderr
    everything = result.stderr + result.stdout + (tmp_path / "log.txt").read_bytes()
    for secret in (b"velace", b"abc123", b"hidden"):
        assert secret not in everything


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("memory://large", b"would lose what it writes there"),
        ("file:///tmp/large", b"addresses of local files are not supported"),
    ],
)
def test_outputs_that_would_be_lost_are_refused(adacode, photo, tmp_path, output, message):
    photo("a.png")
    result = adacode("sr", "a.png", "-o", output)
    assert result.returncode == 2
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_list_must_be_local(adacode, site):
    result = adacode("sr", "--from-file", f"http://{site.place}/list.txt", "-o", "out")
    assert result.returncode == 2
    assert b"--from-file must be a local file, not an address" in result.stderr
