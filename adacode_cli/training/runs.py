"""The three stages as runs: each reads what the one before left in its folder and leaves one file of weights.

- basis-<category>.safetensors: stage I, one autoencoder a category (and basis-start, the common first values)
- fused.safetensors: stage II, which is the reconstruction network
- sr-x4.safetensors, …: stage III, one network a task

What a stage must not change, it is shown to have taken over in full before it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from adacode_cli.checkpoints.format import Part, Weights, read_weights
from adacode_cli.checkpoints.load import build
from adacode_cli.errors import TrainingError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.batches import clean_batches, degraded_batches, holed_batches
from adacode_cli.training.corpus import PhotoCorpus
from adacode_cli.training.initialise import adopt, adopt_fused, fresh_network
from adacode_cli.training.perceptual_file import load_perceptual
from adacode_cli.training.presets import Family
from adacode_cli.training.run_folder import BASIS, FUSED, START, Run, task_name
from adacode_cli.training.settings import TrainSettings
from adacode_cli.training.shared_parts import differing
from adacode_cli.training.stages import BasisStage, FuseStage, RestoreStage

# Part of stage I's time that goes to the common first values.
START_SHARE = 0.4
_OTHER_FAMILY = "Use files of one family, or a new run folder."


def run_basis(run: Run, corpus: PhotoCorpus, family: Family, start_share: float = START_SHARE) -> None:
    """Stage I: one codebook per category of the corpus.

    `start_share` of the time goes to one autoencoder on all categories; every category's own starts from it, since
    what makes an autoencoder work is the same for all and only the codes are meant to differ. One that an earlier
    run left in the folder is used again. Raises TrainingError where it, or a category's name, does not fit.
    """
    if START in corpus.categories:
        raise TrainingError("has a name that training needs itself", path=corpus.folder / START, hint="Rename it.")
    settings, shape, sizes = run.settings, family("basis", 1), family("reconstruct", 1).codebooks
    start = _common_start(run, corpus, shape, start_share)
    perceptual = load_perceptual(settings.perceptual)
    each = _share(settings, (1 - start_share) / len(corpus.categories))
    for k, category in enumerate(corpus.categories):
        own = replace(each, seed=settings.seed + k + 1)
        network = fresh_network(replace(shape, codebooks=(sizes[k % len(sizes)],)), own.seed)
        adopt(network, start, ("encoder.", "decoder.", "codebook.before.", "codebook.after."))
        stage = BasisStage(network, settings.loss, perceptual)
        run.train(f"{BASIS}{category}", stage, clean_batches(corpus, own, category), own)


def basis_files(folder: Path) -> list[Path]:
    """What stage I left in a run folder, sorted. Raises TrainingError unless there is at least one category's file."""
    found = sorted(folder.glob(f"{BASIS}*.safetensors"))
    if not [path for path in found if path.stem != f"{BASIS}{START}"]:
        raise TrainingError("holds no basis-*.safetensors", path=folder, hint="Run `adacode train basis` first.")
    return found


def run_fuse(run: Run, corpus: PhotoCorpus, family: Family, basis_folder: Path) -> None:
    """Stage II over the basis codebooks in `basis_folder`, which stay as they are.

    Raises TrainingError where there are none, or where they are of another family.
    """
    files = basis_files(basis_folder)
    found = {path.stem.removeprefix(BASIS): _read_basis(path, family("basis", 1)) for path in files}
    start = found.pop(START, None)
    sizes = tuple(weights.config.codebooks[0] for weights in found.values())
    config = replace(family("reconstruct", 1), codebooks=sizes, categories=tuple(found))
    network = fresh_network(config, run.settings.seed)
    if start is not None:
        _adopt_start(network, start.tensors)
    books = {
        f"{_book(k)}embedding.weight": w.tensors[f"{_book(0)}embedding.weight"] for k, w in enumerate(found.values())
    }
    adopt(network, books)
    _require_shared(network, books, ("basis",), basis_folder)
    stage = FuseStage(network, run.settings.loss, load_perceptual(run.settings.perceptual))
    run.train(FUSED, stage, clean_batches(corpus, run.settings, None), run.settings)


def run_restore(
    run: Run,
    corpus: PhotoCorpus,
    family: Family,
    fused: Path,
    *,
    task: Literal["sr", "inpaint"],
    scale: int,
    start: Path | None = None,
) -> None:
    """Stage III for one task, over the stage-II network in the file `fused`, whose shared parts stay as they are.

    `scale` is 1 for inpainting. `start` is an earlier result of the same task and family to go on from, instead of
    stage II's encoder. Raises TrainingError where a file is not of this family, WeightsError where one is broken.
    """
    weights = read_weights(fused)
    if weights.part != "whole" or weights.config.task != "reconstruct":
        raise TrainingError("holds no stage-II network", path=fused, hint="Run `adacode train fuse` first.")
    teacher = build(weights.config, weights.tensors, fused)
    config = replace(family(task, scale), codebooks=weights.config.codebooks, categories=weights.config.categories)
    network = fresh_network(config, run.settings.seed)
    if start is None:
        adopt_fused(network, teacher)
    else:
        _go_on_from(network, start)
    _require_shared(network, weights.tensors, ("basis", "fused"), fused)
    stage = RestoreStage(network, run.settings.loss, load_perceptual(run.settings.perceptual), teacher)
    if task == "inpaint":
        make = holed_batches(corpus, run.settings, mask_channel=config.mask_channel)
    else:
        make = degraded_batches(corpus, run.settings, scale)
    run.train(task_name(task, scale), stage, make, run.settings)


def _go_on_from(network: AdaCode, path: Path) -> None:
    weights = read_weights(path)
    if weights.part != "whole" or weights.config != network.config:
        hint = "Give the file that `adacode train restore` wrote for the same task, scale and family."
        raise TrainingError("is not an earlier result of this task", path=path, hint=hint)
    network.load_state_dict(build(weights.config, weights.tensors, path).state_dict())


def _common_start(run: Run, corpus: PhotoCorpus, shape: NetworkConfig, share: float) -> Mapping[str, Tensor]:
    path, name = run.weights_path(f"{BASIS}{START}"), f"{BASIS}{START}"
    if path.is_file():
        return _read_basis(path, shape).tensors
    network = fresh_network(shape, run.settings.seed)
    if share <= 0:
        return network.state_dict()
    first = _share(run.settings, share)
    stage = BasisStage(network, first.loss, load_perceptual(first.perceptual))
    return run.train(name, stage, clean_batches(corpus, first, None), first).state


def _read_basis(path: Path, shape: NetworkConfig) -> Weights:
    weights = read_weights(path)
    num_codes = weights.config.codebooks[0][0]
    if weights.part != "whole" or weights.config != replace(shape, codebooks=((num_codes, shape.codebooks[0][1]),)):
        raise TrainingError("holds no stage-I network of this family", path=path, hint=_OTHER_FAMILY)
    return weights


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


def _book(k: int) -> str:
    return f"codebook.books.{k}."


def _share(settings: TrainSettings, part: float) -> TrainSettings:
    minutes = None if settings.minutes is None else settings.minutes * part
    return replace(settings, steps=max(1, round(settings.steps * part)), minutes=minutes)
