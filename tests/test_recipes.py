"""The recipes of the README run as they are written, one after another, in one folder, as a shell runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from adacode_cli.checkpoints.catalogue_file import weights_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Recipes\n")[1].split("\n## ")[0]
# The examples are small, so 1.5 megapixels would be made from 7, in a second pass that takes minutes.
README = README.replace("--megapixels 1.5", "--megapixels 0.25")
PATIENCE_S = 1000.0  # less than the deadline of a test, so that what the commands printed is shown
pytestmark = [
    pytest.mark.skipif(not (weights_folder() / "compact-sr-x4.safetensors").is_file(), reason="no bundled weights"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="recipes are for a shell"),
]


def indented(topic: str) -> str:
    """The commands of the recipe of this topic that is not in the common sequence."""
    section = README.split(f"**{topic}")[1].split("\n**")[0]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))


def shell(script: str, folder: Path) -> str:
    """What the commands print. Fails with the first command that fails."""
    command = folder / "bin" / "adacode"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m adacode_cli "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Width and height of every image below a folder."""
    images = (path for path in sorted(folder.rglob("*")) if path.suffix in {".jpg", ".png", ".webp", ".tif", ".tiff"})
    return {path.relative_to(folder).as_posix(): Image.open(path).size for path in images}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in sizes(folder)}


def test_the_recipes_run_one_after_another(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    python = "python - <<'END'\n{}assert large.shape == (680, 680, 3) and mended.shape == (400, 600, 3)\nEND\n"
    printed = shell("\n".join(text if kind == "sh" else python.format(text) for kind, text in blocks), tmp_path)
    assert "Traceback" not in printed
    made = tmp_path / "recipes"
    before = sizes(made / "photos")
    assert sizes(made / "photos-sr-x4") == {name: (4 * w, 4 * h) for name, (w, h) in before.items()}
    assert set(sizes(made / "large")) == {"astronaut.png"}
    assert set(sizes(made / "found")) == {"photos/chelsea.jpg", "photos/coffee.jpg"}
    assert 0 < len(sizes(made / "part")) <= 3
    plain, grainy, careful = (contents(made / name) for name in ("photos-sr-x4", "grainy", "careful"))
    assert plain.keys() == grainy.keys() == careful.keys()
    assert all(len({plain[name], grainy[name], careful[name]}) == 3 for name in plain)
    assert re.search(r"^  --scale +2\.0 +ADACODE_SR_SCALE$", printed, re.MULTILINE)
    assert all(max(size) == 600 for size in sizes(made / "web").values())
    assert all(abs(w * h / 0.25e6 - 1) < 0.01 for w, h in sizes(made / "print").values())
    assert Image.open(made / "chelsea.webp").size == tuple(2 * side for side in before["chelsea.jpg"])
    for folder in ("scratched-inpaint", "transparent-inpaint", "painted-inpaint"):
        source = made / folder.removesuffix("-inpaint")
        assert list(sizes(made / folder).values()) == list(sizes(source).values()), folder
    assert sizes(made / "codes-reconstruct").keys() == before.keys()
    assert len(sizes(made / "archive")) == len(sizes(made / "small")) == len(sizes(made / "maps")) == 3
    assert Image.open(made / "atlas.png").size[0] > 100
    for journal in made.glob("*/.adacode/journal.jsonl"):
        outcomes = {json.loads(line)["outcome"] for line in journal.read_text(encoding="utf-8").splitlines()}
        assert outcomes == {"done"}, journal


def test_the_recipe_of_training_makes_weights_that_work(tmp_path):
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("matplotlib")
    shutil.copytree(ROOT / "examples" / "photos", tmp_path / "photos")
    (tmp_path / "photographs").mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()).save(tmp_path / "photographs" / f"{name}.png")
    script = indented("Training on your own photographs.")
    assert "--minutes 1" in script
    shell(script.replace("--minutes 1", "--minutes 0.2"), tmp_path)
    assert sizes(tmp_path / "by-mine") == {name: (4 * w, 4 * h) for name, (w, h) in sizes(tmp_path / "photos").items()}
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_the_recipe_of_int8_runs(tmp_path):
    pytest.importorskip("openvino")
    shutil.copytree(ROOT / "examples" / "photos", tmp_path / "photos")
    shell(indented("Faster on a CPU."), tmp_path)
    assert len(sizes(tmp_path / "fast")) == 3
