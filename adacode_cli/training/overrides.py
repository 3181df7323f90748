"""Settings as text: `loss.pixel=0.5` on a command line, and recipes read from JSON. The dataclasses define names and
types.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from adacode_cli.errors import UsageError
from adacode_cli.training.recipe import STAGES, Recipe, StageRecipe

_HINT = (
    "Names are those in recipe.json, such as restore.loss.perceptual=0.2; a name without a stage sets it in all three."
)


def overridden(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """`recipe` with every NAME=VALUE of `settings`; a name without a stage counts for all three.

    All changes are made together, so that both ends of a range can be changed in any order; of two for one name the
    last one counts. Raises UsageError for an unknown name, and for an invalid value.
    """
    changes: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r} is not NAME=VALUE", hint=_HINT)
        path = name.strip().split(".")
        everywhere = path[0] in _names(StageRecipe) and path[0] not in _names(Recipe)
        for full in [[stage, *path] for stage in STAGES] if everywhere else [path]:
            _note(changes, recipe, full, value.strip(), text)
    changed: Recipe = _changed(recipe, changes)
    return changed


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """The inverse of `Recipe.to_dict`. Raises UsageError."""
    recipe: Recipe = _value(Recipe, dict(values), "recipe")
    return recipe


def read_recipe(path: Path) -> Recipe:
    """A recipe.json. Raises UsageError, naming the file."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as a recipe: {error}", hint="Give a recipe.json of a run.") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a recipe", hint="Give a recipe.json of a run.")
    try:
        return recipe_from(values)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from error


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`name: old → new` for every value in which two recipes' dictionaries differ."""
    found: list[str] = []
    for key in sorted({*a, *b}):
        x, y = a.get(key), b.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            found += differences(x, y, f"{prefix}{key}.")
        elif x != y:
            found.append(f"{prefix}{key}: {json.dumps(x)} → {json.dumps(y)}")
    return found


def _names(kind: type[Any]) -> set[str]:
    return {f.name for f in fields(kind)}


@dataclass(frozen=True)
class _Change:
    """The new value of a leaf, and the text of the setting."""

    value: Any
    text: str


def _note(changes: dict[str, Any], owner: Any, path: list[str], value: str, text: str) -> None:  # noqa: ANN401
    """Adds one change to a tree of them that is shaped as the dataclass `owner` is."""
    if not is_dataclass(owner) or isinstance(owner, type) or path[0] not in _names(type(owner)):
        raise UsageError(f"--set {text!r}: there is no setting {path[0]!r}", hint=_HINT)
    name, old = path[0], getattr(owner, path[0])
    if len(path) > 1:
        return _note(changes.setdefault(name, {}), old, path[1:], value, text)
    kind = get_type_hints(type(owner))[name]
    if is_dataclass(kind):
        raise UsageError(f"--set {text!r}: {name} is a group of settings", hint=_HINT)
    changes[name] = _Change(_value(kind, _parsed(kind, value), f"--set {text}"), text)
    return None


def _changed(owner: Any, changes: dict[str, Any]) -> Any:  # noqa: ANN401 - any dataclass of the tree
    inner = {k: c.value if isinstance(c, _Change) else _changed(getattr(owner, k), c) for k, c in changes.items()}
    try:
        return replace(owner, **inner)
    except UsageError as error:
        asked = " ".join(f"--set {text}" for text in _texts(changes))
        raise UsageError(f"{asked}: {error.message}", hint=error.hint) from error


def _texts(changes: dict[str, Any]) -> Iterator[str]:
    for change in changes.values():
        yield from [change.text] if isinstance(change, _Change) else _texts(change)


def _parsed(kind: Any, text: str) -> Any:  # noqa: ANN401 - JSON
    if kind is str and not text.startswith('"'):
        return text  # 2024 may be the name of a file
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return [_parsed(None, part.strip()) for part in text.split(",")] if get_origin(kind) is tuple else text


def _value(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - a type and JSON
    """JSON → an instance of the annotation `kind`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return _record(kind, value, where)
    if origin is tuple:
        return _row(arguments, value, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(k for k in arguments if k is not type(None)), value, where)
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if (origin is Literal and value in arguments) or (kind in (int, bool, str) and type(value) is kind):
        return value
    expected = " or ".join(map(str, arguments)) if origin is Literal else getattr(kind, "__name__", str(kind))
    raise UsageError(f"{where}: {json.dumps(value)} is not {expected}", hint=_HINT)


def _record(kind: type[Any], values: dict[str, Any], where: str) -> Any:  # noqa: ANN401 - any dataclass of the tree
    unknown = values.keys() - _names(kind)
    if unknown:
        raise UsageError(f"{where}: there is no setting {min(unknown)!r}", hint=_HINT)
    hints = get_type_hints(kind)
    try:
        return kind(**{key: _value(hints[key], item, f"{where}.{key}") for key, item in values.items()})
    except TypeError as error:
        raise UsageError(f"{where}: {error}", hint=_HINT) from error


def _row(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:  # noqa: ANN401 - JSON
    items = value if isinstance(value, list) else [value]
    kinds = kinds[:1] * len(items) if kinds[1:] == (...,) else kinds
    if len(kinds) != len(items):
        raise UsageError(f"{where}: {len(kinds)} values are needed", hint=_HINT)
    return tuple(_value(k, item, where) for k, item in zip(kinds, items, strict=True))
