"""An output tree in a store: its journal, announcements and lease, and the threads that keep them up to date."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from adacode_cli.batch.announced import Announcements
from adacode_cli.batch.gallery.in_store import GalleryInStore
from adacode_cli.batch.lease import Lease, Waiting
from adacode_cli.batch.remote_journal import RemoteJournal
from adacode_cli.errors import AdaCodeError, JournalError, OutputError
from adacode_cli.storage.path import RemotePath

_LOOK_S = 0.5
_END_WITHIN_S = 1.0


class RemoteTree:
    """The state of the output tree `root`. Opening it reads the announcements and the journal. Raises JournalError."""

    def __init__(self, root: RemotePath) -> None:
        self.root = root
        self.claims = Announcements(root)
        self.claim_names = self.claims.names()
        self.journal = RemoteJournal(root)
        self.journal.begin()
        self._lease: Lease | None = None
        self._is_over, self._has_ended = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    def hold(self, shard: tuple[int, int] | None, waiting: Waiting) -> None:
        """Takes the lease; from now on, threads keep it and write the journal. Raises OutputError and JournalError.

        What a run that ended since this one was planned has recorded and announced is read.
        """
        if self._lease is not None:
            return
        lease = Lease(self.root, shard, waiting)
        lease.take()
        self._lease = lease
        self.claims.check = self.journal.check = self.check
        self._threads = [
            threading.Thread(target=self._keep_journal, name="journal", daemon=True),
            threading.Thread(target=self._keep_lease, args=(lease,), name="lease", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.claim_names = self.claims.names()
        self.journal.read_again()

    def gallery(self) -> GalleryInStore:
        """The gallery of the tree."""
        return GalleryInStore(self.root, self.journal.copy_to)

    def check(self) -> None:
        """Raises JournalError if this run may not write here any more."""
        if self._lease is not None:
            self._lease.check()

    def flush(self) -> None:
        """Writes all lines of the journal. Raises JournalError."""
        self.journal.flush()

    def close(self) -> None:
        """Writes and removes what must be, and gives the lease up. Raises JournalError if lines are lost."""
        lease, threads = self._lease, self._threads
        if lease is None:
            self.journal.flush()
            return
        self._threads = []
        self._is_over.set()
        for thread in threads[:1]:
            thread.join(_END_WITHIN_S)
        try:
            self.journal.close()
            if not lease.is_lost:
                self.claims.close(self.journal.has_line)
        finally:
            self._has_ended.set()
            for thread in threads[1:]:  # A sign of life must not come after the end.
                thread.join(_END_WITHIN_S)
            self._lease = None
            lease.release()

    def _keep_lease(self, lease: Lease) -> None:
        while not self._has_ended.wait(_LOOK_S):
            try:
                lease.beat()
            except JournalError:
                return
            except OutputError as error:  # The store does not answer, which may be over before the lease is.
                lease.unanswered = error

    def _keep_journal(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            self.journal.flush_if_due()


def close_all(trees: Sequence[RemoteTree]) -> AdaCodeError | None:
    """Closes every tree, and returns the first error."""
    first: AdaCodeError | None = None
    for tree in trees:
        try:
            tree.close()
        except AdaCodeError as error:
            first = first or error
    return first
