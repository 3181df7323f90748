"""`--strict`, `--preserve-times`, `--no-provenance` and `--max-megapixels` as a person uses them."""

import os

import numpy as np
import pytest
from PIL import Image

W = ("--weights", "nearest")
TIMES_NS = (1_000_000_000_000_000_000, 1_100_000_000_000_000_000)


def described(folder):
    """One PNG with alpha, and one without."""
    folder.mkdir()
    rgb = np.full((6, 8, 3), 90, np.uint8)
    Image.fromarray(np.dstack([rgb, np.full((6, 8), 7, np.uint8)])).save(folder / "clear.png")
    Image.fromarray(rgb).save(folder / "whole.png")


def test_strict_fails_the_files_that_would_lose_and_writes_the_others(adacode, tmp_path):
    described(tmp_path / "p")
    result = adacode("sr", "p", "-o", "out", "--format", "jpeg", "--strict", *W)
    assert result.returncode == 9
    assert "p/clear.png: cannot be kept in jpeg: alpha" in result.stderr.decode()
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == ["whole.jpg"]
    alone = adacode("sr", "p/clear.png", "-o", "alone.jpg", "--strict", *W)
    assert alone.returncode in (6, 9)
    assert not (tmp_path / "alone.jpg").exists()
    again = adacode("sr", "p", "-o", "again", "--format", "png", "--strict", *W)
    assert again.returncode == 0


def test_strict_on_a_pipe_writes_nothing(adacode, tmp_path):
    described(tmp_path / "p")
    data = (tmp_path / "p" / "clear.png").read_bytes()
    result = adacode("sr", "-", "--format", "bmp", "--strict", *W, stdin=data)
    assert result.returncode == 6
    assert result.stdout == b""


def test_times_are_kept_if_asked_for(adacode, tmp_path):
    described(tmp_path / "p")
    os.utime(tmp_path / "p" / "whole.png", ns=TIMES_NS)
    adacode("sr", "p", "-o", "kept", "--preserve-times", *W)
    adacode("sr", "p", "-o", "new", *W)
    assert (tmp_path / "kept" / "whole.png").stat().st_mtime_ns == TIMES_NS[1]
    assert (tmp_path / "new" / "whole.png").stat().st_mtime_ns > TIMES_NS[1]


@pytest.mark.parametrize("silent", [False, True])
def test_outputs_name_their_weights_unless_switched_off(adacode, tmp_path, silent):
    described(tmp_path / "p")
    result = adacode("sr", "p/whole.png", "-o", "out.tif", *(["--no-provenance"] if silent else []), *W)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "out.tif") as image:
        software = image.getexif().get(305)
        history = image.tag_v2.get(700)
    assert software == (None if silent else "adacode 0.1.0 (nearest)")
    assert (history is None) if silent else (b"sr-x4; weights nearest; SHA-256" in history)


def test_larger_images_than_allowed_are_refused(adacode, tmp_path):
    described(tmp_path / "p")
    result = adacode("sr", "p/whole.png", "-o", "out.png", "--max-megapixels", "0.0001", *W)
    assert result.returncode == 0
    Image.fromarray(np.zeros((11, 10), np.uint8)).save(tmp_path / "large.png")
    result = adacode("sr", "large.png", "-o", "large-out.png", "--max-megapixels", "0.0001", *W)
    assert result.returncode in (3, 9)
    assert "10×11 pixels, more than 0.0001 megapixels" in result.stderr.decode()
    assert not (tmp_path / "large-out.png").exists()
