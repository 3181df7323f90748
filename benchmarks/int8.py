"""Convolutions of 8-bit integers by several libraries: 32 of 64 channels with PReLU; ratios within one run.

`benchmarks/engine.py --precision fp32,int8` measures whole networks. ONNX Runtime is measured if the packages
onnxruntime and onnx are installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from adacode_cli.cli import machine
from adacode_cli.engine.openvino_graph import import_openvino

DEPTH, CHANNELS, SIDE = 32, 64, 128
# Inputs from -2 to 2, in 256 steps, with the zero in the middle.
STEP, ZERO = 4 / 255, 128
Run = Callable[[], object]

random = np.random.default_rng(0)
WEIGHT = random.normal(0, 0.05, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
FACTOR = (np.abs(WEIGHT).max((1, 2, 3)) / 127).astype(np.float32)
WHOLE = np.rint(WEIGHT / FACTOR[:, None, None, None]).astype(np.int8)
BIAS, SLOPE = np.zeros(CHANNELS, np.float32), np.full(CHANNELS, 0.2, np.float32)
IMAGE = random.normal(0, 1, (1, CHANNELS, SIDE, SIDE)).astype(np.float32)


def in_torch(dtype: torch.dtype) -> Run:
    """The convolutions as the engine runs them."""
    last = {"memory_format": torch.channels_last}
    weight, x = (torch.from_numpy(a).to(dtype).contiguous(**last) for a in (WEIGHT, IMAGE))
    bias, slope = (torch.from_numpy(a).to(dtype) for a in (BIAS, SLOPE))

    @torch.inference_mode()
    def run() -> torch.Tensor:
        y = x
        for _ in range(DEPTH):
            y = torch.prelu(F.conv2d(y, weight, bias, 1, 1), slope)
        return y

    return run


def in_torch_int8() -> Run:
    """torch's convolution of 8-bit integers, which compiled graphs use. It has no PReLU: bf16 in between."""
    pairs, factor = [1, 1], torch.from_numpy(FACTOR)
    zeros, bias = torch.zeros(CHANNELS, dtype=torch.int64), torch.from_numpy(BIAS)
    packed = torch.ops.onednn.qconv_prepack(
        torch.from_numpy(WHOLE), factor, STEP, ZERO, pairs, pairs, pairs, 1, list(IMAGE.shape)
    )
    slope = torch.from_numpy(SLOPE).bfloat16()
    x = torch.clamp(torch.round(torch.from_numpy(IMAGE) / STEP) + ZERO, 0, 255).to(torch.uint8)
    x = x.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        y = x
        for _ in range(DEPTH):
            made = torch.ops.onednn.qconv2d_pointwise(
                y,
                STEP,
                ZERO,
                packed,
                factor,
                zeros,
                bias,
                pairs,
                pairs,
                pairs,
                1,
                1.0,
                0,
                torch.bfloat16,
                "none",
                [],
                "",
            )
            y = torch.clamp(torch.round(torch.prelu(made, slope).float() * (1 / STEP) + ZERO), 0, 255).to(torch.uint8)
        return y

    return run


def in_openvino(*, int8: bool) -> Run:
    """One model of all convolutions; what is not int8 is float32."""
    openvino = import_openvino()
    from openvino import opset13 as ops

    parameter = ops.parameter(list(IMAGE.shape), np.float32)
    y = parameter
    low, high = (np.float32(STEP * (whole - ZERO)) for whole in (0, 255))
    for _ in range(DEPTH):
        filters = ops.constant(WEIGHT)
        if int8:
            y = ops.fake_quantize(y, low, high, low, high, 256)
            filters = ops.multiply(ops.convert(ops.constant(WHOLE), np.float32), FACTOR[:, None, None, None])
        y = ops.prelu(
            ops.add(ops.convolution(y, filters, *([1, 1] for _ in range(4))), BIAS[None, :, None, None]), SLOPE
        )
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(openvino.Model([y], [parameter]), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(IMAGE))
    return request.infer


def in_onnx_runtime() -> Run:
    """A model with pairs of QuantizeLinear and DequantizeLinear, as its own tools make them."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    values: dict[str, NDArray[np.generic]] = {
        "step": np.float32(STEP), "zero": np.uint8(ZERO), "whole": WHOLE, "factor": FACTOR,
        "zeros": np.zeros(CHANNELS, np.int8), "bias": BIAS, "slope": SLOPE[:, None, None],
    }  # fmt: skip
    nodes = [helper.make_node("DequantizeLinear", ["whole", "factor", "zeros"], ["weight"], axis=0)]
    name = "x0"
    for i in range(DEPTH):
        nodes += [
            helper.make_node("QuantizeLinear", [name, "step", "zero"], [f"q{i}"]),
            helper.make_node("DequantizeLinear", [f"q{i}", "step", "zero"], [f"d{i}"]),
            helper.make_node("Conv", [f"d{i}", "weight", "bias"], [f"c{i}"], pads=[1, 1, 1, 1]),
            helper.make_node("PRelu", [f"c{i}", "slope"], [name := f"x{i + 1}"]),
        ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(IMAGE.shape)) for n in ("x0", name)]
    constants = [numpy_helper.from_array(np.asarray(array), key) for key, array in values.items()]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x0": IMAGE})


def ways() -> Iterator[tuple[str, Callable[[], Run]]]:
    """Every way that this machine has, by name."""
    yield "torch, float32", lambda: in_torch(torch.float32)
    yield "torch, bf16", lambda: in_torch(torch.bfloat16)
    yield "torch, int8", in_torch_int8
    if find_spec("openvino"):
        yield "OpenVINO, float32", lambda: in_openvino(int8=False)
        yield "OpenVINO, int8", lambda: in_openvino(int8=True)
    if find_spec("onnxruntime") and find_spec("onnx"):
        yield "ONNX Runtime, int8", in_onnx_runtime


def compare(repeats: int) -> None:
    """A line for each way: the time until the first result, the best time after it, and the ratio to float32."""
    operations, first_way = 2 * DEPTH * CHANNELS**2 * 9 * SIDE**2, None
    print(
        f"{DEPTH} convolutions 3×3 of {CHANNELS} channels with PReLU, {SIDE}×{SIDE}, {torch.get_num_threads()} threads"
    )
    print(f"  {'':<20}{'first':>8}{'seconds':>9}{'G op/s':>8}{'ratio':>7}")
    for name, make in ways():
        start = time.perf_counter()
        run = make()
        run()
        first, times = time.perf_counter() - start, []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        best = min(times)
        first_way = first_way or best
        print(
            f"  {name:<20}{first:>8.2f}{best:>9.4f}{operations / best / 1e9:>8.0f}{first_way / best:>7.2f}", flush=True
        )


def main() -> None:
    """Runs what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    print(machine.device("cpu"), "torch", torch.__version__)
    compare(args.repeats)


if __name__ == "__main__":
    main()
