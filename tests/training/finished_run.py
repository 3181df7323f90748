"""A run folder as training leaves it, of networks with random weights: files, settings, manifest and logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from small_checkpoints import tiny_network

from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.model.network import AdaCode

CATEGORIES = ("ground", "sky")
PROVENANCE = Provenance(
    family="tiny", trained_on="4 images", licence="Apache-2.0", source="a test", version="0.1.0", recipe='{"seed": 7}'
)
TASKS = {"sr-x2": ("sr", 2), "sr-x4": ("sr", 4), "inpaint": ("inpaint", 1)}
RECIPE = {
    "preset": "small",
    "network": {"channels": [8, 12]},
    "basis": {"steps": 9, "batch": 3, "patch": 64, "loss": {"pixel": 1.0, "perceptual": 0.0, "codebook": 0.5}},
    "fuse": {"steps": 9, "batch": 5, "patch": 128, "loss": {"pixel": 1.0}},
    "restore": {"steps": 9, "batch": 6, "patch": 192, "loss": {"pixel": 0.0, "feature": 0.125, "adversarial": 0}},
    "perceptual": "/home/someone/lpips-vgg.safetensors",
    "precision": "bf16",
    "seed": 7,
}
MANIFEST = {
    "format": 1,
    "crop_px": 512,
    "licence": "CC0-1.0",
    "source": "a camera",
    "categories": list(CATEGORIES),
    "photographs": 1234,
    "megapixels": 56.7,
    "crops": {"train": {"ground": 40, "sky": 2000}, "validation": {"ground": 3, "sky": 8}},
    "left_out": {"counts": {"blurred": 5, "small": 17}, "files": []},
}
LOGS = {
    "basis-start": [{"step": 4, "seconds": 30.0, "pixel": 0.5, "codebook": 0.1}],
    "basis-ground": [{"step": 5, "seconds": 90.0, "pixel": 0.4, "codebook": 0.1}],
    "basis-sky": [{"step": 6, "seconds": 120.0, "pixel": 0.3}],
    "fused": [
        {
            "step": 5,
            "seconds": 9.0,
            "pixel": 0.2,
            "validation/psnr": 11.0,
            "used/ground": 0.1,
            "perplexity/ground": 2.0,
        },
        {"step": 10, "seconds": 60.0, "used/ground": 0.5, "perplexity/ground": 3.25, "used/sky": 1.0},
    ],
    "sr-x2": [{"step": 50, "total": 1.0, "feature": 0.2, "seconds": 61.0}],
    "sr-x4": [
        {"step": 100, "seconds": 150.0, "validation/psnr": 1.0, "validation/ssim": 0.2, "validation/lpips": 0.9},
        {"step": 200, "seconds": 300.0, "validation/psnr": 25.678, "validation/ssim": 0.65432, "validation/lpips": 0.3},
        {"step": 250, "seconds": 366.0, "feature": 0.1},
    ],
}


def network_of(name: str) -> AdaCode:
    """The network of "fused", "sr-x2", "sr-x4" or "inpaint": one family, its shared parts the same in all."""
    fused = tiny_network("reconstruct", categories=CATEGORIES)
    if name == "fused":
        return fused
    return tiny_network(*TASKS[name], shared=fused.state_dict(), categories=CATEGORIES)


def save_network(folder: Path, name: str, provenance: Provenance = PROVENANCE) -> Path:
    network, path = network_of(name), folder / f"{name}.safetensors"
    write_weights(path, Weights("whole", network.config, provenance, network.state_dict()))
    return path


def save_record(folder: Path) -> None:
    """recipe.json, shards.json and the logs; that of sr-x4 ends in half a line."""
    (folder / "recipe.json").write_text(json.dumps(RECIPE), encoding="utf-8")
    (folder / "shards.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    for name, lines in LOGS.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    with (folder / "sr-x4.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 300, "validation/psnr": 9')


def save_run(folder: Path) -> Path:
    """All stages of the family "tiny" in `folder`, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("fused", *TASKS):
        save_network(folder, name)
    save_record(folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder: name → bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
