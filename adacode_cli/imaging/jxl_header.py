"""The header of a JPEG XL codestream (ISO/IEC 18181-1): size, depth, channels, orientation, and colours.

The header is needed because the library that decodes the pixels does
not say in which colours they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from adacode_cli.imaging import icc_profile
from adacode_cli.imaging.cicp import SRGB, Cicp
from adacode_cli.imaging.icc_profile import Chromaticities, Curve
from adacode_cli.imaging.jxl_bits import Bits

SIGNATURE = b"\xff\x0a"
ALPHA, SPOT, BLACK = 0, 2, 4
"""Kinds of extra channels."""

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_CFA = 5
_RGB, _GREY = 0, 1
_CUSTOM, _D65, _E, _DCI = 2, 1, 10, 11
_WHITES = {_D65: (0.3127, 0.329), _E: (1 / 3, 1 / 3), _DCI: (0.314, 0.351)}
_BT709, _BT2020, _P3 = 1, 9, 11
_DISPLAY_P3, _DCI_P3 = 12, 11  # primaries of CICP, which contain the white point
_PRIMARIES = {
    _BT709: (0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    _BT2020: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    _P3: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
_UNSPECIFIED, _SRGB = 2, 13
_MAX_CHANNELS = 256


@dataclass(frozen=True)
class Channel:
    """An extra channel: its kind, bits of a sample (0: floating point), and whether colours are multiplied with it."""

    kind: int
    bits: int
    is_associated: bool = False


@dataclass(frozen=True)
class Colours:
    """How colours are described: by an ICC profile that follows the header, by `cicp`, or by a profile that is made.

    xy: of white, red, green and blue, if no numbers of CICP stand for them. gamma: the exponent that encodes, or None.
    """

    has_icc: bool = False
    is_grey: bool = False
    cicp: Cicp | None = SRGB
    xy: Chromaticities | None = None
    gamma: float | None = None

    def profile(self) -> bytes | None:
        """An ICC profile for colours that no numbers of CICP describe; None if there are such numbers."""
        if self.xy is None:
            return None
        curve = Curve(1 / self.gamma) if self.gamma else icc_profile.SRGB_CURVE
        return icc_profile.profile("JPEG XL colours", self.xy, curve, grey=self.is_grey)


@dataclass(frozen=True)
class JxlHeader:
    """The header: `width` × `height` as stored.

    bits: of a sample of the colours; 0 for floating point.
    bits_at: the position of the two bits that select the depth, or None.
    is_xyb: colours are stored in XYB, so that the decoder converts them.
    """

    width: int
    height: int
    bits: int = 8
    bits_at: int | None = None
    orientation: int = 1
    is_animation: bool = False
    channels: tuple[Channel, ...] = ()
    is_xyb: bool = True
    colours: Colours = field(default_factory=Colours)

    @property
    def alpha(self) -> Channel | None:
        """The first channel of alpha."""
        return next((channel for channel in self.channels if channel.kind == ALPHA), None)

    @property
    def has_profile(self) -> bool:
        """Whether the samples are in the colours of an ICC profile in the file."""
        return self.colours.has_icc and not self.is_xyb


def parsed(codestream: bytes) -> JxlHeader:
    """The header of a codestream. Raises ValueError or IndexError for data that are not one."""
    if codestream[:2] != SIGNATURE:
        raise ValueError("no codestream")
    bits = Bits(codestream, 16)
    width, height = _size(bits)
    if bits.flag():  # All values are the usual ones.
        return JxlHeader(width, height)
    orientation, is_animation = _extra_fields(bits) if bits.flag() else (1, False)
    bits_at = bits.at + 1
    depth = _depth(bits)
    bits.flag()
    num_channels = bits.choice((0, 0), (1, 0), (2, 4), (1, 12))
    if num_channels > _MAX_CHANNELS:
        raise ValueError("too many channels")
    channels = tuple(_channel(bits) for _ in range(num_channels))
    is_xyb = bits.flag()
    colours = _colours(bits)
    return JxlHeader(width, height, depth, bits_at, orientation, is_animation, channels, is_xyb, colours)


def _size(bits: Bits) -> tuple[int, int]:
    is_small = bits.flag()

    def side() -> int:
        return 8 * (1 + bits.u(5)) if is_small else bits.choice((1, 9), (1, 13), (1, 18), (1, 30))

    return _with_ratio(bits, side)


def _with_ratio(bits: Bits, side: Callable[[], int]) -> tuple[int, int]:
    """(width, height), of which the width may be stated as a ratio."""
    height, ratio = side(), bits.u(3)
    if ratio == 0:
        return side(), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


def _extra_fields(bits: Bits) -> tuple[int, bool]:
    """(orientation, whether it is an animation)"""
    orientation = 1 + bits.u(3)
    if bits.flag():  # The size for display.
        _size(bits)
    if bits.flag():
        _preview(bits)
    is_animation = bits.flag()
    if is_animation:
        bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
        bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
        bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
        bits.flag()
    return orientation, is_animation


def _preview(bits: Bits) -> None:
    by_eight = bits.flag()

    def side() -> int:
        if by_eight:
            return 8 * bits.choice((16, 0), (32, 0), (1, 5), (33, 9))
        return bits.choice((1, 6), (65, 8), (321, 10), (1345, 12))

    _with_ratio(bits, side)


def _depth(bits: Bits) -> int:
    """The bits of a sample; 0 for floating point."""
    if bits.flag():
        bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
        bits.u(4)
        return 0
    return bits.choice((8, 0), (10, 0), (12, 0), (1, 6))


def _channel(bits: Bits) -> Channel:
    if bits.flag():
        return Channel(ALPHA, 8)
    kind, depth = bits.enumerated(), _depth(bits)
    bits.choice((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(bits.choice((0, 0), (0, 4), (16, 5), (48, 10))):
        bits.u(8)
    if kind == ALPHA:
        return Channel(kind, depth, bits.flag())
    if kind == SPOT:
        bits.u(4 * 16)
    elif kind == _CFA:
        bits.choice((1, 0), (0, 2), (3, 4), (19, 8))
    return Channel(kind, depth)


def _colours(bits: Bits) -> Colours:
    if bits.flag():
        return Colours()
    has_icc, space = bits.flag(), bits.enumerated()
    if has_icc:
        return Colours(has_icc=True, is_grey=space == _GREY, cicp=None)
    if space not in (_RGB, _GREY):
        raise ValueError("unknown colours")
    white = bits.enumerated()
    white_xy = _xy(bits) if white == _CUSTOM else _WHITES[white]
    primaries = bits.enumerated() if space == _RGB else _BT709
    others_xy = (*_xy(bits), *_xy(bits), *_xy(bits)) if primaries == _CUSTOM else _PRIMARIES[primaries]
    gamma, transfer = None, _UNSPECIFIED
    if bits.flag():
        gamma = bits.u(24) / 1e7
    else:
        transfer = bits.enumerated()
    number = {(_D65, _BT709): 1, (_D65, _BT2020): 9, (_D65, _P3): _DISPLAY_P3, (_DCI, _P3): _DCI_P3}.get(
        (white, primaries)
    )
    if number is not None and gamma is None:
        return Colours(is_grey=space == _GREY, cicp=Cicp(number, transfer))
    if gamma is None and transfer != _SRGB:
        raise ValueError("unusual colours")
    return Colours(is_grey=space == _GREY, cicp=None, xy=(*white_xy, *others_xy), gamma=gamma)


def _xy(bits: Bits) -> tuple[float, float]:
    first, second = (bits.choice((0, 19), (1 << 19, 19), (1 << 20, 20), (1 << 21, 21)) for _ in range(2))
    return _signed(first) / 1e6, _signed(second) / 1e6


def _signed(number: int) -> int:
    return -(number + 1) // 2 if number & 1 else number // 2


def with_twelve_bits(codestream: bytes, header: JxlHeader) -> bytes:
    """The codestream of an image in XYB with 12 bits as its depth in place of 8, so that it is decoded to them.

    The depth of such an image is a remark on its source: its samples have floating point. Raises ValueError if another
    depth is stated.
    """
    if not header.is_xyb or header.bits != 8 or header.bits_at is None:
        raise ValueError("its depth cannot be changed")
    changed = bytearray(codestream)
    changed[(header.bits_at + 1) >> 3] |= 1 << ((header.bits_at + 1) & 7)
    return bytes(changed)
