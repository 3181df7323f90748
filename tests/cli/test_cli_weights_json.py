"""`adacode weights … --json` as processes: one object, errors as events, nothing for people."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "checkpoints"))
from hub_server import HubServer
from small_checkpoints import save_pth, small_published, trunk_network, write_whole

from adacode_cli.engine.device import has_openvino


def the_object(result) -> dict:
    assert result.stderr == b"", result.stderr.decode()
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def test_pull(real_adacode, tmp_path):
    with HubServer("me/mine", {"my.safetensors": b"weights"}) as server:
        env = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf")}
        found = the_object(real_adacode("weights", "pull", "hub:me/mine/my.safetensors", "--json", **env))
        missing = real_adacode("weights", "pull", "hub:me/mine/other.safetensors", "--json", **env)
    assert found["version"] == 1
    assert [file["name"] for file in found["files"]] == ["hub:me/mine/my.safetensors"]
    assert Path(found["files"][0]["path"]).read_bytes() == b"weights"
    assert missing.returncode == 4
    failure = the_object(missing)
    assert (failure["event"], failure["error"]["kind"], failure["error"]["exit_code"]) == ("error", "weights", 4)


def test_convert(real_adacode, tmp_path):
    save_pth(tmp_path / "small.pth", small_published("reconstruct"))
    result = real_adacode("weights", "convert", "small.pth", "out.safetensors", "--json")
    assert the_object(result) == {"version": 1, "source": "small.pth", "file": "out.safetensors"}
    again = real_adacode("weights", "convert", "small.pth", "out.safetensors", "--json")
    assert (again.returncode, the_object(again)["error"]["kind"]) == (6, "output")


def test_export(real_adacode, tmp_path):
    write_whole(tmp_path / "net.safetensors", trunk_network(4, trunk_network().state_dict(), 1))
    command = ("weights", "export", "net.safetensors", "--to", "single", "-o", "out.safetensors", "--json")
    found = the_object(real_adacode(*command))
    size = (tmp_path / "out.safetensors").stat().st_size
    about = {"name": "net.safetensors", "to": "single", "file": "out.safetensors", "bytes": size}
    assert about.items() <= found.items()
    assert the_object(real_adacode(*command))["error"]["exit_code"] == 6


@pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")
def test_quantize(real_adacode, photo, tmp_path):
    write_whole(tmp_path / "net.safetensors", trunk_network(4, trunk_network().state_dict(), 1))
    for i in range(3):
        photo(f"photos/{i}.png", (64 + 8 * i, 72))
    command = ("weights", "quantize", "net.safetensors", "--photos", "photos", "-o", "fast.safetensors", "--json")
    found = the_object(real_adacode(*command))
    assert (found["file"], found["photographs"], found["copied"]) == ("fast.safetensors", 3, [])
    assert found["least_psnr_db"] <= found["psnr_db"]
    assert any("only 3 photographs were used" in note for note in found["notes"])
