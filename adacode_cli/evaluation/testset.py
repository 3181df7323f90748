"""A test set is a folder: `hr` holds the originals, `lr_x4` or `lr_x2` degraded small copies, `mask` holes (white).

Files belong together if they have the same stem, in any format; that of a copy may go on (`0001x4.png`). Every original
must have a counterpart, because means over different selections of images are not comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adacode_cli import formats
from adacode_cli.errors import InputError, UsageError
from adacode_cli.evaluation.pairs import counterparts
from adacode_cli.tasks import TASKS

_ORIGINALS, _MASKS = "hr", "mask"


@dataclass(frozen=True)
class Example:
    """original: the target. input: the image that is restored. mask: of its holes, for tasks that fill them."""

    name: str
    original: Path
    input: Path
    mask: Path | None = None


def load_testset(folder: Path, task: str, scale: int = 1) -> tuple[Example, ...]:
    """The examples of a folder, by name. Raises InputError for missing or ambiguous files, UsageError for the scale."""
    originals, asked = _by_stem(folder / _ORIGINALS), TASKS[task]
    if scale not in asked.scales:
        known = " or ".join(str(one) for one in sorted(asked.scales))
        raise UsageError(f"scale {scale} is not {known}", hint="Test images exist for these scales only.")
    place = asked.test_inputs.format(scale=scale)
    inputs = originals if place == _ORIGINALS else _counterparts(originals, folder / place)
    masks = _counterparts(originals, folder / _MASKS) if asked.fills_hole else {}
    return tuple(Example(name, path, inputs[name], masks.get(name)) for name, path in originals.items())


def _counterparts(originals: dict[str, Path], folder: Path) -> dict[str, Path]:
    return counterparts(originals, _by_stem(folder), folder)


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        hint = f"A test set has {_ORIGINALS}/, and lr_x4/, lr_x2/ or mask/ beside it."
        raise InputError("there is no such directory", path=folder, hint=hint)
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if formats.of_any_suffix(p.suffix)):
        if path.stem in found:
            raise InputError(f"has the same name as {found[path.stem].name}", path=path, hint="Keep one of them.")
        found[path.stem] = path
    if not found:
        raise InputError("holds no images", path=folder, hint=formats.readable())
    return found
