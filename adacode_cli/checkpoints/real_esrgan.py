"""Real-ESRGAN's small networks (Wang et al. 2021, arXiv:2107.10833) as a start for a trunk: their keys and shapes.

Their layout is a sequence `body.0`, `body.1`, …: 3×3 convolutions with PReLU slopes in between, as in
`model.network.Trunk`. Other layouts, and other shapes than those of the trunk, are refused, with the keys named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from adacode_cli.checkpoints.base_models import described, licence_in
from adacode_cli.checkpoints.file_names import PICKLED
from adacode_cli.checkpoints.format import METADATA_KEY, Provenance, read_safetensors, weights_of
from adacode_cli.checkpoints.published import read_params
from adacode_cli.checkpoints.soundness import as_float32, key_problems, require_finite
from adacode_cli.errors import WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import Trunk
from adacode_cli.model.rescaling import repacked

_BODY, _TRUNK, _FIRST = "body.", "trunk.", "body.0.weight"
_KEY = re.compile(r"body\.\d+\.(weight|bias)")
_HINT = "Give a network of Real-ESRGAN's compact layout and the trunk's size, such as realesr-general-x4v3."
# The names of its authors' .pth files, which have no metadata.
_PUBLISHED = ("realesr-general-x4v3", "realesr-general-wdn-x4v3", "realesr-animevideov3")
_PUBLISHED_LICENCE, _PUBLISHED_SOURCE = "BSD-3-Clause", "xinntao/Real-ESRGAN"
_WHOSE = ("base", "name", "licence", "source")


@dataclass(frozen=True)
class TrunkStart:
    """A trunk's tensors, `body.N.weight` and `body.N.bias`, float32, and where they come from.

    `base_model` and `base_licence` are as in `format.Provenance`; `metadata` is that of the file. `ours` is
    the provenance of a file of adacode, None for other files.
    """

    tensors: dict[str, Tensor]
    base_model: str
    base_licence: str
    metadata: Mapping[str, str]
    ours: Provenance | None = None


def read_tensors(path: Path, hint: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors as they are stored, and metadata, which pickled files do not have. Raises WeightsError with the path."""
    return (read_params(path), {}) if path.suffix.lower() in PICKLED else read_safetensors(path, hint)


def read_trunk(path: Path, config: NetworkConfig) -> TrunkStart:
    """A safetensors or pickled file of such a network, which packs single pixels.

    From a file of adacode it takes the trunk. Raises WeightsError, naming the file, if it cannot be read or has no
    trunk of this configuration's size.
    """
    tensors, metadata = read_tensors(path, _HINT)
    start = _trunk_of(tensors, metadata, path) if METADATA_KEY in metadata else start_of(tensors, metadata, path)
    require_size(start, config, path)
    return start


def is_start(keys: Mapping[str, Tensor]) -> bool:
    """Whether these are the keys of such a network, of any size."""
    return bool(keys) and all(_KEY.fullmatch(key) for key in keys)


def start_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> TrunkStart:
    """The start from the tensors and metadata of a file at `path`. Without metadata, the file name gives the authors.

    Raises WeightsError if a value is not finite.
    """
    require_finite({key: tensor for key, tensor in tensors.items() if _KEY.fullmatch(key)}, path)
    licence, source = metadata.get("licence", ""), metadata.get("source", "")
    if path.stem in _PUBLISHED and not any(metadata.get(key) for key in _WHOSE):
        licence, source = _PUBLISHED_LICENCE, _PUBLISHED_SOURCE
    base = metadata.get("base") or described(metadata.get("name") or path.stem, licence, source)
    return TrunkStart(as_float32(tensors, path), base, licence or licence_in(base), metadata)


def _trunk_of(tensors: dict[str, Tensor], metadata: Mapping[str, str], path: Path) -> TrunkStart:
    """The trunk of a file of adacode, and the base model of that file."""
    weights = weights_of(tensors, metadata, path)
    own = {k.removeprefix(_TRUNK): t.float() for k, t in weights.tensors.items() if k.startswith(_TRUNK + _BODY)}
    provenance = weights.provenance
    return TrunkStart(own, provenance.base_model, provenance.base_licence, metadata, provenance)


def as_trunk(start: TrunkStart, config: NetworkConfig) -> dict[str, Tensor]:
    """The trunk's tensors of a network of `config`, by their keys in its state dict; `start` packs single pixels."""
    first = repacked(start.tensors[_FIRST], 1, config.cell_px // config.scale)
    return {f"{_TRUNK}{key}": tensor for key, tensor in (start.tensors | {_FIRST: first}).items()}


def require_size(start: TrunkStart, config: NetworkConfig, path: Path) -> None:
    """Raises WeightsError unless `start` has the shapes of the trunk of `config`, packing single pixels."""
    wanted = {key: t for key, t in Trunk(config, pack=1).state_dict().items() if key.startswith(_BODY)}
    problems = key_problems(wanted, start.tensors)
    if problems:
        raise WeightsError(f"is not a trunk of this size: {problems}", path=path, hint=_HINT)
