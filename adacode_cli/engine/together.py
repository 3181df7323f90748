"""Makes batches of small images: requests of several threads that wait for the turn are begun together.

A small image keeps a GPU busy for less time than it takes to queue its work. No thread waits for others: the thread
that gets the turn also takes what others have requested in the meantime, so batches form exactly when the device is the
limit.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")
Wait = Callable[[], Sequence[A]]
"""Waits for the batch that was begun; returns an answer to each question, in their order."""


class _Begun(Generic[A]):
    """A batch under way; its answers are waited for once, by whichever thread comes first."""

    def __init__(self, wait: Wait[A]) -> None:
        self._wait: Wait[A] | None = wait
        self._lock = Lock()
        self._answers: Sequence[A] | None = None
        self._error: Exception | None = None

    def answer(self, index: int) -> A:
        """The answer to one of the batch's questions. Raises what waiting raised, and RuntimeError to all others."""
        with self._lock:
            if self._wait is not None:
                # Never a second time: after an error only a part has arrived, and the rest would count as complete.
                wait, self._wait = self._wait, None
                try:
                    self._answers = wait()
                except Exception as error:
                    self._error = error.with_traceback(None)
                    raise
            if self._answers is None:
                raise RuntimeError("the batch that contained this image was given up") from self._error
            return self._answers[index]


class _Question(Generic[Q, A]):
    def __init__(self, question: Q) -> None:
        self.question = question
        self.begun: _Begun[A] | None = None
        self.index = 0
        self.error: Exception | None = None

    @property
    def is_settled(self) -> bool:
        return self.begun is not None or self.error is not None


class Together(Generic[K, Q, A]):
    """Answers questions of one kind in batches.

    turn: held while a batch is begun, and not while it is waited for. begin: (kind, questions) → what waits for their
    answers; where it raises for several questions it is called for each of them alone.
    """

    def __init__(self, turn: AbstractContextManager[Any], begin: Callable[[K, Sequence[Q]], Wait[A]]) -> None:
        self._turn, self._begin = turn, begin
        self._lock = Lock()
        self._waiting: dict[K, deque[_Question[Q, A]]] = defaultdict(deque)

    def ask(self, kind: K, question: Q, most: int) -> A:
        """The answer, begun with at most `most` - 1 other questions of the same kind. Raises what `begin` raises."""
        asked = _Question[Q, A](question)
        with self._lock:
            self._waiting[kind].append(asked)
        try:
            with self._turn:
                while not asked.is_settled:  # the oldest questions come first, so this one may be in a later batch
                    self._begin_next(kind, most)
        finally:
            self._withdraw(kind, asked)
        error, asked.error = asked.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # the error refers to this frame: the cycle would keep all objects of the frame alive
        assert asked.begun is not None, "settled without an error"
        return asked.begun.answer(asked.index)

    def _withdraw(self, kind: K, asked: _Question[Q, A]) -> None:
        """Removes a question that was not begun, for example after an interruption."""
        with self._lock:
            waiting = self._waiting.get(kind)
            if waiting is not None and asked in waiting:
                waiting.remove(asked)
            if not waiting:
                self._waiting.pop(kind, None)

    def _begin_next(self, kind: K, most: int) -> None:
        batch: list[_Question[Q, A]] = []
        try:
            with self._lock:
                waiting = self._waiting[kind]
                batch += [waiting.popleft() for _ in range(min(most, len(waiting)))]
            assert batch, "who asks is waiting, or settled"
            if not self._settled(kind, batch):
                for asked in batch:
                    self._settled(kind, [asked])
        finally:
            for asked in batch:
                if not asked.is_settled:  # after an interruption no thread may wait forever for this batch
                    asked.error = RuntimeError("the batch that contained this image was interrupted")

    def _settled(self, kind: K, batch: Sequence[_Question[Q, A]]) -> bool:
        """False where `begin` raised for several; its error, and what that holds, is gone then."""
        try:
            begun = _Begun(self._begin(kind, [asked.question for asked in batch]))
        except Exception as error:  # noqa: BLE001  each thread gets its own
            if len(batch) > 1:
                return False
            batch[0].error = error
            return True
        for index, asked in enumerate(batch):
            asked.index, asked.begun = index, begun
        return True
