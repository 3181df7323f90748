"""The engine compared with a plain pass of the network, and with the limits of the machine; ratios within one run.

python benchmarks/engine.py              plain pass, and engine in float32 and with auto, of both families; a yardstick
python benchmarks/engine.py --growth     seconds per megapixel of output, by megapixels of output
python benchmarks/engine.py --files 60   60 JPEGs of 1 MP through a run of `compact`, and the engine alone

The figures are those of `adacode bench`, and also of a published network. That has random weights, which take the same
time as trained ones; but codes of random weights are nearer to one another, so rounding changes more of them, and PSNR
is lower. benchmarks/results has the printed results with the name of the machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from adacode_cli.benchmark.files import files
from adacode_cli.benchmark.image import cut
from adacode_cli.benchmark.speed import MEGAPIXELS, ceiling, growth, passes, yardstick_seconds
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.cli import machine
from adacode_cli.engine.device import PRECISIONS, choose_device, computes_bf16
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.imaging.decode import read_image
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise
from adacode_cli.training.presets import family_network

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"
YARDSTICK_SIDE = 128


def network(family: str) -> AdaCode:
    """sr ×4: the bundled weights, or random ones of the published shape."""
    if family == "compact":
        return WeightsSource("compact", None).network("sr", 4)[0]
    torch.manual_seed(0)
    made = AdaCode(family_network(family, "sr", 4))
    initialise(made)
    return made.eval().requires_grad_(requires_grad=False)


def compare(family: str, side: int, device: torch.device, precisions: list[str], repeats: int) -> None:
    """Plain pass against the engine for one image of side × side."""
    net, image = network(family), cut(read_image(PHOTO).pixels, side)
    seconds = yardstick_seconds(to_tensor(image), device, repeats) if side == YARDSTICK_SIDE else None
    usual = "" if seconds is None else f", yardstick {seconds:.3f} s"
    for one in passes(net, image, device, precisions, repeats):
        if one.psnr_db is None:  # the plain one
            gflop = one.gflop_per_s * one.seconds
            print(f"{family}, {side}×{side} → {4 * side}×{4 * side}, {gflop:.0f} GFLOP as defined{usual}")
        psnr = "" if one.psnr_db is None else f"  PSNR {one.psnr_db:.1f} dB"
        rates = f"ratio {one.ratio:4.2f}  {one.gflop_per_s:6.0f} GFLOP/s"
        print(f"  {one.name:<10}{one.seconds:8.3f} s  {rates}{psnr}", flush=True)


def main() -> None:
    """Runs what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, default=256, metavar="PX", help="of the image that both networks enlarge")
    parser.add_argument("--families", default="compact,published", metavar="LIST", help="which of the two, by commas")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--most", type=int, default=64, metavar="MP")
    parser.add_argument("--files", type=int, metavar="N")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = choose_device(args.device)
    print(machine.device(str(device)), "torch", torch.__version__)
    precisions = ["fp32", "bf16"] if computes_bf16(device) else ["fp32"]
    if args.files:
        found = files(Restorer.from_pretrained("compact", device=args.device), 4, args.files, 1.0)
        print(
            f"{found.count} files of 1 MP: engine {found.engine_seconds:.1f} s, run {found.run_seconds:.1f} s, ", end=""
        )
        print(f"{found.ratio:.2f} times the engine's time")
    elif args.growth:
        print("| MP of output | seconds | seconds a MP | to the first |\n| --- | --- | --- | --- |")
        runner = Runner(network("compact"), device, RunOptions())
        for line in growth(runner, [size for size in MEGAPIXELS if size <= args.most]):
            numbers = f"{line.seconds:.1f} | {line.seconds_per_megapixel:.3f} | {line.to_first:.2f}"
            print(f"| {line.megapixels} | {numbers} |", flush=True)
    else:
        for name in precisions:
            most = ceiling(name, PRECISIONS[name], device, args.repeats)
            print(
                f"at most, {name}: matrices {most.matrices:.0f} GFLOP/s, convolutions {most.convolutions:.0f} GFLOP/s"
            )
        if args.side > YARDSTICK_SIDE:
            compare("compact", YARDSTICK_SIDE, device, precisions, args.repeats)
        for family in args.families.split(","):
            compare(family, args.side, device, precisions, args.repeats)


if __name__ == "__main__":
    main()
