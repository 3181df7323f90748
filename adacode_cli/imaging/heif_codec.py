"""AVIF and HEIC: 8 bits through Pillow, deeper pictures through imagecodecs, OpenCV (AVIF) and pillow-heif (HEIC).

pillow-heif is an optional package, because it brings a video encoder under a copyleft licence; without it HEIC files
are refused with the command that installs it. Both formats hold 8, 10 or 12 bits; deeper pixels are held here as 16
bits, and come out with 12 (AVIF) or 10 (HEIC, for which few readers know 12).
"""

from __future__ import annotations

import re
from io import BytesIO
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from PIL import Image

from adacode_cli.errors import AdaCodeError, InputError, OutputError
from adacode_cli.imaging import exif, exif_editing, heif_boxes
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.samples import over_whole_range

STORED_BITS = {"avif": 12, "heic": 10}
"""Bits a sample of what is deeper than 8 bits when it is written."""

_INSTALL = "Install it with: pip install 'adacode-cli[heic]'."
# The entry of an item in the list of items: its version, flags, number (16 or 32 bits), protection, and kind.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.DOTALL)


def pillow_heif(wanted_for: type[AdaCodeError], name: str | None = None) -> ModuleType:
    """The optional package. Raises `wanted_for` where it is not installed."""
    try:
        import pillow_heif as module
    except ImportError as error:
        raise wanted_for(
            "HEIC needs the package pillow-heif, which is not installed", path=name, hint=_INSTALL
        ) from error
    return module


def without_exif(file: bytes) -> bytes:
    """The file with its EXIF called something that nobody looks for; as it is where it has none."""
    return _EXIF_ITEM.sub(rb"\1none", file, count=1)


def deep_avif(file: bytes, bits: int) -> tuple[Samples, Samples | None]:
    """(H×W or H×W×3, alpha or None) uint16 of an AVIF of 10 or 12 bits. Raises ValueError."""
    import imagecodecs

    # OpenCV takes limited range for full in grey pictures, and cannot read deep ones that have alpha. Of a file with
    # frames imagecodecs would write all of them into the room for one.
    samples: Samples = imagecodecs.avif_decode(heif_boxes.without_frames(file), numthreads=1)
    if samples.dtype != np.uint16:
        raise ValueError("no deep pixels in it")
    planes = samples if samples.ndim == 3 else samples[..., None]
    colors = 3 if planes.shape[2] > 2 else 1
    alpha = over_whole_range(planes[..., colors], bits) if planes.shape[2] > colors else None
    return over_whole_range(planes[..., :3] if colors == 3 else planes[..., 0], bits), alpha


def heic(file: bytes, *, name: str) -> Any:  # noqa: ANN401 (a class of an optional package)
    """The opened HEIC file, its deep pixels not reduced; nothing is decoded yet. Raises InputError, ValueError."""
    module = pillow_heif(InputError, name)
    return module.open_heif(BytesIO(file), convert_hdr_to_8bit=False, hdr_to_16bit=False)


def of_whole_range(samples: Samples, bits: int) -> Samples:
    """Grey samples of limited range, which libheif passes on as they are stored, over the whole range of `bits` bits.

    Samples beyond that range say that it is not limited, whatever the file says: libheif writes such files.
    """
    black, white = 16 << (bits - 8), 235 << (bits - 8)
    if samples.size == 0 or samples.min() < black or samples.max() > white:
        return samples
    top, span = (1 << bits) - 1, white - black
    return ((((samples.astype(np.uint32) - black) * top) + span // 2) // span).astype(samples.dtype)


def write(samples: Samples, format: str, quality: int, said: Metadata) -> bytes:
    """An AVIF or HEIC file of H×W×C samples, uint8 or uint16, C = 1, 2, 3 or 4. Raises OutputError."""
    if samples.shape[2] == 2:  # Neither library takes grey with alpha.
        samples = np.dstack([samples[..., :1]] * 3 + [samples[..., 1:]])
    try:
        if format == "heic":
            return _heic(samples, quality, said)
        return _deep_avif(samples, quality, said) if samples.dtype == np.uint16 else _avif(samples, quality, said)
    except (OSError, ValueError, RuntimeError, cv2.error) as error:
        raise OutputError(f"cannot be written as {format.upper()}: {error}", hint="Choose another format.") from error


def _avif(samples: Samples, quality: int, said: Metadata) -> bytes:
    buffer = BytesIO()
    options: dict[str, Any] = {"quality": quality, "max_threads": 1}
    if samples.shape[2] > 1:
        options["subsampling"] = "4:4:4"
    if said.icc is not None:
        options["icc_profile"] = said.icc
    if said.exif is not None:
        # Pillow would write a block with an Orientation anew, which moves maker notes; without one it is upright too.
        options["exif"] = b"Exif\0\0" + exif_editing.with_tags(said.exif, (), without={exif.ORIENTATION})
    if said.xmp is not None:
        options["xmp"] = said.xmp
    Image.fromarray(samples if samples.shape[2] > 1 else samples[..., 0]).save(buffer, "AVIF", **options)
    return _described(buffer.getvalue(), said)


def _deep_avif(samples: Samples, quality: int, said: Metadata) -> bytes:
    bits = STORED_BITS["avif"]
    top = (1 << bits) - 1
    stored = ((samples.astype(np.uint32) * top + 32767) // 65535).astype(np.uint16)
    ordered = np.ascontiguousarray(stored[..., [2, 1, 0, 3][: stored.shape[2]]] if stored.shape[2] > 1 else stored)
    kinds = {cv2.IMAGE_METADATA_EXIF: said.exif, cv2.IMAGE_METADATA_XMP: said.xmp, cv2.IMAGE_METADATA_ICCP: said.icc}
    present = {kind: np.frombuffer(data, np.uint8) for kind, data in kinds.items() if data is not None}
    options = [cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_SPEED, 6]
    done, data = cv2.imencodeWithMetadata(".avif", ordered, list(present), list(present.values()), options)
    if not done:
        raise ValueError("its encoder failed")
    return _described(bytes(data), said)


def _described(file: bytes, said: Metadata) -> bytes:
    """None of the encoders that are used here can be told other colours than sRGB."""
    return heif_boxes.with_cicp(file, said.cicp) if said.cicp is not None else file


def _heic(samples: Samples, quality: int, said: Metadata) -> bytes:
    module = pillow_heif(OutputError)
    kind = {1: "L", 3: "RGB", 4: "RGBA"}[samples.shape[2]] + (";16" if samples.dtype == np.uint16 else "")
    picture = module.from_bytes(kind, samples.shape[1::-1], samples.tobytes())
    options: dict[str, Any] = {"quality": quality, "chroma": 444}
    if said.exif is not None:
        options["exif"] = b"Exif\0\0" + said.exif
    if said.xmp is not None:
        options["xmp"] = said.xmp
    if said.icc is not None:
        picture.info["icc_profile"], picture.info["icc_profile_type"] = said.icc, "prof"
    buffer = BytesIO()
    picture.save(buffer, **options)
    return _described(buffer.getvalue(), said)
