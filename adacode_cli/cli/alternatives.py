"""Options that exclude or need one another, and come from different places: those from the stronger place count.

Without this, a file of settings that asks for one kind of size would forbid every other kind on the command line.
Options from the same place are not touched: if they contradict one another, the command refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TYPED = 3
"""The strength of what the command line gives: its index in `boundary.SOURCES`."""


@dataclass(frozen=True)
class Choice:
    """Options of which at most one can be used, by their names in files.

    needs: further options, each with those of the `options` with which alone it has an effect.
    """

    options: frozenset[str]
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)


_SIZES = frozenset({"width", "height", "long-edge", "short-edge", "megapixels"})
CHOICES = (
    Choice(_SIZES | {"scale"}, {"shrink": _SIZES, "skip-larger": _SIZES}),
    Choice(frozenset({"shrink", "skip-larger"})),
    Choice(
        frozenset({"mask", "mask-dir", "mask-alpha", "mask-color", "detect"}),
        {"mask-tolerance": frozenset({"mask-color"}), "save-mask": frozenset({"detect"})},
    ),
    Choice(frozenset({"save-codes", "from-codes"}), {"code-levels": frozenset({"save-codes"})}),
    Choice(frozenset({"overwrite", "skip-existing"})),
    Choice(frozenset({"verify", "skip-existing"})),
    Choice(frozenset({"quiet", "verbose"})),
)


def overruled(given: Mapping[str, int], *, is_run: bool) -> set[str]:
    """The options that do not count, because a stronger one excludes them or leaves them without effect.

    given: the options that are set, each with the strength of its place. is_run: nothing else will be given, so options
    that were not typed, and lack what they need, do not count either.
    """
    names: set[str] = set()
    for choice in CHOICES:
        set_ones = given.keys() & choice.options
        most = max((given[name] for name in set_ones), default=TYPED if is_run else 0)
        used = {name for name in set_ones if given[name] == most}
        names |= set_ones - used
        for name, needed in choice.needs.items():
            if name in given and given[name] < most and not needed & used:
                names.add(name)
    return names
