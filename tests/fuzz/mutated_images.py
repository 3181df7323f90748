"""Damages image files of every format at random and feeds them to the decoder.

    python tests/fuzz/mutated_images.py [--files N] [--seed S] [--only FORMAT]

Whatever the bytes are, the answer must be an image or an InputError: no other exception, no crash, no hang, no memory
beyond what the limit on pixels allows. The files are decoded in processes of their own, a few hundred each, with a
limit on their address space and a deadline, so that a crash or a hang is found and its seed is printed. A seed gives
the same bytes on every machine with the same libraries; `--keep DIR` writes the bytes that broke something.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import subprocess
import sys
import time
import warnings
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageCms

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.provenance import HistoryEntry, attributed
from adacode_cli.imaging.resolution import INCH, Resolution

MAX_PIXELS = 4_000_000
ADDRESS_SPACE_BYTES = 6 << 30  # libraries map much that they never touch
PEAK_BYTES = 1 << 30
BATCH = 250
DEADLINE_S = 300
SLOW_S = 10
_JXL = Path(__file__).parents[1] / "imaging" / "jxl"
_INTERESTING = (0, 1, 2, 4, 8, 127, 128, 254, 255)


def seeds() -> dict[str, bytes]:
    """Small files of every format, with and without alpha, depth, metadata, pages and compression."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:33, 0:37]
    rgb = np.stack([x * 6, y * 7, (x + y) * 3], 2).astype(np.uint8) ^ rng.integers(0, 8, (33, 37, 3)).astype(np.uint8)
    alpha = (x * 7).clip(0, 255).astype(np.uint8)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = {"iptc": b"\x1c\x02\x19\0\3abc", "resolution": Resolution(Fraction(300), Fraction(300), INCH), "icc": icc}
    entry = HistoryEntry("sr-x2", "compact", "0" * 64)
    found = {}
    for format in formats.names():
        found[f"{format}-rgb"] = encode(attributed(Decoded(rgb, **plain), entry), format=format)
        found[f"{format}-grey"] = encode(Decoded(rgb[..., 0].copy()), format=format)
        found[f"{format}-alpha"] = encode(Decoded(rgb, alpha), format=format)
        found[f"{format}-deep"] = encode(Decoded(rgb.astype(np.uint16) * 257), format=format)
    found["tiff-float"] = encode(Decoded(rgb.astype(np.float32) / 255), format="tiff")
    found |= _by_pillow(rgb) | _by_tifffile(rgb)
    found |= {f"jxl-{path.stem}": path.read_bytes() for path in sorted(_JXL.glob("*.jxl"))}
    return found


def _by_pillow(rgb: np.ndarray) -> dict[str, bytes]:
    image = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[274] = 6
    exif[34665] = {36867: "2021:03:04 05:06:07"}
    exif[34853] = {1: "N", 2: (48.0, 51.0, 30.5)}
    block = exif.tobytes()
    variants = {
        "jpeg-progressive": (image, "JPEG", {"progressive": True, "exif": block}),
        "jpeg-cmyk": (image.convert("CMYK"), "JPEG", {}),
        "png-palette": (image.quantize(16), "PNG", {"transparency": 3}),
        "png-frames": (image, "PNG", {"save_all": True, "append_images": [image.rotate(90)]}),
        "webp-lossless": (image, "WEBP", {"lossless": True, "exif": block}),
        "webp-frames": (image, "WEBP", {"save_all": True, "append_images": [image.rotate(90)]}),
        "bmp-palette": (image.quantize(16), "BMP", {}),
        "tiff-lzw": (image, "TIFF", {"compression": "tiff_lzw"}),
        "tiff-jpeg": (image, "TIFF", {"compression": "jpeg"}),
        "tiff-fax": (image.convert("1"), "TIFF", {"compression": "group4"}),
        "jp2-bare": (image, "JPEG2000", {"no_jp2": True}),
    }
    found = {}
    for name, (variant, format, options) in variants.items():
        buffer = BytesIO()
        variant.save(buffer, format, **options)
        found[name] = buffer.getvalue()
    return found


def _by_tifffile(rgb: np.ndarray) -> dict[str, bytes]:
    pages, big = BytesIO(), BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for samples in (rgb, rgb[..., 0].astype(np.float32) / 255, rgb.astype(np.uint16)):
            writer.write(samples, metadata=None)
    tifffile.imwrite(big, rgb.astype(np.uint16), bigtiff=True, tile=(16, 16), byteorder=">", compression="zlib")
    return {"tiff-pages": pages.getvalue(), "tiff-big": big.getvalue()} | _packed(rgb)


def _packed(rgb: np.ndarray) -> dict[str, bytes]:
    """TIFFs of what only imagecodecs unpacks."""
    deep = rgb.astype(np.uint16) * 16
    kinds = {
        "zstd": (np.moveaxis(deep, -1, 0), {"compression": "zstd", "predictor": True, "planarconfig": "separate"}),
        "webp": (rgb, {"compression": "webp"}),
        "jxl": (rgb, {"compression": "jpegxl"}),
        "lerc": (rgb, {"compression": "lerc", "tile": (16, 16)}),
        "jp2": (deep, {"compression": "jpeg2000"}),
        "jpeg12": (deep, {"compression": "jpeg", "compressionargs": {"bitspersample": 12}}),
        "bits": (deep, {"bitspersample": 12}),
    }
    found = {}
    for name, (samples, options) in kinds.items():
        buffer = BytesIO()
        tifffile.imwrite(buffer, samples, photometric="rgb", metadata=None, **options)
        found[f"tiff-{name}"] = buffer.getvalue()
    return found


def mutated(files: list[bytes], number: int, seed: int) -> bytes:
    """File `number` of a run: one of `files`, damaged."""
    dice = random.Random(f"{seed}/{number}")
    return damaged(dice.choice(files), files, dice)


def damaged(whole: bytes, files: list[bytes], dice: random.Random) -> bytes:
    """A file cut, flipped, overwritten or spliced with pieces of `files`, a few times over."""
    data = bytearray(whole)
    for _ in range(dice.choice((1, 1, 2, 3, 5, 9))):
        if not data:
            break
        at = dice.randrange(len(data)) if dice.random() < 0.6 else dice.randrange(min(len(data), 512))
        match dice.randrange(7):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at] = dice.choice(_INTERESTING)
            case 2:
                length = dice.choice((2, 4, 8))
                data[at : at + length] = dice.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * length
            case 3:
                del data[at:]
            case 4:
                del data[at : at + dice.randrange(1, 65)]
            case 5:
                other = dice.choice(files)
                start = dice.randrange(len(other))
                data[at:at] = other[start : start + dice.randrange(1, 257)]
            case _:
                other = dice.choice(files)
                data[at:] = other[dice.randrange(len(other)) :]
    return bytes(data)


def decoded(data: bytes) -> str:
    """ "image" or "refused"; whatever else `decode` raises passes through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = decode(data, name="x", max_pixels=MAX_PIXELS)
        except InputError as error:
            return "refused" if error.message and error.hint else "refused without a reason or a remedy"
    assert sum(page.pixels[..., 0].size for page in image.pages) <= MAX_PIXELS * 4
    return "picture"


def run_batch(first: int, count: int, seed: int, only: str) -> None:
    """Inside a process of its own: decodes, and prints one line of JSON for each file, before and after."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    files = [data for name, data in seeds().items() if name.startswith(only)]
    for number in range(first, first + count):
        print(json.dumps({"begun": number}), flush=True)
        began = time.monotonic()
        try:
            result = decoded(mutated(files, number, seed))
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            result = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"done": number, "result": result, "seconds": seconds, "peak": peak}), flush=True)


def watched(first: int, count: int, seed: int, only: str) -> tuple[dict[str, int], list[str]]:
    """(how many images and refusals, what broke) of a batch, going on behind a file that ended its process."""
    tally, broken = {"picture": 0, "refused": 0}, []
    end = first + count
    while first < end:
        command = [sys.executable, __file__, "--batch", str(first), "--files", str(end - first), "--seed", str(seed)]
        process = subprocess.Popen([*command, "--only", only], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            out, _ = process.communicate(timeout=DEADLINE_S)
            how = f"ended its process with {process.returncode}"
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            how = f"took longer than {DEADLINE_S} s"
        if b"begun" not in out:
            raise RuntimeError(f"the process for files from {first} on does not even start: run --batch {first}")
        last = first
        for line in out.decode().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                last = event.get("begun", last)
                if "done" in event:
                    _judge(event, tally, broken)
                    first = event["done"] + 1
        if first < end:
            broken.append(f"file {last}: {how}")
            first = max(first, last) + 1
    return tally, broken


def _judge(event: dict, tally: dict[str, int], broken: list[str]) -> None:
    if event["result"] not in tally:
        broken.append(f"file {event['done']}: {event['result']}")
    else:
        tally[event["result"]] += 1
    if event["seconds"] > SLOW_S:
        broken.append(f"file {event['done']}: took {event['seconds']:.0f} s")
    if event["peak"] > PEAK_BYTES:
        broken.append(f"file {event['done']}: {event['peak'] >> 20} MiB at the peak of its process")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only files of this format, such as tiff or jpeg-cmyk")
    parser.add_argument("--keep", type=Path, help="a directory for the files that broke something")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.batch is not None:
        run_batch(chosen.batch, chosen.files, chosen.seed, chosen.only)
        return 0
    tally, broken = {"picture": 0, "refused": 0}, []
    for first in range(0, chosen.files, BATCH):
        found, bad = watched(first, min(BATCH, chosen.files - first), chosen.seed, chosen.only)
        tally = {key: tally[key] + found[key] for key in tally}
        broken += bad
        for line in bad:
            print(line, flush=True)
    print(f"{chosen.files} files: {tally['picture']} images, {tally['refused']} refused, {len(broken)} broken")
    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        files = [data for name, data in seeds().items() if name.startswith(chosen.only)]
        for line in broken:
            number = int(line.split(":")[0].split()[1])
            (chosen.keep / f"{chosen.seed}-{number}.bin").write_bytes(mutated(files, number, chosen.seed))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
