"""What the `compact` networks cost: operations, parameters, and time as a ratio to a yardstick in the same run.

    python benchmarks/compact.py [--repeats 5]

The yardstick is a usual network for enlarging photographs on laptops: 34 convolutions 3×3 of 64
channels on the input's grid and a pixel shuffle ×4, 1.2 million parameters. Times are medians for a 512×512 output.
"""

from __future__ import annotations

import argparse
import platform

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adacode_cli.benchmark.speed import yardstick
from adacode_cli.benchmark.timing import seconds
from adacode_cli.engine.device import computes_bf16
from adacode_cli.model.network import AdaCode
from adacode_cli.model.rescaling import halved
from adacode_cli.training.initialise import initialise
from adacode_cli.training.presets import family_network, named_recipe

SIDE = 512
TASKS = (("sr", 4), ("sr", 2), ("inpaint", 1), ("reconstruct", 1))


def measure(network: nn.Module, x: Tensor, repeats: int, reference: float | None) -> tuple[str, float]:
    """A table row's figures, and the float32 time in seconds."""
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(x)
        fp32 = seconds(lambda: network(x), repeats)
        with torch.autocast("cpu", torch.bfloat16):
            bf16 = seconds(lambda: network(x), repeats)
    operations = counter.get_total_flops() / SIDE**2 / 1e6
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    base = reference or fp32
    times = f"{fp32 * 1e3:9.0f} {fp32 / base:7.2f} {bf16 * 1e3:9.0f} {bf16 / base:7.2f}"
    return f"{operations:8.3f} {parameters:8.2f} {times}", fp32


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    auto = "bf16" if computes_bf16(torch.device("cpu")) else "fp32"
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, precision auto is {auto}")
    print(f"{'network':<16}{'MFLOP/px':>8} {'M param':>8} {'fp32 ms':>9} {'ratio':>7} {'bf16 ms':>9} {'ratio':>7}")
    with torch.inference_mode():
        row, reference = measure(yardstick(), torch.rand(1, 3, SIDE // 4, SIDE // 4), repeats, None)
        print(f"{'yardstick x4':<16}{row}")
        for task, scale in TASKS:
            # ×2 uses the ×4 network.
            config = family_network("compact", task, 4 if task == "sr" else scale)
            if task == "reconstruct":
                config = named_recipe("compact").network.reconstructing(config)
            network = AdaCode(config)
            initialise(network)
            network = halved(network) if scale == 2 else network
            x = torch.rand(1, network.config.in_channels, SIDE // scale, SIDE // scale)
            row, _ = measure(network, x, repeats, reference)
            print(f"{f'{task} x{scale}':<16}{row}")


if __name__ == "__main__":
    main()
