"""The sentences of a run: one line for a file, a few for the summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from adacode_cli.cli.progress import duration
from adacode_cli.cli.stderr import printable

if TYPE_CHECKING:
    from adacode_cli.batch.claims import Holder
    from adacode_cli.batch.outcome import Outcome
    from adacode_cli.batch.report import Report

_MOST_FAILURES_LISTED = 20


def outcome_line(outcome: Outcome, count: int, total: int) -> Text:
    """A file that was restored or skipped."""
    place = f"[{count}/{total}] {printable(str(outcome.source))}"
    if outcome.result.value == "skipped":
        return Text(f"{place}: skipped, {printable(outcome.reason)}: {printable(str(outcome.target))}", style="dim")
    notes = "".join(f"; {printable(note)}" for note in outcome.notes)
    return Text(f"{place} -> {printable(str(outcome.target))} ({duration(outcome.seconds)}{notes})")


def awaited_line(source: Path, holder: Holder) -> Text:
    """A file that another process is working on; `holder` may be known or not."""
    said = [f"PID {holder.pid}"] if holder.pid is not None else []
    said += [f"on host {printable(holder.host)}"] if holder.host is not None else []
    who = f"another process ({' '.join(said)})" if said else "another process"
    return Text(f"waiting for {printable(str(source))}, which {who} is working on")


def failed_line(outcome: Outcome, *, hint_below: bool, begins: str = "failed: ") -> Text:
    """A file that failed, with what to do next, in one line or in two."""
    assert outcome.failure is not None, "only for failed outcomes"
    failure = outcome.failure
    text = Text.assemble((begins, "bold red"), printable(f"{outcome.source}: {failure.message}"))
    if failure.hint:
        hint = printable(failure.hint)
        text.append(f"\n  {hint}" if hint_below else f" ({hint})", style="dim")
    return text


def finished_lines(report: Report, roots: tuple[Path, ...]) -> Text:
    """The summary of a run into the output trees `roots`."""
    counts = [f"{report.done} restored"]
    counts += [f"{report.skipped} skipped"] if report.skipped else []
    counts += [f"{len(report.failed)} failed"] if report.failed else []
    counts += [f"{report.untouched} not done"] if report.untouched else []
    ended = {True: "finished", False: "stopped"}[report.stopped_by is None]
    if isinstance(report.stopped_by, KeyboardInterrupt):
        ended = "interrupted"
    text = Text(f"{ended}: {', '.join(counts)} in {duration(report.seconds)}{_places(roots)}")
    if report.left_out:
        text.append(f"\n  {printable(report.left_out.text)}", style="dim")
    if report.untouched:
        text.append("\n  The same command does the rest; after --overwrite, add --resume.", style="dim")
    if report.failed and report.total > 1:
        text.append(_failed_list(report, roots))
    return text


def _places(roots: tuple[Path, ...]) -> str:
    if not roots:
        return ""
    first = f" -> {printable(str(roots[0]))}/"
    return first if len(roots) == 1 else f"{first} and {len(roots) - 1} more"


def _failed_list(report: Report, roots: tuple[Path, ...]) -> Text:
    text = Text()
    for outcome in report.failed[:_MOST_FAILURES_LISTED]:
        text.append(f"\n  {printable(str(outcome.source))}", style="red")
    more = len(report.failed) - _MOST_FAILURES_LISTED
    if more > 0:
        where = f" in {printable(str(roots[0]))}" if roots else ""
        text.append(f"\n  … and {more} more; .adacode/report.json{where} names them all", style="red")
    return text
