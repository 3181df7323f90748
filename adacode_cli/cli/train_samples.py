"""`adacode train report -o DIR`: the samples of a run as a page, each output beside its input and its target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.errors import InputError

if TYPE_CHECKING:
    from adacode_cli.batch.gallery.pairs import Pair
    from adacode_cli.training.run_record import RunRecord, StageRecord

_MOST_SHEETS = 20  # of a stage: the first, the last, and some between
_INPUT, _OUTPUT, _TARGET = "input", "output", "target"


def samples_page(record: RunRecord, folder: Path) -> Path:
    """Writes the page into `folder` and returns its file. Raises InputError without samples, OutputError."""
    from adacode_cli.batch.gallery.pairs import PairPage

    page, count = PairPage(folder, "sort=step&down=1"), 0
    for stage in record.stages:
        for pair in _pairs(stage):
            page.add(pair)
            count += 1
    if not count:
        hint = "A sheet is written at each validation; run the same command later, or with -o FILE.html."
        raise InputError("has no samples that can be shown", path=record.folder, hint=hint)
    return page.finish().page


def _pairs(stage: StageRecord) -> Iterator[Pair]:
    from adacode_cli.batch.gallery.pairs import Pair
    from adacode_cli.training.report.overview import read_sample
    from adacode_cli.training.validation import split_sheet

    count = len(stage.samples)
    last = min(_MOST_SHEETS, count) - 1
    for number in sorted({index * (count - 1) // max(1, last) for index in range(last + 1)}):
        sample = stage.samples[number]
        sheet = read_sample(sample.path)
        for row, (before, output, target) in enumerate([] if sheet is None else split_sheet(sheet), 1):
            name, figures = f"step {sample.step:06d}, {row}", {"step": sample.step}
            yield Pair(f"{stage.name}/{_INPUT}/{name}", (_INPUT, _OUTPUT), before, output, figures)
            yield Pair(f"{stage.name}/{_TARGET}/{name}", (_OUTPUT, _TARGET), output, target, figures)
