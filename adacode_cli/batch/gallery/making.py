"""Makes the pictures of a gallery: of outputs that a run has just written, and of those that were there before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli import formats
from adacode_cli.batch.contents import content_of, read_whole
from adacode_cli.batch.gallery.entries import digest_in
from adacode_cli.batch.gallery.folder import Gallery
from adacode_cli.batch.gallery.pictures import Shown, has_picture, save_picture, shown_of
from adacode_cli.batch.gallery.places import GALLERY
from adacode_cli.batch.stages import Fetched, Inferred, Stages, Written, output_format
from adacode_cli.batch.state_files import is_path
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.encode import carried
from adacode_cli.imaging.image import Decoded
from adacode_cli.limits import MAX_FILE_BYTES, MAX_PIXELS
from adacode_cli.sizes import MAX_SCALE
from adacode_cli.storage.path import is_remote_text

if TYPE_CHECKING:
    from adacode_cli.batch.plan import Job
    from adacode_cli.batch.trees import Known

# Of originals and results, which are larger.
_MAX_BYTES, _MAX_PIXELS = MAX_SCALE**2 * MAX_FILE_BYTES, MAX_SCALE**2 * MAX_PIXELS


def shown_before(image: Decoded, num_bytes: int) -> Shown | None:
    """What is shown of an original; None if that cannot be made, which is no reason not to restore it."""
    try:
        return shown_of(image, num_bytes)
    except Exception:  # noqa: BLE001 (memory, or what a library meets in metadata)
        return None


def show(stages: Stages, job: Job, before: Shown | None, inferred: Inferred, written: Written) -> tuple[str, ...]:
    """Writes the pictures of a job whose output has been written. Returns notes: the output itself is complete."""
    output = written.made.output
    assert output is not None, "it has been written"
    image, format_name = inferred.image, output_format(job.target)
    try:
        if inferred.unchanged is None:
            kept = carried(stages.keeping.with_history(image, format_name), format_name)
            image = replace(image, icc=kept.icc, exif=kept.exif, xmp=kept.xmp, iptc=kept.iptc, turned=False)
        after = shown_of(image, written.num_bytes, format_name)
        save_picture(job.root / GALLERY, output.sha256, before, after, inferred.restored)
    except OutputError as error:
        return (f"the picture for the report could not be written: {error.message}",)
    except Exception as error:  # noqa: BLE001 (as above)
        return (f"the picture for the report could not be made: {error or type(error).__name__}",)
    return ()


def lacks_picture(job: Job, known: Known | None) -> bool:
    """Whether the pictures of an output that is done are missing; False if its store does not tell."""
    record = known.counted if known else None
    with suppress(InputError):
        return record is not None and not has_picture(job.root / GALLERY, record.output.sha256)
    return False


def complete(stages: Stages, job: Job, fetched: Fetched, known: Known | None) -> None:
    """Makes the pictures of a job that is done already, if they are missing. What cannot be shown is left out."""
    record = known.counted if known else None
    if record is None or not lacks_picture(job, known):
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
    except Exception:  # noqa: BLE001 (as above)
        return


def without_picture(gallery: Gallery) -> list[Missing]:
    """The outputs of a tree that have no pictures yet. Raises JournalError."""
    missing = []
    for fields in gallery.last_lines():
        sha256, path = digest_in(fields.get("sha256")), fields.get("path")
        if fields["outcome"] == "done" and sha256 and not has_picture(gallery.folder, sha256):
            # A journal may be forged, so no address in it is opened.
            is_local = is_path(path) and not is_remote_text(str(path))
            is_image = is_local and not str(path).endswith(formats.CODES_SUFFIX)
            source = (Path(str(path)), digest_in(fields.get("source_sha256"))) if is_image else None
            missing.append(Missing(sha256, gallery.root / fields["target"], source))
    return missing


@dataclass(frozen=True)
class Missing:
    """An output without pictures: the digest of its content, its path, and its source if that is an image: the path
    and the digest of the content from which the output was made.
    """

    sha256: str
    target: Path
    source: tuple[Path, str] | None

    def make(self, folder: Path, decoder: Decode) -> None:
        """Makes the pictures, into the gallery `folder`. Raises InputError, OutputError.

        A source that is not there any more, has changed, or cannot be read, is left out; so is a changed result.
        """
        after = _shown(self.target, self.sha256, decoder)
        before = None
        with suppress(InputError):
            before = _shown(*self.source, decoder) if self.source else None
        if after is not None:
            save_picture(folder, self.sha256, before, after, None)


def _shown(path: Path, sha256: str, decoder: Decode) -> Shown | None:
    """What is shown of a file; None if it has another content. Raises InputError."""
    data = read_whole(path, max_bytes=_MAX_BYTES)
    if content_of(data).sha256 != sha256:
        return None
    return shown_of(decoder(data, name=str(path), max_pixels=_MAX_PIXELS, accept_damaged=True), len(data))
