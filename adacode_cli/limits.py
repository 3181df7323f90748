"""What one file may cost, and where options begin and end: each limit once, with its reason.

This is pure data and imports nothing, so that options, readers and the engine ask the same numbers. The bytes of a
file are untrusted, and a few of them can claim much: docs/reliability.md says which limit holds where. How a file
beyond a limit is refused is in `imaging.refusals`.
"""

from __future__ import annotations

MIB = 1 << 20

MAX_PIXELS = 300_000_000
"""Larger images are refused unless a caller says otherwise: few are meant, and 100 bytes can claim to be one."""

MAX_FILE_BYTES = 2_000_000_000
"""Larger files are refused unless a caller says otherwise: 300 megapixels of 16 bits and three colours are 1.8 GB."""

COUNTED_PIXEL_BYTES = 16
"""A pixel of more bytes than four samples of 32 bits counts as so many more pixels."""

MAX_PAGES = 10_000
"""Pages of a TIFF."""

WINDOW_PIXELS = 64_000_000
"""Of the pages of a document that are decoded together; a larger page is decoded alone."""

MAX_SCANS = 100
"""Scans of a JPEG: programs write up to some twenty, and each costs the time of a whole image."""

HEAD_BYTES = 4096
"""So much of a file is looked at before the rest is read."""

DECODING_LIMIT_S = 600.0
"""Seconds that one file may take: the largest that are accepted take a tenth of it on a slow machine."""

MAX_METADATA_BYTES = {"icc": 16 * MIB, "exif": 16 * MIB, "xmp": 4 * MIB, "iptc": 1 * MIB}
"""Of each block of one image, unpacked. All work on metadata takes time in proportion to its size."""

MAX_SUM_OF_METADATA_BYTES = 64 * MIB
"""Of all blocks of all pages of a file, or as many as the file has: pages can name the same bytes."""

# Of a decoding process, beyond what it holds before the file comes: see `imaging.memory_limit`.
MEMORY_FIXED_BYTES = 512 * MIB
MEMORY_FILE_COPIES = 4
MEMORY_PIXEL_BYTES = 80

DEFAULT_QUALITY = 95
"""Of lossy formats, from 1 to 100."""

MIN_TILE_PX = 64
"""The least side of a tile that a person can ask for: a smaller one would be halo and little else."""
