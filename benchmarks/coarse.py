"""The effect of coarse passes: a test set's holes filled with 0, 1, 2, … passes, by the same inpainting weights.

    python benchmarks/coarse.py TESTSET [--weights compact] [--most 4] [--perceptual FILE]

Prints mean PSNR inside the holes and perceptual distance of whole images for each number of passes, separately for
narrow and wide holes, with OpenCV's Telea as the baseline. A hole's width is twice the greatest distance to its edge.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from adacode_cli.checkpoints.format import Provenance
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.evaluation.perceptual import load_perceptual
from adacode_cli.evaluation.score import Row, Scores, evaluate, mean_scores
from adacode_cli.evaluation.testset import Example, load_testset
from adacode_cli.imaging.decode import read_image
from adacode_cli.imaging.mask import read_mask
from adacode_cli.model.network import AdaCode


class WithPasses(WeightsSource):
    """The same weights with any number of coarse passes."""

    def __init__(self, name: str, coarse_passes: int) -> None:
        super().__init__(name, None)
        self.coarse_passes = coarse_passes

    def network(self, task: str, scale: int) -> tuple[AdaCode, Provenance]:
        """As `WeightsSource.network`."""
        network, provenance = super().network(task, scale)
        network.config = replace(network.config, coarse_passes=self.coarse_passes)
        return network, provenance


def hole_width(example: Example) -> float:
    """Width in pixels of the widest hole of an example."""
    assert example.mask is not None, "an inpainting example has a mask"
    height, width = read_image(example.original).pixels.shape[:2]
    hole = read_mask(example.mask, size=(height, width))
    return 2 * float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5).max())


def line_of(name: str, scores: Sequence[Scores], widths: Sequence[float]) -> str:
    """One line: all images, then those with narrow and those with wide holes."""
    middle = float(np.median(widths))
    sides = [[s for s, width in zip(scores, widths, strict=True) if (width > middle) == wide] for wide in (False, True)]
    parts = [mean_scores(part) for part in (scores, *sides)]
    shown = (f"{p.psnr:6.2f} dB" + ("" if p.perceptual is None else f" {p.perceptual:.4f}") for p in parts)
    return f"{name:16}" + "   ".join(shown)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("testset", type=Path)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--most", type=int, default=4)
    parser.add_argument("--perceptual")
    given = parser.parse_args()
    cpu = torch.device("cpu")
    examples = load_testset(given.testset, "inpaint")
    perceptual = load_perceptual(given.perceptual)
    widths = [hole_width(example) for example in examples]
    print(f"{len(examples)} images; holes narrower and wider than {np.median(widths):.0f} px separately")
    rows: list[Row] = []
    for passes in range(given.most + 1):
        restorer = Restorer(WithPasses(given.weights, passes), cpu, RunOptions())
        rows = evaluate(restorer, examples, "inpaint", perceptual=perceptual)
        print(line_of(f"coarse passes: {passes}", [row.restored for row in rows], widths), flush=True)
    print(line_of("Telea", [row.baseline for row in rows if row.baseline is not None], widths))


if __name__ == "__main__":
    main()
