"""What a person sees of a run: one line for a file, and a few for the summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text

from adacode_cli.cli.streams import printable, whole
from adacode_cli.sizes import AS_LARGE, AS_LARGE_ALREADY
from adacode_cli.storage.path import is_remote

if TYPE_CHECKING:
    from adacode_cli.batch.claims import Holder
    from adacode_cli.batch.outcome import Outcome
    from adacode_cli.batch.report import Report

_MAX_FAILURES_LISTED = 20


def outcome_line(outcome: Outcome, count: int, total: int, *, detailed: bool) -> Text:
    """A file that was restored or skipped. detailed: with the precision in which it was computed."""
    source, target = whole(outcome.source), whole(str(outcome.target))
    place = f"[{count}/{total}] "
    if outcome.result.value == "skipped":
        return Text.assemble(place, source, f": skipped, {printable(outcome.reason)}: ", target, style="dim")
    notes = "".join(f"; {printable(note)}" for note in outcome.notes)
    precisions = "".join(f", {name}" for name in outcome.precisions if detailed)
    fate = f", {outcome.fate}" if outcome.fate in AS_LARGE else ""
    return Text.assemble(place, source, " -> ", target, f" ({duration(outcome.seconds)}{fate}{precisions}{notes})")


def awaited_line(source: Path, holder: Holder) -> Text:
    """A file that another process is working on; fields of `holder` that are not known are None."""
    details = [f"PID {holder.pid}"] if holder.pid is not None else []
    details += [f"on host {printable(holder.host)}"] if holder.host is not None else []
    who = f"another process ({' '.join(details)})" if details else "another process"
    return Text.assemble("waiting for ", whole(source), f", which {who} is working on")


def failed_line(outcome: Outcome, *, hint_below: bool, begins: str = "failed: ", hinted: bool = True) -> Text:
    """A file that failed, with what to do next, in one line or in two. hinted: whether it says what to do next."""
    assert outcome.failure is not None, "only for failed outcomes"
    failure = outcome.failure
    text = Text.assemble((begins, "bold red"), whole(outcome.source), printable(f": {failure.message}"))
    if failure.hint and hinted:
        hint = printable(failure.hint)
        text.append(f"\n  {hint}" if hint_below else f" ({hint})", style="dim")
    return text


def finished_lines(report: Report, roots: tuple[Path, ...], *, detailed: bool) -> Text:
    """The summary of a run into the output trees `roots`. detailed: with the precisions in which it was computed."""
    fates, of_size = report.fates, sum(report.fates.values())
    copied, shrunk, left_out = (fates.get(fate, 0) for fate in AS_LARGE)
    skipped = report.skipped - left_out
    counts = [f"{report.done - copied - shrunk} restored"]
    counts += [f"{count} {fate}" for fate, count in fates.items()]
    counts += [f"{skipped} skipped"] if skipped else []
    counts += [f"{report.num_failed} failed"] if report.failed else []
    counts += [f"{report.untouched} not done"] if report.untouched else []
    counts += [f"{report.num_noted} with notes"] if report.num_noted else []
    ended = {True: "finished", False: "stopped"}[report.stopped_by is None]
    if isinstance(report.stopped_by, KeyboardInterrupt):
        ended = "interrupted"
    text = Text.assemble(f"{ended}: {', '.join(counts)} in {duration(report.seconds)}", *_places(roots))
    if of_size:
        text.append(f"\n  {of_size} {'file was' if of_size == 1 else 'files were'} {AS_LARGE_ALREADY}")
    if detailed and report.precisions:
        text.append(f"\n  computed in {counted(report.precisions)}", style="dim")
    if report.left_out:
        text.append(f"\n  {printable(report.left_out.text)}", style="dim")
    if report.left_out.advice:
        text.append(f"\n  {report.left_out.advice}", style="dim")
    if report.untouched:
        text.append("\n  The same command restores the rest; after --overwrite, add --resume.", style="dim")
    if report.failed and report.total > 1:
        text.append(_failed_list(report, roots))
    return text


def counted(precisions: Mapping[str, int]) -> str:
    """Precisions; where there are several, with the number of files."""
    if len(precisions) == 1:
        return next(iter(precisions))
    return ", ".join(f"{name} ({count})" for name, count in precisions.items())


def _places(roots: tuple[Path, ...]) -> tuple[str | tuple[str, Style], ...]:
    if not roots:
        return ()
    first = " -> ", whole(f"{roots[0]}/")
    return first if len(roots) == 1 else (*first, f" and {len(roots) - 1} more")


def _failed_list(report: Report, roots: tuple[Path, ...]) -> Text:
    text = Text()
    for outcome in report.failed[:_MAX_FAILURES_LISTED]:
        # The source of an object that no path can name is the address that was searched; the reason names its key.
        assert outcome.failure is not None, "only failed outcomes are kept"
        has_key = outcome.target is None and is_remote(outcome.source)
        why = printable(f": {outcome.failure.message}") if has_key else ""
        text.append_text(Text.assemble("\n  failed: ", whole(outcome.source), why, style="red"))
    more = report.num_failed - _MAX_FAILURES_LISTED
    if more > 0:
        where = f" in {printable(str(roots[0]))}" if roots else ""
        how_many = f"the first {len(report.failed):,}" if report.unlisted else "all"
        text.append(f"\n  … and {more} more; .adacode/report.json{where} lists {how_many} of them", style="red")
    return text


def rate(num_files: int, seconds: float) -> str:
    """Files per second or, where that is below one, seconds per file."""
    per_second = num_files / seconds
    return f"{per_second:.1f} files/s" if per_second >= 1 else f"{1 / per_second:.1f} s/file"


def duration(seconds: float) -> str:
    """A time span in at most two units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def rough(seconds: float) -> str:
    """A time span that is an estimate, in whole seconds or minutes."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else duration(seconds)
