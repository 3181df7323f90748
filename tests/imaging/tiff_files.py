"""TIFF files of kinds that no program at hand writes, their strips given as bytes."""

import struct
from io import BytesIO

import numpy as np
import tifffile

_SHORT, _LONG = 3, 4


def by_tifffile(samples, **options):
    """What tifffile writes for an array, without descriptions."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, samples, **{"metadata": None, **options})
    return buffer.getvalue()


def tiff(strips, size, tags, order="<", leave_out=()):
    """Chunky strips of a (height, width) image; `tags`: {code: number or numbers}, which replace those from here."""
    height, width = size
    offsets, data = [], b""
    for strip in strips:
        offsets.append(8 + len(data))
        data += strip + bytes(len(strip) % 2)
    found = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: offsets, 277: 1}
    found |= {278: -(-height // len(strips)), 279: [len(strip) for strip in strips], **tags}
    entries, beside, at = [], b"", 8 + len(data)
    found = {code: value for code, value in sorted(found.items()) if code not in leave_out}
    size_of_directory = 2 + 12 * len(found) + 4
    for code, value in found.items():
        numbers = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
        kind, letter = (_LONG, "I") if code in (256, 257, 273, 279) or max(numbers) > 65535 else (_SHORT, "H")
        body = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(body) > 4:
            place = at + size_of_directory + len(beside)
            beside += body + bytes(len(body) % 2)
            body = struct.pack(order + "I", place)
        entries.append(struct.pack(order + "HHI", code, kind, len(numbers)) + body.ljust(4, b"\0"))
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, at)
    return head + data + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4) + beside


def packed(samples, bits):
    """Rows of H×W×C whole numbers as TIFF packs them: the highest bit first, each row from a whole byte on."""
    rows = samples.reshape(samples.shape[0], -1).astype(np.uint32)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint32)
    return np.packbits((rows[..., None] >> shifts & 1).reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()
