"""Records what a run tells the console, with the times, for `test_cli_time_left.py`.

    python tests/cli/record_run.py OUT.jsonl ORDER SMALLEST COUNT COMMAND...

It makes COUNT photographs whose numbers of pixels are spread evenly (on a logarithmic scale) from SMALLEST to 40 times
SMALLEST, in the ORDER small-first, large-first or random, and runs `adacode COMMAND... FOLDER` over them, for example
`adacode sr --precision fp32`. A first line lists the numbers of pixels; each further line is an event: seconds, kind,
file, and its share or result. The seconds are processor time of the thread in which the network computes, so other
programs that run at the same time change them little. The files in `recorded_runs` were made with one thread: with
SMALLEST 3000 and COUNT 16 for `sr`, 40000 and 20 for `reconstruct`, and 8000 and 80 for `reconstruct` as "many".
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from adacode_cli.batch import events
from adacode_cli.cli import restore
from adacode_cli.cli.console import JsonConsole
from adacode_cli.cli.main import main

_SPREAD = 40
_SOURCES = Path(__file__).parent.parent.parent / "examples" / "photos"


class Recorder(JsonConsole):
    """Collects events, and writes them at the end of the run."""

    def __init__(self, target: Path, pixels: dict[str, int]) -> None:
        super().__init__("recorded")
        self._target, self._lines, self._began = target, [json.dumps(pixels)], 0.0

    def on_event(self, event: events.Event) -> None:
        match event:
            case events.RunStarted():
                self._began = time.thread_time()
            case events.FileStarted(job):
                self._add("started", job.source.name)
            case events.FileAdvanced(job, share):
                self._add("advanced", job.source.name, round(share, 4))
            case events.FileFinished(outcome):
                self._add("finished", outcome.source.name, outcome.result.value)
            case events.RunFinished():
                self._add("ended")
                self._target.write_text("\n".join([*self._lines, ""]), encoding="utf-8")

    def _add(self, kind: str, *more: object) -> None:
        self._lines.append(json.dumps([round(time.thread_time() - self._began, 3), kind, *more]))


def photographs(folder: Path, order: str, smallest: int, count: int) -> dict[str, int]:
    """Writes the photographs. Returns the number of pixels of each."""
    wanted = [int(smallest * _SPREAD ** (i / (count - 1))) for i in range(count)]
    if order == "large-first":
        wanted.reverse()
    if order == "random":
        random.Random(1).shuffle(wanted)
    sources = [Image.open(path).convert("RGB") for path in sorted(_SOURCES.glob("*.jpg"))]
    found = {}
    for i, pixels in enumerate(wanted):
        width = round((pixels * 4 / 3) ** 0.5)
        size = width, round(width * 3 / 4)
        name = f"{i:03d}.jpg"
        sources[i % len(sources)].resize(size, Image.Resampling.BICUBIC).save(folder / name, quality=90)
        found[name] = int(np.prod(size))
    return found


if __name__ == "__main__":
    target, order, smallest, count = Path(sys.argv[1]).absolute(), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory() as name:
        pixels = photographs(Path(name), order, smallest, count)
        restore.console_for = lambda *_args, **_options: Recorder(target, pixels)
        sys.argv = ["adacode", *sys.argv[5:], name, "-o", f"{name}/out"]
        main()
