"""The file of a detector of marks: safetensors, with its shape, its threshold and its provenance in the metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save

from adacode_cli.checkpoints.format import DETECTOR_KEY, Provenance, read_safetensors, write_file
from adacode_cli.checkpoints.integrity import read_json
from adacode_cli.checkpoints.presence import DETECTOR_HINT, detector_file
from adacode_cli.checkpoints.soundness import key_problems, require_finite
from adacode_cli.errors import WeightsError
from adacode_cli.model.detector import Detector, DetectorConfig

FORMAT_VERSION = 1


def load_detector(name: str, folder: Path | None = None) -> tuple[Detector, float]:
    """A detector and its threshold, by its name in the catalogue of `folder`, or from a .safetensors file.

    Raises WeightsError for an unknown name and for a file that is damaged or of another kind.
    """
    return read_detector(detector_file(name, folder))


def read_detector(path: Path) -> tuple[Detector, float]:
    """The detector in a file, in evaluation mode, and its threshold. Raises WeightsError, naming the file."""
    network, header = _read(path)
    return network, header["threshold"]


def recipe_in(path: Path) -> dict[str, Any]:
    """The settings with which a detector was trained, empty if they are not stated. Raises as `read_detector` does."""
    _, header = _read(path)
    try:
        return dict(cast(dict[str, Any], read_json(header["provenance"]["recipe"])))
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}


def _read(path: Path) -> tuple[Detector, dict[str, Any]]:
    tensors, metadata = read_safetensors(path, DETECTOR_HINT)
    if DETECTOR_KEY not in metadata:
        raise WeightsError("does not hold a detector of marks", path=path, hint=DETECTOR_HINT)
    require_finite(tensors, path)
    try:
        header = cast(dict[str, Any], read_json(metadata[DETECTOR_KEY]))
        version, threshold = header["format"], float(header["threshold"])
        header["threshold"] = threshold
        network = Detector(DetectorConfig.from_dict(header["config"]))
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=DETECTOR_HINT) from error
    except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"has damaged metadata: {str(error)[:200]}", path=path, hint=DETECTOR_HINT) from error
    if version != FORMAT_VERSION:
        what = f"has format {str(version)[:40]}, this version reads {FORMAT_VERSION}"
        raise WeightsError(what, path=path, hint="Update adacode.")
    if not 0 < threshold < 1:  # not with NaN either
        raise WeightsError(
            f"has a threshold of {threshold}, which is not between 0 and 1", path=path, hint=DETECTOR_HINT
        )
    if problems := key_problems(network.state_dict(), tensors):
        raise WeightsError(problems, path=path, hint=DETECTOR_HINT)
    network.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    return network.eval().requires_grad_(False), header


def write_detector(
    path: Path, network: Detector, threshold: float, provenance: Provenance, dtype: torch.dtype = torch.float16
) -> None:
    """Writes a file atomically. Raises OutputError where that fails."""
    header = {
        "format": FORMAT_VERSION,
        "config": network.config.to_dict(),
        "threshold": threshold,
        "provenance": asdict(provenance),
    }
    tensors = {key: v.detach().to("cpu", dtype).contiguous() for key, v in sorted(network.state_dict().items())}
    write_file(path, bytes(save(tensors, {DETECTOR_KEY: json.dumps(header, sort_keys=True)})))
