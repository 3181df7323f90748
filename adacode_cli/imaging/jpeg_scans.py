"""How many scans a JPEG has, before it is decoded: each may go over the whole picture, and a few bytes make one."""

from __future__ import annotations

import re

from adacode_cli.imaging.limits import MAX_SCANS, too_many_scans

_SCAN, _END = 0xDA, 0xD9
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length
# In the data of a scan 0xFF is followed by 0, and restart markers stand between its parts.
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)


def check(data: bytes, *, name: str) -> None:
    """Raises InputError for a JPEG with more than MAX_SCANS scans; damage is left to the decoder."""
    if data.count(b"\xff\xda") <= MAX_SCANS:
        return
    found = _num_scans(data)
    if found > MAX_SCANS:
        raise too_many_scans(found, name)


def _num_scans(data: bytes) -> int:
    """Scans of the first picture; what merely looks like one within a profile or a thumbnail is passed by."""
    found, at = 0, 2
    while (marker := _MARKER.search(data, at)) is not None:
        kind, at = data[marker.end() - 1], marker.end()
        if kind == _END:
            break
        found += kind == _SCAN
        if kind not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    return found
