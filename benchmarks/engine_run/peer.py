"""ncnn as a peer of the engine: Real-ESRGAN's small general network, which programs for super-resolution run with it.

The network is the yardstick with the input, enlarged by repetition, added. ncnn reads its own files, which are written
here: the layers as text, and their numbers in the same order (docs/developer-guide of github.com/Tencent/ncnn).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from adacode_cli.benchmark.speed import yardstick
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.model.network import AdaCode

SCALE = 4
# ncnn's name of the file format, and of a weight in float32.
_MAGIC, _FLOAT32 = "7767517", bytes(4)
# Between float32 of ncnn and of torch, for values from 0 to 1: Winograd's convolutions round differently.
_MAX_DIFFERENCE = 1e-3
_EXACT = "ncnn, float32"
_CPU = torch.device("cpu")
Image = NDArray[np.float32]
Run = Callable[[], object]


def small_general(weights: Path | None) -> nn.Sequential:
    """The layers up to the sum. weights: the published ones, as a .safetensors file; None: random ones."""
    torch.manual_seed(0)
    network = yardstick()
    if weights is not None:
        network.load_state_dict({key.removeprefix("body."): value.float() for key, value in load_file(weights).items()})
    return network.eval().requires_grad_(requires_grad=False)


@torch.inference_mode()
def enlarged(network: nn.Sequential, x_BCHW: Tensor) -> Tensor:
    """The whole network in torch."""
    return network(x_BCHW) + F.interpolate(x_BCHW, scale_factor=SCALE, mode="nearest")


def in_torch(network: nn.Sequential, x_BCHW: Tensor) -> Run:
    """The whole network in torch, channels last, which is faster."""
    last: dict[str, Any] = {"memory_format": torch.channels_last}
    return partial(enlarged, deepcopy(network).to(**last), x_BCHW.contiguous(**last))


def ncnn_files(network: nn.Sequential) -> tuple[bytes, bytes]:
    """The contents of the .param and the .bin file; the input is called x, the result y."""
    lines, numbers, last = ["Input x 0 1 x", "Split split 1 2 x x0 x1"], [], "x0"
    for i, layer in enumerate(network):
        made = f"m{i}"
        if isinstance(layer, nn.Conv2d):
            sizes = f"0={layer.out_channels} 1=3 4=1 5=1 6={layer.weight.numel()}"
            lines.append(f"Convolution {made} 1 1 {last} {made} {sizes}")
            assert layer.bias is not None, "its convolutions have one"
            numbers += [_FLOAT32, _bytes(layer.weight), _bytes(layer.bias)]
        elif isinstance(layer, nn.PReLU):
            lines.append(f"PReLU {made} 1 1 {last} {made} 0={layer.weight.numel()}")
            numbers.append(_bytes(layer.weight))
        else:
            lines.append(f"PixelShuffle {made} 1 1 {last} {made} 0={SCALE}")
        last = made
    lines += [f"Interp base 1 1 x1 base 0=1 1={SCALE}.0 2={SCALE}.0", f"BinaryOp y 2 1 {last} base y 0=0"]
    num_blobs = len(lines) + 1  # each layer makes one, and Split two
    return "\n".join([_MAGIC, f"{len(lines)} {num_blobs}", *lines, ""]).encode(), b"".join(numbers)


def _bytes(values: Tensor) -> bytes:
    return values.detach().float().contiguous().numpy().astype("<f4").tobytes()


def in_ncnn(network: nn.Sequential, threads: int, *, float32: bool) -> Callable[[Image], Image]:
    """The whole network in ncnn, from 3×H×W to 3×4H×4W. float32: no number has 16 bits; else as ncnn decides.

    Raises ImportError without the package.
    """
    ncnn = import_module("ncnn")
    net = ncnn.Net()
    net.opt.num_threads = threads
    if float32:
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    with tempfile.TemporaryDirectory(prefix="adacode-peer-") as folder:
        contents = zip((net.load_param, net.load_model), ncnn_files(network), strict=True)
        for i, (read, content) in enumerate(contents):
            path = Path(folder, str(i))
            path.write_bytes(content)
            if read(str(path)) != 0:
                raise RuntimeError("ncnn does not read the files that were made for it")

    def run(image: Image) -> Image:
        extractor = net.create_extractor()
        extractor.input("x", ncnn.Mat(image))
        failed, result = extractor.extract("y")
        if failed:
            raise RuntimeError("ncnn has no result")
        return np.array(result)

    return run


def ncnn_version() -> str | None:
    """The version of the package, None where it is not installed."""
    try:
        return str(import_module("ncnn").__version__)
    except ImportError:
        return None


@dataclass(frozen=True)
class Measured:
    """The least of the seconds of several calls, how many times as long as ncnn in float32 that is, and a remark."""

    name: str
    seconds: float
    to_peer: float
    remark: str


def compare(
    engine: AdaCode, precisions: list[str], network: nn.Sequential, image: NDArray[np.uint8], repeats: int
) -> Iterator[Measured]:
    """The peer in torch and in ncnn, and the engine in each precision, for one image, H×W×3, in turn; with as many
    threads as torch has.

    Raises RuntimeError if ncnn's result is another one than torch's.
    """
    x = to_tensor(image)
    flat, wanted = np.ascontiguousarray(x[0].numpy()), enlarged(network, x)[0].numpy()
    ways, remarks = {"torch, float32": in_torch(network, x)}, dict[str, str]()
    for name, float32 in ((_EXACT, True), ("ncnn, as it is", False)):
        run = in_ncnn(network, torch.get_num_threads(), float32=float32)
        largest = float(np.abs(run(flat) - wanted).max())
        if float32 and not largest < _MAX_DIFFERENCE:
            raise RuntimeError(f"ncnn's result differs from torch's by {largest:g}: it is not the same network")
        ways[name], remarks[name] = partial(run, flat), f"at most {largest:.1e} from torch"
    for precision in precisions:
        ways[f"engine, {precision}"] = partial(Runner(engine, _CPU, RunOptions(precision)).restore, image)
    least = _least(ways, repeats)
    for name, seconds in least.items():
        yield Measured(name, seconds, seconds / least[_EXACT], remarks.get(name, ""))


def _least(ways: Mapping[str, Run], repeats: int) -> dict[str, float]:
    """Seconds of each way: the least of `repeats` rounds after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: min(own[1:]) for name, own in times.items()}
