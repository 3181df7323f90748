"""What is built from this tree works away from it: the weights travel inside the wheel and the source archive."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from skimage import data, io

ROOT = Path(__file__).parent.parent
SUFFIXES = (".json", ".safetensors", ".md")
WEIGHTS = sorted(p.name for p in (ROOT / "weights").iterdir() if p.suffix in SUFFIXES or p.name.startswith("LICENSE."))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_the_weights_inside_the_package(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert {f"adacode_cli/weights/{name}" for name in WEIGHTS} <= names
    assert "adacode_cli/py.typed" in names
    assert not [n for n in names if n.startswith(("weights/", "tests/"))]


def test_the_source_archive_holds_weights_tests_and_docs(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"weights/{name}" for name in WEIGHTS} <= names
    assert {"tests/test_packaging.py", "docs/architecture.md", "README.md", "SECURITY.md", "LICENSE"} <= names


def test_the_unpacked_wheel_restores_an_image_from_another_folder(built, tmp_path):
    if "compact-sr-x4.safetensors" not in WEIGHTS:
        pytest.skip("the bundled weights are absent")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    io.imsave(tmp_path / "a.png", data.astronaut()[:32, :40], check_contrast=False)
    # -P leaves the current folder out of the path, PYTHONPATH puts the unpacked wheel before this checkout.
    code = "import adacode_cli, sys; from adacode_cli.cli.main import main; print(adacode_cli.__file__); main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "sr", "a.png", "-o", "b.png"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert io.imread(tmp_path / "b.png").shape == (128, 160, 3)
