"""The configuration: what it refuses, and that a file can carry it."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import get_args

import pytest
from small_networks import OWN_CONFIGS, SMALL_CONFIGS, TRUNK_CONFIGS, small_config

from adacode_cli.errors import WeightsError
from adacode_cli.model.config import (
    PAPER_CATEGORIES,
    Base,
    ContextConfig,
    DecoderConfig,
    NetworkConfig,
    Norm,
    ResidualConfig,
    Skip,
    Stem,
    SwinConfig,
    TrunkConfig,
)
from adacode_cli.tasks import BASIS, TASKS
from adacode_cli.training.presets import family_network

GOOD = NetworkConfig("sr", 4, norm="none", channels=(8, 8, 8, 8), codebooks=((4, 4),) * 2)
TRUNK = NetworkConfig("sr", 4, norm="none", grid=4, stem="shuffle", channels=(32, 32), trunk=TrunkConfig(6, 2, 4))


def test_the_small_networks_use_every_choice():
    assert {config.task for config in SMALL_CONFIGS} == {BASIS.name, *TASKS}
    for name, known in {"stem": Stem, "norm": Norm, "skip": Skip, "base": Base}.items():
        assert {getattr(c, name) for c in SMALL_CONFIGS} == set(get_args(known))
    assert {c.num_bases for c in SMALL_CONFIGS} == set(range(1, 7))
    assert {c.softmax for c in SMALL_CONFIGS} == {c.mask_channel for c in SMALL_CONFIGS} == {True, False}
    assert {c.scale for c in SMALL_CONFIGS} == {1, 2, 4}
    assert {bool(c.encoder_context) for c in SMALL_CONFIGS} == {True, False}
    assert len({(bool(c.encoder_swin), bool(c.predictor_swin)) for c in SMALL_CONFIGS}) == 4
    assert len(set(SMALL_CONFIGS)) == 12


@pytest.mark.parametrize(
    "config", [*map(small_config, range(30)), *TRUNK_CONFIGS, *OWN_CONFIGS, family_network("compact", "inpaint"), GOOD]
)
def test_json_keeps_a_configuration(config):
    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_fields_may_be_left_out_but_not_the_task():
    assert NetworkConfig.from_dict({"task": "reconstruct"}) == NetworkConfig("reconstruct")
    with pytest.raises(WeightsError, match=r"cannot be read: .*task"):
        NetworkConfig.from_dict({"scale": 1})


def test_a_file_from_before_there_were_trunks_has_none():
    """Its fields are those of now but for the trunk's; the bundled networks were written so."""
    for config in (GOOD, *SMALL_CONFIGS):
        values = json.loads(json.dumps(config.to_dict()))
        assert values.pop("trunk") is None
        assert NetworkConfig.from_dict(values) == config
        assert NetworkConfig.from_dict({**values, "trunk": None}) == config


@pytest.mark.parametrize("name", ["encoder_context", "own_decoder", "residual"])
def test_parts_that_came_later_are_named_only_where_they_are(name):
    """So files and digests of all other networks are those of earlier versions."""
    configs = [*SMALL_CONFIGS, *OWN_CONFIGS]
    assert {getattr(config, name) is not None for config in configs} == {True, False}
    for config in configs:
        assert (name in config.to_dict()) == (getattr(config, name) is not None)


def test_a_context_needs_kernels_with_a_middle_and_a_decoder_of_its_own_needs_codes_alone():
    with pytest.raises(WeightsError, match="kernel is even"):
        replace(SMALL_CONFIGS[2], encoder_context=ContextConfig(kernel=4))
    with pytest.raises(WeightsError, match="only codes have a decoder of their own"):
        replace(GOOD, own_decoder=DecoderConfig())
    with pytest.raises(WeightsError, match=r"own_decoder\.depth -1 is not a whole number"):
        replace(OWN_CONFIGS[0], own_decoder=DecoderConfig(depth=-1))


def test_further_levels_are_of_codes_alone_and_few():
    assert OWN_CONFIGS[2].code_scales == (1.0, 0.5, 0.25)
    assert OWN_CONFIGS[2].book_sizes == (9, 6, 9, 6, 9, 6)
    assert GOOD.book_sizes == (4, 4)
    with pytest.raises(WeightsError, match="only codes alone have further levels"):
        replace(GOOD, residual=ResidualConfig())
    for wrong in (ResidualConfig(1), ResidualConfig(5), ResidualConfig(scale=0.0), ResidualConfig(scale=1.5)):
        with pytest.raises(WeightsError, match="residual codes of"):
            replace(OWN_CONFIGS[0], residual=wrong)


def test_json_says_what_a_trunk_is():
    values = json.loads(json.dumps(TRUNK.to_dict()))
    assert values["trunk"] == {"depth": 6, "tap": 2, "join": 4, "shuffle": None}
    assert NetworkConfig.from_dict({**values, "trunk": {"depth": 34}}).trunk == TrunkConfig(34, 12, 20)


def test_a_field_of_a_newer_version_is_named():
    with pytest.raises(WeightsError, match="unknown configuration fields: glow, shine") as caught:
        NetworkConfig.from_dict({**GOOD.to_dict(), "shine": 1, "glow": 2})
    assert "newer" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {"channels": 3},
        {"codebooks": [[1, 2, 3]]},
        {"codebooks": [["many", 2]]},
        {"codebooks": 7},
        {"encoder_swin": {"windows": 8}},
        {"encoder_swin": [1]},
        {"categories": 5},
        {"trunk": {"depths": 8}},
        {"trunk": [6, 2, 4]},
        {"trunk": 6},
    ],
)
def test_values_of_another_kind_are_refused(values):
    with pytest.raises(WeightsError, match=r"configuration (cannot be read|is impossible)"):
        NetworkConfig.from_dict({**GOOD.to_dict(), **values})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "paint"}, "unknown task 'paint'"),
        ({"stem": "conv7"}, "unknown stem 'conv7'"),
        ({"norm": "batch"}, "unknown norm 'batch'"),
        ({"skip": "mul"}, "unknown skip 'mul'"),
        ({"base": "blurred"}, "unknown base 'blurred'"),
        ({"scale": 3}, "scale 3 is not 1, 2 or 4"),
        ({"grid": 3}, "grid 3 is not a power of two up to 8"),
        ({"scale": 4.0}, "a size is not a positive whole number"),
        ({"channels": (8, 0)}, "a size is not a positive whole number"),
        ({"channels": ("8", 8)}, "a size is not a positive whole number"),
        ({"codebooks": ((4, -4), (4, 4))}, "a size is not a positive whole number"),
        ({"encoder_swin": SwinConfig(heads=0)}, "a size is not a positive whole number"),
        ({"head_depth": -1}, "head_depth -1 is not a whole number"),
        ({"encoder_depth": 1.5}, "encoder_depth 1.5 is not a whole number"),
        ({"num_skips": -1, "skip": "add"}, "num_skips -1 is not a whole number"),
        ({"channels": (8,)}, "fewer than two levels"),
        ({"channels": ()}, "fewer than two levels"),
        ({"codebooks": ()}, "no codebook"),
        ({"task": "basis"}, "a basis network has exactly one codebook"),
        ({"categories": PAPER_CATEGORIES}, "categories do not match codebooks"),
        ({"num_skips": 4, "skip": "add"}, "more skips than decoder stages"),
        ({"num_skips": 1}, "skip and num_skips contradict each other"),
        ({"skip": "fuse"}, "skip and num_skips contradict each other"),
        ({"stem": "shuffle", "grid": 2}, "a shuffle stem needs scale <= grid"),
        ({"grid": 2}, "a conv4 stem needs grid 1"),
        ({"channels": (8, 8, 8)}, "scale 4 needs more levels"),
        ({"base": "filled"}, "filled holes need a mask channel"),
        ({"predictor_swin": SwinConfig(heads=3)}, "latent channels are not a multiple of the heads"),
        ({"norm": "group"}, "GroupNorm needs multiples of 32 channels"),
    ],
)
def test_an_impossible_network_is_refused_in_words(changes, message):
    with pytest.raises(WeightsError) as caught:
        replace(GOOD, **changes)
    assert caught.value.message.startswith("this network configuration is impossible: ")
    assert message in caught.value.message.split(": ", 1)[1].split("; ")


ORDER = "a trunk needs tap <= join < depth"
SIZE = "a size is not a positive whole number"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trunk": TrunkConfig(6, 5, 4)}, ORDER),
        ({"trunk": TrunkConfig(6, 2, 6)}, ORDER),
        ({"trunk": TrunkConfig(6, 2, 7)}, ORDER),
        ({"trunk": TrunkConfig(1, 1, 1)}, ORDER),
        ({"trunk": TrunkConfig(6, 0, 4)}, SIZE),
        ({"trunk": TrunkConfig(-6, 2, 4)}, SIZE),
        ({"trunk": TrunkConfig(6.0, 2, 4)}, SIZE),
        ({"trunk": TrunkConfig("6", 2, 4)}, SIZE),
        ({"trunk": TrunkConfig(6, None, 4)}, SIZE),
        ({"trunk": TrunkConfig(6, 2, 4, "2")}, SIZE),
        ({"stem": "conv4", "grid": 1, "channels": (8,) * 4}, "a trunk needs a shuffle stem and no normalisation"),
        ({"norm": "group"}, "a trunk needs a shuffle stem and no normalisation"),
        ({"skip": "add", "num_skips": 1}, "a trunk replaces the stem's blocks and the skips"),
        ({"skip": "fuse", "num_skips": 1}, "a trunk replaces the stem's blocks and the skips"),
        ({"stem_depth": 1}, "a trunk replaces the stem's blocks and the skips"),
        ({"mask_channel": True}, "a trunk is for super-resolution"),
        ({"task": "inpaint", "scale": 1}, "a trunk is for super-resolution"),
        ({"task": "reconstruct", "scale": 1}, "a trunk is for super-resolution"),
        ({"task": "basis", "scale": 1}, "a trunk is for super-resolution"),
        ({"grid": 2}, "a shuffle stem needs scale <= grid"),
    ],
)
def test_an_impossible_trunk_is_refused_in_words(changes, message):
    with pytest.raises(WeightsError) as caught:
        replace(TRUNK, **changes)
    messages = caught.value.message.removeprefix("this network configuration is impossible: ").split("; ")
    assert message in messages
    values = {**TRUNK.to_dict(), **changes}
    if isinstance(values["trunk"], TrunkConfig):
        values["trunk"] = asdict(values["trunk"])
    with pytest.raises(WeightsError, match="impossible"):
        NetworkConfig.from_dict(json.loads(json.dumps(values)))


@pytest.mark.parametrize("trunk", [TrunkConfig(2, 1, 1), TrunkConfig(6, 5, 5), TrunkConfig(6, 1, 5)])
def test_codes_may_join_anywhere_from_where_they_left_to_before_the_last_convolution(trunk):
    assert NetworkConfig.from_dict(replace(TRUNK, trunk=trunk).to_dict()).trunk == trunk


def test_all_that_is_wrong_is_reported_at_once():
    with pytest.raises(WeightsError, match="unknown task 'x'; scale 9 is not 1, 2 or 4; no codebook"):
        NetworkConfig("x", 9, codebooks=())


def test_a_configuration_never_changes():
    for field in fields(GOOD):
        with pytest.raises(FrozenInstanceError):
            setattr(GOOD, field.name, None)


def test_bases_are_called_by_their_categories():
    assert GOOD.names() == ("basis 1", "basis 2")
    assert replace(GOOD, categories=("day", "night")).names() == ("day", "night")
