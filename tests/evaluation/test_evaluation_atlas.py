"""The atlas shows every code once, where its use says, and counts of use are those of the network itself."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

sys.path.append(str(Path(__file__).parent.parent / "checkpoints"))
sys.path.append(str(Path(__file__).parent.parent / "cli"))
sys.path.append(str(Path(__file__).parent.parent / "engine"))
from adacode_process import Program
from small_checkpoints import save_pth, small_published
from tiny_networks import CPU, LAYOUTS, LOCAL, PUBLISHED, for_task, network

from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.errors import InputError
from adacode_cli.evaluation.atlas import BasisPanel, decoded_codes, draw_atlas, order_by_colour, order_by_use
from adacode_cli.evaluation.code_usage import BasisUsage, measure_usage, photographs_in
from adacode_cli.model.config import ResidualConfig

NETWORKS = {
    "reconstruct": LOCAL,
    "sr": for_task(LOCAL, "sr", 2),
    "inpaint": for_task(LOCAL, "inpaint"),
    "published": PUBLISHED,
    "trunk": LAYOUTS["trunk sr ×4"],
    "halved": LAYOUTS["trunk sr ×4, halved"],
}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(data.astronaut()[:64, :128]).save(folder / "a.png")
    Image.fromarray(data.chelsea()[:70, :50, 0]).save(folder / "sub" / "grey.png")
    (folder / "note.txt").write_text("no photograph")
    return folder


def test_use_is_what_the_network_chooses(photos):
    net = network(LOCAL)
    seen = []
    usage = measure_usage(net, photographs_in(photos), CPU, seen.append)
    assert [path.name for path in seen] == ["a.png", "grey.png"]
    assert (usage.num_photographs, usage.num_cells) == (2, 8 * 16 + 8 * 6)
    # The first photograph alone is whole windows: the network without anything around it.
    one = measure_usage(net, [photos / "a.png"], CPU, seen.append)
    image = torch.from_numpy(data.astronaut()[:64, :128].copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        found = net(image)
    for codes, basis, size in zip(found.codes, one.bases, (8, 6), strict=True):
        np.testing.assert_array_equal(basis.counts, np.bincount(codes.flatten().numpy(), minlength=size))
        chosen = basis.counts.argmax()
        cells = [(y, x) for y, x in (codes[0] == chosen).nonzero().tolist() if 0 < y < 7 and 0 < x < 15]
        assert basis.means_NCHW[chosen].shape == (3, 16, 16)
        if len(cells) == basis.counts[chosen]:  # none at the border, whose patches repeat the edge
            patches = [image[0, :, 8 * y - 4 : 8 * y + 12, 8 * x - 4 : 8 * x + 12] for y, x in cells]
            np.testing.assert_allclose(basis.means_NCHW[chosen], torch.stack(patches).mean(0), atol=1e-5)
    assert one.strength == pytest.approx(float(found.weights_BKHW.sum(1).mean()), rel=1e-4)


def test_of_a_network_with_a_trunk_use_is_what_its_branch_chooses(photos):
    net = network(LAYOUTS["trunk sr ×4"])
    usage = measure_usage(net, [photos / "a.png"], CPU, lambda _: None)
    image = torch.from_numpy(data.astronaut()[:64, :128].copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        found = net(image)
    for codes, basis, (size, _) in zip(found.codes, usage.bases, net.config.codebooks, strict=True):
        np.testing.assert_array_equal(basis.counts, np.bincount(codes.flatten().numpy(), minlength=size))
    assert usage.strength == pytest.approx(float(found.weights_BKHW.sum(1).mean()), rel=1e-4)


def test_of_codes_of_several_levels_use_is_that_of_the_first(photos):
    fine = network(replace(LOCAL, residual=ResidualConfig(2, 0.4)))
    found, plain = (measure_usage(net, photographs_in(photos), CPU, lambda _: None) for net in (fine, network(LOCAL)))
    for basis, expected in zip(found.bases, plain.bases, strict=True):
        np.testing.assert_array_equal(basis.counts, expected.counts)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30))
@settings(deadline=None)
def test_perplexity_counts_codes_as_if_they_were_even(counts):
    basis = BasisUsage(np.array(counts), np.zeros((len(counts), 3, 2, 2), np.float32))
    if basis.used:
        assert 1 - 1e-9 <= basis.perplexity <= basis.used * (1 + 1e-9)
    even = BasisUsage(np.array([7] * len(counts) + [0]), np.zeros((len(counts) + 1, 3, 2, 2), np.float32))
    assert even.perplexity == pytest.approx(len(counts))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_code_is_decoded_to_the_patch_that_the_decoder_makes(name):
    net = network(NETWORKS[name])
    patches = decoded_codes(net, 1, 0.5, CPU)
    side = 2 * net.config.decoded_stride
    assert patches.shape == (6, 3, side, side)
    assert ((patches >= 0) & (patches <= 1)).all()
    # The last code by the network's own way, the other basis at a weight of 0.
    grid = torch.full((1, 5, 5), 5)
    weights = torch.zeros(1, 2, 5, 5)
    weights[:, 1] = 0.5
    with torch.inference_mode():
        whole = net.render(net.codebook.mixed((torch.zeros_like(grid), grid), weights))
    stride = net.config.decoded_stride
    middle = whole[0, :, 2 * stride - stride // 2 :][:, :side, 2 * stride - stride // 2 :][..., :side].numpy()
    # Equal but for the shift that brings very dark and very bright patches into the range.
    shift = np.median(patches[5] - middle)
    np.testing.assert_allclose(patches[5], np.clip(middle + shift, 0, 1), atol=1e-4)


def test_orders():
    colours = np.array([[1, 0, 0], [0.1] * 3, [0, 0, 0.5], [0.9] * 3, [0.3, 0, 0], [0, 1, 0]], np.float32)
    patches = colours[:, :, None, None] + np.zeros((1, 1, 4, 4), np.float32)
    assert order_by_colour(patches).tolist() == [1, 3, 4, 0, 5, 2]
    assert order_by_use(np.array([0, 5, 0, 9, 5])).tolist() == [3, 1, 4, 0, 2]


@given(st.integers(1, 150), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_every_code_has_its_place_on_the_sheet(num, dead):
    """Each patch has a colour of its own, which must be found on the sheet."""
    levels = np.arange(num)
    patches = np.stack([levels / 255, (255 - levels) / 255, np.full(num, 77 / 255)], 1)[..., None, None]
    patches = (patches + np.zeros((1, 1, 4, 4))).astype(np.float32)
    counts = np.where(levels < dead, 0, levels + 1)
    usage = BasisUsage(counts, 1 - patches)
    sheet = draw_atlas("title", "legend", [BasisPanel("b", 4, patches, order_by_use(counts), usage)])
    colours = {tuple(c) for c in np.unique(sheet.reshape(-1, 3), axis=0).tolist()}
    assert {(i, 255 - i, 77) for i in range(num)} <= colours
    means = {(255 - i, i, 178) for i in range(num)}
    assert means & colours == {(255 - i, i, 178) for i in range(dead, num)}


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(InputError, match="no photographs"):
        photographs_in(tmp_path)


def test_show_as_a_process(tmp_path, photos):
    program = Program(tmp_path, network=True)
    write_weights(tmp_path / "own.safetensors", Weights("whole", LOCAL, Provenance(), network(LOCAL).state_dict()))
    result = program("weights", "show", "own.safetensors", "-o", "atlas.png", "--usage", "photos", "--json")
    assert result.returncode == 0, result.stderr.decode()
    shown = json.loads(result.stdout)
    usage = measure_usage(network(LOCAL), photographs_in(photos), CPU, lambda path: None)
    assert [basis["name"] for basis in shown["bases"]] == ["meadow", "brick"]
    assert shown["int8"] is None
    assert [basis["counts"] for basis in shown["bases"]] == [basis.counts.tolist() for basis in usage.bases]
    assert (shown["photographs"], shown["cells"], shown["atlas"]) == (2, usage.num_cells, "atlas.png")
    with Image.open(tmp_path / "atlas.png") as image:
        assert image.width >= 1000
    again = program("weights", "show", "own.safetensors", "-o", "atlas.png")
    assert (again.returncode, again.stdout) == (6, b"")


def test_show_a_published_checkpoint(tmp_path):
    save_pth(tmp_path / "small.pth", small_published("reconstruct"))
    result = Program(tmp_path, network=True)("weights", "show", "small.pth", "-o", "atlas.jpg")
    assert result.returncode == 0, result.stderr.decode()
    header, *rows, blank, int8 = result.stdout.decode().splitlines()
    assert (blank, int8) == ("", "int8 for reconstruct: no ranges (adacode weights quantize)")
    assert header.split() == ["BASIS", "CODES", "DIM", "USED", "PERPLEXITY"]
    assert [row.split()[-2] for row in rows] == [str(n) for n, _ in published_books(tmp_path / "small.pth")]
    with Image.open(tmp_path / "atlas.jpg") as image:
        assert image.format == "JPEG"


def published_books(path):
    from adacode_cli.checkpoints.published import read_published

    return read_published(path)[0].codebooks
