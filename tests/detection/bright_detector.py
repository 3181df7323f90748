"""A detector with known answers: it marks each pixel whose three channels sum to more than 2.85, and nothing else."""

from __future__ import annotations

from pathlib import Path

import torch

from adacode_cli.checkpoints.detectors import write_detector
from adacode_cli.checkpoints.format import Provenance
from adacode_cli.model.detector import Detector, DetectorConfig

SMALL = DetectorConfig((4, 4, 4, 4), (1, 1, 1), (3, 3))
LEAST_SUM = 2.85


@torch.no_grad()
def bright_detector() -> Detector:
    """Its stem adds the channels of each pixel, and its last convolution passes the sums on; all else is zero."""
    network = Detector(SMALL).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    for place in range(4):  # of the 2×2 pixels of a cell; channel c of pixel p has the number 4·c + p
        for channel in range(3):
            network.stem.weight[place, 4 * channel + place, 1, 1] = 50
        network.stem.bias[place] = -50 * (2 * LEAST_SUM - 3)  # of values from -1 to 1
        network.out.weight[place, place, 1, 1] = 1
    return network


def save_bright_detector(path: Path, threshold: float = 0.5) -> Path:
    """The detector in a file."""
    write_detector(path, bright_detector(), threshold, Provenance(licence="CC0-1.0", source="tests"), torch.float32)
    return path
