"""What is built from this tree works away from it: the weights travel inside the wheel and the source archive."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from skimage import data, io

ROOT = Path(__file__).parent.parent
SUFFIXES = (".json", ".safetensors", ".md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Names on conda-forge, where they differ from those of the Python package index.
ON_CONDA = {"torch": "pytorch", "opencv-python-headless": "py-opencv", "huggingface-hub": "huggingface_hub"}
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


def test_the_index_would_accept_both_archives(built):
    pytest.importorskip("twine", reason="twine is absent")
    files = [str(path) for path in sorted(built.iterdir()) if path.suffix in (".whl", ".gz")]
    assert len(files) == 2
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_package_has_a_command_of_its_own_name(built):
    """Then `uvx adacode-cli` and `pipx run adacode-cli` find it."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        commands = wheel.read(name).decode()
    for command in ("adacode", PROJECT["name"]):
        assert f"{command} = adacode_cli.__main__:main" in commands


def test_the_recipe_for_conda_requires_what_the_package_requires():
    text = (ROOT / "tools" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(text)
    wanted = {"python" + PROJECT["requires-python"]}
    for requirement in PROJECT["dependencies"]:
        name, versions = re.fullmatch(r"([a-z0-9-]+)(.*)", requirement).groups()
        wanted.add(ON_CONDA.get(name, name) + versions)
    assert {each.replace(" ", "") for each in recipe["requirements"]["run"]} == wanted
    assert recipe["about"]["license"] == PROJECT["license"]
    commands = {each.partition(" = ")[0] for each in recipe["build"]["python"]["entry_points"]}
    assert commands == set(PROJECT["scripts"])


def test_the_table_of_extras_has_all_of_them():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z0-9]+)` \| .* \| (.*) \|$", page, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    assert set(rows) == set(extras)
    for name in set(extras) - {"dev"}:
        installed = {re.match("[A-Za-z0-9-]+", requirement)[0] for requirement in extras[name]}
        assert set(rows[name].split(", ")) == installed


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.cuda"])
def test_a_container_is_made_of_what_is_there(name):
    """Containers are built nowhere in these tests; this finds what a renamed file or extra would break."""
    text = (ROOT / name).read_text(encoding="utf-8")
    (extras,) = re.findall(r'"/source\[([a-z0-9,]+)\]"', text)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    kept = [line[1:] for line in (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"]
    needed = ["adacode_cli", "weights", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"]
    assert sorted(kept) == sorted(needed)
    assert all((ROOT / path).exists() for path in kept)
    assert (ROOT / ".dockerignore").read_bytes() == (ROOT / ".containerignore").read_bytes()
