"""Whether two versions of the program write the same bytes: a folder of every format through every task.

    python tests/trees/same_trees.py > before.txt          one line for each file that is written: name, SHA-256
    python tests/trees/same_trees.py --against before.txt  exit code 1 where a line differs

The program is the package that Python finds, so another version is another PYTHONPATH. The inputs are made by
libraries and never by the program itself. Files in `.adacode/` hold times and are left out. Compare on one machine:
libraries of other versions compress otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pillow_heif
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "astronaut.jpg"
RUNS: dict[str, list[str]] = {
    "sr-x4": ["sr", "in", "-o", "{out}", "--scale", "4"],
    "sr-x1.5": ["sr", "in", "-o", "{out}", "--scale", "1.5", "--tile", "64", "--format", "png"],
    "sr-fixed": ["sr", "in", "-o", "{out}", "--scale", "2", "--color-fix", "low-frequency", "--denoise", "0.5"],
    "sr-maps": ["sr", "in/jpeg-rgb.jpg", "-o", "{out}", "--scale", "2", "--save-weights-map", "{out}-maps"],
    "inpaint-dir": ["inpaint", "in", "-o", "{out}", "--mask-dir", "masks", "--grow", "2", "--feather", "3"],
    "inpaint-alpha": ["inpaint", "in/png-rgba.png", "in/tiff-rgba16.tif", "-o", "{out}", "--mask-alpha"],
    "inpaint-color": ["inpaint", "in/png-rgb.png", "-o", "{out}", "--mask-color", "#ff00ff"],
    "reconstruct": ["reconstruct", "in", "-o", "{out}"],
    "codes": ["reconstruct", "in", "-o", "{out}", "--save-codes", "{out}-codes"],
    "from-codes": ["reconstruct", "codes-codes", "-o", "{out}", "--from-codes", "--format", "png"],
}


def main() -> int:
    """Prints the digests, or what differs from earlier ones."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--against", type=Path, help="digests that this script printed before")
    parser.add_argument("--only", help="names of runs, separated by commas")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="same-trees-") as name:
        lines = _digests(Path(name), given.only.split(",") if given.only else list(RUNS))
    if given.against is None:
        print("\n".join(lines))
        return 0
    runs = {line.split("/", 1)[0] for line in lines}
    before = {line for line in given.against.read_text().splitlines() if line.split("/", 1)[0] in runs}
    for line in sorted(before ^ set(lines), key=lambda line: line.split(" ")[0]):
        print("-" if line in before else "+", line)
    print(f"{len(before & set(lines))} files are the same, {len(before - set(lines))} are not or are missing")
    return int(before != set(lines))


def _digests(folder: Path, runs: list[str]) -> list[str]:
    make_inputs(folder)
    lines = []
    for name in runs:
        command = [part.format(out=name) for part in RUNS[name]]
        done = subprocess.run(
            [sys.executable, "-m", "adacode_cli", *command, "--weights", "compact", "--device", "cpu"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        lines.append(f"{name}/exit-code {done.returncode}")
        for tree in sorted(folder.glob(f"{name}*")):
            files = [path for path in sorted(tree.rglob("*")) if path.is_file() and path.parent.name != ".adacode"]
            lines += [f"{name}/{path.relative_to(folder)} {_digest(path)}" for path in files]
    return lines


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_inputs(folder: Path) -> None:
    """Images of every format, depth and layout in `in/`, under names that differ, and a mask of each in `masks/`."""
    with Image.open(PHOTO) as photo:
        rgb = np.asarray(photo.convert("RGB"))[60:132, 140:236].copy()
    rgb[30:40, 20:60] = (255, 0, 255)
    (folder / "in").mkdir()
    (folder / "masks").mkdir()
    hole = np.zeros(rgb.shape[:2], np.uint8)
    hole[30:40, 20:60] = hole[5:60, 70:72] = 255
    _save_with_pillow(folder / "in", rgb)
    _save_tiffs(folder / "in", rgb)
    for path in sorted((folder / "in").iterdir()):
        turned = path.stem == "jpeg-rgb"  # by its EXIF
        Image.fromarray(np.rot90(hole, -1) if turned else hole).save(folder / "masks" / f"{path.stem}.png")


def _save_with_pillow(folder: Path, rgb: NDArray[np.uint8]) -> None:
    pillow_heif.register_heif_opener()
    image, alpha = Image.fromarray(rgb), Image.fromarray(_alpha(rgb))
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", 6
    dated = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = dated[:24] + bytes(12) + dated[36:]  # without the time at which it was made
    image.save(folder / "jpeg-rgb.jpg", quality=92, exif=exif, dpi=(300, 300))
    image.convert("L").save(folder / "jpeg-grey.jpg", quality=92)
    image.convert("CMYK").save(folder / "jpeg-cmyk.jpg", quality=92)
    image.save(folder / "png-rgb.png", icc_profile=profile, dpi=(72, 72))
    image.convert("L").save(folder / "png-grey.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "png-palette.png")
    rgba = image.copy()
    rgba.putalpha(alpha)
    for suffix in ("png", "webp", "tif", "jp2", "avif"):
        rgba.save(folder / f"{suffix}-rgba.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    for suffix in ("webp", "bmp", "jp2", "avif", "heic"):
        image.save(folder / f"{suffix}-rgb.{suffix}")


def _save_tiffs(folder: Path, rgb: NDArray[np.uint8]) -> None:
    deep = rgb.astype(np.uint16) * 257
    tifffile.imwrite(folder / "tiff-rgb16.tif", deep, photometric="rgb", compression="deflate", predictor=True)
    rgba = np.dstack((deep, _alpha(rgb).astype(np.uint16) * 257))
    tifffile.imwrite(folder / "tiff-rgba16.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(folder / "tiff-grey32f.tif", (rgb[..., 1] / np.float32(255)), photometric="minisblack")
    pages = np.stack((rgb, rgb[::-1], rgb[:, ::-1]))
    tifffile.imwrite(folder / "tiff-pages.tif", pages, photometric="rgb", compression="lzw")


def _alpha(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:20, :30] = 0
    alpha[40:, 80:] = 128
    return alpha


if __name__ == "__main__":
    sys.exit(main())
