"""Weights that were damaged or put together wrongly: they are neither used nor published, whatever their name is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hub_client import REPO, client

from adacode_cli.checkpoints.format import read_weights, write_weights

OWN = "tiny-sr-x4.safetensors"


def damage(path: Path) -> None:
    """Changes a bit of a value near the end of a file."""
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def test_a_file_that_its_catalogue_does_not_know_is_not_used(mine, real_adacode, photo, tmp_path):
    photo("a.png", (24, 16))
    damage(mine / OWN)
    for words in (
        ("sr", "a.png", "-o", "b.png", "--weights", f"mine/{OWN}", "--device", "cpu"),
        ("weights", "export", f"mine/{OWN}", "--to", "single", "-o", "b.safetensors"),
    ):
        result = real_adacode(*words)
        assert result.returncode == 4
        assert b"SHA-256" in result.stderr
        assert b"without catalogue.json" in result.stderr
    assert not list(tmp_path.glob("b.*"))


def test_a_file_that_was_damaged_in_the_cache_is_downloaded_again(push, hub, mine, real_adacode, photo, tmp_path):
    push("mine", REPO)
    photo("a.png", (24, 16))
    env, place = client(hub, tmp_path / "another-home"), f"hub:{REPO}/{OWN}"
    pulled = real_adacode("weights", "pull", place, **env)
    assert pulled.returncode == 0, pulled.stderr
    blob = Path(pulled.stdout.decode().splitlines()[0]).resolve()
    damage(blob)
    words = ("sr", "a.png", "-o", "b.png", "--weights", place, "--device", "cpu")
    offline = real_adacode(*words, **(env | {"HF_HUB_OFFLINE": "1"}))
    assert (offline.returncode, blob.exists()) == (4, True)
    assert b"With a network connection" in offline.stderr
    assert not (tmp_path / "b.png").exists()
    assert real_adacode(*words, **env).returncode == 0
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == hashlib.sha256((mine / OWN).read_bytes()).hexdigest()


def test_parts_that_nobody_could_use_are_not_published(push, hub, mine):
    path = mine / "tiny-basis.safetensors"
    weights = read_weights(path)
    write_weights(path, replace(weights, tensors={key: 2 * tensor for key, tensor in weights.tensors.items()}))
    catalogue = json.loads((mine / "catalogue.json").read_text(encoding="utf-8"))
    content = path.read_bytes()
    for file in catalogue["files"]:
        if file["name"] == path.name:
            file.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    (mine / "catalogue.json").write_text(json.dumps(catalogue), encoding="utf-8")
    _, err = push("mine", REPO, code=4)
    assert "was trained with other codebooks" in err
    assert REPO not in hub.repositories


def test_families_that_are_there_already_stay_in_reach(push, hub, mine):
    other = (mine / "catalogue.json").read_text(encoding="utf-8").replace("tiny", "their")
    hub.add(REPO, {"catalogue.json": other.encode()})
    before = hub.repositories[REPO].branches["main"]
    _, err = push("mine", REPO, code=2)
    assert "has the family their too" in err
    assert hub.repositories[REPO].branches["main"] == before


@pytest.mark.parametrize("catalogue", [b'{"version": 2}', b"damaged"])
def test_a_catalogue_that_cannot_be_read_is_not_replaced(push, hub, mine, catalogue):
    hub.add(REPO, {"catalogue.json": catalogue})
    before = hub.repositories[REPO].branches["main"]
    _, err = push("mine", REPO, code=4)
    assert "name another repository or --revision" in err
    assert hub.repositories[REPO].branches["main"] == before


def test_a_link_to_another_folder_is_not_published(push, mine, tmp_path):
    (tmp_path / "secret.md").write_text("a secret", encoding="utf-8")
    (mine / "README.md").symlink_to(tmp_path / "secret.md")
    out, err = push("mine", REPO, "--dry-run", code=4)
    assert "a secret" not in out + err
    assert "outside of the folder" in err
