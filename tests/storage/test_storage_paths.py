"""Addresses as paths: they join and split, reach no local disk, and keep their secrets to themselves."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import pytest

from adacode_cli.batch.found import Found
from adacode_cli.errors import UsageError
from adacode_cli.storage.path import (
    RemotePath,
    identity_of,
    is_remote,
    is_remote_text,
    path_from,
    path_of,
    without_secrets,
)


def test_it_joins_splits_and_names_as_every_path():
    scans = path_of("s3://museum/scans/")
    path = scans / "1931" / "p1.tif"
    assert str(path) == "s3://museum/scans/1931/p1.tif"
    assert (path.name, path.stem, path.suffix) == ("p1.tif", "p1", ".tif")
    assert [str(above) for above in path.parents][:3] == ["s3://museum/scans/1931", "s3://museum/scans", "s3://museum"]
    assert str(path.with_name("p2.tif")) == "s3://museum/scans/1931/p2.tif"
    assert path.relative_to(scans).as_posix() == "1931/p1.tif"
    assert {type(one) for one in (path, path.parent, path.with_suffix(".png"), scans / "x")} == {RemotePath}
    assert path == path_of(str(path))
    assert (path.scheme, path.kind.extra, path.is_top, path_of("s3://museum").is_top) == ("s3", "s3", False, True)
    assert pickle.loads(pickle.dumps(path)) == path


def test_a_local_call_is_an_error_and_never_a_local_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "museum").mkdir(parents=True)
    (tmp_path / "s3:" / "museum" / "a.png").write_bytes(b"local")
    path = path_of("s3://museum/a.png")
    for call in (os.stat, os.listdir, open, os.path.exists, os.path.realpath, os.fspath):
        with pytest.raises(TypeError):
            call(path)
    for name in ("stat", "exists", "is_dir", "is_file", "open", "read_bytes", "mkdir", "unlink", "resolve", "iterdir"):
        with pytest.raises(AttributeError):
            getattr(path, name)
    assert path.absolute() is path


def test_local_paths_stay_what_they_are():
    for text in ("photos", "./s3:/museum", "a:b//c", "file:///tmp/a.png", "C:\\photos", "s3:"):
        assert type(path_of(text)) is type(Path())
        assert path_of(text) == Path(text)
        assert not is_remote_text(str(Path(text)))
    assert is_remote(path_from("s3://museum/a"))
    assert not is_remote(path_from("museum/a"))
    assert str(path_of("S3://Museum/A")) == "s3://Museum/A"


def test_secrets_are_never_in_the_text_of_a_path():
    path = path_of("https://ada:l%40velace@example.org/in/a.tif?X-Amz-Signature=abc123&x=1")
    folder = path_of("sftp://me:hunter2@server/home/scans")
    for one in (path, folder, folder / "a.png", pickle.loads(pickle.dumps(path))):
        shown = f"{one} {one!r} {one.name}"
        assert not any(secret in shown for secret in ("ada:", "l%40", "hunter2", "abc123", "X-Amz"))
    assert path.address == "https://ada:l%40velace@example.org/in/a.tif?X-Amz-Signature=abc123&x=1"
    assert (folder / "sub" / "a.png").address == "sftp://me:hunter2@server/home/scans/sub/a.png"
    message = f"403, message='Forbidden', url='{path.address}' for ada:l@velace and hunter2"
    assert not any(secret in without_secrets(message) for secret in ("abc123", "l%40velace", "l@velace", "hunter2"))
    assert "sig=" not in without_secrets("cannot read https://h/a?sig=xyz")
    with pytest.raises(UsageError, match="two addresses differ only in what follows the question mark"):
        path_of("https://ada:l%40velace@example.org/in/a.tif?X-Amz-Signature=other")


def test_secrets_travel_to_other_processes(tmp_path):
    import subprocess
    import sys

    path = path_of("https://eve:pass@example.org/b.tif?sig=k1") / "c"
    path = path.parent
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).address)"
    told = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(path), capture_output=True, check=True)
    assert told.stdout.decode().strip() == "https://eve:pass@example.org/b.tif?sig=k1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gopher://x/y", "gopher:// addresses are not supported"),
        ("s3:///y", "has no bucket or server"),
        ("s3://b/a//c", "an empty part"),
        ("s3://b/a/../c", "'..'"),
        ("s3://id:key@b/c", "a user or a key in the address has no effect"),
        ("s3://b/a.png?versionId=1.png", "a key that contains ?versionId= cannot be used"),
        ("abfs://c@a/a.png?versionid=1.png", "a key that contains ?versionid= cannot be used"),
        ("az://c/x.tif?sv=1&sig=SECRETkey@", "az://c/x.tif: a key or a signature in the address has no effect"),
        ("sftp://u:pa/key@h/x", "what follows the colon is no port"),
        ("https://u:p?key@h/x", "what follows the colon is no port"),
        ("https://u:12?key@h/x", "what follows the colon is no port"),
        ("https://h/a#b.png", "an address with # cannot be used"),
    ],
)
def test_addresses_that_cannot_be_used(text, message):
    with pytest.raises(UsageError, match=re.escape(message)) as refused:
        path_of(text)
    assert "key@" not in str(refused.value)
    assert "pa/" not in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            "https://one.example/a.png",
            "https://one.example/a.png?id=2",
            "differ only in what follows the question mark",
        ),
        (
            "https://two.example/a.png?id=2",
            "https://two.example/a.png",
            "differ only in what follows the question mark",
        ),
        ("https://anna:x@three.example/1.png", "https://bob:y@three.example/2.png", "different users or passwords"),
        ("sftp://four/1.png", "sftp://bob:yy@four/2.png", "different users or passwords"),
    ],
)
def test_two_addresses_that_would_share_a_query_or_a_user_are_refused(one, other, message):
    path_of(one)
    path_of(one)
    with pytest.raises(UsageError, match=message) as refused:
        path_of(other)
    assert not any(secret in str(refused.value) for secret in ("bob", "yy", "id=2"))


def test_the_query_counts_for_the_identity_and_a_signature_does_not():
    names = [f"https://five.example/{number}.png" for number in range(5)]
    queries = ["", "?id=1", "?id=1&X-Amz-Signature=abc&X-Amz-Date=1", "?id=2", "?Signature=abc&Expires=5"]
    for name, query in zip(names, queries, strict=True):
        path_of(name + query)
    none, one, signed, two, only_signed = (identity_of(name).partition("?")[2] for name in names)
    assert none == only_signed == ""
    assert one == signed != two
    assert identity_of("photos/a.png") == "photos/a.png"


def test_ports_and_names_of_resources_are_no_passwords():
    for text in ("https://h:8080/a.png", "http://[::1]:80/a.png", "s3://arn:aws:s3:eu-west-1:1:accesspoint/x/a.png"):
        assert str(path_of(text)) == text


def test_a_container_of_azure_is_before_an_at_sign():
    path = path_of("abfs://scans@account.dfs.core.windows.net/a.png")
    assert str(path) == path.address == "abfs://scans@account.dfs.core.windows.net/a.png"


def test_an_image_that_was_found_has_the_text_of_its_path():
    found = Found(path_of("s3://museum/scans"), "1931/a.png", in_tree=True)
    assert found.path_text == str(found.path) == "s3://museum/scans/1931/a.png"
