"""Our file of weights: safetensors, with the network's configuration and its provenance in the metadata.

A task of a family is spread over three files, as its stages were trained: the basis codebooks, the fused part
(what turns codes into images), both shared by all tasks, and the task's own encoder. A "whole" file holds all.
The shared parts are compared bit for bit: with other codes than in its training, a task would silently make wrong
images. Therefore the file of a task states the digests of the parts that it was trained with (`parts.part_digest`).

A file can hold a second set of values for some of its tensors: those of a network that keeps noise and grain.
Interpolated values give a strength of noise removal in between (linear interpolation of weights: Wang et al. 2018,
arXiv:1811.10515; arXiv:2107.10833). It can also hold the ranges of convolutions that may run in 8 bits,
and state how near images in 8 bits are to those in float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from reprlib import repr as shown
from typing import Any, Literal, cast, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adacode_cli.atomic import write_bytes
from adacode_cli.checkpoints.base_models import (
    NOT_STATED,
    joined_licences,
    joined_models,
    joined_texts,
    licence_in,
    stated_licence,
    whole_licence,
)
from adacode_cli.checkpoints.headers import header_of
from adacode_cli.checkpoints.integrity import read_json
from adacode_cli.checkpoints.parts import digests_in, part_digest
from adacode_cli.checkpoints.soundness import as_float32, require_finite
from adacode_cli.errors import DeviceError, OutputError, UsageError, WeightsError, reason, translated
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.ranges import Filters, InputRange, Ranges, whole_weight
from adacode_cli.version import __version__

FORMAT_VERSION = 1
METADATA_KEY, DETECTOR_KEY, PRIOR_KEY = "adacode", "adacode-detector", "adacode-prior"
_OTHERS = {
    DETECTOR_KEY: ("holds a detector of marks, not a task's network", "Give it to `adacode inpaint --detect`."),
    PRIOR_KEY: (
        "holds a prior of codes, not a task's network",
        "No option takes it: adacode finds it beside the weights of its family.",
    ),
}
# How tensors can be stored, by the names in options.
DTYPES: Mapping[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
Part = Literal["whole", "basis", "fused", "task"]
# Which keys of a network's state dict each part holds; "task" has the rest.
PART_KEYS: dict[str, tuple[str, ...]] = {
    "basis": ("codebook.books.",),
    "fused": ("codebook.after.", "decoder."),
}
_HALF: Mapping[str, torch.dtype] = {"F16": torch.float16, "BF16": torch.bfloat16}  # by their names in a header
# Prefix of the keys of values that keep noise, in a file.
_FAITHFUL = "faithful."
# Of the keys of a convolution's range: int8.NAME.steps and int8.NAME.zero, which are always stored as float32. And of
# its filters for 8 bits: a weight as whole numbers (int8), a factor for each output channel and a bias, both float32.
_INT8, _STEPS, _ZERO = "int8.", ".steps", ".zero"
_WEIGHT, _FACTOR, _BIAS = ".weight", ".factor", ".bias"
# In the metadata, beside the configuration: earlier versions ignore them.
_INT8_PSNR, PARTS = "int8_psnr_db", "parts"
# The key of the configuration as UTF-8 JSON in exported files, for programs that hand over a file's tensors alone.
CONFIG_TENSOR = "adacode.config"
# Limit in characters: the time to separate names and licences grows faster than the length of a text.
_MAX_BASE, _MAX_TEXT = 20_000, 1_000_000
_LONG = ("recipe", "source", "trained_on")
_HINT = "Use a file written by adacode (or convert a published .pth: adacode weights convert FILE.pth OUT.safetensors)."


@dataclass(frozen=True)
class Provenance:
    """Where weights come from: their family, what they were trained on, under which licence, by which version.

    All of it is of the weights and of every ancestor: of all files that their training began with or was built on.
    `base_model` names ancestors that are weights of other authors or of other runs, as `base_models.described` does, ""
    if there are none; `base_licence` is their licence, "" if it is not stated, and `licence` that of everything else.
    `recipe` is the JSON text of the settings of their training, "" if unknown. Later versions may add fields: a file
    may lack some, and may hold some of a newer version, which are ignored.
    """

    family: str = ""
    trained_on: str = ""
    licence: str = ""
    source: str = ""
    version: str = __version__
    base_model: str = ""
    base_licence: str = ""
    recipe: str = ""

    @property
    def whole_licence(self) -> str:
        """The licence of the weights and of their base model together, "" where none is stated."""
        return whole_licence(self.licence, self.base_model, self.base_licence)

    def with_sources(self, ours: Sequence[Provenance], bases: Sequence[tuple[str, str]] = ()) -> Provenance:
        """This one for weights that are made from other weights (`ours`), and from base models with their licences.

        The training data, licences and base models of `ours` hold for the new weights too. A licence that one of them
        does not state is `NOT_STATED`, if others state theirs.
        """
        pairs = [*((one.base_model, one.base_licence) for one in ours), *bases]
        stated = any(one.licence for one in ours)
        return replace(
            self,
            trained_on=joined_texts(*(one.trained_on for one in ours)),
            licence=joined_licences(*(one.licence or NOT_STATED for one in ours)) if stated else "",
            base_model=joined_models(*(name for name, _ in pairs)),
            base_licence=joined_licences(*(stated_licence(name, licence) for name, licence in pairs)),
        )


@dataclass(frozen=True)
class Weights:
    """Contents of one file. `config` is the network's own in "whole" and "task" files; tensors are float32.

    `faithful` has other values of some of the `tensors`: with those the network keeps noise. It is empty in most files.
    `ranges`: of the convolutions that may run in 8 bits, measured with `tensors`; empty where there are none.
    `int8_psnr_db`: the mean PSNR in dB, measured with these ranges, of images in 8 bits to those in float32; None where
    it is not known.
    `parts`: of the file of a task, the digests (`parts.part_digest`) of "basis" and "fused" as they belong to it. It is
    empty in files of earlier versions, which are read without a check, and in files of other parts.
    """

    part: Part
    config: NetworkConfig
    provenance: Provenance
    tensors: dict[str, Tensor]
    faithful: dict[str, Tensor] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=dict)
    int8_psnr_db: float | None = None
    parts: dict[str, str] = field(default_factory=dict)

    def denoising(self, strength: float) -> dict[str, Tensor]:
        """The tensors for a strength of 0 (`faithful`) to 1 (`tensors`); between the two, linear interpolation.

        Raises UsageError for another strength, WeightsError for one below 1 where the file has no `faithful` values.
        """
        check_denoise(strength)
        if strength == 1:
            return self.tensors
        if not self.faithful:
            hint = "Leave out --denoise, or give weights that `adacode weights pair` has made."
            raise WeightsError("has one strength of noise removal only", hint=hint)
        return self.tensors | {k: v + strength * (self.tensors[k] - v) for k, v in self.faithful.items()}


def check_denoise(strength: float) -> None:
    """Raises UsageError unless the strength of noise removal is from 0 to 1."""
    if not 0 <= strength <= 1:
        hint = "0 keeps noise and grain, 1 removes them."
        raise UsageError(f"a denoise of {strength} is not between 0 and 1", hint=hint)


def part_of(key: str) -> Part:
    """The part that a state-dict key belongs to."""
    if key.startswith(PART_KEYS["basis"]):
        return "basis"
    return "fused" if key.startswith(PART_KEYS["fused"]) else "task"


def write_weights(path: Path, weights: Weights, dtype: torch.dtype = torch.float32) -> None:
    """Writes a file atomically, tensors as `dtype`, and makes its folder. Raises OutputError where that fails."""
    write_file(path, to_bytes(weights, dtype))


def write_file(path: Path, data: bytes) -> None:
    """Writes a file of weights atomically, and makes its folder. Raises OutputError where that fails."""
    with translated(OutputError, "cannot be made into a folder", path.parent, hint="Choose a writable place."):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)


def to_bytes(weights: Weights, dtype: torch.dtype = torch.float32, *, with_config: bool = False) -> bytes:
    """The content of a file, tensors as `dtype`; equal weights give equal bytes.

    with_config: the configuration is among the tensors, too (`config_in`).
    """
    header: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "part": weights.part,
        "config": weights.config.to_dict(),
        "provenance": asdict(weights.provenance),
    }
    if weights.int8_psnr_db is not None:
        header[_INT8_PSNR] = weights.int8_psnr_db
    if weights.part == "task" and weights.parts:
        header[PARTS] = weights.parts
    every = weights.tensors | {_FAITHFUL + key: tensor for key, tensor in weights.faithful.items()}
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in sorted(every.items())}
    tensors |= _range_tensors(weights.ranges)
    if with_config:
        text = json.dumps(weights.config.to_dict(), sort_keys=True)
        tensors[CONFIG_TENSOR] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    return bytes(save(tensors, {METADATA_KEY: json.dumps(header, sort_keys=True)}))


def config_in(tensors: Mapping[str, Tensor]) -> NetworkConfig | None:
    """The configuration among the tensors of an exported file, None in others. Raises WeightsError."""
    stored = tensors.get(CONFIG_TENSOR)
    if stored is None:
        return None
    if stored.ndim != 1 or stored.numel() > _MAX_TEXT:
        raise WeightsError("has a damaged configuration among its tensors: its shape is wrong", hint=_HINT)
    try:
        values = read_json(bytes(stored.to("cpu", torch.uint8).tolist()).decode())
        return NetworkConfig.from_dict(cast(dict[str, Any], values))
    except (TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"has a damaged configuration among its tensors: {str(error)[:200]}", hint=_HINT) from error


def own_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the tensors of a file, those of the network: no second values, no ranges, no configuration."""
    return {k: v for k, v in tensors.items() if k != CONFIG_TENSOR and not k.startswith((_FAITHFUL, _INT8))}


def _range_tensors(ranges: Ranges) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, one in sorted(ranges.items()):
        values = {_STEPS: one.steps_C.to("cpu").contiguous(), _ZERO: torch.tensor(float(one.zero))}
        if one.filters is not None:
            whole, factor = whole_weight(one.filters.weight_OIHW, one)
            values |= {_WEIGHT: whole, _FACTOR: factor.flatten(), _BIAS: one.filters.bias_O}
        found |= {f"{_INT8}{name}{end}": value.to("cpu").contiguous() for end, value in values.items()}
    return found


def _ranges_in(tensors: Mapping[str, Tensor]) -> Ranges:
    """The ranges among the tensors of a file. Raises WeightsError where one is incomplete."""
    found = {}
    for name in sorted({key.removeprefix(_INT8).rpartition(".")[0] for key in tensors if key.startswith(_INT8)}):
        steps, zero, *filters = (tensors.get(f"{_INT8}{name}{end}") for end in (_STEPS, _ZERO, _WEIGHT, _FACTOR, _BIAS))
        if steps is None or zero is None or zero.numel() != 1 or float(zero) != int(zero):
            raise WeightsError(f"has an incomplete range for {name[:80]}")
        found[name] = InputRange(steps, int(zero), _filters_in(name, steps, *filters))
    return found


def _filters_in(
    name: str, steps_C: Tensor, whole: Tensor | None, factor: Tensor | None, bias: Tensor | None
) -> Filters | None:
    if whole is None and factor is None and bias is None:
        return None
    if (
        whole is None
        or factor is None
        or bias is None
        or whole.ndim != 4
        or whole.shape[:2] != (*factor.shape, *steps_C.shape)
    ):
        raise WeightsError(f"has incomplete filters in 8 bits for {name[:80]}")
    if not bool((factor > 0).all()):
        raise WeightsError(f"has filters in 8 bits for {name[:80]} with a factor that is not positive")
    return Filters(whole * factor[:, None, None, None] / steps_C[:, None, None], bias)


def read_weights(path: Path) -> Weights:
    """Reads a file that `write_weights` wrote, of any dtype. Raises WeightsError, naming the file."""
    tensors, metadata = read_safetensors(path, _HINT)
    return weights_of(as_float32(tensors, path), metadata, path)


def stored_dtype(path: Path) -> torch.dtype:
    """What a file stores its weights as: fp16 or bf16 if all of them are; else float32, also for a pickled file."""
    if path.suffix.lower() != ".safetensors":
        return torch.float32
    others = ("__metadata__", CONFIG_TENSOR)
    stored = header_of(path).items()
    names = {one["dtype"] for key, one in stored if key not in others and not key.startswith(_INT8)}
    return _HALF[names.pop()] if len(names) == 1 and names <= _HALF.keys() else torch.float32


def shared_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """fp16 or bf16 if all stored weights are of that type, ranges left out; float32 otherwise."""
    dtypes = {tensor.dtype for key, tensor in tensors.items() if key != CONFIG_TENSOR and not key.startswith(_INT8)}
    return dtypes.pop() if dtypes in ({torch.float16}, {torch.bfloat16}) else torch.float32


def _is_whole(key: str, tensor: Tensor) -> bool:
    """Whether a tensor is a weight in whole numbers, or the configuration: no other tensor may have them."""
    if key == CONFIG_TENSOR:
        return tensor.dtype == torch.uint8
    return tensor.dtype == torch.int8 and key.startswith(_INT8) and key.endswith(_WEIGHT)


def _is_no_text(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def read_safetensors(path: Path, hint: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The stored tensors, which are all finite in a file of adacode, and the metadata.

    Raises WeightsError, with `hint` for a file of another kind, and DeviceError if there is not enough memory.
    """
    if _is_no_text(path):
        raise WeightsError("its path is not UTF-8, so it cannot be opened", path=path, hint="Rename it, or its folder.")
    try:
        with safe_open(path, "pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = dict(file.metadata() or {})
        if METADATA_KEY in metadata:
            require_finite({k: v for k, v in tensors.items() if not _is_whole(k, v)}, path)
    except MemoryError as error:
        hint = "Close other programs, or use smaller weights."
        raise DeviceError("there is not enough memory to read it", path=path, hint=hint) from error
    except SafetensorError as error:
        raise WeightsError("is not a safetensors file, or is incomplete", path=path, hint=hint) from error
    except OSError as error:
        # The library's own errors have no errno, and its message for a directory is about devices.
        why = reason(error) if path.exists() else "there is no such file"
        what = "is a directory" if path.is_dir() else f"cannot be read: {why}"
        raise WeightsError(what, path=path, hint="Check the path.") from error
    return tensors, metadata


def weights_of(tensors: dict[str, Tensor], metadata: Mapping[str, str], path: Path) -> Weights:
    """The contents of a file of adacode at `path`. Raises WeightsError if its metadata are missing or damaged."""
    if METADATA_KEY not in metadata:
        what, hint = next((_OTHERS[key] for key in _OTHERS if key in metadata), ("has no adacode metadata", _HINT))
        raise WeightsError(what, path=path, hint=hint)
    try:
        return _described(cast(dict[str, Any], read_json(metadata[METADATA_KEY])), tensors)
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint or _HINT) from error
    except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"has damaged adacode metadata: {str(error)[:200]}", path=path, hint=_HINT) from error


def _described(header: dict[str, Any], tensors: dict[str, Tensor]) -> Weights:
    if not isinstance(header["format"], int) or isinstance(header["format"], bool):
        raise TypeError("its format is not a number")
    if header["format"] > FORMAT_VERSION:
        found = f"has format {shown(header['format'])}, this version reads {FORMAT_VERSION}"
        raise WeightsError(found, hint="Update adacode.")
    if header["part"] not in get_args(Part):
        raise WeightsError(f"has an unknown part {shown(header['part'])}", hint="Update adacode.")
    config = NetworkConfig.from_dict(header["config"])
    known = {field.name for field in fields(Provenance)}
    provenance = {name: value for name, value in dict(header["provenance"]).items() if name in known}
    for name, value in provenance.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} of the provenance is not a text")
        value.encode()  # an unpaired surrogate is a ValueError
        if len(value) > (_MAX_TEXT if name in _LONG else _MAX_BASE):
            raise ValueError(f"{name} of the provenance is too long")
    # The first files with a base model had no field for its licence.
    provenance["base_licence"] = provenance.get("base_licence") or licence_in(provenance.get("base_model", ""))
    faithful = {key.removeprefix(_FAITHFUL): tensors[key] for key in tensors if key.startswith(_FAITHFUL)}
    own = own_tensors(tensors)
    if config_in(tensors) not in (None, config):
        raise WeightsError("has another configuration among its tensors than in its metadata", hint=_HINT)
    for key, tensor in faithful.items():
        # Shared tensors have no second set of values: the files of other tasks would not have it.
        if key not in own or own[key].shape != tensor.shape or part_of(key) != "task":
            raise WeightsError(f"has values that keep noise of other tensors than its own: {_FAITHFUL}{key}")
    ranges = _ranges_in(tensors)
    psnr_db = _int8_psnr(header) if ranges else None
    parts = digests_in(header, PARTS) if header["part"] == "task" else {}
    return Weights(header["part"], config, Provenance(**provenance), own, faithful, ranges, psnr_db, parts)


def _int8_psnr(header: Mapping[str, Any]) -> float | None:
    found = header.get(_INT8_PSNR)
    if found is None:
        return None
    if not isinstance(found, int | float) or isinstance(found, bool) or not math.isfinite(found):
        raise ValueError(f"{_INT8_PSNR} is not a number")
    return float(found)


def split(whole: Weights, dtype: torch.dtype = torch.float32) -> dict[Part, Weights]:
    """A whole network as its three parts; the task's states the digests of the others as files of `dtype` have them.

    The shared parts do not depend on what reconstruction alone has: a decoder of its own, and further levels of codes.
    """
    config = replace(whole.config, own_decoder=None, residual=None)
    shared = replace(whole, config=config, ranges={}, int8_psnr_db=None)
    parts: dict[Part, Weights] = {"basis": shared, "fused": shared, "task": whole}
    groups = {part: replace(of, part=part, tensors={}, faithful={}) for part, of in parts.items()}
    for key, tensor in whole.tensors.items():
        groups[part_of(key)].tensors[key] = tensor
    for key, tensor in whole.faithful.items():
        groups[part_of(key)].faithful[key] = tensor
    digests = {part: part_digest(groups[cast(Part, part)].tensors, dtype) for part in PART_KEYS}
    return groups | {"task": replace(groups["task"], parts=digests)}


def differing(state: Mapping[str, Tensor], shared: Mapping[str, Tensor], parts: tuple[Part, ...]) -> list[str]:
    """Sorted keys of these parts that only one of the two has, or whose float32 tensors are not the same bits."""
    keys = {key for key in (*state, *shared) if part_of(key) in parts}
    return sorted(k for k in keys if k not in state or k not in shared or not _same_bits(state[k], shared[k]))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.view(torch.int32), b.view(torch.int32))
