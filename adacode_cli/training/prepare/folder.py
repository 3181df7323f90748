"""The output folder: refused when it is in use, never left looking complete, and nothing of others' removed.

A manifest is written last and removed first. Which files a run writes is noted beforehand in a hidden file, so that
what a killed run leaves can be told from what others put there.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.errors import OutputError
from adacode_cli.training.shards import MANIFEST

SPOOL = ".prepare-crops.adacode-part"
_PLAN = ".prepare-files.adacode-part"


class OutputFolder:
    """`path`, made if need be. Raises OutputError where it holds files and `overwrite` is not set."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            present = [name for name in _names(path) if name not in (SPOOL, _PLAN)]
        except OSError as error:
            what = f"cannot be used: {atomic.reason(error)}"
            raise OutputError(what, path=path, hint="Choose a writable directory (-o).") from error
        if present and not overwrite:
            hint = "Choose another -o, or --overwrite to replace the shards in it; other files stay."
            raise OutputError(f"is not empty: it holds {present[0]!r}", path=path, hint=hint)

    def begin(self, names: list[str]) -> None:
        """Removes what earlier runs wrote here, manifest first, and notes that `names` are to be written now."""
        earlier = [*_noted(self.path / MANIFEST), *_noted(self.path / _PLAN)]
        self._remove([MANIFEST, *earlier])
        plan = {"shards": [{"file": name} for name in names]}
        atomic.write_bytes(self.path / _PLAN, json.dumps(plan).encode())

    def finish(self, manifest: dict[str, object]) -> Path:
        """Writes the manifest, which makes the folder complete; returns its path."""
        target = self.path / MANIFEST
        atomic.write_bytes(target, (json.dumps(manifest, indent=2, ensure_ascii=True) + "\n").encode())
        self._remove([_PLAN])
        return target

    def give_up(self, names: list[str]) -> None:
        """Removes what this run wrote, as far as the file system lets it."""
        with suppress(OutputError):
            self._remove([MANIFEST, *names, _PLAN])

    def _remove(self, names: list[str]) -> None:
        for name in names:
            try:
                (self.path / name).unlink(missing_ok=True)
            except OSError as error:
                what = f"cannot be removed: {atomic.reason(error)}"
                raise OutputError(what, path=self.path / name, hint="Choose another -o.") from error


def _names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def _noted(path: Path) -> list[str]:
    """The shards that a manifest or a plan names; none for a file that is missing or not of ours."""
    try:
        shards = json.loads(path.read_bytes())["shards"]
        names = [str(shard["file"]) for shard in shards]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if Path(name).name == name and name.endswith(".tar")]
