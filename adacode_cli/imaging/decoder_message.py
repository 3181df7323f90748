"""Messages between a run and its decoding processes; pixels are passed in shared memory, not through a pipe.

A message is an anonymous file in memory with all data, and one byte on a socket that carries its descriptor. The
file has no name, so it cannot remain when a process ends; its memory is freed with the last array that refers to it.
It contains JSON and raw blobs and is not unpickled, so that a malicious image cannot run code.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import socket
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from fractions import Fraction
from typing import IO, Any

import numpy as np

from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.resolution import Resolution

_ALIGNMENT = 64  # of each blob, for arrays
# No other process uses the file, so it is not copied on write; all its pages are mapped at once.
_MAPPED = getattr(mmap, "MAP_SHARED", 0) | getattr(mmap, "MAP_POPULATE", 0)
_HEAD = struct.Struct("<Q")
_STRUCTURES = {kind.__name__: kind for kind in (Decoded, Cicp)}

MEMORY_HINT = "If memory ran out, close other programs or use a smaller --jobs. If the file is damaged, copy it again."

Blob = bytes | memoryview
Facts = dict[str, Any]
"""What JSON can hold."""


def send(channel: socket.socket, facts: Facts, blobs: Sequence[Blob] = ()) -> None:
    """Sends a message. Raises OSError if the memory is insufficient or the other side is closed."""
    head = json.dumps([facts, [len(blob) for blob in blobs]]).encode()
    with _anonymous_file() as file:
        file.write(_HEAD.pack(len(head)) + head)
        for blob in blobs:
            file.write(bytes(-file.tell() % _ALIGNMENT))
            file.write(blob)
        file.flush()
        socket.send_fds(channel, [b"."], [file.fileno()])


def receive(channel: socket.socket) -> tuple[Facts, list[memoryview]] | None:
    """The next message, with writable blobs in its file; None if the other side is closed.

    Raises TimeoutError according to the socket, and OSError if there is no memory or descriptor for the message.
    """
    try:
        byte, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    except ConnectionError:
        return None
    if not byte:
        return None
    if not descriptors:  # The system drops a descriptor if the process has too many.
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    try:
        content = memoryview(mmap.mmap(descriptors[0], 0, flags=_MAPPED))
    finally:
        os.close(descriptors[0])
    at = _HEAD.size + _HEAD.unpack_from(content)[0]
    facts, sizes = json.loads(bytes(content[_HEAD.size : at]))
    blobs = []
    for size in sizes:
        at += -at % _ALIGNMENT
        blobs.append(content[at : at + size])
        at += size
    return facts, blobs


class Blobs(list[Blob]):
    """The blobs of a message; bytes that several pages share are sent once."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[int, int] = {}

    def place_of(self, value: bytes) -> int:
        """The index of `value`, which is appended unless this object is contained already."""
        place = self._places.setdefault(id(value), len(self))
        if place == len(self):
            self.append(value)
        return place


def packed(value: object, blobs: Blobs) -> Any:  # noqa: ANN401 (what JSON can hold)
    """`value`, a Decoded or a part of one, in a form for JSON; arrays and bytes are appended to `blobs`."""
    match value:
        case None | int() | str():
            return value
        case tuple():
            return [packed(item, blobs) for item in value]
        case bytes():
            return {"bytes": blobs.place_of(value)}
        case np.ndarray():
            blobs.append(np.ascontiguousarray(value).data.cast("B"))
            return {"array": len(blobs) - 1, "dtype": value.dtype.str, "shape": value.shape}
        case Resolution():
            return {"across": str(value.across), "down": str(value.down), "unit": value.unit}
        case Decoded() | Cicp():
            parts = {field.name: packed(getattr(value, field.name), blobs) for field in fields(value)}
            return {"structure": type(value).__name__, "parts": parts}
    raise AssertionError(f"an image holds a {type(value).__name__}, for which messages have no form")


def unpacked(form: Any, blobs: Sequence[memoryview]) -> Any:  # noqa: ANN401 (what was packed)
    """The inverse of `packed`; arrays refer to the memory of the message."""
    return _unpacked(form, blobs, {})


def _unpacked(form: Any, blobs: Sequence[memoryview], held: dict[int, bytes]) -> Any:  # noqa: ANN401 (as above)
    """`held`: bytes that were unpacked before, by their index."""
    match form:
        case list():
            return tuple(_unpacked(item, blobs, held) for item in form)
        case {"bytes": at}:
            if at not in held:
                held[at] = bytes(blobs[at])
            return held[at]
        case {"array": at, "dtype": dtype, "shape": shape}:
            return np.frombuffer(blobs[at], np.dtype(dtype)).reshape(shape)
        case {"across": across, "down": down, "unit": unit}:
            return Resolution(Fraction(across), Fraction(down), unit)
        case {"structure": kind, "parts": parts}:
            return _STRUCTURES[kind](**{name: _unpacked(part, blobs, held) for name, part in parts.items()})
    return form


def _anonymous_file() -> IO[bytes]:
    """A file without a name, in memory if the system supports this."""
    memfd_create = getattr(os, "memfd_create", None)  # on Linux, unless Python was built for an old C library
    return open(memfd_create("adacode-picture"), "w+b") if memfd_create else tempfile.TemporaryFile()  # noqa: PTH123
