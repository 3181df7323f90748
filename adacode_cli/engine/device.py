"""Which device runs the network, and in which precision: the requested ones, or the best available ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from adacode_cli.errors import DeviceError, UsageError
from adacode_cli.model.blocks import GroupNorm
from adacode_cli.model.codebook import Codebook
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import VISIBLE_DB

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Convolutions of 8-bit integers, and everything else in float32 (`engine.int8`). The dtype stands for the precision:
# no tensor of a run has it.
INT8 = torch.int8
NAMES = ("auto", *PRECISIONS, "int8")
# Names that torch has for instructions that multiply and add 8-bit integers. Those of Arm were not tested.
_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8")
# Limits on the instructions of oneDNN, and parts of the names of those with products of 8-bit integers.
_LIMITS, _WITHIN = (
    ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    ("ALL", "DEFAULT", "VNNI", "BF16", "FP16", "AMX", "AVX10"),
)
_OPENVINO = (2026, 4)
# Linux names the maker in the second line of the first processor.
_CPUINFO, _CPUINFO_START = Path("/proc/cpuinfo"), 1024
_DEVICE = re.compile(r"cpu|mps|cuda(:[0-9]+)?")
_LANES = 16


def choose_device(name: str | torch.device) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`, or torch's own value for one → a device that exists.

    Raises DeviceError; UsageError for a bad name.
    """
    name = str(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name == "all" or "," in name:
        hint = "Only sr, inpaint and reconstruct use several devices. Choose auto, cpu, cuda, cuda:0, cuda:1, … or mps."
        raise UsageError(f"{name!r} is not one device", hint=hint)
    if not _DEVICE.fullmatch(name):
        raise UsageError(f"unknown device {name!r}", hint="Choose auto, cpu, cuda, cuda:0, cuda:1, … or mps.")
    kind, _, index = name.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError("no CUDA device is available", hint="Use --device cpu, or install a CUDA build of torch.")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise DeviceError(f"there is no {name}", hint=f"This machine has {torch.cuda.device_count()} CUDA device(s).")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("no MPS device is available", hint="Use --device cpu.")
    return torch.device(name)


def every_device() -> list[str]:
    """The names of all CUDA devices of this machine; without one, of the one device that `auto` chooses."""
    if torch.cuda.is_available():
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [str(choose_device("auto"))]


def lanes_of(device: torch.device) -> int:
    """How many threads keep a device busy: on a GPU others queue images while the first one waits, and their small
    images run as one batch.
    """
    return _LANES if device.type == "cuda" else 1


def computes_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 faster than float32; emulated bf16 is slower and less exact."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Intel's processors need AMX for that, which a hypervisor may hide: on an Emerald Rapids, the AVX-512 instructions
    # for bf16 take 1.6 times as long as those for float32, on an EPYC half as long (docs/log.md).
    return _has("_is_amx_tile_supported") or (_has("_is_avx512_bf16_supported") and not _is_of_intel())


def _has(name: str) -> bool:
    """What a function of torch.cpu says of the processor. They are not public: one that a later torch lacks says no."""
    ask = getattr(torch.cpu, name, None)
    return ask is not None and bool(ask())


def _is_of_intel() -> bool:
    """Whether Linux or Windows says that the processor is one of Intel's."""
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as file:
            return "GenuineIntel" in file.read(_CPUINFO_START)
    except OSError:
        return "GenuineIntel" in os.environ.get("PROCESSOR_IDENTIFIER", "")


@cache
def has_dot_products() -> bool:
    """Whether products of 8-bit integers have instructions of their own here; False if torch does not report it.

    A limit that oneDNN obeys counts too: without such instructions, weights of 8 bits would overflow.
    """
    limits = [os.environ[name].upper() for name in _LIMITS if os.environ.get(name)]
    if any(not any(part in limit for part in _WITHIN) for limit in limits):
        return False
    ask = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest supported torch
    found = ask() if ask is not None else {}
    return any(bool(found.get(name)) for name in _DOT_PRODUCTS)


@cache
def has_openvino() -> bool:
    """Whether OpenVINO, which computes in 8 bits, is installed in a version that was tested. It is not imported."""
    try:
        found = metadata.version("openvino").split(".")
        return tuple(int(part) for part in found[:2]) >= _OPENVINO
    except (metadata.PackageNotFoundError, ValueError):
        return False


def unfolds(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a convolution first copies the neighbourhood of every position, k² times its input.

    Torch's own CPU kernels do this; they are used where oneDNN has no kernels for this processor.
    """
    if device.type != "cpu":
        return False
    if map_dtype(dtype) == torch.float32:
        return not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    name = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}[dtype]
    # Not public: if a later torch lacks them, more memory is planned, and tiles are smaller.
    ask = getattr(torch.ops.mkldnn, name, None)
    return ask is None or not ask()


def check_precision(name: str) -> None:
    """Raises UsageError for the name of a precision that does not exist on any device."""
    if name not in NAMES:
        raise UsageError(f"unknown precision {name!r}", hint=f"Choose {', '.join(NAMES[:-1])} or {NAMES[-1]}.")


def choose_precision(name: str, device: torch.device, *, deep: bool, int8_psnr_db: float | None = None) -> torch.dtype:
    """`auto`, `fp32`, `bf16`, `fp16`, `int8` → a dtype that the device computes. Raises DeviceError, UsageError.

    `auto` is bf16 where that is faster (`computes_bf16`) and the image has 8 bits per channel. Otherwise it is int8 for
    such an image where the processor and the installation are made for it (`is_made_for_int8`) and the weights state
    that images are near to those in float32, in the mean. In all other cases it is float32. `deep`: the image has more
    bits, and bf16 or int8 would lose the last ones; `int8` is float32 for it. int8_psnr_db: as the weights' network has
    it.
    """
    check_precision(name)
    if name == "auto":
        if deep:
            return torch.float32
        if computes_bf16(device):
            return torch.bfloat16
        is_near = int8_psnr_db is not None and int8_psnr_db >= VISIBLE_DB
        return INT8 if is_near and is_made_for_int8(device) else torch.float32
    if name == "bf16" and device.type == "cuda" and not computes_bf16(device):
        raise DeviceError("this CUDA device does not compute bf16", hint="Use --precision fp16 or fp32.")
    if name == "int8":
        _require_int8(device)
        return torch.float32 if deep else INT8
    return PRECISIONS[name]


def is_made_for_int8(device: torch.device) -> bool:
    """Whether int8 is faster than float32: on a CPU with products of 8-bit integers, with OpenVINO."""
    return device.type == "cpu" and has_dot_products() and has_openvino()


def name_of(precision: torch.dtype) -> str:
    """`fp32`, `bf16`, `fp16` or `int8`, for what `choose_precision` returns."""
    return next(name for name, dtype in (*PRECISIONS.items(), ("int8", INT8)) if dtype == precision)


def _require_int8(device: torch.device) -> None:
    if device.type != "cpu":
        hint = "Use --device cpu, or another precision."
        raise DeviceError(f"int8 runs on a CPU only, not on {device}", hint=hint)
    if not has_openvino():
        hint = "Install it: pip install 'adacode-cli[int8]'; or use another precision."
        raise DeviceError("int8 needs OpenVINO 2026.4 or newer, which is not installed", hint=hint)


def map_dtype(precision: torch.dtype) -> torch.dtype:
    """The dtype of a run's maps."""
    return torch.float32 if precision == INT8 else precision


def rounded(network: AdaCode, dtype: torch.dtype) -> AdaCode:
    """A copy that computes in `dtype`; its input and its image stay float32.

    Its weights are rounded once. Autocast would round every weight again at every call, for every tile, and convert
    each LayerNorm to float32 and back: a fifth of the time of a published network on a CPU.
    Codebooks and GroupNorm keep float32 weights: codes are searched in float32, and the statistics of a normalisation
    are computed in float64 and applied in float32.
    """
    copy = deepcopy(network).to(dtype)
    for ours, theirs in zip(copy.modules(), network.modules(), strict=True):
        if isinstance(ours, Codebook | GroupNorm):
            ours.to(torch.float32).load_state_dict(theirs.state_dict())
    return copy


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """On a CUDA device, float32 that is not rounded to TF32, and convolutions that give the same bits every time.

    Set for the whole process, and put back afterwards.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark
    # A benchmark in each process could choose other kernels in another process, and so other last bits.
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, False, True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
