"""Looks into folders again and again, and plans the files that have come in and are complete.

A file is complete when two looks in a row found the same size, times and inode: programs that copy or scan a file write
it over some time, and few of them say when they have finished. The folders are searched by the rules of every run
(`batch.discover`), so files of other kinds, hidden files and outputs are left out. What is remembered concerns only
entries that were there at the last look, so the memory does not depend on the length of a watch.

Notifications of the system are not used. They do not exist for folders that another machine writes to, and a file that
is still being written must be looked at more than once in any case.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from adacode_cli.batch.found import Found, PassedOver, Selection
from adacode_cli.batch.kept import Kept
from adacode_cli.batch.left_out import LeftOut
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import (
    Job,
    OnExisting,
    Plan,
    Refused,
    Search,
    in_shard,
    search,
    without_collisions,
    without_existing,
)
from adacode_cli.errors import InputError, OutputError

# A look into a huge tree takes long; at most about this share of the time is spent on looks.
_SHARE_OF_LOOKS = 0.1
_GONE = "the folder is not there any more; the watch goes on when it is there again"

Key = TypeVar("Key", bound=Hashable)


class Changes(Generic[Key]):
    """Tells from one look to the next what is new and at rest, and forgets what a look did not find."""

    def __init__(self) -> None:
        self._last: dict[Key, tuple[Hashable, bool]] = {}

    def __len__(self) -> int:
        return len(self._last)

    def at_rest(self, now: Mapping[Key, Hashable]) -> list[Key]:
        """The keys of `now` whose values are those of the last look; each is given once, until its value changes."""
        current: dict[Key, tuple[Hashable, bool]] = {}
        ready = []
        for key, value in now.items():
            last = self._last.get(key)
            is_same = last is not None and last[0] == value
            if last is not None and is_same and not last[1]:
                ready.append(key)
            current[key] = value, is_same
        self._last = current
        return ready


@dataclass(frozen=True)
class Watched:
    """The folders of a watch, and how jobs are made of what they hold. Other fields are as in `make_plan`.

    before: called before jobs are planned.
    check: raises OutputError for jobs of which a file beside the output must not be written.
    """

    inputs: tuple[Path, ...]
    naming: Naming
    selection: Selection
    on_existing: OnExisting
    kept: Kept
    may_go_on: Callable[[Job], bool]
    before: Callable[[], None]
    check: Callable[[Sequence[Job]], object]
    shard: tuple[int, int] | None = None
    refit: Callable[[Sequence[Job]], list[Job]] | None = None
    strict: bool = False

    @property
    def roots(self) -> tuple[Path, ...]:
        """The output trees."""
        return tuple(dict.fromkeys(self.naming.root_of(given) for given in self.inputs))

    def search(self) -> Search:
        """What is there now. A folder that has gone is an entry that is passed over, and counts as a failure."""
        there = [given for given in self.inputs if given.is_dir()]
        try:
            found = search(there, self.naming, self.selection, strict=self.strict)
        except InputError:  # A folder was removed between the two calls.
            there, found = [], Search([], [], LeftOut())
        found.passed_over.extend(PassedOver(given, _GONE, failed=True) for given in self.inputs if given not in there)
        return found

    def takes(self, place: str) -> bool:
        """Whether a file belongs to the part of the files that is restored here."""
        return self.shard is None or in_shard(place, self.shard)

    def jobs_of(self, every: Sequence[Job], ready: Sequence[Job]) -> tuple[list[Job], list[Job], list[Refused]]:
        """(jobs of `ready` to carry out; those whose outputs exist and are kept; those that fail, with their errors).

        every: the jobs of all files that are there, with which names may collide.
        """
        self.before()
        chosen = {job.found for job in ready}
        fitted = {job.found: job for job in self.refit(ready)} if self.refit else {}
        every = [fitted.get(job.found, job) for job in every]
        jobs, refused = without_collisions(every, self.naming)
        good, to_skip, bad = self._judged([job for job in jobs if job.found in chosen], every)
        return good, to_skip, [*(one for one in refused if one.job.found in chosen), *bad]

    def _judged(self, jobs: list[Job], every: Sequence[Job]) -> tuple[list[Job], list[Job], list[Refused]]:
        """A file whose output must not be written fails by itself; such files are found by halving."""
        try:
            return (*self._checked(jobs, every), [])
        except OutputError as error:
            if len(jobs) == 1:
                return [], [], [Refused(jobs[0], error)]
            together = error
        half = len(jobs) // 2
        first, second = (self._judged(part, every) for part in (jobs[:half], jobs[half:]))
        if not first[2] and not second[2]:  # It concerns several of them together, such as two files of one name.
            return [], [], [Refused(job, together) for job in jobs]
        return first[0] + second[0], first[1] + second[1], first[2] + second[2]

    def _checked(self, jobs: Sequence[Job], every: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        found, to_skip = without_existing(
            jobs, every, on_existing=self.on_existing, kept=self.kept, may_go_on=self.may_go_on
        )
        self.check(found)
        return found, to_skip


def looks(watched: Watched, interval_s: float, *, pause: Callable[[float], None] = time.sleep) -> Iterator[Plan]:
    """Plans of what has come in and is complete, without end; a plan may be empty.

    interval_s: the least time in seconds from the end of one look, and of the work on what it found, to the next one.
    """
    files: Changes[Found] = Changes()
    entries: Changes[PassedOver] = Changes()
    while True:
        began = time.monotonic()
        plan = _look(watched, files, entries)
        took = time.monotonic() - began
        yield plan
        pause(max(interval_s, took * (1 / _SHARE_OF_LOOKS - 1)))


def _look(watched: Watched, files: Changes[Found], entries: Changes[PassedOver]) -> Plan:
    found = watched.search()
    signatures = {}
    for job in found.jobs:
        if watched.takes(job.found.place) and (signature := _signature(job.found.path_text)) is not None:
            signatures[job.found] = signature
    passed_over = entries.at_rest({entry: () for entry in found.passed_over if watched.takes(str(entry.path))})
    ready = set(files.at_rest(signatures))
    jobs: list[Job] = []
    to_skip: list[Job] = []
    refused: list[Refused] = []
    if ready:
        jobs, to_skip, refused = watched.jobs_of(found.jobs, [job for job in found.jobs if job.found in ready])
    return Plan(tuple(jobs), tuple(to_skip), tuple(passed_over), True, found.left_out, refused=tuple(refused))


def _signature(path: str) -> Hashable | None:
    """What changes when a file is written, replaced, or given other permissions; None if it is not there any more."""
    try:
        status = os.stat(path)  # noqa: PTH116 (called for every file of a tree)
    except FileNotFoundError:
        return None
    except OSError as error:  # The file fails once, by name, when it is read.
        return error.errno
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
