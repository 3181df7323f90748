from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.location import (
    EntryName,
    FamilyName,
    HubBundle,
    HubFile,
    HubRepo,
    LocalBundle,
    LocalFile,
    parse,
    parse_hub,
    parse_hub_file,
    parse_hub_repo,
    with_revision,
)
from adacode_cli.errors import AdaCodeError, UsageError, WeightsError

CATALOGUE = catalogue_file.load()


def test_the_kinds(tmp_path: Path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"x")
    assert parse("compact", CATALOGUE) == FamilyName("compact")
    assert parse("published-inpaint", CATALOGUE) == EntryName("published-inpaint")
    assert parse(str(file), CATALOGUE) == LocalFile(file)
    assert parse("hub:a/b/c.pth", CATALOGUE) == HubFile("a/b", None, "c.pth")
    assert parse("hub:a/b@v1", CATALOGUE) == HubBundle("a/b", "v1", None)
    assert parse("hub:a/b/mine-sr-x4", CATALOGUE) == HubBundle("a/b", None, "mine-sr-x4")
    (tmp_path / "catalogue.json").write_bytes(b"{}")
    assert parse(str(tmp_path), CATALOGUE) == LocalBundle(tmp_path)
    assert parse(str(tmp_path / "mine-sr-x4"), CATALOGUE) == LocalBundle(tmp_path, "mine-sr-x4")


def test_a_path_is_a_file_or_a_folder_and_never_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        parse(Path("compact"), CATALOGUE)
    (tmp_path / "compact").mkdir()
    (tmp_path / "compact" / "catalogue.json").write_bytes(b"{}")
    assert parse(Path("compact"), CATALOGUE) == LocalBundle(Path("compact"))
    assert parse("compact", CATALOGUE) == FamilyName("compact")


@pytest.mark.parametrize("name", [3, None, b"compact", ["compact"]])
def test_what_names_nothing_is_a_usage_error(name):
    with pytest.raises(UsageError, match="a text or a Path"):
        parse(name, CATALOGUE)


def test_a_bare_repository_is_the_hub_only_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="does not exist") as caught:
        parse("owner/repo", CATALOGUE)
    assert caught.value.hint == "Did you mean hub:owner/repo, a repository on the Hugging Face Hub?"
    assert parse("owner/repo", CATALOGUE, bare_hub=True) == HubBundle("owner/repo", None)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "catalogue.json").write_bytes(b"{}")
    assert parse("owner/repo", CATALOGUE, bare_hub=True) == LocalBundle(Path("owner"), "repo")
    for text in ("owner/repo/a.safetensors", "./gone/repo", "../gone", "gone/a.safetensors", ""):
        with pytest.raises(AdaCodeError):
            parse(text, CATALOGUE, bare_hub=True)


def test_a_folder_without_a_catalogue_names_its_files(tmp_path):
    with pytest.raises(WeightsError, match="without a catalogue") as caught:
        parse(str(tmp_path), CATALOGUE)
    assert "weights bundle" in caught.value.hint
    for number in range(10):
        (tmp_path / f"{number}.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError) as caught:
        parse(str(tmp_path), CATALOGUE)
    assert caught.value.hint.startswith("Name one of its files: 0.safetensors, 1.safetensors")
    assert "(and 2 more)" in caught.value.hint


def test_a_revision_beside_an_address():
    assert with_revision(HubBundle("a/b", None), "v1") == HubBundle("a/b", "v1")
    assert with_revision(HubFile("a/b", "v1", "c.pth"), "v1") == HubFile("a/b", "v1", "c.pth")
    for place, revision in ((HubBundle("a/b", "v1"), "v2"), (FamilyName("compact"), "v1"), (HubBundle("a/b", None), 3)):
        with pytest.raises(UsageError):
            with_revision(place, revision)
    with pytest.raises(WeightsError, match="not a valid revision"):
        with_revision(HubBundle("a/b", None), "../x")


def test_a_name_wins_over_a_file_of_that_name_and_a_dot_slash_means_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compact").write_bytes(b"x")
    assert parse("compact", CATALOGUE) == FamilyName("compact")
    with pytest.raises(WeightsError, match=r"ends in none of \.safetensors, \.pth, \.pt, \.ckpt"):
        parse("./compact", CATALOGUE)


def test_a_file_in_the_working_directory_needs_no_slash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Große Gewichte.PTH").write_bytes(b"x")
    assert parse("Große Gewichte.PTH", CATALOGUE) == LocalFile(Path("Große Gewichte.PTH"))


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pth").write_bytes(b"x")
    assert parse("~/w.pth", CATALOGUE) == LocalFile(tmp_path / "w.pth")


def test_a_misspelt_name_gets_the_nearest_ones():
    with pytest.raises(WeightsError, match="Did you mean compact-inpaint") as caught:
        parse("compct-inpaint", CATALOGUE)
    assert "adacode weights list" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [("./gone.safetensors", "does not exist"), ("gone.pth", "does not exist"), (".", "is a folder")],
)
def test_paths_that_are_no_weights(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=message):
        parse(text, CATALOGUE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hub:", "needs an owner"),
        ("hub:owner", "needs an owner"),
        ("hub:owner/", "repository is empty"),
        ("hub:/repo/f.pth", "owner is empty"),
        ("hub:owner//f.pth", "repository is empty"),
        ("hub:owner/@main/f.pth", "repository is empty"),
        ("hub:own er/repo/f.pth", "'own er' is not a valid owner"),
        ("hub:owner/-repo/f.pth", "not a valid repository"),
        ("hub:owner/re..po/f.pth", "not a valid repository"),
        ("hub:owner/re--po/f.pth", "not a valid repository"),
        ("hub:owner/repo.git/f.pth", "not a valid repository"),
        ("hub:owner/repo@/f.pth", "revision is empty"),
        ("hub:owner/repo@a b/f.pth", "not a valid revision"),
        ("hub:owner/repo@a%2F..%2F..%2Fb/f.pth", "not a valid revision"),
        ("hub:owner/repo@main@x/f.pth", "not a valid revision"),
        ("hub:owner/repo/", "file is missing"),
        ("hub:owner/repo/../../etc/f.pth", "'..' folder"),
        ("hub:owner/repo/a//f.pth", "empty"),
        ("hub:owner/repo/C:\\f.pth", "characters"),
        ("hub:owner/repo/C:f.pth", "characters"),
        ("hub:owner/repo/a\nb.pth", "characters"),
        ("hub:owner/repo/model.bin", "ends in none of"),
    ],
)
def test_every_malformed_hub_address_says_what_is_wrong(text, message):
    with pytest.raises(WeightsError, match=message) as caught:
        parse(text, CATALOGUE)
    assert caught.value.exit_code == 4
    assert "hub:OWNER/REPO" in caught.value.hint


NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_]|[.-][A-Za-z0-9]){0,20}", fullmatch=True).filter(
    lambda name: not name.endswith(".git")
)
FOLDERS = st.lists(st.from_regex(r"[A-Za-z0-9 _é-]{1,8}", fullmatch=True), max_size=3)


@given(owner=NAMES, repo=NAMES, revision=st.none() | st.lists(NAMES, min_size=1, max_size=3), folders=FOLDERS)
def test_parts_survive_being_written_and_parsed(owner, repo, revision, folders):
    file = "/".join([*folders, "f.safetensors"])
    at = f"@{'%2F'.join(revision)}" if revision else ""
    parsed = parse_hub_file(f"hub:{owner}/{repo}{at}/{file}")
    assert parse_hub(parsed.address) == parsed
    assert parsed == HubFile(f"{owner}/{repo}", "/".join(revision) if revision else None, file)


@given(st.text(max_size=40))
def test_whatever_is_accepted_stays_inside_its_repository(text):
    try:
        parsed = parse_hub_file(f"hub:o/r{text}")
    except WeightsError:
        return
    assert not {"", ".", ".."} & set(parsed.file.split("/"))
    assert not {"", ".", ".."} & set((parsed.revision or "main").split("/"))


def test_a_repository_for_the_catalogue():
    assert parse_hub_repo("o/r") == HubRepo("o/r", None)
    assert parse_hub_repo("o/r@v1.2") == HubRepo("o/r", "v1.2")
    for wrong in ("r", "o/r/f.pth", "o/", "https://huggingface.co/o/r"):
        with pytest.raises(WeightsError):
            parse_hub_repo(wrong)
