"""A lease: one run at a time writes to an output tree in a store, where there are no locks.

A lease is a small object in `.adacode/leases`, which its owner writes again every few seconds. Another run that finds
it waits for a new sign of life: if there is one, it is refused; if there is none, it takes over by creating the object
of the next number. Of two runs that do so at once, the store lets one create it. Runs of different parts (`--shard`)
have leases of their own, which do not exclude one another.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adacode_cli.batch.permit import allow_until, check_permit, clock
from adacode_cli.batch.state_files import STATE, object_of
from adacode_cli.batch.tickets import Ticket, check_tickets
from adacode_cli.errors import JournalError, OutputError
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import RemotePath

BEAT_S = 8.0
EXPIRES_S = 30.0
"""A lease without a sign of life for this long is taken over; its owner stops before that."""
_POLL_S = 1.0
_FOLDER = "leases"
_WHOLE = "whole"
_MAX_LEASES = 10_000
_MEDIA_TYPE = "application/json"

Waiting = Callable[[str], None]
"""(what is waited for) → None; called once before a wait that takes seconds."""


_taken: list[Lease] = []
"""The leases that this process holds."""


@dataclass(eq=False)
class Lease:
    """The right of this process to write to the tree `root`; shard: to one part of it (I, N).

    unanswered: the last error of a sign of life, to be set by the caller of `beat`.
    """

    root: RemotePath
    shard: tuple[int, int] | None = None
    waiting: Waiting = lambda _what: None
    unanswered: OutputError | None = None
    _path: RemotePath | None = None
    _beats: int = 0
    _last_beat: float = 0.0
    _content: dict[str, Any] = field(default_factory=dict)
    _lost: JournalError | None = None

    def take(self) -> None:
        """Takes the lease. Raises OutputError while another run holds it, and if the store refuses."""
        there = self._conflicting()
        if (living := self._living(there)) is not None:
            raise _held(living)
        own = [_number_of(path.name) for path in self._all() if _label_of(path.name) == self._label]
        path = self._folder / f"{self._label}.{max(own, default=0) + 1:06d}.json"
        self._content = {"id": secrets.token_hex(8), "since": datetime.now(UTC).isoformat("T", "seconds"), **_process()}
        began = clock()
        if not objects.creates(path, self._next()) or not self._is_own(path):
            raise _held(path)
        self._path, self._last_beat = path, began
        if others := [other for other in self._conflicting() if other not in there]:
            self.release()
            raise _held(others[0])
        _taken.append(self)
        _tell_workers()
        for dead in there:
            objects.remove(dead)

    def beat(self) -> None:
        """Gives a sign of life, if one is due.

        Raises JournalError if another run has taken over, and OutputError if the store does not answer.
        """
        if self._path is None or clock() - self._last_beat < BEAT_S:
            return
        self.check()
        others = self._conflicting()
        if others or not self._has_own_content(self._path):
            allow_until(-math.inf)  # Workers stop before the name of the other run is read.
            self._lost = _taken_over(others[0] if others else self._path)
            raise self._lost
        began = clock()
        objects.write(self._path, self._next(), media_type=_MEDIA_TYPE)
        self.check()  # The machine may have slept meanwhile.
        self._last_beat = began
        _tell_workers()

    def check(self) -> None:
        """Raises JournalError if another run has taken over, or may, because the last sign of life is too old."""
        is_late = self._path is not None and clock() > self.ends_at
        if is_late and self._lost is None:
            hint = "Check the connection, and run the same command again: it continues where this run stopped."
            what = "the store did not answer for too long, or this machine slept, so the run was stopped"
            self._lost = JournalError(what, path=self.root, hint=hint)
        if self._lost is not None:
            raise self._lost from self.unanswered

    @property
    def ends_at(self) -> float:
        """When this process must not write any more, unless it gives a sign of life before; `permit.clock`."""
        return -math.inf if self.is_lost else self._last_beat + EXPIRES_S - BEAT_S / 2

    @property
    def ticket(self) -> Ticket | None:
        """For workers; None if this process does not hold the lease."""
        return None if self._path is None else Ticket(self._path, self._content["id"])

    @property
    def is_lost(self) -> bool:
        """Whether this process must not write any more; it never gets the same lease back."""
        return self._lost is not None

    def release(self) -> None:
        """Gives the lease up; a store that does not answer is no error, because the lease expires."""
        path, self._path = self._path, None
        if self in _taken:
            _taken.remove(self)
            if not self.is_lost:  # Workers that are still there must not write after the end either.
                _tell_workers()
        if path is not None:
            with suppress(OutputError):
                if self._has_own_content(path):
                    objects.remove(path)

    @property
    def _folder(self) -> RemotePath:
        return self.root / STATE / _FOLDER

    @property
    def _label(self) -> str:
        return f"{self.shard[0]}-of-{self.shard[1]}" if self.shard else _WHOLE

    def _next(self) -> bytes:
        self._beats += 1
        return json.dumps(self._content | {"beats": self._beats}, indent=1).encode("ascii") + b"\n"

    def _all(self) -> Iterator[RemotePath]:
        for number, (place, _) in enumerate(listing.entries(self._folder, OutputError)):
            if number < _MAX_LEASES and "/" not in place and _number_of(place):
                yield self._folder / place

    def _conflicting(self) -> list[RemotePath]:
        """The leases of others that this one must not be beside."""
        return [path for path in self._all() if path != self._path and self._excludes(_label_of(path.name))]

    def _excludes(self, label: str) -> bool:
        """Whether two parts can have files in common: all can, except different ones of the same number of parts."""
        if self.shard is None or label == self._label:
            return True
        part, _, parts = label.partition("-of-")
        return parts != str(self.shard[1]) or not part.isdigit()

    def _is_own(self, path: RemotePath) -> bool:
        """Whether this process has created an object, also in a store that lets two create it."""
        return path.kind.creates_once or self._has_own_content(path)

    def _has_own_content(self, path: RemotePath) -> bool:
        return bool(_read(path).get("id") == self._content["id"])

    def _living(self, paths: list[RemotePath]) -> RemotePath | None:
        """A lease whose owner gives a sign of life; to find out may take as long as a lease lasts."""
        unknown = {path: _read(path) for path in paths}
        for path, content in list(unknown.items()):
            is_running = _is_running(content)
            if is_running:
                return path
            if is_running is False:
                del unknown[path]
        if unknown:
            owner = _owner(next(iter(unknown.values())))
            self.waiting(f"waiting for a sign of life of the run that {owner} began")
        until = clock() + EXPIRES_S
        while unknown and clock() < until:
            time.sleep(_POLL_S)
            for path, content in list(unknown.items()):
                now = _read(path)
                if not now:
                    del unknown[path]
                elif now != content:
                    return path
        return None


def check_leases() -> None:
    """Raises JournalError if this process has a lease, or works for a run that has, and must not write any more."""
    for lease in tuple(_taken):
        lease.check()
    check_permit()
    check_tickets()


def tickets() -> tuple[Ticket, ...]:
    """Of the leases that this process holds, for workers of its run on other machines."""
    return tuple(ticket for lease in tuple(_taken) if (ticket := lease.ticket) is not None)


def _tell_workers() -> None:
    allow_until(min((lease.ends_at for lease in tuple(_taken)), default=math.inf))


def _label_of(name: str) -> str:
    return name.partition(".")[0]


def _number_of(name: str) -> int:
    """The number of a lease by its name; 0 for another file."""
    label, _, rest = name.partition(".")
    digits = rest.removesuffix(".json")
    return int(digits) if label and rest.endswith(".json") and digits.isdecimal() and digits.isascii() else 0


def _read(path: RemotePath) -> dict[str, Any]:
    try:
        return object_of(objects.read(path, kind=OutputError)) or {"unreadable": True}
    except OutputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise


def _process() -> dict[str, Any]:
    """What tells this process from all others, as far as the system says it."""
    return {"pid": os.getpid(), "host": socket.gethostname(), **_place(), "start": _start(os.getpid())}


def _place() -> dict[str, str]:
    """The start of this system, and the space in which its processes have their numbers (of a container)."""
    place = {"boot": "", "space": ""}
    with suppress(OSError):
        place["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        place["space"] = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (no path)
    return place


def _start(pid: int) -> str:
    """When a process began, in ticks since the start of the system; "" if it does not run, or nothing tells."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return ""


def _is_running(content: dict[str, Any]) -> bool | None:
    """Whether the owner of a lease runs on this machine; None if it is elsewhere, or nothing tells."""
    place = _place()
    if not place["boot"] or content.get("host") != socket.gethostname():
        return None
    if any(content.get(name) != value for name, value in place.items()):
        return None
    pid = content.get("pid")
    return type(pid) is int and bool(start := _start(pid)) and content.get("start") == start


def _owner(content: dict[str, Any]) -> str:
    pid, host = content.get("pid"), content.get("host")
    known = type(pid) is int and isinstance(host, str)
    return f"process {pid} on {host[:255]}" if known and isinstance(host, str) else "another process"


def _held(path: RemotePath) -> OutputError:
    content: dict[str, Any] = {}
    with suppress(OutputError):
        content = _read(path)
    hint = (
        "Wait until that run ends, or end it. If it was killed, run the same command again after "
        f"{EXPIRES_S:g} seconds: it takes over. Parts of one tree can be restored at once with --shard."
    )
    return OutputError(f"another run writes there now: {_owner(content)}", path=path.parents[2], hint=hint)


def _taken_over(path: RemotePath) -> JournalError:
    content: dict[str, Any] = {}
    with suppress(OutputError):
        content = _read(path)
    hint = "Finished files are kept. Let the other run end, or end it and run the same command again."
    return JournalError(f"another run has taken over: {_owner(content)}", path=path.parents[2], hint=hint)
