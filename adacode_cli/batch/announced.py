"""What a run in a store is about to write, announced before it writes: the claims of an output tree without locks.

The next thousand outputs are named in one object, `.adacode/in-flight/RUN-NUMBER.json`. If the run is killed, a later
one knows by it which outputs may lack their line in the journal. One run at a time writes a file (`batch.lease`), so
nothing is excluded here. At the end of a run, the objects that have no further use are removed.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from adacode_cli.batch.claims import CLAIMS, Holder, name_of
from adacode_cli.batch.state_files import object_of
from adacode_cli.errors import JournalError, OutputError
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import RemotePath

_WINDOW = 1000
_SUFFIX = ".json"


@dataclass(frozen=True)
class Announced:
    """An announced output."""

    target: str
    released: Callable[[str], None]

    def release(self) -> None:
        """To be called once, when the line of the journal is there."""
        self.released(self.target)


class Announcements:
    """The announced outputs in the tree `root`; `check` raises JournalError if this run must stop."""

    def __init__(self, root: RemotePath) -> None:
        self._folder = root / CLAIMS
        self._lock = threading.Lock()
        self._run = secrets.token_hex(4)
        self._expected: deque[str] = deque()
        self._announced: set[str] = set()
        self._under_way: set[str] = set()
        self._kept: set[str] = set()
        self._written: list[RemotePath] = []
        self.check: Callable[[], None] = lambda: None

    def expect(self, targets: Iterable[str]) -> None:
        """Says in which order outputs will be written, so that many are announced at once."""
        with self._lock:
            self._expected = deque(targets)

    def take(self, target: str) -> Announced:
        """Announces an output, if this was not done yet. Raises JournalError."""
        with self._lock:
            self.check()
            while target not in self._announced:
                window = [self._expected.popleft() for _ in range(min(_WINDOW, len(self._expected)))] or [target]
                self._announce(window)
                self._announced.update(window)
            self._under_way.add(target)
        return Announced(target, self._release)

    def names(self) -> frozenset[str]:
        """The keys of all outputs that killed runs have announced, for `claims.claimed`. Raises OutputError."""
        return frozenset(name_of(target) for _, targets in self._all() for target in targets)

    def holder(self, target: str) -> Holder:
        """Nobody: one run at a time writes to the tree."""
        del target
        return Holder()

    def keep(self, target: str) -> None:
        """Says that nobody knows whether an output was written, so that a later run finds its announcement."""
        with self._lock:
            self._kept.add(target)

    def close(self, is_recorded: Callable[[str], bool]) -> None:
        """Removes the announcements of this run if nothing is under way, and earlier ones whose outputs all have lines.

        A store that does not answer is no error here: announcements that stay change nothing for a later run.
        """
        with suppress(OutputError, JournalError):
            own = set(self._written)
            if not self._under_way:
                if self._kept:
                    self._announce(sorted(self._kept))
                for path in own:
                    objects.remove(path)
            own.update(self._written)
            for path, targets in self._all():
                if path not in own and all(is_recorded(target) for target in targets):
                    objects.remove(path)

    def _announce(self, targets: list[str]) -> None:
        path = self._folder / f"{self._run}-{len(self._written) + 1:06d}{_SUFFIX}"
        content, nothing = json.dumps({"targets": targets}).encode("ascii"), objects.Replaces.NOTHING
        media = "application/json"
        objects.write(path, content, media_type=media, replaces=nothing, kind=JournalError, before=self.check)
        self._written.append(path)

    def _release(self, target: str) -> None:
        with self._lock:
            self._under_way.discard(target)
            self._announced.discard(target)

    def _all(self) -> Iterator[tuple[RemotePath, list[str]]]:
        for place, _ in islice(listing.entries(self._folder, OutputError), 100_000):
            if place.endswith(_SUFFIX) and "/" not in place:
                path = self._folder / place
                try:
                    targets = (object_of(objects.read(path, kind=OutputError)) or {}).get("targets")
                except OutputError as error:
                    if isinstance(error.__cause__, FileNotFoundError):  # The run of another part has ended.
                        continue
                    raise
                if isinstance(targets, list):
                    yield path, [target for target in targets if isinstance(target, str)]
