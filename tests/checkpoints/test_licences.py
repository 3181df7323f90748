"""Which of several licences is the strictest, and which one may not take the place of another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adacode_cli.checkpoints.base_models import NOT_STATED, ancestor, joined_licences, joined_models, joined_texts
from adacode_cli.checkpoints.licences import STRICTNESS, is_mix, stricter_than, strictest, unknown_in

RESERVED = "© 2024 A. Photographer. All rights reserved."


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC0-1.0", "CC0-1.0"),
        ("CC0-1.0 AND CC-BY-4.0", "CC-BY-4.0"),
        ("CC-BY-SA-4.0 AND Apache-2.0 AND CC0-1.0", "CC-BY-SA-4.0"),
        ("CC BY-NC 4.0 AND GPL-3.0-or-later", "CC BY-NC 4.0"),
        ("CC-BY-ND-4.0 AND CC-BY-NC-SA-4.0", "CC-BY-ND-4.0"),
        (f"CC-BY-NC-ND-4.0 AND {RESERVED}", RESERVED),
        (f"{RESERVED} AND the museum's own terms", "the museum's own terms"),
        ("MIT AND LicenseRef-not-stated", "LicenseRef-not-stated"),
        ("", NOT_STATED),
        ("MIT OR GPL-3.0-only", "MIT"),
        ("(MIT OR GPL-3.0-only) AND CC-BY-4.0", "CC-BY-4.0"),
        ("GPL-2.0+ AND Apache-2.0 WITH LLVM-exception", "GPL-2.0+"),
        ("public domain AND CC0-1.0", "public domain"),
    ],
)
def test_the_strictest_of_several(licence, expected):
    assert strictest(licence) == expected
    assert is_mix(licence) == (" AND " in licence)


def test_the_order_of_the_table_holds_for_every_pair():
    names = [name for _, tier in STRICTNESS for name in tier]
    for i, lenient in enumerate(names):
        for strict in names[i + 1 :]:
            assert strictest(f"{strict} AND {lenient}") == strictest(f"{lenient} AND {strict}") == strict


@pytest.mark.parametrize("version", ["", "-1.0", "-2.0", "-3.0-only", "-3.0-or-later", "-4.0"])
def test_versions_do_not_count(version):
    assert strictest(f"CC0-1.0 AND GPL{version} AND MIT") == f"GPL{version}"


def test_what_may_not_take_the_place_of_what():
    assert stricter_than("CC0-1.0", RESERVED) == RESERVED
    assert stricter_than("CC0-1.0", "CC0-1.0 AND CC-BY-4.0 AND CC-BY-NC-4.0") == "CC-BY-NC-4.0"
    assert stricter_than("MIT", "CC-BY-4.0 AND Apache-2.0") == "", "both demand that authors are named"
    assert stricter_than("Apache-2.0", "CC-BY-SA-4.0") == "CC-BY-SA-4.0"
    assert stricter_than("CC-BY-SA-4.0 AND MIT", "CC-BY-SA-3.0") == ""
    assert stricter_than("CC0-1.0", "the museum's own terms") == "", "it is not known whether they demand more"
    assert stricter_than("my own terms", RESERVED) == RESERVED, "only its owner could allow that"
    assert stricter_than("my own terms", "CC-BY-NC-4.0") == "", "what is unknown counts as strictest"
    assert stricter_than(RESERVED, RESERVED) == ""
    assert unknown_in("MIT AND the museum's own terms AND LicenseRef-not-stated") == [
        "the museum's own terms",
        NOT_STATED,
    ]


@given(st.text(alphabet="() ANDORmit-0.", max_size=80))
def test_any_text_has_a_strictest_part(text):
    assert strictest(text) == NOT_STATED or strictest(text) in text


def test_a_text_of_many_parentheses_ends():
    assert strictest("(" * 20_000 + ")" * 20_000)


def test_joined_licences_are_read_back():
    joined = joined_licences("CC0-1.0", "MIT OR GPL-3.0-only", "CC-BY-NC-4.0", "")
    assert strictest(joined) == "CC-BY-NC-4.0"


def test_an_ancestor_is_one_base_model_whatever_its_texts():
    one = ancestor("basis-nature", "mine", "its own (and no other)", "mean of a (x) and b")
    assert one == "mine basis (its own [and no other], mean of a [x] & b)"
    assert joined_models(one, ancestor("basis-street", "mine", "its own (and no other)", "mean of a (x) and b")) == one
    assert ancestor("mine-sr-x4", "mine", "", "") == "mine-sr-x4 (licence not stated)"
    both = joined_models(one, "realesr (BSD-3-Clause, x)")
    assert joined_models(both, one) == both


def test_texts_are_joined_once():
    assert joined_texts("a", "b", "a", "") == "a; b"
    assert joined_texts("a; b", "b", "a; b; c") == "a; b; c"
    assert joined_texts("4 images", "14 images") == "4 images; 14 images"


def test_the_documented_table_is_the_one_that_is_used():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    written = [(what, tuple(name.upper().replace(" ", "-") for name in names.split(", "))) for what, names in rows]
    assert written == list(STRICTNESS)
