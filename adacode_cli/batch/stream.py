"""One image on a pipe: the same stages as for a file, from bytes to bytes."""

from __future__ import annotations

from pathlib import Path

from adacode_cli import atomic, formats
from adacode_cli.batch.amounts import out_of_memory, size_of
from adacode_cli.batch.found import Found
from adacode_cli.batch.output_files import write_new
from adacode_cli.batch.plan import Job
from adacode_cli.batch.stages import Stages
from adacode_cli.errors import InputError, OutputError
from adacode_cli.sizes import AS_LARGE_ALREADY, Fate

STDIN = "<stdin>"
STREAM = Job(Found(Path(STDIN), STDIN, in_tree=False), Path(), "stdin")
"""The job of a pipe: files beside its output are named `stdin` with the suffix of their kind."""


def restore_bytes(
    data: bytes, stages: Stages, format_name: str | None
) -> tuple[bytes, tuple[str, ...], tuple[str, ...]]:
    """(the restored image as a file of the format `format_name`, or of its own format for None; notes; precisions as in
    `Inferred`).

    The weight map, if requested, is named `stdin.weights.png`. Raises InputError for no bytes or bytes that are not an
    image, and the errors of `Stages`.
    """
    if not data:
        hint = "Pipe an image into the command: cat a.jpg | adacode sr - > b.png"
        raise InputError("standard input is empty", path=STDIN, hint=hint)
    size = None
    try:
        read = stages.take_in(STREAM, data)
        size = size_of(read.image) if read.codes is None else None
        format_name = format_name or formats.named(read.image.format).of_outputs
        read, _ = stages.fated(read, data, format_name)
        stages.foresee(read, format_name)
        read = read if read.unchanged is not None else stages.gathered(STREAM, read, format_name)
        size = size_of(read.image) if read.codes is None else None
        inferred = stages.infer(STREAM, read)
        del read  # Its samples are no longer needed.
        size = size_of(inferred.image)
        for path in stages.paths(STREAM)[1:]:
            atomic.remove_leftovers(path)
        for path, content in stages.side_files(STREAM, inferred):
            write_new(path, content)
        fate = () if inferred.fate is Fate.RESTORED else (f"{inferred.fate}: {AS_LARGE_ALREADY}",)
        encoded, notes = stages.encoded(inferred, format_name)
    except MemoryError as error:
        raise out_of_memory(STREAM.source, size) from error
    except (InputError, OutputError) as error:
        # Many errors have no path; a run over files adds it for each job.
        error.path = STDIN if error.path is None else error.path
        raise
    return encoded, (*notes, *fate), inferred.precisions
