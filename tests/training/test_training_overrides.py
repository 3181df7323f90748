"""Recipes as text: single values by name, files, and what changed between two."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adacode_cli.errors import UsageError
from adacode_cli.training.overrides import differences, overridden, read_recipe, recipe_from
from adacode_cli.training.presets import RECIPES
from adacode_cli.training.recipe import STAGES, Recipe

COMPACT, PUBLISHED = RECIPES["compact"], RECIPES["published"]
hints = lru_cache(get_type_hints)


def leaves(owner, prefix: str = "") -> dict[str, tuple[object, object]]:
    """Dotted name → (annotation, value) of everything in a tree of dataclasses."""
    found = {}
    for field in fields(owner):
        value, kind = getattr(owner, field.name), hints(type(owner))[field.name]
        inner = leaves(value, f"{prefix}{field.name}.") if is_dataclass(value) else None
        found |= {f"{prefix}{field.name}": (kind, value)} if inner is None else inner
    return found


LEAVES = leaves(PUBLISHED)
NUMBERS = sorted(name for name, (kind, _) in LEAVES.items() if kind in (int, float))


def leaf(recipe: Recipe, name: str) -> object:
    return leaves(recipe)[name][1]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("seed=7", "seed", 7),
        ("restore.loss.perceptual=0.2", "restore.loss.perceptual", 0.2),
        ("basis.minutes=30", "basis.minutes", 30.0),
        ("fuse.optimiser.rate=1e-3", "fuse.optimiser.rate", 1e-3),
        (" start_share = 0.25 ", "start_share", 0.25),
        ("network.codes=512,256", "network.codes", (512, 256)),
        ("network.codes=512, 256", "network.codes", (512, 256)),
        ("network.codes=[512,256]", "network.codes", (512, 256)),
        ("network.codes=512", "network.codes", (512,)),
        ("degradation.quality=20,80", "degradation.quality", (20, 80)),
        ("degradation.noise_kinds=1,0,0", "degradation.noise_kinds", (1.0, 0.0, 0.0)),
        ("degradation.resizes=area, nearest", "degradation.resizes", ("area", "nearest")),
        ("degradation.resizes=area", "degradation.resizes", ("area",)),
        ('degradation.resizes=["area"]', "degradation.resizes", ("area",)),
        ("degradation.kernels=here", "degradation.kernels", "here"),
        ("precision=bf16", "precision", "bf16"),
        ("network.skip=add", "network.skip", "add"),
        ("network.trunk.depth=24", "network.trunk.depth", 24),
        ("restore.candidates=8", "restore.candidates", 8),
        ("restore.learns=trunk", "restore.learns", "trunk"),
        ("restore.optimiser.trunk_share=0", "restore.optimiser.trunk_share", 0.0),
        ("degradation.heavy.noise=20", "degradation.heavy.noise", 20.0),
        ("degradation.heavy.between=1, 2", "degradation.heavy.between", (1.0, 2.0)),
        ("degradation.clean_share=0.25", "degradation.clean_share", 0.25),
        ("network.softmax=true", "network.softmax", True),
        ("network.encoder_swin.groups=3", "network.encoder_swin.groups", 3),
        ("perceptual=2024", "perceptual", "2024"),
        ("perceptual=a=b.safetensors", "perceptual", "a=b.safetensors"),
        ('perceptual=""', "perceptual", ""),
    ],
)
def test_one_value_by_its_name_and_nothing_else(text, name, value):
    changed = overridden(COMPACT, [text])
    assert (leaf(changed, name), type(leaf(changed, name))) == (value, type(value))
    before = leaves(COMPACT)
    assert {key for key, pair in leaves(changed).items() if pair != before[key]} <= {name}


def test_a_name_without_a_stage_counts_for_all_three():
    changed = overridden(COMPACT, ["loss.adversarial=0.3", "patch=64", "fuse.patch=192", "loss.adversarial=0.4"])
    assert [changed.stage(name).loss.adversarial for name in STAGES] == [0.4, 0.4, 0.4]
    assert [changed.stage(name).patch for name in STAGES] == [64, 192, 64]
    assert changed.degradation == COMPACT.degradation


def test_both_ends_of_a_range_move_together_in_any_order():
    """From 0 to 12 of noise to 20 to 30: one change alone would be impossible."""
    both = ["degradation.noise_least=20", "degradation.noise=30"]
    for order in (both, both[::-1]):
        changed = overridden(COMPACT, order).degradation
        assert (changed.noise_least, changed.noise) == (20, 30)


@settings(deadline=None)
@given(st.sampled_from(NUMBERS), st.one_of(st.integers(-(10**12), 10**12), st.floats(), st.just(10**400)))
def test_any_number_is_taken_as_it_is_or_refused_by_its_name(name, number):
    kind, refused = LEAVES[name][0], None
    try:
        changed = overridden(PUBLISHED, [f"{name}={json.dumps(number)}"])
    except UsageError as error:
        refused = str(error)
    if refused is not None:
        assert name in refused
        return
    assert leaf(changed, name) == number
    assert type(leaf(changed, name)) is kind
    assert recipe_from(json.loads(json.dumps(changed.to_dict(), allow_nan=False))) == changed


@pytest.mark.parametrize("name", LEAVES)
def test_every_value_that_a_recipe_holds_can_be_set_to_itself_and_not_to_a_wrong_type(name):
    kind, value = LEAVES[name]
    as_text = value if kind is str and value else json.dumps(value)
    assert overridden(PUBLISHED, [f"{name}={as_text}"]) == PUBLISHED
    if kind is not str:
        wrong = "3, what" if get_origin(kind) is tuple else '{"a": 1}'
        with pytest.raises(UsageError, match=re.escape(name)):
            overridden(PUBLISHED, [f"{name}={wrong}"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loss.pixle=1", "pixle"),
        ("lose=1", "lose"),
        ("=1", "''"),
        ("basis..steps=1", "''"),
        ("seed.low=1", "low"),
        ("seed", "NAME=VALUE"),
        ("loss=1", "loss is a group of settings"),
        ("network={}", "network is a group of settings"),
        ("steps=1.5", "steps=1.5: 1.5 is not int"),
        ("steps=true", "steps"),
        ("loss.pixel=much", "loss.pixel"),
        ("loss.pixel=null", "loss.pixel"),
        ("precision=fp16", "precision=fp16: .* is not bf16 or fp32"),
        ("optimiser.betas=0.9", "betas=0.9: 2 values are needed"),
        ("optimiser.betas=0.9,0.99,0.999", "betas"),
        ("network.codes=", "codes"),
        ("network.codes=512,,256", "codes"),
        ("network.codes=0", "codes"),
        ("network.grid=3", "grid"),
        ("network.num_skips=0", "num_skips"),
        ("holes.shares=[NaN,0,0,0,1]", "shares"),
        ("patch=100", "patch 100 is not a multiple of 64"),
        ("patch=0", "patch"),
        ("batch=0", "batch"),
        ("loss.semantic=-1", "semantic"),
        ("optimiser.rate=0", "rate"),
        ("optimiser.ema=1", "ema"),
        ("optimiser.clip=Infinity", "clip"),
        ("adversarial_from=1.1", "adversarial_from"),
        ("start_share=1", "start_share"),
        ("candidates=17", "candidates are from 1 to 16"),
        ("restore.learns=none", "restore.learns=none: .* is not all or trunk or codes"),
        ("magnified=1.1", "magnified is from 0 to 1"),
        ("shrunk=2", "shrunk is from 0 to 1"),
        ("shrink=0", "shrink is from 0.1 to 1"),
        ("optimiser.trunk_share=-1", "trunk_share is 0 or more"),
        ("network.trunk.join=34", "trunk"),
        ("network.trunk=34", "network.trunk=34"),
        ("degradation.heavy.share=2", "heavy.share"),
        ("degradation.heavy=1", "heavy is a group of settings"),
        ("seed=-1", "seed"),
        ("seed=4294967296", "seed"),
        ("degradation.quality=90,30", "quality"),
        ("holes.holes=0,3", "holes"),
    ],
)
def test_what_cannot_be_is_a_usage_error_that_names_it(text, words):
    with pytest.raises(UsageError, match=words):
        overridden(COMPACT, ["basis.steps=5", text])


def test_differences_are_the_changed_leaves():
    changed = overridden(COMPACT, ["restore.loss.pixel=2", "network.codes=8,4", "preset=mine"])
    a, b = COMPACT.to_dict(), changed.to_dict()
    expected = [
        "network.codes: [512, 256, 512, 256, 256] → [8, 4]",
        'preset: "compact" → "mine"',
        "restore.loss.pixel: 1.0 → 2.0",
    ]
    assert differences(a, b) == expected
    assert differences(a, a) == []
    del b["seed"]
    assert "seed: 0 → null" in differences(a, b)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe{}", b"[" * 100_000, b"{}"])
def test_a_file_that_is_no_recipe_is_named(content, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"recipe\.json"):
        read_recipe(path)
    with pytest.raises(UsageError, match="missing"):
        read_recipe(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 1}, "colour"),
        ({"seed": "0"}, "recipe.seed"),
        ({"network": 3}, "recipe.network"),
        ({"basis": {"loss": {"pixel": "1"}}}, "recipe.basis.loss.pixel"),
        ({"basis": {"stepps": 1}}, "stepps"),
        ({"basis": {"patch": 1}}, "patch 1"),
        ({"network": {"channels": [64]}}, "two levels"),
    ],
)
def test_a_recipe_with_a_wrong_value_names_file_and_value(change, words, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(COMPACT.to_dict() | change))
    with pytest.raises(UsageError, match=words) as found:
        read_recipe(path)
    assert str(path) in str(found.value)


def test_a_recipe_may_leave_out_what_it_does_not_change(tmp_path):
    path = tmp_path / "short.json"
    path.write_text('{"preset": "mine", "network": {"code_dim": 16}, "basis": {"steps": 3}}')
    recipe = read_recipe(path)
    assert recipe == replace(Recipe("mine", replace(PUBLISHED.network, code_dim=16)), basis=recipe.basis)
    assert (recipe.basis.steps, recipe.basis.batch) == (3, 16)
