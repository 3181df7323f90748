"""By which leases a process on another machine may write to stores, for the run whose worker it is.

The driver holds the leases (`batch.lease`). A worker looks at them in the store just before it writes an output, so a
machine that was cut off for a while does not write into the tree of a later run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from adacode_cli.batch.state_files import object_of
from adacode_cli.errors import JournalError, OutputError
from adacode_cli.storage import objects
from adacode_cli.storage.path import RemotePath


@dataclass(frozen=True)
class Ticket:
    """A lease, for workers: its object, and its identity."""

    path: RemotePath
    identity: str

    def check(self) -> None:
        """Raises JournalError if the run does not hold the lease any more, and OutputError if the store is silent."""
        try:
            content = object_of(objects.read(self.path, kind=OutputError)) or {}
        except OutputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            content = {}
        if content.get("id") != self.identity:
            what = "the run of this worker has lost its lease, or has ended"
            hint = "Finished files are kept. Run the same command again: it continues where the run stopped."
            raise JournalError(what, path=self.path.parents[2], hint=hint)


_shown: list[Ticket] = []


def work_for(tickets: Iterable[Ticket]) -> None:
    """From now on, this process writes to stores only while these leases are there."""
    _shown[:] = tickets


def check_tickets() -> None:
    """Raises JournalError if the run of this process does not hold one of its leases any more."""
    for ticket in _shown:
        ticket.check()
