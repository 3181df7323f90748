"""The documentation as a site: it builds without a warning, every link in it leads somewhere, and it asks no server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
pytest.importorskip("material", reason="the packages of the extra `docs` are absent")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **quiet}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


def addresses(page: Path) -> list[str]:
    return [unescape(found) for found in re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding="utf-8"))]


def test_every_link_of_every_page_leads_to_a_file_and_a_place_in_it(site):
    pages = {page: page.read_text(encoding="utf-8") for page in site.glob("*.html") if page.name != "404.html"}
    assert len(pages) > 25
    for page in pages:
        for address in addresses(page):
            if re.match("[a-z]+:", address):
                continue
            name, _, place = address.partition("#")
            target = (page.parent / unquote(name)).resolve() if name else page
            assert target.exists(), f"{page.name}: {address}"
            if place and target in pages:
                assert f'id="{unquote(place)}"' in pages[target], f"{page.name}: {address}"


def test_nothing_is_loaded_from_another_server(site):
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'(?:src|<link[^>]* href)="(https?:[^"]*)"', text)
        assert not loaded, page.name


def test_the_reference_has_what_programs_use(site):
    text = (site / "reference.html").read_text(encoding="utf-8")
    for name in ("Restorer.from_pretrained", "Restorer.sr", "Restorer.inpaint", "Restorer.encode"):
        assert f'id="adacode_cli.engine.restorer.{name}"' in text
    assert 'id="adacode_cli.errors.WeightsError"' in text
    assert "_runner" not in text


def test_every_page_of_docs_is_in_the_navigation(site):
    front = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="{page.stem}.html"' in front, page.name
