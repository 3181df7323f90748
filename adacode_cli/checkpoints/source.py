"""What a person names with `--weights`, turned into the network of a task when the task asks for it."""

from __future__ import annotations

from pathlib import Path

from adacode_cli.checkpoints import catalogue_file, hub, store
from adacode_cli.checkpoints.catalogue import Catalogue
from adacode_cli.checkpoints.format import Provenance, check_denoise
from adacode_cli.checkpoints.load import convert_published, load_network
from adacode_cli.checkpoints.location import EntryName, FamilyName, HubFile, LocalFile, parse
from adacode_cli.errors import WeightsError
from adacode_cli.model.halving import can_halve, halved
from adacode_cli.model.network import AdaCode
from adacode_cli.tasks import TASKS


class WeightsSource:
    """A family, an entry, a file or a Hub address. Raises WeightsError at once for what cannot exist.

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
        (`model.halving`), or where that cannot be, as they are: then their own scale counts. Raises UsageError for
        another `denoise`, WeightsError, also where the weights have no strengths of noise removal to choose from.
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
            raise WeightsError(
                f"{self.name} is for {config.task}, not for {task}", hint="`adacode weights list` shows what there is."
            )
        if config.scale < scale:
            raise WeightsError(
                f"{self.name} enlarges ×{config.scale} at most", hint=f"Use --scale {config.scale}, or other weights."
            )
        if config.scale == 2 * scale and can_halve(config):
            return halved(found[0]), found[1]
        return found

    def own_network(self) -> tuple[AdaCode, Provenance]:
        """The network that the name itself means, whatever its task; of a family its reconstruction, or its first.

        Raises WeightsError.
        """
        match self.location:
            case FamilyName(family):
                entries = [entry for entry in self.catalogue.entries if entry.family == family]
                chosen = next((entry for entry in entries if TASKS[entry.task].from_codes), entries[0])
                return self._entry(chosen.name)
            case EntryName(name):
                return self._entry(name)
            case LocalFile(path):
                return load_network((path,))
            case HubFile():
                return load_network((hub.fetch(self.location),))

    def _entry(self, name: str, denoise: float = 1.0) -> tuple[AdaCode, Provenance]:
        # A family that is one download away is fetched when named: that is what naming it asks for.
        entry = self.catalogue.entry(name)
        paths = store.resolve(
            entry,
            self.catalogue,
            convert=convert_published,
            allow_download=entry.kind == "hub",
            hub_repo=self.hub_repo,
            folder=self.folder,
        )
        return load_network(paths, denoise)
