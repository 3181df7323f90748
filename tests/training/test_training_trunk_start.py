"""Super-resolution that starts from a network of others: what it is at first, what its file says, what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tiny_sessions import TINY, tiny_session, with_steps
from tiny_trunks import TRUNK, TRUNKED, enlarged, plain_trunk, save_trunk, trunk_state
from training_commands import QUICK, adacode, ended, started

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from small_checkpoints import save_pth, small_published

from adacode_cli.checkpoints.average import pair
from adacode_cli.checkpoints.format import Provenance, read_weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.errors import AdaCodeError, TrainingError
from adacode_cli.model.config import TrunkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_joint, run_restore
from adacode_cli.training.session import Listeners

STILL = with_steps(1, replace(TINY, network=TRUNKED), optimiser=replace(TINY.restore.optimiser, rate=1e-9))
FULL = TrunkConfig()  # what a recipe takes over that knows of none
ABOUT = {"name": "realesr-tiny", "licence": "BSD-3-Clause", "source": "https://example.org/tiny"}
BASE = ("realesr-tiny (BSD-3-Clause, https://example.org/tiny)", "BSD-3-Clause")
SLOW = [*QUICK, "--learning-rate", "1e-9", "--quiet"]


@pytest.fixture(scope="module")
def fused(shards, tmp_path_factory) -> Path:
    """A stage-II network whose recipe knows of no trunk. Not to be changed."""
    folder = tmp_path_factory.mktemp("fused")
    assert run_joint(tiny_session(shards, folder, with_steps(1)))
    return folder / "fused.safetensors"


@pytest.fixture(scope="module")
def full_body() -> torch.nn.Sequential:
    return plain_trunk(FULL.depth)


@pytest.fixture(scope="module")
def from_trunk(shards, fused, full_body, tmp_path_factory) -> Path:
    """What a command made of a trunk's file: super-resolution ×4 that is still as it was. Not to be changed."""
    folder = tmp_path_factory.mktemp("from-trunk")
    file = save_trunk(folder / "tiny.safetensors", trunk_state(full_body), ABOUT)
    run = folder / "run"
    restore("sr", fused, shards, run, "--scale", 4, "--trunk", file)
    return run / "sr-x4.safetensors"


def restore(task: str, fused: Path, shards: Path, run: Path, *more: object) -> None:
    adacode("train", "restore", shards, "--fused", fused, "--task", task, "-o", run, *SLOW, *more)


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def base_of(provenance: Provenance) -> tuple[str, str]:
    return provenance.base_model, provenance.base_licence


def with_runs(*runs: str) -> tuple[str, str]:
    """`BASE`, and the results of other runs that were given to the command."""
    return " and ".join([BASE[0], "tiny fused (CC0-1.0, a test)", *runs]), f"{BASE[1]} AND CC0-1.0"


def trunk_alone(network: AdaCode, image_BCHW: torch.Tensor) -> torch.Tensor:
    return network.trunk.finish(network.trunk.begin(image_BCHW), None)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_at_first_the_network_is_the_one_that_it_starts_from(shards, fused, tmp_path, suffix):
    body = plain_trunk()
    file = save_trunk(tmp_path / f"realesr-small{suffix}", trunk_state(body))
    session = tiny_session(shards, tmp_path / "run", STILL)
    assert run_restore(session, fused, task="sr", scale=4, trunk=file)
    network, provenance = load_network((tmp_path / "run" / "sr-x4.safetensors",))
    assert network.config.trunk == TRUNK
    small = image(16, 32)
    with torch.inference_mode():
        wanted = enlarged(body, small)
        torch.testing.assert_close(network(small).image_BCHW, wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(trunk_alone(network, image(13, 9)), detail(body, image(13, 9)), rtol=0, atol=1e-5)
    assert float((wanted - F.interpolate(small, scale_factor=4, mode="nearest")).abs().mean()) > 0.05
    assert provenance.base_model == "realesr-small and tiny fused (CC0-1.0, a test)"
    shared, books = load_file(fused), load_file(tmp_path / "run" / "sr-x4.safetensors")
    keys = [key for key in shared if key.startswith(("codebook.books.", "codebook.after.", "decoder."))]
    assert all(torch.equal(books[key], shared[key]) for key in keys)


def detail(body: torch.nn.Sequential, image_BCHW: torch.Tensor) -> torch.Tensor:
    """What the network of others adds to the enlarged image."""
    return F.pixel_shuffle(body(image_BCHW), 4)


def test_averaged_weights_of_a_pth_come_first(shards, fused, tmp_path):
    averaged, last = plain_trunk(seed=1), plain_trunk(seed=2)
    file = tmp_path / "both.pth"
    torch.save({"params": trunk_state(last), "params_ema": trunk_state(averaged)}, file)
    assert run_restore(tiny_session(shards, tmp_path / "run", STILL), fused, task="sr", scale=4, trunk=file)
    found = load_file(tmp_path / "run" / "sr-x4.safetensors")
    for key, tensor in trunk_state(averaged).items():
        torch.testing.assert_close(found[f"trunk.{key}"], tensor, rtol=0, atol=1e-7)


def test_at_twice_the_size_it_sees_the_averages_of_two_by_two_pixels(shards, fused, tmp_path):
    body = plain_trunk()
    file = save_trunk(tmp_path / "small.safetensors", trunk_state(body))
    assert run_restore(tiny_session(shards, tmp_path / "run", STILL), fused, task="sr", scale=2, trunk=file)
    network, _ = load_network((tmp_path / "run" / "sr-x2.safetensors",))
    large = image(32, 64)
    with torch.inference_mode():
        wanted = detail(body, F.avg_pool2d(large, 2))
        torch.testing.assert_close(network.detail(large).image_BCHW, wanted, rtol=0, atol=1e-5)
        base = F.interpolate(large, scale_factor=2, mode="nearest")
        torch.testing.assert_close(network(large).image_BCHW, wanted + base, rtol=0, atol=1e-5)


def test_a_command_starts_from_a_file_though_the_earlier_recipe_knows_of_no_trunk(from_trunk, fused, full_body):
    assert "trunk" not in {k for k, v in json.loads(read_weights(fused).provenance.recipe)["network"].items() if v}
    weights = read_weights(from_trunk)
    assert (weights.config.trunk, weights.config.base, weights.config.scale) == (FULL, "nearest", 4)
    assert base_of(weights.provenance) == with_runs()
    assert weights.provenance.licence == "CC0-1.0"
    written = json.loads((from_trunk.parent / "recipe.json").read_text())["network"]["trunk"]
    assert written == {"depth": FULL.depth, "tap": FULL.tap, "join": FULL.join, "shuffle": None}
    network, _ = load_network((from_trunk,))
    with torch.inference_mode():
        found = network(image(16, 16)).image_BCHW
    torch.testing.assert_close(found, enlarged(full_body, image(16, 16)), rtol=0, atol=1e-4)


def test_going_on_keeps_the_trunk_and_where_it_comes_from(from_trunk, fused, shards, tmp_path):
    restore("sr", fused, shards, tmp_path / "run", "--scale", 4, "--start", from_trunk)
    later = read_weights(tmp_path / "run" / "sr-x4.safetensors")
    earlier = read_weights(from_trunk)
    assert later.config == earlier.config
    assert base_of(later.provenance) == with_runs("tiny sr-x4 (CC0-1.0, adacode train)")
    assert later.tensors.keys() == earlier.tensors.keys()
    for key, tensor in earlier.tensors.items():
        torch.testing.assert_close(later.tensors[key], tensor, rtol=0, atol=1e-6)


def test_twice_the_size_goes_on_from_four_times_the_size(from_trunk, fused, full_body, shards, tmp_path):
    restore("sr", fused, shards, tmp_path / "run", "--scale", 2, "--start", from_trunk)
    network, provenance = load_network((tmp_path / "run" / "sr-x2.safetensors",))
    stated = with_runs("tiny sr-x4 (CC0-1.0, adacode train)")
    assert (network.config.scale, network.config.trunk, base_of(provenance)) == (2, FULL, stated)
    large = image(32, 32)
    with torch.inference_mode():
        wanted = detail(full_body, F.avg_pool2d(large, 2))
        torch.testing.assert_close(network.detail(large).image_BCHW, wanted, rtol=0, atol=1e-4)
    restore("sr", fused, shards, tmp_path / "back", "--scale", 4, "--start", tmp_path / "run" / "sr-x2.safetensors")
    back, earlier = (load_file(path) for path in (tmp_path / "back" / "sr-x4.safetensors", from_trunk))
    for key, tensor in earlier.items():
        torch.testing.assert_close(back[key], tensor, rtol=0, atol=1e-5)


def test_a_network_without_a_trunk_names_no_base_model_of_others(fused, shards, tmp_path):
    restore("inpaint", fused, shards, tmp_path / "run")
    weights = read_weights(tmp_path / "run" / "inpaint.safetensors")
    assert base_of(weights.provenance) == ("tiny fused (CC0-1.0, a test)", "CC0-1.0")
    assert weights.config.trunk is None


def test_a_stopped_run_goes_on_with_the_trunk_that_it_began_with(shards, fused, tmp_path):
    """Its checkpoint has the weights; where they come from is not forgotten, even if the file is not given again."""
    file = save_trunk(tmp_path / "tiny.safetensors", trunk_state(plain_trunk()), ABOUT)
    recipe = with_steps(4, STILL)
    task = {"task": "sr", "scale": 4}
    for name, again in (("same", {"trunk": file}), ("without", {})):
        session = tiny_session(shards, tmp_path / name, recipe, listeners=Listeners(stop=lambda: True))
        assert not run_restore(session, fused, **task, trunk=file)
        session = tiny_session(shards, RunFolder(tmp_path / name, resume=True), recipe)
        assert run_restore(session, fused, **task, **again)
    found = [read_weights(tmp_path / name / "sr-x4.safetensors") for name in ("same", "without")]
    assert [base_of(weights.provenance) for weights in found] == [with_runs()] * 2
    assert all(torch.equal(found[0].tensors[key], found[1].tensors[key]) for key in found[0].tensors)


def test_a_start_of_another_shape_than_the_recipe_says_is_refused(from_trunk, fused, shards, tmp_path):
    session = tiny_session(shards, tmp_path / "run", STILL)
    with pytest.raises(TrainingError, match="is not an earlier result of this task") as found:
        run_restore(session, fused, task="sr", scale=4, start=from_trunk)
    assert found.value.path == from_trunk


def without_a_bias(path: Path) -> Path:
    state = trunk_state(plain_trunk(FULL.depth))
    del state["body.2.bias"]
    return save_trunk(path / "incomplete.safetensors", state)


def of_another_width(path: Path) -> Path:
    return save_trunk(path / "wide.pth", trunk_state(plain_trunk(FULL.depth, 24)))


def of_another_depth(path: Path) -> Path:
    return save_trunk(path / "shallow.safetensors", trunk_state(plain_trunk(FULL.depth - 1)))


def of_words(path: Path) -> Path:
    file = path / "words.safetensors"
    file.write_text("This is no network.")
    return file


def of_words_as_pth(path: Path) -> Path:
    file = path / "words.pth"
    file.write_text("This is no network.")
    return file


def test_what_a_start_was_trained_on_and_under_which_licence_holds_for_the_result(shards, fused, from_trunk, tmp_path):
    earlier = tmp_path / "earlier.safetensors"
    weights = read_weights(from_trunk)
    stated = replace(weights.provenance, trained_on="99 old images", licence="CC-BY-4.0")
    write_weights(earlier, replace(weights, provenance=stated))
    unknown = save_trunk(tmp_path / "unknown.safetensors", trunk_state(plain_trunk(FULL.depth)))
    alone = read_weights(from_trunk).provenance
    for n, more in enumerate((["--start", earlier], ["--trunk", earlier], ["--start", earlier, "--trunk", unknown])):
        run = tmp_path / str(n)
        restore("sr", fused, shards, run, "--scale", 4, *more)
        made = read_weights(run / "sr-x4.safetensors").provenance
        assert made.trained_on == f"{alone.trained_on}; 99 old images"
        assert made.licence == "CC0-1.0 AND CC-BY-4.0"
        runs, licences = with_runs("tiny earlier (CC-BY-4.0, adacode train)")
        licences += " AND CC-BY-4.0"
        if n == 2:
            runs = runs.replace(" and tiny earlier", " and unknown and tiny earlier")
            licences = licences.replace(" AND CC-BY", " AND LicenseRef-not-stated AND CC-BY")
        assert base_of(made) == (runs, licences)


def test_a_start_without_a_trunk_cannot_have_another_ones(shards, fused, full_body, tmp_path):
    restore("sr", fused, shards, tmp_path / "plain", "--scale", 4)
    start = tmp_path / "plain" / "sr-x4.safetensors"
    trunk = save_trunk(tmp_path / "tiny.safetensors", trunk_state(full_body), ABOUT)
    with pytest.raises(TrainingError, match=r"has no trunk to start from .*tiny\.safetensors") as found:
        restore("sr", fused, shards, tmp_path / "run", "--scale", 4, "--start", start, "--trunk", trunk)
    assert found.value.path == start


def test_a_published_checkpoint_is_no_start_of_another_family(shards, fused, tmp_path):
    start = save_pth(tmp_path / "theirs.pth", small_published("sr_x4"))
    with pytest.raises(TrainingError, match="is not an earlier result of this task"):
        restore("sr", fused, shards, tmp_path / "run", "--scale", 4, "--start", start)


def nowhere(path: Path) -> Path:
    return path / "nowhere.safetensors"


def test_a_trunk_of_ours_and_the_rest_of_another_file(shards, fused, from_trunk, tmp_path):
    """--start and --trunk together: each part is from its file, and both base models are named."""
    other = save_trunk(
        tmp_path / "other.safetensors", trunk_state(plain_trunk(FULL.depth, seed=1)), ABOUT | {"name": "other"}
    )
    restore("sr", fused, shards, tmp_path / "first", "--scale", 4, "--trunk", other)
    trunk = tmp_path / "first" / "sr-x4.safetensors"
    restore("sr", fused, shards, tmp_path / "both", "--scale", 4, "--start", from_trunk, "--trunk", trunk)
    made, rest, body = (read_weights(p) for p in (tmp_path / "both" / "sr-x4.safetensors", from_trunk, trunk))
    for key, tensor in made.tensors.items():
        source = body if key.startswith("trunk.body.") else rest
        torch.testing.assert_close(tensor, source.tensors[key], rtol=0, atol=1e-7)
    models = made.provenance.base_model.split(" and ")
    assert models[:3] == [*rest.provenance.base_model.split(" and "), body.provenance.base_model.split(" and ")[0]]
    assert models[3:] == ["tiny sr-x4 (CC0-1.0, adacode train)"]
    assert body.provenance.base_model.startswith("other")


@pytest.mark.parametrize("option", ["--start", "--trunk"])
def test_of_weights_with_strengths_the_values_that_remove_noise_are_the_start(
    option, shards, fused, from_trunk, tmp_path
):
    weights = read_weights(from_trunk)
    faithful = {key: t + 0.1 for key, t in weights.tensors.items() if key.startswith("trunk.body.")}
    write_weights(tmp_path / "keeps.safetensors", replace(weights, tensors=weights.tensors | faithful))
    pair(from_trunk, tmp_path / "keeps.safetensors", tmp_path / "pair.safetensors")
    restore("sr", fused, shards, tmp_path / "run", "--scale", 4, option, tmp_path / "pair.safetensors")
    made = read_weights(tmp_path / "run" / "sr-x4.safetensors")
    assert not made.faithful
    for key in faithful:
        torch.testing.assert_close(made.tensors[key], weights.tensors[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize("learns", ["trunk", "codes"])
def test_a_network_without_a_trunk_cannot_learn_parts_of_one(learns, shards, fused, tmp_path):
    with pytest.raises(TrainingError, match=f"restore.learns={learns} is for super-resolution with a trunk"):
        restore("inpaint", fused, shards, tmp_path / "run", "--set", f"restore.learns={learns}")
    assert not (tmp_path / "run").exists()


def good(path: Path) -> Path:
    return save_trunk(path / "good.safetensors", trunk_state(plain_trunk(FULL.depth)))


WRONG = [
    (without_a_bias, ["--task", "sr"], 4, "missing keys: body.2.bias"),
    (of_another_width, ["--task", "sr"], 4, "wrong shapes: body.0.bias"),
    (of_another_depth, ["--task", "sr"], 4, "missing keys: body.65.weight, body.66.bias, body.66.weight"),
    (of_words, ["--task", "sr"], 4, "is not a safetensors file"),
    (of_words_as_pth, ["--task", "sr"], 4, "words.pth"),
    (nowhere, ["--task", "sr"], 4, "cannot be read"),
    (good, ["--task", "inpaint"], 2, "--trunk is for --task sr"),
    (good, ["--task", "sr", "--set", "restore.learns=none"], 2, "restore.learns=none"),
]


@pytest.mark.parametrize(
    ("make", "arguments", "code", "words"), WRONG, ids=lambda value: getattr(value, "__name__", "")
)
def test_wrong_files_and_options_are_reported(make, arguments, code, words, fused, from_trunk, shards, tmp_path):
    file, run = make(tmp_path), tmp_path / "run"
    with pytest.raises(AdaCodeError) as found:
        adacode("train", "restore", shards, "--fused", fused, *arguments, "-o", run, *SLOW, "--trunk", file)
    assert found.value.exit_code == code
    assert words in str(found.value)
    assert found.value.hint
    assert code == 2 or file.name in str(found.value)
    assert not list(run.glob("*.safetensors"))


def test_a_process_ends_with_the_code_and_the_message(fused, shards, tmp_path):
    cases = [
        (of_another_width(tmp_path), "sr", 4, "wrong shapes: body.0.bias"),
        (good(tmp_path), "inpaint", 2, "--trunk is for --task sr"),
    ]
    command = ["train", "restore", shards, "--fused", fused, "-o", tmp_path / "run", *SLOW]
    processes = [started(*command, "--task", task, "--trunk", file) for file, task, *_ in cases]
    for process, (file, _, code, words) in zip(processes, cases, strict=True):
        found, out, err = ended(process)
        assert (found, out) == (code, "")
        message = " ".join(err.split())
        assert words in message
        assert code == 2 or str(file) in message
        assert "Traceback" not in err
