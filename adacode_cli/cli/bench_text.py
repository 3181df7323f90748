"""What `adacode bench` shows: lines for a person, one object for a program (documented in docs/json.md)."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from adacode_cli.cli import machine
from adacode_cli.cli.machine import Facts
from adacode_cli.cli.streams import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adacode_cli.benchmark.calm import Load
    from adacode_cli.benchmark.profile import Profile
    from adacode_cli.benchmark.speed import Pass
    from adacode_cli.benchmark.stage_times import Sharing
    from adacode_cli.benchmark.task_speed import TaskSpeed
    from adacode_cli.benchmark.trace import Cost, DeviceUse, OperatorUse
    from adacode_cli.benchmark.whole import BenchSettings, Measurements

_ARCHIVE = 10_000
# In a shorter run the start of the decoding processes takes too large a part for an estimate.
_SHORT_S = 5.0


def json_object(settings: BenchSettings, found: Measurements) -> dict[str, object]:
    """All figures, unrounded; keys and meanings as docs/json.md has them."""
    return {
        "version": 1,
        "machine": machine.device(found.device),
        "programs": _programs(),
        "task": "sr",
        "scale": settings.scale,
        "weights": settings.weights,
        "side": settings.side,
        "ceilings": [asdict(one) for one in found.ceilings],
        "yardstick_seconds": found.yardstick_seconds,
        "passes": [asdict(one) | {"psnr_db": _finite(one.psnr_db)} for one in found.passes],
        "growth": [asdict(one) for one in found.growth],
        "files": found.files and asdict(found.files),
        "profile": found.profile and profile_object(found.profile),
        "tasks": [asdict(one) for one in found.tasks],
        "load": found.load and asdict(found.load),
        "final": found.is_final,
    }


def lines(settings: BenchSettings, found: Measurements) -> Iterator[str]:
    """What was measured on what, the speed of each task, and, if it was measured, how fast the network is otherwise."""
    device, programs = machine.device(found.device), _programs()
    about = f", {device['cores']} cores, {device['threads']} threads, {device['instructions']}"
    yield f"{device['device']}: {device['name']}{about if 'cores' in device else ''}"
    yield ", ".join(f"{name} {version}" for name, version in programs.items())
    if found.tasks:
        yield ""
        yield f"{printable(settings.weights)}, for a megapixel of results"
        yield from _task_lines(found.tasks)
    if found.yardstick_seconds is not None:
        yield from _full_lines(settings, found, found.yardstick_seconds)
    if found.load:
        yield ""
        yield from load_lines(found.load, found.largest_spread)


def _full_lines(settings: BenchSettings, found: Measurements, yardstick_seconds: float) -> Iterator[str]:
    """The passes of the network, and what they mean for files."""
    yield ""
    for most in found.ceilings:
        rates = f"matrices {most.matrices:.0f}, convolutions {most.convolutions:.0f}"
        yield f"GFLOP/s at most in {most.precision}: {rates}"
    yield ""
    large = settings.side * settings.scale
    yield f"{printable(settings.weights)}, {settings.side}×{settings.side} → {large}×{large}"
    yield f"  {'':<10}{'seconds':>9}{'ratio':>8}{'GFLOP/s':>9}{'PSNR':>8}"
    yield from (_pass(one) for one in found.passes)
    yield f"  {'yardstick':<10}{yardstick_seconds:>9.3f}"
    if found.growth:
        yield ""
        yield f"  {'output':<10}{'seconds':>9}{'a MP':>8}{'to 1 MP':>9}"
    for one in found.growth:
        size = f"{one.megapixels} MP"
        yield f"  {size:<10}{one.seconds:>9.1f}{one.seconds_per_megapixel:>8.3f}{one.to_first:>9.2f}"
    if found.files:
        yield ""
        yield from _files(settings, found)
    if found.profile:
        yield ""
        yield from profile_lines(found.profile)


def _task_lines(tasks: Sequence[TaskSpeed]) -> Iterator[str]:
    yield f"  {'':<12}{'':<6}{'seconds':>9}{'MP/s':>8}{'ratio':>8}{'spread':>9}"
    before = ""
    for one in tasks:
        name = f"{one.task} ×{one.scale}" if one.scale > 1 else one.task
        times = f"{one.seconds_per_megapixel:>9.3g}{one.megapixels_per_second:>8.3g}"
        precision = f"{one.precision}{'*' if one.is_auto else ''}"
        yield f"  {name if name != before else '':<12}{precision:<6}{times}{one.ratio:>8.2f}{one.spread:>9.0%}"
        before = name
    yield "  * what --precision auto takes"
    fastest = {one.task: max((each for each in tasks if each.task == one.task), key=_ratio) for one in tasks}
    yield from textwrap.wrap(
        f"fastest: {', '.join(f'{each.precision} for {task}' for task, each in fastest.items())}", _WIDTH
    )


def _ratio(one: TaskSpeed) -> float:
    return one.ratio


def load_lines(load: Load, spread: float) -> Iterator[str]:
    """How busy the machine was, and whether the figures are final."""
    from adacode_cli.benchmark.calm import MOST_SPREAD

    parts = [] if load.at_start is None else [f"load {load.at_start:.1f} on {load.cores} cores before"]
    if load.waited_share is not None:
        parts.append(f"threads waited {load.waited_share:.0%} of their time for a core")
    yield from (*parts, f"ratios spread by up to {spread:.0%}")
    causes = ["other programs used the processor"] if load.is_disturbing() else []
    if spread > MOST_SPREAD:
        causes.append("ratios differ from round to round")
    if causes:
        text = f"NOT FINAL: {', and '.join(causes)}. Close other programs and measure again."
        yield from textwrap.wrap(text, _WIDTH, break_on_hyphens=False)
    else:
        yield "final: nothing else disturbed the measurement"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _pass(one: Pass) -> str:
    psnr = "" if one.psnr_db is None else f"{one.psnr_db:>8.1f}"
    return f"  {one.name:<10}{one.seconds:>9.3f}{one.ratio:>8.2f}{one.gflop_per_s:>9.0f}{psnr}"


def _files(settings: BenchSettings, found: Measurements) -> Iterator[str]:
    files = found.files
    assert files is not None
    yield (
        f"{files.count} JPEGs of {files.megapixels:.2g} MP: engine {files.engine_seconds:.1f} s, "
        f"whole run {files.run_seconds:.1f} s, {files.ratio:.2f} times the engine"
    )
    if files.run_seconds > _SHORT_S:
        hours = files.run_seconds / (files.count * files.megapixels) * _ARCHIVE / 3600
        yield f"at this speed {_ARCHIVE} photographs of 1 MP, ×{settings.scale}, take {hours:.1f} hours"


def _programs() -> Facts:
    versions = machine.versions()
    return {name: versions[name] for name in ("adacode", "python", "torch")}


_STAGES = {"read": "reading, decoding", "infer": "network", "write": "encoding, writing"}
_WIDTH, _NAME_WIDTH = 60, 29
_OPERATOR = re.compile(r"\w+::\w+(\.\w+)?")
# A kernel's name as C++ has it is often hundreds of letters long.
_ARGUMENTS, _NAMESPACES = re.compile(r"\([^()]*\)"), re.compile(r"\b(\w+::)+")
_LAMBDAS = re.compile(r"(::)?(\{lambda[^}]*\}|\boperator\b)( const)?")


def profile_object(profile: Profile) -> dict[str, object]:
    """All figures, unrounded; keys and meanings as docs/json.md has them."""
    return {
        "count": profile.count,
        "megapixels": profile.megapixels,
        "seconds": profile.seconds,
        "first_seconds": profile.first.seconds,
        "later_seconds": profile.first.later_seconds,
        **asdict(profile.sharing),
        "device": profile.device and asdict(profile.device),
        "operators": profile.operators and asdict(profile.operators),
        "note": profile.note,
    }


def profile_lines(profile: Profile) -> Iterator[str]:
    """The run, its stages, and the device or the operators; shares in percent of the run, or of what a title names."""
    yield f"how such a run spends its time: {profile.seconds:.1f} s with the profiler"
    yield f"  first image: {profile.first.seconds:.3f} s, later: {profile.first.later_seconds:.3f} s each"
    yield from _stages(profile.sharing)
    if profile.device:
        yield from _device(profile.device)
    if profile.operators:
        yield from _operators(profile.operators)
    if profile.note:
        yield from textwrap.wrap(f"note: {profile.note}", _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _stages(sharing: Sharing) -> Iterator[str]:
    yield f"  {'stage':<20}{'seconds':>10}{'of the run':>12}{'beside others':>15}"
    for one in sharing.stages:
        yield f"  {_STAGES[one.name]:<20}{one.seconds:>10.3f}{_percent(one.share):>12}{_percent(one.beside_share):>15}"
    yield f"  {'two or more at once':<30}{_percent(sharing.parallel_share):>12}"
    yield f"  {'none':<30}{_percent(sharing.none_share):>12}"


def _device(use: DeviceUse) -> Iterator[str]:
    yield ""
    yield f"  {'device':<30}{'of the run':>12}"
    rows = {
        "kernels": use.kernels_share,
        "copies": use.copies_share,
        "  to the device": use.to_device_share,
        "  from the device": use.from_device_share,
        "  hidden behind kernels": use.hidden_share,
        "idle": use.idle_share,
        "host waits for the device": use.waiting_share,
    }
    for name, share in rows.items():
        yield f"  {name:<30}{_percent(share):>12}"
    counts = f"{use.kernels_per_file:.0f} kernels, {use.launches_per_file:.0f} launches"
    yield f"  each image: {counts}, {use.waits_per_file:.1f} waits of the host"
    yield ""
    yield from _costs("kernels", use.kernels, use.rest_share)


def _operators(use: OperatorUse) -> Iterator[str]:
    yield ""
    yield f"  {'thread of the network':<30}{'of the run':>12}"
    yield f"  {'operators':<30}{_percent(use.operators_share):>12}"
    yield f"  {'outside operators':<30}{_percent(use.outside_share):>12}"
    yield f"  {'waiting':<30}{_percent(use.waiting_share):>12}"
    yield ""
    yield from _costs("operators", use.operators, use.rest_share)


def _costs(kinds: str, costs: Sequence[Cost], rest_share: float) -> Iterator[str]:
    yield f"  {f'{kinds}, by time':<{_NAME_WIDTH}}{'calls':>7}{'seconds':>9}{'share':>13}"
    for one in costs:
        yield f"  {short(one.name):<{_NAME_WIDTH}}{one.calls:>7}{one.seconds:>9.3f}{_percent(one.share):>13}"
    yield f"  {'all others':<{_NAME_WIDTH + 16}}{_percent(rest_share):>13}"


def short(name: str, most: int = _NAME_WIDTH) -> str:
    """An operator's name, or a kernel's without arguments and namespaces; of a long name the middle is left out."""
    if not _OPERATOR.fullmatch(name):
        name = name.removeprefix("void ").replace("(anonymous namespace)::", "")
        inner = None
        while inner != name:
            inner, name = name, _ARGUMENTS.sub("", name)
        name = _NAMESPACES.sub("", _LAMBDAS.sub("", name)).strip()
    head = (most - 1) * 2 // 3
    return name if len(name) <= most else f"{name[:head]}…{name[head + 1 - most :]}"


def _percent(share: float) -> str:
    return f"{share:.1%}"
