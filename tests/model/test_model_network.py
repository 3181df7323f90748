"""The whole network in every variant: shapes, gradients, files, tiles."""

from __future__ import annotations

import pytest
import torch
from small_networks import OWN_CONFIGS, SMALL_CONFIGS, TRUNK_CONFIGS, network, picture

from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.geometry import Box
from adacode_cli.model.config import NetworkConfig, SwinConfig
from adacode_cli.model.input import base_image, padded_size, prepare_input
from adacode_cli.model.network import AdaCode

VARIANTS = dict(enumerate(SMALL_CONFIGS)) | {f"trunk {n}": config for n, config in enumerate(TRUNK_CONFIGS)}
VARIANTS |= {f"own decoder {n}": config for n, config in enumerate(OWN_CONFIGS)}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=map(str, VARIANTS))
SIZES = ((1, 1), (1, 7), (13, 5), (9, 33))


@every_variant
@torch.inference_mode()
def test_an_image_of_any_size_is_restored(config):
    net = network(config)
    for height, width in SIZES:
        restored = net(picture(config, height, width))
        assert restored.image_BCHW.shape == (1, 3, height * config.scale, width * config.scale)
        assert torch.isfinite(restored.image_BCHW).all()
        latent = tuple(side * config.scale // config.latent_stride for side in padded_size(config, height, width))
        assert restored.weights_BKHW.shape == (1, config.num_bases, *latent)
        for codes, num_codes in zip(restored.codes, config.book_sizes, strict=True):
            assert codes.shape == (1, *latent)
            assert codes.min() >= 0
            assert codes.max() < num_codes


@every_variant
@torch.inference_mode()
def test_images_of_a_batch_do_not_touch_one_another(config):
    net = network(config)
    images = torch.cat([picture(config, 10, 17, seed) for seed in (1, 2)])
    together = net(images)
    for n in range(2):
        alone = net(images[n : n + 1])
        torch.testing.assert_close(together.image_BCHW[n : n + 1], alone.image_BCHW, rtol=1e-4, atol=1e-4)


@every_variant
@torch.inference_mode()
def test_the_whole_is_the_detail_on_the_base(config):
    net = network(config)
    height, width = (2 * config.pad_multiple,) * 2
    image = picture(config, height - 1, width - 1)
    prepared = prepare_input(torch.nn.functional.pad(image, (0, 1, 0, 1), mode="replicate"), config.base)
    base = base_image(prepared, config.base, config.scale)
    expected = net.detail(prepared).image_BCHW + (0 if base is None else base)
    s = config.scale
    assert torch.equal(net(image).image_BCHW, expected[..., : (height - 1) * s, : (width - 1) * s])


@every_variant
def test_every_parameter_learns_where_codes_pass_gradients_on(config):
    """With codes that pass gradients to their features and vectors; the choice of a code itself has none.

    The mixing weight of a single basis under a softmax is always one, so that its predictor has gradients of zero. A
    trunk is in place of the decoder's head, and a decoder of a task's own in place of the shared one.
    """
    net = network(config)
    side = config.pad_multiple
    encoded = net.encode(prepare_input(picture(config, side, 2 * side), config.base))
    features = [before(encoded.latent_BCHW) for before in net.codebook.before]
    books = zip(net.codebook.books, features, strict=True)
    through = [book.look_up(book.nearest(f)) + f - f.detach() for book, f in books]
    mixed = net.codebook.mix(through, net.codebook.weights(encoded.latent_BCHW))
    image = net.render(mixed, encoded.skips)
    (image * torch.randn(image.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    constant = "codebook.predictor." if config.softmax and config.num_bases == 1 else "none"
    for name, parameter in net.named_parameters():
        if name.startswith("decoder." if config.own_decoder else "decoder.head." if config.trunk else "none"):
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name.endswith("weight") and not name.startswith(constant):
            assert parameter.grad.any(), name


@every_variant
@torch.inference_mode()
def test_a_saved_network_is_the_same_to_the_last_bit(config, tmp_path):
    net = network(config)
    path = tmp_path / "own.safetensors"
    write_weights(path, Weights("whole", config, Provenance(), net.state_dict()))
    again, _ = load_network((path,))
    assert again.config == config
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    state = again.state_dict()
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
    image = picture(config, 9, 14)
    first, second = net(image), again(image)
    assert torch.equal(first.image_BCHW, second.image_BCHW)
    assert torch.equal(first.weights_BKHW, second.weights_BKHW)


@pytest.mark.parametrize("stem", ["conv4", "shuffle"])
@pytest.mark.parametrize("skip", ["add", "fuse"])
@torch.inference_mode()
def test_a_fused_skip_starts_from_the_down_path_where_the_grids_agree(stem, skip):
    """The map of a 4×4 stem lacks a row and a column and takes no part."""
    encoder = network(NetworkConfig("sr", channels=(8, 12, 16), stem=stem, norm="none", skip=skip, num_skips=2)).encoder
    image = torch.rand(1, 3, 16, 24)
    encoded = encoder(image)
    finest = encoder.stem(image)
    middle = encoder.down[0](finest)
    latent = encoder.down[1](middle)
    first = encoder.up[0](latent) + (middle if skip == "fuse" else 0)
    second = encoder.up[1](first) + (finest if (skip, stem) == ("fuse", "shuffle") else 0)
    for found, expected in zip((encoded.latent_BCHW, *encoded.skips), (latent, first, second), strict=True):
        assert torch.equal(found, expected)


LOCAL = {"channels": (8, 8), "grid": 2, "stem": "shuffle", "norm": "none", "decoder_depth": 1, "encoder_depth": 1}
TILED = (
    NetworkConfig("sr", 2, **LOCAL, skip="fuse", num_skips=1, codebooks=((9, 4),) * 3),
    NetworkConfig("inpaint", 1, **LOCAL, mask_channel=True, skip="add", num_skips=1, base="filled", softmax=True),
    NetworkConfig("basis", 1, **{**LOCAL, "channels": (8, 8, 8)}, stem_depth=1, head_depth=1),
)


@pytest.mark.parametrize("config", TILED, ids=lambda c: c.task)
@torch.inference_mode()
def test_a_tile_with_a_halo_sees_what_the_whole_image_would(config):
    """Without normalisation and without attention, what is farther than the halo has no influence at all."""
    net, stride = network(config), config.latent_stride
    cell, halo = stride // config.scale, 14 * stride // config.scale
    height, width = 40 * cell, 48 * cell
    prepared = picture(config, height, width)
    whole = net.detail(prepared)
    for top, left in ((0, 0), (16 * cell, 20 * cell), (height - 8 * cell, width - 8 * cell)):
        bottom, right = top + 8 * cell, left + 8 * cell
        y, x = max(0, top - halo), max(0, left - halo)
        tile = net.detail(prepared[..., y : bottom + halo, x : right + halo])
        for whole_map, tile_map, up, down in (
            (whole.image_BCHW, tile.image_BCHW, config.scale, 1),
            (whole.weights_BKHW, tile.weights_BKHW, config.scale, stride),
            (whole.codes[0], tile.codes[0], config.scale, stride),
        ):
            in_whole = Box(top, left, bottom, right).scaled(up, down)
            in_tile = Box(top - y, left - x, bottom - y, right - x).scaled(up, down)
            expected = whole_map[(..., *in_whole.slices)]
            assert expected.shape[-2:] == (8 * cell * up // down,) * 2
            torch.testing.assert_close(tile_map[(..., *in_tile.slices)], expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_with_group_norm_a_tile_differs():
    """So the test above is not passed by whatever is far away being too weak to matter."""
    config = NetworkConfig("basis", channels=(32, 32), grid=2, stem="shuffle", codebooks=((9, 4),))
    net, image = network(config), picture(config, 160, 160)
    image[..., 80:] *= 0.1
    whole, tile = net.detail(image).image_BCHW, net.detail(image[..., :80, :80]).image_BCHW
    assert (whole[..., :16, :16] - tile[..., :16, :16]).abs().max() > 1e-3


def test_nothing_but_weights_is_stored():
    """Index tables and masks are derived, so that a file neither grows with them nor fixes a size of image."""
    config = NetworkConfig("inpaint", channels=(8, 8), norm="none", encoder_swin=SwinConfig(1, 2, 2, 4))
    net = AdaCode(config)
    before = set(net.state_dict())
    net(torch.rand(1, 3, 20, 30))
    assert set(net.state_dict()) == before == {name for name, _ in net.named_parameters()}
