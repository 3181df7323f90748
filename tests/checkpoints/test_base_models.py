"""How base models and licences are named, read back and put together."""

from __future__ import annotations

import pytest

from adacode_cli.checkpoints.base_models import (
    NOT_STATED,
    NOTICES,
    described,
    joined_licences,
    joined_models,
    licence_in,
    notice_of,
    stated_licence,
    whole_licence,
)
from adacode_cli.checkpoints.catalogue_file import weights_folder

ESRGAN = "realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"


@pytest.mark.parametrize(
    ("parts", "words", "licence"),
    [
        (("realesr-general-x4v3", "BSD-3-Clause", "xinntao/Real-ESRGAN"), ESRGAN, "BSD-3-Clause"),
        (("net", "MIT", "a b"), "net (MIT, a b)", "MIT"),
        (("net", "MIT", ""), "net (MIT)", ""),
        (("net", "", "somewhere"), "net (somewhere)", ""),
        (("net", "", "me, myself"), "net (me, myself)", ""),  # no licence is called "me"
        (("net", "", ""), "net", ""),
    ],
)
def test_a_base_model_in_words_and_its_licence_again(parts, words, licence):
    assert described(*parts) == words
    assert licence_in(words) == licence


@pytest.mark.parametrize(
    ("words", "licence"),
    [
        ("A (MIT, x) and B (GPL-3.0-only OR MIT, y)", "MIT AND (GPL-3.0-only OR MIT)"),
        ("A (MIT, x) and C", f"MIT AND {NOT_STATED}"),
        ("A (MIT, x) and C (z)", f"MIT AND {NOT_STATED}"),
        ("A (Apache-2.0 AND BSD-3-Clause, x) and B (MIT, y)", "Apache-2.0 AND BSD-3-Clause AND MIT"),
        ("A (GPL-2.0-only WITH Classpath-exception-2.0, x and y)", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("A and B (z)", ""),
        ("A ((MIT OR ISC) AND Apache-2.0, x)", "(MIT OR ISC) AND Apache-2.0"),
    ],
)
def test_no_licence_of_several_base_models_is_lost(words, licence):
    assert licence_in(words) == licence
    assert joined_models(words, words) == words


def test_several_base_models_are_named_once_each():
    both = joined_models(ESRGAN, "", "net (MIT, a b)", ESRGAN)
    assert both == f"{ESRGAN} and net (MIT, a b)"
    assert joined_models(both, ESRGAN) == both
    assert licence_in(both) == "BSD-3-Clause AND MIT"
    assert joined_models() == joined_models("", "") == ""


@pytest.mark.parametrize(
    ("licences", "expression"),
    [
        ((), ""),
        (("", "MIT"), "MIT"),
        (("Apache-2.0", "BSD-3-Clause"), "Apache-2.0 AND BSD-3-Clause"),
        (("Apache-2.0 AND BSD-3-Clause", "BSD-3-Clause"), "Apache-2.0 AND BSD-3-Clause"),
        (("MIT OR Apache-2.0", "", "BSD-3-Clause"), "(MIT OR Apache-2.0) AND BSD-3-Clause"),
        (("MIT OR Apache-2.0", "MIT OR Apache-2.0"), "MIT OR Apache-2.0"),
        (("GPL-2.0-only WITH Classpath-exception-2.0", "MIT"), "GPL-2.0-only WITH Classpath-exception-2.0 AND MIT"),
    ],
)
def test_licences_that_all_hold_are_one_expression(licences, expression):
    assert joined_licences(*licences) == expression


def test_a_licence_that_nobody_states_is_not_left_out():
    assert stated_licence("", "") == ""
    assert stated_licence("net", "") == NOT_STATED
    assert whole_licence("Apache-2.0", "", "") == "Apache-2.0"
    assert whole_licence("", "", "") == ""
    assert whole_licence("Apache-2.0", ESRGAN, "BSD-3-Clause") == "Apache-2.0 AND BSD-3-Clause"
    assert whole_licence("Apache-2.0", "net", "") == f"Apache-2.0 AND {NOT_STATED}"
    assert whole_licence("", ESRGAN, "BSD-3-Clause") == f"{NOT_STATED} AND BSD-3-Clause"


def test_every_notice_lies_beside_the_bundled_weights():
    assert notice_of(ESRGAN) == "LICENSE.Real-ESRGAN"
    assert notice_of("net (MIT, a b)") is None
    assert notice_of("") is None
    for name in NOTICES.values():
        assert "Copyright" in (weights_folder() / name).read_text(encoding="utf-8")
