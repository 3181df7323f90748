"""The Python API: enlarges one image and inpaints another, both as NumPy arrays.

python examples/restore_array.py OUT_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import imageio.v3 as iio

from adacode_cli import Restorer

HERE = Path(__file__).parent


def main(out: Path) -> None:
    """Writes large.png and mended.png into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    restorer = Restorer.from_pretrained("compact")

    small = iio.imread(HERE / "photos" / "chelsea.jpg")
    iio.imwrite(out / "large.png", restorer.sr(small, scale=2.5))

    hole = iio.imread(HERE / "masks" / "chelsea.png") > 127
    scratched = iio.imread(HERE / "scratched" / "chelsea.jpg")
    iio.imwrite(out / "mended.png", restorer.inpaint(scratched, hole, grow=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
