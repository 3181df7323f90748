"""Runs of the program that make galleries, and a real browser that opens them."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from adacode_process import Program

GALLERY = Path(".adacode") / "report"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_TIMEOUT_S = 60
_QUIET = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-sync", *_QUIET]


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
            _, said = process.communicate(timeout=_TIMEOUT_S)
            assert process.returncode == code, said.decode()
        else:
            done = adacode(*words)
            assert done.returncode == code, done.stderr.decode()
        return tmp_path / "out"

    return run


def data_of(tree: Path, kind: str = "part") -> list:
    """The values of the data scripts of a kind: ("part", number, value) each, in order."""
    folder = tree / GALLERY / "data" if (tree / GALLERY).is_dir() else tree / "data"
    found = []
    for path in folder.glob(f"{kind}*.js"):
        text = path.read_text(encoding="ascii")
        call, arguments = re.fullmatch(r"adacode\.(\w+)\((.*)\);\n", text, re.DOTALL).groups()
        assert call == kind
        found.append(json.loads(f"[{arguments}]"))
    return sorted(found, key=lambda one: one[0]) if kind != "state" else found


def entries_of(tree: Path) -> dict[str, dict]:
    """The entries of a gallery, by their targets; the last line on each counts."""
    every = [entry for _, entries in data_of(tree) for entry in entries]
    return {entry["target"]: entry for entry in sorted(every, key=lambda entry: entry["line"])}


def details_of(tree: Path) -> dict[str, dict]:
    """The details of each entry, by its identifier."""
    return {key: value for _, some in data_of(tree, "details") for key, value in some.items()}


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is absent")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


class Page:
    """A page of the browser that records errors, dialogs and requests. `browser_page` is that of Playwright."""

    def __init__(self, context) -> None:
        self.browser_page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.browser_page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.browser_page.on("dialog", lambda dialog: (self.errors.append("dialog"), dialog.dismiss()))
        self.browser_page.on("request", lambda request: self.requests.append(request.url))
        self.browser_page.on(
            "console",
            lambda message: message.type == "error" and self.errors.append(f"{message.text} {message.location}"),
        )

    def open(self, tree: Path, address: str = "") -> None:
        """Opens the gallery of an output tree, or a page in this folder."""
        folder = tree / GALLERY if (tree / GALLERY).is_dir() else tree
        self.browser_page.goto(f"{(folder / 'index.html').absolute().as_uri()}{address}")
        self.browser_page.wait_for_selector("a.card, #empty:not([hidden])")

    def until(self, expression: str) -> None:
        """Waits until an expression is true in the page, whose policy forbids Playwright's own way."""
        end = time.monotonic() + _TIMEOUT_S
        while not self.browser_page.evaluate(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def cards(self) -> list[str]:
        """The names in the cells that are elements of the page."""
        return self.browser_page.locator("a.card .caption").all_inner_texts()

    def show(self, name: str) -> None:
        """Opens the picture with this name and waits until both sides are loaded."""
        self.browser_page.locator("a.card", has_text=name).first.click()
        self.wait_for_both()

    def wait_for_both(self) -> None:
        """Waits until both sides of the picture are loaded."""
        self.browser_page.wait_for_selector("dialog[data-shown]")
        for side in ("before", "after"):
            self.browser_page.wait_for_selector(f"#{side} .frame[data-loaded]", state="attached")

    def pixels(self) -> np.ndarray:
        """H×W×3: what the stage shows."""
        from io import BytesIO

        self.settle()
        data = self.browser_page.locator("#stage").screenshot()
        return np.asarray(Image.open(BytesIO(data)).convert("RGB"))

    def settle(self) -> None:
        """Waits until what was asked for has been drawn."""
        for _ in range(3):
            self.browser_page.evaluate("() => new Promise(requestAnimationFrame)")

    def box(self, selector: str) -> dict[str, float]:
        """left, top, width and height of an element, in the stage."""
        self.settle()
        script = """selector => {
            const [a, b] = [selector, "#stage"].map((one) => document.querySelector(one).getBoundingClientRect());
            return { left: a.left - b.left, top: a.top - b.top, width: a.width, height: a.height };
        }"""
        return self.browser_page.evaluate(script, selector)


@pytest.fixture
def page(chromium):
    """A page of 1280 × 800 pixels. The test fails if the page has errors or asks for anything but files."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = Page(context)
    yield page
    context.close()
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
