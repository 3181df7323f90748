"""How strict licences are: which one of several is named first, and which one may not take the place of another.

Weights that are made from other weights, or from photographs under several licences, have all these licences. The
table orders the known ones; a licence that it does not have, or that is not stated, counts as stricter than all of
them. This is an aid for people who publish weights. It is no legal advice, and says nothing on whether two licences
can be combined.
"""

from __future__ import annotations

import re

from adacode_cli.checkpoints.base_models import NOT_STATED

STRICTNESS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("no conditions", ("CC0", "PUBLIC-DOMAIN", "PDDL", "UNLICENSE", "0BSD", "MIT-0")),
    ("authors are named", ("ZLIB", "MIT", "ISC", "BSD-2-CLAUSE", "BSD-3-CLAUSE", "APACHE", "ODC-BY", "CC-BY")),
    ("the same licence for what is made from it", ("MPL", "LGPL", "GPL", "AGPL", "ODBL", "CC-BY-SA")),
    ("no commercial use", ("CC-BY-NC", "CC-BY-NC-SA")),
    ("no changes", ("CC-BY-ND", "CC-BY-NC-ND")),
    ("nothing is allowed", ("ALL-RIGHTS-RESERVED",)),
)
"""From the least to the most strict: what a licence demands, and the SPDX identifiers, without versions, that do so."""
_RANKS = {name: (tier, i) for tier, (_, names) in enumerate(STRICTNESS) for i, name in enumerate(names)}
_UNKNOWN = (len(STRICTNESS), 0)
_MAX_DEPTH = 100
_RESERVED = "ALL-RIGHTS-RESERVED"
# The end of an identifier, as in CC-BY-4.0, GPL-3.0-or-later and MPL-2.0.
_VERSION = re.compile(r"(-V?\d+(\.\d+)*)?(-ONLY|-OR-LATER|\+)?$")


def strictest(licence: str) -> str:
    """The strictest licence of an SPDX expression, as it is written there; `NOT_STATED` for "".

    All licences that AND joins hold; of those that OR joins, the least strict can be chosen.
    """
    return max(_effective(licence), key=_rank)


def is_mix(licence: str) -> bool:
    """Whether more than one licence holds for something under this expression."""
    return len(set(_effective(licence))) > 1


def stricter_than(given: str, licence: str) -> str:
    """A licence of the expression `licence` that demands more than all of `given`, by the table; "" if there is none.

    Licences that the table does not have are not compared, except that none of them undoes "All rights reserved".
    """
    most = _rank(strictest(given))[0]
    reserved = _RANKS[_RESERVED][0]
    if most == _UNKNOWN[0] and any(_rank(name)[0] == reserved for name in _effective(licence)):
        # Its owner may state another licence, but then the photographs are prepared with that one.
        return next(name for name in _effective(licence) if _rank(name)[0] == reserved)
    known = [name for name in _effective(licence) if most < _rank(name)[0] < _UNKNOWN[0]]
    return max(known, key=_rank, default="")


def unknown_in(licence: str) -> list[str]:
    """The licences of an expression that the table does not have, `NOT_STATED` among them."""
    return [name for name in dict.fromkeys(_effective(licence)) if _rank(name) == _UNKNOWN]


def _effective(licence: str) -> list[str]:
    """All single licences that hold at the same time."""
    text = licence.strip()
    if text.count("(") > _MAX_DEPTH:  # the text of a file must not decide how deep this function calls itself
        return [text]
    alternatives = _parts(text, " OR ")
    if len(alternatives) > 1:
        return min((_effective(one) for one in alternatives), key=lambda names: max(map(_rank, names)))
    parts = _parts(text, " AND ")
    if len(parts) > 1:
        return [name for part in parts for name in _effective(part)]
    inner = text[1:-1]
    # Its first parenthesis ends at its end if no other one ends before.
    if text.startswith("(") and text.endswith(")") and _parts(inner, ")") == [inner]:
        return _effective(inner)
    return [text or NOT_STATED]


def _parts(text: str, word: str) -> list[str]:
    """`text` divided at each `word` that is outside of parentheses."""
    parts, depth, begin = [], 0, 0
    for i, char in enumerate(text):
        if depth == 0 and text.startswith(word, i):
            parts.append(text[begin:i])
            begin = i + len(word)
        depth += (char == "(") - (char == ")")
    return [*parts, text[begin:]]


def _rank(name: str) -> tuple[int, int]:
    text = "-".join(name.partition(" WITH ")[0].upper().replace("-", " ").split())
    if _RESERVED in text:  # after a name and a year, in most cases
        return _RANKS[_RESERVED]
    return _RANKS.get(text) or _RANKS.get(_VERSION.sub("", text), _UNKNOWN)
