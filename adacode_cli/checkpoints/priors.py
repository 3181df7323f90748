"""The file of a prior of codes: safetensors of whole numbers, with the order of its bases, the sizes of its codebooks
and its provenance in the metadata. `codes.prior` interprets the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.catalogue import Catalogue, is_name
from adacode_cli.checkpoints.file_names import part_name
from adacode_cli.checkpoints.format import PRIOR_KEY, Provenance, read_safetensors, write_file
from adacode_cli.checkpoints.integrity import read_json
from adacode_cli.errors import WeightsError

FORMAT_VERSION = 1
HINT = "Use a file that `adacode train prior` wrote."


@dataclass(frozen=True)
class StoredPrior:
    """order: the bases in the order in which their codes are coded. book_sizes: codes of each basis."""

    order: tuple[int, ...]
    book_sizes: tuple[int, ...]
    tensors: Mapping[str, npt.NDArray[np.generic]]
    provenance: Provenance = field(default_factory=Provenance)


def load_prior(catalogue: Catalogue, family: str, folder: Path | None = None) -> tuple[Path, StoredPrior] | None:
    """The prior of a family, and its file in `folder` (by default that of this installation); None without one.

    Raises WeightsError where the file is missing or damaged.
    """
    known = next((file for file in catalogue.priors if file.family == family), None)
    if known is None:
        return None
    path = catalogue_file.required(known, folder)
    return path, read_prior(path)


def prior_beside(path: Path, family: str) -> Path | None:
    """The file of a family's prior in the folder of another of its files, if there is one."""
    beside = path.parent / part_name(family, "prior")
    return beside if is_name(family) and beside.is_file() else None


def read_prior(path: Path) -> StoredPrior:
    """The prior in a file. Raises WeightsError, naming the file."""
    tensors, metadata = read_safetensors(path, HINT)
    if PRIOR_KEY not in metadata:
        raise WeightsError("does not hold a prior of codes", path=path, hint=HINT)
    try:
        header = cast(dict[str, Any], read_json(metadata[PRIOR_KEY]))
        version, order, sizes = header["format"], _numbers(header["order"]), _numbers(header["book_sizes"])
        provenance = _provenance(header.get("provenance", {}))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"has damaged metadata: {str(error)[:200]}", path=path, hint=HINT) from error
    if version != FORMAT_VERSION:
        what = f"has format {str(version)[:40]}, this version reads {FORMAT_VERSION}"
        raise WeightsError(what, path=path, hint="Update adacode.")
    try:
        return StoredPrior(order, sizes, {name: tensor.numpy() for name, tensor in tensors.items()}, provenance)
    except TypeError as error:  # NumPy has no bfloat16
        raise WeightsError(f"has tensors of an unknown type: {error}", path=path, hint=HINT) from error


def write_prior(path: Path, prior: StoredPrior) -> None:
    """Writes a file atomically. Raises OutputError where that fails."""
    header = {
        "format": FORMAT_VERSION,
        "order": list(prior.order),
        "book_sizes": list(prior.book_sizes),
        "provenance": asdict(prior.provenance),
    }
    tensors = {name: np.ascontiguousarray(values) for name, values in sorted(prior.tensors.items())}
    write_file(path, bytes(save(tensors, {PRIOR_KEY: json.dumps(header, sort_keys=True)})))


def _provenance(stated: dict[str, object]) -> Provenance:
    """What a file states about itself; fields of newer versions are left out."""
    known = {each.name for each in fields(Provenance)}
    found = {name: value for name, value in stated.items() if name in known}
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    if len(texts) < len(found):
        raise TypeError("its provenance is not text")
    return Provenance(**texts)


def _numbers(values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError("a list of whole numbers is expected")
    return tuple(values)
