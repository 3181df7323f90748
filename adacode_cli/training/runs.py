"""The three stages as runs: each reads what the one before left in its folder and leaves one file of weights.

What a stage must not change, it is shown to have taken over in full before it begins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adacode_cli.checkpoints.format import Part, Weights, differing, part_of, read_weights
from adacode_cli.checkpoints.load import read_any
from adacode_cli.checkpoints.real_esrgan import as_trunk, read_trunk
from adacode_cli.errors import TrainingError
from adacode_cli.model.config import NetworkConfig, TrunkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.data import Task
from adacode_cli.training.family import Family
from adacode_cli.training.going_on import earlier_fused, fuse_from, restore_from
from adacode_cli.training.initialise import adopt, adopt_fused, fresh_network
from adacode_cli.training.joint_stage import JointStage
from adacode_cli.training.recipe import Recipe, StageRecipe
from adacode_cli.training.restore_stage import RestoreStage
from adacode_cli.training.run_folder import BASIS, FUSED, SHARDS, START, task_name
from adacode_cli.training.session import Session
from adacode_cli.training.stages import BasisStage, FuseStage

_OTHER_FAMILY = "Use files of one family, or a new run folder."


def run_basis(session: Session) -> bool:
    """Stage I: one codebook per category of the shards; False where it was stopped before its end.

    The recipe's `start_share` of the time goes to one autoencoder on all categories; every category's own starts from
    it, since what makes an autoencoder work is the same for all and only the codes are meant to differ. Raises
    TrainingError where it, or a category's name, does not fit.
    """
    categories, family, recipe = session.data.shards.categories, session.recipe.network, session.recipe
    if START in categories:
        raise TrainingError(
            f"has a category {START!r}, a name that training needs itself", path=session.data.shards.folder,
            hint="Rename that sub-folder, and prepare again.",
        )  # fmt: skip
    session.folder.require_free([f"{BASIS}{name}" for name in (*categories, START)])
    start = _common_start(session)
    if start is None:
        return False
    length = _share(recipe.basis, (1 - recipe.start_share) / len(categories))
    for k, category in enumerate(categories):
        name = f"{BASIS}{category}"
        if session.finished(name) is not None:
            continue
        network = fresh_network(family.basis(k), session.seed(name))
        adopt(network, start, ("encoder.", "decoder.", "codebook.before.", "codebook.after."))
        stage = BasisStage(network, session.ground("basis"))
        if session.train(name, "basis", stage, Task(network.config, category), length) is None:
            return False
    return True


def basis_files(folder: Path) -> list[Path]:
    """What stage I left in a run folder, sorted. Raises TrainingError unless there is at least one category's file."""
    found = sorted(folder.glob(f"{BASIS}*.safetensors"))
    if not [path for path in found if path.stem != f"{BASIS}{START}"]:
        raise TrainingError("holds no basis-*.safetensors", path=folder, hint="Run `adacode train basis` first.")
    return found


def run_fuse(session: Session, basis_folder: Path, *, start: Path | None = None) -> bool:
    """Stage II over the basis codebooks in `basis_folder`, which stay as they are; False where it was stopped.

    `start` is an earlier stage-II network of the family to go on from. Raises TrainingError where there are no
    codebooks, or where files are of another family.
    """
    session.folder.require_free([FUSED])
    family = session.recipe.network
    found = {path.stem.removeprefix(BASIS): _read_basis(path, family) for path in basis_files(basis_folder)}
    common = found.pop(START, None)
    _require_categories(found, basis_folder)
    books = {
        f"{_book(k)}embedding.weight": w.tensors[f"{_book(0)}embedding.weight"] for k, w in enumerate(found.values())
    }
    sizes = tuple(weights.config.codebooks[0] for weights in found.values())
    network = fresh_network(family.clean(tuple(found), sizes), session.seed(FUSED))
    if start is not None:
        fuse_from(network, start)
    elif common is not None:
        _adopt_start(network, common.tensors)
    return _fuse(session, network, books, basis_folder)


def run_fuse_again(session: Session, start: Path) -> bool:
    """Stage II goes on from the stage-II network in `start`, over its codebooks; False where it was stopped.

    A bundled family's file will do. Raises TrainingError where it is of another family or of other categories.
    """
    session.folder.require_free([FUSED])
    earlier, categories = earlier_fused(start), session.data.shards.categories
    if earlier.config.categories != categories:
        what = f"has bases of {', '.join(earlier.config.categories)}; the shards are of {', '.join(categories)}"
        raise TrainingError(what, path=start, hint="Prepare shards with those categories, or train the basis anew.")
    network = fresh_network(session.recipe.network.clean(categories, earlier.config.codebooks), session.seed(FUSED))
    fuse_from(network, start)
    books = {key: tensor for key, tensor in earlier.state_dict().items() if part_of(key) == "basis"}
    return _fuse(session, network, books, start)


def _fuse(session: Session, network: AdaCode, books: Mapping[str, Tensor], path: Path) -> bool:
    finished = session.finished(FUSED)
    if finished is not None:
        _require_taken_over(finished, books, ("basis",), session.folder.weights(FUSED))
        return True
    adopt(network, books)
    _require_shared(network, books, ("basis",), path)
    stage = FuseStage(network, session.ground("fuse"))
    return session.train(FUSED, "fuse", stage, Task(network.config)) is not None


def run_joint(session: Session) -> bool:
    """Stages I and II at once: codebooks of all categories and what mixes them; False where it was stopped."""
    session.folder.require_free([FUSED])
    if session.finished(FUSED) is not None:
        return True
    config = session.recipe.network.clean(session.data.shards.categories)
    network = fresh_network(config, session.seed(FUSED))
    stage = JointStage(network, session.ground("fuse"))
    return session.train(FUSED, "fuse", stage, Task(config)) is not None


def run_restore(
    session: Session,
    fused: Path,
    *,
    task: Literal["sr", "inpaint"],
    scale: int,
    start: Path | None = None,
    trunk: Path | None = None,
) -> bool:
    """Stage III for one task, over the stage-II network in the file `fused`, whose shared parts stay as they are.

    `scale` is 1 for inpainting. `start` is an earlier result of the same task and family to go on from, instead of
    stage II's encoder; what it shares with other tasks is taken from `fused` all the same, and another scale is made
    to fit. Either file may be a bundled family's file of a task. `trunk` is a network of Real-ESRGAN's layout, or of
    ours, that super-resolution's trunk starts from, also where `start` has the rest. False where it was stopped. Raises
    TrainingError where a file is not of this family or does not fit `restore.learns`, WeightsError where one is broken.
    """
    name = task_name(task, scale)
    session.folder.require_free([name])
    teacher = earlier_fused(fused)
    shared = teacher.state_dict()
    finished = session.finished(name)
    if finished is not None:
        _require_taken_over(finished, shared, ("basis", "fused"), session.folder.weights(name))
        return True
    _adopt_shape(session, task, start=start, trunk=trunk)
    family = session.recipe.network
    config = family.restoring(task, scale, family.clean(teacher.config.categories, teacher.config.codebooks))
    learns = session.recipe.restore.learns
    require_trunk(session.recipe, config.trunk)
    network = fresh_network(config, session.seed(name))
    adopt_fused(network, teacher)
    _require_shared(network, shared, ("basis", "fused"), fused)
    _start(session, network, start=start, trunk=trunk)
    teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stage = RestoreStage(network, session.ground("restore"), teacher, learns)
    return session.train(name, "restore", stage, Task(network.config)) is not None


def require_trunk(recipe: Recipe, trunk: TrunkConfig | None) -> None:
    """Raises TrainingError where the recipe says which part of a network with a trunk learns, and it has none."""
    if recipe.restore.learns != "all" and trunk is None:
        raise TrainingError(
            f"restore.learns={recipe.restore.learns} is for super-resolution with a trunk, and this network has none",
            hint="Start from a trunk (--trunk FILE) or from weights that have one (--start FILE), or leave it out.",
        )


def _start(session: Session, network: AdaCode, *, start: Path | None, trunk: Path | None) -> None:
    """First values from earlier weights, where there are any; the session notes whose they are."""
    ours, bases = [session.provenance], []
    if start is not None:
        ours.append(restore_from(network, start))
    if trunk is not None:
        source = read_trunk(trunk, network.config)
        adopt(network, as_trunk(source, network.config))
        if source.ours is None:
            bases.append((source.base_model, source.base_licence))
        else:
            ours.append(source.ours)
    session.said = session.provenance.with_sources(ours, bases)


def _adopt_shape(session: Session, task: str, *, start: Path | None, trunk: Path | None) -> None:
    """A recipe that knows of no trunk, as those of earlier families, takes over that of the weights it starts from."""
    family = session.recipe.network
    if task != "sr" or family.trunk is not None:
        return
    shape = TrunkConfig() if trunk is not None else None
    if start is not None:
        shape = read_any(start).config.trunk
        if trunk is not None and shape is None:
            what = f"has no trunk that {trunk} could be"
            raise TrainingError(what, path=start, hint="Give --start or --trunk alone.")
    session.recipe = replace(session.recipe, network=replace(family, trunk=shape))


def _common_start(session: Session) -> Mapping[str, Tensor] | None:
    name, recipe = f"{BASIS}{START}", session.recipe
    path, network = session.folder.weights(name), fresh_network(recipe.network.basis(), session.seed(name))
    if recipe.start_share <= 0:
        return network.state_dict()
    if session.finished(name) is not None:
        return _read_basis(path, recipe.network).tensors
    length = _share(recipe.basis, recipe.start_share)
    stage = BasisStage(network, session.ground("basis"))
    return session.train(name, "basis", stage, Task(network.config), length)


def _read_basis(path: Path, family: Family) -> Weights:
    weights, shape = read_weights(path), family.basis()
    num_codes = weights.config.codebooks[0][0]
    if weights.part != "whole" or weights.config != _with_codes(shape, num_codes):
        raise TrainingError("holds no stage-I network of this family", path=path, hint=_OTHER_FAMILY)
    return weights


def _with_codes(shape: NetworkConfig, num_codes: int) -> NetworkConfig:
    return replace(shape, codebooks=((num_codes, shape.codebooks[0][1]),))


def _adopt_start(network: AdaCode, start: Mapping[str, Tensor]) -> None:
    adopt(network, start, ("encoder.", "decoder."))
    for part in ("codebook.before.", "codebook.after."):
        own = {key.removeprefix(f"{part}0."): tensor for key, tensor in start.items() if key.startswith(part)}
        for k in range(network.config.num_bases):
            adopt(network, {f"{part}{k}.{rest}": tensor for rest, tensor in own.items()})


def _require_shared(network: AdaCode, source: Mapping[str, Tensor], parts: tuple[Part, ...], path: Path) -> None:
    keys = differing(network.state_dict(), source, parts)
    if keys:
        what = f"{len(keys)} tensors, such as {keys[0]}"
        raise TrainingError(f"does not fit a network of this family: {what}", path=path, hint=_OTHER_FAMILY)


def _require_taken_over(finished: Weights, source: Mapping[str, Tensor], parts: tuple[Part, ...], path: Path) -> None:
    if differing(finished.tensors, source, parts):
        hint = "Train it again: remove that file, or begin anew with --overwrite."
        raise TrainingError(
            "was trained over other codebooks or another decoder than are there now", path=path, hint=hint
        )


def _require_categories(found: Mapping[str, Weights], folder: Path) -> None:
    """A basis of every category that stage I was given, and of no other: one may be unfinished, or left from before."""
    try:
        wanted = set(json.loads((folder / SHARDS).read_bytes())["categories"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # weights that were brought here by hand
    if missing := sorted(wanted - found.keys()):
        hint = "Go on with it: adacode train basis … --resume."
        raise TrainingError(f"has no finished basis of the category {missing[0]!r} yet", path=folder, hint=hint)
    if stale := sorted(found.keys() - wanted):
        hint = f"Remove {BASIS}{stale[0]}.safetensors, or train into a new folder."
        raise TrainingError(f"has a basis of {stale[0]!r}, which its shards do not have", path=folder, hint=hint)


def _book(k: int) -> str:
    return f"codebook.books.{k}."


def _share(settings: StageRecipe, part: float) -> StageRecipe:
    return replace(settings, steps=max(1, round(settings.steps * part)), minutes=settings.minutes * part)
