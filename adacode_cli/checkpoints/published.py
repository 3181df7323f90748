"""The published AdaCode key layout: its configuration from its shapes, and its names for our keys.

A published checkpoint loads completely or not at all: keys that only the training code needs are dropped by name.
All other keys that are missing, unexpected or of another shape are errors, with the names of the file.
"""

from __future__ import annotations

import errno
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.checkpoints.soundness import as_float32, key_problems, require_finite, require_stored, without_memory
from adacode_cli.errors import WeightsError, reason
from adacode_cli.model.config import PAPER_CATEGORIES, NetworkConfig, SwinConfig
from adacode_cli.tasks import BASIS

# Under which names training code stores a state dict: averaged weights first.
_WRAPPERS = ("params_ema", "params", "state_dict")
# What torch's wrappers for several devices put before every key.
_PARALLEL = "module."
# Parts of the published training set-up that are stored with the network and do not belong to it.
DROPPED_PREFIXES = (
    "sft_fusion_group.",
    "multiscale_encoder.upsampler.",
    "conv_semantic.",
    "vgg_feat_extractor.",
    "weight_cri.",
    "contrast_cri.",
)
# Rebuilt from the map's size when needed.
_BUFFERS = re.compile(r"\.residual_group\.blocks\.\d+\.(attn_mask|attn\.relative_position_index)$")
_NEXT_STEP = "Use a generator checkpoint of AdaCode, not a discriminator or another network's file."

_RES_BLOCK = {"norm1": "conv.0.norm", "conv1": "conv.2", "norm2": "conv.3.norm", "conv2": "conv.5"}

# What torch's reader raises for a damaged checkpoint, or bytes that are none; no class of exception is documented.
_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


class PublishedLayout:
    """The names of one published state dict; `config` is derived from its shapes.

    Raises WeightsError when the keys are not those of an AdaCode generator.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = {k: v for k, v in state.items() if not k.startswith(DROPPED_PREFIXES) and not _BUFFERS.search(k)}
        self.num_down = self._count(r"multiscale_encoder\.blocks\.(\d+)\.0\.(weight|bias)$")
        self.config = self._read_config()

    def published_name(self, key: str) -> str:
        """The layout's name for a key of our state dict."""
        return published_name(key, self.num_down, is_basis=self.config.task == BASIS.name)

    def translated(self) -> dict[str, Tensor]:
        """The state dict under our names, complete. Raises WeightsError naming published keys that do not fit."""
        own = without_memory(self.config).state_dict()
        names = {key: self.published_name(key) for key in own}
        problems = key_problems({names[key]: tensor for key, tensor in own.items()}, self.state)
        if problems:
            raise WeightsError(problems, hint=_NEXT_STEP)
        return {key: self.state[name] for key, name in names.items()}

    def _count(self, pattern: str) -> int:
        """How many different numbers the keys have where `pattern` has its group."""
        # Not the largest number: a file must not decide the size of the network before its keys are compared.
        return len({m[1] for k in self.state if (m := re.match(pattern, k))})

    def _shape(self, key: str, rank: int) -> tuple[int, ...]:
        if key not in self.state:
            raise WeightsError(f"this is not a published AdaCode checkpoint: {key} is missing", hint=_NEXT_STEP)
        shape = tuple(self.state[key].shape)
        if len(shape) != rank or 0 in shape:
            raise WeightsError(f"wrong shapes: {key}", hint=_NEXT_STEP)
        return shape

    def _swin(self, prefix: str) -> SwinConfig | None:
        groups = self._count(re.escape(prefix) + r"swin_blks\.(\d+)\.")
        if not groups:
            return None
        block = prefix + "swin_blks.0.residual_group.blocks."
        side, heads = self._shape(block + "0.attn.relative_position_bias_table", 2)
        hidden, channels = self._shape(block + "0.mlp.fc1.weight", 2)
        blocks = self._count(re.escape(block) + r"(\d+)\.")
        return SwinConfig(groups, blocks, heads, (isqrt(side) + 1) // 2, hidden // channels)

    def _read_config(self) -> NetworkConfig:
        stages = self._count(r"decoder_group\.(\d+)\.")
        coarse_to_fine = [self._shape("decoder_group.0.block.1.weight", 4)[1]]
        coarse_to_fine += [self._shape(f"decoder_group.{i}.block.1.weight", 4)[0] for i in range(stages)]
        num_bases = self._count(r"(?:before_quant|quantize|after_quant)_group\.(\d+)\.")
        books = [self._shape(f"quantize_group.{k}.embedding.weight", 2) for k in range(num_bases)]
        if stages < self.num_down:
            raise WeightsError(
                f"{self.num_down} down blocks, {stages} decoder stages: this is not an AdaCode network", hint=_NEXT_STEP
            )
        scale = 2 ** (stages - self.num_down)
        encoder_swin = self._swin(f"multiscale_encoder.blocks.{self.num_down}.")
        num_ups = self._count(r"multiscale_encoder\.blocks\.(\d+)\.1\.(weight|bias)$")
        return NetworkConfig(
            task=self._task(scale, restoring=encoder_swin is not None),
            scale=scale,
            channels=tuple(reversed(coarse_to_fine)),
            skip="add" if num_ups else "none",
            num_skips=num_ups,
            encoder_swin=encoder_swin,
            predictor_swin=self._swin("weight_predictor.blocks.0."),
            codebooks=tuple((n, d) for n, d in books),
            categories=PAPER_CATEGORIES if num_bases == len(PAPER_CATEGORIES) else (),
        )

    def _task(self, scale: int, *, restoring: bool) -> str:
        if not any(k.startswith("weight_predictor.") for k in self.state):
            return "basis"
        if scale > 1:
            return "sr"
        return "inpaint" if restoring else "reconstruct"


def published_name(key: str, num_down: int, *, is_basis: bool) -> str:
    """The layout's name for a key of our state dict, of a network with `num_down` down blocks."""
    match key.split("."):
        case ["encoder", "stem", "conv", leaf]:
            name = f"multiscale_encoder.in_conv.{leaf}"
        case ["encoder", "down", i, *tail]:
            name = f"multiscale_encoder.blocks.{i}.{_stage_name(tail, 0)}"
        case ["encoder", "swin", *tail]:
            name = f"multiscale_encoder.blocks.{num_down}.{_swin_name(tail)}"
        case ["encoder", "up", i, *tail]:
            name = f"multiscale_encoder.blocks.{num_down + 1 + int(i)}.{_stage_name(tail, 1)}"
        case ["decoder", "stages", i, *tail]:
            name = f"decoder_group.{i}.block.{_stage_name(tail, 1)}"
        case ["decoder", "head", "conv", leaf]:
            name = f"out_conv.{leaf}"
        case ["codebook", "books", *tail]:
            name = f"quantize_group.{'.'.join(tail)}"
        case ["codebook", "before", *tail]:
            name = f"before_quant_group.{'.'.join(tail)}"
        case ["codebook", "after", k, leaf]:
            name = f"after_quant_group.{k}.{'conv.' if is_basis else ''}{leaf}"
        case ["codebook", "predictor", "swin", *tail]:
            name = f"weight_predictor.blocks.0.{_swin_name(tail)}"
        case ["codebook", "predictor", "out", leaf]:
            name = f"weight_predictor.blocks.1.{leaf}"
        case _:
            raise AssertionError(f"a network of a published configuration has no {key}")
    return name


def read_published(path: Path) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """A published checkpoint → its configuration and its state dict under our names, float32.

    Only tensors are unpickled. Raises WeightsError for anything that is not such a file, and for tensors that have
    another type or a value that is not finite in float32.
    """
    params = read_params(path)
    try:
        layout = PublishedLayout(params)
        tensors = layout.translated()
        require_finite(tensors, path)
        return layout.config, as_float32(tensors, path)
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint or _NEXT_STEP) from error


def read_params(path: Path) -> dict[str, Tensor]:
    """The state dict of a file that torch.save wrote: the averaged weights ("params_ema"), or else the weights
    ("params", as BasicSR writes them, or "state_dict"), or else the whole content of the file.

    "module." before every key, as torch writes it after training on several devices, is left out. Only tensors are
    unpickled. Raises WeightsError for anything that is not such a file.
    """
    try:
        _require_no_bomb(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, *_UNREADABLE) as error:
        # In a truncated archive, torch seeks to a negative position, which is an "invalid argument" for the system.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise WeightsError(f"cannot be read: {reason(error)}", path=path, hint="Check the path.") from error
        raise WeightsError(
            "cannot be read as a checkpoint of tensors",
            path=path,
            hint="The file may be incomplete, or hold Python objects, which are never loaded. Download it again.",
        ) from error
    named = [content[key] for key in _WRAPPERS if key in content] if isinstance(content, dict) else []
    state: dict[str, Tensor] | None = next((found for found in (*named, content) if _is_state(found)), None)
    if state is None:
        names = ", ".join(map(repr, _WRAPPERS))
        what = f"is no state dict, and has none under one of the names {names}"
        raise WeightsError(what, path=path, hint=_NEXT_STEP)
    if any(_is_partly_a_state(found) for found in named):  # which may be the averaged weights
        hint = "Save the tensors that are wanted alone."
        raise WeightsError("has tensors and other things under one name", path=path, hint=hint)
    require_stored(state, path.stat().st_size, path)
    if all(key.startswith(_PARALLEL) for key in state):
        return {key.removeprefix(_PARALLEL): tensor for key, tensor in state.items()}
    return state


def _require_no_bomb(path: Path) -> None:
    """Raises WeightsError for an archive that unpacks to more than its size: torch does not compress, and reads all."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return  # an older format, or none
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    if unpacked > path.stat().st_size:
        what = f"is a compressed archive ({unpacked} bytes when unpacked), and files of weights are not compressed"
        raise WeightsError(what, path=path, hint="Save it again with torch.save, or download it again.")


def _is_partly_a_state(value: object) -> bool:
    """Whether `value` is a dictionary of tensors and of something else."""
    return isinstance(value, dict) and any(isinstance(one, Tensor) for one in value.values()) and not _is_state(value)


def _is_state(value: object) -> bool:
    """Whether `value` is a dictionary of at least one tensor, by their names, and of nothing else."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _stage_name(tail: list[str], conv: int) -> str:
    """A down or up block: its convolution stands at index `conv`, the residual blocks follow."""
    if tail[0] == "conv":
        return f"{conv}.{tail[1]}"
    _, i, layer, leaf = tail
    return f"{conv + 1 + int(i)}.{_RES_BLOCK[layer]}.{leaf}"


def _swin_name(tail: list[str]) -> str:
    group, kind, *rest = tail
    if kind == "conv":
        return f"swin_blks.{group}.conv.{rest[0]}"
    block, *layer = rest
    inner = ".".join(layer).replace("attn.position_bias", "attn.relative_position_bias_table")
    return f"swin_blks.{group}.residual_group.blocks.{block}.{'mlp.' if inner.startswith('fc') else ''}{inner}"
