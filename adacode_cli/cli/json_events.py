"""The events of `--json`: one JSON object per line on standard output, in ASCII, and nothing else there.

Every object has `event`. A run is `run-started` (version, task, files, outputs, and set_elsewhere: the
place of each option that files, presets and variables set), then for each file one of `file-done`
(source, target, seconds, bytes, notes, precisions, fate), `file-skipped` (source, target, reason) or `file-failed`
(source, target or null, error), then `run-finished` (files, done, skipped, failed, untouched, as_large, seconds,
exit_code, log_error or null). `fate` is restored, copied or shrunk; `as_large` counts the files that were copied,
shrunk or left out, because they were as large already as was asked for. With `--dry-run` there is one of `file-planned`
(source, target, fate or null if it is not known), `file-skipped`, and `file-failed` for what is known to fail, and
nothing is started or finished. If files are planned, `run-estimated` (files, unknown_files, unread_files,
input_megapixels, output_megapixels, output_bytes, disks, seconds, device, threads, precision) follows. `error` (error)
is why a command ended early; an error is kind, exit_code, message, path or null, and hint. An entry of a tree that is
left out is `file-skipped` with target null;
`others-left-out` (unread_images, files, folders, each an object of counts by kind) counts what lies beside images.
`file-awaited` (source, target, pid or null, host or null) reports once that only another process's file is left.
`page-finished` (source, target, page, pages) reports that a page of a document of several pages is restored; `page`
counts from 1, and the last page comes before the file's own event.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.errors import EXIT_BUG, AdaCodeError

if TYPE_CHECKING:
    from adacode_cli.batch.events import EntryPassedOver, Event, FileAwaited, OthersLeftOut, PageFinished
    from adacode_cli.batch.left_out import LeftOut
    from adacode_cli.batch.outcome import Outcome
    from adacode_cli.batch.plan import Job
    from adacode_cli.batch.report import Report
    from adacode_cli.cli.cost import Cost
    from adacode_cli.sizes import Fate

SCHEMA_VERSION = 1


def line_of(event: Event, task: str) -> str | None:
    """The line for an event of a run, or None for events that only a person sees."""
    from adacode_cli.batch import events

    match event:
        case events.RunStarted(num_files, roots, places):
            fields = {"version": SCHEMA_VERSION, "task": task, "files": num_files, "outputs": _texts(roots)}
            return _line("run-started", **fields, set_elsewhere=dict(places))
        case events.EntryPassedOver() | events.OthersLeftOut():
            return _left_out(event)
        case events.FileAwaited() | events.PageFinished():
            return _of_job(event)
        case events.FileFinished(outcome):
            return _outcome(outcome)
        case events.RunFinished(report):
            return _report(report)
        case events.FileStarted() | events.FilesAdded() | events.FileAdvanced():
            return None


def _of_job(event: FileAwaited | PageFinished) -> str:
    from adacode_cli.batch import events

    paths = {"source": str(event.job.source), "target": str(event.job.target)}
    if isinstance(event, events.PageFinished):
        return _line("page-finished", **paths, page=event.page, pages=event.num_pages)
    return _line("file-awaited", **paths, pid=event.holder.pid, host=event.holder.host)


def planned(job: Job, fate: Fate | None) -> str:
    """The line for one job of a dry run."""
    return _line("file-planned", source=str(job.source), target=str(job.target), fate=fate and fate.value)


def skipped(source: Path, target: Path | None, reason: str) -> str:
    """The line for a file that is left out."""
    return _line("file-skipped", source=str(source), target=_text(target), reason=reason)


def others_left_out(left_out: LeftOut) -> str:
    """The line for files of other kinds."""
    return _line("others-left-out", **left_out.counts)


def error(failure: AdaCodeError) -> str:
    """The line for the error that ended a command."""
    return _line("error", error=_error_of(failure))


def bug(summary: str) -> str:
    """The line for a bug in adacode; its traceback is on standard error."""
    return _line("error", error=_error("bug", EXIT_BUG, summary, "Please report it.", None))


def _left_out(event: EntryPassedOver | OthersLeftOut) -> str:
    from adacode_cli.batch import events

    if isinstance(event, events.OthersLeftOut):
        return others_left_out(event.left_out)
    return skipped(event.path, None, event.reason)


def estimated(cost: Cost) -> str:
    """The line for what the run of a dry run needs. Megapixels and seconds are rounded."""
    needs, speed = cost.needs, cost.speed
    disks = [
        {
            "path": str(disk.place),
            "needed_bytes": disk.needed_bytes,
            "free_bytes": disk.free_bytes,
            "is_too_small": disk.is_too_small,
        }
        for disk in cost.disks
    ]
    return _line(
        "run-estimated",
        files=needs.num_files,
        unknown_files=needs.num_unknown,
        unread_files=needs.num_unread,
        input_megapixels=round(needs.input_pixels / 1e6, 3),
        output_megapixels=round(needs.output_pixels / 1e6, 3),
        output_bytes=needs.num_bytes,
        disks=disks,
        seconds=None if cost.seconds is None else round(cost.seconds, 1),
        device=speed.device if speed else None,
        threads=speed.threads if speed else None,
        precision=speed.precision if speed else None,
    )


def failed(outcome: Outcome) -> str:
    """The line for a file that failed, or would."""
    source, failure = str(outcome.source), outcome.failure
    assert failure is not None, "only for failed outcomes"
    error = _error(failure.kind, failure.exit_code, failure.message, failure.hint, source)
    return _line("file-failed", source=source, target=_text(outcome.target), error=error)


def _outcome(outcome: Outcome) -> str:
    source, target = str(outcome.source), _text(outcome.target)
    if outcome.failure:
        return failed(outcome)
    if outcome.result.value == "skipped":
        return skipped(outcome.source, outcome.target, outcome.reason)
    fields = {
        "seconds": round(outcome.seconds, 3),
        "bytes": outcome.num_bytes,
        "notes": outcome.notes,
        "precisions": outcome.precisions,
        "fate": outcome.fate.value,
    }
    return _line("file-done", source=source, target=target, **fields)


def _report(report: Report) -> str:
    return _line(
        "run-finished",
        files=report.total,
        done=report.done,
        skipped=report.skipped,
        failed=report.num_failed,
        untouched=report.untouched,
        as_large=report.as_large,
        seconds=round(report.seconds, 3),
        exit_code=report.exit_code,
        log_error=_error_of(report.log_error) if report.log_error else None,
    )


def _error_of(failure: AdaCodeError) -> dict[str, object]:
    return _error(failure.kind, failure.exit_code, failure.message, failure.hint, _text(failure.path))


def _error(kind: str, exit_code: int, message: str, hint: str, path: str | None) -> dict[str, object]:
    return {"kind": kind, "exit_code": exit_code, "message": message, "path": path, "hint": hint}


def _line(name: str, **fields: object) -> str:
    return json.dumps({"event": name, **fields})


def _texts(paths: tuple[Path, ...]) -> list[str]:
    return [str(path) for path in paths]


def _text(path: Path | str | None) -> str | None:
    return None if path is None else str(path)
