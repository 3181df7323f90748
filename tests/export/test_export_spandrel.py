"""spandrel itself loads what adacode exports, and its results are those of adacode."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("checkpoints", "model")]
from small_checkpoints import (
    LAYOUTS,
    save_pth,
    small_published,
    start_tensors,
    tiny_network,
    trunk_network,
    write_parts,
)
from spandrel_library import spandrel as import_spandrel

from adacode_cli import Restorer
from adacode_cli.checkpoints.format import Provenance, Weights, to_bytes, write_file
from adacode_cli.checkpoints.load import WeightsSource, load_network
from adacode_cli.errors import WeightsError
from adacode_cli.export import whole
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def spandrel():
    return import_spandrel()


@pytest.fixture
def loader(spandrel):
    """A loader whose registry has spandrel's own architectures and ours."""
    from adacode_cli.spandrel import install

    registry = spandrel.MAIN_REGISTRY.copy()
    install(registry)
    return spandrel.ModelLoader(registry=registry)


def picture(height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[100 : 100 + height, 200 : 200 + width])


def exported(path: Path, network: AdaCode) -> Path:
    """A file as `weights export --to single` writes it."""
    weights = Weights("whole", network.config, Provenance(), network.state_dict())
    whole.write_whole(whole.Whole(weights, (), torch.float32), path)
    return path


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def test_the_bundled_super_resolution_from_one_file(spandrel, loader, tmp_path):
    whole.write_whole(whole.whole_of(WeightsSource("compact-sr-x4")), tmp_path / "sr.safetensors")
    model = loader.load_from_file(tmp_path / "sr.safetensors")
    assert isinstance(model, spandrel.ImageModelDescriptor)
    assert (model.purpose, model.scale, model.input_channels, model.output_channels) == ("SR", 4, 3, 3)
    assert model.size_requirements.none
    assert model.tiling == spandrel.ModelTiling.DISCOURAGED
    assert (model.supports_half, model.supports_bfloat16, model.dtype) == (False, False, torch.float32)
    assert (model.architecture.id, model.tags) == ("adacode-cli", ["sr-x4", "5 bases"])
    image = picture(37, 50)
    ours = Restorer.from_pretrained(str(tmp_path / "sr.safetensors"), device="cpu", precision="fp32")
    expected = ours.sr(image.astype(np.float32) / 255, 4)
    found = model(as_tensor(image))[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= TOLERANCE


def test_inpainting_takes_a_mask_and_changes_nothing_else(spandrel, loader, tmp_path):
    path = exported(tmp_path / "inpaint.safetensors", tiny_network("inpaint"))
    model = loader.load_from_file(path)
    assert isinstance(model, spandrel.MaskedImageModelDescriptor)
    assert (model.purpose, model.scale, model.tiling) == ("Inpainting", 1, spandrel.ModelTiling.DISCOURAGED)
    image = as_tensor(picture(45, 33))
    mask = torch.zeros(1, 1, 45, 33)
    mask[..., 10:25, 8:20] = 1
    found = model(image, mask)
    network, _ = load_network((path,))
    with torch.no_grad():
        expected = network(torch.cat((image * (1 - mask), mask), 1)).image_BCHW.clamp(0, 1)
    inside = (mask > 0).expand_as(image)
    assert torch.equal(found[~inside], image[~inside])
    assert (found - expected)[inside].abs().max() <= TOLERANCE
    assert torch.equal(model(image, mask / 2), found), "a feathered mask is a hole as far as it reaches"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts(spandrel, loader, tmp_path, layout):
    path = save_pth(tmp_path / "a.pth", small_published(layout))
    state = loader.load_state_dict_from_file(path)
    model = loader.load_from_state_dict(state)
    purposes = {"inpaint": "Inpainting", "sr_x2": "SR", "sr_x4": "SR"}
    assert model.purpose == purposes.get(layout, "Restoration")
    assert model.scale == {"sr_x2": 2, "sr_x4": 4}.get(layout, 1)
    network, _ = load_network((path,))
    image = as_tensor(picture(21, 30))
    if layout == "inpaint":
        mask = torch.zeros(1, 1, 21, 30)
        mask[..., 5:9, 5:25] = 1
        found = model(image, mask)
        image = torch.maximum(image, mask)  # The hole is painted white.
        shown = (mask > 0).expand_as(image)
    else:
        found = model(image)
        shown = torch.ones_like(found, dtype=torch.bool)
    with torch.no_grad():
        expected = network(image).image_BCHW.clamp(0, 1)
    assert (found - expected)[shown].abs().max() <= TOLERANCE


def test_values_that_keep_noise_and_other_types_are_no_obstacle(loader, tmp_path):
    """The file has a second set of values and is stored in fp16; full noise removal is what spandrel gets."""
    network = trunk_network()
    state = network.state_dict()
    faithful = {"trunk.body.0.weight": state["trunk.body.0.weight"] * 0.5}
    weights = Weights("whole", network.config, Provenance(), state, faithful)
    write_file(tmp_path / "a.safetensors", to_bytes(weights, torch.float16, with_config=True))
    model = loader.load_from_file(tmp_path / "a.safetensors")
    expected, _ = load_network((tmp_path / "a.safetensors",))
    ours, theirs = expected.state_dict(), model.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_convolutions_alone_may_be_tiled(spandrel, loader, tmp_path):
    path = exported(tmp_path / "a.safetensors", tiny_network("reconstruct"))
    assert loader.load_from_file(path).tiling == spandrel.ModelTiling.SUPPORTED


def test_parts_of_a_family_and_networks_of_others_are_not_ours(spandrel, loader, tmp_path):
    basis, fused, own = write_parts(tmp_path, tiny_network("reconstruct"), "own")
    for path in (basis, fused, own):
        with pytest.raises(spandrel.UnsupportedModelError):
            loader.load_from_file(path)
    # Real-ESRGAN's small network is spandrel's own architecture, and stays so.
    compact = loader.load_from_state_dict(start_tensors(0))
    assert compact.architecture.id == "Compact"


def test_a_published_checkpoint_that_lacks_a_key_is_not_ours(spandrel, loader, tmp_path):
    state = small_published("sr_x4")
    del state["out_conv.bias"]
    with pytest.raises(spandrel.UnsupportedModelError):
        loader.load_from_file(save_pth(tmp_path / "a.pth", state))


def test_damaged_tensors_are_refused(loader, tmp_path):
    path = exported(tmp_path / "a.safetensors", tiny_network("reconstruct"))
    tensors = load_file(path)
    tensors["decoder.head.conv.bias"][0] = torch.nan
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"decoder\.head\.conv\.bias has values that are not finite"):
        loader.load_from_file(path)
    del tensors["decoder.head.conv.bias"]
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"missing keys: decoder\.head\.conv\.bias"):
        loader.load_from_file(path)


def test_installing_twice_is_installing_once(spandrel):
    from adacode_cli.spandrel import ARCHITECTURE_ID, install

    registry = spandrel.ArchRegistry()
    install(registry)
    install(registry)
    assert [one.architecture.id for one in registry] == [ARCHITECTURE_ID]


def test_every_loader_has_it_after_one_call(spandrel, tmp_path):
    from adacode_cli import spandrel as plugin

    before = spandrel.MAIN_REGISTRY.copy()
    path = exported(tmp_path / "a.safetensors", tiny_network("sr", 4))
    try:
        plugin.install()
        assert spandrel.ModelLoader().load_from_file(path).scale == 4
    finally:
        for name in ("_architectures", "_ordered", "_by_id"):
            setattr(spandrel.MAIN_REGISTRY, name, getattr(before, name))


def test_the_configuration_decides_what_shapes_cannot_say(loader, tmp_path):
    """Of two files with the same shapes, one has mixing weights that sum to one."""
    config: NetworkConfig = replace(tiny_network("reconstruct").config, softmax=True)
    for softmax in (True, False):
        network = tiny_network("reconstruct", softmax=softmax)
        model = loader.load_from_file(exported(tmp_path / "a.safetensors", network))
        assert model.model.config == replace(config, softmax=softmax)
