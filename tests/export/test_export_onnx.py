"""ONNX models: onnxruntime gives what torch gives, for other sizes than the one that was traced."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("checkpoints", "model")]
from small_checkpoints import small_published
from small_networks import OWN_CONFIGS, SMALL_CONFIGS, TRUNK_CONFIGS, network

from adacode_cli.checkpoints.format import Provenance, Weights
from adacode_cli.checkpoints.load import WeightsSource, build
from adacode_cli.checkpoints.published import PublishedLayout
from adacode_cli.errors import OutputError, UsageError, WeightsError
from adacode_cli.export import onnx_check, onnx_model
from adacode_cli.export.onnx_check import TOLERANCE, clear_inputs, restored
from adacode_cli.export.onnx_model import write_onnx
from adacode_cli.export.portable import LEVELS, PortableNetwork, filled, halved
from adacode_cli.export.whole import whole_of
from adacode_cli.model.config import ContextConfig, NetworkConfig, SwinConfig
from adacode_cli.model.input import fill_holes, halve
from adacode_cli.model.network import AdaCode

REASON = "it is not installed (pip install 'adacode-cli[onnx]')"
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)
onnx = pytest.importorskip("onnx", reason=REASON)

SOURCE = Path("own.safetensors")
SHIFTED = SwinConfig(1, 2, heads=2, window=4, mlp_ratio=2)
INPAINT = NetworkConfig(
    "inpaint",
    channels=(8, 12),
    grid=2,
    stem="shuffle",
    norm="none",
    skip="fuse",
    num_skips=1,
    base="filled",
    mask_channel=True,
    coarse_passes=2,
    encoder_context=ContextConfig(8, 1, kernel=5),
    encoder_swin=SHIFTED,
    codebooks=((7, 4), (5, 6)),
)
# Of a small size, of one that is smaller than a window, of odd and of even sides, and of one pixel.
SIZES = ((40, 24), (17, 61), (3, 5), (64, 64), (1, 1))


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path: Path) -> Callable[..., np.ndarray]:
    found = session(path)
    names = [one.name for one in found.get_inputs()]
    return lambda *inputs: found.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})[0]


def weights_of(net: AdaCode) -> Weights:
    return Weights("whole", net.config, Provenance(licence="MIT"), net.state_dict())


def assert_equal_at(path: Path, net: AdaCode, sizes: tuple[tuple[int, int], ...], tolerance: float = TOLERANCE) -> None:
    model, computed = PortableNetwork(net).eval(), run(path)
    for height, width in sizes:
        inputs = clear_inputs(model, height, width)
        expected = restored(net, *inputs).numpy()
        made = computed(*inputs)
        assert made.shape == expected.shape == (1, 3, height * net.config.scale, width * net.config.scale)
        assert np.abs(made - expected).max() <= tolerance, (height, width)


def named(config: NetworkConfig) -> str:
    return f"{config.task} ×{config.scale} {config.norm} {config.skip} {config.base}"


# Some of the configurations are of no task that exists: with a mask, but not to fill holes, or enlarging filled holes.
POSSIBLE = [c for c in SMALL_CONFIGS if (c.scale == 1 if c.task == "inpaint" else not c.mask_channel)]


@pytest.mark.parametrize("config", POSSIBLE, ids=named)
def test_every_choice_of_a_network(tmp_path, config):
    net = network(config)
    write_onnx(weights_of(net), "small", SOURCE, tmp_path / "a.onnx")
    assert_equal_at(tmp_path / "a.onnx", net, SIZES)


@pytest.mark.parametrize("config", [*TRUNK_CONFIGS, *OWN_CONFIGS], ids=named)
def test_trunks_and_codes_alone(tmp_path, config):
    net = network(config)
    write_onnx(weights_of(net), "small", SOURCE, tmp_path / "a.onnx")
    assert_equal_at(tmp_path / "a.onnx", net, SIZES)


def test_shifted_windows_context_and_coarse_passes(tmp_path):
    net = network(INPAINT)
    write_onnx(weights_of(net), "small", SOURCE, tmp_path / "a.onnx")
    # With windows of 16 pixels, the image is halved twice, once, and never.
    assert net.config.pad_multiple == 16
    assert_equal_at(tmp_path / "a.onnx", net, (*SIZES, (97, 130), (20, 100), (16, 16), (17, 16)))


@pytest.mark.parametrize("layout", ["sr_x4", "inpaint", "reconstruct"])
def test_the_published_layout(tmp_path, layout):
    """GroupNorm over the whole image, and a padding that is always at least a pixel."""
    published = PublishedLayout(small_published(layout))
    net = build(published.config, {k: v.float() for k, v in published.translated().items()}, SOURCE)
    write_onnx(weights_of(net), layout, SOURCE, tmp_path / "a.onnx")
    assert_equal_at(tmp_path / "a.onnx", net, ((24, 40), (33, 20), (16, 16)))


@pytest.mark.parametrize("name", ["compact-sr-x4", "compact-inpaint", "compact-reconstruct"])
def test_the_bundled_networks(tmp_path, name):
    source = WeightsSource(name)
    notes = write_onnx(whole_of(source).weights, name, source.own_file(), tmp_path / "a.onnx")
    assert float(notes[0].split("at most ")[1].split()[0]) <= TOLERANCE
    net, computed = source.own_network()[0], run(tmp_path / "a.onnx")
    image = data.astronaut()[60:, 180:].astype(np.float32) / 255
    # With the last size, inpainting uses all of its coarse passes.
    for height, width in ((50, 33), (72, 131), *(((260, 300),) if name == "compact-inpaint" else ())):
        inputs = [torch.from_numpy(image[:height, :width].copy()).permute(2, 0, 1)[None]]
        if name == "compact-inpaint":
            inputs.append(torch.zeros(1, 1, height, width))
            inputs[1][..., 10:40, 12:30] = 1
        expected = restored(net, *inputs).numpy()
        assert np.abs(computed(*inputs) - expected).max() <= TOLERANCE
        if name == "compact-inpaint":
            assert np.abs(expected - inputs[0].numpy())[..., 10:40, 12:30].max() > 0.05


def test_the_model_says_what_it_is(tmp_path):
    net = network(replace(INPAINT, coarse_passes=0))
    provenance = Provenance(
        family="mine",
        trained_on="photographs",
        licence="MIT",
        source="adacode train",
        base_model="realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)",
        base_licence="BSD-3-Clause",
    )
    write_onnx(replace(weights_of(net), provenance=provenance), "mine-inpaint", SOURCE, tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    facts = {one.key: one.value for one in model.metadata_props}
    assert (facts["name"], facts["task"], facts["scale"]) == ("mine-inpaint", "inpaint", "1")
    assert facts["licence"] == "MIT AND BSD-3-Clause"
    assert (facts["size_multiple"], facts["padded_inside_to_multiple"]) == ("1", "16")
    assert json.loads(facts["provenance"])["trained_on"] == "photographs"
    assert "Redistribution and use in source and binary forms" in facts["notice"]
    assert facts["input"] == "1×3×height×width float32, RGB, 0 to 1"
    found = session(tmp_path / "a.onnx")
    assert [(one.name, one.shape) for one in found.get_inputs()] == [
        ("image", [1, 3, "height", "width"]),
        ("mask", [1, 1, "height", "width"]),
    ]
    assert [one.name for one in found.get_outputs()] == ["output"]
    assert model.opset_import[0].version == onnx_model.OPSET


def test_of_codes_at_the_same_distance_the_first_one_wins(tmp_path):
    """Each code is there three times, and what follows the search tells them apart."""
    net = network(OWN_CONFIGS[0])
    for book in net.codebook.books:
        with torch.no_grad():
            book.embedding.weight.copy_(book.embedding.weight[:1].expand_as(book.embedding.weight))
            book.embedding.weight[3:] = 0.3
    inputs = torch.rand(1, 3, 40, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codes = net(inputs).codes
    assert {int(code) for one in codes for code in one.unique()} <= {0, 3}
    model = PortableNetwork(net).eval()
    content = onnx_model._described(onnx_model._traced(model), weights_of(net), "ties")
    traced = onnx.load_model_from_string(content)
    searches = [node.output[0] for node in traced.graph.node if node.op_type == "ArgMin"]
    assert len(searches) == len(codes)
    traced.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in searches)
    found = onnxruntime.InferenceSession(traced.SerializeToString(), providers=["CPUExecutionProvider"])
    made = found.run(searches, {"image": inputs.numpy()})
    assert all(np.array_equal(one, code.numpy()) for one, code in zip(made, codes, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 16), (37, 64), (130, 7)])
def test_the_pyramid_of_fixed_depth_fills_as_the_one_that_is_as_deep_as_needed(size):
    generator = torch.Generator().manual_seed(sum(size))
    image = torch.rand(1, 3, *size, generator=generator)
    for share in (0, 0.3, 0.9, 1):
        hole = (torch.rand(1, 1, *size, generator=generator) < share).float()
        assert max(size) <= 2**LEVELS
        assert (filled(image, hole) - fill_holes(image, hole)).abs().max() <= 1e-6
        both = torch.cat((image, hole), 1)
        assert torch.equal(halved(both), halve(both))


def test_a_model_that_differs_is_not_written(tmp_path, monkeypatch):
    net = network(OWN_CONFIGS[0])

    class Wrong(PortableNetwork):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(*inputs) * 0.999

    monkeypatch.setattr(onnx_model, "PortableNetwork", Wrong)
    with pytest.raises(WeightsError, match="differs from the network by up to") as raised:
        write_onnx(weights_of(net), "wrong", SOURCE, tmp_path / "a.onnx")
    assert raised.value.path == SOURCE
    assert list(tmp_path.iterdir()) == []


def test_the_test_image_is_the_one_with_the_clearest_codes():
    net = network(OWN_CONFIGS[0])
    model = PortableNetwork(net).eval()
    candidates = [onnx_check._inputs(model, 20, 30, seed) for seed in range(6)]
    gaps = [onnx_check._least_gap(model, inputs) for inputs in candidates]
    assert 0 < min(gaps) < max(gaps)
    (chosen,), (clearest,) = clear_inputs(model, 20, 30), candidates[int(np.argmax(gaps))]
    assert torch.equal(chosen, clearest)
    assert all(book.on_distances is None for book in model.network.codebook.books)
    with torch.no_grad():  # Two codes that are the same are never decided.
        net.codebook.books[0].embedding.weight[1:] = net.codebook.books[0].embedding.weight[:1]
    assert onnx_check._least_gap(PortableNetwork(net).eval(), candidates[0]) == 0


def test_every_coarse_pass_is_compared():
    config = WeightsSource("compact-inpaint").own_network()[0].config
    assert config.coarse_passes > 1
    sides = [min(size) for size in onnx_check._sizes(config)]
    assert max(sides) > config.pad_multiple * 2 ** (config.coarse_passes - 1)


def test_a_feathered_mask_is_a_hole_as_far_as_it_reaches():
    model = PortableNetwork(network(INPAINT)).eval()
    image, mask = onnx_check._inputs(model, 40, 50, 1)
    with torch.no_grad():
        assert torch.equal(model(image, mask / 2), model(image, mask))


def test_an_image_of_another_shape_counts_as_a_difference():
    assert onnx_check._difference(np.zeros((1, 3, 4, 4), np.float32), np.zeros((1, 3, 4, 5), np.float32)) == np.inf


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_a_missing_library_is_named_with_the_extra(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=f"{library} cannot be imported") as raised:
        write_onnx(weights_of(network(OWN_CONFIGS[0])), "a", SOURCE, tmp_path / "a.onnx")
    assert "adacode-cli[onnx]" in raised.value.hint


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be made into a folder"):
        write_onnx(weights_of(network(OWN_CONFIGS[0])), "a", SOURCE, tmp_path / "file" / "a.onnx")


def test_more_values_than_a_file_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "_MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="2 GB"):
        write_onnx(weights_of(network(OWN_CONFIGS[0])), "a", SOURCE, tmp_path / "a.onnx")
