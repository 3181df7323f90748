"""`adacode weights bundle` as a process, and the files that it makes under `adacode sr --weights`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "training"))
from finished_run import save_run

from adacode_cli.checkpoints.format import read_weights

PARTS = ("basis", "fused", "reconstruct", "sr-x2", "sr-x4", "inpaint")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run folder with all tasks. Not to be changed."""
    return save_run(tmp_path_factory.mktemp("finished"))


def names(family: str, parts=PARTS) -> list[str]:
    return [*(f"{family}-{part}.safetensors" for part in parts), "catalogue.json", f"{family}.md"]


def test_a_run_becomes_files_that_restore(real_adacode, finished, photo, tmp_path):
    result = real_adacode("weights", "bundle", str(finished), "-o", "mine")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode().splitlines() == [str(Path("mine", name)) for name in names("mine")]
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == sorted(names("mine"))
    card = (tmp_path / "mine" / "mine.md").read_text(encoding="utf-8")
    photo("a.png", (24, 16))
    shown = [line.strip() for line in card.splitlines() if line.startswith("    adacode sr ")]
    assert shown == ["adacode sr photos --weights DIR"]
    arguments = shown[0].replace("DIR", "mine").replace("photos", "a.png").split()[1:]
    done = real_adacode(*arguments, "-o", "b.png", "--device", "cpu")
    assert done.returncode == 0, done.stderr.decode()
    assert Image.open(tmp_path / "b.png").size == (96, 64)


def test_options_arrive_and_notes_go_to_standard_error(real_adacode, finished, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "inpaint.safetensors").rename(run / "inpaint.checkpoint")
    more = ("--family", "other", "--licence", "MIT", "--dtype", "bf16")
    result = real_adacode("weights", "bundle", "run", "-o", "out", *more)
    assert result.returncode == 0, result.stderr.decode()
    assert [Path(line).name for line in result.stdout.decode().splitlines()] == names("other", PARTS[:-1])
    assert result.stderr.decode() == "left out: run/inpaint.checkpoint: the training of inpaint has not ended\n"
    provenance = read_weights(tmp_path / "out" / "other-sr-x4.safetensors").provenance
    assert (provenance.family, provenance.licence) == ("other", "MIT")
    entries = json.loads((tmp_path / "out" / "catalogue.json").read_text())["entries"]
    assert {(entry["family"], entry["licence"]) for entry in entries} == {("other", "MIT")}
    assert "| stored as | safetensors, bf16 |" in (tmp_path / "out" / "other.md").read_text(encoding="utf-8")

    again = real_adacode("weights", "bundle", "run", "-o", "out", *more)
    assert (again.returncode, again.stdout) == (6, b"")
    assert b"--overwrite" in again.stderr
    assert real_adacode("weights", "bundle", "run", "-o", "out", *more, "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("bundle", "nowhere", "-o", "out"), 8, "nowhere/fused.safetensors: is missing"),
        (("bundle", "RUN", "-o", "out", "--family", "Mine!"), 2, "'Mine!' cannot be a family's name"),
        (("bundle", "RUN", "-o", "__"), 2, "the name of -o __ does not name a family"),
        (("bundle", "RUN", "-o", "Compact"), 2, "compact is a family of adacode's own weights"),
        (("bundle", "RUN", "-o", "out", "--dtype", "int8"), 2, "int8"),
        (("bundle", "RUN"), 2, "--output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_reported(real_adacode, finished, tmp_path, arguments, code, message):
    result = real_adacode("weights", *(a.replace("RUN", str(finished)) for a in arguments))
    assert (result.returncode, result.stdout) == (code, b"")
    assert message in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()
    assert list(tmp_path.iterdir()) == []
