"""What an output must keep of its input, what may be lost, and what is added; the same for a whole run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from adacode_cli.errors import OutputError
from adacode_cli.imaging.encode import carried, encoded, losses, unreported_losses
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.provenance import HistoryEntry, attributed
from adacode_cli.limits import MAX_FILE_BYTES, MAX_PIXELS

TimesNs = tuple[int, int]
"""Times of last access and last change, in nanoseconds."""


@dataclass(frozen=True)
class Keeping:
    """How outputs are related to their inputs.

    history: the entry in the metadata of outputs on how they were made, if any.
    strict: every loss is an error.
    preserve_times: outputs get their inputs' times.
    max_pixels, max_file_bytes: larger inputs are refused before they are decoded or read.
    accept_damaged: the readable part of damaged inputs is restored.
    """

    history: HistoryEntry | None = None
    strict: bool = False
    preserve_times: bool = False
    max_pixels: int = MAX_PIXELS
    max_file_bytes: int = MAX_FILE_BYTES
    accept_damaged: bool = False

    def times_of(self, source: Path) -> TimesNs | None:
        """The times that the output gets; None: the time at which it is written."""
        if not self.preserve_times:
            return None
        try:
            status = source.stat()
        except OSError:  # A pipe, or a file that was just removed.
            return None
        return status.st_atime_ns, status.st_mtime_ns

    def encoded(self, image: Decoded, format_name: str, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
        """(the bytes of the file, notes for the user).

        Raises OutputError; with `strict`, also for losses.
        """
        lost = self.judge(image, format_name)
        data, damaged = encoded(self.with_history(image, format_name), format=format_name, quality=quality)
        lost = tuple(dict.fromkeys((*lost, *damaged)))
        lost += unreported_losses(image, data, format_name, lost)
        return data, (*image.notes, *self.lost_note(lost, format_name))

    def judge(self, image: Decoded, format_name: str) -> tuple[str, ...]:
        """The losses of the image in `format_name`. With `strict`, raises OutputError if there are any."""
        lost = losses(image, format_name)
        self._judge(lost, format_name)
        return lost

    def lost_note(self, lost: tuple[str, ...], format_name: str) -> tuple[str, ...]:
        """The note on losses, if there are any. With `strict`, raises OutputError instead."""
        self._judge(lost, format_name)
        return (f"not kept in {format_name}: {', '.join(lost)}",) if lost else ()

    def _judge(self, lost: tuple[str, ...], format_name: str) -> None:
        if lost and self.strict:
            hint = "Choose another --format (docs/formats.md says what each keeps), or leave out --strict."
            raise OutputError(f"cannot be kept in {format_name}: {', '.join(lost)}", hint=hint)

    def with_history(self, image: Decoded, format_name: str) -> Decoded:
        """The image with the history; a block that would become too large for the format is left unchanged."""
        if self.history is None:
            return image
        result = attributed(image, self.history)
        before, after = carried(image, format_name), carried(result, format_name)
        if before.exif is not None and after.exif is None:
            result = replace(result, exif=image.exif)
        if before.xmp is not None and after.xmp is None:
            result = replace(result, xmp=image.xmp)
        return result
