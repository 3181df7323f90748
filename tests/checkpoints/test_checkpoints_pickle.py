"""Bytes that are no checkpoint, or a dangerous one: refused with an error that names the file, and never run."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_checkpoints import save_pth, small_published

from adacode_cli.checkpoints.load import convert_published
from adacode_cli.checkpoints.published import read_published
from adacode_cli.errors import WeightsError

NO_STATE = "is no state dict, and has none under one of the names 'params_ema', 'params', 'state_dict'"
UNREADABLE = "cannot be read as a checkpoint of tensors"
# What torch makes of bytes in which it sees a version number.
noisy = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


@pytest.fixture(scope="module")
def state():
    return small_published("basis")


def refused(path):
    with pytest.raises(WeightsError) as caught:
        read_published(path)
    assert caught.value.path == path
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    "content",
    [
        [torch.ones(2)],
        torch.ones(2),
        {},
        {"weights": {"a": torch.ones(1)}},
        {"params": [torch.ones(2)]},
        {"params": {"a": 3}},
        {"params": {1: torch.ones(2)}},
        {"params_ema": None, "params": {}},
        {"state_dict": {"a": torch.ones(1), "epoch": 3}, "epoch": 3},
    ],
)
def test_a_file_of_something_else_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    assert refused(tmp_path / "a.pth") == NO_STATE


class Payload:
    """Unpickled without care, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("new_format", [True, False])
def test_a_file_that_would_run_code_is_refused_unrun(state, new_format, tmp_path):
    trace = tmp_path / "it-ran"
    path = tmp_path / "a.pth"
    torch.save({"params": state, "extra": Payload(trace)}, path, _use_new_zipfile_serialization=new_format)
    assert refused(path) == UNREADABLE
    with pytest.raises(WeightsError):
        convert_published(path, tmp_path / "b.safetensors")
    assert not trace.exists()
    # The payload is live: the unrestricted reader runs it.
    torch.load(path, weights_only=False)["extra"].close()
    assert trace.exists()


@pytest.mark.parametrize("new_format", [True, False])
def test_a_file_that_broke_off_is_refused(state, new_format, tmp_path):
    whole = save_pth(tmp_path / "w.pth", state, _use_new_zipfile_serialization=new_format).read_bytes()
    path = tmp_path / "a.pth"
    for length in (0, 1, 2, 100, 5_000, len(whole) // 2, len(whole) - 1_000, len(whole) - 10):
        path.write_bytes(whole[:length])
        assert refused(path) == UNREADABLE


def test_files_that_are_no_files_are_refused(tmp_path):
    assert refused(tmp_path / "absent.pth").startswith("cannot be read: ")
    assert refused(tmp_path).startswith("cannot be read")
    (tmp_path / "text.pth").write_text("<!doctype html><title>404</title>")
    assert refused(tmp_path / "text.pth") == UNREADABLE


@noisy
@given(data=st.binary(max_size=400))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_refused(data, tmp_path):
    (tmp_path / "a.pth").write_bytes(data)
    refused(tmp_path / "a.pth")


@noisy
@given(seed=st.integers(0, 2**31), new_format=st.booleans())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused_and_never_worse(seed, new_format, tmp_path):
    r = random.Random(seed)
    state = {"out_conv.bias": torch.ones(3), "decoder_group.0.block.1.weight": torch.ones(2, 2, 1, 1)}
    path = save_pth(tmp_path / "a.pth", state, _use_new_zipfile_serialization=new_format)
    damaged = bytearray(path.read_bytes())
    for _ in range(r.randint(1, 6)):
        damaged[r.randrange(len(damaged))] = r.randrange(256)
    path.write_bytes(damaged)
    refused(path)  # even the undamaged file holds too little to be a network
