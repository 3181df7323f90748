"""What long runs cost before their first file and how their memory grows. Prints a Markdown table and the machine.

python benchmarks/long_runs.py [NAMES] [IMAGES]

A tree of 100,000 names is planned in a process of its own; 1,000 pictures pass through every stage, with an enlargement
without a network in its place, because the network's memory does not depend on the number of files.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

PLAN = """
import json, resource, sys, time
began = time.process_time()
from pathlib import Path
from adacode_cli.batch.discover import Selection
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
imported = time.process_time()
plan = make_plan([Path(sys.argv[1])], Naming("sr-x4"), Selection(), OnExisting.REFUSE)
planned = time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([len(plan.jobs), imported - began, planned - imported, peak]))
"""

RUN = """
import json, sys
from pathlib import Path
import cv2, numpy as np
from adacode_cli.batch.discover import Selection
from adacode_cli.batch.events import FileFinished
from adacode_cli.batch.guard import Guarded
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages

class Restored:
    mixing_weights, categories, notes = np.zeros((1, 1, 1), np.float32), ("all",), ()
    def __init__(self, image): self.image = image

class Enlarging:
    def restore(self, task, image, *, scale=2.0, **_):
        return Restored(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))

sizes = []
def on_event(event):
    if isinstance(event, FileFinished):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * 4096)

plan = make_plan([Path(sys.argv[1])], Naming("sr-x2", Path(sys.argv[2])), Selection(), OnExisting.REFUSE)
restoring = Restoring(Enlarging(), "sr", 2.0)
run(plan, Stages(Guarded(restoring, lambda: restoring)), on_event=on_event)
print(json.dumps(sizes))
"""


def child(script: str, *arguments: str | Path) -> list[float]:
    """The JSON that a Python process prints at its end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))


def planning(folder: Path, num_names: int) -> None:
    """Names in directories of a thousand, planned."""
    for index in range(num_names):
        if index % 1000 == 0:
            directory = folder / f"{index // 1000:04}"
            directory.mkdir(parents=True)
        (directory / f"IMG_{index:06}.jpg").touch()
    found, importing_s, planning_s, peak = child(PLAN, folder)
    print(f"| processor time of planning {found:,.0f} names | {planning_s:.2f} s |")
    print(f"| processor time of importing what that needs | {importing_s:.2f} s |")
    print(f"| its peak of memory, everything included | {peak / 1e6:.0f} MB |")


def running(folder: Path, num_images: int) -> None:
    """Pictures of one size, and the resident size after each."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(num_images):
        pixels = rng.integers(0, 256, (12, 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        Image.fromarray(pixels).save(folder / f"{index:05}.jpg")
    sizes = child(RUN, folder, folder.with_name("out"))
    early, late = sizes[99] / 1e6, sizes[-1] / 1e6
    print(f"| resident after 100 pictures | {early:.0f} MB |")
    print(f"| resident after {num_images:,} pictures | {late:.0f} MB ({late / early - 1:+.1%}) |")


if __name__ == "__main__":
    names, images = (int(text) for text in [*sys.argv[1:], *["100000", "1000"][len(sys.argv) - 1 :]])
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}\n")
    print("| | |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        planning(Path(temporary) / "names", names)
        running(Path(temporary) / "images", images)
