"""Generates images for training if there are no photographs; the speed does not depend on their content.

python benchmarks/gpu_run/synthetic_photos.py FOLDER COUNT SIDE
"""

from __future__ import annotations

import sys
from pathlib import Path

from adacode_cli.benchmark.image import synthetic_jpeg


def main() -> None:
    """Writes JPEGs."""
    folder, count, side = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True)
    for index in range(count):
        (folder / f"{index:04}.jpg").write_bytes(synthetic_jpeg(side, index))
    print(f"generated {count} images of {side}×{side} px")


if __name__ == "__main__":
    main()
