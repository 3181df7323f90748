"""`adacode weights push` as a process, with the real client of the Hub, against a loopback Hub; and what comes back."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from adacode_process import environment
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "training"))
sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from finished_run import save_run
from hub_repositories import Hub, problems_of_card
from huggingface_hub import ModelCard
from loopback import Reply

from adacode_cli.checkpoints.format import read_weights, write_weights

TOKEN = "hf_aVerySecretToken"
REPO = "me/mine"

RESTORE = """
import json, sys
import numpy as np
from adacode_cli import Restorer
image = np.asarray(json.loads(sys.stdin.read()), np.uint8)
restorer = Restorer.from_pretrained("me/mine", device="cpu")
hole = np.zeros(image.shape[:2], bool)
hole[4:8, 4:8] = True
results = {}
for task in ("sr", "inpaint", "reconstruct"):
    results[task] = restorer.restore(task, image, mask=hole).image.tolist()
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def bundled(tmp_path_factory) -> Path:
    """A bundle of tiny networks. Not to be changed."""
    from adacode_cli.training.bundle import bundle

    folder = tmp_path_factory.mktemp("bundled")
    bundle(save_run(folder / "run"), None, folder / "mine")
    return folder / "mine"


@pytest.fixture
def mine(bundled, tmp_path) -> Path:
    return Path(shutil.copytree(bundled, tmp_path / "mine"))


@pytest.fixture
def hub():
    with Hub(**{TOKEN: "me"}) as running:
        yield running


def client(hub: Hub, home: Path, token: str | None = TOKEN, **more: str) -> dict[str, str]:
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
    settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return settings | ({"HF_TOKEN": token} if token else {}) | more


@pytest.fixture
def push(real_adacode, hub, tmp_path):
    """Runs the command, which never shows the token: push(*arguments, code=0, token=TOKEN) → (stdout, stderr)."""

    def run(*arguments: str, code: int = 0, token: str | None = TOKEN, **more: str) -> tuple[str, str]:
        result = real_adacode("weights", "push", *arguments, **client(hub, tmp_path / "hf", token, **more))
        out, err = result.stdout.decode(), result.stderr.decode()
        assert result.returncode == code, err
        assert TOKEN not in out + err
        assert "Traceback" not in err or "-vv" in arguments
        return out, err

    return run


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_what_is_pushed_is_pulled_by_somebody_else_with_the_same_digests_and_images(
    push, hub, mine, real_adacode, photo, tmp_path
):
    out, err = push("mine", REPO, "--private")
    repository = hub.repositories[REPO]
    commit = repository.branches["main"]
    assert out == f"{hub.url}/{REPO}/commit/{commit}\n"
    assert "to use them: --weights hub:me/mine" in err
    assert (repository.private, repository.messages) == (True, ["", "Weights: tiny"])
    sent = {name: hashlib.sha256(body).hexdigest() for name, body in repository.commits[commit].items()}
    assert sent.items() >= digests(mine).items()
    assert sent.keys() - digests(mine).keys() == {"README.md", ".gitattributes"}

    photo("a.png", (24, 16))
    elsewhere = client(hub, tmp_path / "another-home")
    pulled = real_adacode("weights", "pull", "hub:me/mine", **elsewhere)
    assert pulled.returncode == 0, pulled.stderr
    paths = [Path(line) for line in pulled.stdout.decode().splitlines()]
    assert {path.name for path in paths} == {name for name in sent if name.endswith(".safetensors")}
    assert all(digests(mine)[path.name] == hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    hub.stop()
    more = ("--device", "cpu", "--no-provenance")
    for task, options in (("sr", ()), ("sr", ("--scale", "2")), ("reconstruct", ())):
        for name, weights in (("near.png", "mine"), ("far.png", "hub:me/mine")):
            env = elsewhere | {"HF_HUB_OFFLINE": "1"}
            done = real_adacode(task, "a.png", "-o", name, "--overwrite", "--weights", weights, *options, *more, **env)
            assert done.returncode == 0, done.stderr
        assert (tmp_path / "near.png").read_bytes() == (tmp_path / "far.png").read_bytes()
    refused = real_adacode("sr", "a.png", "-o", "n.png", "--weights", "hub:me/mine", **client(hub, tmp_path / "third"))
    assert refused.returncode == 4


def test_one_restorer_serves_all_tasks_from_the_hub(push, hub, mine, photo, tmp_path):
    push("mine", REPO)
    image = json.dumps([[[7 * x + 3 * y, 90, 5 * y] for x in range(16)] for y in range(12)])

    def restored(name: str, env: dict[str, str]) -> dict:
        script = RESTORE.replace('"me/mine"', name)
        run = [sys.executable, "-c", script]
        done = subprocess.run(run, input=image, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    home = tmp_path / "another-home"
    before = len(hub.requests)
    far = restored('"me/mine"', environment(**client(hub, home)))
    asked = [request for request in hub.requests[before:] if "/revision/" in request.path or "/api/" in request.path]
    assert len(asked) == 1, "the commit is asked for once"
    hub.repositories[REPO].commit({"catalogue.json": b"damaged"})
    options = f'revision="{list(hub.repositories[REPO].commits)[-2]}", local_files_only=True, cache_dir="{home}/hub"'
    assert restored(f'"hub:me/mine", {options}', environment(**client(hub, tmp_path / "third"))) == far
    near = environment(HF_HUB_OFFLINE="1")
    assert restored('__import__("pathlib").Path("mine")', near) == far


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
    assert found.keys() == {"psnr", "ssim"}
    for name, result in found.items():
        assert result.metric_value == pytest.approx(restored[name], abs=5e-5)
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


def test_an_image_says_which_commit_restored_it(push, hub, mine, real_adacode, photo, tmp_path):
    push("mine", REPO)
    photo("a.png", (24, 16))
    env = client(hub, tmp_path / "another-home")
    done = real_adacode("sr", "a.png", "-o", "b.png", "--weights", "hub:me/mine", "--device", "cpu", **env)
    assert done.returncode == 0, done.stderr
    commit = hub.repositories[REPO].branches["main"]
    assert f"hub:me/mine@{commit}" in Image.open(tmp_path / "b.png").info["XML:com.adobe.xmp"]


def other_weights(folder: Path, seed: float) -> dict[str, bytes]:
    """The files of the bundle in `folder` with other values, and their catalogue."""
    from dataclasses import replace

    import torch

    from adacode_cli.checkpoints.format import to_bytes

    files = {}
    for path in folder.glob("*.safetensors"):
        weights = read_weights(path)
        tensors = {key: tensor * seed for key, tensor in weights.tensors.items()}
        files[path.name] = to_bytes(replace(weights, tensors=tensors), torch.float16)
    data = json.loads((folder / "catalogue.json").read_text(encoding="utf-8"))
    for file in data["files"]:
        content = files[file["name"]]
        file.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return files | {"catalogue.json": json.dumps(data).encode()}


def test_all_processes_of_a_run_use_the_commit_at_its_beginning(push, hub, mine, real_adacode, photo, tmp_path):
    push("mine", REPO)
    repository = hub.repositories[REPO]
    first, others = repository.branches["main"], [other_weights(mine, 0.5), other_weights(mine, 0.25)]

    def move(request) -> None:
        if others and request.path.endswith(("basis.safetensors", "catalogue.json")):
            repository.commit(others.pop())

    for name in ("p/a.png", "p/b.png", "p/c.png"):
        photo(name)
    hub.before = move
    more = ("--weights", "hub:me/mine", "--device", "cpu", "--processes", "2")
    done = real_adacode("sr", "p", "-o", "far", *more, **client(hub, tmp_path / "another-home"))
    assert done.returncode == 0, done.stderr
    assert not others, "the branch has moved"
    assert {path.split("/")[4] for path in hub.downloads()} == {first}
    near = real_adacode("sr", "p", "-o", "near", "--weights", "mine", "--device", "cpu")
    assert near.returncode == 0, near.stderr
    for name in "abc":
        images = [Image.open(tmp_path / folder / f"{name}.png").tobytes() for folder in ("near", "far")]
        assert images[0] == images[1]


def test_a_dry_run_downloads_nothing_and_knows_what_is_here(push, hub, mine, real_adacode, photo, tmp_path):
    push("mine", REPO)
    photo("p/a.png")
    env = client(hub, tmp_path / "another-home")
    before = len(hub.requests)
    words = ("sr", "p", "--weights", "hub:me/mine", "--device", "cpu", "--dry-run")
    done = real_adacode(*words, **env)
    assert done.returncode == 0, done.stderr
    assert "time: not known, because hub:me/mine must be downloaded first" in done.stderr.decode()
    assert len(hub.requests) == before
    assert real_adacode("weights", "pull", "hub:me/mine/tiny-sr-x4", **env).returncode == 0
    assert not hub.downloads("tiny-inpaint.safetensors")
    hub.repositories[REPO].commit(other_weights(mine, 0.5))
    before = len(hub.requests)
    done = real_adacode(*words, **env)
    assert done.returncode == 0, done.stderr
    assert "time: about" in done.stderr.decode()
    assert len(hub.requests) == before


def test_one_file_of_a_family_on_the_hub_takes_the_shared_parts_of_its_commit(
    push, hub, mine, real_adacode, photo, tmp_path
):
    push("mine", REPO)
    photo("a.png")
    repository = hub.repositories[REPO]
    later = [other_weights(mine, 0.5)]

    def move(request) -> None:
        if later and request.path.endswith("tiny-sr-x4.safetensors") and request.method == "GET":
            repository.commit(later.pop())

    hub.before = move
    more = ("--device", "cpu", "--no-provenance")
    env = client(hub, tmp_path / "another-home")
    far = real_adacode("sr", "a.png", "-o", "b.png", "--weights", "hub:me/mine/tiny-sr-x4.safetensors", *more, **env)
    assert (far.returncode, later) == (0, []), far.stderr
    near = real_adacode("sr", "a.png", "-o", "c.png", "--weights", "mine/tiny-sr-x4.safetensors", *more)
    assert near.returncode == 0, near.stderr
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    assert not hub.downloads("catalogue.json")
    pulled = real_adacode(
        "weights", "pull", "hub:me/mine/tiny-reconstruct.safetensors", **client(hub, tmp_path / "third")
    )
    assert pulled.returncode == 0, pulled.stderr
    hub.stop()
    offline = client(hub, tmp_path / "third", HF_HUB_OFFLINE="1")
    words = ("reconstruct", "a.png", "-o", "d.png", "--weights", "hub:me/mine/tiny-reconstruct.safetensors")
    assert real_adacode(*words, "--device", "cpu", **offline).returncode == 0


def test_other_commands_take_a_bundle_on_the_hub(push, hub, mine, real_adacode, photo, tmp_path):
    push("mine", REPO)
    env = client(hub, tmp_path / "another-home")
    shown = real_adacode("weights", "show", "hub:me/mine", "--device", "cpu", **env)
    near = real_adacode("weights", "show", "mine", "--device", "cpu")
    assert (shown.returncode, shown.stdout) == (0, near.stdout), shown.stderr
    photo("photos/a.png", (64, 64))
    quantized = real_adacode("weights", "quantize", "hub:me/mine", "--photos", "photos", "-o", "q.safetensors", **env)
    assert quantized.returncode == 2
    assert "hub:me/mine has several tasks" in quantized.stderr.decode()
    assert "/tiny-reconstruct: tiny-reconstruct, tiny-sr-x2, tiny-sr-x4, tiny-inpaint" in quantized.stderr.decode()
    photo("set/hr/a.png", (48, 32))
    photo("set/lr_x4/a.png", (12, 8))
    figures = [
        json.loads(
            real_adacode("eval", "sr", "--data", "set", "--weights", w, "--device", "cpu", "--json", **env).stdout
        )
        for w in ("mine", "hub:me/mine")
    ]
    assert figures[0] | {"weights": ""} == figures[1] | {"weights": ""}
    assert figures[1]["weights"] == "hub:me/mine"
