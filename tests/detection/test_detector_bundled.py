"""The bundled detector on the examples: it finds most of what was drawn into them, and hardly anything beside it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from adacode_cli.checkpoints.catalogue_file import weights_folder
from adacode_cli.engine.detection import MarkFinder

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
NEAR = np.ones((5, 5), np.uint8)  # within 2 px, as in benchmarks/detection.py
pytestmark = pytest.mark.skipif(
    not (weights_folder() / "scratches.safetensors").is_file(), reason="the bundled weights are absent"
)


@pytest.fixture(scope="module")
def finder() -> MarkFinder:
    return MarkFinder.from_pretrained("scratches", device="cpu")


def image_at(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_most_scratches_of_the_examples_are_found(finder, name):
    drawn = cv2.imread(str(EXAMPLES / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE) > 127
    wide = cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_OPEN, np.ones((25, 25), np.uint8)) > 0
    drawn &= ~wide  # a torn corner is no scratch
    found = finder.mask(image_at(EXAMPLES / "scratched" / f"{name}.jpg"))
    near_drawn, near_found = (cv2.dilate(mask.astype(np.uint8), NEAR) > 0 for mask in (drawn, found))
    assert (near_found & drawn).sum() / drawn.sum() > 0.7
    assert (near_drawn & found).sum() / found.sum() > 0.8


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_hardly_anything_is_found_in_sound_images(finder, name):
    assert finder.mask(image_at(EXAMPLES / "photos" / f"{name}.jpg")).mean() < 0.002
