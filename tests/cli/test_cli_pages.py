"""What a command reports of the pages of a document."""

from __future__ import annotations

import pytest
from PIL import Image


def test_a_page_that_is_all_hole_is_named(real_adacode, tmp_path):
    pages = [Image.new("RGB", (40, 30), (value, 9, 9)) for value in (1, 2)]
    masks = [Image.new("L", (40, 30)), Image.new("L", (40, 30), 255)]
    pages[0].save(tmp_path / "doc.tif", save_all=True, append_images=pages[1:])
    masks[0].save(tmp_path / "mask.tif", save_all=True, append_images=masks[1:])
    result = real_adacode("inpaint", "doc.tif", "--mask", "mask.tif", "-o", "out/")
    assert result.returncode == 3
    assert "doc.tif: page 2: its mask covers the whole image" in " ".join(result.stderr.decode().split())


@pytest.mark.parametrize("limit", [None, "3000"], ids=["at once", "streamed"])
def test_a_page_without_a_hole_is_named(adacode, tmp_path, limit):
    pages = [Image.new("RGB", (40, 30), (value, 9, 9)) for value in (1, 2, 3)]
    masks = [Image.new("L", (40, 30)) for _ in pages]
    for mask in (masks[0], masks[2]):
        mask.paste(255, (5, 5, 25, 15))
    pages[0].save(tmp_path / "doc.tif", save_all=True, append_images=pages[1:])
    masks[0].save(tmp_path / "mask.tif", save_all=True, append_images=masks[1:])
    env = {"WINDOW_PIXELS": limit} if limit else {}
    result = adacode("inpaint", "doc.tif", "--mask", "mask.tif", "-o", "out/", "--weights", "nearest", **env)
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stderr.decode().split())
    assert "page 2: nothing was filled: no pixel of this image is in its mask" in text
    assert text.count("nothing was filled") == 1
