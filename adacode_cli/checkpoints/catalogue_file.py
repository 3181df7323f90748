"""Reads `weights/catalogue.json` as a `Catalogue`, or raises an error that names the wrong field.

The reader is strict (unknown keys are refused), because a misspelt optional key would silently disable a digest check.
Installed from a wheel, `weights/` lies inside the package; in a checkout or an editable install it lies at the
repository's top, beside the package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from adacode_cli.checkpoints import integrity
from adacode_cli.checkpoints.catalogue import Catalogue, Entry, FamilyFile, Kind, WeightsFile
from adacode_cli.checkpoints.integrity import read_json
from adacode_cli.errors import WeightsError, translated
from adacode_cli.limits import MAX_CATALOGUE_BYTES

VERSION = 1
FILE_NAME = "catalogue.json"

_REINSTALL = "Reinstall adacode-cli, or correct the file."
_TOP = {"version": int, "hub_repo": (str, type(None)), "release": (str, type(None)), "files": list, "entries": list}
# Optional lists, which are not written if they are empty, so that earlier versions can read the file.
_TOP_OPTIONAL = {"detectors": list, "priors": list}
_FILE = {"name": str, "bytes": (int, type(None)), "sha256": (str, type(None))}
_PRIOR = {"family": str, **_FILE}
_ENTRY = {
    "name": str,
    "family": str,
    "task": str,
    "scale": int,
    "kind": str,
    "files": list,
    "licence": str,
    "source": str,
}
# Optional fields of an entry; empty ones are not written, so that earlier versions can read the file.
_ENTRY_OPTIONAL = {"base_model": str, "denoise": bool}


def weights_folder() -> Path:
    """The folder of the bundled weights and the catalogue; WeightsError when the installation has none."""
    package = Path(__file__).resolve().parent.parent
    candidates = (package / "weights", package.parent / "weights")
    for folder in candidates:
        if (folder / FILE_NAME).is_file():
            return folder
    looked = " and ".join(str(folder) for folder in candidates)
    raise WeightsError(f"the weights catalogue is missing; looked in {looked}", hint="Reinstall adacode-cli.")


def bundled(file: WeightsFile, folder: Path | None = None) -> Path | None:
    """A bundled file in `folder` (by default that of this installation), None where it is not there.

    Raises WeightsError if it is not what the catalogue says.
    """
    path = (weights_folder() if folder is None else folder) / file.name
    if not path.is_file():
        return None
    if file.sha256 is not None:
        integrity.verify(path, file.sha256, hint="The installation is damaged: reinstall adacode-cli.")
    return path


def required(file: WeightsFile, folder: Path | None = None) -> Path:
    """As `bundled`. Raises WeightsError also where the file is not there."""
    path = bundled(file, folder)
    if path is None:
        missing = (weights_folder() if folder is None else folder) / file.name
        raise WeightsError("is not part of this installation", path=missing, hint="Reinstall adacode-cli.")
    return path


def load(folder: Path | None = None) -> Catalogue:
    """The catalogue in `folder` (by default the one that came with the program).

    Raises WeightsError, naming the file, when it cannot be read or does not follow the schema.
    """
    return read((weights_folder() if folder is None else folder) / FILE_NAME, _REINSTALL)


def read(path: Path, hint: str) -> Catalogue:
    """The catalogue in a file. Raises WeightsError with `hint` as `load` does, and for a file that is too large."""
    data = _read(path, hint)
    try:
        return _catalogue(data)
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=hint) from error


def to_bytes(catalogue: Catalogue) -> bytes:
    """The content of a catalogue.json that `load` reads back as `catalogue`."""
    data = {
        "version": VERSION,
        "hub_repo": catalogue.hub_repo,
        "release": catalogue.release,
        "files": [_in_order(file, _FILE) for file in catalogue.files],
        "entries": [_in_order(entry, _ENTRY, _ENTRY_OPTIONAL) for entry in catalogue.entries],
    }
    if catalogue.detectors:
        data["detectors"] = [_in_order(file, _FILE) for file in catalogue.detectors]
    if catalogue.priors:
        data["priors"] = [_in_order(file, _PRIOR) for file in catalogue.priors]
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _in_order(
    item: Entry | WeightsFile, fields: Mapping[str, Any], optional: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    more = {name: getattr(item, name) for name in optional or ()}
    return {name: getattr(item, name) for name in fields} | {name: value for name, value in more.items() if value}


def _read(path: Path, hint: str) -> dict[str, Any]:
    try:
        with translated(WeightsError, "cannot be read", path, hint=hint):
            if (found := path.stat().st_size) > MAX_CATALOGUE_BYTES:
                what = f"is no catalogue: it has {found:,} bytes, and at most {MAX_CATALOGUE_BYTES:,} are read"
                raise WeightsError(what, path=path, hint=hint)
            data = read_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # both broken JSON and broken UTF-8
        raise WeightsError(f"is not valid JSON: {error}", path=path, hint=hint) from error
    if not isinstance(data, dict):
        raise WeightsError("must be a JSON object", path=path, hint=hint)
    return data


def _catalogue(data: dict[str, Any]) -> Catalogue:
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        raise WeightsError(f"has version {version!r}; this program reads version {VERSION}")
    _check(data, _TOP, "the catalogue", _TOP_OPTIONAL)
    files = tuple(_file(item, f"files[{i}]") for i, item in enumerate(data["files"]))
    entries = tuple(_entry(item, f"entries[{i}]") for i, item in enumerate(data["entries"]))
    detectors = tuple(_file(item, f"detectors[{i}]") for i, item in enumerate(data.get("detectors", ())))
    priors = tuple(FamilyFile(**_check(item, _PRIOR, f"priors[{i}]")) for i, item in enumerate(data.get("priors", ())))
    return Catalogue(entries, files, data["hub_repo"], data["release"], detectors, priors)


def _file(item: object, where: str) -> WeightsFile:
    return WeightsFile(**_check(item, _FILE, where))


def _entry(item: object, where: str) -> Entry:
    fields = _check(item, _ENTRY, where, _ENTRY_OPTIONAL)
    if not all(isinstance(name, str) for name in fields["files"]):
        raise WeightsError(f"{where}: 'files' must hold names")
    # Entry itself refuses an unknown task or kind.
    kind = cast(Kind, fields.pop("kind"))
    return Entry(**{**fields, "files": tuple(fields["files"])}, kind=kind)


def _check(
    item: object, fields: Mapping[str, Any], where: str, optional: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A copy of `item` if it is an object with exactly these fields, each of its type; optional ones may be missing."""
    if not isinstance(item, dict):
        raise WeightsError(f"{where} must be a JSON object")
    known = {**fields, **(optional or {})}
    missing, extra = fields.keys() - item.keys(), item.keys() - known.keys()
    if missing or extra:
        detail = [f"missing {name!r}" for name in sorted(missing)] + [f"unknown {name!r}" for name in sorted(extra)]
        raise WeightsError(f"{where}: {', '.join(detail)}")
    for name, value in item.items():
        # bool is an int in Python, but not in the schema.
        if not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool):
            raise WeightsError(f"{where}: {name!r} has the wrong type ({type(value).__name__})")
        if isinstance(value, str) and not _is_text(value):
            raise WeightsError(f"{where}: {name!r} has an unpaired surrogate in it")
    return dict(item)


def _is_text(value: str) -> bool:
    """Whether it can be encoded: JSON can contain an unpaired surrogate."""
    return value.encode(errors="replace").decode() == value
