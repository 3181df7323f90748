"""Makes small ICC profiles for colours that a file describes in another way: by numbers, or by a name.

LittleCMS can make such profiles too, but its Python wrappers name each of them "RGB built-in", store the
time, so that equal inputs give different files, and store curves as tables of thousands of values.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""

SRGB_PRIMARIES: Chromaticities = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE_RGB_PRIMARIES: Chromaticities = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)

_VERSION = 0x04200000
# A profile contains a date, which is constant here so that equal inputs give equal files.
_DATE = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_MIN_Y, _MIN_AREA = 1e-4, 1e-4  # of chromaticities from which no number in a profile would overflow
_POWER_ALONE, _POWER_AND_LINE = 0, 3  # kinds of parametric curves


@dataclass(frozen=True)
class Curve:
    """From stored values in [0, 1] to linear light: (a·x + b)^gamma for x ≥ d, and c·x below d."""

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT709_CURVE = Curve(1 / 0.45, 1 / 1.0992968, 0.0992968 / 1.0992968, 1 / 4.5, 0.0812429)
ADOBE_RGB_CURVE = Curve(563 / 256)


def profile(name: str, primaries: Chromaticities, curve: Curve, *, grey: bool = False) -> bytes | None:
    """A display profile named `name` for RGB, or for grey pixels; None for impossible `primaries`.

    The three primaries must span a triangle, and white must lie in it.
    """
    white = _xyz(primaries[0], primaries[1])
    columns = _columns(primaries)
    if white is None or columns is None:
        return None
    adaptation = _adaptation(white)
    columns = adaptation @ columns
    if np.abs(columns).max() > 8 or np.abs(adaptation).max() > 8:
        return None
    tags = [
        (b"desc", _text(name)),
        (b"cprt", _text("No copyright, use freely")),
        (b"wtpt", _numbers(b"XYZ ", _D50)),
        (b"chad", _numbers(b"sf32", adaptation.ravel())),
    ]
    names = (b"kTRC",) if grey else (b"rTRC", b"gTRC", b"bTRC")
    if not grey:
        tags += [(kind, _numbers(b"XYZ ", columns[:, at])) for at, kind in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    return _file(b"GRAY" if grey else b"RGB ", tags + [(kind, _curve(curve)) for kind in names])


def adobe_rgb(*, grey: bool = False) -> bytes:
    """The profile for images in Adobe RGB. Other programs use the same name for such profiles."""
    data = profile("Compatible with Adobe RGB (1998)", ADOBE_RGB_PRIMARIES, ADOBE_RGB_CURVE, grey=grey)
    assert data is not None, "the primaries are possible"
    return data


def _xyz(x: float, y: float) -> npt.NDArray[np.float64] | None:
    """X, Y and Z for luminance 1; None for an invalid chromaticity."""
    if not (_MIN_Y <= y <= 1 and -1 <= x <= 1):
        return None
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _columns(primaries: Chromaticities) -> npt.NDArray[np.float64] | None:
    """The 3×3 matrix from linear RGB to XYZ, without adaptation; None for impossible primaries."""
    white = _xyz(*primaries[:2])
    # A primary may have no luminance (some measured with wide filters), so these are x, y and z.
    ends = np.array([[x, y, 1 - x - y] for x, y in zip(primaries[2::2], primaries[3::2], strict=True)]).T
    if white is None or abs(np.linalg.det(ends)) < _MIN_AREA:
        return None
    shares = np.linalg.solve(ends, white)
    return ends * shares if shares.min() > 0 else None


def _adaptation(white: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The Bradford matrix that adapts colours from `white` to D50, the white of profiles."""
    scale = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    result: npt.NDArray[np.float64] = np.linalg.solve(_BRADFORD, scale[:, None] * _BRADFORD)
    return result


def _file(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    """Header, table of tags, and values; equal values are stored once."""
    values, places, table = bytearray(), dict[bytes, int](), b""
    begin = 128 + 4 + 12 * len(tags)
    for kind, value in tags:
        at = places.setdefault(value, begin + len(values))
        if at == begin + len(values):
            values += value + bytes(-len(value) % 4)
        table += kind + struct.pack(">2I", at, len(value))
    head = struct.pack(">I4sI", begin + len(values), bytes(4), _VERSION) + b"mntr" + space + b"XYZ " + _DATE + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", *(_fixed(value) for value in _D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + bytes(values)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return struct.pack(">4s3I4s2I", b"mluc", 0, 1, 12, b"enUS", len(data), 28) + data


def _curve(curve: Curve) -> bytes:
    if curve == Curve(curve.gamma):
        return _numbers(b"para", [curve.gamma], kind=_POWER_ALONE)
    return _numbers(b"para", [curve.gamma, curve.a, curve.b, curve.c, curve.d], kind=_POWER_AND_LINE)


def _numbers(kind_of_tag: bytes, values: npt.ArrayLike, kind: int | None = None) -> bytes:
    head = kind_of_tag + bytes(4) + (struct.pack(">2H", kind, 0) if kind is not None else b"")
    numbers = [_fixed(float(value)) for value in np.asarray(values)]
    return head + struct.pack(f">{len(numbers)}i", *numbers)


def _fixed(value: float) -> int:
    return round(value * 65536)
