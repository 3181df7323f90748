"""Camera raw through the program."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).parents[1] / "imaging"))

from raw_files import light, write_dng

W = ("--weights", "nearest")


def test_a_folder_with_a_raw_beside_a_jpeg(adacode, photo, tmp_path):
    photo("p/a.jpg")
    write_dng(tmp_path / "p" / "a.DNG", light(40, 60))
    planned = adacode("sr", "p", "--strict", "--dry-run", *W)
    assert (planned.returncode, b"p/a.DNG -> p-sr-x4/a.DNG.tif" in planned.stdout) == (0, True)
    result = adacode("sr", "p", "--strict", "--json", *W)
    assert result.returncode == 0, result.stdout
    done = {e["source"]: e["notes"] for e in map(json.loads, result.stdout.splitlines()) if e["event"] == "file-done"}
    assert done["p/a.DNG"] == ["developed from camera raw by LibRaw, with the white balance of the camera"]
    pixels = tifffile.imread(tmp_path / "p-sr-x4" / "a.DNG.tif")
    assert (pixels.shape, pixels.dtype) == ((160, 240, 3), np.uint16)
    assert b"2 skipped" in adacode("sr", "p", "--strict", *W).stderr
    assert adacode("sr", "p", "--exclude", "*.DNG", "-o", "other", *W).returncode == 0
    assert not (tmp_path / "other" / "a.DNG.tif").exists()
