"""The records of a journal by their targets, in a third of the memory: a tree may have a million of them.

Of a usual record only bytes are kept: numbers, digests, and of its path what the target does not say already. A record
with files beside its output, which is rare, is kept as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from adacode_cli.batch.contents import Content
from adacode_cli.batch.record import Record, Settings

_Value = TypeVar("_Value", bound=Hashable)

_NUMBERS = struct.Struct("<QQQQ32s32sHBH")
"""Sizes and stamps of source and output, their digests, the number of the settings, flags, the number of the folder."""
_HAS_MASK, _HAS_PATH, _PATH_ENDS_AS_TARGET = 1, 2, 4
_DIGEST_BYTES = 32
_MOST = (1 << 16) - 1


class Packed:
    """Records by target, as a dictionary has them; `settings` are shared by many."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes | Record] = {}
        self._settings = _Shared[Settings]()
        self._folders = _Shared[str]()

    def __contains__(self, target: str) -> bool:
        return target in self._kept

    def __setitem__(self, target: str, record: Record) -> None:
        self._kept[target] = self._packed(target, record)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, target: str) -> Record | None:
        """The record of a target; None if there is none."""
        kept = self._kept.get(target)
        return self._unpacked(target, kept) if isinstance(kept, bytes) else kept

    def settings_of(self, target: str) -> Settings | None:
        """The settings of the record of a target."""
        kept = self._kept.get(target)
        if isinstance(kept, bytes):
            return self._settings[_NUMBERS.unpack_from(kept)[6]]
        return None if kept is None else kept.settings

    def joined(self, later: Packed) -> Packed:
        """These records and later ones, which count where both have a target. One of the two if the other is empty."""
        if not len(later):
            return self
        if not len(self):
            return later
        both = Packed()
        for records in (self, later):
            for target in records:
                if (record := records.get(target)) is not None:
                    both[target] = record
        return both

    def _packed(self, target: str, record: Record) -> bytes | Record:
        """The bytes of a record, or the record itself if they cannot say all of it."""
        flags, rest, folder = 0, b"", 0
        if record.mask is not None:
            flags |= _HAS_MASK
        if record.path is not None:
            flags |= _HAS_PATH
            if record.path.endswith(f"/{target}"):
                flags |= _PATH_ENDS_AS_TARGET
                folder = self._folders.number(record.path[: -len(target)])
            else:
                rest = record.path.encode("utf-8", "surrogatepass")
        settings = self._settings.number(record.settings)
        try:
            mask = b"" if record.mask is None else _digest(record.mask)
            source, output = record.source, record.output
            sizes = (source.num_bytes, output.num_bytes, record.source_stamp, record.output_stamp)
            digests = (_digest(source.sha256), _digest(output.sha256))
            packed = _NUMBERS.pack(*sizes, *digests, settings, flags, folder)
        except (ValueError, struct.error):
            return record
        return record if record.side_files else packed + mask + rest

    def _unpacked(self, target: str, packed: bytes) -> Record:
        *numbers, source, output, settings, flags, folder = _NUMBERS.unpack_from(packed)
        rest, mask, path = packed[_NUMBERS.size :], None, None
        if flags & _HAS_MASK:
            mask, rest = rest[:_DIGEST_BYTES].hex(), rest[_DIGEST_BYTES:]
        if flags & _PATH_ENDS_AS_TARGET:
            path = self._folders[folder] + target
        elif flags & _HAS_PATH:
            path = rest.decode("utf-8", "surrogatepass")
        return Record(
            Content(numbers[0], source.hex()),
            mask,
            self._settings[settings],
            Content(numbers[1], output.hex()),
            path=path,
            source_stamp=numbers[2],
            output_stamp=numbers[3],
        )


class _Shared(Generic[_Value]):
    """Values that many records share, each once."""

    def __init__(self) -> None:
        self._values: list[_Value] = []
        self._numbers: dict[_Value, int] = {}

    def __getitem__(self, number: int) -> _Value:
        return self._values[number]

    def number(self, value: _Value) -> int:
        """The number of a value, from 0. Where there are more than two bytes can count, one that no bytes hold."""
        number = self._numbers.get(value)
        if number is None:
            number = len(self._values)
            if number <= _MOST:
                self._values.append(value)
                self._numbers[value] = number
        return number


def _digest(text: str) -> bytes:
    """The bytes of a SHA-256. Raises ValueError for another text."""
    digest = bytes.fromhex(text)
    if digest.hex() != text or len(digest) != _DIGEST_BYTES:
        raise ValueError("no SHA-256 in lower case")
    return digest
