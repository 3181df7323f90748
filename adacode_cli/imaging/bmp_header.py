"""What the header of a BMP says beyond what Pillow reads: a profile, and where alpha lies."""

from __future__ import annotations

import struct

_FILE_HEADER, _FIRST_WITH_ALPHA, _WITH_PROFILE = 14, 56, 124
_EMBEDDED, _BIT_FIELDS, _ALPHA_MASK_AT = b"DEBM", (3, 6), 52


def profile_in(file: bytes) -> bytes | None:
    """The ICC profile, for which the fifth version of the header has room."""
    if len(file) < _FILE_HEADER + _WITH_PROFILE or _header_bytes(file) != _WITH_PROFILE:
        return None
    if file[_FILE_HEADER + 56 : _FILE_HEADER + 60] != _EMBEDDED:
        return None
    at, size = struct.unpack_from("<2I", file, _FILE_HEADER + 112)
    profile = file[_FILE_HEADER + at : _FILE_HEADER + at + size]
    return profile if profile[36:40] == b"acsp" and len(profile) == size else None


def alpha_lost(file: bytes, mode: str) -> tuple[str, ...]:
    """What is lost of a file that Pillow reads in `mode`: its alpha, where the header has bits for it all the same."""
    if mode == "RGBA" or len(file) < _FILE_HEADER + _FIRST_WITH_ALPHA or _header_bytes(file) < _FIRST_WITH_ALPHA:
        return ()
    (packing,) = struct.unpack_from("<I", file, _FILE_HEADER + 16)
    (mask,) = struct.unpack_from("<I", file, _FILE_HEADER + _ALPHA_MASK_AT)
    return ("alpha (its layout is not read)",) if packing in _BIT_FIELDS and mask else ()


def _header_bytes(file: bytes) -> int:
    (size,) = struct.unpack_from("<I", file, _FILE_HEADER)
    return int(size)
