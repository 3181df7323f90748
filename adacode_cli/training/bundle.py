"""A run folder → the files of a family, as they are installed: shared parts once, one file a task.

- FAMILY-basis and FAMILY-fused: what all tasks share, from the stage-II network
- FAMILY-reconstruct, FAMILY-sr-x4, …: what each task has of its own

Nothing is written before all of it is known to fit: the same shared parts in every task, and every value within
the range of the stored type.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from adacode_cli.checkpoints.format import Weights, read_weights, split, write_weights
from adacode_cli.errors import OutputError, TrainingError
from adacode_cli.model.config import Task
from adacode_cli.training.run_folder import FUSED, task_name
from adacode_cli.training.shared_parts import differing

_TASKS: tuple[tuple[Task, int], ...] = (("sr", 2), ("sr", 4), ("inpaint", 1))


def bundle(
    run_folder: Path,
    family: str,
    target: Path,
    dtype: torch.dtype = torch.float16,
    *,
    licence: str | None = None,
    overwrite: bool = True,
) -> list[Path]:
    """Writes the files of `family` into `target`, tensors as `dtype`, and returns their paths, shared parts first.

    `licence` is written into every file; None keeps what the run's files say. Raises TrainingError for a task over
    other shared parts than the stage-II network's, and for values that `dtype` cannot hold; OutputError where a file
    exists and `overwrite` is False, or the disk refuses.
    """
    parts = {target / f"{family}-{name}.safetensors": weights for name, weights in _parts(run_folder, dtype).items()}
    existing = [path for path in parts if path.exists()]
    if existing and not overwrite:
        raise OutputError("exists already", path=existing[0], hint="Add --overwrite to write it again.")
    for path, weights in parts.items():
        provenance = replace(weights.provenance, family=family, licence=licence or weights.provenance.licence)
        write_weights(path, replace(weights, provenance=provenance), dtype)
    return list(parts)


def fused_file(run_folder: Path) -> Path:
    """The stage-II network that a bundle starts from. Raises TrainingError where there is none."""
    path = run_folder / f"{FUSED}.safetensors"
    if not path.is_file():
        raise TrainingError("is missing", path=path, hint="Bundle a folder in which `adacode train fuse` has ended.")
    return path


def _parts(run_folder: Path, dtype: torch.dtype) -> dict[str, Weights]:
    """basis, fused, reconstruct and the tasks that the folder has, each shown to fit."""
    path = fused_file(run_folder)
    fused = _whole(path, "reconstruct", 1)
    shared = split(fused.tensors, fused.config, fused.provenance)
    found = {"basis": shared["basis"], "fused": shared["fused"], "reconstruct": shared["task"]}
    sources = dict.fromkeys(found, path)
    for task, scale in _TASKS:
        name = task_name(task, scale)
        sources[name] = path = run_folder / f"{name}.safetensors"
        if path.is_file():
            whole = _whole(path, task, scale)
            _require_same_shared(name, path, whole, fused)
            found[name] = split(whole.tensors, whole.config, whole.provenance)["task"]
    for name, weights in found.items():
        _require_range(weights, dtype, sources[name])
    return found


def _whole(path: Path, task: Task, scale: int) -> Weights:
    weights = read_weights(path)
    if weights.part != "whole" or (weights.config.task, weights.config.scale) != (task, scale):
        raise TrainingError(f"holds no whole network for {task_name(task, scale)}", path=path, hint="Train it again.")
    return weights


def _require_same_shared(name: str, path: Path, task: Weights, fused: Weights) -> None:
    keys = differing(task.tensors, fused.tensors, ("basis", "fused"))
    names_differ = task.config.categories != fused.config.categories
    if keys or names_differ:
        what = f"{len(keys)} tensors differ, such as {keys[0]}" if keys else "its categories have other names"
        raise TrainingError(
            f"the task {name} was trained over other shared parts than {FUSED}.safetensors: {what}",
            path=path,
            hint=f"Train it again over this folder's {FUSED}.safetensors.",
        )


def _require_range(weights: Weights, dtype: torch.dtype, path: Path) -> None:
    for key, tensor in weights.tensors.items():
        if not bool(torch.isfinite(tensor.to(dtype)).all()):
            largest = float(tensor.abs().max())
            raise TrainingError(
                f"{key} does not fit {str(dtype).removeprefix('torch.')}: its largest value is {largest:g}",
                path=path,
                hint="Train with a lower learning rate, or store another type.",
            )
