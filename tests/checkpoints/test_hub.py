"""The real Hub client, in processes of its own (it reads its settings at import), against a loopback Hub."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import COMMIT, HubServer, bad_token, gated
from loopback import Reply

from adacode_cli.checkpoints import hub
from adacode_cli.checkpoints.location import HubRepo
from adacode_cli.errors import WeightsError

REPO = "owner/repo"
FILE = "deep/er/tiny-sr-x4.safetensors"
BODY = hashlib.shake_256(b"weights").digest(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
SOURCES = Path(hub.__file__).resolve().parents[2]

FETCH = """
import json, sys
from adacode_cli.checkpoints import hub
from adacode_cli.checkpoints.location import parse_hub_file
from adacode_cli.errors import AdaCodeError
address, expected, local = sys.argv[1:]
wanted = parse_hub_file(address)
try:
    path = hub.fetch(wanted, expected_sha256=expected or None, local_only=bool(local))
    assert hub.cached(wanted) == path
    print(json.dumps({"path": str(path)}))
except AdaCodeError as error:
    print(json.dumps({"error": str(error), "hint": error.hint}))
    sys.exit(error.exit_code)
"""


def environment(home: Path, endpoint: str, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(("HF_", "HUGGING"))}
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    return {**inherited, **settings, "PYTHONPATH": str(SOURCES), **more}


class Client:
    """Runs `fetch` in fresh processes that share one HF_HOME."""

    def __init__(self, home: Path, endpoint: str) -> None:
        self.home, self.endpoint = home, endpoint

    def fetch(self, address=f"hub:{REPO}/{FILE}", expected="", local="", *, exit_code=0, **settings: str) -> dict:
        done = subprocess.run(
            [sys.executable, "-c", FETCH, address, expected, local],
            capture_output=True,
            text=True,
            env=environment(self.home, self.endpoint, **settings),
            check=False,
        )
        assert done.returncode == exit_code, done.stderr
        return json.loads(done.stdout)

    def stored(self) -> list[str]:
        """Names of all files with content in the client's cache, links and locks aside."""
        blobs = (path for path in self.home.rglob("blobs/*") if path.is_file())
        return sorted(path.name for path in blobs)


@pytest.fixture
def server():
    with HubServer(REPO, {FILE: BODY}) as running:
        yield running


@pytest.fixture
def client(tmp_path, server):
    return Client(tmp_path / "hf", server.url)


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory):
    """A fetch from a closed port, begun before the other tests: the client tries for over twenty seconds."""
    with HubServer(REPO, {}) as gone:
        endpoint = gone.url
    home = tmp_path_factory.mktemp("unreachable")
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, f"hub:{REPO}/{FILE}", "", ""],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(home, endpoint),
    )
    yield process, endpoint
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(autouse=True)
def _begin_the_slow_one(unreachable):
    pass


def test_a_file_is_fetched_verified_and_afterwards_served_without_the_network(server, client):
    first = client.fetch(expected=SHA256)
    assert Path(first["path"]).read_bytes() == BODY
    assert Path(first["path"]).is_relative_to(client.home)
    assert len(server.downloads()) == 1
    again = client.fetch(expected=SHA256)
    assert again == first
    assert len(server.downloads()) == 1, "the second time nothing is downloaded"
    server.stop()
    assert client.fetch(expected=SHA256) == first
    assert client.fetch(expected=SHA256, HF_HUB_OFFLINE="1") == first
    assert client.fetch(expected=SHA256, local="yes") == first


def test_a_wrong_digest_is_an_error_and_leaves_nothing_to_be_used(server, client):
    failed = client.fetch(expected="1" * 64, exit_code=4)
    assert f"expected {'1' * 64}, found {SHA256}" in failed["error"]
    assert REPO in failed["error"]
    assert "--hub-repo" in failed["hint"]
    assert client.stored() == []
    offline = client.fetch(expected="1" * 64, exit_code=4, HF_HUB_OFFLINE="1")
    assert "not in the cache" in offline["error"]


def test_a_file_damaged_in_the_cache_is_noticed_and_fetched_anew(server, client):
    path = Path(client.fetch(expected=SHA256)["path"]).resolve()
    path.write_bytes(BODY[:-1] + b"!")
    offline = client.fetch(expected=SHA256, exit_code=4, HF_HUB_OFFLINE="1")
    assert "damaged in the cache" in offline["hint"]
    assert Path(client.fetch(expected=SHA256)["path"]).read_bytes() == BODY
    assert len(server.downloads()) == 2


@pytest.mark.parametrize(
    ("address", "message", "hint"),
    [
        (f"hub:owner/other/{FILE}", "no repository owner/other", "HF_TOKEN"),
        (f"hub:{REPO}@v9/{FILE}", "no revision 'v9'", "after the @"),
        (f"hub:{REPO}/gone.safetensors", "no file 'gone.safetensors'", "/owner/repo/tree/main"),
    ],
)
def test_what_is_not_there_is_named(server, client, address, message, hint):
    failed = client.fetch(address, exit_code=4)
    assert message in failed["error"]
    assert address in failed["error"]
    assert server.url in failed["error"]
    assert hint in failed["hint"]


def test_a_commit_and_a_revision_with_a_slash(server, client):
    server.revisions = (COMMIT, "refs/pr/1")
    assert COMMIT in client.fetch(f"hub:{REPO}@{COMMIT}/{FILE}")["path"]
    client.fetch(f"hub:{REPO}@refs%2Fpr%2F1/{FILE}", expected=SHA256)
    assert [request.path.split("/")[4] for request in server.requests if request.method == "HEAD"] == [
        COMMIT,
        "refs%2Fpr%2F1",
    ]


def test_offline_and_not_cached_says_how_to_go_on(server, client):
    failed = client.fetch(exit_code=4, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in failed["error"]
    assert str(client.home) in failed["hint"]
    assert "--weights FILE" in failed["hint"]
    assert server.requests == []


def test_local_only_never_asks_the_network(server, client):
    failed = client.fetch(local="yes", exit_code=4)
    assert f"not in the cache at {client.home}" in failed["error"]
    assert server.requests == []


def test_the_token_is_sent_and_without_it_the_repository_is_private(server, client):
    server.token = "hf_secret"
    failed = client.fetch(exit_code=4)
    assert "private" in failed["error"]
    client.fetch(expected=SHA256, HF_TOKEN="hf_secret")
    assert server.downloads()[-1].headers["authorization"] == "Bearer hf_secret"


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        (gated(), "restricted by its owner", "Accept its terms on http://127.0.0.1"),
        (bad_token(), "the server answered 401", "set HF_TOKEN"),
        (Reply(403), "the server answered 403", "permissions"),
        (Reply(200, {}, b"<html>please log in</html>"), "does not answer like a Hub", "HF_ENDPOINT"),
    ],
    ids=["gated", "bad-token", "forbidden", "captive-portal"],
)
def test_refusals(server, client, reply, message, hint):
    server.refuse = reply
    failed = client.fetch(exit_code=4)
    assert message in failed["error"]
    assert hint in failed["hint"]
    assert client.stored() == []


def test_a_transfer_that_breaks_continues_where_it_stopped(server, client):
    # The client writes in pieces of 10 MiB; what arrived of a piece before the break is lost.
    big = hashlib.shake_256(b"big").digest(11 * 2**20)
    server.files["big.safetensors"], server.cuts = big, [10 * 2**20 + 1000]
    assert Path(client.fetch(f"hub:{REPO}/big.safetensors")["path"]).read_bytes() == big
    ranges = [request.headers.get("range") for request in server.downloads()]
    assert ranges == [None, f"bytes={10 * 2**20}-"]


def test_a_transfer_that_never_gets_anywhere_fails_cleanly(server, client):
    server.cuts = [1000] + [0] * 10
    failed = client.fetch(exit_code=4)
    assert "broke off" in failed["error"]
    assert "again" in failed["hint"]
    assert client.stored() == []
    server.cuts = []
    assert Path(client.fetch(expected=SHA256)["path"]).read_bytes() == BODY


def test_a_cache_that_cannot_be_written_is_an_output_error(tmp_path, server):
    (tmp_path / "file").write_bytes(b"in the way")
    failed = Client(tmp_path / "file" / "hf", server.url).fetch(exit_code=6)
    assert "cannot be stored" in failed["error"]
    assert "HF_HOME" in failed["hint"]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_progress_is_drawn_on_stderr_and_only_the_answer_is_on_stdout(server, client):
    import fcntl
    import termios

    screen, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-c", FETCH, f"hub:{REPO}/{FILE}", SHA256, ""]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=terminal, env=environment(client.home, server.url), check=True
    )
    os.close(terminal)
    drawn = b""
    try:
        while piece := os.read(screen, 65536):
            drawn += piece
    except OSError:  # Linux ends a pseudo-terminal with EIO
        pass
    finally:
        os.close(screen)
    assert b"100%" in drawn
    assert b"300k/300k" in drawn
    assert list(json.loads(done.stdout)) == ["path"]


def test_the_repository_is_the_argument_or_the_variable_or_the_catalogues(monkeypatch):
    monkeypatch.delenv("ADACODE_HUB_REPO", raising=False)
    assert hub.repository(None, None) is None
    assert hub.repository(None, "cat/alogue@v1") == HubRepo("cat/alogue", "v1")
    monkeypatch.setenv("ADACODE_HUB_REPO", "vari/able")
    assert hub.repository(None, "cat/alogue") == HubRepo("vari/able", None)
    assert hub.repository("argu/ment", "cat/alogue") == HubRepo("argu/ment", None)
    monkeypatch.setenv("ADACODE_HUB_REPO", "nonsense")
    with pytest.raises(WeightsError, match="nonsense"):
        hub.repository(None, "cat/alogue")


def test_a_hub_that_cannot_be_reached(unreachable):
    process, endpoint = unreachable
    output, _ = process.communicate(timeout=120)
    failed = json.loads(output)
    assert process.returncode == 4
    assert f"cannot be fetched from {endpoint}" in failed["error"]
    assert "refused" in failed["error"]
    assert "HF_ENDPOINT" in failed["hint"]
