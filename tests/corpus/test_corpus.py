"""The corpus runner itself: what it counts, what it finds, and that nothing in a folder ends it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import corpus_readers
import numpy as np
import pytest
import tifffile
from PIL import Image

from adacode_cli.imaging.decode import decode

RUN = Path(corpus_readers.__file__).with_name("run.py")

pytestmark = [
    pytest.mark.skipif(corpus_readers.magick_command() is None, reason="ImageMagick is not installed"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and names as Linux has them"),
]


@pytest.fixture
def corpus_run():
    spec = importlib.util.spec_from_file_location("corpus_run", RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def collection(tmp_path):
    """A folder with three sound images, a truncated one, one that is not read, and things that are no images."""
    random = np.random.default_rng(3)
    folder = tmp_path / "collection"
    (folder / "below").mkdir(parents=True)
    colours = random.integers(0, 256, (20, 30, 4), np.uint8)
    Image.fromarray(colours).save(folder / "alpha.png")
    tifffile.imwrite(folder / "below" / "deep.tif", random.integers(0, 1 << 16, (20, 30), np.uint16))
    Image.fromarray(colours[..., :3]).save(folder / "-write[0] \n%s.jpg", quality=90, exif=_lying())
    (folder / "cut.png").write_bytes((folder / "alpha.png").read_bytes()[:700])
    Image.fromarray(colours[..., 0]).save(folder / "moves.png", "gif")
    (folder / "twice.png").write_bytes((folder / "alpha.png").read_bytes())
    (folder / "notes.txt").write_text("no image")
    (folder / "README").write_text("no image either")
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    return folder


def _lying() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


def test_a_run_over_a_folder_of_all_kinds_of_things(collection, tmp_path):
    found = tmp_path / "found.json"
    run = subprocess.run(
        [sys.executable, str(RUN), str(collection), "--json", str(found)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert "      3  same" in lines
    assert "      5  images" in lines
    others = next(line for line in lines if "other files" in line)
    for kind in ("1 .txt", "1 without a suffix", "1 links", "1 pipes", "1 images that were there before"):
        assert kind in others
    files = {entry["file"]: entry for entry in json.loads(found.read_text())["files"]}
    assert files["alpha.png"]["ours"]["channels"] == "RGB and alpha"
    assert files["below/deep.tif"]["ours"]["depth"] == 16
    assert files["-write[0] \\n%s.jpg"]["ours"]["size"] == "20×30"
    assert "truncated" in files["cut.png"]["ours"]["refused"]
    assert "is a GIF" in files["moves.png"]["ours"]["refused"]


def test_an_image_that_is_read_wrongly_is_named_with_figures(collection, corpus_run, monkeypatch, capsys):
    def wrong(data, *, name):
        decoded = decode(data, name=name)
        if name != "deep.tif":
            return decoded
        pixels = decoded.pixels.copy()
        pixels[:10] = 65535 - pixels[:10]
        return replace(decoded, pixels=pixels)

    @contextmanager
    def decoding(**_):
        yield wrong

    monkeypatch.setattr(corpus_run, "decoding", decoding)
    monkeypatch.setattr(sys, "argv", ["run.py", str(collection), "--only", "*.tif"])
    assert corpus_run.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert "      1  differs" in lines
    assert "  below/deep.tif: 30×20, grey, 16 bits" in lines
    assert any(line.lstrip().startswith("ImageMagick: pixels: mean difference 0.2") for line in lines)


def test_a_crash_of_our_decoder_is_a_fault(collection, corpus_run, monkeypatch, capsys):
    @contextmanager
    def decoding(**_):
        yield lambda data, *, name: (_ for _ in ()).throw(corpus_run.DecodingBug("IndexError: out of range"))

    monkeypatch.setattr(corpus_run, "decoding", decoding)
    monkeypatch.setattr(sys, "argv", ["run.py", str(collection), "--limit", "1"])
    assert corpus_run.main() == 1
    out = capsys.readouterr().out
    assert "      1  fault of ours\n" in out
    assert "we refuse it: DecodingBug: IndexError: out of range" in out


def test_a_program_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_readers, "TIME_LIMIT_S", 0.2)
    with pytest.raises(corpus_readers._Refused, match="did not finish"):
        corpus_readers._run(["sleep", "60"], tmp_path)
