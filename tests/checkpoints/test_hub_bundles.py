"""Bundles, in folders and in repositories of a loopback Hub, which the real client reads in processes of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_repositories import Hub
from hub_server import COMMIT, HubServer
from loopback import Reply
from safetensors.numpy import save
from test_hub import environment

from adacode_cli.checkpoints import bundles
from adacode_cli.checkpoints.catalogue import Catalogue, Entry, WeightsFile
from adacode_cli.checkpoints.catalogue_file import to_bytes
from adacode_cli.checkpoints.location import EntryName, FamilyName, LocalBundle
from adacode_cli.errors import WeightsError
from adacode_cli.limits import MAX_WEIGHTS_BYTES

REPO = "owner/repo"
PARTS = ("basis", "fused", "reconstruct", "sr-x4")

# Opens a bundle, and for each named entry shows the digests of its files. It answers in JSON.
PROBE = """
import hashlib, json, sys
from adacode_cli.checkpoints import bundles, hub, location
from adacode_cli.errors import AdaCodeError
address, *names = sys.argv[1:]
local_only = "--local-only" in names
try:
    bundle = bundles.open_bundle(location.parse_hub(address), hub.HubAccess(local_files_only=local_only))
    found = {}
    for name in (name for name in names if name != "--local-only"):
        for path in bundle.paths(bundle.catalogue.entry(name)):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    print(json.dumps({"commit": bundle.place.revision, "files": found, "chosen": bundle.chosen.name}))
except AdaCodeError as error:
    print(json.dumps({"error": str(error), "hint": error.hint}))
    sys.exit(error.exit_code)
"""


def bodies(seed: str, family: str = "mine") -> dict[str, bytes]:
    """Parts whose content is of this seed; none of them is the same for another one."""
    return {
        f"{family}-{part}.safetensors": hashlib.shake_256(f"{seed}{part}".encode()).digest(20_000) for part in PARTS
    }


def catalogue_of(files: dict[str, bytes], family: str = "mine", **changes: object) -> bytes:
    """A catalogue of two tasks over shared parts; `changes` are those of each file's description."""
    described = [
        WeightsFile(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in files.items() if "safe" in name
    ]
    shared = (f"{family}-basis.safetensors", f"{family}-fused.safetensors")
    entries = [
        Entry(
            f"{family}-{part}",
            family,
            task,
            scale,
            (*shared, f"{family}-{part}.safetensors"),
            "MIT",
            "a test",
            "bundled",
        )
        for part, task, scale in (("reconstruct", "reconstruct", 1), ("sr-x4", "sr", 4))
    ]
    data = json.loads(to_bytes(Catalogue(tuple(entries), tuple(described), None, None)))
    for file in data["files"]:
        file.update(changes)
    return json.dumps(data).encode()


def whole(seed: str) -> dict[str, bytes]:
    files = bodies(seed)
    return {**files, "catalogue.json": catalogue_of(files)}


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}


class Reader:
    """Runs the probe in processes that share one HF_HOME."""

    def __init__(self, home: Path, hub: Hub) -> None:
        self.home, self.hub = home, hub

    def read(self, *arguments: str, exit_code: int = 0, **settings: str) -> dict:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, *arguments],
            capture_output=True,
            text=True,
            env=environment(self.home, self.hub.url, **settings),
            check=False,
        )
        assert done.returncode == exit_code, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def hub():
    with Hub(secret="owner") as running:
        yield running


@pytest.fixture
def reader(tmp_path, hub):
    return Reader(tmp_path / "hf", hub)


def test_only_the_parts_of_the_task_are_downloaded_and_the_second_time_nothing(hub, reader):
    repository = hub.add(REPO, whole("a"))
    first = reader.read(f"hub:{REPO}", "mine-sr-x4")
    wanted = digests({k: v for k, v in bodies("a").items() if "reconstruct" not in k})
    assert first == {"commit": repository.branches["main"], "files": wanted, "chosen": "mine"}
    assert sorted(path.rpartition("/")[2] for path in hub.downloads()) == ["catalogue.json", *sorted(wanted)]
    assert reader.read(f"hub:{REPO}", "mine-sr-x4") == first
    assert len(hub.downloads()) == 4
    assert reader.read(f"hub:{REPO}", "mine-sr-x4", HF_HUB_OFFLINE="1") == first
    hub.stop()
    assert reader.read(f"hub:{REPO}", "mine-sr-x4", "--local-only") == first


def test_a_branch_that_moves_between_two_downloads_gives_the_parts_of_the_first_commit(hub, reader):
    repository = hub.add(REPO, whole("a"))
    first = repository.branches["main"]

    def move(request) -> None:
        if request.method == "GET" and request.path.endswith("basis.safetensors") and len(repository.commits) == 1:
            repository.commit(whole("b"))

    hub.before = move
    found = reader.read(f"hub:{REPO}", "mine-sr-x4", "mine-reconstruct")
    assert (found["commit"], found["files"]) == (first, digests(bodies("a")))
    assert len(repository.commits) == 2
    assert {path.split("/")[4] for path in hub.downloads(".safetensors")} == {first}
    found = reader.read(f"hub:{REPO}", "mine-sr-x4", "mine-reconstruct")
    assert (found["commit"], found["files"]) == (repository.branches["main"], digests(bodies("b")))
    assert reader.read(f"hub:{REPO}@{first}", "mine-sr-x4")["commit"] == first


def test_a_catalogue_that_changes_while_it_is_asked_for_is_of_the_commit_of_the_parts(hub, reader):
    repository = hub.add(REPO, whole("a"))

    def move(request) -> None:
        if request.method == "GET" and request.path.endswith("catalogue.json") and len(repository.commits) == 1:
            repository.commit(whole("b"))

    hub.before = move
    found = reader.read(f"hub:{REPO}", "mine-sr-x4", "mine-reconstruct")
    content = {digests(bodies(seed))["mine-basis.safetensors"]: seed for seed in "ab"}
    seed = content[found["files"]["mine-basis.safetensors"]]
    assert found["files"] == digests(bodies(seed))


def test_parts_of_an_older_commit_in_the_cache_are_never_mixed_in(hub, reader):
    repository = hub.add(REPO, whole("a"))
    old = reader.read(f"hub:{REPO}", "mine-sr-x4")
    repository.commit(whole("b"))
    # Only the catalogue of the new commit arrives.
    hub.refuse = {r"/resolve/.*\.safetensors": Reply(403)}
    reader.read(f"hub:{REPO}", "mine-sr-x4", exit_code=4)
    failed = reader.read(f"hub:{REPO}", "mine-sr-x4", exit_code=4, HF_HUB_OFFLINE="1")
    assert f"hub:{REPO}@{repository.branches['main']}/mine-basis.safetensors is not in the cache" in failed["error"]
    assert reader.read(f"hub:{REPO}@{old['commit']}", "mine-sr-x4", HF_HUB_OFFLINE="1") == old
    hub.refuse = {}
    assert (
        reader.read(f"hub:{REPO}", "mine-sr-x4")["files"]["mine-basis.safetensors"]
        == (digests(bodies("b"))["mine-basis.safetensors"])
    )


def test_parts_that_did_not_change_are_not_downloaded_again(hub, reader):
    repository = hub.add(REPO, whole("a"))
    reader.read(f"hub:{REPO}", "mine-sr-x4")
    changed = {**bodies("a"), "mine-sr-x4.safetensors": b"new" * 7000}
    repository.commit({**changed, "catalogue.json": catalogue_of(changed)})
    before = len(hub.downloads())
    found = reader.read(f"hub:{REPO}", "mine-sr-x4")
    assert found["files"]["mine-sr-x4.safetensors"] == hashlib.sha256(b"new" * 7000).hexdigest()
    assert [path.rpartition("/")[2] for path in hub.downloads()[before:]] == [
        "catalogue.json",
        "mine-sr-x4.safetensors",
    ]


def test_a_file_that_is_not_what_the_catalogue_says_is_refused(hub, reader):
    files = whole("a")
    hub.add(REPO, {**files, "mine-fused.safetensors": bodies("b")["mine-fused.safetensors"]})
    failed = reader.read(f"hub:{REPO}", "mine-sr-x4", exit_code=4)
    assert "mine-fused.safetensors" in failed["error"]
    assert "wrong SHA-256" in failed["error"]
    assert f"The files in {REPO} do not fit their catalogue" in failed["hint"]
    hub.add("owner/size", {**files, "mine-fused.safetensors": b"x"})
    failed = reader.read("hub:owner/size", "mine-sr-x4", exit_code=4)
    assert "has 1 bytes in the repository, and 20,000 in its catalogue" in failed["error"]
    assert not [path for path in hub.downloads("mine-fused.safetensors") if "/size/" in path]


def test_a_repository_without_a_catalogue_names_its_files(hub, reader):
    hub.add(REPO, {"a.safetensors": b"1", "deep/b.pth": b"2", "README.md": b"3"})
    failed = reader.read(f"hub:{REPO}", exit_code=4)
    assert failed["error"] == f"hub:{REPO} has no catalogue.json, which says what its files are"
    assert failed["hint"] == f"Name one of its files: hub:{REPO}/a.safetensors or hub:{REPO}/deep/b.pth."
    hub.refuse = {"/tree/": Reply(403)}
    assert reader.read(f"hub:{REPO}", exit_code=4)["hint"].startswith("Name a file of weights in it")


def test_what_is_not_there_is_named(hub, reader):
    hub.add(REPO, whole("a"))
    assert "no repository owner/none" in reader.read("hub:owner/none", exit_code=4)["error"]
    assert "no revision 'v9'" in reader.read(f"hub:{REPO}@v9", exit_code=4)["error"]


def test_a_mirror_that_has_files_alone_is_enough(tmp_path):
    with HubServer(REPO, whole("a")) as mirror:
        found = Reader(tmp_path / "hf", mirror).read(f"hub:{REPO}", "mine-sr-x4", "mine-reconstruct")
    assert (found["commit"], found["files"]) == (COMMIT, digests(bodies("a")))


def test_a_private_repository_needs_the_token(hub, reader):
    hub.add(REPO, whole("a"), private=True)
    assert "private" in reader.read(f"hub:{REPO}", exit_code=4)["error"]
    assert reader.read(f"hub:{REPO}", "mine-sr-x4", HF_TOKEN="secret")["files"]


FILES = bodies("a")
HOSTILE = {
    "no JSON": (b"{", "is not valid JSON"),
    "not an object": (b"[]", "must be a JSON object"),
    "nested": (b"[" * 200_000, "is not valid JSON"),
    "too large": (b" " * (2**20 + 1), "has 1,048,577 bytes, and at most 1,048,576 are read"),
    "another version": (b'{"version": 2}', "has version 2"),
    "a folder in a name": (catalogue_of(FILES).replace(b"mine-basis", b"../basis"), "bad file name '../basis"),
    "a name that is long": (catalogue_of(FILES).replace(b"mine-basis", b"a" * 250), "more than 200 characters"),
    "a pickle": (catalogue_of(FILES).replace(b"mine-fused.safetensors", b"mine-fused.pth"), "does not end in"),
    "no digest": (catalogue_of(FILES, sha256=None), "has no size or no SHA-256"),
    "no size": (catalogue_of(FILES, bytes=None), "has no size or no SHA-256"),
    "a huge file": (catalogue_of(FILES, bytes=MAX_WEIGHTS_BYTES + 1), "are read"),
    "other places": (catalogue_of(FILES).replace(b'"bundled"', b'"hub"'), "no weights whose files are beside it"),
    "an unknown task": (catalogue_of(FILES).replace(b'"sr"', b'"colour"'), "unknown task 'colour'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_catalogue_that_cannot_be_right_is_refused_in_a_folder(name, tmp_path):
    content, message = HOSTILE[name]
    (tmp_path / "catalogue.json").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        bundles.open_bundle(LocalBundle(tmp_path))
    assert message in str(caught.value)
    assert "catalogue.json" in str(caught.value)
    assert "weights bundle" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["no JSON", "too large", "a folder in a name", "a pickle", "no digest", "other places"]
)
def test_a_catalogue_that_cannot_be_right_is_refused_on_the_hub(name, hub, reader):
    content, message = HOSTILE[name]
    hub.add(REPO, {**FILES, "catalogue.json": content})
    failed = reader.read(f"hub:{REPO}", "mine-sr-x4", exit_code=4)
    assert message in failed["error"]
    assert "owner" in failed["hint"]
    assert not hub.downloads(".safetensors")
    assert bool(hub.downloads("catalogue.json")) == (name != "too large")


def written(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


def test_a_folder_behaves_like_a_repository(tmp_path):
    folder = written(tmp_path / "mine", whole("a"))
    bundle = bundles.open_bundle(LocalBundle(folder))
    assert bundle.chosen == FamilyName("mine")
    paths = bundle.paths(bundle.catalogue.entry("mine-sr-x4"))
    assert [path.name for path in paths] == [f"mine-{part}.safetensors" for part in ("basis", "fused", "sr-x4")]
    (folder / "mine-fused.safetensors").write_bytes(b"x" * 20_000)
    with pytest.raises(WeightsError, match="wrong SHA-256") as caught:
        bundle.paths(bundle.catalogue.entry("mine-sr-x4"))
    assert "reinstall" not in caught.value.hint.lower()
    (folder / "mine-fused.safetensors").unlink()
    with pytest.raises(WeightsError, match="is missing"):
        bundle.require_here(bundle.catalogue.entry("mine-sr-x4"))


def test_an_entry_that_does_not_name_the_shared_parts_is_refused_wherever_they_lie(tmp_path, hub, reader):
    stated = json.dumps({"part": "task", "provenance": {"family": "mine"}})
    files = bodies("a") | {"mine-sr-x4.safetensors": save({"x": np.zeros(1)}, {"adacode": stated})}
    catalogue = json.loads(catalogue_of(files))
    for entry in catalogue["entries"]:
        if entry["name"] == "mine-sr-x4":
            entry["files"] = ["mine-sr-x4.safetensors"]
    files["catalogue.json"] = json.dumps(catalogue).encode()
    bundle = bundles.open_bundle(LocalBundle(written(tmp_path / "mine", files)))
    with pytest.raises(WeightsError, match=r"does not name mine-basis\.safetensors and mine-fused\.safetensors"):
        bundle.paths(bundle.catalogue.entry("mine-sr-x4"))
    hub.add("owner/short", files)
    failed = reader.read("hub:owner/short", "mine-sr-x4", exit_code=4)
    assert "does not name mine-basis.safetensors and mine-fused.safetensors" in failed["error"]


def test_one_of_several_families_has_to_be_named(tmp_path):
    both = {**bodies("a"), **bodies("b", "other")}
    one, other = (json.loads(catalogue_of(bodies("a", family), family)) for family in ("mine", "other"))
    one["files"] += other["files"]
    one["entries"] += other["entries"]
    folder = written(tmp_path / "both", {**both, "catalogue.json": json.dumps(one).encode()})
    with pytest.raises(WeightsError, match="has several families") as caught:
        bundles.open_bundle(LocalBundle(folder))
    assert caught.value.hint == f"It has mine, other; write {folder}/mine or another of them."
    assert bundles.open_bundle(LocalBundle(folder, "other")).chosen == FamilyName("other")
    assert bundles.open_bundle(LocalBundle(folder, "other-sr-x4")).chosen == EntryName("other-sr-x4")
    with pytest.raises(WeightsError, match="has no weights called 'third'") as caught:
        bundles.open_bundle(LocalBundle(folder, "third"))
    assert caught.value.hint.startswith("It has mine, other, mine-reconstruct")


def test_entries_whose_files_are_elsewhere_are_left_out(tmp_path):
    data = json.loads(catalogue_of(FILES))
    data["release"] = "https://example.invalid"
    data["files"].append({"name": "far.pth", "bytes": None, "sha256": None})
    data["entries"].append(
        {**data["entries"][0], "name": "far", "family": "far-family", "kind": "release", "files": ["far.pth"]}
    )
    folder = written(tmp_path / "mine", {**FILES, "catalogue.json": json.dumps(data).encode()})
    bundle = bundles.open_bundle(LocalBundle(folder))
    assert bundle.catalogue.families() == ("mine",)
    assert bundle.catalogue.release is None
