"""`adacode … -`: one image on standard input, one on standard output or in a named file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from adacode_cli.cli import readiness
from adacode_cli.cli.console import console_for
from adacode_cli.cli.dry_run import check_weights
from adacode_cli.cli.loading import description_of, pinned
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.restore_plan import Request, writes_of
from adacode_cli.cli.streams import write_bytes, write_line
from adacode_cli.errors import UsageError

_STDIN_NUMBER = 0


def restore_pipe(options: RestoreOptions, request: Request) -> int:
    """Restores standard input. Raises AdaCodeError."""
    from adacode_cli import atomic
    from adacode_cli.batch.output_files import write_new
    from adacode_cli.batch.stream import STDIN, restore_bytes
    from adacode_cli.codes.file import check_start
    from adacode_cli.imaging.decode import check_kind
    from adacode_cli.imaging.decoder_pool import decoding
    from adacode_cli.imaging.files import stream_bytes
    from adacode_cli.imaging.quiet import quiet_libraries

    target, format_name = _target(options)
    readiness.check_mask(request)
    readiness.check_network(options, request)
    _check_writes(target, options, request)
    if options.dry_run:
        check_weights(description_of(options, request, is_pipe=True))
        write_line(f"{STDIN} -> {target or '<stdout>'}")
        return 0
    console = console_for(request.task, quiet=options.quiet, verbose=options.verbose, as_json=False)
    look = check_start if request.from_codes else check_kind
    isolation = decoding(isolated=options.isolate, limit_s=options.decode_timeout)
    with console.waiting("restoring standard input"), quiet_libraries(), isolation as decoder:
        came = stream_bytes(sys.stdin.buffer, STDIN, max_bytes=options.max_file_bytes, look=look)
        description = description_of(options, request, is_pipe=True)
        stages, _ = pinned(description).stages(decoder)
        data, notes, precisions = restore_bytes(came, stages, format_name)
    if options.verbose:
        notes += (f"computed in {' and '.join(precisions)}",)
    for note in notes:
        console.note(STDIN, note)
    if target is None:
        write_bytes(data)
    else:
        atomic.remove_leftovers(target)
        write_new(target, data)
    return 0


def _check_writes(target: Path | None, options: RestoreOptions, request: Request) -> None:
    """Raises OutputError for a file that a pipe must not write, including its output in a named file. A file redirected
    into it is never replaced.
    """
    from adacode_cli.batch.stream import STREAM
    from adacode_cli.batch.writes import Beside
    from adacode_cli.storage.objects import Replaces

    writes = writes_of([STREAM.source], options, request, one_file=True)
    writes.check_folders()
    output = () if target is None else (Beside("-o", "the output", lambda _job: target, target),)
    files = (*writes.kept.files, ("the image on standard input", _STDIN_NUMBER))
    every = replace(writes, beside=(*output, *writes.beside), kept=replace(writes.kept, files=files))
    every.check([STREAM], lambda *_: Replaces.NOTHING, overwrite=options.overwrite, outputs=False)


def _target(options: RestoreOptions) -> tuple[Path | None, str | None]:
    """The file that receives the restored pipe, or None for standard output; and its format, None for the input's."""
    from adacode_cli.imaging.encode import format_of

    if options.if_too_large != "fail":
        hint = f"Choose the format now: --format {options.if_too_large}."
        raise UsageError("--if-too-large cannot be used with '-', because the name of the result is fixed", hint=hint)
    if options.json:
        raise UsageError("--json cannot be used with '-'", hint="Restore a file, or leave out --json.")
    if sys.stdin is None or sys.stdin.isatty():
        hint = "Pipe an image in: cat a.jpg | adacode … - > b.jpg"
        raise UsageError("'-' needs an image on standard input, which is a terminal", hint=hint)
    if options.output is None:
        if sys.stdout.isatty() and not options.dry_run:
            raise UsageError(
                "an image would be written to the terminal", hint="Redirect standard output: adacode … - > b.jpg"
            )
        return None, options.format
    named_format = format_of(options.output)
    if named_format is None or options.output.is_dir():
        raise UsageError(f"-o {options.output} names no image file", hint="With '-', give a name such as -o b.png.")
    if options.format not in (None, named_format):
        raise UsageError(f"-o {options.output} contradicts --format {options.format}", hint="Leave out one of the two.")
    return options.output, named_format
