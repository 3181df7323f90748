"""The `.adacode` file: codes ↔ bytes. A damaged, truncated or malicious file is refused with a reason.

No memory of the size that a header claims is allocated before header, file length and checksum agree and
the size is within the limits. docs/codes.md documents the layout, byte by byte.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.codes import packing, prior_coding
from adacode_cli.codes.image import MAX_BASES, MAX_CODES, Codes, DecoderIdentity
from adacode_cli.codes.prior import DIGEST_BYTES, Prior
from adacode_cli.errors import InputError, WeightsError
from adacode_cli.formats import CODES_SIGNATURE as MAGIC
from adacode_cli.formats import CODES_SUFFIX
from adacode_cli.limits import MAX_CODE_LEVELS, MAX_PIXELS

SUFFIX = CODES_SUFFIX
VERSION = 4
"""The newest version that is read: codes of several levels. Those of one level are written as version 3 if they are
packed with a prior, otherwise as version 2, and as version 1 for images without XMP and IPTC.
"""

# Pixels for each code and mixing weight: the bundled networks have 5 codes for 64 pixels, and those of the padding.
_PIXELS_PER_CODE = 8
_EXTRA_CODES = 1_000_000
# A side of a grid is at most this much larger than its image needs: the image is padded to whole windows, which have
# 8 cells in the bundled and in the published networks.
_MAX_PADDING_CELLS = 64

_START = struct.Struct("<8sHI")
_HEADER = struct.Struct("<BBIIIIBBH16sB")
_LENGTH = struct.Struct("<I")
_GREY, _ALPHA, _ICC, _EXIF, _XMP, _IPTC = 1, 2, 4, 8, 16, 32
_FIRST_UNKNOWN_FLAG = {1: _XMP, 2: 2 * _IPTC, 3: 2 * _IPTC, 4: 2 * _IPTC}
_FIRST_OF_PRIOR, _FIRST_OF_LEVELS = 3, 4
_NO_PRIOR = bytes(DIGEST_BYTES)
_DEPTHS: dict[int, np.dtype[Any]] = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16), 32: np.dtype(np.float32)}
_TOO_LARGE = "If the image really is that large, raise --max-megapixels; otherwise the file is malicious."
_DAMAGED = "Copy or download it again, or save the codes again with --save-codes."


# The prior of a digest, of the weights of this name.
_FindPrior = Callable[[bytes, str], Prior]


def to_bytes(codes: Codes, prior: Prior | None = None) -> bytes:
    """The content of a `.adacode` file; equal codes and priors give equal bytes.

    A file that is packed with a `prior` is smaller, and can only be read with the same prior. Raises ValueError for a
    prior of other codebooks.
    """
    name = codes.decoder.name.encode("utf-8")[:255].decode("utf-8", "ignore").encode("utf-8")
    flags = _GREY * codes.grey + _ALPHA * (codes.alpha is not None)
    flags += _ICC * (codes.icc is not None) + _EXIF * (codes.exif is not None)
    flags += _XMP * (codes.xmp is not None) + _IPTC * (codes.iptc is not None)
    num = len(codes.steps_KHW)
    header = _HEADER.pack(
        codes.dtype.itemsize * 8,
        flags,
        codes.height,
        codes.width,
        *codes.steps_KHW.shape[1:],
        codes.stride,
        num,
        codes.steps_per_unit,
        codes.decoder.digest,
        len(name),
    )
    version, names_prior, sections = _packed(codes, prior)
    version = version or (2 if flags >= _FIRST_UNKNOWN_FLAG[1] else 1)
    sections += [packing.pack_alpha(codes.alpha)] if codes.alpha is not None else []
    sections += [block for block in (codes.icc, codes.exif, codes.xmp, codes.iptc) if block is not None]
    body = header + name + struct.pack(f"<{num}I", *codes.book_sizes[:num]) + names_prior
    body += b"".join(_LENGTH.pack(len(section)) + section for section in sections)
    data = _START.pack(MAGIC, version, _START.size + len(body) + _LENGTH.size) + body
    return data + _LENGTH.pack(zlib.crc32(data))


def _packed(codes: Codes, prior: Prior | None) -> tuple[int, bytes, list[bytes]]:
    """Codes and mixing weights: the version that they need (0: any), the end of its header, and the sections."""
    num, version, digest = len(codes.steps_KHW), 0, b""
    sections = _packed_with(prior, codes) if prior is not None else None
    if prior is not None and sections:
        version, digest = _FIRST_OF_PRIOR, prior.digest
    else:
        packed = packing.pack_codes(codes.codes_KHW[:num], codes.book_sizes[:num])
        sections = [packed, packing.pack_steps(codes.steps_KHW)]
    if codes.levels == 1:
        return version, digest, sections
    sections.append(packing.pack_codes(codes.codes_KHW[num:], codes.book_sizes[num:]))
    return _FIRST_OF_LEVELS, (digest or _NO_PRIOR) + bytes([codes.levels]), sections


def _packed_with(prior: Prior, codes: Codes) -> list[bytes] | None:
    """The sections of the first level's codes and of mixing weights; None where they can only be packed without a
    prior.
    """
    num = len(codes.steps_KHW)
    if prior.book_sizes != codes.book_sizes[:num]:
        raise ValueError(f"a prior of codebooks {prior.book_sizes} does not fit {codes.book_sizes[:num]}")
    packed = prior_coding.pack(prior, codes.codes_KHW[:num], codes.steps_KHW)
    return None if packed is None else list(packed)


def check_start(head: bytes, name: str) -> None:
    """Raises InputError unless a file that begins with `head`, at least its first 14 bytes, may be a file of codes."""
    if not head:
        raise InputError("is empty (0 bytes)", path=name, hint=_DAMAGED)
    if not head.startswith(MAGIC) and not MAGIC.startswith(head):
        raise InputError(
            "holds no codes", path=name, hint=f"--from-codes reads {SUFFIX} files that --save-codes wrote."
        )


def layout_in(head: bytes) -> tuple[int, int, bool, np.dtype[Any]] | None:
    """(height, width, grey, dtype) of the image, from the beginning of a file of codes; None if it is not one."""
    try:
        magic, _, _ = _START.unpack_from(head)
        bits, flags, height, width, *_ = _HEADER.unpack_from(head, _START.size)
        return (height, width, bool(flags & _GREY), _DEPTHS[bits]) if magic == MAGIC else None
    except (struct.error, KeyError):
        return None


def no_prior() -> Prior | None:
    """The prior of weights that have none."""
    return None


def from_bytes(
    data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, prior: Callable[[], Prior | None] = no_prior
) -> Codes:
    """Inverse of `to_bytes`; errors name the file `name`. `prior` is called only for a file that is packed with one.

    Raises InputError for bytes that are no codes, of another version, truncated, damaged, or beyond the limits: more
    than `max_pixels`, or arrays that are too large for compressed data of this length. Raises WeightsError for a file
    that is packed with another prior.
    """
    check_start(data, name)
    try:
        return _read(data, max_pixels, lambda wanted, decoder: _the_prior(prior(), wanted, decoder, name))
    except (struct.error, packing.PackingError, UnicodeDecodeError) as error:
        # The checksum is right, so the file was written like this.
        raise InputError(f"holds inconsistent codes: {error}", path=name, hint=_DAMAGED) from error
    except InputError as error:
        raise InputError(error.message, path=name, hint=error.hint, over_limit=error.over_limit) from error


def _read(data: bytes, max_pixels: int, find_prior: _FindPrior) -> Codes:
    _check_complete(data)
    reader = _Reader(data, _START.size, len(data) - _LENGTH.size)
    header = _read_header(reader, max_pixels)
    packed_codes, packed_steps = reader.section(), reader.section()
    packed_further = reader.section() if header.levels > 1 else b""
    packed_alpha = reader.section() if header.flags & _ALPHA else None
    icc = reader.section() if header.flags & _ICC else None
    exif = reader.section() if header.flags & _EXIF else None
    xmp = reader.section() if header.flags & _XMP else None
    iptc = reader.section() if header.flags & _IPTC else None
    if reader.at != reader.end:
        raise packing.PackingError("it is longer than its header states")
    size = (header.height, header.width)
    # All sizes are checked before any array is decompressed.
    _check_sizes(header, packed_codes, packed_steps, packed_further)
    if packed_alpha is not None:
        packing.check_ratio(packed_alpha, prod(size) * header.dtype.itemsize)
    codes, steps = _unpacked(header, packed_codes, packed_steps, find_prior)
    if header.levels > 1:
        further = packing.unpack_codes(packed_further, header.further_sizes, *header.grid)
        codes = np.concatenate([codes, further])
    alpha = packing.unpack_alpha(packed_alpha, size, header.dtype) if packed_alpha is not None else None
    return Codes(
        *size,
        bool(header.flags & _GREY),
        header.dtype,
        header.stride,
        header.book_sizes * header.levels,
        codes,
        steps,
        header.decoder,
        header.steps_per_unit,
        alpha,
        icc,
        exif,
        xmp=xmp,
        iptc=iptc,
    )


def _check_sizes(header: _Header, packed_codes: bytes, packed_steps: bytes, packed_further: bytes) -> None:
    if header.levels > 1:
        packing.check_ratio(packed_further, prod(header.grid) * packing.record_bytes(header.further_sizes))
    if header.prior is not None:
        prior_coding.check_size(packed_codes, header.shape)
        return
    packing.check_ratio(packed_codes, prod(header.grid) * packing.record_bytes(header.book_sizes))
    packing.check_ratio(packed_steps, prod(header.shape) * np.dtype(np.int16).itemsize)


def _unpacked(
    header: _Header, packed_codes: bytes, packed_steps: bytes, find_prior: _FindPrior
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int16]]:
    if header.prior is None:
        codes = packing.unpack_codes(packed_codes, header.book_sizes, *header.grid)
        return codes, packing.unpack_steps(packed_steps, header.shape)
    prior = find_prior(header.prior, header.decoder.name)
    if prior.book_sizes != header.book_sizes:
        raise packing.PackingError("its codebooks are not those of its prior")
    return prior_coding.unpack(prior, packed_codes, packed_steps, *header.grid)


def _the_prior(found: Prior | None, wanted: bytes, decoder: str, name: str) -> Prior:
    """The prior that was found, if it is the one of this digest. Raises WeightsError, naming the file."""
    if found is not None and found.digest == wanted:
        return found
    has = f"another one ({found.digest.hex()[:12]})" if found else "none"
    raise WeightsError(
        f"its codes are packed with the prior {wanted.hex()[:12]} of the weights {decoder!r}, and these weights "
        f"have {has}",
        path=name,
        hint=f"Use --weights {decoder}; if you use them already, their prior has been trained again since then: "
        "install the version of adacode that wrote the codes.",
        only_this_image=True,
    )


def _check_complete(data: bytes) -> None:
    if len(data) < _START.size:
        raise InputError(f"is truncated: only {len(data)} bytes of a file of codes are present", hint=_DAMAGED)
    _, version, length = _START.unpack_from(data)
    if version not in _FIRST_UNKNOWN_FLAG:
        message = f"is a file of codes of version {version}; this adacode reads versions 1 to {VERSION}"
        raise InputError(message, hint="Update adacode, or save the codes again.")
    if len(data) < length:
        raise InputError(f"is truncated: {len(data)} of {length} bytes are present", hint=_DAMAGED)
    if len(data) > length or length < _START.size + _LENGTH.size:
        raise InputError(f"is damaged: it has {len(data)} bytes and claims {length}", hint=_DAMAGED)
    if zlib.crc32(data[: -_LENGTH.size]) != _LENGTH.unpack(data[-_LENGTH.size :])[0]:
        raise InputError("is damaged: its checksum differs", hint=_DAMAGED)


@dataclass
class _Reader:
    """Reads the bytes between start and checksum in order. Raises struct.error beyond the end."""

    data: bytes
    at: int
    end: int

    def take(self, size: int) -> bytes:
        if size > self.end - self.at:
            raise struct.error("it ends too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def section(self) -> bytes:
        return self.take(*_LENGTH.unpack(self.take(_LENGTH.size)))


@dataclass(frozen=True)
class _Header:
    dtype: np.dtype[Any]
    flags: int
    height: int
    width: int
    grid: tuple[int, int]
    stride: int
    book_sizes: tuple[int, ...]
    steps_per_unit: int
    decoder: DecoderIdentity
    prior: bytes | None
    levels: int

    @property
    def further_sizes(self) -> tuple[int, ...]:
        """Codes of each plane beyond the first level."""
        return self.book_sizes * (self.levels - 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.book_sizes), *self.grid


def _read_header(reader: _Reader, max_pixels: int) -> _Header:
    depth, flags, height, width, rows, columns, stride, num, unit, digest, name_bytes = _HEADER.unpack(
        reader.take(_HEADER.size)
    )
    name = reader.take(name_bytes).decode("utf-8")
    book_sizes = struct.unpack(f"<{num}I", reader.take(4 * num))
    version = _START.unpack_from(reader.data)[1]
    prior = reader.take(DIGEST_BYTES) if version >= _FIRST_OF_PRIOR else None
    fewest = levels = 1
    if version >= _FIRST_OF_LEVELS:
        fewest, levels = 2, reader.take(1)[0]
        prior = None if prior == _NO_PRIOR else prior
    wrong = [
        (depth not in _DEPTHS, f"{depth} bits a sample"),
        (flags >= _FIRST_UNKNOWN_FLAG[version], f"flags {flags}"),
        (0 in (height, width, rows, columns, stride, num, unit), "a size of 0"),
        (not name.isprintable(), "weights of an unprintable name"),
        (num > MAX_BASES, f"{num} bases"),
        (not fewest <= levels <= MAX_CODE_LEVELS, f"version {version} and {levels} as its number of levels of codes"),
        (
            rows * columns * num > height * width // _PIXELS_PER_CODE + _EXTRA_CODES,
            f"{num} times {columns}×{rows} codes for {width}×{height} pixels",
        ),
        (not all(1 <= size <= MAX_CODES for size in book_sizes), "an impossible codebook"),
        (not _covers(rows, height, stride) or not _covers(columns, width, stride), "a grid that does not fit"),
    ]
    for is_wrong, what in wrong:
        if is_wrong:
            raise InputError(f"claims {what}, which no image has", hint=_DAMAGED)
    if height * width > max_pixels:
        message = f"claims {width}×{height} pixels, more than {max_pixels / 1e6:g} megapixels"
        raise InputError(message, hint=_TOO_LARGE, over_limit=True)
    grid, decoder = (rows, columns), DecoderIdentity(name, digest)
    return _Header(_DEPTHS[depth], flags, height, width, grid, stride, book_sizes, unit, decoder, prior, levels)


def _covers(cells: int, pixels: int, stride: int) -> bool:
    """Whether a side of the grid fits a side of the image: it covers it, with at most the padding of a window."""
    touched = ceil(pixels / max(1, stride))
    return touched <= cells <= touched + _MAX_PADDING_CELLS
