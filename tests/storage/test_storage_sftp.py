"""Whole runs from and to a real SFTP server, which shows files while they are written and creates nothing once only."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_storage_trees import NAMES, tree

from adacode_cli.errors import InputError, OutputError
from adacode_cli.storage import objects
from adacode_cli.storage.host_keys import known_keys
from adacode_cli.storage.path import path_of

paramiko = pytest.importorskip("paramiko", reason="the package of the extra `sftp` is absent")


@pytest.fixture
def known_hosts(tmp_path, monkeypatch):
    """The file of ssh with the keys of servers, in the home of a person who has no other files there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "home" / ".ssh" / "known_hosts"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def server(tmp_path, known_hosts):
    from sftp_server import Server

    (tmp_path / "remote").mkdir()
    one = Server(tmp_path / "remote")
    known_hosts.write_text(one.known_host)
    yield one
    one.close()


def test_a_tree_is_the_same_as_on_a_disk(adacode, photo, server, tmp_path):
    for name in NAMES:
        photo(f"photos/{name}")
        photo(f"remote/scans/{name}").write_bytes((tmp_path / "photos" / name).read_bytes())
    assert adacode("sr", "photos", "-o", "wanted", "-q", "--save-weights-map", "maps").returncode == 0
    more = ("--save-weights-map", f"{server.url}/maps", "--report", "-v")
    for number in range(2):
        result = adacode("sr", f"{server.url}/scans", "-o", f"{server.url}/large", *more)
        assert result.returncode == 0, result.stderr
        assert (b"4 skipped" in result.stdout + result.stderr) is bool(number)
        for name, wanted in (("large", "wanted"), ("maps", "maps")):
            assert tree(tmp_path / "remote" / name) == tree(tmp_path / wanted)
    files = [path for path in (tmp_path / "remote" / "large" / ".adacode").rglob("*") if path.is_file()]
    # Browsers need previews of the TIFF.
    assert sum(path.match("report/pictures/*/*.webp") for path in files) == len(NAMES) + 2
    state = {path.name for path in files if "report" not in path.parts}
    assert not [name for name in state if name.endswith((".json", ".adacode-part")) and name != "report.json"]
    said = result.stdout + result.stderr + b"".join(p.read_bytes() for p in tmp_path.rglob(".adacode/*/*.jsonl"))
    assert b"lovelace" not in said
    assert b"sftp://127.0.0.1" in said


def changed(path):
    """Gives a file another last byte, and then its earlier time: its server says the same of it as before."""
    times, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 255]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_verify_finds_what_the_server_does_not_tell(adacode, photo, server, tmp_path):
    for name in ("a.bmp", "b.bmp", "c.bmp"):
        photo(f"remote/scans/{name}")
    command = ("sr", f"{server.url}/scans", "-o", f"{server.url}/large", "-v")
    assert adacode(*command).returncode == 0
    large = tmp_path / "remote" / "large"
    made = tree(large)
    changed(tmp_path / "remote" / "scans" / "a.bmp")
    changed(large / "b.bmp")
    trusting = adacode(*command)
    assert b"3 skipped" in trusting.stdout + trusting.stderr
    assert tree(large)["a.bmp"] == made["a.bmp"]
    result = adacode(*command, "--verify")
    assert result.returncode == 0, result.stderr
    assert b"1 restored, 2 skipped" in result.stderr
    assert b"b.bmp: skipped, changed since it was made, kept (--overwrite makes it again)" in result.stderr
    photo("photos/a.bmp").write_bytes((tmp_path / "remote" / "scans" / "a.bmp").read_bytes())
    assert adacode("sr", "photos", "-o", "wanted").returncode == 0
    assert tree(large)["a.bmp"] == tree(tmp_path / "wanted")["a.bmp"] != made["a.bmp"]
    assert tree(large)["c.bmp"] == made["c.bmp"]


def test_nothing_is_replaced_and_nothing_is_half(server, tmp_path):
    path = path_of(f"{server.url}/deep/folder/a.png")
    objects.write(path, b"one", replaces=objects.Replaces.NOTHING)
    with pytest.raises(OutputError, match="exists already"):
        objects.write(path, b"two", replaces=objects.Replaces.NOTHING)
    objects.write(path, b"three")
    written = {one.name: one.read_bytes() for one in (tmp_path / "remote" / "deep" / "folder").iterdir()}
    assert written == {"a.png": b"three"}
    assert objects.read(path, 1, 3) == b"hr"


def test_names_are_not_taken_for_those_of_other_files(server, tmp_path):
    names = ["x.png", "x.png?1", "x.png?2", "x.png#3", "x\t.png", "x\n.png", "x%3F.png"]
    for name in names:
        objects.write(path_of(f"{server.url}/odd/{name}"), name.encode(), replaces=objects.Replaces.NOTHING)
    assert {one.name: one.read_bytes().decode() for one in (tmp_path / "remote" / "odd").iterdir()} == dict(
        zip(names, names, strict=True)
    )
    assert [objects.read(path_of(f"{server.url}/odd/{name}")).decode() for name in names] == names


def test_a_server_may_have_several_keys_of_a_kind(server, known_hosts):
    name, kind, _ = server.known_host.split()
    other = f"{name} {kind} {paramiko.RSAKey.generate(1024).get_base64()}\n"
    known_hosts.write_text(f"{server.known_host}{other}".replace("127.0.0.1", "LOCALHOST"))
    path = path_of(server.url.replace("127.0.0.1", "localhost"))
    assert objects.status(path / "none.png") is None
    known_hosts.write_text(other.replace("127.0.0.1", "localhost"))
    with (
        ThreadPoolExecutor(1) as thread,  # Each thread has a connection of its own.
        pytest.raises(InputError, match="is not the one that is known"),
    ):
        thread.submit(objects.status, path / "none.png").result()


def test_a_server_must_have_the_key_that_ssh_knows(adacode, photo, server, known_hosts, tmp_path):
    photo("remote/scans/a.png")
    photo("b.png")
    known = known_hosts.read_text()
    name, kind, key = known.split()
    other = paramiko.ECDSAKey.generate().get_base64()
    for lines in (f"# {known}", f"@revoked {known}{known}", f"[127.0.0.1]:1 {kind} {key}\n{name} {kind} damaged\n", ""):
        known_hosts.write_text(lines)
        assert not list(known_keys(name))
    result = adacode("sr", f"{server.url}/scans", "-o", "out")
    assert result.returncode == 3, result.stderr
    assert f"the key of the server {name} is not known: ssh-rsa SHA256:".encode() in unwrapped(result.stderr)
    assert b"Connect once with 'ssh -p " in unwrapped(result.stderr)
    known_hosts.write_text(f"{name} ecdsa-sha2-nistp256 {other}\n")
    result = adacode("sr", "b.png", "-o", f"{server.url}/large/")
    assert result.returncode == 6, result.stderr
    assert b"is not the one that is known: ssh-rsa SHA256:" in unwrapped(result.stderr)
    assert server.passwords == []
    assert [path.name for path in (tmp_path / "remote").iterdir()] == ["scans"]
    hashed = paramiko.hostkeys.HostKeys.hash_host(name)
    known_hosts.write_text(f"{name} {kind} damaged\n{hashed} {kind} {key} a comment\n")
    assert adacode("sr", f"{server.url}/scans", "-o", "out").returncode == 0


def test_a_wrong_password_is_not_tried_again(adacode, photo, server, tmp_path):
    photo("remote/scans/a.png")
    result = adacode("sr", f"{server.url.replace('lovelace', 'byron')}/scans", "-o", "out")
    assert result.returncode == 3, result.stderr
    assert b"SFTP denies permission" in result.stderr
    assert server.passwords == ["byron"]


def unwrapped(text):
    """What the program says, on one line."""
    return b" ".join(text.split())


def test_a_connection_that_was_lost_is_opened_again(server, tmp_path):
    path = path_of(f"{server.url}/a.png")
    objects.write(path, b"content")
    server.drop_connections()
    assert objects.read(path) == b"content"
    server.drop_connections()
    objects.write(path, b"another")
    server.drop_connections()
    assert objects.status(path).num_bytes == 7
    assert (tmp_path / "remote" / "a.png").read_bytes() == b"another"


@pytest.mark.parametrize("folder", ["one", "two/deep", "three/deeper/still"])
def test_writers_make_the_same_folders_at_the_same_moment(server, tmp_path, folder):
    writers = 6
    together = threading.Barrier(writers)

    def write(number):
        objects.is_folder(path_of(f"{server.url}/"))  # Each thread has a connection of its own; now it is open.
        together.wait()
        objects.write(path_of(f"{server.url}/{folder}/{number}.png"), b"content")

    with ThreadPoolExecutor(writers) as threads:
        list(threads.map(write, range(writers)))
    assert len(list((tmp_path / "remote" / folder).iterdir())) == writers
