"""Before and after, side by side: one PNG for each image that `make demo` restored.

    python examples/contact_sheet.py demo     # reads demo/sr-x4 and demo/inpaint, writes demo/sheets

On the left of a super-resolution sheet is the input, enlarged by bicubic interpolation, as a viewer would show it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

HERE = Path(__file__).parent
GAP = 8


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two H×W×3 images with a white gap; the left one is enlarged to the size of the right one."""
    if left.shape != right.shape:
        left = cv2.resize(left, (right.shape[1], right.shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.hstack((left, np.full((len(right), GAP, 3), 255, np.uint8), right))


def main(folder: Path) -> None:
    """Writes a sheet for every restored image whose input is in examples/."""
    sheets = folder / "sheets"
    sheets.mkdir(parents=True, exist_ok=True)
    for inputs, task in ((HERE / "photos", "sr-x4"), (HERE / "scratched", "inpaint"), (HERE / "photos", "reconstruct")):
        for restored in sorted((folder / task).glob("*.jpg")):
            sheet = beside(iio.imread(inputs / restored.name), iio.imread(restored))
            target = sheets / f"{task}-{restored.stem}.png"
            iio.imwrite(target, sheet)
            print(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
