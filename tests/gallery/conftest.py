"""Runs of the program that make galleries, and a real browser that opens them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from gallery_page import TIMEOUT_S, Page
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from adacode_process import Program


@pytest.fixture
def adacode(tmp_path) -> Program:
    """The program with the nearest-neighbour restorer, started in `tmp_path`."""
    return Program(tmp_path, network=False)


@pytest.fixture
def photo(tmp_path):
    """Writes an image below `tmp_path`: photo("a/b.png", (width, height), colour); noise without a colour."""

    def write(name: str, size: tuple[int, int] = (24, 16), color: tuple[int, ...] | None = None, **options) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode("utf-8", "surrogateescape"))
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        if color is not None:
            pixels[:] = color
        Image.fromarray(pixels).save(path, **options)
        return path

    return write


@pytest.fixture
def restored(adacode, tmp_path):
    """Restores `tmp_path`/photos into `tmp_path`/out, with a gallery: restored(*options) → the output tree."""

    def run(*options: str, code: int = 0) -> Path:
        words = ("sr", "photos", "-o", "out", "-w", "nearest", "--report", *options)
        if "--processes" in options:  # They are started by an interpreter of its own.
            process = adacode.start(*words)
            _, said = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == code, said.decode()
        else:
            done = adacode(*words)
            assert done.returncode == code, done.stderr.decode()
        return tmp_path / "out"

    return run


@pytest.fixture
def page(chromium):
    """A page of 1280 × 800 pixels. The test fails if the page has errors or asks for anything but files."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = Page(context)
    yield page
    context.close()
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


@pytest.fixture
def served_page(chromium):
    """A page as `page`, which may ask for nothing but what one server gives: served_page(address) → the page."""
    pages = []

    def opened(address: str, *, width: int = 1280, height: int = 800, **options) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        page = Page(context)
        pages.append((context, page, address))
        page.browser_page.goto(address)
        return page

    yield opened
    for context, page, address in pages:
        context.close()
        start = "/".join(address.split("/")[:4])
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith((start, "data:"))] == []
