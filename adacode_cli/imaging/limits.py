"""What one file may cost: the limits on inputs in one place, with the reasons; of metadata, `metadata_limits`.

The bytes of a file are untrusted, and a few of them can claim much: docs/reliability.md says which limit holds where. A
file beyond a limit is refused with the figures, and with the option that raises the limit where there is one.
"""

from __future__ import annotations

from adacode_cli.errors import InputError

MAX_PIXELS = 300_000_000
"""Larger pictures are refused unless a caller says otherwise: few are meant, and 100 bytes can claim to be one."""

MAX_FILE_BYTES = 2_000_000_000
"""Larger files are refused unless a caller says otherwise: 300 megapixels of 16 bits and three colours are 1.8 GB."""

COUNTED_PIXEL_BYTES = 16
"""A pixel of more bytes than four samples of 32 bits counts as so many more pixels."""

MAX_PAGES = 10_000
"""Pages of a TIFF."""

MAX_SCANS = 100
"""Scans of a JPEG: programs write up to some twenty, and each costs the time of a whole picture."""

HEAD_BYTES = 4096
"""So much of a file is looked at before the rest is read."""

# Of a decoding process, beyond what it holds before the file comes: see `memory_limit`.
MEMORY_BESIDE_BYTES = 512 << 20
MEMORY_FILE_COPIES = 4
MEMORY_PIXEL_BYTES = 80

_HARM = "if not, the file is damaged or made to do harm."


def too_many_pixels(what: str, max_pixels: int, *, name: str) -> InputError:
    """The refusal of a file that claims `what`."""
    return InputError(
        f"claims {what}, more than {max_pixels / 1e6:g} megapixels",
        path=name,
        hint=f"If it really is that large, raise --max-megapixels; {_HARM}",
        over_limit=True,
    )


def too_many_bytes(num_bytes: int | None, max_bytes: int, *, name: str) -> InputError:
    """The refusal of a file of `num_bytes`, or of a stream that did not end before (None)."""
    found = f"has {num_bytes / 1e6:,.1f} MB, more than" if num_bytes is not None else "does not end after"
    return InputError(
        f"{found} the {max_bytes / 1e6:g} MB that a file may have",
        path=name,
        hint="If it really is a picture of that size, raise --max-file-size.",
        over_limit=True,
    )


def too_many_pages(name: str) -> InputError:
    """The refusal of a TIFF with more than MAX_PAGES pages."""
    hint = "Split it into several files."
    return InputError(f"has more than {MAX_PAGES} pages", path=name, hint=hint, over_limit=True)


def too_many_scans(num_scans: int, name: str) -> InputError:
    """The refusal of a JPEG with `num_scans` scans."""
    hint = "If other programs can show it, save it there under a new name; if not, the file is made to do harm."
    message = f"has {num_scans} scans, more than the {MAX_SCANS} that are read"
    return InputError(message, path=name, hint=hint, over_limit=True)


def too_little_memory(name: str, limit: int | None) -> InputError:
    """The refusal of a file that needs more memory than is free, or than the `limit` in bytes of its process."""
    if limit is None:
        hint = "Close other programs, or make the picture smaller first."
        return InputError("needs more memory than is free", path=name, hint=hint, over_limit=True)
    hint = "If other programs can show it, save it there under a new name, or add --no-isolate, which sets no limit."
    message = f"needs more memory to be decoded than the {limit / 1e6:,.0f} MB that a file of its size may take"
    return InputError(message, path=name, hint=hint, over_limit=True)
