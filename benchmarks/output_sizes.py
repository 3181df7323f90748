"""Bytes of output files for each pixel, from which a dry run estimates room on the disk (`batch/estimate.py`).

    python benchmarks/output_sizes.py PHOTOS [--weights compact] [--side 160]

Each photograph is shrunk and cut to a square of `--side` pixels, and stored as JPEG with the qualities 75, 90 and 97.
Each of these is enlarged four times and twice, reconstructed, and left as it is; the results are stored in every format
with quality 95 and 80. The table has the medians over all photographs; "1×" is the geometric mean of those that are
reconstructed and those that are left as they are. The last columns are the exponents with which the size of an output
grows with that of its input, as JPEG and as PNG, for four times.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from statistics import linear_regression, median

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adacode_cli import formats
from adacode_cli.engine.restorer import Restorer
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded

QUALITIES_IN, QUALITIES_OUT = (75, 90, 97), (95, 80)
Rows = dict[tuple[str, str, int], list[float]]


def jpegs(path: Path, side: int) -> list[tuple[NDArray[np.uint8], int, int]]:
    """(pixels, bytes as JPEG, bytes as PNG) of a photograph, once for each quality."""
    photo = np.asarray(Image.open(path).convert("RGB"))
    square = photo[: min(photo.shape[:2]), : min(photo.shape[:2])]
    small = Image.fromarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))
    found = []
    for quality in QUALITIES_IN:
        small.save(file := BytesIO(), "JPEG", quality=quality)
        pixels = np.array(Image.open(file))
        found.append((pixels, len(file.getvalue()), len(encode(Decoded(pixels), format="png"))))
    return found


def measured(photos: list[Path], restorer: Restorer, side: int) -> tuple[Rows, list[float], list[float]]:
    """(bytes per pixel by kind of result, format and quality; those of the inputs as JPEG, and as PNG, in the same
    order).
    """
    rows, inputs, as_png = defaultdict(list), [], []
    for path in photos:
        for pixels, size, png_size in jpegs(path, side):
            inputs.append(size / side**2)
            as_png.append(png_size / side**2)
            results = {"4×": restorer.sr(pixels, 4), "2×": restorer.sr(pixels, 2)}
            results |= {"reconstructed": restorer.reconstruct(pixels), "same": pixels}
            for kind, image in results.items():
                for format in formats.every():
                    for quality in QUALITIES_OUT if format.lossy else QUALITIES_OUT[:1]:
                        data = encode(Decoded(image), format=format.name, quality=quality)
                        rows[kind, format.name, quality].append(len(data) / (image.shape[0] * image.shape[1]))
        print(f"measured {path}", flush=True)
    return rows, inputs, as_png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--side", type=int, default=160)
    options = parser.parse_args()
    photos = sorted(path for path in options.photos.iterdir() if formats.of_suffix(path.suffix))
    rows, inputs, as_png = measured(photos, Restorer.from_pretrained(options.weights, precision="fp32"), options.side)
    print(f"\ninputs: {median(inputs):.2f} bytes per pixel as JPEG, {median(as_png):.2f} as PNG\n")
    print("| format | 1× | 2× | 4× | 80 to 95, 4× | exponent, JPEG | PNG |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for format in formats.every():
        best = QUALITIES_OUT[0]
        middle = {kind: median(values) for (kind, name, q), values in rows.items() if (name, q) == (format.name, best)}
        once = math.sqrt(middle["reconstructed"] * middle["same"])
        less = median(rows["4×", format.name, 80]) / middle["4×"] if format.lossy else 1.0
        logs = [math.log(value) for value in rows["4×", format.name, best]]
        slopes = [linear_regression([math.log(value) for value in each], logs).slope for each in (inputs, as_png)]
        figures = (once, middle["2×"], middle["4×"], less, *slopes)
        print(f"| {format.name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")


if __name__ == "__main__":
    main()
