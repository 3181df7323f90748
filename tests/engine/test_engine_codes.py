"""Codes hold the whole image: encoded, kept as bytes and decoded it is the same image, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import ATTENTIVE, CPU, LOCAL, PUBLISHED, TinyWeights, for_task, network, photograph, psnr, restorer

from adacode_cli.codes.file import MAGIC, from_bytes, to_bytes
from adacode_cli.engine.codes import Coder, decoder_digest
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.engine.runner import Runner
from adacode_cli.errors import InputError, WeightsError
from adacode_cli.imaging.decode import decode as decode_image
from adacode_cli.model.config import DecoderConfig, ResidualConfig

DTYPES = (np.uint8, np.uint16, np.float32)


class Weights(TinyWeights):
    """As a family of weights, with a name and chosen values."""

    def __init__(self, config, name="tiny", seed=0):
        super().__init__(config)
        self.name, self.seed = name, seed

    def network(self, task, scale, denoise=1.0):
        return network(for_task(self.config, task, scale), self.seed), None


def coder(config=LOCAL, seed=0, name="tiny", **options):
    return Restorer(Weights(config, name, seed), CPU, RunOptions(**{"precision": "fp32", **options}))


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 3, 4]), st.sampled_from(DTYPES))
@settings(max_examples=15, deadline=None)
def test_an_image_from_a_file_is_the_image_of_its_codes(height, width, channels, dtype):
    image, one = photograph(height, width, dtype, channels), coder()
    codes = one.encode(image)
    again = coder().decode(from_bytes(to_bytes(codes), name="x"))
    np.testing.assert_array_equal(again.image, one.decode(codes).image)
    assert (again.image.shape, again.image.dtype) == (image.shape, image.dtype)
    if channels == 4:
        np.testing.assert_array_equal(again.image[..., 3], image[..., 3])
    rows, columns = -(-height // 8), -(-width // 8)
    assert again.mixing_weights.shape == (2, rows, columns)
    assert again.weights_extent == (8 * rows / height, 8 * columns / width)
    assert again.categories == ("meadow", "brick")


@pytest.mark.parametrize("config", [LOCAL, ATTENTIVE, PUBLISHED], ids=["local", "attentive", "published"])
def test_codes_give_what_reconstruct_gives_but_for_the_quantised_weights(config):
    image = photograph(101, 150, np.float32)
    one = coder(config)
    assert psnr(one.decode(one.encode(image)).image, one.reconstruct(image)) > 50


@pytest.mark.parametrize(("height", "width"), [(20, 25), (8, 32), (8, 25), (4, 40)])
def test_bundled_codes_from_a_file_give_the_same_bits_in_float(height, width):
    """The order in which arrays lie in memory must not matter, where images are so small that it changes sums."""
    one = Restorer.from_pretrained("compact", device="cpu", precision="fp32")
    codes = one.encode(photograph(height, width, np.float32))
    expected = one.decode(codes).image
    read = from_bytes(to_bytes(codes, one.prior()), name="x", prior=one.prior)
    np.testing.assert_array_equal(one.decode(read).image, expected)
    for order in "CF":
        steps = np.array(codes.steps_KHW, order=order)
        np.testing.assert_array_equal(one.decode(replace(codes, steps_KHW=steps)).image, expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("config", [LOCAL, ATTENTIVE, PUBLISHED], ids=["local", "attentive", "published"])
def test_tiles_and_whole_images_have_the_same_codes(config, precision):
    image = photograph(200, 330)
    whole = coder(config, tile="none", precision=precision).encode(image)
    tiled = coder(config, tile=64, precision=precision).encode(image)
    np.testing.assert_array_equal(whole.codes_KHW, tiled.codes_KHW)
    np.testing.assert_array_equal(whole.steps_KHW, tiled.steps_KHW)


def test_an_image_of_several_decoder_tiles_has_no_seams():
    """The whole grid at once through the network itself, where the coder takes tiles of 8 cells."""
    one, image = coder(tile=64), photograph(500, 800, np.float32)
    image = np.concatenate([image, image[::-1]])
    codes = one.encode(image)
    books = tuple(torch.from_numpy(book.astype(np.int64))[None] for book in codes.codes_KHW)
    net = network(LOCAL)
    with torch.inference_mode():
        whole = net.render(net.codebook.mixed(books, torch.from_numpy(codes.mixing)[None]))
    whole = whole[0, :, :1000, :800].permute(1, 2, 0).clamp(0, 1).numpy()
    np.testing.assert_allclose(one.decode(codes).image, whole, atol=1e-5)


def test_the_digest_is_of_the_decoder_alone():
    one, other, same = network(LOCAL), network(LOCAL, seed=1), network(LOCAL)
    with torch.no_grad():
        same.encoder.stem.conv.weight.add_(1)
        same.codebook.predictor.out.bias.add_(1)
    assert decoder_digest(one) == decoder_digest(same)
    assert decoder_digest(one) != decoder_digest(other)
    with torch.no_grad():
        same.decoder.head.conv.bias[0] += 1e-6
    assert decoder_digest(one) != decoder_digest(same)


def test_codes_belong_to_the_decoder_that_draws_them():
    """Also to one of the network's own; the digest of a network without one is that of earlier versions."""
    own = replace(LOCAL, own_decoder=DecoderConfig(0, 1, 0))
    shared, one, other = network(LOCAL), network(own), network(own)
    with torch.no_grad():
        other.own_decoder.head.conv.bias[0] += 1e-6
    assert len({decoder_digest(net) for net in (shared, one, other)}) == 3
    state = {key: torch.linspace(-1, 1, v.numel()).view(v.shape) for key, v in shared.state_dict().items()}
    shared.load_state_dict(state)
    assert decoder_digest(shared).hex() == "38e1e569fef5e6d59e9e942a1cedc9b7"
    image = photograph(101, 150)
    restorer = coder(own)
    codes = restorer.encode(image)
    np.testing.assert_array_equal(restorer.decode(codes).image, restorer.decode(codes).image)
    assert psnr(restorer.decode(codes).image / 255, restorer.reconstruct(image) / 255) > 45
    with pytest.raises(WeightsError):
        coder(LOCAL).decode(codes)


def test_an_image_can_be_made_of_the_first_levels_of_codes_alone():
    """It is what the network without further levels makes; all levels together make another image."""
    levels, image = replace(LOCAL, residual=ResidualConfig(3, 0.4)), photograph(101, 150)
    codes, one, plain = coder(levels).encode(image), coder(levels), coder()
    assert (codes.levels, codes.book_sizes, len(codes.steps_KHW)) == (3, (8, 6, 8, 6, 8, 6), 2)
    images = [one.decode(from_bytes(to_bytes(codes.of_levels(n)), name="x")).image for n in (1, 2, 3)]
    expected = plain.encode(image)
    np.testing.assert_array_equal(codes.of_levels(1).codes_KHW, expected.codes_KHW)
    np.testing.assert_array_equal(images[0], plain.decode(expected).image)
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])
    np.testing.assert_array_equal(images[2], one.decode(codes).image)
    assert psnr(images[2] / 255, one.reconstruct(image) / 255) > 45
    other = coder(replace(LOCAL, residual=ResidualConfig(3, 0.5)))
    for refused in (other, plain):
        with pytest.raises(WeightsError, match="its codes were made with"):
            refused.decode(codes)


def test_codes_of_other_weights_are_refused_by_name():
    codes = coder(name="/home/somebody/mine.safetensors").encode(photograph(20, 30))
    assert codes.decoder.name == "mine.safetensors"
    with pytest.raises(WeightsError, match=r"'mine\.safetensors'.*'tiny'") as caught:
        coder(seed=1).decode(codes)
    assert caught.value.only_this_image
    assert "Use --weights mine.safetensors;" in caught.value.hint, "a file is not pulled"
    with pytest.raises(WeightsError) as caught:
        coder(seed=1).decode(coder(name="compact").encode(photograph(20, 30)))
    assert "Use --weights compact after `adacode weights pull compact`;" in caught.value.hint
    with pytest.raises(WeightsError):
        coder(replace(LOCAL, codebooks=((9, 4), (6, 4)))).decode(codes)


def test_networks_that_see_more_than_codes_are_refused():
    runner = Runner(network(for_task(LOCAL, "sr", 2)), CPU, RunOptions())
    with pytest.raises(WeightsError, match="more than codes"):
        Coder(runner, "tiny")


def test_what_is_no_image_is_refused():
    with pytest.raises(InputError):
        coder().encode(np.zeros((3, 3, 5), np.uint8))


def test_numbers_that_overflow_are_computed_again_in_float32():
    """fp16 overflows where the latent is large; the note says so, in both directions."""
    weights = Weights(LOCAL)
    net, _ = weights.network("reconstruct", 1)
    with torch.no_grad():
        net.decoder.head.conv.weight.mul_(1e6)
    weights.network = lambda task, scale, denoise: (net, None)
    one = Restorer(weights, CPU, RunOptions(precision="fp16"))
    codes = one.encode(photograph(30, 30))
    decoded = one.decode(codes)
    assert decoded.notes == ("float16 overflowed: the image was computed again in float32",)
    np.testing.assert_array_equal(one.decode(codes).image, decoded.image)


def test_a_file_of_codes_among_images_says_what_reads_it():
    with pytest.raises(InputError, match="holds codes") as caught:
        decode_image(MAGIC + b"more", name="a.png")
    assert "--from-codes" in caught.value.hint


def test_the_plain_restorer_is_untouched():
    image = photograph(60, 70)
    np.testing.assert_array_equal(coder().reconstruct(image), restorer().reconstruct(image))
