"""Checkpoint files: what is written comes back; a file that is not a checkpoint is reported with its name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny_recipes import tiny_recipe

from adacode_cli.checkpoints.format import Provenance
from adacode_cli.errors import OutputError, TrainingError
from adacode_cli.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from adacode_cli.training.overrides import recipe_from


def a_checkpoint(**more) -> Checkpoint:
    base = torch.arange(24, dtype=torch.float32)
    tensors = {
        "network.weight": base.view(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "average.weight": base.view(2, 3, 4).permute(2, 0, 1),
        "tied": base,
        "part": base[3:7],
        "count": torch.tensor(2**40),
        "bf16": torch.randn(3).bfloat16(),
        "none": torch.zeros(0, 4),
    }
    values = {"steps": 7, "seconds": 1.5, "recipe": tiny_recipe().to_dict(), "counters": {"adam": 7}, **more}
    return Checkpoint(tensors=tensors, **values)


def test_what_is_written_comes_back(tmp_path):
    stated = Provenance(trained_on="4 images", base_model="another's (MIT, nowhere)", base_licence="MIT")
    written = a_checkpoint(stated=stated)
    write_checkpoint(tmp_path / "a.checkpoint", written)
    read = read_checkpoint(tmp_path / "a.checkpoint")
    assert (read.steps, read.seconds, read.counters) == (7, 1.5, {"adam": 7})
    assert recipe_from(read.recipe) == tiny_recipe()
    assert read.stated == stated
    assert read.tensors.keys() == written.tensors.keys()
    for key, tensor in written.tensors.items():
        assert read.tensors[key].dtype == tensor.dtype
        assert torch.equal(read.tensors[key], tensor), key
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]


def test_a_checkpoint_without_a_provenance_is_read(tmp_path):
    """As those of the first versions, which did not write it down."""
    path = tmp_path / "a.checkpoint"
    header = {"format": 1, "steps": 3, "seconds": 1.0, "recipe": {}, "counters": {"adam": 3}, "data": "shards"}
    save_file({"x": torch.zeros(2)}, path, {"adacode-checkpoint": json.dumps(header)})
    read = read_checkpoint(path)
    assert (read.steps, read.data, read.stated) == (3, "shards", None)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**40),
    st.floats(0, 1e12),
    st.dictionaries(st.text(max_size=5), st.integers(0, 2**40), max_size=3),
    st.lists(st.lists(st.floats(width=32), max_size=4), max_size=3),
)
def test_any_numbers_come_back_bit_for_bit(tmp_path_factory, steps, seconds, counters, rows):
    path = tmp_path_factory.mktemp("any") / "a.checkpoint"
    tensors = {str(i): torch.tensor(row) for i, row in enumerate(rows)}
    write_checkpoint(path, Checkpoint(steps, seconds, {"preset": "ü"}, tensors, counters))
    read = read_checkpoint(path)
    assert (read.steps, read.seconds, read.counters) == (steps, seconds, counters)
    assert read.recipe == {"preset": "ü"}
    for key, tensor in tensors.items():
        assert torch.equal(read.tensors[key].view(torch.int32), tensor.view(torch.int32))


def _text(path: Path) -> None:
    path.write_text("no tensors")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _weights(path: Path) -> None:
    save_file({"x": torch.zeros(2)}, path, {"other": "{}"})


def _no_header(path: Path) -> None:
    save_file({"x": torch.zeros(2)}, path, {"adacode-checkpoint": "[1, 2]"})


def _broken_header(path: Path) -> None:
    save_file({"x": torch.zeros(2)}, path, {"adacode-checkpoint": '{"format": 1, "steps": '})


def _half_a_header(path: Path) -> None:
    save_file({"x": torch.zeros(2)}, path, {"adacode-checkpoint": '{"format": 1, "steps": 3}'})


@pytest.mark.parametrize("spoil", [_text, _empty, _weights, _no_header, _broken_header, _half_a_header])
def test_other_files_are_no_checkpoints(spoil, tmp_path):
    path = tmp_path / "fused.checkpoint"
    spoil(path)
    with pytest.raises(TrainingError, match=r"fused\.checkpoint: is not a whole checkpoint") as found:
        read_checkpoint(path)
    assert "--overwrite" in found.value.hint


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.999))
def test_a_file_that_was_cut_off_anywhere_is_reported(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "fused.checkpoint"
    write_checkpoint(path, a_checkpoint())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(TrainingError, match=r"fused\.checkpoint"):
        read_checkpoint(path)


def test_a_missing_file_and_a_newer_version_are_reported(tmp_path):
    path = tmp_path / "fused.checkpoint"
    with pytest.raises(TrainingError, match=r"fused\.checkpoint: cannot be read: .*o such file"):
        read_checkpoint(path)
    save_file({"x": torch.zeros(2)}, path, {"adacode-checkpoint": json.dumps({"format": 2, "what": "ever"})})
    with pytest.raises(TrainingError, match=r"fused\.checkpoint: is of a newer version") as found:
        read_checkpoint(path)
    assert "Update" in found.value.hint


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "fused.checkpoint"
    write_checkpoint(path, a_checkpoint())
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_checkpoint(path, a_checkpoint(steps=8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
