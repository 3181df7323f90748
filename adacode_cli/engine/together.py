"""What several threads ask for while one of them has the turn is begun together: how small pictures become batches.

A small picture keeps a GPU busy for less time than it takes to queue its work. Nobody waits for companions: whoever
gets the turn takes along what others asked for in the meantime, so batches form exactly when the device is the limit.
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
"""Waits for what was begun; an answer to each question, in their order."""


class _Begun(Generic[A]):
    """A batch under way; its answers are waited for once, by whichever thread comes first."""

    def __init__(self, wait: Wait[A]) -> None:
        self._wait, self._lock = wait, Lock()
        self._answers: Sequence[A] | None = None

    def answer(self, index: int) -> A:
        with self._lock:
            if self._answers is None:
                self._answers = self._wait()
            return self._answers[index]


class _Request(Generic[Q, A]):
    def __init__(self, question: Q) -> None:
        self.question = question
        self.begun: _Begun[A] | None = None
        self.index = 0
        self.error: BaseException | None = None

    @property
    def is_settled(self) -> bool:
        return self.begun is not None or self.error is not None


class Together(Generic[K, Q, A]):
    """Answers questions of one kind in batches.

    turn: held while a batch is begun, and not while it is waited for. begin: (kind, questions) → what waits for their
    answers; it is called with one question after the other where it raised for all of them.
    """

    def __init__(self, turn: AbstractContextManager[Any], begin: Callable[[K, Sequence[Q]], Wait[A]]) -> None:
        self._turn, self._begin = turn, begin
        self._lock = Lock()
        self._waiting: dict[K, deque[_Request[Q, A]]] = defaultdict(deque)

    def ask(self, kind: K, question: Q, most: int) -> A:
        """The answer, begun with at most `most` - 1 other questions of the same kind. Raises what `begin` raises."""
        request = _Request[Q, A](question)
        with self._lock:
            self._waiting[kind].append(request)
        with self._turn:
            while not request.is_settled:  # the oldest come first, so ours may be in a later batch
                self._begin_next(kind, most)
        if request.error is not None:
            raise request.error
        assert request.begun is not None, "settled without an error"
        return request.begun.answer(request.index)

    def _begin_next(self, kind: K, most: int) -> None:
        with self._lock:
            waiting = self._waiting[kind]
            batch = [waiting.popleft() for _ in range(min(most, len(waiting)))]
            if not waiting:
                del self._waiting[kind]
        try:
            self._settle(kind, batch)
        except Exception as error:  # noqa: BLE001  each thread gets its own
            if len(batch) == 1:
                batch[0].error = error
            else:
                self._one_by_one(kind, batch)
        except BaseException as error:  # an interruption: nobody is left waiting for a batch that never comes
            for request in batch:
                request.error = error
            raise

    def _settle(self, kind: K, batch: Sequence[_Request[Q, A]]) -> None:
        begun = _Begun(self._begin(kind, [request.question for request in batch]))
        for index, request in enumerate(batch):
            request.index, request.begun = index, begun

    def _one_by_one(self, kind: K, batch: Sequence[_Request[Q, A]]) -> None:
        for request in batch:
            try:
                self._settle(kind, [request])
            except Exception as error:  # noqa: BLE001
                request.error = error
