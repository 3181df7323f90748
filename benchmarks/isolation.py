"""The cost of decoding in separate processes, compared with the run's own process, as a Markdown table.

python benchmarks/isolation.py [REPEATS]

Each file is decoded in both ways alternately, so that other work on the machine affects both; the figures are medians.
The first line is the time to start a process, which happens once for each thread that reads.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.decoder_pool import DecoderPool
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded

SIDES = (1000, 4000)
FORMATS = ("jpeg", "png", "tiff", "webp")


def photograph(side: int) -> Decoded:
    """side×side, uint8 RGB: slow changes with some grain, about as hard to code as a photograph."""
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    planes = np.stack([np.sin(9 * x + y), np.cos(7 * y - x), np.sin(20 * x * y)], -1)
    grain = np.random.default_rng(0).normal(0, 3, (side, side, 3))
    return Decoded(np.clip(128 + 100 * planes + grain, 0, 255).astype(np.uint8))


def seconds(step: Callable[[], Decoded]) -> float:
    """The time of a step, including a pass over all of its pixels, as the network makes."""
    began = time.perf_counter()
    int(step().pixels.max())
    return time.perf_counter() - began


def main(repeats: int) -> None:
    """Measures and prints."""
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, {repeats} repeats\n")
    pool = DecoderPool()
    tiny = encode(photograph(8), format="png")
    print(f"start of a process: {1000 * seconds(lambda: pool(tiny, name='tiny')):.0f} ms\n")
    print("| file | here | in a process | difference | ratio |\n| --- | --- | --- | --- | --- |")
    for side in SIDES:
        image = photograph(side)
        for format in FORMATS:
            data = encode(image, format=format)
            here, there = [], []
            for _ in range(repeats):
                here.append(1000 * seconds(lambda: decode(data, name="here")))  # noqa: B023 (called at once)
                there.append(1000 * seconds(lambda: pool(data, name="there")))  # noqa: B023 (called at once)
            a, b = median(here), median(there)
            print(f"| {format}, {side**2 / 1e6:g} MP | {a:.1f} ms | {b:.1f} ms | {b - a:+.1f} ms | {b / a:.2f} |")
    pool.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
