"""What `--report` costs: the CPU time of the pictures of a photograph, as a share of what restoring it takes.

    python benchmarks/gallery.py [--rounds 5]
    python benchmarks/gallery.py --runs 3 [--files 24] [--side 512] [--scale 2]

CPU time of one thread is compared, because other programs disturb the clock; in a run, other threads make the pictures
while the network computes. The last lines are about the page of ten thousand results in Chromium, if it is installed:
bytes of the data, the time until the first pictures are drawn, and until all data are read.

With --runs, whole runs with and without `--report` alternate, as processes, and their CPU time (user and system) is
compared: all of what the page costs, with the writing of its data. What else a machine does can only add to the CPU
time of a run, so the least of several runs is the best measure of it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from adacode_cli.batch.gallery.pictures import save_picture, shown_of
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium")
COUNT = 10_000


def photograph(side: int) -> Decoded:
    """side×side pixels of a photograph."""
    source = Image.fromarray(data.astronaut())
    return Decoded(np.asarray(source.resize((side, side), Image.Resampling.LANCZOS)), format="jpeg")


def seconds(step: Callable[[], object]) -> float:
    """The CPU time of a step in this thread."""
    began = time.thread_time()
    step()
    return time.thread_time() - began


def cost(side: int, scale: int, work: Path, rounds: int) -> None:
    """Prints what the pictures of one photograph cost, as a share of what restoring it takes: both in one thread."""
    import torch

    from adacode_cli import Restorer

    torch.set_num_threads(1)
    restorer = Restorer.from_pretrained("compact", device="cpu")
    image = photograph(side)
    data_before = encode(image, format="jpeg")
    restored = restorer.restore("sr", image.pixels, scale=scale)
    after = Decoded(np.ascontiguousarray(restored.image), format="jpeg")

    def restore() -> None:
        decoded = decode(data_before, name="photograph")
        result = restorer.restore("sr", decoded.pixels, scale=scale)
        encode(Decoded(np.ascontiguousarray(result.image), format="jpeg"), format="jpeg")

    def show() -> None:
        save_picture(work, "ab" * 32, shown_of(image, 1), shown_of(after, 1), restored=restored)

    pairs = [(seconds(restore), seconds(show)) for _ in range(rounds)]
    work_s, picture_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    sizes = sum(path.stat().st_size for path in (work / "pictures").rglob("*.*"))
    share = 100 * picture_s / work_s
    print(f"{side}² px, ×{scale}: {work_s:.2f} s, its pictures {1000 * picture_s:.1f} ms, {share:.1f} %; {sizes} bytes")


def run_seconds(work: Path, scale: int, *options: str) -> float:
    """The CPU time of a whole run over `work`/photos, of the process and its children."""
    command = [sys.executable, "-m", "adacode_cli", "sr", "photos", "-o", "out", "--scale", str(scale), "-q", *options]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ADACODE_CONFIG": "none"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "--device", "cpu"], cwd=work, env=env, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(work / "out")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def whole_runs(work: Path, rounds: int, count: int, side: int, scale: int) -> None:
    """Prints the CPU time of runs with and without the page, which alternate."""
    (work / "photos").mkdir()
    for number in range(count):
        (work / "photos" / f"{number:03}.jpg").write_bytes(encode(photograph(side + 8 * (number % 3)), format="jpeg"))
    plain, shown = [], []
    for number in range(rounds):
        plain.append(run_seconds(work, scale))
        shown.append(run_seconds(work, scale, "--report"))
        share = 100 * (shown[-1] / plain[-1] - 1)
        print(
            f"round {number + 1}: {plain[-1]:.1f} s without, {shown[-1]:.1f} s with the page, {share:+.1f} %",
            flush=True,
        )
    medians, smallest = (100 * (of(shown) / of(plain) - 1) for of in (statistics.median, min))
    what = f"{count} files of about {side}² px, ×{scale}, CPU time"
    print(f"{what}: {smallest:+.1f} % (the least of {rounds} runs each), {medians:+.1f} % (medians)")


def page_of_many(work: Path) -> None:
    """Prints how fast the page of ten thousand results is."""
    from playwright.sync_api import sync_playwright

    sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("cli", "gallery"))]
    from test_gallery_grid import many

    began = time.perf_counter()
    tree = many(work / "many", COUNT)
    folder = tree / ".adacode" / "report"
    num_bytes = sum(path.stat().st_size for path in (folder / "data").iterdir())
    print(f"{COUNT} results: {num_bytes / 1e6:.1f} MB of data, written in {time.perf_counter() - began:.1f} s")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(_FIRST)
        page.goto((folder / "index.html").as_uri())
        while page.evaluate("adacode.store.loading"):
            time.sleep(0.02)
        first, all_read = page.evaluate("[window.firstCard, performance.now()]")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
        memory = page.evaluate("performance.memory.usedJSHeapSize")
        frames = page.evaluate(_SCROLLED)
        print(f"first paint {paint:.0f} ms, first pictures {first:.0f} ms, all data about {all_read:.0f} ms")
        print(f"memory of the scripts {memory / 1e6:.0f} MB, elements {page.evaluate(_ELEMENTS)}")
        print(f"scrolled through: median frame {statistics.median(frames):.0f} ms, longest {max(frames):.0f} ms")
        browser.close()


_ELEMENTS = "document.querySelectorAll('*').length"
_FIRST = """new MutationObserver((_, observer) => {
    if (document.querySelector("a.card")) { window.firstCard = performance.now(); observer.disconnect(); }
}).observe(document, { childList: true, subtree: true });"""
_SCROLLED = """async () => {
    const scroll = document.getElementById("scroll");
    const frames = [];
    let before = performance.now();
    for (let step = 0; step < 200; step++) {
        scroll.scrollTop = (step / 200) * scroll.scrollHeight;
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        frames.push(now - before);
        before = now;
    }
    return frames;
}"""


def main() -> None:
    """Measures both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, help="how many whole runs with the page, and as many without")
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--scale", type=int, default=2)
    options = parser.parse_args()
    rounds = options.rounds
    with tempfile.TemporaryDirectory() as folder:
        if options.runs:
            whole_runs(Path(folder), options.runs, options.files, options.side, options.scale)
            return
        for side, scale in ((128, 2), (256, 2), (256, 4), (512, 4)):
            cost(side, scale, Path(folder) / f"{side}-{scale}", rounds)
        if CHROMIUM:
            page_of_many(Path(folder))


if __name__ == "__main__":
    main()
