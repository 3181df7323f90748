"""Makes the pictures of a gallery: of outputs that a run has just written, and of those that were there before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.batch.contents import content_of, read_whole
from adacode_cli.batch.gallery.pictures import Shown, has_picture, save_picture, shown_of
from adacode_cli.batch.gallery.places import GALLERY
from adacode_cli.batch.stages import Fetched, Inferred, Stages, Written, output_format
from adacode_cli.errors import AdaCodeError, InputError, OutputError
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.encode import carried
from adacode_cli.limits import MAX_FILE_BYTES, MAX_PIXELS
from adacode_cli.sizes import MAX_SCALE

if TYPE_CHECKING:
    from adacode_cli.batch.plan import Job
    from adacode_cli.batch.trees import Known

# Of originals and results, which are larger.
_MAX_BYTES, _MAX_PIXELS = MAX_SCALE**2 * MAX_FILE_BYTES, MAX_SCALE**2 * MAX_PIXELS


def show(stages: Stages, job: Job, before: Shown | None, inferred: Inferred, written: Written) -> tuple[str, ...]:
    """Writes the pictures of a job whose output has been written. Returns notes: the output itself is complete."""
    output = written.made.output
    assert output is not None, "it has been written"
    image, format_name = inferred.image, output_format(job.target)
    if inferred.unchanged is None:
        kept = carried(stages.keeping.with_history(image, format_name), format_name)
        image = replace(image, icc=kept.icc, exif=kept.exif, xmp=kept.xmp, iptc=kept.iptc)
    after = shown_of(image, written.num_bytes, format_name)
    try:
        save_picture(job.root / GALLERY, output.sha256, before, after, inferred.restored)
    except OutputError as error:
        return (f"the picture for the report could not be written: {error.message}",)
    return ()


def complete(stages: Stages, job: Job, fetched: Fetched, known: Known | None) -> None:
    """Makes the pictures of a job that is done already, if they are missing. What cannot be shown is left out."""
    record = known.counted if known else None
    if record is None or has_picture(job.root / GALLERY, record.output.sha256):
        return
    try:
        read = stages.take_in(job, fetched.data, fetched.mask_data)
        before = read.image if read.codes is None else None
        limit = stages.foresight.sizing.most_growth
        max_bytes, max_pixels = limit * stages.keeping.max_file_bytes, limit * stages.keeping.max_pixels
        data = read_whole(job.target, max_bytes=max_bytes)
        if content_of(data) == record.output:
            after = shown_of(stages.decoder(data, name=str(job.target), max_pixels=max_pixels), len(data))
            shown = None if before is None else shown_of(before, len(fetched.data))
            save_picture(job.root / GALLERY, record.output.sha256, shown, after, None)
    except AdaCodeError:
        return


def make_missing(folder: Path, sha256: str, source: Path | None, target: Path, decoder: Decode) -> None:
    """Makes the pictures of an output of a finished run. Raises InputError, OutputError.

    source: None if it is no image; one that is not there any more, or cannot be read, is left out.
    """
    before = None
    with suppress(InputError):
        before = None if source is None else _read(source, decoder)
    save_picture(folder, sha256, before, _read(target, decoder), None)


def _read(path: Path, decoder: Decode) -> Shown:
    data = read_whole(path, max_bytes=_MAX_BYTES)
    return shown_of(decoder(data, name=str(path), max_pixels=_MAX_PIXELS, accept_damaged=True), len(data))
