"""A prior is trained from shards and a stage-II network, its file is read back, and damaged ones are refused."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from tiny_families import CODES, packed
from training_commands import adacode

sys.path.append(str(Path(__file__).parents[1] / "codes"))
from made_priors import prior_tensors, scattered_codes

from adacode_cli.checkpoints.format import PRIOR_KEY, Provenance, Weights, write_weights
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.checkpoints.priors import StoredPrior, read_prior, write_prior
from adacode_cli.codes import prior_coding
from adacode_cli.codes.prior import Prior
from adacode_cli.engine.codes import prior_of
from adacode_cli.errors import OutputError, TrainingError, UsageError, WeightsError
from adacode_cli.model.config import ResidualConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.crops import Contents
from adacode_cli.training.prior import EncodedCrops, PriorRecipe, PriorRun, encoded_crops, train_prior
from adacode_cli.training.prior_networks import CodePrior, WeightPrior
from adacode_cli.training.prior_numbers import order_of, whole_numbers
from adacode_cli.training.shards import Shards

SIZES = tuple(size for size, _ in CODES)
CPU = torch.device("cpu")
STATED = Provenance(trained_on="drawings", licence="CC0-1.0", source="tests")


@pytest.fixture(scope="module")
def fused(tmp_path_factory) -> Path:
    """A stage-II network of random weights. Not to be changed."""
    torch.manual_seed(0)
    path, config = tmp_path_factory.mktemp("fused") / "fused.safetensors", packed("reconstruct")
    provenance = Provenance(family="tiny", trained_on="photographs", licence="Apache-2.0")
    write_weights(path, Weights("whole", config, provenance, AdaCode(config).state_dict()))
    return path


def test_the_command_trains_a_prior_that_packs_codes(shards, fused, tmp_path, capfd):
    path = tmp_path / "tiny-prior.safetensors"
    adacode("train", "prior", shards, "--fused", fused, "-o", path, "--steps", 2, "--threads", 1)
    out, err = capfd.readouterr()
    assert out == f"{path}\n"
    assert "6 of 6 crops are encoded" in err
    assert "prior of codes, step 2 of 2: " in err
    assert "prior of mixing weights, step 2 of 2: " in err
    stored = read_prior(path)
    prior = Prior(stored.order, stored.book_sizes, stored.tensors)
    assert (prior.order, prior.book_sizes) == ((0, 1), SIZES)
    codes, steps = scattered_codes(SIZES, 20, 20)
    again = prior_coding.unpack(prior, *prior_coding.pack(prior, codes, steps), 20, 20)
    np.testing.assert_array_equal(again[0], codes)
    np.testing.assert_array_equal(again[1], steps)
    with pytest.raises(OutputError, match="exists already"):
        adacode("train", "prior", shards, "--fused", fused, "-o", path, "--steps", 2)
    before = path.read_bytes()
    adacode("train", "prior", shards, "--fused", fused, "-o", path, "--steps", 2, "--overwrite", "--quiet")
    assert path.read_bytes() == before, "the same seed gives the same prior"
    assert not capfd.readouterr().err
    adacode("train", "prior", shards, "--fused", fused, "-o", path, "--steps", 2, "--overwrite", "--seed", 1)
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("output", "kind", "message"), [("prior", UsageError, "not the name"), ("p.safetensors", TrainingError, "stage-II")]
)
def test_mistakes_are_reported(shards, tmp_path, output, kind, message):
    wrong, config = tmp_path / "sr.safetensors", packed("sr", 4)
    write_weights(wrong, Weights("whole", config, Provenance(), AdaCode(config).state_dict()))
    with pytest.raises(kind, match=message):
        adacode("train", "prior", shards, "--fused", wrong, "-o", tmp_path / output, "--steps", 1)
    assert not (tmp_path / output).exists()


def test_the_file_says_where_the_prior_comes_from(shards, fused, tmp_path):
    from safetensors import safe_open

    path = tmp_path / "p.safetensors"
    train_prior(Contents(Shards(shards), "train"), fused, PriorRecipe(1, 1, 4), PriorRun(path, CPU), STATED)
    with safe_open(path, "np") as file:
        stated = json.loads(file.metadata()[PRIOR_KEY])["provenance"]
    assert stated["trained_on"] == "drawings; photographs"
    assert stated["licence"] == "CC0-1.0 AND Apache-2.0"
    assert (stated["family"], json.loads(stated["recipe"])["patch"]) == ("tiny", 4)


def test_crops_are_encoded_as_images_are(shards, fused):
    network = WeightsSource(str(fused)).network("reconstruct", 1)[0]
    contents = Contents(Shards(shards), "train")
    crops = encoded_crops(contents, network, 0, PriorRun(Path("x"), CPU))
    assert crops.codes.shape == crops.steps.shape == (6, 2, 20, 20)
    pixels = torch.from_numpy(contents.read(contents.crops[0])).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        restored = network(pixels)
    np.testing.assert_array_equal(crops.codes[0], torch.cat(restored.codes)[:, :20, :20].numpy())
    fine = AdaCode(replace(network.config, residual=ResidualConfig(3, 0.4))).eval()
    fine.load_state_dict(network.state_dict())
    of_first = encoded_crops(contents, fine, 0, PriorRun(Path("x"), CPU))
    np.testing.assert_array_equal(of_first.codes, crops.codes, err_msg="a prior is of the first level")
    recipe = PriorRecipe(batch=3, patch=8)
    codes, steps = crops.window(recipe, 5)
    assert (tuple(codes.shape), tuple(steps.shape)) == ((3, 2, 8, 8), (3, 8, 8, 2))
    assert torch.equal(codes, crops.window(recipe, 5)[0])
    assert not torch.equal(codes, crops.window(recipe, 6)[0])
    assert crops.window(replace(recipe, patch=99), 0)[0].shape == (3, 2, 20, 20)


def smooth_crops(number: int = 6, side: int = 24) -> EncodedCrops:
    """Codes and mixing weights that depend on their neighbours and on one another."""
    y, x = np.indices((side, side))
    first = np.stack([(y // 3 + x // 4 + n) % SIZES[0] for n in range(number)])
    codes = np.stack([first, first + 3], 1)
    steps = np.stack([20 + first, 40 - first], 1)
    return EncodedCrops(codes.astype(np.uint16), steps.astype(np.int16))


@pytest.fixture(scope="module")
def learnt() -> tuple[CodePrior, WeightPrior]:
    torch.manual_seed(0)
    crops, networks = smooth_crops(), (CodePrior((1, 0), SIZES), WeightPrior(SIZES))
    for network in networks:
        adam = torch.optim.Adam(network.parameters(), 1e-2)
        for step in range(150):
            loss = network(*crops.window(PriorRecipe(batch=2, patch=24), step)).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return networks


def test_whole_numbers_cost_as_many_bits_as_the_networks_say(learnt):
    """So the exact coder sees what the networks see in training: another order of inputs would cost far more."""
    crops = smooth_crops()
    codes, weights = learnt
    batch = crops.window(PriorRecipe(batch=1, patch=24), 0)
    with torch.inference_mode():
        expected = float(codes(*batch).sum() + weights(*batch).sum())
    prior = Prior(codes.order, SIZES, whole_numbers(codes, weights))
    arrays = batch[0][0].numpy().astype(np.uint16), batch[1][0].permute(2, 0, 1).numpy().astype(np.int16)
    data, beyond = prior_coding.pack(prior, *arrays)
    assert not beyond
    found = 8 * len(data) - 2 * 31  # lanes
    assert expected < 0.25 * 24 * 24 * sum(math.log2(size) + 6 for size in SIZES), "it has learnt"
    assert abs(found - expected) < 0.05 * expected + 64


def test_small_codebooks_come_first():
    assert order_of((512, 256, 512, 256, 256)) == (1, 3, 4, 0, 2)


def save_family(folder: Path, order=(0, 1), books=SIZES, **changes) -> WeightsSource:
    """A folder of weights whose catalogue has a prior for the family `tiny`, and elsewhere a file of that family."""
    path = folder / "tiny-prior.safetensors"
    write_prior(path, StoredPrior(order, books, prior_tensors(books, order)))
    prior = {"family": "tiny", "name": path.name, "bytes": None, "sha256": None} | changes
    catalogue = {"version": 1, "hub_repo": None, "release": None, "files": [], "entries": [], "priors": [prior]}
    (folder / "catalogue.json").write_text(json.dumps(catalogue))
    network, config = folder / "apart" / "own.safetensors", packed("reconstruct")
    if not network.exists():
        write_weights(network, Weights("whole", config, Provenance(family="tiny"), AdaCode(config).state_dict()))
    return WeightsSource(str(network), folder=folder)


def test_the_family_of_a_file_finds_its_prior(tmp_path):
    source = save_family(tmp_path)
    found = prior_of(source, SIZES)
    assert found is not None
    assert found.digest == Prior((0, 1), SIZES, prior_tensors(SIZES, (0, 1))).digest
    assert prior_of(source, (5, 5)) is None, "other codebooks"
    source = save_family(tmp_path, family="other")
    assert prior_of(source, SIZES) is None, "the prior of another family"
    (tmp_path / "tiny-prior.safetensors").rename(tmp_path / "apart" / "tiny-prior.safetensors")
    again = prior_of(source, SIZES)
    assert again is not None, "beside the file"
    assert again.digest == found.digest


def test_a_missing_damaged_or_foreign_prior_is_refused(tmp_path, fused):
    with pytest.raises(WeightsError, match="wrong SHA-256"):
        prior_of(save_family(tmp_path, sha256="0" * 64), SIZES)
    with pytest.raises(WeightsError, match="not part of this installation"):
        prior_of(save_family(tmp_path, name="none.safetensors"), SIZES)
    with pytest.raises(WeightsError, match=r"does not hold a prior of codes: .*order"):
        prior_of(save_family(tmp_path, order=(0, 0)), SIZES)
    with pytest.raises(WeightsError, match="does not hold a prior"):
        read_prior(fused)
    path = save_family(tmp_path).folder / "tiny-prior.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_prior(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"order": [0, 0.5]}, "damaged metadata: a list of whole numbers"),
        ({"book_sizes": "16"}, "damaged metadata"),
        ({"format": 2}, "has format 2, this version reads 1"),
        ({}, "damaged metadata"),
    ],
    ids=str,
)
def test_damaged_metadata_are_refused(tmp_path, header, message):
    whole = {"format": 1, "order": [0, 1], "book_sizes": list(SIZES)} | header if header else {}
    path = tmp_path / "p.safetensors"
    path.write_bytes(save(prior_tensors(SIZES, (0, 1)), {PRIOR_KEY: json.dumps(whole)}))
    with pytest.raises(WeightsError, match=message) as caught:
        read_prior(path)
    assert caught.value.path == path
