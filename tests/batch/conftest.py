"""Images made here, by Pillow rather than by our own encoder, and a folder with everything that goes wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def save_image(path: Path, size: tuple[int, int] = (24, 16), mode: str = "RGB", seed: int = 0, **options) -> Path:
    """A noisy gradient of (width, height) in `mode`, in the format that the suffix names."""
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, len(mode)))
    ramp = np.linspace(0, 190, width)[None, :, None] + np.zeros((height, 1, 1))
    pixels = (noise + ramp).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode="CMYK" if mode == "CMYK" else None).save(
        path, **options
    )
    return path


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The test's own directory is the working directory: tests speak of relative paths, as a person does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def image(tmp_path):
    """Writes an image below the test's own directory: image("a/b.png", (width, height), ...)."""

    def write(name: str, size: tuple[int, int] = (24, 16), mode: str = "RGB", **options) -> Path:
        return save_image(tmp_path / name, size, mode, **options)

    return write


def save_mixed_folder(folder: Path) -> dict[str, str]:
    """Twelve images of every kind and two files that are none. Returns the reason why each bad one is bad."""
    save_image(folder / "a.jpg")
    save_image(folder / "b.PNG", seed=1)
    save_image(folder / "c.webp", seed=2)
    save_image(folder / "d.tiff", seed=3)
    save_image(folder / "e.bmp", seed=4)
    save_image(folder / "grey.png", mode="L")
    save_image(folder / "alpha.png", mode="RGBA")
    save_image(folder / "one.png", size=(1, 1))
    save_image(folder / "Größe 北京.jpg", seed=5)
    save_image(folder / "cmyk.jpg", mode="CMYK")
    exif = Image.Exif()
    exif[0x0112] = 6
    save_image(folder / "sub" / "rotated.jpg", size=(30, 10), exif=exif)
    save_image(folder / "sub" / "deeper" / "f.jpeg", seed=6)
    whole = save_image(folder / "truncated.jpg", size=(64, 64)).read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("This is not an image.\n")
    (folder / "notes.txt").write_text("not offered for restoring\n")
    return {"truncated.jpg": "truncated", "text.jpg": "text"}


@pytest.fixture
def mixed_folder(tmp_path) -> Path:
    """A folder `photos` as `save_mixed_folder` makes it."""
    save_mixed_folder(tmp_path / "photos")
    return tmp_path / "photos"
