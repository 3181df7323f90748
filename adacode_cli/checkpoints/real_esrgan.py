"""Real-ESRGAN's small networks (Wang et al. 2021, arXiv:2107.10833) as a start for a trunk: their keys and shapes.

Their layout is a row `body.0`, `body.1`, …: 3×3 convolutions with PReLU slopes in between, as `model.network.Trunk` has
it. What is not such a row, or has another shape than the trunk wanted, is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from adacode_cli.checkpoints.base_models import described, licence_in
from adacode_cli.checkpoints.format import METADATA_KEY, Provenance, read_safetensors, weights_of
from adacode_cli.checkpoints.published import PICKLED, read_params
from adacode_cli.checkpoints.soundness import key_problems, require_finite
from adacode_cli.errors import WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import Trunk
from adacode_cli.model.rescaling import repacked

_BODY, _TRUNK, _FIRST = "body.", "trunk.", "body.0.weight"
_KEY = re.compile(r"body\.\d+\.(weight|bias)")
_HINT = "Give a network of Real-ESRGAN's compact layout and the trunk's size, such as realesr-general-x4v3."
# Those that its authors publish as .pth files, which say nothing of themselves but their names.
_PUBLISHED = ("realesr-general-x4v3", "realesr-general-wdn-x4v3", "realesr-animevideov3")
_PUBLISHED_LICENCE, _PUBLISHED_SOURCE = "BSD-3-Clause", "xinntao/Real-ESRGAN"
_WHOSE = ("base", "name", "licence", "source")


@dataclass(frozen=True)
class TrunkStart:
    """A trunk's tensors, `body.N.weight` and `body.N.bias`, float32, and where they come from.

    `base_model` and `base_licence` are as in `format.Provenance`; `said` is all that the file's metadata say. `ours` is
    what a file of ours says of itself, None of others.
    """

    tensors: dict[str, Tensor]
    base_model: str
    base_licence: str
    said: Mapping[str, str]
    ours: Provenance | None = None


def read_tensors(path: Path, hint: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors as they are stored, and metadata, which a `.pth` has none of. Raises WeightsError, naming the file."""
    return (read_params(path), {}) if path.suffix.lower() in PICKLED else read_safetensors(path, hint)


def read_trunk(path: Path, config: NetworkConfig) -> TrunkStart:
    """A `.safetensors` or `.pth` of such a network, which packs single pixels.

    Of a file of ours, the trunk. Raises WeightsError, naming the file, where it is unreadable or no trunk of this
    configuration's size.
    """
    tensors, said = read_tensors(path, _HINT)
    start = _trunk_of(tensors, said, path) if METADATA_KEY in said else start_of(tensors, said, path)
    require_size(start, config, path)
    return start


def is_start(keys: Mapping[str, Tensor]) -> bool:
    """Whether these are the keys of such a network, of any size."""
    return bool(keys) and all(_KEY.fullmatch(key) for key in keys)


def start_of(tensors: Mapping[str, Tensor], said: Mapping[str, str], path: Path) -> TrunkStart:
    """Tensors of a file at `path` and what its metadata say, as a start. Where they do not say whose, its name does.

    Raises WeightsError where a value is no finite number.
    """
    require_finite({key: tensor for key, tensor in tensors.items() if _KEY.fullmatch(key)}, path)
    licence, source = said.get("licence", ""), said.get("source", "")
    if path.stem in _PUBLISHED and not any(said.get(key) for key in _WHOSE):
        licence, source = _PUBLISHED_LICENCE, _PUBLISHED_SOURCE
    base = said.get("base") or described(said.get("name") or path.stem, licence, source)
    return TrunkStart({k: t.float() for k, t in tensors.items()}, base, licence or licence_in(base), said)


def _trunk_of(tensors: dict[str, Tensor], said: Mapping[str, str], path: Path) -> TrunkStart:
    """The trunk of a file of ours, and whose weights that file started from."""
    weights = weights_of(tensors, said, path)
    own = {k.removeprefix(_TRUNK): t.float() for k, t in weights.tensors.items() if k.startswith(_TRUNK + _BODY)}
    provenance = weights.provenance
    return TrunkStart(own, provenance.base_model, provenance.base_licence, said, provenance)


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
