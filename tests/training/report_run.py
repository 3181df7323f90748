"""A run folder as training leaves it: logs of all stages, samples, settings, photographs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from adacode_cli.training.validation import sample_sheet, write_sample_sheet

UNFRIENDLY = "<b>$x$ & \"sea\" 'y'"
"""A category whose name is markup in HTML and a formula in matplotlib."""
CATEGORIES = ("nature", "_hidden", UNFRIENDLY)


def save_run(folder: Path) -> Path:
    """Three basis codebooks, fused (finished) and sr-x4 (going on, its last line half written) in `folder`."""
    folder.mkdir(parents=True)
    for number, category in enumerate(CATEGORIES):
        terms = {"pixel": 0.1 + number / 10, "adversarial": -0.2}
        _log(folder, f"basis-{category}", 300, terms, {category: 0.2 + 0.3 * number})
    _log(folder, "fused", 20_000, {"pixel": 0.1, "codebook": 0.01, "adversarial": 0.0}, dict.fromkeys(CATEGORIES, 0.75))
    _log(folder, "sr-x4", 200, {"pixel": 0.1, "contrastive": 2.0}, dict.fromkeys(CATEGORIES, 0.6))
    with (folder / "sr-x4.jsonl").open("a") as log:
        log.write('{"step": 250, "tot')
    for name in ("fused", *(f"basis-{category}" for category in CATEGORIES)):
        (folder / f"{name}.safetensors").touch()
    for step in (100, 150, 200):
        sheet = sample_sheet([(_picture(16, step), _picture(64, step + 1), _picture(64, step + 2))])
        write_sample_sheet(folder / "samples" / "sr-x4" / f"{step:06d}.png", sheet)
    recipe = {
        "preset": "compact",
        "seed": 0,
        "basis": {"loss": {"pixel": 1.0}, "note": "</td><script>alert(1)</script>"},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    shards = {
        "licence": "CC0 <mine>",
        "source": "https://example.org/?a=1&b=2",
        "photographs": 4213,
        "megapixels": 50.25,
    }
    shards["crops"] = {"train": {"nature": 1234, UNFRIENDLY: 77}, "validation": {"nature": 56}}
    shards["left_out"] = {"counts": {"blurred": 120}}
    (folder / "shards.json").write_text(json.dumps(shards), encoding="utf-8")
    return folder


def _log(folder: Path, name: str, steps: int, terms: dict[str, float], used: dict[str, float]) -> None:
    lines = []
    for step in range(50, steps + 1, 50):
        fall = 1 + 20 * math.exp(-6 * step / steps)
        line = {
            "step": step,
            "total": fall,
            **{key: value * fall for key, value in terms.items()},
            "learning_rate": 1e-4,
        }
        line |= {f"perplexity/{basis}": 300 * share for basis, share in used.items()}
        line |= {f"used/{basis}": share for basis, share in used.items()}
        line |= {"images_per_s": 21.5, "waiting": 0.02, "memory_mb": 4000.0, "seconds": step * 0.5}
        if step % 100 == 0:
            line |= {"validation/psnr": 20 + step / steps, "validation/ssim": 0.8, "validation/lpips": 0.3}
        lines.append(json.dumps(line))
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _picture(side: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
