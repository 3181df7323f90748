"""A format needs a row in `formats` and a codec module, and nothing else: here is one from outside of the package.

Each test is a process of its own, in which the format is registered; only the network is replaced.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
PACKAGE_PATH = HERE.parents[1]
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
TOY = b"TOY 20 30 3 0\n" + PIXELS.tobytes()


def run(*command, cwd, code=0):
    """Standard output of a Python that finds the toy format and the package."""
    path = os.pathsep.join([str(HERE), str(PACKAGE_PATH)])
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "NO_COLOR": "1"},
        cwd=cwd,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == code, result.stderr.decode()
    return result.stdout.decode() + result.stderr.decode()


def toy_adacode(*arguments, cwd, code=0):
    return run(HERE / "toy_program.py", *arguments, cwd=cwd, code=code)


SCRIPT = """
import hashlib, json
import numpy as np
import toy_program
from adacode_cli.errors import AdaCodeError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.decoder_pool import DecoderPool, decoding
from adacode_cli.imaging.encode import encode, encoded, losses
from adacode_cli.imaging.image import Decoded

data = open("a.toy", "rb").read()
image = decode(data, name="a.toy")
with decoding(isolated=True) as decoder:
    assert isinstance(decoder, DecoderPool)
    elsewhere = decoder(data, name="a.toy")
xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/></x:xmpmeta>"
rich = Decoded(np.full((9, 7), 0x1234, np.uint16), np.full((9, 7), 0x5678, np.uint16), exif=b"MM", xmp=xmp)
back = decode(encode(rich, format="toy", quality=100), name="b")
refused = {}
for name, call in {
    "truncated": lambda: decode(data[:-1], name="c"),
    "start": lambda: decode(b"TO", name="c"),
    "large": lambda: decode(data, name="c", max_pixels=10),
    "wide": lambda: encode(Decoded(np.zeros((2, 501), np.uint8)), format="toy"),
    "unknown": lambda: encode(image, format="unknown"),
}.items():
    try:
        call()
    except AdaCodeError as error:
        refused[name] = f"{error.message} | {error.hint}"
print(json.dumps({
    "format": image.format,
    "same": bool((image.pixels == elsewhere.pixels).all()) and elsewhere.format == image.format,
    "again": bool((decode(encode(image, format="toy", quality=100), name="d").pixels == image.pixels).all()),
    "coarse": sorted({int(v) % 5 for v in decode(encode(image, format="toy", quality=20), name="e").pixels.ravel()}),
    "losses": losses(rich, "toy"),
    "back": [str(back.pixels.dtype), int(back.pixels[0, 0]), int(back.alpha[0, 0]), back.xmp == xmp],
    "refused": refused,
}))
"""


def test_a_format_from_outside_is_decoded_encoded_and_refused_like_any_other(tmp_path):
    (tmp_path / "a.toy").write_bytes(TOY)
    (tmp_path / "script.py").write_text(SCRIPT)
    found = json.loads(run("script.py", cwd=tmp_path))
    assert found["format"] == "toy"
    assert found["same"], "the decoding process has the format too"
    assert found["again"]
    assert found["coarse"] == [0], "the quality reaches the codec"
    assert found["losses"] == ["16-bit depth (saved as 8-bit)", "EXIF"]
    assert found["back"] == ["uint8", 0x12, 0x56, True]
    refused = found["refused"]
    assert refused["truncated"].startswith("is damaged or truncated and cannot be read as Toy")
    assert refused["start"].startswith("is truncated: only the first 2 bytes of a Toy are present")
    assert "30×20 pixels" in refused["large"]
    assert refused["wide"].startswith("a Toy cannot hold 501×2 pixels")
    assert refused["unknown"].endswith("avif, heic, toy.")


def test_the_program_finds_reads_and_writes_it(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.toy").write_bytes(TOY)
    (photos / "b.toy1").write_bytes(TOY)
    Image.fromarray(PIXELS).save(photos / "c.png")
    options = ("--scale", "2", "--weights", "nearest", "--quality", "100")
    toy_adacode("sr", "photos", "-o", "own", *options, cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "own").glob("[a-z]*")) == ["a.toy", "b.toy1.toy", "c.png"]
    toy_adacode("sr", "photos", "-o", "all", *options, "--format", "toy", cwd=tmp_path)
    names = ["a.toy", "b.toy1.toy", "c.toy"]
    assert sorted(path.name for path in (tmp_path / "all").glob("[a-z]*")) == names
    wanted = PIXELS.repeat(2, 0).repeat(2, 1).tobytes()
    for name in names:
        content = (tmp_path / "all" / name).read_bytes()
        assert content.startswith(b"TOY 40 60 3 ")
        assert content.endswith(wanted), name
    again = toy_adacode("sr", "photos", "-o", "all", *options, "--format", "toy", cwd=tmp_path)
    assert "3 done" not in again, "the journal knows them"


def test_the_program_names_it_in_hints_and_in_doctor(tmp_path):
    (tmp_path / "a.toy").write_bytes(b"TOY 400 400 1 0\n" + bytes(400 * 400))
    (tmp_path / "text.png").write_bytes(b"some text that is no picture")
    assert "heic or toy" in " ".join(toy_adacode("sr", "--help", cwd=tmp_path).split())
    told = toy_adacode("sr", "a.toy", "--format", "unknown", cwd=tmp_path, code=2)
    assert "heic or toy" in " ".join(told.split())
    told = toy_adacode("sr", "text.png", "--scale", "2", "--weights", "nearest", cwd=tmp_path, code=3)
    assert "HEIC, Toy, JPEG XL and camera raw are read" in " ".join(told.split())
    told = toy_adacode("sr", "a.toy", "--scale", "2", "--weights", "nearest", "--dry-run", cwd=tmp_path, code=6)
    assert "a Toy cannot hold 800×800 pixels" in " ".join(told.split()), "its header is read"
    script = "import json, toy_program; from adacode_cli.cli import doctor, machine; print(json.dumps("
    script += "[machine.image_formats(), machine.versions()]))"
    listed, versions = json.loads(run("-c", script, cwd=tmp_path))
    assert next(one for one in listed if one["name"] == "toy") == {
        "name": "toy",
        "title": "Toy",
        "suffixes": [".toy"],
        "input_suffixes": [".toy1"],
        "missing": None,
        "missing_for_profiles": None,
        "install": "pip install numpy",
    }
    assert "numpy" in versions


@pytest.mark.parametrize("taken", ["name", "suffix", "beginning"])
def test_what_is_taken_is_refused(tmp_path, taken):
    changes = {"name": {"name": "jpeg"}, "suffix": {"suffixes": (".hif",)}}
    changed = changes.get(taken, {"signatures": (((0, b"BM toy"),),)})
    script = "import dataclasses, toy_codec; from adacode_cli import formats; formats.register("
    script += f"dataclasses.replace(toy_codec.FORMAT, **{changed!r}))"
    wanted = "the signature of" if taken == "beginning" else "is already used"
    assert wanted in run("-c", script, cwd=tmp_path, code=1)
