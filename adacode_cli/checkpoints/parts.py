"""The parts of a family that a task's file was trained with, and whether the parts that are used with it are these.

Parts of another training can have the same names and shapes. A task would then run without an error, and its images
would be wrong. So the file of a task states a digest of each shared part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adacode_cli.checkpoints.integrity import is_sha256
from adacode_cli.errors import WeightsError

_OTHER = {
    "basis": "was trained with other codebooks than those in {}",
    "fused": "was trained with another decoder than the one in {}",
}


def part_digest(tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> str:
    """SHA-256, in hexadecimal, of all tensors of a part as they are loaded from a file that stores them as `dtype`.

    In the order of their keys, it is over each key, its shape, and its values as little-endian float32. These are the
    values that a network computes with. So everything that does not change an image does not change the digest: other
    metadata, another order in the file, and a larger type for the same values (a family whose parts are stored as fp16
    has one digest, also after they are stored as fp32). A smaller type, which rounds the values, makes another part.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().to(dtype).float().contiguous()
        digest.update(f"{key} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def digests_in(header: Mapping[str, Any], key: str) -> dict[str, str]:
    """The digests that the metadata of a file state under `key`, by the names of the parts; none in earlier versions.

    Raises TypeError or ValueError for anything else.
    """
    found = header.get(key, {})
    if not isinstance(found, dict):
        raise TypeError(f"{key} is not an object")
    for name, digest in found.items():
        if not isinstance(digest, str) or not is_sha256(digest):
            raise ValueError(f"{key}: the digest of {name[:80]} is not a SHA-256")
    return {name: found[name] for name in _OTHER if name in found}


def require_stated(
    stated: Mapping[str, str], parts: Iterable[tuple[str, Path, Mapping[str, Tensor]]], path: Path
) -> None:
    """Raises WeightsError where a part is not the one that the file of a task at `path` states.

    stated: digests by the names of parts; a part that is not in it is not compared. parts: the name, the file and the
    float32 tensors of each part.
    """
    for name, file, tensors in parts:
        if name in stated and part_digest(tensors) != stated[name]:
            hint = f"Copy {file.name} from the folder in which this file was made, or use a file that is whole."
            raise WeightsError(_OTHER[name].format(file), path=path, hint=hint)
