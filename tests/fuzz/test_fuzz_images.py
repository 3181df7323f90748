"""A short run of the fuzzer with a fixed seed: `python tests/fuzz/mutated_images.py --files 20000` is the long one."""

import subprocess
import sys
from pathlib import Path

import mutated_images
import pytest

SCRIPT = Path(mutated_images.__file__)
FORMATS = sorted({name.split("-")[0] for name in mutated_images.seeds()})


def test_there_is_a_seed_of_every_format_and_each_is_an_image():

    from adacode_cli import formats

    # Camera raw is decoded by a library of its own, and no small file of a camera is free.
    assert set(FORMATS) == {format.name for format in formats.known()} - {"raw"}
    for name, data in mutated_images.seeds().items():
        assert mutated_images.decoded(data) == "picture", name


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_files_are_images_or_refusals(format):
    command = [sys.executable, str(SCRIPT), "--files", "150", "--seed", "1", "--only", format]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("150 files: ")
    assert run.stdout.endswith(", 0 broken\n")
    images = int(run.stdout.split()[2])
    assert 0 < images < 150


def test_the_fuzzer_would_notice(monkeypatch):
    def crash(data, **options):
        raise ZeroDivisionError("in a reader")

    monkeypatch.setattr(mutated_images, "decode", crash)
    with pytest.raises(ZeroDivisionError):
        mutated_images.decoded(b"")
    tally, broken = {"picture": 0, "refused": 0}, []
    for event in (
        {"result": "ZeroDivisionError: x", "seconds": 0, "peak": 0},
        {"result": "picture", "seconds": 99, "peak": 0},
        {"result": "refused", "seconds": 0, "peak": 1 << 40},
    ):
        mutated_images._judge({"done": 1} | event, tally, broken)
    assert len(broken) == 3


def test_a_seed_gives_the_same_bytes():
    files = [bytes(range(256)), b"abc" * 50]
    first = [mutated_images.mutated(files, number, 5) for number in range(50)]
    assert first == [mutated_images.mutated(files, number, 5) for number in range(50)]
    assert len(set(first)) > 40
