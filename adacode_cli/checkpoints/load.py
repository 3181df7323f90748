"""Weights, given by name or by their files, become a network that is ready to run; all their errors are found here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.checkpoints import catalogue_file, hub, store
from adacode_cli.checkpoints.catalogue import Catalogue
from adacode_cli.checkpoints.format import SHARED_PARTS, Provenance, Weights, check_denoise, read_weights, write_weights
from adacode_cli.checkpoints.location import EntryName, FamilyName, HubFile, LocalFile, parse
from adacode_cli.checkpoints.parts import require_stated
from adacode_cli.checkpoints.presence import other_task
from adacode_cli.checkpoints.priors import StoredPrior, load_prior, prior_beside, read_prior
from adacode_cli.checkpoints.published import read_published
from adacode_cli.checkpoints.soundness import key_problems, listing, require_finite, require_plausible, without_memory
from adacode_cli.checkpoints.suffixes import PICKLED
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import problems_of
from adacode_cli.model.rescaling import can_halve, halved
from adacode_cli.tasks import TASKS

PUBLISHED_LICENCE = "its authors' (published AdaCode weights; may be non-commercial)"


class WeightsSource:
    """A family, an entry, a file or a Hub address. Raises WeightsError at once for impossible names.

    `hub_repo` overrides where unbundled files come from; `folder` holds the catalogue and the bundled files, by
    default those of this installation.
    """

    def __init__(self, name: str, hub_repo: str | None = None, folder: Path | None = None) -> None:
        self.name = name
        self.hub_repo = hub_repo
        self.folder = folder
        self.catalogue: Catalogue = catalogue_file.load(folder)
        self.location = parse(name, self.catalogue)

    def network(self, task: str, scale: int, denoise: float = 1.0) -> tuple[AdaCode, Provenance]:
        """The network for a task, a name of `tasks.TASKS`; `scale` is one of its scales, `denoise` from 0 to 1.

        A family without that scale, and a single file or entry of ×4, serve ×2 by the same network, halved
        (`model.rescaling`), or, if that is impossible, by the network itself: then its own scale counts. Raises
        UsageError for another `denoise`, WeightsError, also if the weights have no strengths of noise removal.
        """
        check_denoise(denoise)
        match self.location:
            case FamilyName(family):
                found = self._entry(self.catalogue.for_task(family, task, scale).name, denoise)
            case EntryName(name):
                found = self._entry(name, denoise)
            case LocalFile(path):
                found = load_network((path,), denoise)
            case HubFile():
                found = load_network((hub.fetch(self.location),), denoise)
        config = found[0].config
        if config.task != task:
            raise other_task(self.name, config.task, task)
        if config.scale < scale:
            raise WeightsError(
                f"{self.name} enlarges ×{config.scale} at most", hint=f"Use --scale {config.scale}, or other weights."
            )
        if config.scale == 2 * scale and can_halve(config):
            return halved(found[0]), found[1]
        return found

    def largest_scale(self, task: str) -> int:
        """The largest scale for which there is a network for a task, a name of `tasks.TASKS`. Raises WeightsError."""
        if isinstance(self.location, FamilyName):
            family = self.location.name
            scales = [one.scale for one in self.catalogue.entries if (one.family, one.task) == (family, task)]
            return max(scales, default=1)
        return read_any(self._own_paths()[-1]).config.scale

    def needs_download(self, task: str, scale: int) -> bool:
        """Whether `network` would download a file first; nothing is downloaded here. A family whose largest scale is
        smaller than `scale` is asked for that one, which runs of the network repeat. Raises WeightsError.
        """
        match self.location:
            case FamilyName(family):
                entry = self.catalogue.for_task(family, task, min(scale, self.largest_scale(task)))
            case EntryName(name):
                entry = self.catalogue.entry(name)
            case LocalFile():
                return False
            case HubFile():
                return hub.cached(self.location) is None
        absent = store.state(entry, self.catalogue, hub_repo=self.hub_repo, folder=self.folder) == "absent"
        return absent and entry.kind == "hub"

    def own_network(self) -> tuple[AdaCode, Provenance]:
        """The network of any task that the name means; for a family its network for reconstruct, or its first one.

        Raises WeightsError.
        """
        return load_network(self._own_paths())

    def own_file(self) -> Path:
        """The file of the task that `own_network` is for. Raises WeightsError; UsageError for several tasks."""
        if isinstance(self.location, FamilyName):
            names = [entry.name for entry in self.catalogue.entries if entry.family == self.location.name]
            if len(names) > 1:
                raise UsageError(f"{self.name} has several tasks", hint=f"Name one of them: {', '.join(names)}.")
        return self._own_paths()[-1]

    def own_files(self) -> tuple[Path, ...]:
        """As `own_file`, with the shared parts before it where the catalogue names them. Raises as `own_file` does."""
        self.own_file()
        return self._own_paths()

    def shared_files(self) -> dict[str, Path]:
        """The files with the shared parts of the task that `own_file` is for, by the names that they must have beside
        that file; none for a file that is whole. Raises WeightsError, UsageError.
        """
        own = self.own_file()
        task, shared = read_any(own), self._own_paths()[:-1]
        if task.part != "task":
            return {}
        parts = [(path, read_weights(path)) for path in shared]
        _require_own_parts(task, own, parts)
        parts = parts or shared_parts_beside(own, task)
        names = dict(zip(SHARED_PARTS, _shared_names(task.provenance.family), strict=True))
        return {names[weights.part]: path for path, weights in parts if weights.part in names}

    def _own_paths(self) -> tuple[Path, ...]:
        match self.location:
            case FamilyName(family):
                entries = [entry for entry in self.catalogue.entries if entry.family == family]
                chosen = next((entry for entry in entries if TASKS[entry.task].from_codes), entries[0])
                return self._paths_of(chosen.name)
            case EntryName(name):
                return self._paths_of(name)
            case LocalFile(path):
                return (path,)
            case HubFile():
                return (hub.fetch(self.location),)

    def prior(self) -> tuple[Path, StoredPrior] | None:
        """The prior of the family's codes, and its file; None where there is none. Raises WeightsError.

        A file's family has one beside the file, as FAMILY-prior.safetensors, or in the catalogue.
        """
        match self.location:
            case FamilyName(name):
                family = name
            case EntryName(name):
                family = self.catalogue.entry(name).family
            case LocalFile(path):
                family = read_any(path).provenance.family
                if (beside := prior_beside(path, family)) is not None:
                    return beside, read_prior(beside)
            case HubFile():
                family = read_any(hub.fetch(self.location)).provenance.family
        return load_prior(self.catalogue, family, self.folder)

    def _entry(self, name: str, denoise: float = 1.0) -> tuple[AdaCode, Provenance]:
        return load_network(self._paths_of(name), denoise)

    def _paths_of(self, name: str) -> tuple[Path, ...]:
        # A family that consists of one download is downloaded when it is named.
        entry = self.catalogue.entry(name)
        return store.resolve(
            entry,
            self.catalogue,
            convert=convert_published,
            allow_download=entry.kind == "hub",
            hub_repo=self.hub_repo,
            folder=self.folder,
        )


def read_any(path: Path) -> Weights:
    """A pickled file in the published layout or a safetensors file of adacode. Raises WeightsError."""
    if path.suffix.lower() in PICKLED:
        config, tensors = read_published(path)
        provenance = Provenance(family="published", licence=PUBLISHED_LICENCE, source=path.name)
        return Weights("whole", config, provenance, tensors)
    return read_weights(path)


def convert_published(source: Path, target: Path) -> None:
    """A published checkpoint → our format, float32, whole. Raises WeightsError, OutputError."""
    weights = read_any(source)
    build(weights.config, weights.tensors, source)
    write_weights(target, weights)


def load_network(paths: tuple[Path, ...], denoise: float = 1.0) -> tuple[AdaCode, Provenance]:
    """The network that a task's files make together, in evaluation mode; the last file holds the task.

    The file of a task alone takes its family's shared parts from its own folder; they must be those that it was trained
    with, as far as the file states their digests. `denoise` is as in
    `format.Weights.denoising`, of the task's file, and only counts for tasks that have a choice of it. Raises
    WeightsError for files that do not belong together, are damaged or incomplete or have no such strength, UsageError
    for a strength that is not from 0 to 1.
    """
    parts = parts_of(paths)
    task_path, task = parts[-1]
    tensors = joined(parts)
    strength = denoise if task.config.purpose.denoises else 1.0
    tensors |= _denoising(task, strength, task_path)
    network = build(task.config, tensors, task_path)
    # The ranges were measured with the values for full noise removal; other values make maps with other ranges.
    if strength == 1:
        network.ranges, network.int8_psnr_db = task.ranges, task.int8_psnr_db
    if problems := problems_of(task.ranges, network):
        raise WeightsError(f"has {problems[0]}", path=task_path, hint="Make the file again with weights quantize.")
    return network, task.provenance


def parts_of(paths: tuple[Path, ...]) -> list[tuple[Path, Weights]]:
    """The parts in a task's files, the task last; a task's file alone takes the shared parts from its own folder.

    Raises WeightsError for files that cannot be read and where the last one holds no task.
    """
    parts = [(path, read_any(path)) for path in paths]
    task_path, task = parts[-1]
    if task.part in SHARED_PARTS:
        raise WeightsError(
            f"holds only the {task.part} part of a family",
            path=task_path,
            hint="Name a task's weights; `adacode weights list` shows them.",
        )
    if task.part == "task" and len(parts) == 1:
        parts = [*shared_parts_beside(task_path, task), *parts]
    else:
        _require_own_parts(task, task_path, parts)
    return parts


def joined(parts: list[tuple[Path, Weights]]) -> dict[str, Tensor]:
    """The tensors of all parts. Raises WeightsError where two parts have the same one."""
    tensors: dict[str, Tensor] = {}
    for path, weights in parts:
        twice = tensors.keys() & weights.tensors.keys()
        if twice:
            raise WeightsError(
                f"repeats tensors of another part: {listing(twice)}", path=path, hint="Give each part once."
            )
        tensors |= weights.tensors
    return tensors


def _denoising(task: Weights, strength: float, path: Path) -> dict[str, Tensor]:
    try:
        tensors = task.denoising(strength)
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error
    if strength != 1:  # interpolation between extreme float32 values can be infinite
        require_finite({key: tensors[key] for key in task.faithful}, path)
    return tensors


def build(config: NetworkConfig, tensors: dict[str, Tensor], path: Path) -> AdaCode:
    """A network with exactly these tensors. Raises WeightsError naming keys that miss, are too many or do not fit."""
    require_plausible(config, tensors, path)
    network = without_memory(config, path)
    own = network.state_dict()
    problems = key_problems(own, tensors)
    if problems:
        hint = "The parts of a family belong together; update them all, or use one whole file."
        raise WeightsError(problems, path=path, hint=hint)
    # The state dict has all values of the network. They are copied, because a tensor may be mapped to its file.
    # (`to_empty` would import SymPy.)
    values = {
        key: tensors[key].detach().to(blank.dtype, copy=True, memory_format=torch.contiguous_format)
        for key, blank in own.items()
    }
    network.load_state_dict(values, assign=True)
    return network.eval().requires_grad_(False)


def shared_parts_beside(path: Path, task: Weights) -> list[tuple[Path, Weights]]:
    """The shared parts of a task's file at `path`, found by its family's name in the same folder.

    Raises WeightsError where one of the files is missing or broken, or of another training than the task.
    """
    family = task.provenance.family
    missing = missing_beside(path, family)
    if missing:
        raise WeightsError(
            f"is one part of a family; {' and '.join(missing)} must be in the same folder",
            path=path,
            hint="Copy them from the folder in which the file was made.",
        )
    found = [(path.with_name(name), read_weights(path.with_name(name))) for name in _shared_names(family)]
    _require_own_parts(task, path, found)
    return found


def _require_own_parts(task: Weights, path: Path, parts: Sequence[tuple[Path, Weights]]) -> None:
    require_stated(task.parts, [(part.part, file, part.tensors) for file, part in parts], path)


def missing_beside(path: Path, family: str) -> list[str]:
    """Names of the files with a family's shared parts that are not in the folder of a task's file."""
    # A family's name is read from the file; it must not lead to another folder.
    return [n for n in _shared_names(family) if Path(n).name != n or not path.with_name(n).is_file()]


def _shared_names(family: str) -> list[str]:
    return [f"{family}-{part}.safetensors" for part in SHARED_PARTS]
