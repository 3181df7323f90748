"""What `adacode bench --profile` tells of where the time of a run goes: lines, and a part of the object of JSON."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adacode_cli.benchmark.profile import Profile
    from adacode_cli.benchmark.stage_times import Sharing
    from adacode_cli.benchmark.trace import Cost, DeviceUse, OperatorUse

_STAGES = {"read": "reading, decoding", "infer": "network", "write": "encoding, writing"}
_WIDTH, _NAME_WIDTH = 60, 29
_OPERATOR = re.compile(r"\w+::\w+(\.\w+)?")
# A kernel's name as C++ has it is often hundreds of letters long.
_ARGUMENTS, _NAMESPACES = re.compile(r"\([^()]*\)"), re.compile(r"\b(\w+::)+")
_LAMBDAS = re.compile(r"(::)?(\{lambda[^}]*\}|\boperator\b)( const)?")


def json_object(profile: Profile) -> dict[str, object]:
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


def lines(profile: Profile) -> Iterator[str]:
    """The run, its stages, and the device or the operators; shares in percent of the run, or of what a title names."""
    yield f"where the time of such a run goes: {profile.seconds:.1f} s with the profiler"
    yield f"  first picture: {profile.first.seconds:.3f} s, later: {profile.first.later_seconds:.3f} s each"
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
    yield f"  each picture: {counts}, {use.waits_per_file:.1f} waits of the host"
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
    """An operator's name, or a kernel's without arguments and namespaces; the middle left out of what is too long."""
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
