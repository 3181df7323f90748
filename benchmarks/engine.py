"""The engine compared with a plain pass of the network, with the limits of the machine, and with ncnn; ratios within
one run.

python benchmarks/engine.py                          plain pass, and engine in float32 and bf16, of both families; a
                                                     yardstick
python benchmarks/engine.py --precision fp32,int8    the engine in these precisions; with --weights FILE, `compact` with
                                                     the ranges of a file of `adacode weights quantize`
python benchmarks/engine.py --growth                 seconds per megapixel of output, by megapixels of output
python benchmarks/engine.py --files 60               60 JPEGs of 1 MP through a run of `compact`, and the engine alone
python benchmarks/engine.py --peer ncnn              Real-ESRGAN's small general network in ncnn, and `compact`

The figures are those of `adacode bench`, and also of a published network. That has random weights, which take the same
time as trained ones; but codes of random weights are nearer to one another, so rounding changes more of them, and PSNR
is lower. Where a network has no ranges for int8, they are measured on small parts of the example photographs: enough
for the time, and too few for the best image. benchmarks/results has the printed results with the name of the machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from engine_run import peer
from engine_run.run_parts import parts_of_run

from adacode_cli.benchmark.image import cut
from adacode_cli.benchmark.speed import MEGAPIXELS, Pass, ceiling, growth, passes, yardstick_seconds
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.cli import machine
from adacode_cli.engine.device import NAMES, PRECISIONS, choose_device, computes_bf16
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.errors import AdaCodeError
from adacode_cli.evaluation.calibration import measured
from adacode_cli.imaging.decode import read_image
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise
from adacode_cli.training.presets import family_network

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
PHOTO = PHOTOS / "astronaut.jpg"
YARDSTICK_SIDE = 128
# Of the parts of photographs that ranges are measured on where a network has none.
RANGES_SIDE = 64


def network(family: str, weights: str | None, *, ranges: bool) -> AdaCode:
    """sr ×4: the bundled weights or those of a file, or random ones of the published shape. ranges: for int8."""
    if family == "compact":
        made = WeightsSource(weights or "compact").network("sr", 4)[0]
    else:
        torch.manual_seed(0)
        made = AdaCode(family_network(family, "sr", 4))
        initialise(made)
        made.eval().requires_grad_(requires_grad=False)
    if ranges and not made.ranges:
        parts = [to_tensor(cut(read_image(path).pixels, RANGES_SIDE)) for path in sorted(PHOTOS.glob("*.jpg"))]
        made.ranges = measured(made, parts)
    return made


def compare(family: str, side: int, args: argparse.Namespace) -> None:
    """Plain pass against the engine for one image of side × side."""
    net, image = network(family, args.weights, ranges="int8" in args.precision), cut(read_image(PHOTO).pixels, side)
    yardstick_s = yardstick_seconds(to_tensor(image), args.device, args.repeats) if side == YARDSTICK_SIDE else None
    for one in passes(net, image, args.device, args.precision, args.repeats):
        if one.psnr_db is None:  # the plain one
            gflop = one.gflop_per_s * one.seconds
            beside = "" if yardstick_s is None else f", yardstick {yardstick_s:.3f} s"
            print(f"{family}, {side}×{side} → {4 * side}×{4 * side}, {gflop:.0f} GFLOP as defined{beside}")
        print(f"  {_pass(one, yardstick_s)}", flush=True)


def _pass(one: Pass, yardstick_s: float | None) -> str:
    beside = "" if yardstick_s is None else f"  {one.seconds / yardstick_s:5.2f} yardsticks"
    psnr = "" if one.psnr_db is None else f"  PSNR {one.psnr_db:.1f} dB"
    return f"{one.name:<10}{one.seconds:8.3f} s  ratio {one.ratio:4.2f}  {one.gflop_per_s:6.0f} GFLOP/s{beside}{psnr}"


def over_files(args: argparse.Namespace) -> None:
    """A run over files, against the engine alone, and its parts."""
    precision = args.precision[-1] if args.named else "auto"
    restorer = Restorer.from_pretrained(args.weights or "compact", device=str(args.device), precision=precision)
    found, parts = parts_of_run(restorer, 4, args.files, args.megapixels)
    took = f"engine {found.engine_seconds:.1f} s, run {found.run_seconds:.1f} s"
    size = f"{found.count} files of {found.megapixels:.2g} MP"
    print(f"{size}, precision {precision}: {took}, {found.ratio:.2f} times the engine's time")
    print(f"  {'part':<12}{'seconds':>9}{'of the run':>12}{'without the network':>21}")
    for one in parts:
        print(f"  {one.name:<12}{one.seconds:>9.2f}{one.share:>12.1%}{one.alone_share:>21.1%}")


def growing(args: argparse.Namespace) -> None:
    """Seconds per megapixel, by the size of the output."""
    print("| MP of output | seconds | seconds a MP | to the first |\n| --- | --- | --- | --- |")
    precision = args.precision[-1] if args.named else "auto"
    runner = Runner(network("compact", args.weights, ranges=precision == "int8"), args.device, RunOptions(precision))
    for line in growth(runner, [size for size in MEGAPIXELS if size <= args.most]):
        numbers = f"{line.seconds:.1f} | {line.seconds_per_megapixel:.3f} | {line.to_first:.2f}"
        print(f"| {line.megapixels} | {numbers} |", flush=True)


def beside_peer(args: argparse.Namespace) -> None:
    """The engine beside ncnn, by number of threads."""
    version = peer.ncnn_version()
    if version is None:
        raise SystemExit("--peer ncnn needs the Python package ncnn: pip install ncnn")
    side, photo = YARDSTICK_SIDE if args.side is None else args.side, read_image(PHOTO).pixels
    net = network("compact", args.weights, ranges="int8" in args.precision)
    of_peer = peer.small_general(args.peer_weights)
    name = "random weights" if args.peer_weights is None else args.peer_weights.name
    print(f"ncnn {version}, {name}, and compact: {side}×{side} → {4 * side}×{4 * side}")
    for threads in args.threads:
        print(f"  {f'threads: {threads}':<18}{'seconds':>9}{'to ncnn in float32':>20}")
        torch.set_num_threads(threads)
        for one in peer.compare(net, args.precision, of_peer, cut(photo, side), args.repeats):
            print(f"  {one.name:<18}{one.seconds:>9.3f}{one.to_peer:>20.2f}  {one.remark}".rstrip(), flush=True)


def passes_of_families(args: argparse.Namespace) -> None:
    """The limits of the device, and each family's passes."""
    for name in args.precision:
        if name in PRECISIONS:
            most = ceiling(name, PRECISIONS[name], args.device, args.repeats)
            print(
                f"at most, {name}: matrices {most.matrices:.0f} GFLOP/s, convolutions {most.convolutions:.0f} GFLOP/s"
            )
    side, families = args.side or 256, args.families.split(",")
    if side > YARDSTICK_SIDE and "compact" in families:
        compare("compact", YARDSTICK_SIDE, args)
    for family in families:
        compare(family, side, args)


def arguments() -> argparse.Namespace:
    """What was asked for; `named`: whether precisions were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, metavar="PX", help="of the image that is enlarged; 256, beside a peer 128")
    parser.add_argument("--families", default="compact,published", metavar="LIST", help="which of the two, by commas")
    parser.add_argument("--precision", metavar="LIST", help="by commas, for example fp32,int8; of a run, the last one")
    parser.add_argument("--weights", metavar="FILE", help="of `compact` for sr ×4, in place of the bundled ones")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--most", type=int, default=64, metavar="MP")
    parser.add_argument("--files", type=int, metavar="N")
    parser.add_argument("--megapixels", type=float, default=1.0, metavar="MP", help="of each of the files")
    parser.add_argument("--peer", choices=("ncnn",), help="needs the Python package of that name")
    parser.add_argument("--peer-weights", type=Path, metavar="FILE", help="realesr-general-x4v3 as .safetensors")
    parser.add_argument("--threads", metavar="LIST", help="beside a peer, by commas; default: 1 and all")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    args.device, args.named = choose_device(args.device), args.precision is not None
    usual = "fp32,int8" if args.peer else "fp32,bf16" if computes_bf16(args.device) else "fp32"
    args.precision = (args.precision or usual).split(",")
    if unknown := [name for name in args.precision if name not in NAMES or name == "auto"]:
        parser.error(f"--precision: {unknown[0]!r} is none of {', '.join(NAMES[1:])}")
    if args.peer and args.device.type != "cpu":
        parser.error("--peer is measured on a CPU: give --device cpu")
    if args.peer_weights and not args.peer_weights.is_file():
        parser.error(f"--peer-weights: {args.peer_weights} is not a file")
    threads = (args.threads or f"1,{os.cpu_count() or 1}").split(",")
    if not all(text.isdecimal() and int(text) > 0 for text in threads):
        parser.error("--threads: give whole numbers from 1, by commas")
    args.threads = sorted({int(text) for text in threads})
    return args


def main() -> None:
    """Runs what the arguments ask for."""
    args = arguments()
    print(machine.device(str(args.device)), "torch", torch.__version__)
    wanted: Callable[[argparse.Namespace], None] = passes_of_families
    if args.peer:
        wanted = beside_peer
    elif args.files:
        wanted = over_files
    elif args.growth:
        wanted = growing
    try:
        wanted(args)
    except AdaCodeError as error:
        sys.exit(f"{error}\n{error.hint}".strip())


if __name__ == "__main__":
    main()
