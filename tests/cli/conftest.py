"""The program as a process of its own, in a directory of its own."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from adacode_process import Program
from PIL import Image


@pytest.fixture
def adacode(tmp_path) -> Program:
    """The program with the nearest-neighbour restorer, started in `tmp_path`."""
    return Program(tmp_path, network=False)


@pytest.fixture
def real_adacode(tmp_path) -> Program:
    """The program as it is, started in `tmp_path`."""
    return Program(tmp_path, network=True)


@pytest.fixture
def photo(tmp_path):
    """Writes a noisy image below `tmp_path`: photo("a/b.jpg", (width, height), mode)."""

    def write(name: str, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
        Image.fromarray(pixels[..., 0] if len(mode) == 1 else pixels).save(path)
        return path

    return write


@pytest.fixture
def absent(monkeypatch):
    """absent(package): `doctor` finds no such package, and version 1.2 of all others."""
    from adacode_cli.cli import machine

    def hide(package: str) -> None:
        def version(name: str) -> str:
            if name == package:
                raise metadata.PackageNotFoundError(name)
            return "1.2"

        monkeypatch.setattr(machine.metadata, "version", version)

    return hide


@pytest.fixture(scope="module")
def bundled(tmp_path_factory) -> Path:
    """A bundle of tiny networks. Not to be changed."""
    sys.path.append(str(Path(__file__).parents[1] / "training"))
    from finished_run import save_run

    from adacode_cli.training.bundle import bundle

    folder = tmp_path_factory.mktemp("bundled")
    bundle(save_run(folder / "run"), None, folder / "mine")
    return folder / "mine"


@pytest.fixture
def mine(bundled, tmp_path) -> Path:
    """A copy of the bundle in `tmp_path`."""
    return Path(shutil.copytree(bundled, tmp_path / "mine"))


@pytest.fixture
def hub():
    """A loopback Hub with one user, "me"."""
    from hub_client import TOKEN, Hub

    with Hub(**{TOKEN: "me"}) as running:
        yield running


@pytest.fixture
def push(real_adacode, hub, tmp_path):
    """Runs `adacode weights push`, which never shows the token: push(*arguments, code=0) → (stdout, stderr)."""
    from hub_client import TOKEN, client

    def run(*arguments: str, code: int = 0, token: str | None = TOKEN, **more: str) -> tuple[str, str]:
        result = real_adacode("weights", "push", *arguments, **client(hub, tmp_path / "hf", token, **more))
        out, err = result.stdout.decode(), result.stderr.decode()
        assert result.returncode == code, err
        assert TOKEN not in out + err
        assert "Traceback" not in err or "-vv" in arguments
        return out, err

    return run
