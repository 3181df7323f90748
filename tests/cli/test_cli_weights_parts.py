"""Files of two trainings that got mixed: the program refuses them, and writes no image."""

from __future__ import annotations

import hashlib
import runpy
import shutil
from dataclasses import replace

import pytest
import torch
from adacode_process import ROOT

from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.format import read_weights, write_weights

WEIGHTS = ROOT / "weights"
pytestmark = pytest.mark.skipif(not (WEIGHTS / "compact-stage2.safetensors").exists(), reason="no bundled weights")


def test_a_basis_of_another_training_is_an_error_and_no_image(real_adacode, photo, tmp_path):
    for name in ("basis", "fused", "reconstruct"):
        shutil.copy(WEIGHTS / f"compact-{name}.safetensors", tmp_path)
    photo("a.png", (64, 48))
    arguments = ("reconstruct", "a.png", "-o", "b.png", "--weights", "compact-reconstruct.safetensors")
    done = real_adacode(*arguments, "--device", "cpu")
    assert done.returncode == 0, done.stderr.decode()
    (tmp_path / "b.png").unlink()
    basis = tmp_path / "compact-basis.safetensors"
    weights = read_weights(basis)
    moved = {key: tensor.roll(1, 0) for key, tensor in weights.tensors.items()}
    write_weights(basis, replace(weights, tensors=moved), torch.float16)
    refused = real_adacode(*arguments, "--device", "cpu")
    assert refused.returncode == 4, refused.stderr.decode()
    assert "was trained with other codebooks than those in compact-basis.safetensors" in refused.stderr.decode()
    assert "Copy compact-basis.safetensors from the folder" in refused.stderr.decode()
    assert not (tmp_path / "b.png").exists()


def test_the_tool_states_the_parts_of_an_earlier_bundle_and_changes_nothing_else(tmp_path):
    tool = runpy.run_path(str(ROOT / "tools" / "state_parts.py"))
    for path in (*WEIGHTS.glob("compact-*.safetensors"), WEIGHTS / "catalogue.json"):
        shutil.copy(path, tmp_path)
    task = tmp_path / "compact-stage2.safetensors"
    wanted = task.read_bytes()
    write_weights(task, replace(read_weights(task), parts={}), torch.float16)
    assert not read_weights(task).parts
    assert tool["state_parts"](task)
    assert read_weights(task).parts == read_weights(WEIGHTS / task.name).parts
    assert task.read_bytes()[-1_000_000:] == wanted[-1_000_000:]


def test_the_tool_describes_what_it_has_changed_in_the_catalogue(tmp_path):
    tool = runpy.run_path(str(ROOT / "tools" / "state_parts.py"))
    for path in (*WEIGHTS.glob("compact-*.safetensors"), WEIGHTS / "catalogue.json"):
        shutil.copy(path, tmp_path)
    task = tmp_path / "compact-reconstruct.safetensors"
    write_weights(task, replace(read_weights(task), parts={}), torch.float16)
    tool["main"](tmp_path)
    described = {file.name: file for file in catalogue_file.load(tmp_path).files}
    content = task.read_bytes()
    expected = (len(content), hashlib.sha256(content).hexdigest())
    assert (described[task.name].bytes, described[task.name].sha256) == expected
    before = {file.name: file for file in catalogue_file.load(WEIGHTS).files}
    assert {name: file for name, file in described.items() if name != task.name} == {
        name: file for name, file in before.items() if name != task.name
    }
    contents = {path: path.read_bytes() for path in tmp_path.iterdir()}
    tool["main"](tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == contents, "a second time, nothing changes"
