"""One whole file of weights from the parts of a family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from adacode_cli.checkpoints.format import Weights, stored_dtype, to_bytes, write_file
from adacode_cli.checkpoints.load import WeightsSource, build, joined, parts_of
from adacode_cli.checkpoints.soundness import require_finite
from adacode_cli.errors import WeightsError


@dataclass(frozen=True)
class Whole:
    """weights: of the part "whole". files: where they come from, the task's own last. dtype: the smallest type that
    holds the values of all files as they are stored.
    """

    weights: Weights
    files: tuple[Path, ...]
    dtype: torch.dtype

    @property
    def own_file(self) -> Path:
        """The task's own file."""
        return self.files[-1]


def whole_of(source: WeightsSource) -> Whole:
    """All that belongs to the one task that a name means, with the training data and licences of all parts.

    Raises WeightsError where parts are missing, are damaged or do not fit one another; UsageError for the name of a
    family with several tasks.
    """
    parts = parts_of(source.own_files())
    path, task = parts[-1]
    tensors = joined(parts)
    build(task.config, tensors, path)  # It checks that the parts make a network.
    provenance = task.provenance
    if len(parts) > 1:
        provenance = provenance.with_sources([one.provenance for _, one in reversed(parts)])
    files = tuple(path for path, _ in parts)
    dtypes = {stored_dtype(path) for path in files}
    weights = replace(task, part="whole", provenance=provenance, tensors=tensors, parts={})
    return Whole(weights, files, dtypes.pop() if len(dtypes) == 1 else torch.float32)


def at_strength(whole: Whole, denoise: float) -> Whole:
    """The same for one strength of noise removal, from 0 to 1; 1 changes nothing.

    Ranges for 8 bits hold for full removal alone. Raises UsageError for another strength, WeightsError for weights that
    have no choice.
    """
    if denoise == 1:
        return whole
    try:
        tensors = whole.weights.denoising(denoise)
    except WeightsError as error:
        raise WeightsError(error.message, path=whole.own_file, hint=error.hint) from error
    require_finite(tensors, whole.own_file)
    weights = replace(whole.weights, tensors=tensors, faithful={}, ranges={}, int8_psnr_db=None)
    return replace(whole, weights=weights)


def write_whole(whole: Whole, target: Path) -> None:
    """Writes the weights as one file of adacode, atomically, for programs that read no metadata, too.

    Raises OutputError.
    """
    write_file(target, to_bytes(whole.weights, whole.dtype, with_config=True))
