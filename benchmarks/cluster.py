"""What --engine ray costs and gains on this machine, and what larger clusters would do, computed from that.

    python benchmarks/cluster.py [--files N] [--small N] [--skip PART …] [--simulate FILES_A_SECOND …]

* overhead: photographs of 0.25 megapixels, restored by this process and by one worker with as many threads, in turns.
* scaling: the same by one and by two workers of one thread each. It needs two processors that nobody else uses.
* driver: workers that restore nothing, so what is measured is the driver: claims, messages, lines of the journal.
* simulation: files a second against the number of workers, from the cost of the driver; no run is needed for it.

Prints Markdown. Ratios within one run can be compared between machines. The time until the first file (the start of a
cluster, the import of torch, the network) is not part of them, and is printed separately.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIDE = 500
PARTS = ("overhead", "scaling", "driver", "simulation")
WORKERS = (1, 8, 32, 100, 300, 1000)
# A worker in the simulation, if no other is named: files a second of one device.
_DEVICES = {"CPU, 1 thread": 1.0, "GPU": 20.0}


@dataclass(frozen=True)
class Timed:
    """One run: seconds from its first event to its last one, and before that."""

    working_s: float
    starting_s: float


def main() -> None:
    """Runs the parts that are not skipped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=200, help="photographs for overhead and scaling")
    parser.add_argument("--small", type=int, default=3000, help="files for the cost of the driver")
    parser.add_argument("--repeats", type=int, default=1, help="how often overhead and scaling are measured")
    parser.add_argument("--skip", nargs="*", default=[], choices=PARTS)
    parser.add_argument("--driver-ms", type=float, help="cost of a file for the simulation, rather than the measured")
    parser.add_argument("--gpu-files", type=float, default=_DEVICES["GPU"], help="files a second of one GPU")
    parser.add_argument("--gpu-price", type=float, default=2.0, help="price of one GPU for an hour")
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # A part is shown when it is measured.
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}\n")
    driver_ms = given.driver_ms
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        folder = Path(name)
        if not {"overhead", "scaling"} <= set(given.skip):
            make_photos(folder / "photos", given.files)
        if "overhead" not in given.skip:
            overhead(folder, given.files, given.repeats)
        if "scaling" not in given.skip:
            scaling(folder, given.files, given.repeats)
        if "driver" not in given.skip:
            measured = driver(folder, given.small)
            driver_ms = driver_ms or measured
    if "simulation" not in given.skip and driver_ms:
        simulation(driver_ms, given.gpu_files, given.gpu_price)


def make_photos(folder: Path, number: int) -> None:
    """Parts of the examples, of 0.25 megapixels each."""
    from PIL import Image

    folder.mkdir()
    photos = [Image.open(path).convert("RGB") for path in sorted((ROOT / "examples" / "photos").glob("*.jpg"))]
    for index in range(number):
        photo = photos[index % len(photos)]
        scale = SIDE / min(photo.size)
        large = photo.resize((round(photo.width * scale) + 40, round(photo.height * scale) + 40))
        left = index % 40
        large.crop((left, left, left + SIDE, left + SIDE)).save(folder / f"{index:05}.jpg", quality=90)


def restored(folder: Path, out: str, *options: str) -> Timed:
    """One run over the photographs, each network with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ADACODE_CONFIG": "none"}
    command = [sys.executable, "-m", "adacode_cli", "sr", "photos", "-o", out, "--scale", "2", "--json"]
    command += ["--device", "cpu", *options]
    began = time.monotonic()
    first = 0.0
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "run-started":
                first = time.monotonic()
            last = time.monotonic()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return Timed(last - first, first - began)


def overhead(folder: Path, files: int, repeats: int) -> None:
    """One worker against this process."""
    here, there = [], []
    for index in range(repeats):
        here.append(restored(folder, f"local-{index}"))
        there.append(restored(folder, f"ray-{index}", "--engine", "ray", "--num-workers", "1"))
    ratio = statistics.median(b.working_s / a.working_s for a, b in zip(here, there, strict=True))
    print(f"## Overhead, {files} photographs of 0.25 megapixels, one thread\n")
    print("| | s for all files | s before the first |\n| --- | --- | --- |")
    print(f"| this process | {here[-1].working_s:.1f} | {here[-1].starting_s:.1f} |")
    print(f"| one worker | {there[-1].working_s:.1f} | {there[-1].starting_s:.1f} |")
    print(f"| ratio (median of {repeats}) | **{ratio:.3f}** | |\n")


def scaling(folder: Path, files: int, repeats: int) -> None:
    """Two workers against one."""
    ratios = []
    for index in range(repeats):
        one = restored(folder, f"one-{index}", "--engine", "ray", "--num-workers", "1")
        two = restored(folder, f"two-{index}", "--engine", "ray", "--num-workers", "2")
        ratios.append(one.working_s / two.working_s)
    print(f"## Scaling, {files} photographs of 0.25 megapixels, workers of one thread\n")
    print("| | s for all files |\n| --- | --- |")
    print(f"| one worker | {one.working_s:.1f} |\n| two workers | {two.working_s:.1f} |")
    print(f"| gain (median of {repeats}) | **{statistics.median(ratios):.2f}** |\n")


def driver(folder: Path, files: int) -> float:
    """The cost of the driver for one file, in milliseconds of wall time, with as many workers as are fastest."""
    from PIL import Image

    small = folder / "small"
    small.mkdir()
    for index in range(files):
        Image.new("RGB", (64, 64)).save(small / f"{index:06}.png")
    print(f"## The driver, {files:,} files, workers that restore nothing\n")
    print("| workers | files/s | ms for a file | of them processor time of the driver |\n| --- | --- | --- | --- |")
    costs = []
    for workers in (1, 2, 4):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}
        command = [sys.executable, __file__, "--driver-of", str(workers), str(small), str(folder / f"out-{workers}")]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        wall_s, processor_s = json.loads(done.stdout.splitlines()[-1])
        costs.append(1e3 * wall_s / files)
        print(f"| {workers} | {files / wall_s:.0f} | {costs[-1]:.2f} | {1e3 * processor_s / files:.2f} |")
    print()
    return min(costs)


def driver_of(workers: int, source: Path, out: Path) -> None:
    """Prints the seconds, and the processor time of this process, that a run with workers without work takes."""
    from cluster_run.instant import InstantActor

    from adacode_cli.batch.cluster import ray_worker
    from adacode_cli.batch.cluster.executor import ClusterExecutor, ClusterRequest
    from adacode_cli.batch.description import Description, NetworkDescription
    from adacode_cli.batch.discover import Selection
    from adacode_cli.batch.naming import Naming
    from adacode_cli.batch.plan import OnExisting, make_plan
    from adacode_cli.batch.record import Settings
    from adacode_cli.batch.run import run
    from adacode_cli.batch.trees import Trees
    from adacode_cli.batch.worker import WorkerPlacement, WorkerTask

    ray_worker.WorkerActor = InstantActor  # type: ignore[misc]
    place = WorkerPlacement("cpu", 1, workers)
    task = WorkerTask(Description(NetworkDescription(), "sr"), place, True, 10.0, None)
    trees = Trees(Settings("o", "w"), resume=True, replace=False)
    plan = make_plan([source], Naming("sr", out), Selection(), OnExisting.REFUSE, may_go_on=trees.may_go_on)
    trees.begin(plan.roots)
    with ClusterExecutor(task, ClusterRequest(None, workers, "cpu", (place,) * workers)) as executor:
        executor.start()
        began, processor = time.perf_counter(), time.process_time()
        report = run(plan, executor, on_event=lambda _event: None, trees=trees)
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
    assert report.done == len(plan.jobs), report
    print(json.dumps([seconds, processor]))


def simulation(driver_ms: float, gpu_files: float, gpu_price: float) -> None:
    """Files a second against workers: those of all workers, or those of one driver, whichever is less."""
    most = 1e3 / driver_ms
    devices = {**_DEVICES, "GPU": gpu_files}
    print(f"## Simulation, one driver that needs {driver_ms:.2f} ms for a file ({most:.0f} files/s at most)\n")
    print(f"| workers | {' | '.join(f'{name}: {rate:g} files/s each' for name, rate in devices.items())} |")
    print(f"| --- |{' --- |' * len(devices)}")
    for workers in WORKERS:
        print(f"| {workers} | {' | '.join(f'{simulated(workers, one, most):.0f}' for one in devices.values())} |")
    print()
    for name, rate in devices.items():
        print(f"* {name}: the driver is busy all the time with {most / rate:.0f} workers.")
    files, gpus = 10_000_000, 100
    one, drivers = simulated(gpus, gpu_files, most), max(1, round(gpus * gpu_files / most + 0.5))
    print(
        f"* {files:,} files and {gpus} GPUs: {files / one / 3600:.1f} h with one driver. {drivers} drivers, each with"
    )
    print(f"  `--shard I/{drivers}`: {files / simulated(gpus, gpu_files, most * drivers) / 3600:.1f} h.")
    hours = 1e6 / gpu_files / 3600
    print(f"* A million files: {hours:.1f} hours of a GPU, {hours * gpu_price:.0f} at {gpu_price:g} for an hour.")


def simulated(workers: int, rate: float, most: float, jobs_each: int = 8) -> float:
    """Files a second of `workers` that restore `rate` each, with one driver that serves `most` a second, one at a time.

    A closed network of two stations by mean value analysis (exact for exponential times): each worker has `jobs_each`
    jobs, which it restores one at a time, so its time for a job is 1 / rate and the queue is at the driver.
    """
    if rate * workers < 0.5 * most:
        return rate * workers
    customers, driver_queue = workers * jobs_each, 0.0
    throughput = 0.0
    for present in range(1, customers + 1):
        at_driver = (1 / most) * (1 + driver_queue)
        at_worker = max(1 / rate, present / (workers * rate)) if present > workers else 1 / rate
        throughput = present / (at_driver + at_worker)
        driver_queue = throughput * at_driver
    return min(throughput, most, rate * workers)


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    if arguments[:1] == ["--driver-of"]:
        driver_of(int(arguments[1]), Path(arguments[2]), Path(arguments[3]))
    else:
        main()
