"""Networks of Real-ESRGAN's layout as a start: what is taken, whose it is, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_checkpoints import save_pth, start_tensors, tiny_network, trunk_network

from adacode_cli.checkpoints.base_models import notice_of
from adacode_cli.checkpoints.real_esrgan import as_trunk, is_start, read_trunk
from adacode_cli.errors import WeightsError
from adacode_cli.model.network import Trunk

CONFIG = trunk_network().config
BASE = "realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"


@pytest.mark.parametrize(
    ("metadata", "base", "licence"),
    [
        ({"name": "net", "source": "somewhere", "licence": "MIT"}, "net (MIT, somewhere)", "MIT"),
        ({"base": BASE, "recipe": "4 steps"}, BASE, "BSD-3-Clause"),
        ({"base": BASE, "licence": "MIT"}, BASE, "MIT"),
        ({"base": "a friend's"}, "a friend's", ""),
        (None, "mine", ""),
    ],
)
def test_metadata_tell_whose_network_it_is(tmp_path, metadata, base, licence):
    save_file({k: v.half() for k, v in start_tensors(1).items()}, tmp_path / "mine.safetensors", metadata)
    start = read_trunk(tmp_path / "mine.safetensors", CONFIG)
    assert (start.base_model, start.base_licence) == (base, licence)
    assert start.tensors.keys() == start_tensors(1).keys()
    assert all(torch.equal(t, start_tensors(1)[k].half().float()) for k, t in start.tensors.items())


@pytest.mark.parametrize(
    ("name", "base", "licence"), [("realesr-general-x4v3", BASE, "BSD-3-Clause"), ("other", "other", "")]
)
def test_a_pth_has_its_name_alone(tmp_path, name, base, licence):
    start = read_trunk(save_pth(tmp_path / f"{name}.pth", start_tensors(1)), CONFIG)
    assert (start.base_model, start.base_licence) == (base, licence)
    assert all(torch.equal(t, start_tensors(1)[k]) for k, t in start.tensors.items())


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "pt", "licence": ""}])
def test_published_weights_that_only_changed_their_format_keep_their_licence(tmp_path, metadata):
    path = tmp_path / "realesr-general-x4v3.SAFETENSORS"
    save_file(start_tensors(1), path, metadata)
    start = read_trunk(path, CONFIG)
    assert (start.base_model, start.base_licence) == (BASE, "BSD-3-Clause")
    assert notice_of(start.base_model) == "LICENSE.Real-ESRGAN"


@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_a_start_packs_single_pixels_whatever_the_network_does(tmp_path, grid):
    config = replace(CONFIG, grid=grid, scale=1 if grid < 4 else 4)
    wanted = {k: v for k, v in Trunk(config, pack=1).state_dict().items() if k.startswith("body.")}
    save_file(wanted, tmp_path / "a.safetensors")
    own = as_trunk(read_trunk(tmp_path / "a.safetensors", config), config)
    trunk = Trunk(config)
    trunk.load_state_dict({k.removeprefix("trunk."): v for k, v in own.items()}, strict=False)
    image = torch.rand(1, 3, 16, 16)
    single = Trunk(config, pack=1)
    single.load_state_dict(wanted, strict=False)
    pack = config.cell_px // config.scale
    torch.testing.assert_close(
        trunk.finish(trunk.begin(image), None), single.finish(single.begin(F.avg_pool2d(image, pack)), None)
    )


def test_what_is_no_such_network_or_of_another_size_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = start_tensors(1)
    assert is_start(tensors)
    del tensors["body.6.bias"]
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"not a trunk of this size: missing keys: body\.6\.bias") as caught:
        read_trunk(path, CONFIG)
    assert caught.value.path == path
    save_file(start_tensors(1) | {"body.6.bias": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"wrong shapes: body\.6\.bias"):
        read_trunk(path, CONFIG)
    state = tiny_network("sr", 4).state_dict()
    assert not is_start(state)
    assert not is_start({})
    save_file(state, path)
    with pytest.raises(WeightsError, match="not a trunk of this size"):
        read_trunk(path, CONFIG)
    path.write_bytes(b"text")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_trunk(path, CONFIG)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_trunk(tmp_path / "gone.pth", CONFIG)
