"""Runs in interpreters of their own, from start to end: most tests fork one that has imported the libraries."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

RUNS = {
    "restored": (["sr", "p", "-o", "out", "--scale", "2", "--json"], 0),
    "filled": (["inpaint", "p/a.png", "--mask-color", "#ffffff", "-o", "out/b.png"], 0),
    "through codes": (["reconstruct", "p", "-o", "out", "--save-codes", "codes"], 0),
    "refused": (["sr", "text.png", "-o", "out"], 3),
}


@pytest.mark.parametrize(("arguments", "code"), RUNS.values(), ids=RUNS)
def test_a_whole_process_ends_with_its_code_and_says_no_more(tmp_path, arguments, code):
    (tmp_path / "p").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    pixels[8:12, 8:12] = 255
    Image.fromarray(pixels).save(tmp_path / "p" / "a.png")
    (tmp_path / "text.png").write_text("This is not an image.")
    done = subprocess.run(
        [sys.executable, "-m", "adacode_cli", *arguments, "--device", "cpu"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    if "--json" in arguments:
        assert json.loads(done.stdout.splitlines()[-1])["event"] == "run-finished"
    if code == 0:
        assert [path.suffix for path in (tmp_path / "out").glob("*.png")] == [".png"]
    else:
        assert "its content is text" in done.stderr
