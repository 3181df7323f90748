"""Limits on the cost of one file and on values of options: each limit once, with its reason.

This module is pure data and imports nothing, so that options, readers and the engine use the same numbers. Files are
untrusted, and a small file can claim to be large: docs/reliability.md describes where each limit applies.
`imaging.refusals` has the messages for files that exceed a limit.
"""

from __future__ import annotations

MIB = 1 << 20

MAX_PIXELS = 300_000_000
"""Larger images are refused by default: few exist, and a file of 100 bytes can claim to be one."""

MAX_FILE_BYTES = 2_000_000_000
"""Larger files are refused by default: 300 megapixels of 16 bits and three colours are 1.8 GB."""

COUNTED_PIXEL_BYTES = 16
"""Bytes of four samples of 32 bits. A pixel that has N times as many bytes counts as N pixels."""

MAX_PAGES = 10_000
"""The most pages of a TIFF."""

WINDOW_PIXELS = 64_000_000
"""The most pixels of the pages of a document that are decoded together; a larger page is decoded alone."""

MAX_SCANS = 100
"""The most scans of a JPEG: programs write up to about twenty, and each takes the time of a whole image."""

HEAD_BYTES = 4096
"""This many bytes of a file are checked before the rest is read."""

DECODING_LIMIT_S = 600.0
"""The most seconds for one file: the largest files accepted take a tenth of this on a slow machine."""

MAX_METADATA_BYTES = {"icc": 16 * MIB, "exif": 16 * MIB, "xmp": 4 * MIB, "iptc": 1 * MIB}
"""The most bytes of each block of one image, decompressed. The time for metadata is proportional to their size."""

MAX_SUM_OF_METADATA_BYTES = 64 * MIB
"""The most bytes of all blocks of all pages, or the file's size if that is more: pages can share bytes."""

# Of a decoding process, in addition to what it uses before it gets the file: see `imaging.memory_limit`.
MEMORY_FIXED_BYTES = 512 * MIB
MEMORY_FILE_COPIES = 4
MEMORY_PIXEL_BYTES = 80

DEFAULT_QUALITY = 95
"""The quality of lossy formats, from 1 to 100."""

MIN_TILE_PX = 64
"""The smallest side of a tile that can be chosen: a smaller tile would consist mostly of its halo."""

MAX_CODE_LEVELS = 4
"""The most levels of codes, of a network and in a file of codes: each level takes memory and bits like the first."""

MASK_TOLERANCE, MASK_HALO_PX = 20, 4
"""The distance in L*a*b* up to which a pixel of a lossy file has the colour of a mask, and how many pixels around such
pixels count too: `benchmarks/mask_color.py` measures how much of painted marks they cover, and of photographs."""

MAX_CATALOGUE_BYTES = 1 * MIB
"""The most bytes of a catalogue of weights, which may come from a stranger: an entry has about 500."""

MAX_WEIGHTS_BYTES = 4_000_000_000
"""The most bytes of one file of weights that a stranger's catalogue may name: the largest known ones have 250 MB."""
