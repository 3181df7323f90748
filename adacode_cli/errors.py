"""Errors that a user can cause or meet; each class has one documented exit code.

An error states what failed, on which file, and what to do next. The command line turns errors into text and an
exit status in one place (`adacode_cli.cli.boundary`); users of the library catch `AdaCodeError`. `translated` converts
errors of the operating system.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_TIME_LIMIT = 75
"""Training reached its --time-limit: sysexits.h's EX_TEMPFAIL, so that a queue may run the same command again."""
EXIT_INTERRUPTED = 130


class AdaCodeError(Exception):
    """Base class of all errors that are not bugs of this program.

    message: what failed.
    path: the file on which it failed, or None.
    hint: what to do next, or "".
    """

    exit_code: ClassVar[int] = EXIT_BUG
    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, path: Path | str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path is not None else ""
        return f"{where}{self.message}"


class UsageError(AdaCodeError):
    """Options contradict one another or have invalid values."""

    exit_code = 2
    kind = "usage"


class InputError(AdaCodeError):
    """No images, an image that cannot be decoded, or a mask that does not fit.

    over_limit: the file exceeds a limit on size, memory or time, and may be undamaged.
    damage: in a few words, what is wrong with a damaged or incomplete file; "" otherwise.
    """

    exit_code = 3
    kind = "input"

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        hint: str = "",
        over_limit: bool = False,
        damage: str = "",
    ) -> None:
        super().__init__(message, path=path, hint=hint)
        self.over_limit = over_limit
        self.damage = damage


class WeightsError(AdaCodeError):
    """Weights are unknown, cannot be fetched, have the wrong digest or the wrong layout.

    only_this_image: one file of codes was made with other weights; a run continues with the other files.
    """

    exit_code = 4
    kind = "weights"

    def __init__(
        self, message: str, *, path: Path | str | None = None, hint: str = "", only_this_image: bool = False
    ) -> None:
        super().__init__(message, path=path, hint=hint)
        self.only_this_image = only_this_image


class DeviceError(AdaCodeError):
    """The device is unavailable, or out of memory at the smallest tile.

    only_this_image: the image was too large; a run continues with the other images.
    only_int8: the other precisions can be used.
    """

    exit_code = 5
    kind = "device"

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        hint: str = "",
        only_this_image: bool = False,
        only_int8: bool = False,
    ) -> None:
        super().__init__(message, path=path, hint=hint)
        self.only_this_image = only_this_image
        self.only_int8 = only_int8


class OutputError(AdaCodeError):
    """Two inputs would write one output, the output exists, or it cannot be written."""

    exit_code = 6
    kind = "output"


class QualityError(OutputError):
    """The result differs too much from its input, in float32 too. `image` is that result, a decoded image."""

    kind = "quality"

    def __init__(self, message: str, *, path: Path | str | None = None, hint: str = "", image: object = None) -> None:
        super().__init__(message, path=path, hint=hint)
        self.image = image


class JournalError(AdaCodeError):
    """The journal of a run cannot be read or written."""

    exit_code = 7
    kind = "journal"


class TrainingError(AdaCodeError):
    """Training stopped: a non-finite loss, unusable data, or an unsuitable run folder."""

    exit_code = 8
    kind = "training"


class PartialFailure(AdaCodeError):  # noqa: N818 (a finished run is not an error)
    """The run finished, but some files failed; the report lists them."""

    exit_code = 9
    kind = "partial"


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the system allows",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "there is no such file or directory",
    errno.EEXIST: "a file of this name exists already",
    errno.EMFILE: "too many files are open (ulimit -n)",
    errno.ENFILE: "too many files are open on this system",
    errno.EISDIR: "it is a directory",
    errno.ENOTDIR: "a file is where a directory should be",
    errno.ELOOP: "the symbolic links form a loop",
    errno.ENAMETOOLONG: "the file name is too long",
}


@contextmanager
def translated(
    kind: type[AdaCodeError], what: str, path: Path | str | None = None, *, hint: str = ""
) -> Iterator[None]:
    """Within the block, an OSError is replaced by an error of `kind` on `path`, with the message "WHAT: REASON"."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {reason(error)}", path=path, hint=hint) from error


def reason(error: OSError) -> str:
    """The cause of an OSError, in plain words."""
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def is_full(error: OSError) -> bool:
    """Whether the system refuses because a disk, or the user's quota on it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
