"""What tests of weights on the Hub share: how the program reaches a loopback Hub, and other values for a bundle."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from hub_repositories import Hub

from adacode_cli.checkpoints.format import PART_KEYS, read_weights, to_bytes
from adacode_cli.checkpoints.parts import part_digest

TOKEN = "hf_aVerySecretToken"
REPO = "me/mine"


def client(hub: Hub, home: Path, token: str | None = TOKEN, **more: str) -> dict[str, str]:
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
    settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return settings | ({"HF_TOKEN": token} if token else {}) | more


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def other_weights(folder: Path, seed: float) -> dict[str, bytes]:
    """The files of the bundle in `folder` with other values, and their catalogue."""
    files, changed = {}, {}
    for path in folder.glob("*.safetensors"):
        weights = read_weights(path)
        changed[path.name] = replace(weights, tensors={key: tensor * seed for key, tensor in weights.tensors.items()})
    shared = [one for one in changed.values() if one.part in PART_KEYS]
    digests = {one.part: part_digest(one.tensors, torch.float16) for one in shared}
    for name, weights in changed.items():
        stated = replace(weights, parts=digests) if weights.part == "task" else weights
        files[name] = to_bytes(stated, torch.float16)
    data = json.loads((folder / "catalogue.json").read_text(encoding="utf-8"))
    for file in data["files"]:
        content = files[file["name"]]
        file.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return files | {"catalogue.json": json.dumps(data).encode()}
