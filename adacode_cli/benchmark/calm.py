"""Whether other programs disturbed a measurement: the load before it, and how long its threads waited for a core."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

_THREADS = Path("/proc/self/task")
MOST_WAITED, MOST_SPREAD = 0.1, 0.15
"""The largest shares with which figures are final: of waiting, and of the difference between ratios of one kind."""


@dataclass(frozen=True)
class Load:
    """at_start: the system's mean number of programs that wanted the processor in the minute before, or None.
    cores: of the machine; threads: of the network on a CPU. waited_share: the part of their time, from 0 to 1, in which
    threads of this process waited for a processor that others used; None where the system does not report it.
    """

    at_start: float | None
    cores: int
    threads: int
    waited_share: float | None

    def is_disturbing(self) -> bool:
        """Whether others took processor time that the measurement needed."""
        if self.waited_share is not None:
            return self.waited_share > MOST_WAITED
        return self.at_start is not None and self.at_start + self.threads > self.cores + 0.5


class Watch:
    """Observes the processor from the moment it is made."""

    def __init__(self) -> None:
        ask = getattr(os, "getloadavg", None)  # Windows has none
        try:
            self._at_start: float | None = ask()[0] if ask else None
        except OSError:
            self._at_start = None
        self._before = _scheduled()

    def load(self) -> Load:
        """What was observed until now."""
        before, now = self._before, _scheduled()
        ran = sum(times[0] - before.get(thread, (0, 0))[0] for thread, times in now.items())
        waited = sum(times[1] - before.get(thread, (0, 0))[1] for thread, times in now.items())
        share = waited / (ran + waited) if ran + waited > 0 else None
        return Load(self._at_start, os.cpu_count() or 1, torch.get_num_threads(), share)


def _scheduled() -> dict[str, tuple[int, int]]:
    """For each thread of this process, the nanoseconds in which it ran, and waited to run. Empty if unknown."""
    found: dict[str, tuple[int, int]] = {}
    try:
        threads = list(_THREADS.iterdir())
    except OSError:
        return found
    for thread in threads:
        try:
            ran, waited, _ = map(int, (thread / "schedstat").read_text(encoding="ascii").split())
        except (OSError, ValueError):  # it has ended, or the system does not count
            continue
        found[thread.name] = (ran, waited)
    return found
