"""The weighted mean of two files of weights, tensor by tensor; now, or when an image is restored (`pair`).

A fine-tuned network averaged with the one that it started from keeps abilities of the start (Wortsman et al. 2021,
arXiv:2109.01903). Only networks of the same shape can be averaged. The parts that the tasks of a family share must be
bit-identical in both: the codes of other codebooks have other meanings, and a mean would not show this.

A network of Real-ESRGAN's layout can be averaged with another one of this layout, and with the trunk of a network of
adacode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save
from torch import Tensor

from adacode_cli.checkpoints.base_models import joined_licences, joined_models, stated_licence
from adacode_cli.checkpoints.file_names import SHARED_PARTS
from adacode_cli.checkpoints.format import (
    METADATA_KEY,
    Provenance,
    Weights,
    differing,
    part_of,
    shared_dtype,
    to_bytes,
    weights_of,
    write_file,
)
from adacode_cli.checkpoints.load import shared_parts_beside
from adacode_cli.checkpoints.real_esrgan import TrunkStart, as_trunk, is_start, read_tensors, require_size, start_of
from adacode_cli.checkpoints.soundness import as_float32, key_problems, require_plausible, without_memory
from adacode_cli.errors import OutputError, UsageError, WeightsError, translated
from adacode_cli.model.config import NetworkConfig

_HINT = (
    "Give files of adacode (a published .pth becomes one with: adacode weights convert FILE.pth OUT.safetensors), or "
    "networks of Real-ESRGAN's layout, such as realesr-general-x4v3.pth."
)
_ALIKE = "Give two files of the same task and of networks of the same sizes."
# Keys of the metadata of a network of Real-ESRGAN's layout that hold for its mean with another one too.
_STILL_TRUE = ("architecture", "tuned_on", "recipe")


@dataclass(frozen=True)
class _Input:
    """One of the two files, its share of the mean, and the type that its tensors are stored as."""

    path: Path
    share: float
    content: Weights | TrunkStart
    dtype: torch.dtype

    @property
    def words(self) -> str:
        """As in "0.7 of a.safetensors (adacode train)"."""
        return f"{self.share:g} of {_named(self.path, self.content)}"


def _named(path: Path, content: Weights | TrunkStart) -> str:
    source = content.provenance.source if isinstance(content, Weights) else ""
    return path.name + (f" ({source})" if source else "")


def average(
    first: Path, second: Path, share: float, target: Path, dtype: torch.dtype | None = None, *, overwrite: bool = False
) -> tuple[int, int]:
    """Writes the mean, `share` of `first` and 1 - `share` of `second`, computed in float32, to `target`.

    If a file was made by `pair`, its second values are averaged in the same way, and the mean has such values too. The
    mean has no ranges for 8 bits.

    `dtype` is what the tensors are stored as, by default the type that `first` has. Where one of the files is a network
    of Real-ESRGAN's layout and the other one is ours, the mean is ours, and all but its trunk is as in our file. With a
    share of 1 or 0 every tensor of the mean is a copy. Returns how many tensors are means and how many are as in our
    file. Raises UsageError for a share outside 0 to 1 and for a `target` of another kind, OutputError where `target` is
    one of the inputs, exists without `overwrite`, or cannot be written, and WeightsError for a file that is damaged or
    of another network.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"a share of {share} is not between 0 and 1", hint="Give --share a number from 0 to 1.")
    share += 0.0  # -0.0 becomes 0
    _require_room(first, second, target, overwrite=overwrite)
    a, b = _read(first, share), _read(second, 1 - share)
    stored = dtype or a.dtype
    if isinstance(a.content, TrunkStart) and isinstance(b.content, TrunkStart):
        tensors = _fitting(_mean_of_starts(a, b, a.content, b.content), stored)
        write_file(target, _start_bytes(tensors, _start_metadata(a, b, a.content, b.content), stored))
        return len(tensors), 0
    tensors, num_kept = _mean_with_ours(a, b)
    ours = _ours(a, b)
    paired = {key for side in (a, b) if isinstance(side.content, Weights) for key in side.content.faithful}
    if paired:
        ends, _ = _mean_with_ours(_keeping_noise(a), _keeping_noise(b))
        apart = {key: ends[key] for key in paired if not torch.equal(ends[key].to(stored), tensors[key].to(stored))}
        ours = replace(ours, faithful=_fitting(apart, stored))
    # The maps of a mean have other ranges.
    ours = replace(ours, ranges={}, int8_psnr_db=None, parts=_parts(ours, a, b))
    made = replace(ours, tensors=_fitting(tensors, stored), provenance=_provenance(ours.provenance, a, b))
    write_file(target, to_bytes(made, stored))
    return len(tensors) - num_kept, num_kept


def pair(
    clean: Path, faithful: Path, target: Path, dtype: torch.dtype | None = None, *, overwrite: bool = False
) -> tuple[int, int]:
    """Writes a file whose `Weights.denoising` goes from `faithful` at 0 to `clean` at 1, both rounded to `dtype`.

    `clean` is a file of adacode for a task that has strengths of noise removal. `faithful` is one of the same network
    that keeps noise (of a file that `pair` made, its values at 0), or a network of Real-ESRGAN's layout whose values
    the trunk then takes. Returns how many tensors differ between the two, and how many do not. Raises what `average`
    raises; WeightsError also where both are the same or for another task, or `clean` is a network of Real-ESRGAN's.
    """
    _require_room(clean, faithful, target, overwrite=overwrite)
    a, b = _read(clean, 0), _read(faithful, 1)
    if not isinstance(a.content, Weights):
        what = "is a network of Real-ESRGAN's layout, which cannot hold a second set of values"
        raise WeightsError(what, path=clean, hint="Name a file of adacode first.")
    if not a.content.config.purpose.denoises:
        what = f"is for {a.content.config.task}, which has no strength of noise removal"
        raise WeightsError(what, path=clean, hint="Pair weights of super-resolution.")
    stored = dtype or a.dtype
    tensors, _ = _mean_with_ours(a, _keeping_noise(b))
    own = _fitting(a.content.tensors, stored)
    differs = {key: t for key, t in tensors.items() if not torch.equal(t.to(stored), own[key].to(stored))}
    if not differs:
        raise WeightsError(f"has the same values as {clean}", path=faithful, hint="Give weights that keep noise.")
    provenance = replace(
        _provenance(a.content.provenance, a, b),
        source=f"{_named(clean, a.content)}; with --denoise 0 {_named(faithful, b.content)}",
    )
    made = replace(
        a.content,
        tensors=own,
        faithful=_fitting(differs, stored),
        provenance=provenance,
        parts=_parts(a.content, a, b),
    )
    write_file(target, to_bytes(made, stored))
    return len(differs), len(own) - len(differs)


def _require_room(first: Path, second: Path, target: Path, *, overwrite: bool) -> None:
    with translated(OutputError, "cannot be written", target, hint="Choose another name."):
        _require_place(first, second, target, overwrite=overwrite)


def _require_place(first: Path, second: Path, target: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise OutputError("is a folder", path=target, hint="Name a file.")
    if target.suffix.lower() != ".safetensors":
        raise UsageError(f"{target} does not end in .safetensors", hint="Choose a name that ends in .safetensors.")
    if any(target.exists() and path.exists() and target.samefile(path) for path in (first, second)):
        raise OutputError("is one of the files to read", path=target, hint="Choose another name for the output.")
    if target.exists() and not overwrite:
        raise OutputError("exists already", path=target, hint="Add --overwrite, or choose another name.")


def _read(path: Path, share: float) -> _Input:
    stored, metadata = read_tensors(path, _HINT)
    dtype = shared_dtype(stored)
    tensors = as_float32(stored, path)
    if METADATA_KEY in metadata:
        weights = weights_of(tensors, metadata, path)
        _require_complete(weights, path)
        return _Input(path, share, weights, dtype)
    if is_start(tensors):
        return _Input(path, share, start_of(tensors, metadata, path), dtype)
    raise WeightsError("is neither a file of adacode nor a network of Real-ESRGAN's layout", path=path, hint=_HINT)


def _require_complete(weights: Weights, path: Path) -> None:
    if weights.part == "whole":
        require_plausible(weights.config, weights.tensors, path)
    whole = without_memory(weights.config, path).state_dict()
    wanted = whole if weights.part == "whole" else {k: v for k, v in whole.items() if part_of(k) == weights.part}
    problems = key_problems(wanted, weights.tensors)
    if problems:
        raise WeightsError(problems, path=path, hint="The file is damaged. Make it again, or use another one.")


def _ours(a: _Input, b: _Input) -> Weights:
    return cast(Weights, a.content if isinstance(a.content, Weights) else b.content)


def _mean_with_ours(a: _Input, b: _Input) -> tuple[dict[str, Tensor], int]:
    """All tensors of the mean, at least one of the two being ours; and how many are as in our file."""
    match a.content, b.content:
        case (Weights() as one, Weights() as other):
            return _mean_of_networks(a, b, one, other), 0
        case (Weights() as ours, TrunkStart() as start):
            return _mean_of_trunks(a, b, ours, start)
        case _:
            return _mean_of_trunks(b, a, _ours(a, b), cast(TrunkStart, a.content))


def _keeping_noise(side: _Input) -> _Input:
    """The same with the values that keep noise in the place of the others, where it has them."""
    if not isinstance(side.content, Weights):
        return side
    return replace(side, content=replace(side.content, tensors=side.content.tensors | side.content.faithful))


def _mean_of_networks(a: _Input, b: _Input, one: Weights, other: Weights) -> dict[str, Tensor]:
    if one.part != other.part and {one.part, other.part} != {"whole", "task"}:
        what = f"holds the part {other.part!r}, and {a.path} holds {one.part!r}"
        raise WeightsError(what, path=b.path, hint="Give whole files and files of tasks, or the same part of both.")
    if one.config != other.config:
        what = f"is of another network than {a.path}: {_differences(one.config, other.config)}"
        raise WeightsError(what, path=b.path, hint=_ALIKE)
    own, theirs = ({**_shared(side.path, weights), **weights.tensors} for side, weights in ((a, one), (b, other)))
    problems = key_problems(own, theirs)
    if problems:
        raise WeightsError(f"is of another network than {a.path}: {problems}", path=b.path, hint=_ALIKE)
    keys = differing(own, theirs, ("basis", "fused"))
    if keys:
        what = f"has other shared parts than {a.path}: {len(keys)} tensors differ, such as {keys[0]}"
        hint = "Give results that were trained over the same codebooks and decoder (the same --fused)."
        raise WeightsError(what, path=b.path, hint=hint)
    return {key: _mean(a, b, tensor, theirs[key]) for key, tensor in one.tensors.items()}


def _differences(one: NetworkConfig, other: NetworkConfig) -> str:
    names = [field.name for field in fields(NetworkConfig)]
    changed = [(name, getattr(one, name), getattr(other, name)) for name in names]
    return ", ".join(f"{name} is {theirs}, not {own}" for name, own, theirs in changed if own != theirs)


def _parts(ours: Weights, *sides: _Input) -> dict[str, str]:
    """The digests of the parts that our file belongs to. Both files have the same parts; one may not state them."""
    if ours.part != "task":
        return {}
    stated = [side.content.parts for side in sides if isinstance(side.content, Weights) and side.content.parts]
    return ours.parts or next(iter(stated), {})


def _shared(path: Path, weights: Weights) -> dict[str, Tensor]:
    """The shared parts that belong to the file of a task, from beside it; of other files nothing."""
    if weights.part != "task":
        return {}
    parts = shared_parts_beside(path, weights)
    return {key: tensor for _, part in parts for key, tensor in part.tensors.items()}


def _mean_of_trunks(ours: _Input, start: _Input, weights: Weights, other: TrunkStart) -> tuple[dict[str, Tensor], int]:
    """All tensors of our file, those of the trunk averaged; and how many are unchanged."""
    config = weights.config
    if config.trunk is None or weights.part in SHARED_PARTS:
        what = f"has no trunk that could take values of {start.path}"
        raise WeightsError(what, path=ours.path, hint="Give a super-resolution network that has a trunk.")
    require_size(other, config, start.path)
    theirs = as_trunk(other, config)
    means = {key: _mean(ours, start, weights.tensors[key], tensor) for key, tensor in theirs.items()}
    return weights.tensors | means, len(weights.tensors) - len(means)


def _mean_of_starts(a: _Input, b: _Input, one: TrunkStart, other: TrunkStart) -> dict[str, Tensor]:
    problems = key_problems(one.tensors, other.tensors)
    if problems:
        raise WeightsError(f"is of another network than {a.path}: {problems}", path=b.path, hint=_ALIKE)
    return {key: _mean(a, b, tensor, other.tensors[key]) for key, tensor in one.tensors.items()}


def _mean(a: _Input, b: _Input, one: Tensor, other: Tensor) -> Tensor:
    # 0 times a value and its sum are not always the same bits: -0.0 would become 0.0.
    if a.share in (0, 1):
        return one if a.share else other
    return one * a.share + other * b.share


def _fitting(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    for key, tensor in sorted(tensors.items()):
        if not bool(torch.isfinite(tensor.to(dtype)).all()):
            name, largest = str(dtype).removeprefix("torch."), float(tensor.abs().max())
            what = f"{key} does not fit {name}: its largest value is {largest:g}"
            raise WeightsError(what, hint="Store another type, such as --dtype fp32.")
    return tensors


def _provenance(own: Provenance, a: _Input, b: _Input) -> Provenance:
    """The provenance of our file, with that of the other file added."""
    ours = [side.content.provenance for side in (a, b) if isinstance(side.content, Weights)]
    # A start with a share of 0 is not part of the mean.
    starts = [side.content for side in (a, b) if isinstance(side.content, TrunkStart) and side.share]
    made = own.with_sources(ours, [(start.base_model, start.base_licence) for start in starts])
    return replace(made, source=_words(a, b))


def _words(a: _Input, b: _Input) -> str:
    return f"mean of {a.words} and {b.words}"


def _start_metadata(a: _Input, b: _Input, one: TrunkStart, other: TrunkStart) -> dict[str, str]:
    """The metadata of the mean of two networks of Real-ESRGAN's layout."""
    kept = {key: one.metadata.get(key) or other.metadata.get(key, "") for key in _STILL_TRUE}
    # One with a share of 0 is not part of the mean.
    starts = [start for side, start in ((a, one), (b, other)) if side.share]
    own = {
        "base": joined_models(*(start.base_model for start in starts)),
        "licence": joined_licences(*(stated_licence(s.base_model, s.base_licence) for s in starts)),
        "mean": _words(a, b),
    }
    return {key: text for key, text in {**kept, **own}.items() if text}


def _start_bytes(tensors: Mapping[str, Tensor], metadata: dict[str, str], dtype: torch.dtype) -> bytes:
    return bytes(save({key: tensor.to(dtype).contiguous() for key, tensor in sorted(tensors.items())}, metadata))
