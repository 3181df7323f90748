"""How well `adacode inpaint --detect` finds marks: precision, recall, and what it marks on sound images.

    python benchmarks/detection.py PHOTOS --detector FILE [--thresholds 0.4,0.5,0.6]

Over every image of the folder random scratches, hairs, dust and creases are laid, except over every fourth one; then
blur, grain and JPEG over all (`adacode_cli.training.marks`, with random seeds of its own).

Precision is the share of the marked pixels that lie within 2 px of what was laid over the image; recall is the share of
the pixels of visible marks that lie within 2 px of a marked pixel. A mark is visible if it changes the mean of the
channels by more than 20 levels and by more than half of the standard deviation around it. Both are
printed for the pixels of all damaged images together, where one image with many lines can outweigh all others, and as
means over images.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from adacode_cli.engine.detection import MarkFinder
from adacode_cli.training.marks import Marked, scanned, with_marks

NEAR_PX = 2
SOUND_EVERY = 4
SEED = 5
Mask = npt.NDArray[np.bool_]


@dataclass
class Counts:
    """Pixels of all images so far, for one threshold."""

    right: int = 0
    marked: int = 0
    found: int = 0
    visible: int = 0
    sound_marked: int = 0
    sound: int = 0
    shares: list[tuple[float, float]] = field(default_factory=list)

    def add(self, mask: Mask, truth: Marked | None) -> None:
        """Counts one image; `truth` is None for a sound one."""
        if truth is None:
            self.sound_marked += int(mask.sum())
            self.sound += mask.size
            return
        right, found = int((mask & near(truth.visible | truth.unclear)).sum()), int((truth.visible & near(mask)).sum())
        marked, visible = int(mask.sum()), int(truth.visible.sum())
        self.right, self.marked = self.right + right, self.marked + marked
        self.found, self.visible = self.found + found, self.visible + visible
        # Where nothing is marked, nothing is marked wrongly; where nothing can be seen, nothing is missed.
        self.shares.append((right / marked if marked else 1.0, found / visible if visible else 1.0))

    def __str__(self) -> str:
        precision, recall = self.right / max(1, self.marked), self.found / max(1, self.visible)
        of_images = " | ".join(f"{value:.3f}" for value in np.mean(self.shares, 0))
        sound = 100 * self.sound_marked / max(1, self.sound)
        return f"| {precision:.3f} | {recall:.3f} | {of_images} | {sound:.3f} % |"


def near(mask: Mask) -> Mask:
    """The pixels within NEAR_PX of a pixel of the mask."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * NEAR_PX + 1, 2 * NEAR_PX + 1))
    return cv2.dilate(mask.astype(np.uint8), disk) > 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--thresholds", default="0.3,0.4,0.5,0.6,0.7,0.8,0.9")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    finder = MarkFinder.from_pretrained(arguments.detector, device="cpu")
    thresholds = sorted({*map(float, arguments.thresholds.split(",")), finder.threshold})
    counts = {threshold: Counts() for threshold in thresholds}
    files = sorted(path for path in arguments.photos.iterdir() if path.is_file())
    for i, path in enumerate(files):
        image = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        rng = np.random.Generator(np.random.PCG64([SEED, i]))
        truth = None if i % SOUND_EVERY == 0 else with_marks(image, rng)
        probability = finder.probabilities(scanned(image if truth is None else truth.image, rng))
        for threshold, count in counts.items():
            count.add(probability >= threshold, truth)
    print(f"{len(files)} images, {sum(i % SOUND_EVERY == 0 for i in range(len(files)))} of them sound")
    print("| threshold | precision | recall | mean precision | mean recall | marked of sound images |")
    print("| --- | --- | --- | --- | --- | --- |")
    for threshold, count in counts.items():
        print(f"| {threshold:g}{' (the detector’s)' if threshold == finder.threshold else ''} {count}")


if __name__ == "__main__":
    main()
