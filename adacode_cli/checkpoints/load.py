"""Weights, given by name or by their files, become a network that is ready to run; all their errors are found here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.checkpoints import catalogue_file, hub, store
from adacode_cli.checkpoints.bundles import Bundle, fetch_file, open_bundle, require_as_listed, shared_parts_missing
from adacode_cli.checkpoints.catalogue import Catalogue, Entry
from adacode_cli.checkpoints.file_names import PICKLED, SHARED_PARTS, shared_names
from adacode_cli.checkpoints.format import Provenance, Weights, check_denoise, read_weights, write_weights
from adacode_cli.checkpoints.hub import DEFAULT_ACCESS, HubAccess
from adacode_cli.checkpoints.location import (
    EntryName,
    FamilyName,
    HubBundle,
    HubFile,
    LocalBundle,
    LocalFile,
    parse,
    with_revision,
)
from adacode_cli.checkpoints.parts import require_stated
from adacode_cli.checkpoints.presence import other_task
from adacode_cli.checkpoints.priors import StoredPrior, load_prior, prior_beside, read_prior
from adacode_cli.checkpoints.published import read_published
from adacode_cli.checkpoints.soundness import key_problems, listing, require_finite, require_plausible, without_memory
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import problems_of
from adacode_cli.model.rescaling import can_halve, halved
from adacode_cli.tasks import TASKS

PUBLISHED_LICENCE = "its authors' (published AdaCode weights; may be non-commercial)"


@dataclass(frozen=True)
class _Opened:
    """What a name has become: an entry or a family of a catalogue, or a file. bundle: None for the installed one."""

    catalogue: Catalogue
    chosen: EntryName | FamilyName | LocalFile
    bundle: Bundle | None = None

    def entry_for(self, task: str, scale: int) -> Entry:
        """The entry for a task, of an entry itself or of a family. Raises WeightsError."""
        assert not isinstance(self.chosen, LocalFile)
        if isinstance(self.chosen, EntryName):
            return self.catalogue.entry(self.chosen.name)
        with self.hints():
            return self.catalogue.for_task(self.chosen.name, task, scale)

    def hints(self) -> AbstractContextManager[None]:
        """Within the block, errors of a bundle name what it has."""
        return self.bundle.its_own_hints() if self.bundle else nullcontext()

    def members(self) -> list[Entry]:
        """The entries of a family; for an entry itself alone, for a file none."""
        if isinstance(self.chosen, FamilyName):
            return [entry for entry in self.catalogue.entries if entry.family == self.chosen.name]
        return [self.catalogue.entry(self.chosen.name)] if isinstance(self.chosen, EntryName) else []


class WeightsSource:
    """A family, an entry, a file, a bundle or an address on the Hub. Raises WeightsError at once for impossible names.

    `hub_repo` overrides where unbundled files come from; `folder` holds the catalogue and the bundled files, by
    default those of this installation. `access` is how the Hub's client is called. `revision` is that of an address on
    the Hub, which has none then. `bare_hub` is as in `location.parse`. What a branch names is asked for once: all
    networks of one source are of the same commit.
    """

    def __init__(
        self,
        name: str | Path,
        hub_repo: str | None = None,
        folder: Path | None = None,
        *,
        access: HubAccess = DEFAULT_ACCESS,
        revision: str | None = None,
        bare_hub: bool = False,
    ) -> None:
        self.hub_repo = hub_repo
        self.folder = folder
        self.access = access
        self._paths: dict[str, tuple[Path, ...]] = {}
        self.catalogue: Catalogue = catalogue_file.load(folder)
        self.location = parse(name, self.catalogue, bare_hub=bare_hub)
        if revision is not None:
            self.location = with_revision(self.location, revision)
        self.name = self.location.address if isinstance(self.location, HubFile | HubBundle) else str(name)

    def network(self, task: str, scale: int, denoise: float = 1.0) -> tuple[AdaCode, Provenance]:
        """The network for a task, a name of `tasks.TASKS`; `scale` is one of its scales, `denoise` from 0 to 1.

        A family without that scale, and a single file or entry of ×4, serve ×2 by the same network, halved
        (`model.rescaling`), or, if that is impossible, by the network itself: then its own scale counts. Raises
        UsageError for another `denoise`, WeightsError, also if the weights have no strengths of noise removal.
        """
        check_denoise(denoise)
        chosen = self._opened.chosen
        if isinstance(chosen, LocalFile):
            found = load_network((chosen.path,), denoise)
        else:
            found = load_network(self._paths_of(self._opened.entry_for(task, scale)), denoise)
        config = found[0].config
        if config.task != task:
            with self._opened.hints():
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
        if isinstance(self._opened.chosen, FamilyName):
            return max((entry.scale for entry in self._opened.members() if entry.task == task), default=1)
        return read_any(self._own_paths()[-1]).config.scale

    def needs_download(self, task: str, scale: int) -> bool:
        """Whether `network` would download a file first; nothing is downloaded here. A family whose largest scale is
        smaller than `scale` is asked for that one, which runs of the network repeat. Raises WeightsError.
        """
        match self.location:
            case LocalFile() | LocalBundle():
                return False
            case HubFile():
                path = hub.cached(self.location, self.access)
                return path is None or bool(shared_parts_missing(path))
            case HubBundle(repo, revision):
                if hub.cached(HubFile(repo, revision, catalogue_file.FILE_NAME), self.access) is None:
                    return True
                bundle = open_bundle(self.location, replace(self.access, local_files_only=True))
                opened = _Opened(bundle.catalogue, bundle.chosen, bundle)
                return bundle.lacks(_needed(opened, task, scale))
            case _:
                entry = _needed(self._opened, task, scale)
        absent = store.state(entry, self.catalogue, hub_repo=self.hub_repo, folder=self.folder) == "absent"
        return absent and entry.kind == "hub"

    def own_network(self) -> tuple[AdaCode, Provenance]:
        """The network of any task that the name means; for a family its network for reconstruct, or its first one.

        Raises WeightsError.
        """
        return load_network(self._own_paths())

    def own_file(self) -> Path:
        """The file of the task that `own_network` is for. Raises WeightsError; UsageError for several tasks."""
        names = [entry.name for entry in self._opened.members()]
        if len(names) > 1:
            where = f", written {self._opened.bundle.address_of(names[0])}" if self._opened.bundle else ""
            raise UsageError(f"{self.name} has several tasks", hint=f"Name one of them{where}: {', '.join(names)}.")
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
        names = dict(zip(SHARED_PARTS, shared_names(task.provenance.family), strict=True))
        return {names[weights.part]: path for path, weights in parts if weights.part in names}

    def prior(self) -> tuple[Path, StoredPrior] | None:
        """The prior of the family's codes, and its file; None where there is none. Raises WeightsError.

        A file's family has one beside the file, as FAMILY-prior.safetensors, or in the catalogue; that of a bundle is
        in the bundle.
        """
        opened = self._opened
        if isinstance(opened.chosen, LocalFile):
            family = read_any(opened.chosen.path).provenance.family
            if (beside := prior_beside(opened.chosen.path, family)) is not None:
                return beside, read_prior(beside)
        else:
            family = opened.members()[0].family
        if opened.bundle is not None:
            found = opened.bundle.prior(family)
            return None if found is None else (found, read_prior(found))
        return load_prior(self.catalogue, family, self.folder)

    @cached_property
    def _opened(self) -> _Opened:
        """What the name means, with the commit of an address on the Hub. Raises WeightsError, OutputError."""
        match self.location:
            case LocalBundle() | HubBundle():
                bundle = open_bundle(self.location, self.access)
                return _Opened(bundle.catalogue, bundle.chosen, bundle)
            case HubFile():
                return _Opened(self.catalogue, LocalFile(fetch_file(self.location, self.access)))
            case LocalFile(path):
                require_as_listed(path)
                return _Opened(self.catalogue, self.location)
            case _:
                return _Opened(self.catalogue, self.location)

    def _own_paths(self) -> tuple[Path, ...]:
        if isinstance(self._opened.chosen, LocalFile):
            return (self._opened.chosen.path,)
        entries = self._opened.members()
        return self._paths_of(next((entry for entry in entries if TASKS[entry.task].from_codes), entries[0]))

    def _paths_of(self, entry: Entry) -> tuple[Path, ...]:
        """The files of an entry, which are downloaded and compared with their digests once."""
        if entry.name not in self._paths:
            self._paths[entry.name] = self._compared(entry)
        return self._paths[entry.name]

    def _compared(self, entry: Entry) -> tuple[Path, ...]:
        if self._opened.bundle is not None:
            return self._opened.bundle.paths(entry)
        # A family that consists of one download is downloaded when it is named.
        return store.resolve(
            entry,
            self.catalogue,
            convert=convert_published,
            allow_download=entry.kind == "hub",
            hub_repo=self.hub_repo,
            folder=self.folder,
            access=self.access,
        )


def _needed(opened: _Opened, task: str, scale: int) -> Entry:
    """The entry that runs for a task would use: that of the largest scale there is, if it is smaller than `scale`."""
    scales = [entry.scale for entry in opened.members() if entry.task == task]
    return opened.entry_for(task, min(scale, max(scales, default=1)))


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
    missing = _missing_beside(path, family)
    if missing:
        raise WeightsError(
            f"is one part of a family; {' and '.join(missing)} must be in the same folder",
            path=path,
            hint="Copy them from the folder in which the file was made.",
        )
    found = [(path.with_name(name), read_weights(path.with_name(name))) for name in shared_names(family)]
    _require_own_parts(task, path, found)
    return found


def _require_own_parts(task: Weights, path: Path, parts: Sequence[tuple[Path, Weights]]) -> None:
    require_stated(task.parts, [(part.part, file, part.tensors) for file, part in parts], path)


def _missing_beside(path: Path, family: str) -> list[str]:
    """Names of the files with a family's shared parts that are not in the folder of a task's file."""
    # A family's name is read from the file; it must not lead to another folder.
    return [n for n in shared_names(family) if Path(n).name != n or not path.with_name(n).is_file()]
