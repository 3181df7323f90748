"""Perceptual networks by name. `lpips` and `pyiqa` are large and optional: small packages of their interface, written
into a directory and imported by a process of its own, stand in for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from perceptual_fixture import save_perceptual
from safetensors.torch import save_file

from adacode_cli.checkpoints.format import read_weights
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.evaluation import perceptual
from adacode_cli.evaluation.perceptual import load_perceptual, perceptual_identity, perceptual_title, same_network
from adacode_cli.model.perceptual import Lpips, even_strength, unit_length

ROOT = Path(__file__).parents[2]

# lpips.LPIPS as documented: `net`, `verbose`; a scaling layer, slices, dropout in the heads; B×1×1×1 distances.
LPIPS_PACKAGE = """
import torch
from torch import nn

print("Setting up")

class Scaling(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.tensor([-.03, -.088, -.188])[None, :, None, None])
        self.register_buffer("scale", torch.tensor([.458, .448, .45])[None, :, None, None])
    def forward(self, x):
        assert x.min() < 0, "inputs are in [-1, 1]"
        return (x - self.shift) / self.scale

class Trunk(nn.Module):
    def __init__(self, channels, sides):
        super().__init__()
        torch.manual_seed(0)
        self.num, into = len(channels), 3
        for i, (out, side) in enumerate(zip(channels, sides)):
            conv = nn.Conv2d(into, out, 3, stride=side, padding=1)
            setattr(self, f"slice{i + 1}", nn.Sequential(conv, nn.ReLU(inplace=True)))
            into = out
    def forward(self, x):
        found = []
        for i in range(self.num):
            x = getattr(self, f"slice{i + 1}")(x)
            found.append(x)
        return found

class LPIPS(nn.Module):
    def __init__(self, net="alex", verbose=True):
        super().__init__()
        if verbose:
            print("Loading")
        self.scaling_layer = Scaling()
        self.net = {
            "alex": lambda: Trunk([64, 192, 384, 256, 256], [4, 2, 2, 1, 1]),
            "vgg": lambda: Trunk([64, 128, 256, 512, 512], [1, 2, 2, 2, 2]),
            "squeeze": lambda: Trunk([64, 128, 256, 384, 384, 512, 512], [2, 2, 2, 2, 1, 1, 1]),
        }[net]()
        self.dropout = nn.Dropout()
        self.eval()
    def forward(self, in0, in1, retPerLayer=False, normalize=False):
        if normalize:
            in0, in1 = 2 * in0 - 1, 2 * in1 - 1
        a, b = self.net(self.scaling_layer(in0)), self.net(self.scaling_layer(in1))
        return sum(self.dropout((x - y) ** 2).mean((1, 2, 3), keepdim=True) for x, y in zip(a, b))
"""

PYIQA_PACKAGE = """
import torch
from torch import nn

_BETTER = {"dists": True, "ssim": False}

def list_models(metric_mode=None, filter="", exclude_filters=""):
    return sorted(_BETTER) if metric_mode == "FR" else [*sorted(_BETTER), "niqe"]

class Inference(nn.Module):
    def __init__(self, name, device):
        super().__init__()
        self.lower_better, self.device = _BETTER[name], device
    def forward(self, target, ref=None):
        with torch.no_grad():
            return (target - ref).abs().mean((1, 2, 3))[:, None] + target.mean((1, 2, 3))[:, None]

def create_metric(metric_name, as_loss=False, device=None):
    assert isinstance(device, torch.device)
    print("Loading pretrained model")
    return Inference(metric_name, device)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for name, text in (("lpips", LPIPS_PACKAGE), ("pyiqa", PYIQA_PACKAGE)):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    return folder


SCRIPT = """
import json, sys, torch, urllib.error
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.evaluation.perceptual import load_perceptual

def message_of(call, *arguments, **more):
    try:
        return ["nothing", str(call(*arguments, **more)), ""]
    except (UsageError, WeightsError) as error:
        return [type(error).__name__, str(error), error.hint]

def measured(name):
    import lpips
    network = load_perceptual(name, for_training=True).to("cpu")
    torch.manual_seed(1)
    x, y = torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)
    network.train()
    distances, again = network(x, y), network(x, y)
    direct = lpips.LPIPS(net=name[6:], verbose=False)(x, y, normalize=True).flatten()
    leaf = x.clone().requires_grad_()
    (network(leaf, y).sum() + network.semantic(leaf).sum()).backward()
    network.network.net.slice5.register_forward_pre_hook(lambda *_: 1 / 0)  # a deeper layer than is needed
    features = network.semantic(x)
    return {
        "shape": list(distances.shape), "repeats": bool((distances == again).all()),
        "direct": bool(torch.allclose(distances, direct)), "positive": bool((distances > 0).all()),
        "gradient": bool(torch.isfinite(leaf.grad).all() and leaf.grad.abs().sum() > 0),
        "frozen": not any(p.requires_grad for p in network.parameters()),
        "features": list(features.shape), "channels": network.semantic_channels,
        "strength": round(float(features.square().mean(1).median()), 4), "least": float(features.min()) >= 0,
    }

load_perceptual("lpips-alex")
names = ("lpips-alex", "lpips-vgg", "lpips-squeeze")
found = {"lpips": {name: measured(name) for name in names}}
dists = load_perceptual("pyiqa:dists")
x, y = torch.rand(2, 3, 40, 40), torch.rand(2, 3, 40, 40)
wanted = (x - y).abs().mean((1, 2, 3)) + x.mean((1, 2, 3))
found["dists"] = [bool(torch.allclose(dists.to("cpu")(x, y), wanted)), dists.semantic_channels]
found["refused"] = {
    "is not a distance": message_of(load_perceptual, "pyiqa:ssim"),
    "It has: dists, ssim.": message_of(load_perceptual, "pyiqa:niqe"),
    "no gradient": message_of(load_perceptual, "pyiqa:dists", for_training=True),
    "no features": message_of(dists.semantic, x),
}
def refuse(**_):
    raise urllib.error.URLError("no route")
sys.modules["lpips"].LPIPS = refuse
found["fetched"] = message_of(load_perceptual, "lpips-alex")
sys.modules["lpips"] = sys.modules["pyiqa"] = None  # as if they were not installed
found["missing"] = [message_of(load_perceptual, name) for name in ("lpips-vgg", "pyiqa:dists")]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(packages) -> dict:
    """What the script prints as JSON; whatever the packages print beside it would make it none."""
    paths = os.pathsep.join((str(packages), str(ROOT)))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "Setting up" in result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(("name", "channels"), [("lpips-alex", 192), ("lpips-vgg", 512), ("lpips-squeeze", 256)])
def test_the_lpips_package_gives_distances_gradients_and_features(found, name, channels):
    yes = dict.fromkeys(("repeats", "direct", "positive", "gradient", "frozen", "least"), True)
    expected = yes | {"shape": [2], "features": [2, channels, 8, 12], "channels": channels, "strength": 1.0}
    assert found["lpips"][name] == expected


def test_pyiqas_distances_are_for_measuring_only(found):
    assert found["dists"] == [True, 0]
    for words, (kind, text, hint) in found["refused"].items():
        assert kind == "UsageError"
        assert words in f"{text} {hint}"


def test_a_package_that_is_not_installed_is_named_with_how_to_install_it(found):
    assert [kind for kind, _, _ in found["missing"]] == ["UsageError", "UsageError"]
    assert [hint for _, _, hint in found["missing"]] == ["pip install lpips", "pip install pyiqa"]
    assert found["missing"][0][1].startswith("lpips-vgg needs the package lpips")


def test_weights_that_cannot_be_fetched_are_an_error_of_their_own(found):
    kind, text, hint = found["fetched"]
    assert kind == "WeightsError"
    assert "no route" in text
    assert "downloaded" in hint


def test_names_that_mean_nothing_list_the_choices(tmp_path):
    assert load_perceptual(None) is None
    assert load_perceptual("") is None
    with pytest.raises(WeightsError, match="no file") as found:
        load_perceptual("lpips-resnet")
    assert all(choice in found.value.hint for choice in ("safetensors", "lpips-alex", "lpips-vgg", "pyiqa:METRIC"))
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_perceptual(tmp_path / "a.safetensors")
    save_file({"conv1.w": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="lacks"):
        load_perceptual(str(tmp_path / "b.safetensors"))
    with pytest.raises(UsageError, match="no gradient"):
        load_perceptual("pyiqa:dists", for_training=True)


def test_what_tables_call_them():
    assert [perceptual_title(name) for name in ("lpips-vgg", "a/b.safetensors", "pyiqa:dists")] == [
        "LPIPS",
        "LPIPS",
        "DISTS",
    ]


def test_features_of_a_file_are_its_networks_third_map(tmp_path, monkeypatch):
    network = load_perceptual(save_perceptual(tmp_path / "a.safetensors"))
    image = torch.rand(2, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    wanted = network.taps(image)[2]
    fires = []
    fire = Lpips._fire
    monkeypatch.setattr(Lpips, "_fire", lambda self, x, i: fires.append(i) or fire(self, x, i))
    features = network.semantic(image)
    assert fires == [2, 3, 4, 5]  # nothing deeper
    assert features.shape[:2] == (2, network.semantic_channels)
    assert all(abs(a - b / 8) <= 1 for a, b in zip(features.shape[2:], (128, 192), strict=True))
    torch.testing.assert_close(features, wanted * network.semantic_channels**0.5)
    leaf = image.clone().requires_grad_()
    network.semantic(leaf).square().sum().backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()


def test_strength_is_even_and_nothing_stays_nothing():
    features = torch.rand(2, 5, 3, 4) * torch.tensor([1e-3, 1e3]).view(2, 1, 1, 1)
    features[0, :, 0, 0] = 0
    torch.testing.assert_close(even_strength(features).square().mean(1)[1], torch.ones(3, 4))
    torch.testing.assert_close(unit_length(features).square().sum(1)[1], torch.ones(3, 4))
    assert even_strength(features)[0, :, 0, 0].tolist() == [0.0] * 5


def test_the_bundled_network_needs_no_file_and_orders_damage():
    network = load_perceptual("lpips")
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 8, 8, generator=rng)
    image = torch.nn.functional.interpolate(image, (96, 96), mode="bicubic").clamp(0, 1)
    noise = torch.randn(image.shape, generator=rng)
    distances = [float(network(image, (image + strength * noise).clamp(0, 1))) for strength in (0, 0.02, 0.1, 0.3)]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert isinstance(network, Lpips)
    assert network.semantic_channels == 256


def test_a_file_of_the_bundled_network_is_the_same_network():
    """So a run that was given the file continues with the bundled one, and the bundled weights name it."""
    bundled = ROOT / "weights" / "lpips.safetensors"
    assert same_network(perceptual_identity(str(bundled))) == same_network("lpips") == "lpips"
    for name in ("compact-stage2", "compact-sr-x4"):
        recipe = json.loads(read_weights(ROOT / "weights" / f"{name}.safetensors").provenance.recipe)
        assert same_network(recipe["perceptual"]) == "lpips"
    assert same_network("other.safetensors sha256:12") == "12"
    assert same_network("lpips-vgg") == "lpips-vgg"


def test_a_damaged_bundled_network_is_refused(tmp_path, monkeypatch):
    data = bytearray((ROOT / "weights" / "lpips.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "lpips.safetensors").write_bytes(data)
    monkeypatch.setattr(perceptual, "weights_folder", lambda: tmp_path)
    with pytest.raises(WeightsError) as found:
        load_perceptual("lpips")
    assert found.value.path == tmp_path / "lpips.safetensors"
    assert "reinstall" in found.value.hint


def test_the_licence_of_the_bundled_network_is_distributed_with_it():
    notice = (ROOT / "weights" / "LICENSE.LPIPS").read_text(encoding="utf-8")
    assert "Copyright (c) 2018, Richard Zhang" in notice
    assert "SqueezeNet" in notice
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "BSD-2-Clause" in project["license"]
    assert "weights/LICENSE.*" in project["license-files"]
