"""Base models: weights of other authors or other runs that training starts from, how files name them, and which notice
they need.

A base model is named as "NAME (LICENCE, SOURCE)"; several are joined by " and ". Licences are SPDX expressions where
their authors have written them so. The conditions of a base model's authors (their licence, their notice) hold for all
weights that are made from it, so a file of weights contains both.
"""

from __future__ import annotations

import re

# SPDX has no identifier for a licence that is not stated, but allows LicenseRef- identifiers for such cases.
NOT_STATED = "LicenseRef-not-stated"
# A part of the source's name → the file that holds its authors' notice, beside the bundled weights.
NOTICES = {"Real-ESRGAN": "LICENSE.Real-ESRGAN"}

_AND, _NEXT = " and ", "; "
_NO_PARENTHESES = str.maketrans("()", "[]")
_MAX_SOURCE = 200
# Where one base model ends and the next begins: not within its parentheses.
_BETWEEN = re.compile(r" and (?![^()]*\))")
_ID = r"(?:[A-Za-z0-9.+]+(?:-[A-Za-z0-9.+]+)+|MIT|ISC|Zlib|Unlicense)"
_SPDX = re.compile(rf"\((\(*{_ID}\)*(?: (?:AND|OR|WITH) \(*{_ID}\)*)*), .+\)")


def described(name: str, licence: str, source: str) -> str:
    """One base model as text; parts that are "" are left out."""
    more = ", ".join(word for word in (licence, source) if word)
    return f"{name} ({more})" if more else name


def licence_in(base_model: str) -> str:
    """The licences in a text of `described`, as an SPDX expression; "" if it has none.

    If only some of several base models have a licence, the others count as `NOT_STATED`.
    """
    stated = [_SPDX.search(name) for name in _BETWEEN.split(base_model)]
    return joined_licences(*(found[1] if found else NOT_STATED for found in stated)) if any(stated) else ""


def joined_models(*base_models: str) -> str:
    """All base models that the texts name, each once; "" where they name none."""
    names = [name for text in base_models for name in _BETWEEN.split(text) if name]
    return _AND.join(dict.fromkeys(names))


def ancestor_name(stem: str, family: str) -> str:
    """How a file of weights of another run is named as a base model: by its family, and by the file's name.

    stem: the name without suffix. "compact-sr-x4" of the family "compact" stays; "sr-x4" becomes "compact sr-x4".
    """
    # Of the files of stage I, which are of one category each, there are several.
    stem = _plain("basis" if stem.startswith("basis-") else stem)
    return stem if not family or stem.startswith(family) else f"{_plain(family)} {stem}"


def ancestor(stem: str, family: str, licence: str, source: str) -> str:
    """Weights of another run as one base model, see `ancestor_name`."""
    return described(ancestor_name(stem, family), _plain(licence) or "licence not stated", _plain(source)[:_MAX_SOURCE])


def _plain(text: str) -> str:
    """Without what separates base models from one another in a text."""
    return text.translate(_NO_PARENTHESES).replace(_AND, " & ")


def joined_texts(*texts: str) -> str:
    """Texts on training data, each once, joined by "; ". One that others joined already to a longer one is left out."""
    wanted = list(dict.fromkeys(text for text in texts if text))
    return _NEXT.join(
        text
        for text in wanted
        if not any(text != other and _NEXT + text + _NEXT in _NEXT + other + _NEXT for other in wanted)
    )


def joined_licences(*licences: str) -> str:
    """An SPDX expression that joins these with AND, each once; those that are "" are left out."""
    stated = list(dict.fromkeys(licence for licence in licences if licence))
    parts: list[str] = []
    for licence in stated:
        # AND binds more tightly than OR.
        parts += [f"({licence})"] if " OR " in licence and len(stated) > 1 else licence.split(" AND ")
    return " AND ".join(dict.fromkeys(parts))


def stated_licence(base_model: str, base_licence: str) -> str:
    """The licence of a base model in an SPDX expression, also if it is not stated; "" where there is none."""
    return base_licence or NOT_STATED if base_model else ""


def whole_licence(own: str, base_model: str, base_licence: str) -> str:
    """The licence of weights and of their base model together; "" where there is no base model and none is stated."""
    return joined_licences(own or NOT_STATED, stated_licence(base_model, base_licence)) if base_model else own


def notice_of(base_model: str) -> str | None:
    """Name of the file with the notice of the base model's authors; None where this program does not have it."""
    return next((file for source, file in NOTICES.items() if source in base_model), None)
