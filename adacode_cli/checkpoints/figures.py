"""Figures of quality that a bundle has: files NAME.eval.json, which are what `adacode eval --json` printed.

A file names the digest of the weights that were measured, so figures of other weights are not published.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adacode_cli.checkpoints.integrity import is_sha256, read_json
from adacode_cli.errors import WeightsError, translated
from adacode_cli.limits import MIB
from adacode_cli.tasks import TASKS

SUFFIX = ".eval.json"
_MAX_BYTES = 64 * MIB
_HINT = "Write it with `adacode eval TASK --data TESTSET --weights DIR --json`, or move it away."
_PYIQA = "pyiqa:"


@dataclass(frozen=True)
class Figures:
    """The means over one test set. metrics: (type, name, value). perceptual: the network that a distance is of.

    baseline_method: what the baseline is, "" for none; baseline: its values, in the order of `metrics`.
    """

    file: str
    task: str
    scale: int
    denoise: float
    images: int
    perceptual: str
    metrics: tuple[tuple[str, str, float], ...]
    weights_sha256: str
    baseline_method: str
    baseline: tuple[float, ...]

    @property
    def title(self) -> str:
        """What was measured, in words."""
        words = TASKS[self.task].words(self.scale)
        return words if self.denoise == 1 else f"{words}, denoise {self.denoise:g}"


def figures_in(folder: Path, digest_of: Callable[[Figures], str]) -> list[Figures]:
    """The figures of a bundle, in the order of their files' names. digest_of: the digest of the network that a figure
    is about, of the bundle's own weights.

    Raises WeightsError for a damaged file and for figures of other weights.
    """
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        figures = _read(path)
        if digest_of(figures) != figures.weights_sha256:
            raise WeightsError("has figures of other weights than those of this folder", path=path, hint=_HINT)
        found.append(figures)
    return found


def _read(path: Path) -> Figures:
    with translated(WeightsError, "cannot be read", path, hint=_HINT):
        if path.stat().st_size > _MAX_BYTES:
            raise WeightsError("is too large for figures of adacode eval", path=path, hint=_HINT)
        text = path.read_bytes()
    try:
        return _figures(path, read_json(text.decode("utf-8")))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        what = f"is not what `adacode eval --json` of this version prints: {str(error)[:200]}"
        raise WeightsError(what, path=path, hint=_HINT) from error


def _figures(path: Path, data: Any) -> Figures:  # noqa: ANN401 (what a file holds)
    digest, task, scale = data["weights_sha256"], data["task"], data["scale"]
    if not isinstance(digest, str) or not is_sha256(digest):
        raise ValueError("weights_sha256 is no digest")
    if task not in TASKS or scale not in TASKS[task].scales:
        raise ValueError("an unknown task or scale")
    perceptual = data["perceptual"] or ""
    if not isinstance(perceptual, str):
        raise TypeError("perceptual is not a text")
    images = data["images"]
    if not isinstance(images, int) or isinstance(images, bool) or images < 1:
        raise ValueError("images is not a number of images")
    # The name of a file of a perceptual network, without its folders, which are private.
    shown = perceptual.replace("\\", "/").rpartition("/")[2]
    metrics = _metrics(data["restored"], shown)
    method, baseline = data["baseline_method"], data["baseline"]
    if method is not None and not (isinstance(method, str) and isinstance(baseline, dict)):
        raise TypeError("baseline has no name, or no figures")
    values = tuple(value for _, _, value in _metrics(baseline, shown)) if method else ()
    if method and len(values) != len(metrics):
        raise ValueError("baseline has other figures than the results")
    denoise = _number(data["denoise"])
    return Figures(path.name, task, scale, denoise, images, shown, metrics, digest, method or "", values)


def _metrics(restored: Mapping[str, object], perceptual: str) -> tuple[tuple[str, str, float], ...]:
    distance = perceptual.removeprefix(_PYIQA) if perceptual.startswith(_PYIQA) else "lpips"
    names = (("psnr", "psnr", "PSNR (dB)"), ("ssim", "ssim", "SSIM"), ("perceptual", distance, distance.upper()))
    return tuple((kind, name, _number(restored[key])) for key, kind, name in names if restored[key] is not None)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a figure")
    return float(value)
