"""Alternatives for the engine on a GPU, compared with what it does now, each as a ratio within one run.

python benchmarks/gpu_choices.py                    all groups, in bf16, on cuda
python benchmarks/gpu_choices.py --only trunk       one group: activation, normalisation, settings, trunk, tiles, lanes
python benchmarks/gpu_choices.py --device cpu --tiny --precision fp32    a rehearsal

A ratio above 1 is faster than the first line of its group. An alternative that this machine or this torch does not have
is named with the reason. `docs/gpu.md` documents the choices and their figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.benchmark.image import synthetic_image
from adacode_cli.benchmark.timing import seconds, steady_seconds
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.engine.device import PRECISIONS, choose_device, exact_arithmetic, rounded
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.plan import RunOptions, images_together
from adacode_cli.engine.runner import Runner
from adacode_cli.model.blocks import SUMMED_AT_ONCE_GPU, GroupNorm, Sums, _sums_in_pieces, scale_and_shift
from adacode_cli.model.network import AdaCode

_BIAS_PRELU = """
template <typename T> T bias_prelu(T x, T bias, T slope) {
    T y = x + bias;
    return y >= T(0) ? y : y * slope;
}
"""
_SCALE_SILU = """
template <typename T> T scale_silu(T x, T factor, T shift) {
    float y = float(x) * float(factor) + float(shift);
    return T(y / (1.0f + expf(-y)));
}
"""
# Calls between two waits for the device, so that the wait itself has little effect.
_CALLS = 5
Make = Callable[[], Callable[[], object]]
"""Prepares an alternative; the returned function is timed. It raises if the alternative is unavailable."""


@dataclass(frozen=True)
class Setting:
    """Where and how large: `sides` of maps at 64 and at 256 channels, and of images."""

    device: torch.device
    dtype: torch.dtype
    repeats: int
    map_sides: tuple[int, int]
    image_sides: tuple[int, ...]

    def map(self, channels: int, side: int) -> Tensor:
        x = torch.randn(1, channels, side, side, device=self.device, dtype=self.dtype)
        return x.contiguous(memory_format=torch.channels_last)


def compare(title: str, setting: Setting, alternatives: dict[str, Make]) -> None:
    """Prints a group: seconds and ratio of each alternative to the first one."""
    print(f"\n{title}", flush=True)
    first = None
    for name, make in alternatives.items():
        try:
            with torch.inference_mode(), exact_arithmetic(setting.device):
                run = make()
                took = seconds(lambda run=run: [run() for _ in range(_CALLS)], setting.repeats, setting.device)  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 (the others are still useful)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(f"  {name:<34} unavailable: {reason[:90]}", flush=True)
            continue
        first = first or took
        print(f"  {name:<34}{took / _CALLS * 1e3:10.3f} ms  ratio {first / took:5.2f}", flush=True)


def activation(setting: Setting) -> None:
    """A convolution, its bias and PReLU, as in the trunk."""
    for channels, side in zip((64, 256), setting.map_sides, strict=True):
        x = setting.map(channels, side)
        conv = nn.Conv2d(channels, channels, 3, padding=1, device=setting.device, dtype=setting.dtype)
        conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        prelu = nn.PReLU(channels, device=setting.device, dtype=setting.dtype)
        bias, slope = (p.detach()[None, :, None, None] for p in (conv.bias, prelu.weight))  # type: ignore[union-attr]
        bare = partial(F.conv2d, x, conv.weight, None, 1, 1)

        def both(y: Tensor, bias: Tensor = bias, slope: Tensor = slope) -> Tensor:
            y = y + bias
            return torch.where(y >= 0, y, y * slope)

        def jiterated(bare: Callable[[], Tensor] = bare, bias: Tensor = bias, slope: Tensor = slope) -> Tensor:
            made: Tensor = _jiterated(_BIAS_PRELU)(bare(), bias, slope)
            return made

        def whole(conv: nn.Module = conv, prelu: nn.Module = prelu, x: Tensor = x) -> Callable[[], object]:
            compiled = torch.compile(nn.Sequential(conv, prelu))
            return lambda: compiled(x)

        def after(both: Callable[[Tensor], Tensor] = both, bare: Callable[[], Tensor] = bare) -> Callable[[], object]:
            compiled = torch.compile(both)
            return lambda: compiled(bare())

        compare(
            f"convolution, bias, PReLU: {channels} channels, {side}×{side}",
            setting,
            {
                "as it is": lambda conv=conv, prelu=prelu, x=x: lambda: prelu(conv(x)),  # type: ignore[misc]
                "convolution alone": lambda bare=bare: bare,  # type: ignore[misc]
                "bias and PReLU compiled": after,
                "bias and PReLU by jiterator": lambda jiterated=jiterated: jiterated,  # type: ignore[misc]
                "all compiled": whole,
                "ReLU in place of PReLU": lambda conv=conv, x=x: lambda: conv(x).relu_(),  # type: ignore[misc]
            },
        )


def normalisation(setting: Setting) -> None:
    """Sums, then scale, shift and SiLU, as in the published networks."""
    for channels, side in zip((64, 256), setting.map_sides, strict=True):
        x = setting.map(channels, side)
        norm = GroupNorm(32, channels, device=setting.device)
        factor, shift = norm.factors(Sums.of(x))

        def written_out(x: Tensor = x, factor: Tensor = factor, shift: Tensor = shift) -> Tensor:
            return F.silu(x.float() * factor + shift).to(x.dtype)

        def compiled(run: Callable[[], Tensor] = written_out) -> Callable[[], object]:
            return torch.compile(run)

        def jiterated(x: Tensor = x, factor: Tensor = factor, shift: Tensor = shift) -> object:
            return _jiterated(_SCALE_SILU)(x, factor.to(x.dtype), shift.to(x.dtype))

        compare(
            f"scale, shift, SiLU: {channels} channels, {side}×{side}",
            setting,
            {
                "as it is": lambda x=x, factor=factor, shift=shift: (
                    lambda: F.silu(  # type: ignore[misc]
                        scale_and_shift(x, factor, shift), inplace=True
                    )
                ),
                "written out": lambda run=written_out: run,  # type: ignore[misc]
                "compiled": compiled,
                "by jiterator": lambda run=jiterated: run,  # type: ignore[misc]
            },
        )
        compare(
            f"sums for normalisation: {channels} channels, {side}×{side}",
            setting,
            {
                "as it is": lambda x=x: lambda: Sums.of(x),  # type: ignore[misc]
                "in float64, by pieces": lambda x=x: lambda: _sums_in_pieces(x, SUMMED_AT_ONCE_GPU),  # type: ignore[misc]
                "in float32": lambda x=x: lambda: torch.var_mean(x.float(), (2, 3)),  # type: ignore[misc]
            },
        )


def settings(setting: Setting) -> None:
    """Free choices of the convolution library, and the order of channels."""
    channels, side = 64, setting.map_sides[0]
    x = setting.map(channels, side)
    conv = nn.Conv2d(channels, channels, 3, padding=1, device=setting.device, dtype=setting.dtype)
    conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    first = nn.Conv2d(channels, channels, 3, padding=1, device=setting.device, dtype=setting.dtype)
    weight = torch.randn(channels, channels, 4, 4, device=setting.device, dtype=setting.dtype)
    enlarge = partial(F.conv_transpose2d, x, weight, None, 2, 1)
    compare(
        f"one convolution of 64 channels, {side}×{side}",
        setting,
        {
            "as it is": lambda: lambda: conv(x),
            "any kernel, not the same bits": lambda: _free(lambda: conv(x), benchmark=False),
            "the fastest kernel measured": lambda: _free(lambda: conv(x), benchmark=True),
            "channels first": lambda: partial(first, x.contiguous()),
        },
    )
    compare(
        f"one enlarging convolution of 64 channels, {side}×{side}",
        setting,
        {"as it is": lambda: enlarge, "any kernel, not the same bits": lambda: _free(enlarge, benchmark=False)},
    )


def trunk(setting: Setting) -> None:
    """The trunk of sr ×4 as modules, as a CUDA graph and compiled, by the side of its input."""
    whole = rounded(_network().to(setting.device), setting.dtype)
    assert whole.trunk is not None, "the bundled sr ×4 has a trunk"
    body = whole.trunk.body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for side in setting.image_sides:
        x = setting.map(next(iter(body.parameters())).shape[1], side)
        compare(
            f"the trunk of sr ×4, {side}×{side}",
            setting,
            {
                "as it is": lambda x=x: lambda: body(x),  # type: ignore[misc]
                "as a CUDA graph": lambda x=x: _graph(lambda: body(x)),  # type: ignore[misc]
                "compiled": lambda x=x: partial(torch.compile(body), x),  # type: ignore[misc]
            },
        )


def tiles(setting: Setting) -> None:
    """Sides of the decoder's tiles, for the largest image."""
    side = setting.image_sides[-1]
    image = synthetic_image(side, side)
    choices: tuple[str | int, ...] = ("auto", 512, 1024, 2048, 4096, "none")
    alternatives: dict[str, Make] = {}
    for tile in choices:
        alternatives[f"--tile {tile}"] = lambda tile=tile: partial(_runner(setting, tile).restore, image)  # type: ignore[misc]
    compare(f"the engine, sr ×4 of {side}×{side}, one image after the other", setting, alternatives)


def lanes(setting: Setting) -> None:
    """Threads that restore at once, for small and large images."""
    for side in setting.image_sides:
        image, runner = synthetic_image(side, side), _runner(setting, "auto")
        batch = images_together(Grid.of(runner.config, side, side), setting.device, normalise=False)
        print(f"\nthe engine, sr ×4 of {side}×{side}, at most {batch} images a batch", flush=True)
        first = None
        for count in (1, 2, 4, 8, 16):
            took = steady_seconds(partial(runner.restore, image), setting.repeats, setting.device, count)
            first = first or took
            rate = (4 * side) ** 2 / 1e6 / took
            print(
                f"  {count:>2} threads {took * 1e3:10.3f} ms  ratio {first / took:5.2f}  {rate:7.1f} MP/s", flush=True
            )


GROUPS = {
    "activation": activation,
    "normalisation": normalisation,
    "settings": settings,
    "trunk": trunk,
    "tiles": tiles,
    "lanes": lanes,
}


def _network() -> AdaCode:
    return WeightsSource("compact", None).network("sr", 4)[0]


def _runner(setting: Setting, tile: str | int) -> Runner:
    precision = next(name for name, dtype in PRECISIONS.items() if dtype == setting.dtype)
    return Runner(_network(), setting.device, RunOptions(precision, tile))


def _jiterated(code: str) -> Callable[..., Tensor]:
    made: Callable[..., Tensor] = torch.cuda.jiterator._create_jit_fn(code)
    return made


def _graph(run: Callable[[], object]) -> Callable[[], object]:
    """The same work as a CUDA graph, captured after three runs on a separate stream."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _free(run: Callable[[], object], *, benchmark: bool) -> Callable[[], object]:
    def freely() -> object:
        with _cudnn(benchmark=benchmark):
            return run()

    return freely


@contextmanager
def _cudnn(*, benchmark: bool) -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = False, benchmark
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def main() -> None:
    """Runs the chosen groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="bf16")
    parser.add_argument("--only", choices=tuple(GROUPS), action="append", help="may be given more than once")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="sizes for a rehearsal on a CPU")
    given = parser.parse_args()
    sizes = ((16, 8), (8,)) if given.tiny else ((1024, 256), (64, 256, 1000))
    setting = Setting(choose_device(given.device), PRECISIONS[given.precision], given.repeats, *sizes)
    name = torch.cuda.get_device_name(setting.device) if setting.device.type == "cuda" else setting.device.type
    print(f"{name}, torch {torch.__version__}, {given.precision}")
    for group in given.only or GROUPS:
        GROUPS[group](setting)


if __name__ == "__main__":
    main()
