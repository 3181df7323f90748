"""The cost of long runs before their first file, and the growth of their memory. Prints a Markdown table and the
machine.

python benchmarks/long_runs.py [--names N] [--images N] [--real]

A tree of 100,000 names is planned in a separate process, which ends with its first file; 1,000 images of 16 to 40
pixels pass through every stage, with an enlargement without a network in its place, or with `--real` the bundled
network (two minutes, or seven on a busy machine).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

START = """
import json, resource, sys, time
began = time.process_time()
from pathlib import Path
from adacode_cli.batch.found import Selection
from adacode_cli.batch.events import FileFinished
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages
from adacode_cli.batch.trees import Trees
imported = time.process_time()

def on_event(event):  # the first file is empty, so it ends where the work on it would begin
    if isinstance(event, FileFinished):
        raise KeyboardInterrupt

trees = Trees(resume=True, replace=False)
plan = make_plan([Path(sys.argv[1])], Naming("sr-x4"), Selection(), OnExisting.REFUSE, may_go_on=trees.may_go_on)
trees.begin(plan.roots)
trees.with_weights("", plan.jobs)
try:
    run(plan, LocalExecutor(Stages(None)), on_event=on_event, trees=trees)
except KeyboardInterrupt:
    started = time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([len(plan.jobs), imported - began, started - imported, peak]))
"""

RUN = """
import json, sys
from pathlib import Path
import cv2, numpy as np
from adacode_cli.batch.found import Selection
from adacode_cli.batch.events import FileFinished
from adacode_cli.batch.guard import Guarded
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages

class Restored:
    mixing_weights, categories, notes, alpha = np.zeros((1, 1, 1), np.float32), ("all",), (), None
    weights_extent = (1.0, 1.0)
    precision = "fp32"
    def __init__(self, image): self.image = image

class Enlarging:
    def restore(self, task, image, *, scale, **_):
        return Restored(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))

def restorer():
    if sys.argv[3] == "stand-in":
        return Enlarging()
    from adacode_cli import Restorer
    return Restorer.from_pretrained("compact")

sizes = []
def on_event(event):
    if isinstance(event, FileFinished):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * 4096)

plan = make_plan([Path(sys.argv[1])], Naming("sr-x4", Path(sys.argv[2])), Selection(), OnExisting.REFUSE)
restoring = Restoring(restorer(), "sr", 4.0)
report = run(plan, LocalExecutor(Stages(Guarded(restoring, lambda: restoring))), on_event=on_event)
assert report.done == len(sizes), report.failed
print(json.dumps(sizes))
"""


def child(script: str, *arguments: str | Path) -> list[float]:
    """The JSON that a Python process prints at its end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))


def starting(folder: Path, num_names: int) -> None:
    """Names in directories of a thousand, up to the first file."""
    for index in range(num_names):
        if index % 1000 == 0:
            directory = folder / f"{index // 1000:04}"
            directory.mkdir(parents=True)
        (directory / f"IMG_{index:06}.jpg").touch()
    found, importing_s, starting_s, peak = child(START, folder)
    print(f"| processor time from {found:,.0f} names to the first file | {starting_s:.2f} s |")
    print(f"| processor time of importing what that needs | {importing_s:.2f} s |")
    print(f"| its peak of memory, everything included | {peak / 1e6:.0f} MB |")


def running(folder: Path, num_images: int, restorer: str) -> None:
    """Images of many sizes, and the resident size after each."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(num_images):
        width, height = (int(side) for side in rng.integers(16, 41, 2))
        pixels = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{index:05}.png")
    sizes = child(RUN, folder, folder.with_name("out"), restorer)
    early, late = sizes[99] / 1e6, sizes[-1] / 1e6
    print(f"| resident after 100 images | {early:.0f} MB |")
    print(f"| resident after {num_images:,} images | {late:.0f} MB ({late / early - 1:+.1%}) |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--real", action="store_true", help="the bundled network rather than a stand-in")
    chosen = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}\n")
    print("| | |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        starting(Path(temporary) / "names", chosen.names)
        running(Path(temporary) / "images", chosen.images, "compact" if chosen.real else "stand-in")
