"""`adacode weights pair` as a process, and `--denoise` of `sr` and `eval sr` with what it made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from small_checkpoints import trunk_network, write_whole

SHARED = trunk_network().state_dict()
PAIR = ("--weights", "pair.safetensors")


@pytest.fixture
def pictures(real_adacode, photo, tmp_path):
    """A folder of two images and the files clean, faithful and, paired by the command, pair."""
    for seed, name in enumerate(("clean", "faithful"), 1):
        write_whole(tmp_path / f"{name}.safetensors", trunk_network(4, SHARED, seed), family="tiny")
    paired = real_adacode("weights", "pair", "clean.safetensors", "faithful.safetensors", "-o", "pair.safetensors")
    assert (paired.returncode, paired.stdout) == (0, b"pair.safetensors\n"), paired.stderr.decode()
    assert b"tensors have two sets of values; the other" in paired.stderr
    photo("in/a.png", (24, 16))
    photo("in/b.png", (16, 24))

    def restored(*options: str) -> dict[str, np.ndarray]:
        made = real_adacode("sr", "in", "-o", "out", "--no-guard", *options)
        assert made.returncode == 0, made.stderr.decode()
        return {name: np.asarray(Image.open(tmp_path / "out" / name)).astype(int) for name in ("a.png", "b.png")}

    return restored


def test_the_strength_goes_from_one_network_to_the_other(pictures):
    ends = [pictures("--overwrite", "--weights", f"{name}.safetensors") for name in ("faithful", "clean")]
    made = {s: pictures("--overwrite", *PAIR, *(["--denoise", s] if s else [])) for s in ("", "0", "0.5", "1")}
    half = [
        pictures("--overwrite", "--scale", "2", *o) for o in ((*PAIR, "--denoise", "0"), ("-w", "faithful.safetensors"))
    ]
    assert all((half[0][name] == half[1][name]).all() for name in half[0])
    assert half[0]["a.png"].shape == (32, 48, 3)
    for name in ("a.png", "b.png"):
        assert (made["0"][name] == ends[0][name]).all()
        assert (made["1"][name] == ends[1][name]).all()
        assert (made[""][name] == ends[1][name]).all()
        assert (made["0.5"][name] != ends[0][name]).any()
        assert (made["0.5"][name] != ends[1][name]).any()


def test_another_strength_is_another_option(pictures, real_adacode, tmp_path):
    pictures(*PAIR, "--denoise", "0")
    again = real_adacode("sr", "in", "-o", "out", "--no-guard", *PAIR, "--denoise", "0", "--json")
    assert json.loads(again.stdout.splitlines()[-1])["done"] == 0
    other = real_adacode("sr", "in", "-o", "out", "--no-guard", *PAIR, "--denoise", "0.5")
    assert (other.returncode, b"made with other options" in other.stderr) == (6, True)
    pictures(*PAIR, "--denoise", "0.5", "--overwrite")
    assert b"denoise 0.5" in (tmp_path / "out" / "a.png").read_bytes()


def test_without_a_pair_there_is_one_strength(pictures, real_adacode):
    for strength, code in (("1", 0), ("0.99", 4)):
        options = ("--weights", "clean.safetensors", "--denoise", strength)
        result = real_adacode("sr", "in/a.png", "-o", f"{strength}.png", "--no-guard", *options)
        assert result.returncode == code, result.stderr.decode()
    assert b"clean.safetensors: has one strength of noise removal only" in result.stderr
    for strength in ("-0.1", "much"):
        assert real_adacode("sr", "in", "--denoise", strength).returncode == 2


def test_measured_at_a_strength(pictures, real_adacode, tmp_path):
    (tmp_path / "set" / "hr").mkdir(parents=True)
    (tmp_path / "set" / "lr_x4").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "set" / "hr" / "a.png")
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "set" / "lr_x4" / "a.png")
    psnr = {}
    for weights, strength in (("faithful", "1"), ("pair", "0"), ("pair", "0.3")):
        options = ("--data", "set", "--weights", f"{weights}.safetensors", "--denoise", strength)
        result = real_adacode("eval", "sr", *options, "--json")
        assert result.returncode == 0, result.stderr.decode()
        found = json.loads(result.stdout)
        assert found["denoise"] == float(strength)
        psnr[weights, strength] = found["restored"]["psnr"]
    assert psnr["pair", "0"] == psnr["faithful", "1"]
    assert psnr["pair", "0.3"] != psnr["pair", "0"]
    assert b"denoise 0.3" in real_adacode("eval", "sr", *options[:-1], "0.3").stdout


def test_a_scale_that_differs_in_the_seventh_digit_is_another_option(pictures, real_adacode, photo):
    photo("one/a.png", (3, 3))
    command = ("sr", "one", "-o", "enlarged", "--no-guard", *PAIR, "--scale")
    assert real_adacode(*command, "1.4999999").returncode == 0
    other = real_adacode(*command, "1.5")
    assert (other.returncode, b"made with other options" in other.stderr) == (6, True)
