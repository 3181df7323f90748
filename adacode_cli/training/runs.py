"""The three stages as runs: each reads the files of the stage before and writes one file of weights.

Before a stage begins, it is checked that all tensors that it must not change have been taken over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.checkpoints.format import Part, Weights, differing, part_of, read_weights
from adacode_cli.checkpoints.load import read_any
from adacode_cli.checkpoints.real_esrgan import as_trunk, read_trunk
from adacode_cli.errors import TrainingError, UsageError
from adacode_cli.model.config import TrunkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import Ranges
from adacode_cli.tasks import TASKS
from adacode_cli.training.ancestors import inherit
from adacode_cli.training.batches import side_for
from adacode_cli.training.family import Family
from adacode_cli.training.initialise import adopt, adopt_fused, earlier_fused, fresh_network, fuse_from, restore_from
from adacode_cli.training.recipe import OWN_DECODER, STAGES, Recipe, StageName, StageRecipe
from adacode_cli.training.rounding import RoundingStage
from adacode_cli.training.run_names import BASIS, FUSED, SHARDS, START
from adacode_cli.training.session import TrainingSession
from adacode_cli.training.stages import (
    BasisStage,
    DecoderStage,
    FuseStage,
    JointStage,
    ReconstructionStage,
    RestoreStage,
    Stage,
)

_OTHER_FAMILY = "Use files of one family, or a new run folder."
# Parts of the minutes of a whole training that stages I and II take; the tasks of stage III share the rest.
BASIS_SHARE, FUSE_SHARE = 0.2, 0.2
# Stage II of a network whose decoder no other task has, by what learns.
_OF_RECONSTRUCTION: dict[str, type[FuseStage]] = {"decoder": DecoderStage, "reconstruction": ReconstructionStage}


def run_basis(session: TrainingSession) -> bool:
    """Stage I: one codebook per category of the shards; False where it was stopped before its end.

    One autoencoder on all categories is trained for the recipe's `start_share` of the time. That of every category
    starts from it, because encoder and decoder can be similar for all, and only the codes should differ. Raises
    TrainingError if it, or a category's name, does not fit.
    """
    categories, family, recipe = session.data.shards.categories, session.recipe.network, session.recipe
    _require_no_rounding(recipe, "basis")
    if START in categories:
        raise TrainingError(
            f"has a category {START!r}, which is a reserved name", path=session.data.shards.folder,
            hint="Rename that sub-folder, and prepare again.",
        )  # fmt: skip
    session.folder.require_free([f"{BASIS}{name}" for name in (*categories, START)])
    start = _common_start(session)
    if start is None:
        return False
    common = session.folder.weights(f"{BASIS}{START}")
    length = _share(recipe.basis, (1 - recipe.start_share) / len(categories))
    for k, category in enumerate(categories):
        name = f"{BASIS}{category}"
        if session.finished(name, "basis", length=length, later=[FUSED]) is not None:
            continue
        network = fresh_network(family.basis(k), session.seed(name))
        adopt(network, start, ("encoder.", "decoder.", "codebook.before.", "codebook.after."))
        stage = BasisStage(network, session.context("basis"))
        inherit(session, [common] if recipe.start_share > 0 else [])
        if session.train(name, "basis", stage, category=category, length=length) is None:
            return False
    return True


def _common_start(session: TrainingSession) -> Mapping[str, Tensor] | None:
    name, recipe = f"{BASIS}{START}", session.recipe
    path, network = session.folder.weights(name), fresh_network(recipe.network.basis(), session.seed(name))
    if recipe.start_share <= 0:
        return network.state_dict()
    length = _share(recipe.basis, recipe.start_share)
    if _has_begun(session) and session.folder.state(name) == "finished":
        return _read_basis(path, recipe.network).tensors  # the categories that began from it go on by themselves
    if session.finished(name, "basis", length=length) is not None:
        return _read_basis(path, recipe.network).tensors
    stage = BasisStage(network, session.context("basis"))
    return session.train(name, "basis", stage, length=length)


def _has_begun(session: TrainingSession) -> bool:
    """Whether a basis of a category is there, finished or not, and is to be kept."""
    names = (f"{BASIS}{category}" for category in session.data.shards.categories)
    return session.folder.resume and any(session.folder.state(name) != "absent" for name in names)


def _share(settings: StageRecipe, part: float) -> StageRecipe:
    return replace(settings, steps=max(1, round(settings.steps * part)), minutes=settings.minutes * part)


def basis_files(folder: Path) -> list[Path]:
    """The files of stage I in a run folder, sorted. Raises TrainingError without any category's file."""
    found = sorted(folder.glob(f"{BASIS}*.safetensors"))
    if not [path for path in found if path.stem != f"{BASIS}{START}"]:
        raise TrainingError(
            "does not hold any basis-*.safetensors", path=folder, hint="Run `adacode train basis` first."
        )
    return found


def _read_basis(path: Path, family: Family) -> Weights:
    weights, shape = read_weights(path), family.basis()
    codebook = (weights.config.codebooks[0][0], family.code_dim)  # of any number of codes
    if weights.part != "whole" or weights.config != replace(shape, codebooks=(codebook,)):
        raise TrainingError("does not hold a stage-I network of this family", path=path, hint=_OTHER_FAMILY)
    return weights


def run_fuse(session: TrainingSession, basis_folder: Path, *, start: Path | None = None) -> bool:
    """Stage II over the basis codebooks in `basis_folder`, which stay as they are; False where it was stopped.

    `start` is an earlier stage-II network of the family to continue from. Raises TrainingError if there are no
    codebooks, or if files are of another family.
    """
    session.folder.require_free([FUSED])
    _require_no_rounding(session.recipe, "fuse")
    _require_new_decoder_last(session.recipe)
    family = session.recipe.network
    found = {path.stem.removeprefix(BASIS): _read_basis(path, family) for path in basis_files(basis_folder)}
    common = found.pop(START, None)
    _require_categories(found, basis_folder)
    code = "codebook.books.{}.embedding.weight".format
    books = {code(k): weights.tensors[code(0)] for k, weights in enumerate(found.values())}
    sizes = tuple(weights.config.codebooks[0] for weights in found.values())
    network = fresh_network(family.clean(tuple(found), sizes), session.seed(FUSED))
    if start is not None:
        _continue(session, network, start)
    elif common is not None:
        _adopt_start(network, common.tensors)
    inherit(session, [*basis_files(basis_folder), *([start] if start is not None else [])])
    return _fuse(session, network, books, basis_folder)


def run_fuse_again(session: TrainingSession, start: Path) -> bool:
    """Stage II continues from the stage-II network in `start`, with its codebooks; False where it was stopped.

    It may be a bundled family's file. Raises TrainingError where it is of another family or of other categories.
    """
    session.folder.require_free([FUSED])
    _require_no_rounding(session.recipe, "fuse")
    earlier, categories = earlier_fused(start), session.data.shards.categories
    if earlier.config.categories != categories:
        what = f"has bases of {', '.join(earlier.config.categories)}; the shards are of {', '.join(categories)}"
        raise TrainingError(what, path=start, hint="Prepare shards with those categories, or train the basis again.")
    config = session.recipe.network.clean(categories, earlier.config.codebooks)
    if session.recipe.fuse.learns in OWN_DECODER:
        config = session.recipe.network.reconstructing(config)
        if config.residual is None:
            config = replace(config, residual=earlier.config.residual)
    network = fresh_network(config, session.seed(FUSED))
    _continue(session, network, start)
    books = {key: tensor for key, tensor in earlier.state_dict().items() if part_of(key) == "basis"}
    inherit(session, [start])
    return _fuse(session, network, books, start)


def _continue(session: TrainingSession, network: AdaCode, start: Path) -> None:
    if fuse_from(network, start):
        session.listeners.on_note(
            f"{start}: its decoder of reconstruction's own, and its further levels of codes, are left out, because all "
            "of stage II is trained further; train such a decoder again after that (fuse.learns=decoder)"
        )


def _fuse(session: TrainingSession, network: AdaCode, books: Mapping[str, Tensor], path: Path) -> bool:
    learns = session.recipe.fuse.learns
    later = () if learns in OWN_DECODER else _labels()  # tasks do not have what reconstruction has of its own
    finished = session.finished(FUSED, "fuse", later=later)
    if finished is not None:
        _require_taken_over(finished, books, ("basis",), session.folder.weights(FUSED))
        return True
    adopt(network, books)
    _require_shared(network, books, ("basis",), path)
    kind = _OF_RECONSTRUCTION.get(learns, FuseStage)
    if kind is not FuseStage:
        session.listeners.on_note(f"only what reconstruction has of its own is trained (fuse.learns={learns})")
    return session.train(FUSED, "fuse", kind(network, session.context("fuse"))) is not None


def _labels() -> list[str]:
    """The names that the stages of tasks have in a run folder."""
    return [task.label(scale) for task in TASKS.values() if not task.from_codes for scale in task.scales]


def _require_new_decoder_last(recipe: Recipe) -> None:
    if recipe.fuse.learns in OWN_DECODER:
        hint = "Give the finished network with --start FILE, without --basis and --joint."
        raise TrainingError(f"fuse.learns={recipe.fuse.learns} is for a stage II that has ended", hint=hint)


def _require_categories(found: Mapping[str, Weights], folder: Path) -> None:
    """Checks that there is a basis of exactly the categories of stage I: one may be unfinished or older."""
    try:
        wanted = set(json.loads((folder / SHARDS).read_bytes())["categories"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # weights that a user copied here
    if missing := sorted(wanted - found.keys()):
        hint = "Continue it: adacode train basis … --resume."
        raise TrainingError(f"has no finished basis of the category {missing[0]!r} yet", path=folder, hint=hint)
    if stale := sorted(found.keys() - wanted):
        hint = f"Remove {BASIS}{stale[0]}.safetensors, or train into a new folder."
        raise TrainingError(f"has a basis of {stale[0]!r}, which its shards do not have", path=folder, hint=hint)


def _adopt_start(network: AdaCode, start: Mapping[str, Tensor]) -> None:
    adopt(network, start, ("encoder.", "decoder."))
    for part in ("codebook.before.", "codebook.after."):
        own = {key.removeprefix(f"{part}0."): tensor for key, tensor in start.items() if key.startswith(part)}
        for k in range(network.config.num_bases):
            adopt(network, {f"{part}{k}.{rest}": tensor for rest, tensor in own.items()})


def run_joint(session: TrainingSession) -> bool:
    """Stages I and II at once: the codebooks of all categories and the network that mixes them; False where it was
    stopped.
    """
    session.folder.require_free([FUSED])
    _require_no_rounding(session.recipe, "fuse")
    _require_new_decoder_last(session.recipe)
    if session.finished(FUSED, "fuse", later=_labels()) is not None:
        return True
    config = session.recipe.network.clean(session.data.shards.categories)
    network = fresh_network(config, session.seed(FUSED))
    stage = JointStage(network, session.context("fuse"))
    return session.train(FUSED, "fuse", stage) is not None


def run_restore(
    session: TrainingSession,
    fused: Path,
    *,
    task: str,
    scale: int,
    start: Path | None = None,
    trunk: Path | None = None,
) -> bool:
    """Stage III for one task, over the stage-II network in the file `fused`, whose shared parts stay as they are.

    fused: may also be a bundled family's file of a task.
    scale: one of the task's.
    start: an earlier result of the same task and family to continue from, instead of stage II's encoder. The parts that
        it shares with other tasks are still taken from `fused`, and another scale is adapted. It may be a bundled file.
    trunk: a network of Real-ESRGAN's layout, or of adacode, from which super-resolution's trunk starts; `start` may
        have the rest.
    Returns False if it was stopped. Raises TrainingError if a file is not of this family or does not fit
    `restore.learns` or `restore.int8`, UsageError if the latter has no `start`, WeightsError if a file is damaged.
    """
    name = TASKS[task].label(scale)
    session.folder.require_free([name])
    teacher = earlier_fused(fused)
    shared = teacher.state_dict()
    if session.recipe.restore.int8:
        _require_start_alone(start, trunk)
        _require_no_adversary(session.recipe)
    _adopt_shape(session, task, start=start, trunk=trunk)
    finished = session.finished(name, "restore")
    if finished is not None:
        _require_taken_over(finished, shared, ("basis", "fused"), session.folder.weights(name))
        return True
    family = session.recipe.network
    config = family.restoring(task, scale, family.clean(teacher.config.categories, teacher.config.codebooks))
    require_trunk(session.recipe, config.trunk)
    network = fresh_network(config, session.seed(name))
    adopt_fused(network, teacher)
    _require_shared(network, shared, ("basis", "fused"), fused)
    ranges = _start(session, network, fused, start=start, trunk=trunk)
    stage = _restore_stage(session, network, teacher, ranges, start)
    return session.train(name, "restore", stage) is not None


def _restore_stage(
    session: TrainingSession, network: AdaCode, teacher: AdaCode, ranges: Ranges, start: Path | None
) -> Stage:
    """Stage III as the recipe has it. ranges: those of `start`. Raises TrainingError if it needs some and has none."""
    recipe = session.recipe.restore
    if not recipe.int8:  # the result has no ranges: those of other weights do not fit
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return RestoreStage(network, session.context("restore"), teacher, recipe.learns)
    if not ranges:
        what = "has no ranges for 8 bits, which restore.int8 trains"
        raise TrainingError(what, path=start, hint="Make a file that has them: adacode weights quantize.")
    return RoundingStage(network, session.context("restore"), ranges, recipe.learns)


def require_trunk(recipe: Recipe, trunk: TrunkConfig | None) -> None:
    """Raises TrainingError if the recipe sets which part of a network with a trunk learns, and there is no trunk."""
    if (learns := recipe.restore.learns) in OWN_DECODER:
        hint = f"Use `train fuse` with fuse.learns={learns}."
        raise TrainingError(f"restore.learns={learns} is for stage II", hint=hint)
    if recipe.restore.learns != "all" and trunk is None:
        raise TrainingError(
            f"restore.learns={recipe.restore.learns} is for super-resolution with a trunk, and this network has none",
            hint="Start from a trunk (--trunk FILE) or from weights that have one (--start FILE), or leave it out.",
        )


def _require_no_rounding(recipe: Recipe, *stages: StageName) -> None:
    for name in stages:
        if recipe.stage(name).int8:
            hint = "Train in float32, run `adacode weights quantize`, and give its result to `train restore --start`."
            raise UsageError(f"{name}.int8: only `train restore` can round to 8 bits", hint=hint)


def _require_start_alone(start: Path | None, trunk: Path | None) -> None:
    if start is None:
        hint = "Give the result of `adacode weights quantize` with --start FILE."
        raise UsageError("restore.int8 needs weights to start from that have ranges for 8 bits", hint=hint)
    if trunk is not None:
        hint = "Train with --trunk first, and then run `adacode weights quantize` on the result."
        raise UsageError("restore.int8 cannot start from another trunk: the ranges would not fit it", hint=hint)


def _require_no_adversary(recipe: Recipe) -> None:
    if recipe.restore.loss.adversarial:
        what = "restore.int8 cannot have an adversarial loss: its targets are images of the network, not photographs"
        raise UsageError(what, hint="Set restore.loss.adversarial=0.")


def _adopt_shape(session: TrainingSession, task: str, *, start: Path | None, trunk: Path | None) -> None:
    """A recipe without a trunk, as in earlier families, takes the trunk's shape from its initial weights."""
    family = session.recipe.network
    if not TASKS[task].enlarges or family.trunk is not None:
        return
    shape = TrunkConfig() if trunk is not None else None
    if start is not None:
        shape = read_any(start).config.trunk
        if trunk is not None and shape is None:
            what = f"has no trunk to start from {trunk}"
            raise TrainingError(what, path=start, hint="Give only --start or only --trunk.")
    session.recipe = replace(session.recipe, network=replace(family, trunk=shape))


def _start(
    session: TrainingSession, network: AdaCode, fused: Path, *, start: Path | None, trunk: Path | None
) -> Ranges:
    """Initial values from earlier weights, if there are any; the session records what they were made from.

    Returns the ranges for 8 bits of `start`, if it has any.
    """
    ancestors, bases = [fused], []
    ranges: Ranges = {}
    if start is not None:
        ranges = restore_from(network, start)
        ancestors.append(start)
    if trunk is not None:
        source = read_trunk(trunk, network.config)
        adopt(network, as_trunk(source, network.config))
        if source.ours is None:
            bases.append((source.base_model, source.base_licence))
        else:
            ancestors.append(trunk)
    inherit(session, ancestors, bases)
    return ranges


def _require_shared(network: AdaCode, source: Mapping[str, Tensor], parts: tuple[Part, ...], path: Path) -> None:
    keys = differing(network.state_dict(), source, parts)
    if keys:
        what = f"{len(keys)} tensors, such as {keys[0]}"
        raise TrainingError(f"does not fit a network of this family: {what}", path=path, hint=_OTHER_FAMILY)


def _require_taken_over(finished: Weights, source: Mapping[str, Tensor], parts: tuple[Part, ...], path: Path) -> None:
    if differing(finished.tensors, source, parts):
        hint = f"Train it again: remove that file and {path.stem}.checkpoint, or start again with --overwrite."
        raise TrainingError(
            "was trained with codebooks or a decoder that have been replaced since", path=path, hint=hint
        )


def run_all(session: TrainingSession, tasks: Sequence[tuple[str, int]]) -> bool:
    """Stage I, stage II, and stage III for each (task, scale); False where it was stopped before its end."""
    session.as_whole = True
    session.folder.require_free([FUSED, *(TASKS[task].label(scale) for task, scale in tasks)])
    _require_no_rounding(session.recipe, *STAGES)
    for task, _ in tasks:  # before the hours of stages I and II
        require_trunk(session.recipe, session.recipe.network.trunk if TASKS[task].enlarges else None)
    _require_crops(session, tasks)
    if not run_basis(session) or not run_fuse(session, session.folder.path):
        return False
    fused = session.folder.weights(FUSED)
    return all(run_restore(session, fused, task=task, scale=scale) for task, scale in tasks)


def _require_crops(session: TrainingSession, tasks: Sequence[tuple[str, int]]) -> None:
    """Raises TrainingError where crops are too small for any of the stages: stage III begins hours after the start."""
    recipe = session.recipe
    of_tasks = (side_for(task, scale, recipe.restore.patch) for task, scale in tasks)
    session.data.train.require(max(recipe.basis.patch, recipe.fuse.patch, *of_tasks))


def shared_out(recipe: Recipe, minutes: float | None, num_tasks: int) -> Recipe:
    """`recipe` with the minutes of the whole training divided among its stages; unchanged for None."""
    if minutes is None:
        return recipe
    each = minutes * (1 - BASIS_SHARE - FUSE_SHARE) / num_tasks
    return replace(
        recipe,
        basis=replace(recipe.basis, minutes=minutes * BASIS_SHARE),
        fuse=replace(recipe.fuse, minutes=minutes * FUSE_SHARE),
        restore=replace(recipe.restore, minutes=each),
    )
