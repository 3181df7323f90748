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
