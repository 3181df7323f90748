"""How other programs read an image: ImageMagick, vips and others that are installed.

Each runs as a process of its own with limits on time and memory, over a copy of the file under a plain name, so that
neither what is in a file nor how it is called can do more than make one reading fail.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import ImageCms

from adacode_cli.imaging.image import Samples

TIME_LIMIT_S = 60.0
_LIMITS = ((resource.RLIMIT_AS, 6 << 30), (resource.RLIMIT_FSIZE, 4 << 30), (resource.RLIMIT_CORE, 0))
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MAGICK_THREAD_LIMIT": "1", "VIPS_CONCURRENCY": "1", "LC_ALL": "C.UTF-8"}

# By what the first bytes are: the suffix that the copy gets (opj_decompress believes suffixes) and ImageMagick's name.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "jpeg", "jpg", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png", "png", "png"),
    (0, b"II*\0", "tiff", "tif", "tiff"),
    (0, b"MM\0*", "tiff", "tif", "tiff"),
    (0, b"II+\0", "tiff", "tif", "tiff"),
    (0, b"MM\0+", "tiff", "tif", "tiff"),
    (0, b"BM", "bmp", "bmp", "bmp"),
    (8, b"WEBP", "webp", "webp", "webp"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "jp2", "jp2", "jp2"),
    (0, b"\xff\x4f\xff\x51", "jp2", "j2k", "j2k"),
    (4, b"ftypavi", "avif", "avif", "avif"),
    (4, b"ftyphei", "heic", "heic", "heic"),
    (4, b"ftyphev", "heic", "heic", "heic"),
    (4, b"ftypmif1", "heic", "heic", "heic"),
    (4, b"ftypmsf1", "heic", "heic", "heic"),
)

_LINEAR = ("RGB", "LinearGray", "LinearGRAY", "scRGB")
_ERROR = re.compile(r"@ error/|\berror\b", re.IGNORECASE)
_TIME = re.compile(r"\(vips:\d+\): |\d\d:\d\d:\d\d\.\d+: ")
_LONGEST_COMPLAINT = 300
# What ImageMagick says of images that it reads in full.
_HARMLESS = (
    "unknown image property",
    "Unknown field with tag",
    "ParseError",
    "TIFFReadDirectory",
    "ASCII value for tag",
)
_TIFF_NOT_HARMLESS = ("Read error", "Not enough data", "Invalid", "Cannot handle")

# The header of vips' own format: width, height, bands, format of samples, coding, interpretation; 64 bytes in all.
_VIPS_HEADER_BYTES = 64
_VIPS_DTYPES = {0: np.uint8, 2: np.uint16, 6: np.float32, 8: np.float64}
_VIPS_COLOURS = {0: "any", 1: "grey", 22: "rgb", 25: "rgb", 26: "grey", 28: "rgb"}


@dataclass(frozen=True, eq=False)
class Reading:
    """What a program made of a file: upright `pixels` (H×W or H×W×3) and `alpha` (H×W, or None), or None if refused.

    `depth` is of a stored sample in bits, as far as the program reports it. `complaint` is its message about the file.
    """

    reader: str
    pixels: Samples | None = None
    alpha: Samples | None = None
    depth: int | None = None
    complaint: str = ""


class _Refused(Exception):  # noqa: N818 (an answer)
    """A program did not read the file, and why."""


@dataclass(frozen=True)
class Copy:
    """A file to be read: `path`, alone in its folder; `kind`, what it is; `magick`, the same for ImageMagick.

    `inks`: "" or how CMYK is to become RGB, "profile" (to sRGB through its colour profile) or "formula".
    """

    path: Path
    kind: str
    magick: str
    inks: str = ""


def kind_of(head: bytes) -> tuple[str, str, str] | None:
    """(kind, suffix, ImageMagick's name) of a file that begins with `head` (64 bytes or more), or None."""
    for at, signature, kind, suffix, magick in _SIGNATURES:
        if head[at : at + len(signature)] == signature:
            if kind == "heic" and b"avif" in head[12:64]:
                return "avif", "avif", "avif"
            return kind, suffix, magick
    return None


def magick_command() -> str | None:
    """ImageMagick's program, by the name that version 7 or version 6 has for it, or None."""
    return shutil.which("magick") or shutil.which("convert")


def readings(copy: Copy) -> Iterator[Reading]:
    """What each program that knows files of the kind makes of `copy`, the most reliable first, one at a time."""
    for program, read in _ORDER.get(copy.kind, _ANY):
        if program == "ImageMagick" or shutil.which(program):
            try:
                reading = read(copy)
            except _Refused as refused:
                reading = Reading(program, complaint=str(refused))
            if reading.pixels is not None and reading.pixels.size == 0:
                reading = Reading(program, complaint="made an image of no pixels of it")
            _remove_what_was_written(copy)
            yield reading


def _imagemagick(copy: Copy) -> Reading:
    command = magick_command()
    if command is None:
        return Reading("ImageMagick", complaint="is not installed")
    reading, colours = _converted(command, copy, ())
    # Samples are compared as they are stored, and writing would convert these, which gAMA of a PNG is enough for.
    return _converted(command, copy, ("-set", "colorspace", "sRGB"))[0] if colours in _LINEAR else reading


def _converted(command: str, copy: Copy, colours: tuple[str, ...]) -> tuple[Reading, str]:
    """The reading, and the colour space that ImageMagick has for it."""
    folder = copy.path.parent
    raw, facts = folder / "magick.raw", folder / "magick.txt"
    if copy.inks == "profile":
        (folder / "srgb.icc").write_bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        colours = ("-profile", "srgb.icc")
    report = ["-format", "%w %h %z %A %[colorspace]\n", "-write", f"info:{facts.name}"]
    samples = [*colours, "-depth", "16", "-endian", "LSB", f"rgba:{raw.name}"]
    complaint = _run([command, f"{copy.magick}:{copy.path.name}[0]", "-auto-orient", *report, *samples], folder)
    try:
        width, height, depth, alpha, space = facts.read_text().splitlines()[0].split()
        every = np.fromfile(raw, "<u2").reshape(int(height), int(width), 4)
    except (OSError, ValueError, IndexError):
        return Reading("ImageMagick", complaint=complaint or "made no image of it"), ""
    opaque = alpha in ("False", "Undefined", "Off", "None")
    return Reading("ImageMagick", every[..., :3], None if opaque else every[..., 3], int(depth), complaint), space


def _vips(copy: Copy) -> Reading:
    if copy.inks:
        return Reading("vips", complaint="is not asked about CMYK")
    raw = copy.path.parent / "vips.v"
    complaint = _run(["vips", "autorot", copy.path.name, raw.name], copy.path.parent)
    try:
        head = np.fromfile(raw, "<i4", _VIPS_HEADER_BYTES // 4)
        width, height, bands, dtype, coding, colours = (int(head[place]) for place in (1, 2, 3, 5, 6, 7))
        count = _VIPS_COLOURS.get(colours), bands
        if dtype not in _VIPS_DTYPES or coding != 0 or count[0] is None or bands > 4:
            return Reading(
                "vips", complaint=f"gave samples of a kind that is not compared ({dtype}, {colours}, {bands})"
            )
        every = np.fromfile(raw, _VIPS_DTYPES[dtype], width * height * bands, offset=_VIPS_HEADER_BYTES)
        every = every.reshape(height, width, bands)
    except (OSError, ValueError, IndexError):
        return Reading("vips", complaint=complaint or "made no image of it")
    # vips gives all integers that are no bytes as 16 bits, whatever the file stores, so it says nothing of the depth.
    return _split("vips", every, complaint)


def _tiff2rgba(copy: Copy) -> Reading:
    """libtiff's own way from any TIFF to 8 bits: the only one here that knows old JPEG in TIFF and all of YCbCr."""
    if copy.inks == "profile":
        return Reading("tiff2rgba", complaint="is not asked about colour profiles")
    made = copy.path.parent / "made.tif"
    complaint = _run(["tiff2rgba", "-c", "none", copy.path.name, made.name], copy.path.parent)
    try:
        every = tifffile.imread(made, key=0)
    except (OSError, ValueError, IndexError, tifffile.TiffFileError):
        return Reading("tiff2rgba", complaint=complaint or "made no image of it")
    if every.ndim != 3 or every.shape[2] != 4 or every.size == 0:
        return Reading("tiff2rgba", complaint=complaint or "made no image of it")
    alpha = every[..., 3]
    if alpha.min() == 255:
        return Reading("tiff2rgba", every[..., :3], None, None, complaint)
    pixels = every[..., :3] / np.maximum(alpha, 1)[..., None].astype(np.float32)  # they come multiplied by it
    return Reading("tiff2rgba", pixels, alpha, None, complaint)


def _opj_decompress(copy: Copy) -> Reading:
    return _through_png("opj_decompress", ["opj_decompress", "-i", copy.path.name, "-upsample", "-o"], copy)


def _avifdec(copy: Copy) -> Reading:
    command = ["avifdec", "--no-strict", "--ignore-icc", "-d", "16", "-j", "1", "--png-compress", "0", copy.path.name]
    return _through_png("avifdec", command, copy)


def _heif_convert(copy: Copy) -> Reading:
    return _through_png("heif-convert", ["heif-convert", "--quiet", copy.path.name], copy)


def _through_png(reader: str, command: list[str], copy: Copy) -> Reading:
    """The reading of a program that writes a PNG, whose name comes last; how deep the file itself is stays unknown."""
    made = copy.path.parent / "made.png"
    complaint = _run([*command, made.name], copy.path.parent)
    stored = next(iter(sorted(copy.path.parent.glob("made*.png"))), None)  # of several images each gets a number
    every = None if stored is None else cv2.imread(str(stored), cv2.IMREAD_UNCHANGED)
    if every is None:
        return Reading(reader, complaint=complaint or "made no image of it")
    if every.ndim == 3:
        every = every[..., [2, 1, 0, *range(3, every.shape[2])]]
    return _split(reader, every.reshape(*every.shape[:2], -1), complaint)


def _split(reader: str, every: npt.NDArray[np.generic], complaint: str) -> Reading:
    bands = every.shape[2]
    pixels = every[..., 0] if bands < 3 else every[..., :3]
    alpha = every[..., -1] if bands in (2, 4) else None
    return Reading(reader, pixels, alpha, None, complaint)


_Read = Callable[[Copy], Reading]
_MAGICK: tuple[str, _Read] = ("ImageMagick", _imagemagick)
_VIPS: tuple[str, _Read] = ("vips", _vips)
_ANY = (_MAGICK, _VIPS)
# ImageMagick 6 leaves sYCC and palettes of JPEG 2000 as stored, rounds AVIF to 8 bits, turns JPEG in TIFF twice,
# and takes the YCbCr of old JPEG in TIFF for RGB.
_ORDER: dict[str, tuple[tuple[str, _Read], ...]] = {
    "tiff": (_MAGICK, _VIPS, ("tiff2rgba", _tiff2rgba)),
    "jp2": (("opj_decompress", _opj_decompress), _MAGICK, _VIPS),
    "avif": (("avifdec", _avifdec), _MAGICK, _VIPS),
    "heic": (_MAGICK, ("heif-convert", _heif_convert), _VIPS),
}


def _remove_what_was_written(copy: Copy) -> None:
    for left in copy.path.parent.iterdir():
        if left != copy.path:
            left.unlink()


def _run(command: list[str], folder: Path) -> str:
    """Runs a program in `folder`, and returns what it has against the file: "" where all went well.

    Raises _Refused where it ends with an error: what it has written by then is a part of the image, or none.
    """
    environment = {**os.environ, **_ENVIRONMENT, "TMPDIR": str(folder), "MAGICK_TEMPORARY_PATH": str(folder)}
    with (folder / "messages.txt").open("w+b") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
        try:
            _limit(process.pid)
            status = process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise _Refused(f"did not finish within {TIME_LIMIT_S:g} seconds") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        lines = output.read(1 << 16).decode("utf-8", "replace").splitlines()
    lines = [line for line in lines if line.strip() and not _harmless(line)]
    worst = next((line for line in lines if _ERROR.search(line)), lines[0] if lines else "")
    complaint = _TIME.sub("", worst).strip()[:_LONGEST_COMPLAINT]
    if status:
        raise _Refused(f"crashed (signal {-status})" if status < 0 else complaint or f"failed (exit status {status})")
    return complaint


def _limit(process: int) -> None:
    if sys.platform == "linux":
        for what, most in _LIMITS:
            with suppress(ProcessLookupError):
                resource.prlimit(process, what, (most, most))


def _harmless(line: str) -> bool:
    return any(text in line for text in _HARMLESS) and not any(text in line for text in _TIFF_NOT_HARMLESS)
