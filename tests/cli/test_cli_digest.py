"""The journal's digest of options: every option is in it by itself, except those that say that they have no effect."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import pytest

from adacode_cli.cli.hole_options import HoleOptions
from adacode_cli.cli.options import NoEffectOnResult, effective, flag
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.restore_plan import Request, options_digest
from adacode_cli.sizes import Fate, Sizing

SR = Request("sr")
MANY = RestoreOptions(
    quality=80,
    tiling="sampled",
    tile="128",
    format="png",
    guard=False,
    color_fix="low-frequency",
    strict=True,
    preserve_times=True,
    no_provenance=True,
    precision="bf16",
    save_weights_map=Path("maps"),
)
WITHOUT_EFFECT = RestoreOptions(quality=95, device="cuda", jobs=3, suffix="x", output=Path("o"), json=True, tile="128")
# As version 0.1.0 wrote them into journals, before options were marked if they have no effect.
GOLDEN = [
    (RestoreOptions(), SR, "60147aa6ef53ed2f79b8507c0736b05587120b90faa0c65af18815b92bf88dd8"),
    (WITHOUT_EFFECT, SR, "60147aa6ef53ed2f79b8507c0736b05587120b90faa0c65af18815b92bf88dd8"),
    (
        MANY,
        Request("sr", Sizing("scale", 2.5), denoise=0.5),
        "d05476e20119c698a392b7ef2e3c555ac9eb427ae3d2888846813a136c8e801f",
    ),
    (
        RestoreOptions(),
        Request("inpaint", hole=HoleOptions(mask_alpha=True, grow=2, feather=3, exemplars=False)),
        "d932e5e8b9f1988d8d83eb8672f3768b6fe2538218e00e33a180dfded3e0f878",
    ),
    (
        RestoreOptions(),
        Request("inpaint", hole=HoleOptions(mask_dir=Path("m"), exemplars=False)),
        "a078fd8c6451b7eac07ca11ac3e69cc21884d8b8e282d6fc08cee8909ccfb040",
    ),
    (
        # Since colours are found in JPEG files too, results that were made before count as made with other options.
        RestoreOptions(),
        Request("inpaint", hole=HoleOptions(mask_color="#FF00ff", grow=1, exemplars=False)),
        "35d26c6fba7dd4bf2604b913e3ccf03a62b8d2dd38117b3aeaad141d8390eb80",
    ),
    (
        RestoreOptions(),
        Request("reconstruct", save_codes=Path("codes")),
        "1abacca7eb0ecbae88082c8c28cb734293363491043e2ba136e2f6b670924894",
    ),
    (
        RestoreOptions(),
        Request("reconstruct", from_codes=True),
        "c11a158a9ec33458b8378addf154efc7110268cd04ac9ce4730b9c004bbe3024",
    ),
]


@pytest.mark.parametrize(("options", "request_", "digest"), GOLDEN)
def test_journals_of_earlier_versions_keep_their_digests(options, request_, digest, monkeypatch):
    monkeypatch.setattr("adacode_cli.version.__version__", "0.1.0")
    assert options_digest(options, request_) == digest


def test_what_happens_to_larger_images_counts_only_if_results_differ():
    options = RestoreOptions()
    copied, left_out, shrunk = (
        options_digest(options, Request("sr", Sizing("width", 9, fate)))
        for fate in (Fate.COPIED, Fate.LEFT_OUT, Fate.SHRUNK)
    )
    assert copied == left_out != shrunk
    others = [Sizing("height", 9), Sizing("width", 10), Sizing("megapixels", 9), Sizing("scale", 9)]
    digests = {options_digest(options, Request("sr", sizing)) for sizing in others}
    assert len(digests | {copied, shrunk}) == 6


@dataclass(frozen=True)
class MadeUpOptions(RestoreOptions):
    """With an option that the digest does not know, and one that is marked as without effect."""

    sharpen: Annotated[float, flag("--sharpen", help="…")] = 0.0
    colour: Annotated[bool, flag("--colour", help="…"), NoEffectOnResult("It colours the log.")] = False


@dataclass(frozen=True)
class MadeUpHole(HoleOptions):
    """With an option that the digest does not know."""

    round_corners: Annotated[bool, flag("--round-corners", help="…")] = False


@dataclass(frozen=True)
class MadeUpRequest(Request):
    """With a value of one command that the digest does not know."""

    film: str = ""


def test_a_new_option_changes_the_digest_by_itself():
    plain = options_digest(MadeUpOptions(), SR)
    assert plain != options_digest(RestoreOptions(), SR)
    assert options_digest(MadeUpOptions(sharpen=0.5), SR) != plain
    assert options_digest(MadeUpOptions(colour=True), SR) == plain


def test_a_new_value_of_one_command_changes_the_digest_by_itself():
    options = RestoreOptions()
    assert options_digest(options, MadeUpRequest("sr", film="grainy")) != options_digest(options, MadeUpRequest("sr"))
    square, round_ = (Request("inpaint", hole=MadeUpHole(mask_alpha=True, round_corners=r)) for r in (False, True))
    assert options_digest(options, square) != options_digest(options, round_)


def test_results_with_texture_are_not_taken_for_those_of_earlier_versions():
    plain, textured = (Request("inpaint", hole=HoleOptions(mask_alpha=True, exemplars=e)) for e in (False, True))
    assert options_digest(RestoreOptions(), plain) != options_digest(RestoreOptions(), textured)


def test_what_says_where_and_how_is_not_in_it():
    marked = {field.name for field in fields(RestoreOptions)} - effective(RestoreOptions()).keys()
    assert {"device", "jobs", "output", "tile", "weights"} <= marked
    assert not {"format", "guard", "precision", "quality", "strict", "tiling"} & marked
    assert options_digest(replace(RestoreOptions(), tiling="sampled", tile="64"), SR) != options_digest(
        replace(RestoreOptions(), tiling="sampled", tile="128"), SR
    )
