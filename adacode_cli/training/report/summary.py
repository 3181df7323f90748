"""A stage in a few figures: how long, how fast, where its losses and measures ended, how its codes are used."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median

from adacode_cli.training.run_names import IMAGES_PER_S, MEMORY_MB, NUM_VALIDATED, WAITING, Group, group_of
from adacode_cli.training.run_record import StageRecord

MIN_USED = 0.5
"""A basis that uses a smaller share of its codes gets a warning."""

MAX_WAITING = 0.2
"""A stage that waits a larger share of its time for data gets a warning."""

_LOWER_IS_BETTER = frozenset({"lpips"})


@dataclass(frozen=True)
class Measure:
    """A validation measure: at the last validation, and where it was best."""

    name: str
    last: float
    best: float
    best_step: int


@dataclass(frozen=True)
class CodeUse:
    """How a basis codebook is used at the end of the log; `used` is a share in [0, 1]; None where nothing is known."""

    basis: str
    perplexity: float | None
    used: float | None

    @property
    def too_few(self) -> bool:
        """Whether fewer than half of the codes are used."""
        return self.used is not None and self.used < MIN_USED


@dataclass(frozen=True)
class Summary:
    """The figures of a stage. `seconds`, speeds and shares are None where the log does not have them.

    `images_per_s` is the median of the log lines, `waiting` their mean, `memory_mb` their largest; `losses` are those
    of the last line that has each.
    """

    steps: int
    seconds: float | None
    losses: tuple[tuple[str, float], ...]
    validation: tuple[Measure, ...]
    images_per_s: float | None
    waiting: float | None
    memory_mb: float | None
    codes: tuple[CodeUse, ...]

    def warnings(self) -> tuple[str, ...]:
        """Warnings, each to be read after the name of the stage."""
        found = [
            f"uses only {use.used:.1%} of the codes of {use.basis or 'its codebook'}: "
            "train it longer, or make that codebook smaller."
            for use in self.codes
            if use.too_few
        ]
        if self.waiting is not None and self.waiting > MAX_WAITING:
            share = f"{self.waiting:.0%}"
            found.append(f"waited for data in {share} of its time: try more --workers, or --cache memory.")
        return tuple(found)


def summary(stage: StageRecord) -> Summary:
    """The figures of a stage with at least one log line."""
    speed, waiting, memory = (stage.series(key).values for key in (IMAGES_PER_S, WAITING, MEMORY_MB))
    return Summary(
        steps=int(stage.lines[-1]["step"]),
        seconds=stage.seconds(),
        losses=tuple(_last(stage, Group.LOSS).items()),
        validation=_measures(stage),
        images_per_s=median(speed) if speed else None,
        waiting=fmean(waiting) if waiting else None,
        memory_mb=max(memory) if memory else None,
        codes=_codes(stage),
    )


def _last(stage: StageRecord, group: Group) -> dict[str, float]:
    """The last value of each key of a group, by its name within the group."""
    found = {}
    for key in stage.logged():
        kind, name = group_of(key)
        values = stage.series(key).values
        if kind == group and values:
            found[name] = values[-1]
    return found


def _measures(stage: StageRecord) -> tuple[Measure, ...]:
    found = []
    for name in _last(stage, Group.VALIDATION):
        if f"{Group.VALIDATION}/{name}" == NUM_VALIDATED:
            continue
        series = stage.series(f"{Group.VALIDATION}/{name}")
        choose = min if name in _LOWER_IS_BETTER else max
        best = choose(series.values)
        found.append(Measure(name, series.values[-1], best, int(series.steps[series.values.index(best)])))
    return tuple(found)


def _codes(stage: StageRecord) -> tuple[CodeUse, ...]:
    perplexity, used = _last(stage, Group.PERPLEXITY), _last(stage, Group.USED)
    return tuple(CodeUse(name, perplexity.get(name), used.get(name)) for name in dict.fromkeys([*perplexity, *used]))
