"""What is reported of the pages of one file together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from adacode_cli.batch.enlarging import WithoutNetwork
from adacode_cli.batch.masks import PackedMask
from adacode_cli.batch.restoring import Restored
from adacode_cli.sizes import AS_LARGE_ALREADY, Fate


@dataclass
class PageReport:
    """The pages so far; at least one is added before anything is asked.

    first: what was reported of the first one. precisions: in which the network made them, each once. found: the masks
    of what a detector has found in them.
    """

    first: Restored = field(init=False)
    precisions: dict[str, None] = field(default_factory=dict)
    found: list[PackedMask] = field(default_factory=list)
    _fates: Counter[Fate] = field(default_factory=Counter)

    def add(self, restored: Restored, found: list[PackedMask]) -> None:
        """Adds what was reported of the next page, and its mask if there is one."""
        if not self._fates:
            self.first = restored
        self._fates[restored.fate if isinstance(restored, WithoutNetwork) else Fate.RESTORED] += 1
        if restored.precision:
            self.precisions[restored.precision] = None
        self.found += found

    @property
    def fate(self) -> Fate:
        """The fate of the file: of the pages that differ most from what they were."""
        return next(fate for fate in (Fate.RESTORED, Fate.SHRUNK, Fate.COPIED) if self._fates[fate])

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on pages whose fate is another one than that of the file."""
        others = {fate: count for fate, count in self._fates.items() if fate is not self.fate}
        total = self._fates.total()
        return tuple(f"{count} of {total} pages {fate}: {AS_LARGE_ALREADY}" for fate, count in others.items())
