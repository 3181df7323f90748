"""RUN/NAME.checkpoint: an unfinished run as one safetensors file, from which it continues as if it had not stopped.

It is written completely or not at all; until then the last good one stays.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adacode_cli.atomic import write_bytes
from adacode_cli.checkpoints.format import Provenance
from adacode_cli.checkpoints.integrity import read_json
from adacode_cli.errors import TrainingError, reason

SUFFIX = ".checkpoint"
_KEY = "adacode-checkpoint"
_FORMAT = 1
_HINT = "Take another copy of it, or start again with --overwrite."


@dataclass(frozen=True)
class Checkpoint:
    """A run after `steps` steps and `seconds` of training, with the recipe's dictionary that it follows.

    tensors, counters: as `Optimisation.state` gives them. A slim one holds only the averaged weights; a run can
        continue from it, but not exactly.
    data: the digest of the shards that it is trained on (`Data.identity`).
    stated: what its file of weights is going to state, None in files of the first version.
    """

    steps: int
    seconds: float
    recipe: dict[str, Any]
    tensors: dict[str, Tensor]
    counters: dict[str, int] = field(default_factory=dict)
    data: str = ""
    stated: Provenance | None = None


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Raises OutputError if it cannot be written; then an earlier file stays."""
    header = {
        "format": _FORMAT,
        "steps": checkpoint.steps,
        "seconds": checkpoint.seconds,
        "recipe": checkpoint.recipe,
        "counters": checkpoint.counters,
        "data": checkpoint.data,
        "provenance": None if checkpoint.stated is None else asdict(checkpoint.stated),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    write_bytes(path, save(_untied(tensors), {_KEY: json.dumps(header, sort_keys=True)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises TrainingError, naming the file, if it is damaged or not a checkpoint."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {})[_KEY]
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a mapping)
        header = cast(dict[str, Any], read_json(text))
        if header["format"] > _FORMAT:
            raise TrainingError("is of a newer version", path=path, hint="Update adacode.")
        _require_kinds(header)
        stated = header.get("provenance")
        return Checkpoint(
            header["steps"],
            header["seconds"],
            header["recipe"],
            tensors,
            header["counters"],
            header["data"],
            None if stated is None else Provenance(**stated),
        )
    except OSError as error:
        raise TrainingError(f"cannot be read: {reason(error)}", path=path, hint=_HINT) from error
    except MemoryError as error:
        raise TrainingError("there is not enough memory to read it", path=path, hint="Close other programs.") from error
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError("is not a whole checkpoint", path=path, hint=_HINT) from error


def _require_kinds(header: dict[str, Any]) -> None:
    """Raises TypeError or ValueError for values that no checkpoint has."""
    steps, seconds, counters = header["steps"], header["seconds"], header["counters"]
    if not all(isinstance(n, int) and n >= 0 for n in (steps, *counters.values())):
        raise ValueError("a count is not a whole number")
    if not (isinstance(seconds, int | float) and math.isfinite(seconds) and isinstance(header["recipe"], dict)):
        raise TypeError("its times or its recipe have another type")
    if not isinstance(header["data"], str):
        raise TypeError("the digest of its data is not a text")


def _untied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # The format refuses tensors that share memory, as views of one buffer do.
    seen: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        if place in seen or tensor.numel() * tensor.element_size() != tensor.untyped_storage().nbytes():
            tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        seen.add(place)
    return tensors
