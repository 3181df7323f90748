"""Draws the screenshots of docs/gallery.md: restores crops of photographs and opens the page of the run in Chromium.

    python docs/make_gallery_images.py

Needs Playwright for Python and Chromium.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
NAMES = ("suit", "cat", "cup", "rocket", "street", "field")


def photographs(folder: Path) -> None:
    """Writes twenty small crops in three folders, one with colours that are converted, and a file that is no image."""
    sources = [Image.fromarray(one) for one in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())]
    rng = np.random.default_rng(4)
    for number in range(20):
        source = sources[number % len(sources)]
        width, height = [(240, 160), (160, 200), (200, 200)][number % 3]
        left, top = (int(rng.integers(0, have - want)) for have, want in zip(source.size, (width, height), strict=True))
        place = folder / ("1931", "1931/may", "1932")[number % 3] / f"{NAMES[number % 4]} {number + 1}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        crop = source.crop((left, top, left + width, top + height))
        (crop.convert("CMYK") if number == 7 else crop).save(place, quality=60)
    (folder / "1932" / "scan 3.jpg").write_bytes(b"not an image\n")


def save(name: str, screenshot: bytes) -> None:
    """Writes a screenshot as a WebP file of at most 100 kB."""
    for quality in (82, 70, 55, 40):
        buffer = BytesIO()
        Image.open(BytesIO(screenshot)).convert("RGB").save(buffer, "webp", quality=quality, method=6)
        if buffer.tell() <= 100_000:
            break
    (IMAGES / f"{name}.webp").write_bytes(buffer.getvalue())
    print(f"{name}.webp: {buffer.tell()} bytes")


def draw(page_file: Path) -> None:
    """Makes the screenshots."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)

        def opened(width: int, height: int, scheme: str):  # noqa: ANN202 (a class of Playwright)
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(page_file.as_uri())
            page.wait_for_selector("a.card")
            page.wait_for_timeout(500)
            return page

        def at_picture(page):  # noqa: ANN001, ANN202
            page.locator("a.card", has_text="suit").first.click()
            page.wait_for_selector("#after .frame[data-loaded]", state="attached")
            page.wait_for_timeout(500)
            return page

        save("gallery-grid", opened(1280, 800, "light").screenshot())
        save("gallery-picture", at_picture(opened(1280, 800, "dark")).screenshot())
        save("gallery-phone", at_picture(opened(390, 844, "light")).screenshot())
        browser.close()


def draw_painting(work: Path) -> None:
    """Makes the screenshot of the page on which masks are painted."""
    from playwright.sync_api import sync_playwright

    (work / "portraits").mkdir()
    Image.fromarray(data.astronaut()).save(work / "portraits" / "suit.jpg", quality=90)
    words = [sys.executable, "-m", "adacode_cli", "view", "portraits", "--serve", "--no-open", "--masks", "masks"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen(words, cwd=work, env=env, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        assert server.stdout is not None, "it is a pipe"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(server.stdout.readline().strip())
        page.wait_for_selector("#board[data-shown]")
        page.wait_for_timeout(500)
        box = page.locator("#photo").bounding_box()
        assert box is not None, "it is shown"
        for points in (((0.06, 0.06), (0.1, 0.3), (0.08, 0.55)), ((0.62, 0.7), (0.66, 0.71))):
            for number, (x, y) in enumerate(points):
                page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
                if number == 0:
                    page.mouse.down()
            page.mouse.up()
        page.locator("#folder").evaluate(
            "(line, text) => { line.textContent = text; }", "Masks are saved in /home/ada/masks."
        )
        page.wait_for_timeout(200)
        save("gallery-paint", page.screenshot())
        browser.close()
        server.send_signal(signal.SIGINT)


def name_home(work: Path) -> None:
    """Gives the folder `work` a name in the texts of the page that does not depend on the machine."""
    for path in (work / "large" / ".adacode" / "report" / "data").glob("*.js"):
        path.write_text(path.read_text(encoding="ascii").replace(str(work), "/home/ada"), encoding="ascii")


def main() -> None:
    """Restores the crops and makes the screenshots."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "demo")
        photographs(work / "photos")
        command = [sys.executable, "-m", "adacode_cli", "sr", "photos", "-o", "large", "--report", "-q"]
        subprocess.run(command, cwd=work, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
        name_home(work)
        draw(work / "large" / ".adacode" / "report" / "index.html")
        draw_painting(work)


if __name__ == "__main__":
    main()
