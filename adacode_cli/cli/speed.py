"""How fast this machine restores images with these weights: measured in about a second, and kept for later dry runs.

The figures are kept in `speeds.json` in the user's cache folder, under a digest of everything that they depend on: the
machine, its device and threads, the weights, the precision, the task and the version of this program.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adacode_cli.errors import AdaCodeError
from adacode_cli.tasks import TASKS
from adacode_cli.version import __version__

if TYPE_CHECKING:
    from adacode_cli.batch.description import Description
    from adacode_cli.batch.stages import Stages

FILE_NAME = "speeds.json"
_VERSION = 1
_KEPT_S = 7 * 24 * 3600.0
# A processor is as fast next week. A measurement that got less than this part of its threads' time says what a run
# takes while other programs are running, so it does not count for long.
_FREE_SHARE, _BUSY_KEPT_S = 0.7, 600.0
_MOST_KEPT = 100
# Sides of the measured images in pixels, and the time after which no larger one is measured.
_FIRST_PX, _SIDES_PX, _LARGER_PX = 64, (128, 256, 512, 1024), 2048  # the largest on a GPU alone
_ENOUGH_S = 1.0
_ROUNDS = 2  # images for each lane of a GPU


@dataclass(frozen=True)
class Speed:
    """What an image takes: `per_image_s` and, for each megapixel of the input, `per_megapixel_s`.

    precision: in which an image of 8 bits is computed. threads: of the network on a CPU.
    is_busy: other programs took a part of the processor while this was measured.
    """

    per_image_s: float
    per_megapixel_s: float
    precision: str
    device: str
    threads: int
    is_busy: bool = False

    def seconds(self, num_images: int, pixels: int) -> float:
        """The time for images with so many pixels in all."""
        return num_images * self.per_image_s + pixels / 1e6 * self.per_megapixel_s


def speed_of(description: Description, stages: Stages, digest: str, device: str) -> Speed:
    """The speed of the loaded `stages`; `digest` is that of their weights. It is measured if it is not known.

    Raises what a restoration raises.
    """
    import torch

    threads = torch.get_num_threads()
    key = _key(description, digest, device, threads)
    known = _kept().get(key)
    if known is None:
        began, used = time.perf_counter(), time.process_time()
        per_image, per_megapixel, precision = _measured(description, stages)
        share = (time.process_time() - used) / (time.perf_counter() - began) / threads
        is_busy = device == "cpu" and share < _FREE_SHARE
        known = {"per_image_s": per_image, "per_megapixel_s": per_megapixel, "precision": precision, "busy": is_busy}
        _keep(key, known)
    figures = known["per_image_s"], known["per_megapixel_s"], known["precision"]
    return Speed(*figures, device, threads, known["busy"])


def _measured(description: Description, stages: Stages) -> tuple[float, float, str]:
    """(seconds for each image, seconds for each megapixel of the input, precision)."""
    import numpy as np

    from adacode_cli.benchmark.image import synthetic_image
    from adacode_cli.benchmark.timing import in_lanes
    from adacode_cli.geometry import Hole
    from adacode_cli.imaging.image import Decoded

    given = TASKS[description.task].fills_hole and description.detection is None

    def run(side: int) -> str:
        mask = np.zeros((side, side), np.bool_)
        mask[side // 2, :] = True
        image = Decoded(synthetic_image(side, side))
        _, restored = stages.restore(image, Hole(mask) if given else None)
        return restored.precision

    calls = stages.lanes * _ROUNDS if stages.lanes > 1 else 1

    def seconds(side: int) -> float:
        began = time.perf_counter()
        in_lanes(run, [side] * calls, stages.lanes)
        return (time.perf_counter() - began) / calls

    precision = run(_FIRST_PX)
    sides = _SIDES_PX if stages.lanes == 1 else (*_SIDES_PX, _LARGER_PX)
    return *_line(seconds, sides, enough_s=_ENOUGH_S / calls), precision


def _line(seconds: Callable[[int], float], sides: tuple[int, ...], *, enough_s: float) -> tuple[float, float]:
    """(seconds for each image, seconds for each megapixel), from the first side and the first that takes long enough.

    seconds: what an image takes that has this side, in pixels.
    """
    first = took = seconds(_FIRST_PX)
    side = _FIRST_PX
    for side in sides:
        took = seconds(side)
        if took >= enough_s:
            break
    slope = (took - first) / (side**2 - _FIRST_PX**2)
    if slope <= 0:
        return 0.0, took / side**2 * 1e6
    return max(0.0, first - slope * _FIRST_PX**2), slope * 1e6


def _key(description: Description, digest: str, device: str, threads: int) -> str:
    import torch

    from adacode_cli.batch.record import digest_of

    network = description.network
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor()
    return digest_of(
        {
            "machine": (platform.node(), platform.machine(), name, os.cpu_count()),
            "device": (device, threads, torch.__version__),
            "weights": digest,
            "how": (network.precision, str(network.tile), network.tiling, description.guarded, description.color_fixed),
            "task": (description.task, description.sizing.label),
            "tool": __version__,
        }
    )


def _path() -> Path:
    from adacode_cli.checkpoints.cache import cache_dir

    return cache_dir() / FILE_NAME


def _kept() -> dict[str, dict[str, Any]]:
    """What is kept and still counts. A file that cannot be read, or holds something else, counts as empty."""
    try:
        data = json.loads(_path().read_text(encoding="utf-8"))
        entries = data["speeds"] if data["version"] == _VERSION else {}
        return {str(key): entry for key, entry in entries.items() if _counts(entry)}
    except (AdaCodeError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _counts(entry: dict[str, Any]) -> bool:
    figures = (entry["per_image_s"], entry["per_megapixel_s"], entry["time"])
    if not all(isinstance(figure, int | float) and math.isfinite(figure) and figure >= 0 for figure in figures):
        return False
    most = _BUSY_KEPT_S if entry["busy"] else _KEPT_S
    return isinstance(entry["precision"], str) and 0 <= time.time() - entry["time"] < most


def _keep(key: str, figures: dict[str, Any]) -> None:
    """Adds an entry to the file; if it cannot be written, the next dry run measures again."""
    from adacode_cli import atomic

    entries = _kept() | {key: figures | {"time": time.time()}}
    newest = sorted(entries.items(), key=lambda one: one[1]["time"])[-_MOST_KEPT:]
    with suppress(AdaCodeError, OSError):
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, json.dumps({"version": _VERSION, "speeds": dict(newest)}).encode())
