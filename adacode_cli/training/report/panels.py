"""Which quantities of a run are drawn together: sections of stages, and in each section panels of lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from adacode_cli.training.report.summary import MIN_USED
from adacode_cli.training.run_names import (
    BASIS,
    FUSED,
    IMAGES_PER_S,
    MEMORY_MB,
    NUM_VALIDATED,
    SECONDS,
    TOTAL,
    WAITING,
    Group,
    group_of,
)
from adacode_cli.training.run_record import RunRecord, Series, StageRecord

_MIN_LOG_RATIO = 5.0
_VALIDATION_TITLES = {"psnr": "Validation PSNR (dB)", "ssim": "Validation SSIM", "lpips": "Validation LPIPS"}
_SPEED_TITLES = {
    IMAGES_PER_S: "Images per second",
    WAITING: "Time spent waiting for data",
    MEMORY_MB: "Memory (MB)",
}


@dataclass(frozen=True)
class Curve:
    """A series and its name in the legend; "" if the panel's title has it.

    Lines with the same `look` are drawn alike: a stage has one look in all panels of its section.
    """

    label: str
    series: Series
    look: int = 0


@dataclass(frozen=True)
class Panel:
    """Curves that share axes.

    log: asks for a logarithmic axis.
    share: asks for percentages (of values in [0, 1]).
    from_zero: asks for an axis that begins at 0.
    limit: a share to mark, on an axis that then ends at 100 %.
    """

    title: str
    lines: tuple[Curve, ...]
    log: bool = False
    share: bool = False
    from_zero: bool = False
    limit: float | None = None


@dataclass(frozen=True)
class Section:
    """Stages that are shown together: all of stage I, or one of the later ones."""

    title: str
    stages: tuple[StageRecord, ...]


def sections(record: RunRecord) -> tuple[Section, ...]:
    """The stages of a run in the order of training; basis codebooks share a section, and so its axes."""
    bases = tuple(stage for stage in record.stages if stage.name.startswith(BASIS))
    later = [Section(_title(stage.name), (stage,)) for stage in record.stages if stage not in bases]
    return (Section("Stage I: basis codebooks", bases), *later) if bases else tuple(later)


def panels(section: Section) -> tuple[Panel, ...]:
    """All panels of a section, the most important ones first. None of them is empty."""
    return tuple(
        panel
        for panel in (
            *_losses(section.stages),
            *_validation(section.stages),
            _over_bases(section.stages, Group.PERPLEXITY, "Perplexity of the codes"),
            _over_bases(section.stages, Group.USED, "Codes in use", share=True, limit=MIN_USED),
            *_each(section.stages, Group.RATE, lambda key: key.replace("_", " ").capitalize(), from_zero=True),
            *_each(section.stages, Group.GRADIENT, lambda key: f"Gradient norm: {group_of(key)[1]}"),
            *_each(section.stages, Group.SPEED, lambda key: _SPEED_TITLES.get(key, key), from_zero=True),
            *_each(section.stages, Group.OTHER, str),
        )
        if panel.lines
    )


def _title(name: str) -> str:
    return "Stage II: fused" if name == FUSED else f"Stage III: {name}"


def _short(stage: StageRecord) -> str:
    return stage.name.removeprefix(BASIS)


def _losses(stages: Sequence[StageRecord]) -> Iterator[Panel]:
    """One stage: all terms in one panel, but those that change sign in another. Several: a panel for each term."""
    if len(stages) > 1:
        for key in _keys(stages, Group.LOSS):
            lines = _lines_of(stages, key)
            yield Panel(f"Loss: {group_of(key)[1]}", lines, log=_spans_decades(lines))
        return
    keys = sorted(_keys(stages, Group.LOSS), key=lambda key: group_of(key)[1] != TOTAL)
    terms = [Curve(group_of(key)[1], stages[0].series(key), look) for look, key in enumerate(keys)]
    shown = [line for line in terms if line.series.values]
    positive = tuple(line for line in shown if min(line.series.values) >= 0)
    yield Panel("Losses", positive, log=_spans_decades(positive))
    yield Panel("Losses that change sign", tuple(line for line in shown if line not in positive))


def _validation(stages: Sequence[StageRecord]) -> Iterator[Panel]:
    for key in _keys(stages, Group.VALIDATION):
        if key == NUM_VALIDATED:
            continue
        name = group_of(key)[1]
        yield Panel(_VALIDATION_TITLES.get(name, f"Validation {name}"), _lines_of(stages, key))


def _over_bases(
    stages: Sequence[StageRecord], group: Group, title: str, *, share: bool = False, limit: float | None = None
) -> Panel:
    lines = []
    for number, stage in enumerate(stages):
        keys = _keys((stage,), group)
        for place, key in enumerate(keys):
            basis = group_of(key)[1]
            names = [_short(stage) if len(stages) > 1 else "", basis if len(stages) == 1 or len(keys) > 1 else ""]
            look = number if len(stages) > 1 else place
            lines.append(Curve(" ".join(filter(None, names)), stage.series(key), look))
    shown = tuple(line for line in lines if line.series.values)
    return Panel(title, shown, share=share, from_zero=True, limit=limit)


def _each(
    stages: Sequence[StageRecord], group: Group, title: Callable[[str], str], *, from_zero: bool = False
) -> Iterator[Panel]:
    for key in _keys(stages, group):
        yield Panel(title(key), _lines_of(stages, key), share=key == WAITING, from_zero=from_zero)


def _keys(stages: Sequence[StageRecord], group: Group) -> tuple[str, ...]:
    """Keys of a group in the stages' logs, except the run's time, which is not drawn."""
    logged = dict.fromkeys(key for stage in stages for key in stage.logged() if group_of(key)[0] == group)
    return tuple(key for key in logged if key != SECONDS)


def _lines_of(stages: Sequence[StageRecord], key: str) -> tuple[Curve, ...]:
    several = len(stages) > 1
    lines = (Curve(_short(stage) if several else "", stage.series(key), look) for look, stage in enumerate(stages))
    return tuple(line for line in lines if line.series.values)


def _spans_decades(lines: Sequence[Curve]) -> bool:
    """Whether a logarithmic axis is better: no negative values, and a large factor between values."""
    values = [value for line in lines for value in line.series.values]
    positive = [value for value in values if value > 0]
    return bool(positive) and min(values) >= 0 and max(positive) / min(positive) >= _MIN_LOG_RATIO
