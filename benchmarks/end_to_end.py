"""A folder of JPEGs through `adacode sr`: images per second, compared with the engine and the codecs alone.

    python benchmarks/end_to_end.py --photos 500 --device cuda --jobs 16
    python benchmarks/end_to_end.py --photos 8 --megapixels 0.05 --device cpu

A run reads, restores and writes in parallel, so the slower of engine and codecs is its upper limit. The engine is
measured in this process, for the same images, as many at once as in a run. The codecs are measured by reading the same
files and writing the engine's results, in as many threads as the run has. The run is a separate process. Its images per
second are counted from its first finished file, without the start of the program; those "with start-up" are of the
whole process. With --seconds the run is stopped in time, and the files that it has finished count.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from adacode_cli.benchmark.files import side_of
from adacode_cli.benchmark.image import synthetic_jpeg
from adacode_cli.benchmark.timing import in_lanes
from adacode_cli.engine.device import choose_device
from adacode_cli.engine.memory import release
from adacode_cli.engine.restorer import Restorer
from adacode_cli.imaging.decode import read_image
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded
from adacode_cli.tasks import TASKS

Pixels = NDArray[Any]
# Different images among the photographs; the others are copies of them.
_DIFFERENT = 24
# The largest number of images for the engine, and how many of its results are kept for the codecs.
_ENGINE_PHOTOS, _RESULTS = 16, 4


@dataclass(frozen=True)
class EndToEnd:
    """done: photographs that the run finished. limit: "engine" or "codecs", whichever is slower; ratio_to_limit: the
    run's rate divided by that one's.
    """

    photos: int
    megapixels: float
    scale: float
    device: str
    jobs: int
    done: int
    run_images_per_s: float
    run_output_megapixels_per_s: float
    whole_images_per_s: float
    engine_images_per_s: float
    codec_images_per_s: float
    limit: str
    ratio_to_limit: float


@dataclass(frozen=True)
class Ran:
    """When each file was finished, in seconds from the start of the process, and when the process ended."""

    finished_s: list[float]
    seconds: float

    @property
    def images_per_s(self) -> float:
        """From the first finished file on; with a single one, of the whole process."""
        first, last = self.finished_s[0], self.finished_s[-1]
        return (len(self.finished_s) - 1) / (last - first) if last > first else len(self.finished_s) / self.seconds


def write_photos(folder: Path, count: int, megapixels: float) -> list[Path]:
    """`count` square JPEGs."""
    folder.mkdir()
    side, paths = side_of(megapixels), []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        files = list(pool.map(lambda seed: synthetic_jpeg(side, seed), range(min(count, _DIFFERENT))))
    for index in range(count):
        path = folder / f"{index:05}.jpg"
        path.write_bytes(files[index % len(files)])
        paths.append(path)
    return paths


def engine(restorer: Restorer, scale: float, paths: list[Path]) -> tuple[float, list[Pixels]]:
    """Images a second of the engine alone, and some of its results."""
    images = [
        read_image(path).pixels for path in paths[: _ENGINE_PHOTOS if restorer.lanes == 1 else 4 * restorer.lanes]
    ]
    results: list[Pixels] = []

    def restore(image: Pixels) -> None:
        result = restorer.sr(image, scale)
        if len(results) < _RESULTS:
            results.append(result)

    in_lanes(restore, images[: restorer.lanes], restorer.lanes)  # the first image takes longer
    start = time.perf_counter()
    in_lanes(restore, images, restorer.lanes)
    return len(images) / (time.perf_counter() - start), results


def codecs(paths: list[Path], results: list[Pixels], jobs: int, folder: Path) -> float:
    """Images a second of reading and writing, in `jobs` threads each, as in a run."""
    folder.mkdir()
    chosen = paths[: max(4 * jobs, 8)]

    def write(index: int) -> None:
        data = encode(Decoded(results[index % len(results)]), format="jpeg")
        (folder / f"{index}.jpg").write_bytes(data)

    start = time.perf_counter()
    with ThreadPoolExecutor(jobs) as readers, ThreadPoolExecutor(jobs) as writers:
        reading = [readers.submit(read_image, path) for path in chosen]
        writing = [writers.submit(write, index) for index in range(len(chosen))]
        for future in (*reading, *writing):
            future.result()
    return len(chosen) / (time.perf_counter() - start)


def whole_run(source: Path, target: Path, given: argparse.Namespace, limit_s: float | None) -> Ran:
    """The command as a user would start it. It is stopped after `limit_s` seconds."""
    options = ["--scale", f"{given.scale:g}", "--weights", given.weights, "--device", given.device]
    options += ["--precision", given.precision, "--jobs", str(given.jobs), "--json", "-o", str(target)]
    command = [sys.executable, "-m", "adacode_cli", "sr", str(source), *options]
    start, finished = time.perf_counter(), list[float]()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None, "stdout is a pipe"
    timer = threading.Timer(limit_s or threading.TIMEOUT_MAX, process.send_signal, (signal.SIGTERM,))
    timer.daemon = True
    timer.start()
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "file-done":
            finished.append(time.perf_counter() - start)
        elif event["event"] in ("file-failed", "error"):
            print(line, end="", file=sys.stderr)
    process.wait()
    timer.cancel()
    return Ran(finished, time.perf_counter() - start)


def measure(given: argparse.Namespace) -> EndToEnd:
    """All three in sequence. Raises SystemExit if the run finished no file."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="adacode-end-to-end-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        paths = write_photos(folder / "photos", given.photos, given.megapixels)
        restorer = Restorer.from_pretrained(given.weights, device=given.device, precision=given.precision)
        engine_rate, results = engine(restorer, given.scale, paths)
        del restorer
        release(choose_device(given.device))  # free the memory for the run
        codec_rate = codecs(paths, results, given.jobs, folder / "codecs")
        left_s = None if given.seconds is None else max(1.0, given.seconds - (time.monotonic() - began))
        ran = whole_run(folder / "photos", folder / "restored", given, left_s)
    if not ran.finished_s:
        raise SystemExit("the run finished no file")
    limit, most = min(("engine", engine_rate), ("codecs", codec_rate), key=lambda one: one[1])
    output_megapixels = results[0].shape[0] * results[0].shape[1] / 1e6
    return EndToEnd(
        photos=given.photos,
        megapixels=given.megapixels,
        scale=given.scale,
        device=given.device,
        jobs=given.jobs,
        done=len(ran.finished_s),
        run_images_per_s=ran.images_per_s,
        run_output_megapixels_per_s=ran.images_per_s * output_megapixels,
        whole_images_per_s=len(ran.finished_s) / ran.seconds,
        engine_images_per_s=engine_rate,
        codec_images_per_s=codec_rate,
        limit=limit,
        ratio_to_limit=ran.images_per_s / most,
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100, metavar="N", help="how many JPEGs (default: 100)")
    parser.add_argument("--megapixels", type=float, default=1.0, metavar="MP", help="size of each (default: 1)")
    parser.add_argument("--scale", type=float, default=4.0, metavar="FACTOR")
    parser.add_argument("--weights", default="compact", metavar="NAME")
    parser.add_argument("--device", default="auto", metavar="NAME")
    parser.add_argument("--precision", default="auto", metavar="TYPE")
    jobs = min(8, os.cpu_count() or 1)
    parser.add_argument(
        "--jobs", type=int, default=jobs, metavar="N", help="`adacode sr --jobs` (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="stop the run after this time, including the start")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    for name, least in (("photos", 1), ("jobs", 1), ("megapixels", 0.001), ("scale", 1)):
        if not getattr(given, name) >= least:
            parser.error(f"--{name} {getattr(given, name):g} is less than {least:g}")
    if given.scale > max(TASKS["sr"].scales):
        parser.error(f"--scale {given.scale:g} is more than {max(TASKS['sr'].scales)}")
    found = measure(given)
    if given.json:
        print(json.dumps(asdict(found)))
        return
    print(f"{found.done} of {found.photos} JPEGs of {found.megapixels:g} MP, ×{found.scale:g}, on {found.device}")
    print(f"  run      {found.run_images_per_s:8.2f} images/s, {found.run_output_megapixels_per_s:.1f} MP/s of output")
    print(f"           {found.whole_images_per_s:8.2f} images/s with start-up")
    print(f"  engine   {found.engine_images_per_s:8.2f} images/s alone")
    print(f"  codecs   {found.codec_images_per_s:8.2f} images/s alone, {found.jobs} at a time")
    print(f"  the run reaches {found.ratio_to_limit:.2f} of the limit, which is the {found.limit}")


if __name__ == "__main__":
    main()
