"""What the page of a gallery holds: its data, read from the scripts, and the page in a real browser."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
from PIL import Image

GALLERY = Path(".adacode") / "report"
TIMEOUT_S = 60


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
        end = time.monotonic() + TIMEOUT_S
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


def images_in(tree: Path) -> dict[Path, int]:
    """The PNG files of a tree with the times at which they were written, without those of its gallery."""
    return {path: path.stat().st_mtime_ns for path in tree.rglob("*.png") if ".adacode" not in path.parts}
