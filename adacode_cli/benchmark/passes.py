"""The engine beside the network run plainly, for one picture: time, use of the machine, and likeness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adacode_cli.benchmark.timing import seconds, steady_seconds
from adacode_cli.engine.device import exact_arithmetic
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import lanes_of
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.model.network import AdaCode


@dataclass(frozen=True)
class Pass:
    """One way to run a network: the median of its seconds, how many times as fast as "plain", GFLOP/s of the network as
    it is defined, and PSNR in dB to the plain result (None for itself).
    """

    name: str
    seconds: float
    ratio: float
    gflop_per_s: float
    psnr_db: float | None


def operations(network: AdaCode, x_BCHW: Tensor) -> float:
    """GFLOP of a network as defined, for a picture 1×C×H×W on its device; a product and a sum are two."""
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:  # without gradients it has shorter ways
        network(x_BCHW)
    return float(counter.get_total_flops()) / 1e9


def passes(
    network: AdaCode, picture: NDArray[np.uint8], device: torch.device, precisions: Sequence[str], repeats: int
) -> Iterator[Pass]:
    """ "plain" is `network(x)` in float32, channels first, the whole picture at once, without TF32; then the engine in
    each precision, from samples to samples, by as many threads as a run has for it. picture: H×W×3. The network is left
    on the device, channels last.
    """
    x_BCHW, lanes = to_tensor(picture), lanes_of(device)
    network, x = network.to(device), x_BCHW.to(device)
    gflop = operations(network, x)
    with torch.inference_mode(), exact_arithmetic(device):
        plain = seconds(lambda: network(x), repeats, device)
        wanted = network(x).image_BCHW[0].cpu()
    yield Pass("plain", plain, 1.0, gflop / plain, None)
    for precision in precisions:
        runner = Runner(network, device, RunOptions(precision))
        took = steady_seconds(lambda runner=runner: runner.restore(picture), repeats, device, lanes)  # type: ignore[misc]
        found = runner.run(x_BCHW, deep=False).image_CHW
        yield Pass(precision, took, plain / took, gflop / took, psnr(found, wanted))


def psnr(a: Tensor, b: Tensor) -> float:
    """dB between pictures in [0, 1]; infinite for equal ones."""
    return float(-10 * torch.log10((a.clamp(0, 1) - b.clamp(0, 1)).double().square().mean()))
