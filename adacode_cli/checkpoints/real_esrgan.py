"""Real-ESRGAN's small networks (Wang et al. 2021, arXiv:2107.10833) as a start for a trunk: their keys and shapes.

Their layout is a row `body.0`, `body.1`, …: 3×3 convolutions with PReLU slopes in between, as `model.trunk` has it.
What is not such a row, or has another shape than the trunk wanted, is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from adacode_cli.atomic import reason
from adacode_cli.checkpoints.keys import key_problems
from adacode_cli.checkpoints.published import read_params
from adacode_cli.errors import WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.trunk import Trunk

_BODY = "body."
_HINT = "Give a network of Real-ESRGAN's compact layout and the trunk's size, such as realesr-general-x4v3."


@dataclass(frozen=True)
class TrunkStart:
    """A trunk's tensors, `body.N.weight` and `body.N.bias`, float32, and a line that names where they come from."""

    tensors: dict[str, Tensor]
    base_model: str


def read_trunk(path: Path, config: NetworkConfig) -> TrunkStart:
    """A `.safetensors` or `.pth` of such a network, for input of 1/grid of the output's side.

    Raises WeightsError, naming the file, where it is unreadable or no trunk of this configuration's size.
    """
    tensors, said = _safetensors(path) if path.suffix == ".safetensors" else (read_params(path), {})
    wanted = Trunk(replace(config, scale=config.grid)).state_dict()
    problems = key_problems({k: v for k, v in wanted.items() if k.startswith(_BODY)}, tensors)
    if problems:
        raise WeightsError(f"is no trunk of this size: {problems}", path=path, hint=_HINT)
    named = [said.get("base") or said.get("name") or path.stem, said.get("source", ""), said.get("licence", "")]
    return TrunkStart({k: t.float() for k, t in tensors.items()}, ", ".join(word for word in named if word))


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError("is not a safetensors file, or is incomplete", path=path, hint=_HINT) from error
    except OSError as error:
        raise WeightsError(f"cannot be read: {reason(error)}", path=path, hint="Check the path.") from error
