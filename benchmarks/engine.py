"""What the engine gains over running the network plainly, and what it leaves of the machine unused; ratios of one run.

python benchmarks/engine.py                  plain pass, engine in float32 and by itself, and a yardstick
python benchmarks/engine.py --linear         seconds a megapixel of output, by megapixels of output
python benchmarks/engine.py --files FOLDER   a folder of pictures through `adacode sr`'s run, beside the engine alone

"Plain" is `network(x)` in float32, channels first, the whole picture at once. The ceilings are the rates of a matrix
product and of a convolution that are large enough to keep the machine busy. Networks have random weights, which cost
what trained ones cost; codes of random weights are nearer to one another than those of trained ones, so fewer of them
survive rounding, and PSNR is given for the pictures of the bundled weights where there are any.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from compact import seconds, yardstick
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adacode_cli.checkpoints.source import WeightsSource
from adacode_cli.engine.arrays import to_tensor
from adacode_cli.engine.device import computes_bf16
from adacode_cli.engine.options import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.engine.runner import Runner
from adacode_cli.imaging.decode import read_image
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise
from adacode_cli.training.presets import family_network

CPU = torch.device("cpu")
PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"


def photo(side: int) -> Tensor:
    """1×3×side×side part of a photograph, repeated where it is too small."""
    pixels = read_image(PHOTO).pixels
    rows, columns = (-(-side // length) for length in pixels.shape[:2])
    return to_tensor(np.ascontiguousarray(np.tile(pixels, (rows, columns, 1))[:side, :side]))


def network(family: str) -> AdaCode:
    """sr ×4: the bundled weights, or random ones of the published shape."""
    if family == "compact":
        return WeightsSource("compact", None).network("sr", 4)[0]
    torch.manual_seed(0)
    made = AdaCode(family_network(family, "sr", 4))
    initialise(made)
    return made.eval().requires_grad_(requires_grad=False)


def psnr(a: Tensor, b: Tensor) -> float:
    """dB between pictures in [0, 1]."""
    return float(-10 * torch.log10((a.clamp(0, 1) - b.clamp(0, 1)).square().mean()))


def ceilings(repeats: int) -> None:
    """GFLOP/s of large products in both precisions."""
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(2048, 2048, dtype=dtype)
        conv = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype, memory_format=torch.channels_last)
        x = torch.randn(1, 256, 128, 128, dtype=dtype).contiguous(memory_format=torch.channels_last)
        matrix = 2 * 2048**3 / seconds(lambda a=a: a @ a, repeats) / 1e9
        convolution = 2 * 9 * 256**2 * 128**2 / seconds(lambda c=conv, x=x: c(x), repeats) / 1e9
        name = str(dtype).removeprefix("torch.")
        print(f"ceiling, {name}: matrices {matrix:.0f} GFLOP/s, convolutions {convolution:.0f} GFLOP/s")


def compare(family: str, side: int, repeats: int) -> None:
    """Plain pass against the engine for one picture of side × side."""
    net, x = network(family), photo(side)
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:  # as defined, without rewrites
        net(x)
    gflop = counter.get_total_flops() / 1e9
    plain = seconds(lambda: net(x), repeats)
    wanted = net(x).image_BCHW[0]
    print(f"{family}, {side}×{side} → {4 * side}×{4 * side}, {gflop:.0f} GFLOP as defined")
    print(f"  {'plain':<10}{plain:8.3f} s  ratio 1.00  {gflop / plain:6.0f} GFLOP/s")
    for precision in ("fp32", "auto"):
        runner = Runner(net, CPU, RunOptions(precision))
        took = seconds(lambda r=runner: r.run(x, deep=False), repeats)
        likeness = psnr(runner.run(x, deep=False).image_CHW, wanted)
        rate = gflop / took
        print(f"  {precision:<10}{took:8.3f} s  ratio {plain / took:4.2f}  {rate:6.0f} GFLOP/s  PSNR {likeness:.1f} dB")


def against_yardstick(repeats: int) -> None:
    """compact ×4 as a user runs it, 128 → 512 px, and a network of the usual kind in float32."""
    x, usual = photo(128), yardstick().eval().to(memory_format=torch.channels_last)
    base = seconds(lambda: usual(x.contiguous(memory_format=torch.channels_last)), repeats)
    print(f"128×128 → 512×512: yardstick {base:.3f} s")
    for precision in ("fp32", "auto"):
        runner = Runner(network("compact"), CPU, RunOptions(precision))
        took = seconds(lambda r=runner: r.run(x, deep=False), repeats)
        print(f"  compact {precision}: {took:.3f} s, {took / base:.2f} times the yardstick")


def linear(most: int) -> None:
    """compact ×4 as a user runs it: whether time grows as the picture does."""
    runner, base = Runner(network("compact"), CPU, RunOptions()), None
    runner.run(photo(64), deep=False)
    print("| MP of output | seconds | seconds a MP | to the first |\n| --- | --- | --- | --- |")
    for megapixels in (m for m in (1, 4, 16, 64) if m <= most):
        side = round((megapixels * 1e6) ** 0.5 / 4)
        x = photo(side)
        start = time.perf_counter()
        runner.run(x, deep=False)
        took = time.perf_counter() - start
        rate = took / (16 * side * side / 1e6)
        base = base or rate
        print(f"| {megapixels} | {took:.1f} | {rate:.3f} | {rate / base:.2f} |", flush=True)


def files(folder: Path) -> None:
    """The whole run, with reading and writing, against the engine's own time for the same pictures."""
    from adacode_cli.batch.discover import Selection
    from adacode_cli.batch.naming import Naming
    from adacode_cli.batch.plan import make_plan
    from adacode_cli.batch.restoring import Restoring
    from adacode_cli.batch.run import run
    from adacode_cli.batch.stages import Stages

    restorer = Restorer.from_pretrained("compact")
    images = [read_image(path).pixels for path in sorted(folder.iterdir())]
    restorer.sr(images[0])
    start = time.perf_counter()
    for image in images:
        restorer.sr(image)
    alone = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as out:
        plan = make_plan([folder], Naming("sr-x4", Path(out) / "out"), Selection())
        start = time.perf_counter()
        report = run(plan, Stages(Restoring(restorer, "sr")), on_event=lambda _event: None)
        whole = time.perf_counter() - start
    assert report.exit_code == 0, report
    print(f"{len(images)} files: engine {alone:.1f} s, run {whole:.1f} s, {whole / alone:.2f} times the engine's time")


def main() -> None:
    """Runs what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, default=256, metavar="PX", help="of the picture that both networks enlarge")
    parser.add_argument("--linear", action="store_true")
    parser.add_argument("--most", type=int, default=64, metavar="MP")
    parser.add_argument("--files", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    native = "native" if computes_bf16(CPU) else "emulated, so not used"
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    name = cpu.partition(":")[2].strip() or platform.machine()
    threads = torch.get_num_threads()
    print(f"{name}, {os.cpu_count()} cores, {threads} threads, torch {torch.__version__}, bf16 {native}")
    with torch.no_grad():
        if args.files:
            files(args.files)
        elif args.linear:
            linear(args.most)
        else:
            ceilings(args.repeats)
            against_yardstick(args.repeats)
            compare("compact", args.side, args.repeats)
            compare("published", args.side, args.repeats)


if __name__ == "__main__":
    main()
