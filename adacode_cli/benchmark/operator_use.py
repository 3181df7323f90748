"""How the thread that runs a network on a CPU spends the time of a run: torch's operators, other work, waiting."""

from __future__ import annotations

from dataclasses import dataclass

from adacode_cli.benchmark.intervals import common, length
from adacode_cli.benchmark.stage_times import INFER
from adacode_cli.benchmark.trace import Cost, Trace, nested, ranked


@dataclass(frozen=True)
class OperatorUse:
    """The first three are shares of the seconds of the run and are 1 together.

    Outside operators, in the network's stage, are Python, NumPy and OpenCV. Waiting is all outside that stage.
    `operators` are the ten that take most time by themselves, without the operators that they call, with shares of the
    time of all operators; `rest_share` is that of the others.
    """

    operators_share: float
    outside_share: float
    waiting_share: float
    operators: tuple[Cost, ...]
    rest_share: float


def operator_use(trace: Trace) -> OperatorUse | None:
    """What the trace shows of the thread that did the work; None where the network did not run in it."""
    stage = [one.interval for one in trace.of("user_annotation") if one.name == INFER and one.thread == trace.thread]
    if not stage:
        return None
    operators = [event for event in trace.of("cpu_op") if event.thread == trace.thread]
    in_stage = length(stage)
    computing = length(common(stage, (event.interval for event in operators)))
    most, rest_share = ranked((event.name, own) for event, _, own in nested(operators))
    return OperatorUse(
        operators_share=computing / trace.seconds,
        outside_share=(in_stage - computing) / trace.seconds,
        waiting_share=(trace.seconds - in_stage) / trace.seconds,
        operators=most,
        rest_share=rest_share,
    )
