"""The markers of a JPEG, and how many scans it has: each may go over the whole picture, and a few bytes make one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from adacode_cli.imaging.limits import MAX_SCANS, too_many_scans

SCAN, _END = 0xDA, 0xD9
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


def markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(kind, where it begins, where its segment ends) of each marker of the first picture, that of its end included.

    What merely looks like one within a profile or a thumbnail is passed by. A segment may end behind the file.
    """
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        kind, at = data[marker.end() - 1], marker.end()
        if kind not in _ALONE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
        yield kind, marker.start(), at
        if kind == _END:
            return


def is_whole(data: bytes) -> bool:
    """Whether the first picture has an end."""
    return any(kind == _END for kind, _, _ in markers(data))


def _num_scans(data: bytes) -> int:
    return sum(kind == SCAN for kind, _, _ in markers(data))
