"""A run folder → the files of a family, as they are installed: shared parts once, one file a task.

- FAMILY-basis and FAMILY-fused: what all tasks share, from the stage-II network
- FAMILY-reconstruct, FAMILY-sr-x4, …: the tensors of each task
- LICENSE.Real-ESRGAN: the notice of its authors, where a file starts from their network
- catalogue.json: names, sizes and digests, beside those of other families that the folder has already
- FAMILY.md: the model card

Nothing is written before everything has been checked: the same shared parts in every task, and every value within
the range of the stored type. Files are renamed to their final names only when all of them are on the disk, the
catalogue after the weights that it describes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from adacode_cli.atomic import replacing
from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.base_models import NOT_STATED, notice_of
from adacode_cli.checkpoints.catalogue import Catalogue, Entry, WeightsFile, is_name
from adacode_cli.checkpoints.file_names import SHARED_PARTS, part_name
from adacode_cli.checkpoints.format import (
    DTYPES,
    Provenance,
    Weights,
    differing,
    part_of,
    read_weights,
    split,
    to_bytes,
)
from adacode_cli.checkpoints.licences import is_mix, stricter_than, strictest, unknown_in
from adacode_cli.errors import OutputError, TrainingError, UsageError, WeightsError, reason, translated
from adacode_cli.tasks import TASKS, Task
from adacode_cli.training.model_card import BundledFamily, BundledFile, model_card
from adacode_cli.training.run_names import BASIS, FUSED
from adacode_cli.training.run_record import read_run

OnNote = Callable[[str], None]


def bundle(
    run_folder: Path,
    family: str | None,
    target: Path,
    dtype: torch.dtype = torch.float16,
    *,
    licence: str | None = None,
    overwrite: bool = True,
    on_note: OnNote = lambda _note: None,
) -> list[Path]:
    """Writes weights, catalogue.json and model card of the run in `run_folder` into `target`; returns the paths.

    family: name of the family; if it is None, it is read from the run's files.
    dtype: of the stored tensors.
    licence: of all files; if it is None, each file keeps its own. Statements on base models are kept; an entry's
        licence holds for both, and a notice that this program has is added. A task's file also states what the shared
        parts state, because they belong to it.
    overwrite: replaces files that exist. Otherwise a card that exists is kept.
    on_note: gets a note on a task that is left out because its training has not ended, on a card that is kept, and on
        several licences.

    Raises TrainingError without a stage II, for a task over other shared parts than the stage-II network's, and for
    values that `dtype` cannot hold; UsageError for an invalid name of a family, and for a `licence` that demands less
    than that of what the weights were made from; WeightsError where the catalogue
    in `target` is damaged or uses the names for something else, or where this installation lacks a notice; OutputError
    where weights (or another text under a notice's name) exist and `overwrite` is False, where files of an earlier
    bundle would not fit, or the disk cannot be written to.
    """
    parts = _parts(run_folder, dtype, on_note)
    record = read_run(run_folder)
    record.require_undamaged()
    found = _licensed(_named(parts, family, _of_bases(run_folder, parts["basis"])), licence, on_note)
    name = found[FUSED].provenance.family
    card = target / f"{name}.md"
    notices = _notices(found)
    _require_room(target, name, found, notices, overwrite=overwrite)
    contents = {part_name(name, part): to_bytes(weights, dtype) for part, weights in found.items()}
    described = _catalogue(target, name, found, contents)
    text = model_card(_family(found, contents, dtype), record)
    contents |= notices
    contents[catalogue_file.FILE_NAME] = catalogue_file.to_bytes(described)
    if overwrite or not card.exists():
        contents[card.name] = text.encode()
    else:
        on_note(f"{card} is kept as it is; --overwrite replaces it")
    _write(target, contents)
    return [target / file for file in contents]


def _parts(run_folder: Path, dtype: torch.dtype, on_note: OnNote) -> dict[str, Weights]:
    """basis, fused, reconstruct and the tasks that the folder has, each checked."""
    path = run_folder / f"{FUSED}.safetensors"
    if not path.is_file():
        raise TrainingError("is missing", path=path, hint="Bundle a folder in which `adacode train fuse` has ended.")
    own, *restoring = _networks()
    fused = _whole(path, own)
    shared = split(fused, dtype)
    found = {"basis": shared["basis"], FUSED: shared["fused"], own: shared["task"]}
    sources = dict.fromkeys(found, path)
    for name in restoring:
        sources[name] = path = run_folder / f"{name}.safetensors"
        if path.is_file():
            whole = _whole(path, name)
            _require_same_shared(name, path, whole, fused)
            found[name] = split(whole, dtype)["task"]
        elif path.with_suffix(".checkpoint").exists():
            on_note(f"left out: {path.with_suffix('.checkpoint')}: the training of {name} has not ended")
    for name, weights in found.items():
        _require_range(weights, dtype, sources[name])
    return found


def _networks() -> dict[str, tuple[Task, int]]:
    """Task and scale of every network that a bundle can have, by its label: stage II's own first."""
    tasks = sorted(TASKS.values(), key=lambda task: not task.from_codes)
    return {task.label(scale): (task, scale) for task in tasks for scale in reversed(task.scales)}


def _whole(path: Path, name: str) -> Weights:
    weights, (task, scale) = read_weights(path), _networks()[name]
    if weights.part != "whole" or (weights.config.task, weights.config.scale) != (task.name, scale):
        raise TrainingError(f"does not hold a whole network for {name}", path=path, hint="Train it again.")
    return weights


def _require_same_shared(name: str, path: Path, task: Weights, fused: Weights) -> None:
    keys = differing(task.tensors, fused.tensors, ("basis", "fused"))
    names_differ = task.config.categories != fused.config.categories
    if keys or names_differ:
        what = f"{len(keys)} tensors differ, such as {keys[0]}" if keys else "its categories have other names"
        raise TrainingError(
            f"the task {name} was trained over other shared parts than {FUSED}.safetensors: {what}",
            path=path,
            hint=f"Train it again over this folder's {FUSED}.safetensors.",
        )


def _require_range(weights: Weights, dtype: torch.dtype, path: Path) -> None:
    for key, tensor in [*weights.tensors.items(), *weights.faithful.items()]:
        if not bool(torch.isfinite(tensor.to(dtype)).all()):
            largest = float(tensor.abs().max())
            raise TrainingError(
                f"{key} does not fit {str(dtype).removeprefix('torch.')}: its largest value is {largest:g}",
                path=path,
                hint="Train with a lower learning rate, or store another type.",
            )


def _of_bases(run_folder: Path, basis: Weights) -> list[Provenance]:
    """What the files of stage I state whose codebooks the run uses: earlier versions did not pass it on to stage II."""
    books = [tensor.flatten() for tensor in basis.tensors.values()]
    stated = []
    for path in sorted(run_folder.glob(f"{BASIS}*.safetensors")):
        weights = read_weights(path)
        own = [tensor.flatten() for key, tensor in weights.tensors.items() if part_of(key) == "basis"]
        if any(torch.equal(one, book) for one in own for book in books):
            stated.append(weights.provenance)
    return stated


def _named(found: Mapping[str, Weights], family: str | None, of_bases: Sequence[Provenance]) -> dict[str, Weights]:
    """The parts with the family's name in their provenance; a task's has that of the shared parts too."""
    shared = found[FUSED].provenance.with_sources([found[FUSED].provenance, *of_bases])
    name = shared.family if family is None else family
    if not is_name(name):
        problem = f"{name!r} cannot be a family's name: lower-case letters, digits and single hyphens"
        raise UsageError(problem, hint="Choose one with --family.")
    named = {}
    for part, weights in found.items():
        whole = weights.provenance.with_sources([weights.provenance, shared])
        named[part] = replace(weights, provenance=replace(whole, family=name))
    return named


def _licensed(found: dict[str, Weights], licence: str | None, on_note: OnNote) -> dict[str, Weights]:
    """The parts under `licence`, if one is given, which may not demand less than what they were made from."""
    if licence is not None:
        found = _under(found, licence, on_note)
    wholes = {part: weights.provenance.whole_licence for part, weights in found.items()}
    for whole in dict.fromkeys(wholes.values()):
        if is_mix(whole):
            parts = ", ".join(part for part, own in wholes.items() if own == whole)
            on_note(f"several licences hold for {parts}: {whole}; the strictest is {strictest(whole)}")
    return found


def _under(found: Mapping[str, Weights], licence: str, on_note: OnNote) -> dict[str, Weights]:
    if not licence.strip() or not licence.isprintable():
        raise UsageError("--licence has to be one line of text", hint="Give an SPDX identifier, such as CC-BY-4.0.")
    unknown: list[str] = []
    under = {}
    for part, weights in found.items():
        own = weights.provenance.licence
        if stricter := stricter_than(licence, own):
            hint = "Leave out --licence: the files then state all licences. Or give one that demands as much."
            raise UsageError(f"--licence {licence}: {part} was made from works under {stricter}", hint=hint)
        unknown += [name for name in unknown_in(own) if name != licence]
        under[part] = replace(weights, provenance=replace(weights.provenance, licence=licence))
    if unknown:
        names = " and ".join(dict.fromkeys("not stated" if one == NOT_STATED else repr(one) for one in unknown))
        on_note(f"--licence {licence} is your own statement: the licence of what the weights were made from is {names}")
    return under


def _notices(found: Mapping[str, Weights]) -> dict[str, bytes]:
    """File names and texts of the notices of base models' authors, as far as this program has them."""
    names = {notice_of(weights.provenance.base_model) for weights in found.values()} - {None}
    notices = {}
    for name in sorted(str(name) for name in names):
        path = catalogue_file.weights_folder() / name
        try:
            notices[name] = path.read_bytes()
        except OSError as error:
            what = f"cannot be read: {reason(error)}; it has to be distributed with these weights"
            raise WeightsError(what, path=path, hint="Reinstall adacode-cli.") from error
    return notices


def _require_room(
    target: Path, family: str, found: Mapping[str, Weights], notices: Mapping[str, bytes], *, overwrite: bool
) -> None:
    for part in (*SHARED_PARTS, *_networks()):
        path = target / part_name(family, part)
        if path.exists() and part not in found:
            # It would be read with the new shared parts, and silently give wrong images.
            hint = "Move it elsewhere, or bundle into another folder or as another --family."
            raise OutputError("is of another bundle of this family; this run has no such task", path=path, hint=hint)
        if path.exists() and not overwrite:
            raise OutputError("exists already", path=path, hint="Add --overwrite to replace it.")
    for name, text in notices.items():
        path = target / name
        if path.is_file() and not overwrite and path.read_bytes() != text:
            raise OutputError("exists already with another text", path=path, hint="Move it elsewhere.")


def _catalogue(target: Path, family: str, found: Mapping[str, Weights], contents: Mapping[str, bytes]) -> Catalogue:
    """The catalogue of `target`, or a new one, with this family's entries and files."""
    path = target / catalogue_file.FILE_NAME
    earlier = catalogue_file.load(target) if path.exists() else Catalogue((), (), None, None)
    if any(entry.family == family and entry.kind == "release" for entry in earlier.entries):
        hint = "Choose another --family or another -o."
        raise UsageError(f"{path} has a published family {family!r} of other authors", hint=hint)
    files = [WeightsFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()]
    entries = [_entry(family, part, found[part]) for part in _networks() if part in found]
    return earlier.with_family(family, entries, files)


def _entry(family: str, part: str, weights: Weights) -> Entry:
    task, scale = _networks()[part]
    licence = weights.provenance.whole_licence or "not stated"
    source = f"{weights.provenance.source or 'adacode train'}; see {family}.md beside the files"
    entry: dict[str, Any] = {
        "name": f"{family}-{part}",
        "family": family,
        "task": task.name,
        "scale": scale,
        "files": tuple(part_name(family, name) for name in (*SHARED_PARTS, part)),
        "licence": licence,
        "source": source,
        "kind": "bundled",
        "base_model": weights.provenance.base_model,
        "denoise": bool(weights.faithful),
    }
    return Entry(**entry)


def _family(found: Mapping[str, Weights], contents: Mapping[str, bytes], dtype: torch.dtype) -> BundledFamily:
    """The statements of the model card on the files."""
    own = found[FUSED].provenance
    stored = next((short for short, known in DTYPES.items() if known == dtype), str(dtype))
    parts = []
    for part, weights in found.items():
        file = part_name(own.family, part)
        numbers, faithful = (sum(map(torch.numel, v.values())) for v in (weights.tensors, weights.faithful))
        parts.append(
            BundledFile(part, file, len(contents[file]), numbers, faithful, weights.config, weights.provenance)
        )
    return BundledFamily(own.family, parts, stored)


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """All files, or none where one cannot be written."""
    with translated(OutputError, "cannot be made into a folder", folder, hint="Choose a writable place."):
        folder.mkdir(parents=True, exist_ok=True)
    taken = next((folder / name for name in contents if (folder / name).is_dir()), None)
    # If only the rename failed, files of this bundle and of an earlier one would be mixed.
    if taken is not None:
        raise OutputError("is a folder", path=taken, hint="Move it elsewhere.")
    with ExitStack() as stack:
        # Their blocks end, and the files are renamed, in the reverse order.
        for name, data in reversed(tuple(contents.items())):
            stack.enter_context(replacing(folder / name)).write(data)
