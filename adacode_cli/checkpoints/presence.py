"""Whether weights are there at all, without loading them: a name, a file and what its beginning says.

Nothing here imports torch or downloads, so a mistake is reported before slow steps. A file that passes may still be
refused when it is loaded: its content is only read then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from adacode_cli.checkpoints import bundles, catalogue_file, hub, store
from adacode_cli.checkpoints.catalogue import Catalogue, Entry
from adacode_cli.checkpoints.headers import header_of
from adacode_cli.checkpoints.location import (
    HUB_PREFIX,
    EntryName,
    FamilyName,
    HubBundle,
    HubFile,
    LocalBundle,
    LocalFile,
    parse,
)
from adacode_cli.errors import WeightsError

DETECTOR_HINT = "Use `--detect scratches`, or a file that `adacode train detect` wrote."


def require_present(name: str, task: str, scales: Iterable[int] = (1,), folder: Path | None = None) -> None:
    """Raises WeightsError for weights that cannot be used for `task`, as far as that is known without reading them.

    name, folder: as in `load.WeightsSource`. task: a name of `tasks.TASKS`. scales: of the networks that may
    be needed; runs of a smaller one can take the place of a larger one.
    """
    catalogue = catalogue_file.load(folder)
    match location := parse(name, catalogue):
        case FamilyName() | EntryName():
            for entry in _entries(catalogue, location, name, task, scales):
                store.require_here(entry)
        case LocalBundle():
            _require_in_bundle(bundles.open_bundle(location), name, task, scales)
        case HubBundle():
            if hub.is_offline():
                _require_in_bundle(bundles.open_bundle(location), name, task, scales)
        case LocalFile(path):
            require_header(path)
        case HubFile():
            if hub.is_offline():
                hub.fetch(location, local_only=True)


def _entries(
    catalogue: Catalogue, chosen: EntryName | FamilyName, name: str, task: str, scales: Iterable[int]
) -> Iterator[Entry]:
    """The entries that may be needed. Raises WeightsError where there is none for the task."""
    if isinstance(chosen, EntryName):
        entry = catalogue.entry(chosen.name)
        if entry.task != task:
            raise other_task(name, entry.task, task)
        yield entry
        return
    own = [entry.scale for entry in catalogue.entries if (entry.family, entry.task) == (chosen.name, task)]
    for scale in scales:
        yield catalogue.for_task(chosen.name, task, min(scale, max(own, default=scale)))


def _require_in_bundle(bundle: bundles.Bundle, name: str, task: str, scales: Iterable[int]) -> None:
    with bundle.its_own_hints():
        for entry in _entries(bundle.catalogue, bundle.chosen, name, task, scales):
            bundle.require_here(entry)


def require_detector(name: str, folder: Path | None = None) -> None:
    """Raises WeightsError for a detector of marks that is not there; name and folder as in `detector_file`."""
    require_header(detector_file(name, folder))


def detector_file(name: str, folder: Path | None = None) -> Path:
    """The file of a detector, by its name in the catalogue of `folder`, or by its path, which ends in .safetensors.

    Raises WeightsError for an unknown name.
    """
    if name.startswith(HUB_PREFIX):
        hint = f"`adacode weights pull {name}` downloads a file and prints its path: give that to --detect."
        raise WeightsError(f"{name} is on the Hub, and a detector is read from this machine", hint=hint)
    if name.endswith(".safetensors"):
        return Path(name)
    known = {Path(file.name).stem: file for file in catalogue_file.load(folder).detectors}
    if name not in known and os.path.exists(name):  # noqa: PTH110 (Path.exists raises for a name that is too long)
        what = "is not a detector of marks: its name does not end in .safetensors"
        raise WeightsError(what, path=Path(name), hint=DETECTOR_HINT)
    if name not in known:
        choice = f"Choose {' or '.join(known)}, or name the file" if known else "Name the file"
        raise WeightsError(f"no detector is called {name!r}", hint=f"{choice} that `adacode train detect` wrote.")
    return catalogue_file.required(known[name], folder)


def other_task(name: str, own: str, wanted: str) -> WeightsError:
    """The error for weights of another task."""
    return WeightsError(
        f"{name} is for {own}, not for {wanted}", hint="`adacode weights list` shows the available weights."
    )


def require_header(path: Path) -> None:
    """Raises WeightsError for what is no regular file, and for a .safetensors file without a header."""
    if path.is_fifo() or path.is_char_device():  # reading it could wait for ever
        raise WeightsError(
            "is no regular file", path=path, hint="Write the weights into a file first, and name that file."
        )
    if path.suffix.lower() != ".safetensors":
        return
    header_of(path)
