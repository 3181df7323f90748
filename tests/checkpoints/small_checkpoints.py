"""Checkpoints of a few hundred kilobytes: the published layouts made narrow and shallow, and a family of our own."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.checkpoints.format import Provenance, Weights, split, write_weights
from adacode_cli.model.config import NetworkConfig, SwinConfig, TrunkConfig
from adacode_cli.model.network import AdaCode

REFERENCE = Path(__file__).parents[1] / "reference"
LAYOUTS = ("basis", "reconstruct", "inpaint", "sr_x2", "sr_x4")
FAMILY = "tiny"

# 8 heads and windows of 8 stay, as other sizes would ask for other bias tables.
_NARROW = {64: 32, 128: 32, 256: 32, 512: 64, 768: 96, 1024: 128}
_DEEP = re.compile(r"swin_blks\.[1-9]|residual_group\.blocks\.[2-9]")

_fill = runpy.run_path(str(REFERENCE / "fill.py"))["fill"]


def small_layout(name: str) -> dict:
    """A published layout with 32 channels and one group of two blocks a Swin stack; its buffers stay as they are."""
    keys = json.loads((REFERENCE / "layouts" / f"{name}.json").read_text(encoding="utf-8"))["keys"]
    return {
        "keys": {
            key: {**v, "shape": [_NARROW.get(n, n) for n in v["shape"]] if v["kind"] == "parameter" else v["shape"]}
            for key, v in keys.items()
            if not _DEEP.search(key)
        }
    }


def small_published(name: str) -> dict[str, Tensor]:
    """A published state dict as training code saves it: parameters, and the buffers beside them."""
    layout = small_layout(name)
    filled = {k: torch.from_numpy(v.copy()) for k, v in _fill(layout, 1).items()}
    # In the file's order; a buffer is full of something that would do harm if it were used.
    return {k: filled[k] if k in filled else torch.full(v["shape"], 7) for k, v in layout["keys"].items()}


def save_pth(path: Path, state: object, name: str = "params", **options: bool) -> Path:
    torch.save({name: state}, path, **options)
    return path


def tiny_config(task: str, scale: int = 1) -> NetworkConfig:
    restoring = task in ("sr", "inpaint")
    return NetworkConfig(
        task=task,
        scale=scale,
        channels=(8, 12),
        grid=4,
        stem="shuffle",
        norm="none",
        skip="fuse" if restoring else "none",
        num_skips=1 if restoring else 0,
        mask_channel=task == "inpaint",
        base={"sr": "upsampled", "inpaint": "filled"}.get(task, "none"),
        encoder_swin=SwinConfig(1, 2, 2, 4) if restoring else None,
        codebooks=((6, 4), (5, 4)),
    )


def tiny_network(task: str, scale: int = 1, shared: Mapping[str, Tensor] | None = None, **changes) -> AdaCode:
    """A network of random weights; `shared` are the weights of another task of the family, as stage III keeps them."""
    torch.manual_seed(len(task) + scale)
    network = AdaCode(replace(tiny_config(task, scale), **changes)).eval()
    if shared is not None:
        kept = {k: v for k, v in shared.items() if k.startswith(("codebook.books.", "codebook.after.", "decoder."))}
        network.load_state_dict(kept, strict=False)
    return network


def trunk_network(scale: int = 4, shared: Mapping[str, Tensor] | None = None, seed: int = 0) -> AdaCode:
    """A super-resolution network with a trunk of four convolutions of 8 channels, its weights random."""
    changes = {"skip": "none", "num_skips": 0, "base": "nearest", "trunk": TrunkConfig(4, 2, 3)}
    network = tiny_network("sr", scale, shared, **changes)
    own = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not shared or name not in shared or name.startswith(("encoder.", "trunk.")):
                parameter.copy_(torch.randn(parameter.shape, generator=own))
    return network.eval()


def start_tensors(seed: int) -> dict[str, Tensor]:
    """A network of Real-ESRGAN's layout that fits `trunk_network`: keys body.N.weight and body.N.bias, float32."""
    state = trunk_network(4, seed=seed).state_dict()
    return {k.removeprefix("trunk."): v for k, v in state.items() if k.startswith("trunk.body.")}


def write_parts(folder: Path, network: AdaCode, name: str) -> tuple[Path, Path, Path]:
    """tiny-basis, tiny-fused and NAME in `folder`: a network as a family stores it."""
    parts = split(Weights("whole", network.config, Provenance(family=FAMILY), network.state_dict()))
    paths = tuple(folder / f"{stem}.safetensors" for stem in (f"{FAMILY}-basis", f"{FAMILY}-fused", name))
    for path, weights in zip(paths, parts.values(), strict=True):
        write_weights(path, weights)
    return paths


def write_whole(path: Path, network: AdaCode, **provenance: str) -> Path:
    write_weights(path, Weights("whole", network.config, Provenance(**provenance), network.state_dict()))
    return path


def same_network(one: AdaCode, other: AdaCode) -> bool:
    """The same configuration, weights and answer, to the last bit."""
    a, b = one.state_dict(), other.state_dict()
    image = torch.rand(1, one.config.in_channels, 13, 18, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, second = one(image), other(image)
    return (
        one.config == other.config
        and a.keys() == b.keys()
        and all(torch.equal(a[k], b[k]) for k in a)
        and torch.equal(first.image_BCHW, second.image_BCHW)
        and torch.equal(first.weights_BKHW, second.weights_BKHW)
    )
