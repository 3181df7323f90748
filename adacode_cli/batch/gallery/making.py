"""Makes the pictures of a gallery: of outputs that a run has just written, and of those that were there before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adacode_cli import formats
from adacode_cli.batch.contents import content_of, read_whole
from adacode_cli.batch.gallery.documents import pages_of, save_pages
from adacode_cli.batch.gallery.entries import digest_in, saved_mask
from adacode_cli.batch.gallery.folder import Gallery
from adacode_cli.batch.gallery.overlays import reduced_hole
from adacode_cli.batch.gallery.pictures import Shown, has_picture, save_picture, shown_of
from adacode_cli.batch.gallery.places import GALLERY
from adacode_cli.batch.stages import Fetched, Inferred, Read, Stages, Written, output_format
from adacode_cli.batch.state_files import is_path
from adacode_cli.errors import InputError, JournalError, OutputError
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.encode import carried
from adacode_cli.imaging.image import Decoded
from adacode_cli.limits import MAX_FILE_BYTES, MAX_PIXELS
from adacode_cli.sizes import MAX_SCALE
from adacode_cli.storage.path import is_remote, is_remote_text

if TYPE_CHECKING:
    from adacode_cli.batch.plan import Job
    from adacode_cli.batch.trees import Known

GUARD = "guard"
"""The figure that tells how far a result is from its input, as the guard measures it (`guard.Judgement`)."""
# Of originals and results, which are larger.
_MAX_BYTES, _MAX_PIXELS = MAX_SCALE**2 * MAX_FILE_BYTES, MAX_SCALE**2 * MAX_PIXELS


@dataclass(frozen=True, eq=False)
class _File:
    """An image file, and how it is decoded."""

    data: bytes
    path: Path
    decoder: Decode
    max_pixels: int = _MAX_PIXELS
    accept_damaged: bool = True

    def window(self, page: int = 0) -> Decoded:
        """The pages that are decoded together, from one on. Raises InputError."""
        name, max_pixels, accept_damaged = str(self.path), self.max_pixels, self.accept_damaged
        return self.decoder(self.data, name=name, max_pixels=max_pixels, accept_damaged=accept_damaged, first_page=page)

    def pages(self) -> Iterator[Decoded]:
        """All pages. Raises InputError."""
        return pages_of(self.window)


@dataclass(frozen=True, eq=False)
class Before:
    """What is kept of an original until its result is written. document: its file, if it has several pages."""

    shown: Shown | None = None
    document: _File | None = None


def before_of(stages: Stages, job: Job, read: Read, data: bytes) -> Before:
    """What is kept of an original; nothing if that cannot be made, which is no reason not to restore it.

    data: its file.
    """
    if read.codes is not None:
        return Before()
    document = None
    if read.image.num_pages > 1:
        keeping = stages.keeping
        document = _File(data, job.source, stages.decoder, keeping.max_pixels, keeping.accept_damaged)
    try:
        shown = shown_of(read.image, len(data))
        return Before(replace(shown, hole=reduced_hole(read.holes[0].mask)) if read.holes else shown, document)
    except Exception:  # noqa: BLE001 (memory, or what a library meets in metadata)
        return Before()


def show(stages: Stages, job: Job, before: Before, inferred: Inferred, written: Written) -> tuple[str, ...]:
    """Writes the pictures of a job whose output has been written. Returns notes: the output itself is complete."""
    output = written.made.output
    assert output is not None, "it has been written"
    shown = before.shown
    try:
        if shown is not None and inferred.restored.found is not None:
            shown = replace(shown, hole=reduced_hole(inferred.restored.found))
        image = _as_written(stages, job, inferred, inferred.image)
        after = shown_of(image, written.num_bytes)
        pages = _further_pages(stages, job, before.document, inferred, output.sha256)
        figures = {} if inferred.image.distance is None else {GUARD: round(inferred.image.distance, 4)}
        known: dict[str, Any] = {"restored": inferred.restored, "codes": inferred.codes}
        save_picture(job.root / GALLERY, output.sha256, shown, after, pages=pages, figures=figures, **known)
    except OutputError as error:
        return (f"the picture for the report could not be written: {error.message}",)
    except JournalError:  # This run must not write any more.
        raise
    except Exception as error:  # noqa: BLE001 (as above)
        return (f"the picture for the report could not be made: {error or type(error).__name__}",)
    return ()


def _as_written(stages: Stages, job: Job, inferred: Inferred, page: Decoded) -> Decoded:
    """A page of a result with the format and the metadata that its file has."""
    format_name = output_format(job.target)
    if inferred.unchanged is not None:
        return replace(page, format=format_name)
    kept = carried(stages.keeping.with_history(page, format_name), format_name)
    written = replace(page, icc=kept.icc, exif=kept.exif, xmp=kept.xmp, iptc=kept.iptc)
    return replace(written, format=format_name, turned=False)


def lacks_picture(job: Job, known: Known | None) -> bool:
    """Whether the pictures of an output that is done are missing; False if its store does not tell."""
    record = known.counted if known else None
    with suppress(InputError):
        return record is not None and not has_picture(job.root / GALLERY, record.output.sha256)
    return False


def _further_pages(
    stages: Stages, job: Job, document: _File | None, inferred: Inferred, sha256: str
) -> Sequence[Mapping[str, Any]]:
    """Writes the pictures of the pages after the first one; returns what `save_pages` does."""
    is_in_memory = inferred.sink is None and not inferred.image.following
    if document is None or not formats.named(output_format(job.target)).pages:
        return ()
    if is_remote(job.target) and not is_in_memory:  # It would have to be fetched again.
        return ()
    in_memory = (_as_written(stages, job, inferred, page) for page in inferred.image.pages)
    after = in_memory if is_in_memory else _result(stages, job).pages()
    return save_pages(job.root / GALLERY, sha256, document.pages(), after)


def _result(stages: Stages, job: Job) -> _File:
    """The output of a job. Raises InputError."""
    keeping, growth = stages.keeping, stages.foresight.sizing.most_growth
    data = read_whole(job.target, max_bytes=growth * keeping.max_file_bytes)
    return _File(data, job.target, stages.decoder, growth * keeping.max_pixels)


def complete(stages: Stages, job: Job, fetched: Fetched, known: Known | None) -> None:
    """Makes the pictures of a job that is done already, if they are missing. What cannot be shown is left out."""
    record = known.counted if known else None
    if record is None or not lacks_picture(job, known):
        return
    try:
        read = stages.take_in(job, fetched.data, fetched.mask_data)
        result = _result(stages, job)
        if content_of(result.data) == record.output:
            before = before_of(stages, job, read, fetched.data)
            _save(job.root / GALLERY, record.output.sha256, before, result)
    except Exception:  # noqa: BLE001 (as above)
        return


def _save(folder: Path, sha256: str, before: Before, result: _File) -> None:
    """Writes the pictures of an output that was made before. Raises InputError, OutputError."""
    image = result.window()
    pages: Sequence[Mapping[str, Any]] = ()
    if before.document is not None and image.num_pages > 1:
        pages = save_pages(folder, sha256, before.document.pages(), result.pages())
    save_picture(folder, sha256, before.shown, shown_of(image, len(result.data)), pages=pages)


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
            missing.append(Missing(sha256, gallery.root / fields["target"], source, saved_mask(fields)))
    return missing


@dataclass(frozen=True)
class Missing:
    """An output without pictures.

    sha256: the digest of its content. target: its path. source, mask: its original if that is an image, and the mask of
    what was found, if the run has written it: the path, and the digest of the content that the output was made with.
    """

    sha256: str
    target: Path
    source: tuple[Path, str] | None
    mask: tuple[Path, str] | None = None

    def make(self, folder: Path, decoder: Decode) -> bool:
        """Makes the pictures, into the gallery `folder`; returns False if they cannot be made. Raises OutputError.

        A source or mask that is not there any more, has changed, or cannot be read, is left out; so is a changed
        result.
        """
        try:
            self._make(folder, decoder)
        except OutputError:
            raise
        except Exception:  # noqa: BLE001 (memory, or what a library meets in one file)
            return False
        return True

    def _make(self, folder: Path, decoder: Decode) -> None:
        result = _unchanged(self.target, self.sha256, decoder)
        before = Before()
        with suppress(InputError):
            if self.source is not None and (source := _unchanged(*self.source, decoder)):
                image = source.window()
                document = source if image.num_pages > 1 else None
                before = Before(self._with_hole(shown_of(image, len(source.data)), decoder), document)
        if result is not None:
            _save(folder, self.sha256, before, result)

    def _with_hole(self, shown: Shown, decoder: Decode) -> Shown:
        with suppress(InputError):
            if self.mask is not None and (mask := _unchanged(*self.mask, decoder)):
                pixels = mask.window().pixels
                return replace(shown, hole=reduced_hole(pixels > 0)) if pixels.ndim == 2 else shown
        return shown


def _unchanged(path: Path, sha256: str, decoder: Decode) -> _File | None:
    """A file; None if it has another content. Raises InputError."""
    data = read_whole(path, max_bytes=_MAX_BYTES)
    return _File(data, path, decoder) if content_of(data).sha256 == sha256 else None
