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


def test_a_preview_says_nothing_of_the_size(adacode, tmp_path):
    """The first directory of the file holds 18×12 pixels, the image has 600×400."""
    (tmp_path / "p").mkdir()
    write_dng(tmp_path / "p" / "a.dng", light(400, 600), preview=True)
    run = ("sr", "p", "--long-edge", "610", "-o", "out", "--format", "tiff", *W)
    planned = adacode(*run, "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    events = [json.loads(line) for line in planned.stdout.splitlines()]
    assert [event["event"] for event in events] == ["file-planned", "run-estimated"]
    assert events[1]["unknown_files"] == 1
    assert adacode(*run).returncode == 0
    (made,) = (tmp_path / "out").glob("a*.tif")
    assert tifffile.imread(made).shape == (407, 610, 3)
