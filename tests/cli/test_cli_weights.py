"""`adacode weights` and `adacode doctor` as processes, with a real server in the place of the Hub."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from adacode_process import ROOT, environment

sys.path.append(str(Path(__file__).parent.parent / "checkpoints"))
from hub_server import HubServer

from adacode_cli.cli import doctor, machine

BUNDLED = (ROOT / "weights" / "compact-sr-x4.safetensors").exists()


def rows(result) -> list[dict]:
    return json.loads(result.stdout)


def test_list_is_the_catalogue(real_adacode):
    catalogue = json.loads((ROOT / "weights" / "catalogue.json").read_text())
    result = real_adacode("weights", "list", "--json")
    assert (result.returncode, result.stderr) == (0, b"")
    assert [row["name"] for row in rows(result)] == [entry["name"] for entry in catalogue["entries"]]
    assert {row["state"] for row in rows(result)} <= {"bundled", "cached", "absent"}
    table = real_adacode("weights", "list").stdout.decode().splitlines()
    assert table[0].split() == ["NAME", "TASK", "SIZE", "STATE", "LICENCE"]
    of_entries = [line for line in (table[1:] if "" not in table else table[1 : table.index("")]) if line[0] != " "]
    assert [line.split()[0] for line in of_entries] == [row["name"] for row in rows(result)]
    assert {row["base_model"] for row in rows(result)} == {e.get("base_model", "") for e in catalogue["entries"]}
    assert max(map(len, table)) <= 80


BASE = "realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"


def test_the_list_shows_which_starts_from_whom_in_80_columns(tmp_path):
    """As an installation whose catalogue has such entries lists them."""
    shutil.copytree(
        ROOT / "adacode_cli", tmp_path / "adacode_cli", ignore=shutil.ignore_patterns("weights", "__pycache__")
    )
    data = json.loads((ROOT / "weights" / "catalogue.json").read_text())
    for entry in data["entries"]:
        if entry["name"] in ("compact-sr-x4", "compact-inpaint"):
            entry |= {"base_model": BASE, "licence": "Apache-2.0 AND BSD-3-Clause"}
        entry["denoise"] = entry["name"] in ("compact-sr-x4", "published-sr-x4")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "catalogue.json").write_text(json.dumps(data))

    def listed(*more: str) -> str:
        command = [sys.executable, "-m", "adacode_cli", "weights", "list", *more]
        env = environment(PYTHONPATH=str(tmp_path))
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout

    table = listed().splitlines()
    assert max(map(len, table)) <= 80
    remarks = table[table.index("") + 1 :]
    assert " ".join(" ".join(remarks).split()) == (
        f"Made from {BASE}, whose licence and notice apply to them: compact-sr-x4, compact-inpaint "
        "With selectable noise removal (--denoise): compact-sr-x4, published-sr-x4"
    )
    assert [row["name"] for row in json.loads(listed("--json")) if row["denoise"]] == [
        "compact-sr-x4",
        "published-sr-x4",
    ]
    bases = {row["name"]: (row["base_model"], row["licence"]) for row in json.loads(listed("--json"))}
    assert bases["compact-sr-x4"] == (BASE, "Apache-2.0 AND BSD-3-Clause")
    assert bases["compact-reconstruct"][0] == ""


def test_pull_fetches_from_the_hub_and_prints_the_path(real_adacode, tmp_path):
    with HubServer("me/mine", {"my.safetensors": b"weights"}) as server:
        env = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf")}
        result = real_adacode("weights", "pull", "hub:me/mine/my.safetensors", **env)
        assert result.returncode == 0, result.stderr.decode()
        (path,) = result.stdout.decode().splitlines()
        assert Path(path).read_bytes() == b"weights"
        missing = real_adacode("weights", "pull", "hub:me/mine/other.safetensors", **env)
    assert (missing.returncode, missing.stdout) == (4, b"")
    assert b"other.safetensors" in missing.stderr
    assert b"Traceback" not in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("pull", "compct-sr-x4"), 4, "Did you mean compact-sr-x4"),
        (("pull", "hub:me/mine/my.safetensors"), 4, "HF_HUB_OFFLINE"),
        (("pull", "./mine.safetensors"), 2, "on this machine already"),
        (("pull",), 2, ""),
        (("convert", "missing.pth", "out.safetensors"), 4, "missing.pth"),
        (("convert", "text.pth", "out.safetensors"), 4, "text.pth"),
        (("convert", "text.pth", "out.pth"), 2, ".safetensors"),
        (("convert", "text.pth", "mine.safetensors"), 6, "--overwrite"),
        (("convert", "mine.safetensors", "mine.safetensors", "--overwrite"), 6, "would overwrite the input"),
        (("show", "compact", "--usage", "p", "-o", "p/a.png", "--overwrite"), 6, "would overwrite a file in p"),
    ],
)
def test_what_cannot_be_done_is_reported(real_adacode, tmp_path, arguments, code, message):
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(b"picture")
    (tmp_path / "mine.safetensors").write_bytes(b"precious")
    result = real_adacode("weights", *arguments, HF_HOME=str(tmp_path / "hf"))
    output = result.stderr.decode() if arguments != ("pull",) else ""
    assert result.returncode == code, result.stderr.decode()
    assert message in output
    assert "Traceback" not in output
    assert (tmp_path / "mine.safetensors").read_bytes() == b"precious"
    assert (tmp_path / "p" / "a.png").read_bytes() == b"picture"
    assert not (tmp_path / "out.safetensors").exists()


def test_doctor_reports_everything_as_json(real_adacode, tmp_path):
    secret = "hf_do_not_show_this"
    result = real_adacode("doctor", "--json", ADACODE_CACHE=str(tmp_path / "cache"), HF_TOKEN=secret)
    assert result.returncode == (0 if BUNDLED else 4)
    facts = json.loads(result.stdout.splitlines()[0])
    assert facts["versions"]["python"] == sys.version.split()[0]
    assert {"torch", "numpy", "pillow", "rich"} <= facts["versions"].keys()
    assert facts["devices"][0]["device"] == "cpu"
    assert facts["devices"][0]["native"]["fp32"] is True
    assert facts["places"]["cache"] == str(tmp_path / "cache")
    assert facts["places"]["hub_token"] is True
    assert secret.encode() not in result.stdout + result.stderr
    assert {entry["name"] for entry in facts["weights"]} >= {"compact-sr-x4", "published-sr-x4"}


def test_doctor_for_a_person(real_adacode):
    text = real_adacode("doctor").stdout.decode()
    for heading in ("versions", "stores and clusters", "memory", "devices", "weights", "places"):
        assert f"\n{heading}\n" in f"\n{text}"
    assert "native: fp32 yes" in text
    for one in machine.stores_and_clusters():
        found = f"{one['package']} {one['version']}" if one["version"] else one["install"]
        assert re.search(rf"^  {one['title']} +.*{re.escape(found)}", text, re.MULTILINE)


def test_doctor_names_the_extras_of_stores_and_clusters(absent):
    absent("gcsfs")
    found = machine.stores_and_clusters()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for one in found:
        extra = one["install"].partition("[")[2].partition("]")[0]
        assert [re.split("[<>=]", package)[0] for package in extras[extra]] == [one["package"]]
    assert [one["package"] for one in found] == ["s3fs", "gcsfs", "adlfs", "aiohttp", "paramiko", "ray"]
    assert [doctor._store_or_cluster(one) for one in found[:2]] == [
        "s3fs 1.2",
        "unavailable: gcsfs is not installed (pip install 'adacode-cli[gs]')",
    ]


@pytest.mark.skipif(not BUNDLED, reason="the bundled weights are not there yet")
def test_doctor_verifies_the_bundled_weights(real_adacode):
    result = real_adacode("doctor", "--json")
    bundled = [entry for entry in json.loads(result.stdout)["weights"] if entry["kind"] == "bundled"]
    assert [(entry["state"], entry["problem"]) for entry in bundled] == [("bundled", None)] * len(bundled)
