"""The digest seen at a file's first download is remembered, and everything later must match it.

Nobody publishes digests for the release files, so the first download has to be trusted. From then on a changed file
(a new upload under the old name, a mirror that serves something else, a damaged disk) is noticed. The record is
`digests.json` beside the files, keyed by the file's official address even when a mirror delivered it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.checkpoints.cache import exclusive, storing
from adacode_cli.checkpoints.digest import is_sha256
from adacode_cli.errors import WeightsError, reason

FILE_NAME = "digests.json"
_VERSION = 1


@dataclass(frozen=True)
class Seen:
    """What was downloaded from one address: its SHA-256 and size, and the SHA-256 of our conversion of it, if any."""

    sha256: str
    bytes: int
    converted_sha256: str | None = None


class KnownDigests:
    """The record in one cache folder. Reading needs no lock; each write is atomic and done by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def get(self, url: str) -> Seen | None:
        """What was seen at `url`, or None before the first download. WeightsError when the record is damaged."""
        return self._read().get(url)

    def record(self, url: str, seen: Seen) -> None:
        """Remember `seen` for `url`. OutputError when the folder cannot be written."""
        with exclusive(self.path), storing(self.path):
            records = {**self._read(), url: seen}
            data = {"version": _VERSION, "downloads": {key: asdict(value) for key, value in records.items()}}
            atomic.write_bytes(self.path, (json.dumps(data, indent=2) + "\n").encode())

    def record_conversion(self, url: str, converted_sha256: str) -> None:
        """Remember the digest of our conversion of what was downloaded from `url`."""
        seen = self.get(url)
        assert seen is not None, "a file is recorded before it is converted"
        self.record(url, replace(seen, converted_sha256=converted_sha256))

    def _read(self) -> dict[str, Seen]:
        try:
            data = json.loads(self.path.read_bytes())
            records = {url: Seen(**fields) for url, fields in data["downloads"].items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise WeightsError(f"cannot be read: {reason(error)}", path=self.path) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._damaged() from error
        if data.get("version") != _VERSION or not all(_is_valid(seen) for seen in records.values()):
            raise self._damaged()
        return records

    def _damaged(self) -> WeightsError:
        # Starting over by ourselves would trust whatever the next download brings.
        hint = "Remove it to trust the files beside it, and the next downloads, once more."
        return WeightsError("is damaged", path=self.path, hint=hint)


def _is_valid(seen: Seen) -> bool:
    digests = [seen.sha256] if seen.converted_sha256 is None else [seen.sha256, seen.converted_sha256]
    return isinstance(seen.bytes, int) and all(isinstance(text, str) and is_sha256(text) for text in digests)
