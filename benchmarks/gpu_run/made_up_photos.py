"""Photographs that are made up, to train on where there are none: speed does not depend on what is on them.

python benchmarks/gpu_run/made_up_photos.py FOLDER COUNT SIDE
"""

from __future__ import annotations

import sys
from pathlib import Path

from adacode_cli.benchmark.image import made_up_jpeg


def main() -> None:
    """Writes JPEGs."""
    folder, count, side = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True)
    for index in range(count):
        (folder / f"{index:04}.jpg").write_bytes(made_up_jpeg(side, index))
    print(f"made up {count} photographs of {side}×{side} px")


if __name__ == "__main__":
    main()
