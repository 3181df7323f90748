"""Weights that were pushed to a loopback Hub, as other people use them: every command, and Python."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from adacode_process import environment
from hub_client import REPO, TOKEN, client, digests, other_weights
from PIL import Image

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


def test_an_image_says_which_commit_restored_it(push, hub, mine, real_adacode, photo, tmp_path):
    push("mine", REPO)
    photo("a.png", (24, 16))
    env = client(hub, tmp_path / "another-home")
    done = real_adacode("sr", "a.png", "-o", "b.png", "--weights", "hub:me/mine", "--device", "cpu", **env)
    assert done.returncode == 0, done.stderr
    commit = hub.repositories[REPO].branches["main"]
    assert f"hub:me/mine@{commit}" in Image.open(tmp_path / "b.png").info["XML:com.adobe.xmp"]


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


def test_the_token_that_python_gives_opens_a_private_repository_and_is_not_shown(push, hub, mine, tmp_path):
    push("mine", REPO, "--private")
    script = (
        "from adacode_cli import Restorer\n"
        "import sys\n"
        "try:\n"
        '    print(Restorer.from_pretrained("me/mine", device="cpu", token=eval(sys.argv[1])).prepare("sr"))\n'
        "except Exception as error:\n"
        "    print(type(error).__name__, error, error.hint)\n"
    )

    def said(given: object, home: str, token: str | None = None) -> str:
        env = environment(**client(hub, tmp_path / home, token))
        run = [sys.executable, "-c", script, repr(given)]
        done = subprocess.run(run, capture_output=True, text=True, env=env, check=True)
        assert "hf_wrong" not in done.stdout + done.stderr
        return done.stdout.strip()

    assert len(said(TOKEN, "first")) == 64
    assert "there is no repository me/mine, or it is private" in said(None, "second")
    assert "WeightsError" in said("hf_wrong", "second")
    assert "there is no repository me/mine, or it is private" in said(False, "second", TOKEN)
    assert "no token is stored on this machine" in said(True, "second")
