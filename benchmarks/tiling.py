"""Memory and exactness of tiling: planned memory by size of image, measured peaks, and images in different tiles.

python benchmarks/tiling.py                    the table of planned memory
python benchmarks/tiling.py --measure SIDE     peak of sr ×4 of a SIDE×SIDE image, and its plan, in both precisions
python benchmarks/tiling.py --compare IMAGE  largest difference between tile sizes, with the bundled weights
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.engine.device import rounded
from adacode_cli.engine.halves import halves_of
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.plan import Costs, Memory, RunOptions, plan_tiles
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.imaging.decode import read_image
from adacode_cli.model.network import AdaCode
from adacode_cli.training.presets import family_network

CPU = torch.device("cpu")
GB = 1e9
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
MEGAPIXELS = (1, 4, 16, 64)
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Row:
    """A precision, and whether the processor lacks kernels of it, so that convolutions copy (`engine.device`)."""

    precision: str
    unfolds: bool = False

    @property
    def words(self) -> str:
        return self.precision + (", emulated" if self.unfolds else "")


ROWS = (Row("bf16"), Row("bf16", unfolds=True), Row("fp32"))


@cache
def untrained(family: str) -> AdaCode:
    """A network of random weights, for sizes."""
    return AdaCode(family_network(family, "sr", 4)).eval().requires_grad_(requires_grad=False)


def planned(family: str, row: Row, device: torch.device, megapixels: float, tiling: str) -> Memory:
    """The planned memory of sr ×4 to an output of `megapixels`, if there is enough."""
    dtype, config = PRECISIONS[row.precision], family_network(family, "sr", 4)
    network = untrained(family)
    parts = halves_of(network if dtype == torch.float32 else rounded(network, dtype), dtype, unfolds=row.unfolds)
    side = round((megapixels * 1e6) ** 0.5 / config.scale)
    costs = Costs(parts, config, Grid.of(config, side, side), dtype, on_host=device == CPU)
    return plan_tiles(costs, RunOptions(tiling=tiling), device, Memory(1 << 60, 1 << 60)).memory


def table() -> None:
    """One line for each family, precision and kind of tiling."""
    print("planned GB of sr ×4 in addition to the process itself (torch and weights), by megapixels of output")
    print("| family | precision | tiling | device | " + " | ".join(f"{m} MP" for m in MEGAPIXELS) + " |")
    print("| --- " * (4 + len(MEGAPIXELS)) + "|")
    for family in ("compact", "published"):
        for row in ROWS:
            for tiling in ("exact", "sampled") if family == "published" else ("exact",):
                for device in (CPU,) if row.unfolds else (CPU, torch.device("cuda")):
                    cells = []
                    for m in MEGAPIXELS:
                        memory = planned(family, row, device, m, tiling)
                        on_gpu = f" + {memory.device_bytes / GB:.2f}" if device != CPU else ""
                        cells.append(f"{memory.host_bytes / GB:.2f}{on_gpu}")
                    where = "CPU" if device == CPU else "host + GPU"
                    print(f"| {family} | {row.words} | {tiling} | {where} | " + " | ".join(cells) + " |", flush=True)


def resident(field: str) -> int:
    """Bytes of a line of /proc/self/status: VmRSS is the current size, VmHWM the largest so far."""
    lines = (line.split() for line in STATUS.read_text(encoding="ascii").splitlines())
    return int(next(parts[1] for parts in lines if parts[0] == f"{field}:")) << 10


def one_run(family: str, precision: str, side: int) -> None:
    """Prints planned and measured bytes of one run, of random weights for "published"."""
    if family == "compact":
        network, _ = WeightsSource("compact", None).network("sr", 4)
    else:
        network = untrained(family)
    runner = Runner(network, CPU, RunOptions(precision))
    generator = np.random.default_rng(0)
    runner.restore(generator.integers(0, 256, (16, 16, 3), np.uint8))
    image = generator.integers(0, 256, (side, side, 3), np.uint8)
    before = resident("VmRSS")
    memory = runner.plan(side, side, deep=False).memory
    start = time.perf_counter()
    runner.restore(image)
    print(memory.host_bytes, resident("VmHWM") - before, before, f"{time.perf_counter() - start:.1f}")


def measure(families: list[str], precisions: list[str], side: int) -> None:
    """Prints plans and measured peaks, each from a separate process."""
    for family in families:
        for precision in precisions:
            command = [sys.executable, __file__, "--one", family, precision, str(side)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            plan, peak, before, seconds = (float(value) for value in out.split())
            print(
                f"{family} {precision}, {side}×{side} → {4 * side}×{4 * side}: planned {plan / GB:.2f} GB, "
                f"measured {peak / GB:.2f} GB ({peak / plan:.2f} of it), before {before / GB:.2f} GB, {seconds} s",
                flush=True,
            )


def compare(path: Path) -> None:
    """The image through each bundled network in tiles of several sizes, against one pass over all of it."""
    image = np.ascontiguousarray(read_image(path).pixels[..., :3])
    for task, scale in (("sr", 4), ("sr", 2), ("reconstruct", 1)):
        network, _ = WeightsSource("compact", None).network(task, scale)
        x = to_tensor(image[: 1024 // scale, : 1280 // scale])
        for precision, dtype in PRECISIONS.items():
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=precision == "bf16"):
                whole = network(x)
            for tile in (64, 200, 512, "none"):
                found = Runner(network, CPU, RunOptions(precision, tile)).run(x, deep=False)
                most = (found.image_CHW - whole.image_BCHW[0].float()).abs().max()
                rows, columns = found.codes[0].shape
                pairs = zip(found.codes, whole.codes, strict=True)
                differ = sum(int((a != b[0, :rows, :columns]).sum()) for a, b in pairs)
                print(
                    f"{task} ×{scale} {precision} tile {tile}: max difference {most:.2e}, {differ} codes differ",
                    flush=True,
                )


def main() -> None:
    """Runs what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", type=int, metavar="SIDE")
    parser.add_argument("--family", choices=("compact", "published"), action="append")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), action="append")
    parser.add_argument("--compare", type=Path, metavar="PICTURE")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_run(args.one[0], args.one[1], int(args.one[2]))
    elif args.measure:
        measure(args.family or ["compact"], args.precision or list(PRECISIONS), args.measure)
    elif args.compare:
        compare(args.compare)
    else:
        table()


if __name__ == "__main__":
    main()
