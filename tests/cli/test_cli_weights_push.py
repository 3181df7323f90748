"""`adacode weights push` as a process, with the real client of the Hub, against a loopback Hub; and what comes back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hub_client import REPO, TOKEN, client, digests
from hub_repositories import problems_of_card
from huggingface_hub import ModelCard
from loopback import Reply

from adacode_cli.checkpoints.format import read_weights, write_weights


def test_the_card_is_found_by_the_hub_and_read_back(push, hub, mine):
    push("mine", REPO, "--base-model", "some/base", "--dataset", "some/data", "--message", "first")
    repository = hub.repositories[REPO]
    text = repository.commits[repository.branches["main"]]["README.md"].decode()
    assert repository.messages[-1] == "first"
    assert problems_of_card(text) == []
    data = ModelCard(text).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "adacode", "image-to-image")
    assert (data.base_model, data.datasets) == (["some/base"], ["some/data"])
    assert {"adacode", "image-restoration", "super-resolution", "inpainting"} <= set(data.tags)
    assert "adacode sr photos --weights hub:me/mine\n" in text
    assert "## The `tiny` weights" in text


def test_a_second_push_sends_only_what_is_new(push, hub, mine):
    push("mine", REPO)
    first = hub.repositories[REPO].branches["main"]
    _, err = push("mine", REPO)
    assert "nothing has changed" in err
    assert hub.repositories[REPO].branches["main"] == first
    arrived = len(hub.uploads)
    card = (mine / "tiny.md").read_text(encoding="utf-8").replace("4 images", "four images")
    (mine / "tiny.md").write_text(card, encoding="utf-8")
    push("mine", REPO)
    assert hub.repositories[REPO].branches["main"] != first
    assert len(hub.uploads) == arrived


def test_an_upload_that_broke_off_goes_on_where_it_was(push, hub, mine):
    hub.refuse = {"/commit/main$": Reply(403)}
    push("mine", REPO, code=6)
    assert list(hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]) == [".gitattributes"]
    arrived = sorted(hub.uploads)
    assert arrived
    hub.refuse = {}
    push("mine", REPO)
    assert sorted(hub.uploads) == arrived


def test_a_branch_is_made_and_its_name_is_shown(push, hub, mine):
    _, err = push("mine", REPO, "--revision", "try/1")
    assert "--weights hub:me/mine@try%2F1" in err
    repository = hub.repositories[REPO]
    assert list(repository.commits[repository.branches["main"]]) == [".gitattributes"]
    assert "catalogue.json" in repository.commits[repository.branches["try/1"]]


def test_another_commit_in_the_meantime_ends_the_push(push, hub, mine):
    hub.add(REPO, {"README.md": b"x"})

    def interfere(request) -> None:
        if request.path.endswith("/commit/main"):
            hub.repositories[REPO].commit({"theirs.txt": b"y"})

    hub.before = interfere
    _, err = push("mine", REPO, code=6)
    assert "changed by somebody else in the meantime; nothing was committed" in err
    assert "catalogue.json" not in hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]


def test_a_dry_run_sends_nothing_and_shows_files_and_card(push, hub, mine):
    out, err = push("mine", REPO, "--dry-run", token=None)
    assert hub.requests == []
    for path in mine.iterdir():
        assert any(line.split()[:2] == [path.name, f"{path.stat().st_size:,}"] for line in out.splitlines())
    assert "license: apache-2.0" in out.splitlines()
    assert "nothing was sent; 9 files" in err
    found = json.loads(push("mine", REPO, "--dry-run", "--json", token=None)[0])
    assert (found["commit"], found["repo"], found["branch"]) == (None, REPO, "main")
    assert {f["name"]: f["sha256"] for f in found["files"]}.items() >= digests(mine).items()
    assert problems_of_card(found["card"]) == []
    done = json.loads(push("mine", REPO, "--json")[0])
    assert done["files"] == found["files"]
    assert (done["commit"], done["private"], done["changed"]) == (hub.repositories[REPO].branches["main"], False, True)


@pytest.mark.parametrize(
    ("arguments", "token", "code", "message"),
    [
        ((REPO,), None, 6, "there is no token of the Hub"),
        ((REPO,), "hf_wrong", 6, "the token is not accepted"),
        (("other/mine",), TOKEN, 6, "the token has no right to write there"),
        (("me/public", "--private"), TOKEN, 2, "me/public exists and is public, and --private is given"),
        ((REPO, "--revision", "a b"), TOKEN, 2, "'a b' is not a valid revision"),
        (("mine",), TOKEN, 2, "'mine' is not a Hub repository"),
        (("me/mi--ne",), TOKEN, 2, "'mi--ne' is not a valid repository name"),
        ((REPO, "--message", " "), TOKEN, 2, "--message is empty"),
        ((REPO, "--base-model", "not a name"), TOKEN, 2, "'not a name' is no name on the Hub"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_sent_is_explained(push, hub, mine, arguments, token, code, message):
    hub.add("me/public", {})
    _, err = push("mine", *arguments, token=token, code=code)
    assert message in err
    assert hub.uploads == []


def test_no_network_and_a_hub_that_is_not_there(push, hub, mine):
    _, err = push("mine", REPO, code=6, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in err
    _, err = push("mine", REPO, "-vv", code=6, HF_ENDPOINT="http://127.0.0.1:9")
    assert "me/mine cannot be written at http://127.0.0.1:9: the connection was refused" in err


def changed(path: Path, **provenance: str) -> None:
    """Other statements in a file of weights, and its new digest in the catalogue, as a bundle would have them."""
    from dataclasses import replace

    import torch

    weights = read_weights(path)
    write_weights(path, replace(weights, provenance=replace(weights.provenance, **provenance)), torch.float16)
    catalogue = path.with_name("catalogue.json")
    data = json.loads(catalogue.read_text(encoding="utf-8"))
    content = path.read_bytes()
    for file in data["files"]:
        if file["name"] == path.name:
            file.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    catalogue.write_text(json.dumps(data), encoding="utf-8")


BASE = "realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"
REFUSED = {
    "licence": (lambda mine: changed(mine / "tiny-fused.safetensors", licence=""), "states no licence"),
    "data": (lambda mine: changed(mine / "tiny-basis.safetensors", trained_on=""), "what it was trained on"),
    "base": (lambda mine: changed(mine / "tiny-sr-x4.safetensors", base_model="theirs"), "of its base model theirs"),
    "notice": (
        lambda mine: changed(mine / "tiny-fused.safetensors", base_model=BASE, base_licence="BSD-3-Clause"),
        "LICENSE.Real-ESRGAN: is missing",
    ),
    "claim": (
        lambda mine: changed(mine / "tiny-sr-x2.safetensors", licence="CC-BY-NC-4.0"),
        "says that tiny-sr-x2 is under 'Apache-2.0', and its file states 'CC-BY-NC-4.0'",
    ),
    "digest": (lambda mine: (mine / "tiny-inpaint.safetensors").write_bytes(b"x"), "has the wrong SHA-256"),
    "file": (lambda mine: (mine / "tiny-inpaint.safetensors").unlink(), "is missing, and catalogue.json"),
    "catalogue": (lambda mine: (mine / "catalogue.json").unlink(), "has no catalogue.json"),
    "figures": (lambda mine: (mine / "a.eval.json").write_text("{}"), "is not what `adacode eval --json`"),
    "card": (lambda mine: (mine / "README.md").write_text("---\nlicense: mit\n---\nx\n"), "says license: mit"),
    "yaml": (lambda mine: (mine / "README.md").write_text("---\na: [\n---\nx\n"), "metadata that cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_must_not_be_published_is_refused_before_anything_is_sent(push, hub, mine, name):
    change, message = REFUSED[name]
    change(mine)
    for more in ((), ("--dry-run",)):
        _, err = push("mine", REPO, *more, code=4)
        assert message in err
    assert hub.requests == []


def test_a_licence_that_the_hub_does_not_know_has_a_name_and_a_link(push, hub, mine):
    for path in mine.glob("*.safetensors"):
        changed(path, licence="All rights reserved, Me")
    catalogue = mine / "catalogue.json"
    catalogue.write_text(catalogue.read_text().replace('"Apache-2.0"', '"All rights reserved, Me"'))
    push("mine", REPO)
    files = hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]
    data = ModelCard(files["README.md"].decode()).data
    named = (data.license, data.license_name, data.license_link)
    assert named == ("other", "all-rights-reserved-me", "LICENSE")
    assert "tiny-fused.safetensors: All rights reserved, Me" in files["LICENSE"].decode()


def test_the_text_of_a_card_in_the_folder_is_kept(push, hub, mine):
    (mine / "README.md").write_text("---\nlanguage: en\ntags: [mine]\n---\n# My own text\n", encoding="utf-8")
    push("mine", REPO)
    text = hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]["README.md"].decode()
    data = ModelCard(text).data
    assert (data.license, data.language) == ("apache-2.0", "en")
    assert text.endswith("---\n\n# My own text\n")


def test_the_figures_of_eval_are_in_the_card_if_they_are_of_these_weights(push, hub, mine, real_adacode, photo):
    photo("set/hr/a.png", (48, 32))
    photo("set/lr_x4/a.png", (12, 8))
    measured = real_adacode("eval", "sr", "--data", "set", "--weights", "mine", "--device", "cpu", "--json")
    assert measured.returncode == 0, measured.stderr
    (mine / "set.eval.json").write_bytes(measured.stdout)
    push("mine", REPO)
    files = hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]
    text = files["README.md"].decode()
    assert problems_of_card(text) == []
    found = {result.metric_type: result for result in ModelCard(text).data.eval_results}
    restored = json.loads(measured.stdout)["restored"]
    assert found.keys() == {"psnr", "ssim", "lpips"}
    for name, result in found.items():
        value = restored["perceptual" if name == "lpips" else name]
        assert result.metric_value == pytest.approx(value, abs=5e-5)
        assert (result.task_name, result.dataset_name) == ("super-resolution ×4", "set (1 images)")
    assert "set.eval.json" not in files, "it has names of private files"
    other = json.loads(measured.stdout) | {"weights_sha256": "0" * 64}
    (mine / "set.eval.json").write_text(json.dumps(other))
    _, err = push("mine", REPO, code=4)
    assert "figures of other weights" in err


def test_a_prior_in_the_folder_goes_with_the_weights(push, hub, mine, real_adacode, tmp_path):
    from adacode_cli.checkpoints.format import Provenance
    from adacode_cli.checkpoints.priors import StoredPrior, write_prior

    stated = Provenance(family="tiny", trained_on="4 images", licence="Apache-2.0", source="a test")
    write_prior(mine / "tiny-prior.safetensors", StoredPrior((0, 1), (6, 5), {}, stated))
    push("mine", REPO)
    files = hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]
    assert [each["name"] for each in json.loads(files["catalogue.json"])["priors"]] == ["tiny-prior.safetensors"]
    pulled = real_adacode("weights", "pull", "hub:me/mine", **client(hub, tmp_path / "another-home"))
    assert pulled.stdout.decode().splitlines()[-1].endswith("tiny-prior.safetensors")
