"""Codes as a compressed image: bits per pixel, compared with JPEG, WebP and AVIF.

    python benchmarks/codes.py PHOTOS --perceptual FILE [--weights compact] [--every 1]

For each photograph the lowest quality is searched (by bisection, 1 to 100) at which JPEG (4:2:0, optimised tables),
WebP (lossy, method 6) and AVIF (speed 6) are at least as near to the original as the image decoded from our codes; a
codec whose lowest quality is still nearer is counted, with that quality. Sizes are of files without metadata, codes of
one level; a last row has codes of all levels.

The tables after that have what a number of bits per pixel gives: a codec's highest quality whose file is not larger,
and our codes of as many levels as fit. Where not even one level fits, our codes are of a smaller image, and `sr`
enlarges what is decoded. Then follow the bits of a cell, packed by LZMA and with the prior of the weights, and the CPU
seconds of the prior. The last line has the effect of quantised mixing weights: PSNR between decoded images, in float,
clipped.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from statistics import fmean
from time import process_time
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from adacode_cli import formats
from adacode_cli.codes import packing, prior_coding
from adacode_cli.codes.file import from_bytes, to_bytes
from adacode_cli.codes.image import Codes
from adacode_cli.codes.prior import Prior
from adacode_cli.engine.restorer import Restorer
from adacode_cli.evaluation.metrics import Perceptual, RgbImage, perceptual_distance, psnr_luma
from adacode_cli.evaluation.perceptual import load_perceptual
from adacode_cli.imaging.decode import read_image
from adacode_cli.imaging.samples import to_depth

JPEG = {"format": "JPEG", "optimize": True, "subsampling": 2}
WEBP = {"format": "WEBP", "method": 6}
AVIF = {"format": "AVIF", "speed": 6}
CODECS: dict[str, dict[str, Any]] = {"JPEG": JPEG, "WebP": WEBP, "AVIF": AVIF}
RATES = (0.2, 0.4, 0.8)


@dataclass(frozen=True)
class Point:
    """One image coded one way. quality: of the codec; lowest: even quality 1 was nearer, or larger, than required."""

    bits_per_px: float
    distance: float
    psnr: float
    quality: int = 0
    lowest: bool = False


def photographs(folder: Path, every: int) -> Iterator[tuple[str, RgbImage]]:
    """The folder's images as 8-bit RGB, every n-th."""
    for path in sorted(p for p in folder.iterdir() if formats.of_any_suffix(p.suffix))[::every]:
        pixels = to_depth(read_image(path).pixels, np.uint8)
        yield path.stem, np.ascontiguousarray(np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels)


@dataclass(frozen=True)
class Packed:
    """Bits of one image's codes, mixing weights, and file, packed one way. cells: of its grid. pixels: of the image."""

    codes: float
    weights: float
    file: int
    cells: int
    pixels: int
    writing_s: float
    reading_s: float


def packed(codes: Codes, prior: Prior | None) -> tuple[Packed, Codes]:
    """The sizes, with a prior or by LZMA, and what is read from the file."""
    start = process_time()
    data = to_bytes(codes, prior)
    written = process_time()
    again = from_bytes(data, name="codes", prior=lambda: prior)
    times = written - start, process_time() - written
    if prior is None:
        parts = packing.pack_codes(codes.codes_KHW, codes.book_sizes), packing.pack_steps(codes.steps_KHW)
        bits: tuple[float, float] = len(parts[0]) * 8, len(parts[1]) * 8
    else:
        bits = prior_coding.information(prior, codes.codes_KHW, codes.steps_KHW)
    return Packed(*bits, len(data) * 8, codes.codes_KHW[0].size, codes.height * codes.width, *times), again


def coded_by_us(restorer: Restorer, original: RgbImage, network: Perceptual, sizes: dict[str, list[Packed]]) -> Point:
    """Codes of one level, through a file's bytes and back."""
    codes, prior = restorer.encode(original).of_levels(1), restorer.prior()
    found, again = packed(codes, None)
    sizes.setdefault("LZMA", []).append(found)
    if prior is not None:
        found, again = packed(codes, prior)
        sizes.setdefault("prior", []).append(found)
    return point(restorer.decode(again).image, original, found.file // 8, network)


def point(decoded: RgbImage, original: RgbImage, num_bytes: int, network: Perceptual, quality: int = 0) -> Point:
    """The quality of a decoded image, and its size."""
    bits = num_bytes * 8 / (original.shape[0] * original.shape[1])
    distance = perceptual_distance(network, decoded, original)
    return Point(bits, distance, psnr_luma(decoded, original), quality)


def encoded(original: RgbImage, codec: dict[str, Any], quality: int) -> bytes:
    """The image as a file of a codec."""
    buffer = BytesIO()
    Image.fromarray(original).save(buffer, quality=quality, **codec)
    return buffer.getvalue()


def codec_at(original: RgbImage, codec: dict[str, Any], network: Perceptual) -> Callable[[int], Point]:
    """quality → the image through the codec."""

    def at(quality: int) -> Point:
        data = encoded(original, codec, quality)
        with Image.open(BytesIO(data)) as image:
            decoded = np.array(image.convert("RGB"))
        return point(decoded, original, len(data), network, quality)

    return at


def min_quality(at: Callable[[int], Point], distance: float) -> Point:
    """The point of the lowest quality from which `distance` is kept, as found by bisection."""
    low, high = 1, 100
    best = at(low)
    if best.distance <= distance:
        return Point(best.bits_per_px, best.distance, best.psnr, low, lowest=True)
    best = at(high)
    while high - low > 1:
        middle = (low + high) // 2
        tried = at(middle)
        if tried.distance <= distance:
            high, best = middle, tried
        else:
            low = middle
    return best


def max_quality(original: RgbImage, codec: dict[str, Any], bits_per_px: float) -> int:
    """The highest quality whose file is not larger, as found by bisection; 1 if none is."""
    low, high = 1, 101
    while high - low > 1:
        middle = (low + high) // 2
        fits = len(encoded(original, codec, middle)) * 8 <= bits_per_px * original[..., 0].size
        low, high = (middle, high) if fits else (low, middle)
    return low


def all_levels(restorer: Restorer, original: RgbImage, network: Perceptual) -> Point:
    """Codes of all levels."""
    codes = restorer.encode(original)
    return point(restorer.decode(codes).image, original, len(to_bytes(codes, restorer.prior())), network)


def codes_within(restorer: Restorer, original: RgbImage, network: Perceptual, bits_per_px: float) -> Point:
    """Our codes of at most that size: of as many levels as fit, or of a smaller image that `sr` enlarges again."""
    whole, prior = restorer.encode(original), restorer.prior()
    needed = float("inf")
    for levels in range(whole.levels, 0, -1):
        codes = whole.of_levels(levels)
        size = len(to_bytes(codes, prior))
        needed = size * 8 / original[..., 0].size
        if needed <= bits_per_px:
            return point(restorer.decode(codes).image, original, size, network)
    (height, width), share = original.shape[:2], 1.0
    while needed > bits_per_px:
        share *= min(0.99, (bits_per_px / needed) ** 0.5)
        smaller = cv2.resize(original, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)
        codes = restorer.encode(smaller).of_levels(1)
        size = len(to_bytes(codes, prior))
        needed = size * 8 / original[..., 0].size
    enlarged = restorer.sr(restorer.decode(codes).image, height / smaller.shape[0])
    if enlarged.shape != original.shape:
        enlarged = cv2.resize(enlarged, (width, height), interpolation=cv2.INTER_CUBIC)
    return point(np.ascontiguousarray(enlarged), original, size, network)


def quantisation_psnr(restorer: Restorer, original: RgbImage) -> float:
    """dB between the image of the codes and that of `reconstruct`, whose mixing weights are not quantised."""
    deep = original.astype(np.float32) / 255
    error = np.square(restorer.decode(restorer.encode(deep)).image - restorer.reconstruct(deep)).mean()
    return float(-10 * np.log10(max(error, 1e-12)))


def row(name: str, points: list[Point]) -> str:
    """Means as a line of the table."""
    means = [fmean(getattr(p, key) for p in points) for key in ("bits_per_px", "distance", "psnr", "quality")]
    low = sum(p.lowest for p in points)
    quality = f"{means[3]:8.1f}" if means[3] else f"{'':8}"
    return f"{name:<10} {means[0]:9.3f} {means[1]:9.4f} {means[2]:9.2f} {quality} {low or '':>7}"


def packed_row(name: str, found: list[Packed]) -> str:
    """The sizes of all images together as a line of the table."""
    totals = {field.name: sum(getattr(one, field.name) for one in found) for field in fields(Packed)}
    cells, pixels = totals["cells"], totals["pixels"]
    per_cell = [totals["codes"] / cells, totals["weights"] / cells, totals["file"] / cells]
    seconds = [totals[key] / pixels * 1e6 for key in ("writing_s", "reading_s")]
    sizes = " ".join(f"{value:9.3f}" for value in (*per_cell, totals["file"] / pixels))
    return f"{name:<10} {sizes} {seconds[0]:9.2f} {seconds[1]:9.2f}"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--perceptual", required=True, help="as for adacode eval --perceptual")
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--every", type=int, default=1, help="take every n-th photograph")
    options = parser.parse_args()
    network = load_perceptual(options.perceptual)
    assert network is not None, "argparse requires a name"
    restorer = Restorer.from_pretrained(options.weights, device="cpu", precision="fp32")
    found: dict[str, list[Point]] = {title: [] for title in ("codes", *CODECS)}
    rated: dict[tuple[float, str], list[Point]] = {(rate, title): [] for rate in RATES for title in found}
    whole: list[Point] = []
    quantised: list[float] = []
    sizes: dict[str, list[Packed]] = {}
    for name, original in photographs(options.photos, options.every):
        ours = coded_by_us(restorer, original, network, sizes)
        found["codes"].append(ours)
        for title, codec in CODECS.items():
            at = codec_at(original, codec, network)
            found[title].append(min_quality(at, ours.distance))
            for rate in RATES:
                best = at(max_quality(original, codec, rate))
                rated[rate, title].append(replace(best, lowest=best.bits_per_px > rate))
        for rate in RATES:
            rated[rate, "codes"].append(codes_within(restorer, original, network, rate))
        whole.append(all_levels(restorer, original, network))
        quantised.append(quantisation_psnr(restorer, original))
        last = " ".join(f"{title} {points[-1].bits_per_px:.3f}" for title, points in found.items())
        print(f"{name}: bits per pixel: {last}; LPIPS {ours.distance:.4f}", flush=True)
    print(f"\n{platform.machine()}, torch {torch.__version__}, {len(quantised)} photographs, means")
    print(f"{'':<10} {'bits/px':>9} {'LPIPS':>9} {'PSNR luma':>9} {'quality':>8} {'lowest':>7}")
    print("\n".join(row(title, points) for title, points in {**found, "all levels": whole}.items()))
    for rate in RATES:
        print(f"\nat most {rate} bits per pixel")
        print("\n".join(row(title, points) for (at_rate, title), points in rated.items() if at_rate == rate))
    print(f"\n{'packed':<10} {'codes':>9} {'weights':>9} {'file':>9} {'bits/px':>9} {'write':>9} {'read':>9}")
    print("\n".join(packed_row(name, each) for name, each in sizes.items()))
    print("(bits of a cell and of a pixel, all photographs together; CPU seconds for a megapixel)")
    print(f"\nquantised mixing weights: {fmean(quantised):.1f} dB, least {min(quantised):.1f} dB, to exact ones")


if __name__ == "__main__":
    main()
