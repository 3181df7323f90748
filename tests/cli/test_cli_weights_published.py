"""`adacode weights pull` of published checkpoints from a server that first delivers something else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from loopback import FileServer, Reply
from small_checkpoints import save_pth, small_published

NAME = "AdaCode_SR_X2_model_g.pth"
PAGE = b"<!DOCTYPE html>\n<html><body>Log in to this network first.</body></html>"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> bytes:
    return save_pth(tmp_path_factory.mktemp("published") / NAME, small_published("sr_x2")).read_bytes()


@pytest.fixture
def server(checkpoint):
    with FileServer() as running:
        running.files[f"/v0/{NAME}"] = checkpoint
        yield running


@pytest.fixture
def pull(real_adacode, server, tmp_path):
    """`adacode weights pull`, with a cache of its own."""
    settings = {"ADACODE_RELEASE_BASE": f"{server.url}/v0", "ADACODE_CACHE": str(tmp_path / "cache"), "NO_PROXY": "*"}
    return lambda *names: real_adacode("weights", "pull", *names, **settings)


def kept(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "cache" / "releases").iterdir() if path.suffix != ".lock"}


def test_a_page_with_status_200_does_not_block_the_name(pull, server, real_adacode, photo, tmp_path):
    server.faults[f"/v0/{NAME}"] = [Reply(200, {"Content-Type": "text/html"}, PAGE)]
    refused = pull("published-sr-x2")
    assert refused.returncode == 4
    text = " ".join(refused.stderr.decode().split())
    assert f"{NAME}: a web page came instead of a checkpoint" in text
    assert "It was discarded. Run the same command again later" in text
    assert kept(tmp_path) == set()
    done = pull("published-sr-x2")
    assert done.returncode == 0, done.stderr.decode()
    path = Path(done.stdout.decode().strip())
    assert kept(tmp_path) == {NAME, path.name, "digests.json"}
    (record,) = json.loads((tmp_path / "cache" / "releases" / "digests.json").read_text())["downloads"].values()
    assert record["converted_sha256"]
    photo("a.png", (24, 16))
    arguments = ("-o", "b.png", "--scale", "2", "--weights", str(path), "--device", "cpu")
    restored = real_adacode("sr", "a.png", *arguments, "--no-guard")  # its weights are random
    assert restored.returncode == 0, restored.stderr.decode()


def test_a_checkpoint_with_a_value_that_is_not_finite_is_discarded(pull, server, tmp_path):
    state = small_published("sr_x2")
    state["out_conv.bias"][0] = torch.nan
    server.faults[f"/v0/{NAME}"] = [Reply(body=save_pth(tmp_path / "nan.pth", state).read_bytes())]
    refused = pull("published-sr-x2")
    assert refused.returncode == 4
    assert "decoder.head.conv.bias has values that are not finite" in " ".join(refused.stderr.decode().split())
    assert kept(tmp_path) == set()
    assert pull("published-sr-x2").returncode == 0


def test_another_file_than_the_first_one_is_still_refused(pull, server, checkpoint, tmp_path):
    path = Path(pull("published-sr-x2").stdout.decode().strip())
    path.unlink()
    path.with_name(NAME).unlink()
    other = small_published("sr_x2")
    other["out_conv.bias"] += 1
    server.files[f"/v0/{NAME}"] = save_pth(tmp_path / "other.pth", other).read_bytes()
    refused = pull("published-sr-x2")
    assert refused.returncode == 4
    assert "wrong SHA-256" in refused.stderr.decode()
    server.files[f"/v0/{NAME}"] = checkpoint
    assert pull("published-sr-x2").returncode == 0


@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_convert_takes_every_suffix_and_a_bare_state_dict(real_adacode, suffix, tmp_path):
    torch.save({f"module.{k}": v for k, v in small_published("sr_x2").items()}, tmp_path / f"model{suffix}")
    done = real_adacode("weights", "convert", f"model{suffix}", "own.safetensors")
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "own.safetensors").exists()
