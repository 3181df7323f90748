"""Pairs images of the working directory with masks, for tests."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from adacode_cli.batch.discover import discover
from adacode_cli.batch.found import Found, Selection
from adacode_cli.batch.mask_pairs import MaskFolder, MaskPairs
from adacode_cli.errors import InputError


def pairs_of(*inputs: str, masks: str = "masks", selection: Selection | None = None) -> MaskPairs:
    found = discover([Path(name) for name in inputs], selection or Selection(avoid=(Path(masks),)))
    return MaskFolder(Path(masks), Selection()).pair([entry for entry in found if isinstance(entry, Found)])


def paired(*inputs: str, masks: str = "masks", selection: Selection | None = None) -> dict[str, str | None]:
    """{image: its mask below the folder of masks, or None}."""
    pairs = pairs_of(*inputs, masks=masks, selection=selection)
    found = discover([Path(name) for name in inputs], selection or Selection(avoid=(Path(masks),)))
    told: dict[str, str | None] = {}
    for entry in found:
        if entry.path_text not in pairs.masks:
            mask = None
            with suppress(InputError):
                mask = pairs.for_image(entry.path).relative_to(masks).as_posix()
            told[entry.path_text] = mask
    return told


def refused(*inputs: str, masks: str = "masks") -> InputError:
    with pytest.raises(InputError) as caught:
        pairs_of(*inputs, masks=masks)
    assert caught.value.hint
    return caught.value
