"""Release downloads against a real server that breaks, changes and lies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import FileServer, Reply

from adacode_cli.checkpoints import release
from adacode_cli.checkpoints.integrity import sha256_of
from adacode_cli.checkpoints.release import RetryPolicy
from adacode_cli.errors import OutputError, WeightsError

QUICK = RetryPolicy(connect_timeout_s=5, silence_timeout_s=5, attempts=3, first_pause_s=0.01, longest_pause_s=0.05)
BODY = hashlib.shake_256(b"release").digest(200_000)
OTHER = hashlib.shake_256(b"another").digest(200_000)
SOURCES = Path(release.__file__).resolve().parents[2]


def download(url: str, target_dir: Path, **more) -> Path:
    """With a conversion that takes anything for a checkpoint, and gives the same bytes."""
    return release.download(url, target_dir, **{"accept": sha256_of, **more})


@pytest.fixture(autouse=True)
def _settings(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("ADACODE_RELEASE_BASE", raising=False)


@pytest.fixture
def server():
    with FileServer() as running:
        running.files["/v0/model.pth"] = BODY
        running.etags["/v0/model.pth"] = '"one"'
        yield running


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def url(server: FileServer) -> str:
    return f"{server.url}/v0/model.pth"


def cut(after: int, *, reset: bool = False) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, cut_after=after, reset=reset)


def ranges(server: FileServer) -> list[str | None]:
    return [request.headers.get("range") for request in server.gets()]


def assert_nothing_final(folder: Path) -> None:
    assert not (folder / "model.pth").exists()
    assert not (folder / "digests.json").exists()


def test_a_file_arrives_with_progress_and_its_digest_is_recorded(server, folder):
    seen = []
    path = download(url(server), folder, on_progress=lambda done, total: seen.append((done, total)), policy=QUICK)
    assert path == folder / "model.pth"
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    record = json.loads((folder / "digests.json").read_text())["downloads"][url(server)]
    digest = hashlib.sha256(BODY).hexdigest()
    assert record == {"sha256": digest, "bytes": len(BODY), "converted_sha256": digest}
    leftovers = {path.name for path in folder.iterdir()} - {"model.pth", "digests.json"}
    assert all(name.endswith(".lock") for name in leftovers)


def test_the_second_time_nothing_is_asked(server, folder):
    download(url(server), folder, policy=QUICK)
    server.stop()
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    assert len(server.requests) == 1


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_broken_transfer_continues(server, folder, reset):
    # A reset may drop bytes on their way, so what has arrived is asked of the next request, not of the cut.
    server.faults["/v0/model.pth"] = [cut(120_000, reset=reset)]
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    first, second = server.gets()
    if not reset:
        assert second.headers["range"] == "bytes=120000-"
        assert second.headers["if-range"] == '"one"'
    assert "range" not in first.headers


def test_a_transfer_given_up_leaves_no_final_file_and_the_next_call_continues(server, folder):
    server.faults["/v0/model.pth"] = [cut(70_000), cut(30_000), cut(0), cut(0), cut(0)]
    with pytest.raises(WeightsError, match="cannot be fetched") as caught:
        download(url(server), folder, policy=QUICK)
    assert "100000 bytes that arrived are kept" in caught.value.hint
    assert_nothing_final(folder)
    server.faults.clear()
    server.requests.clear()
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    assert ranges(server) == ["bytes=100000-"]


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 90_000), max_size=6))
def test_wherever_it_breaks_the_file_is_the_same(cuts):
    with FileServer() as server, TemporaryDirectory() as name:
        server.files["/v0/model.pth"], server.etags["/v0/model.pth"] = BODY, '"one"'
        server.faults["/v0/model.pth"] = [cut(after) for after in cuts]
        patience = replace(QUICK, first_pause_s=0.0)
        assert download(url(server), Path(name), policy=patience).read_bytes() == BODY
        arrived = [0]
        for after in cuts:
            if arrived[-1] + after >= len(BODY):
                break
            arrived.append(arrived[-1] + after)
        assert ranges(server)[: len(arrived)] == [f"bytes={start}-" if start else None for start in arrived]


@pytest.mark.parametrize("honours", [True, False], ids=["If-Range", "server without If-Range"])
def test_a_file_that_changed_in_between_starts_over(server, folder, honours):
    server.honours_if_range = honours
    server.faults["/v0/model.pth"] = [cut(50_000), cut(0), cut(0), cut(0)]
    with pytest.raises(WeightsError):
        download(url(server), folder, policy=QUICK)
    server.faults.clear()
    server.files["/v0/model.pth"], server.etags["/v0/model.pth"] = OTHER, '"two"'
    assert download(url(server), folder, policy=QUICK).read_bytes() == OTHER


def test_a_server_that_ignores_range_sends_everything_again(server, folder):
    server.knows_range = False
    server.faults["/v0/model.pth"] = [cut(50_000)]
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    assert ranges(server) == [None, "bytes=50000-"]


def test_a_server_that_ignores_range_and_always_breaks_is_given_up(server, folder):
    server.knows_range = False
    server.faults["/v0/model.pth"] = [cut(50_000)] * 20
    with pytest.raises(WeightsError, match="cannot be fetched"):
        download(url(server), folder, policy=QUICK)
    assert len(server.requests) == QUICK.attempts


@pytest.mark.parametrize("etag", [None, 'W/"weak"'], ids=["none", "weak"])
def test_without_a_strong_validator_nothing_is_continued(server, folder, etag):
    server.etags["/v0/model.pth"] = etag
    server.faults["/v0/model.pth"] = [cut(50_000)]
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    assert ranges(server) == [None, None]


def test_a_wrong_range_in_the_answer_starts_over(server, folder):
    lie = Reply(206, {"ETag": '"one"', "Content-Range": f"bytes 0-199999/{len(BODY)}"}, BODY)
    server.faults["/v0/model.pth"] = [cut(50_000), lie]
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    assert ranges(server) == [None, "bytes=50000-", None]


def test_a_part_longer_than_the_remote_file_starts_over(server, folder):
    server.faults["/v0/model.pth"] = [cut(50_000), cut(0), cut(0), cut(0)]
    with pytest.raises(WeightsError):
        download(url(server), folder, policy=QUICK)
    server.faults.clear()
    server.files["/v0/model.pth"] = BODY[:40_000]
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY[:40_000]


def test_a_short_body_is_not_a_file(server, folder):
    # The length is right for a proxy that cut the file, wrong for the file: only Content-Range tells.
    short = {"ETag": '"one"', "Content-Range": f"bytes 50000-199999/{len(BODY)}"}
    lie = Reply(206, short, BODY[50_000:60_000])
    server.faults["/v0/model.pth"] = [cut(50_000), lie]
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    assert ranges(server) == [None, "bytes=50000-", "bytes=60000-"]


def test_chunked_bodies_without_a_length(server, folder):
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:90_000], BODY[90_000:])) + b"0\r\n\r\n"
    whole = Reply(200, {"Transfer-Encoding": "chunked", "ETag": '"one"'}, chunked)
    server.faults["/v0/model.pth"] = [replace(whole, cut_after=60_000), whole]
    server.honours_if_range = False
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY


def test_errors_that_pass_are_waited_for(server, folder):
    server.faults["/v0/model.pth"] = [Reply(500), Reply(429, {"Retry-After": "86400"})]
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY


def test_errors_that_stay_are_given_up(server, folder):
    server.faults["/v0/model.pth"] = [Reply(503)] * 20
    with pytest.raises(WeightsError, match="answered 503"):
        download(url(server), folder, policy=QUICK)
    assert len(server.requests) == QUICK.attempts
    assert_nothing_final(folder)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418])
def test_refusals_are_not_repeated(server, folder, status):
    server.faults["/v0/model.pth"] = [Reply(status)] * 2
    with pytest.raises(WeightsError, match=f"answered {status}") as caught:
        download(url(server), folder, policy=QUICK)
    assert (caught.value.exit_code, len(server.requests)) == (4, 1)
    assert caught.value.hint
    assert_nothing_final(folder)


def test_a_server_that_is_not_there(server, folder):
    server.stop()
    with pytest.raises(WeightsError, match="refused"):
        download(url(server), folder, policy=QUICK)
    assert_nothing_final(folder)


def test_a_compressed_body_is_refused(server, folder):
    server.faults["/v0/model.pth"] = [Reply(200, {"Content-Encoding": "gzip"}, BODY)]
    with pytest.raises(WeightsError, match="compressed"):
        download(url(server), folder, policy=QUICK)


def test_a_changed_digest_is_refused_and_the_record_stays(server, folder):
    path = download(url(server), folder, policy=QUICK)
    record = (folder / "digests.json").read_bytes()
    path.unlink()
    server.files["/v0/model.pth"], server.etags["/v0/model.pth"] = OTHER, '"two"'
    with pytest.raises(WeightsError) as caught:
        download(url(server), folder, policy=QUICK)
    first, now = hashlib.sha256(BODY).hexdigest(), hashlib.sha256(OTHER).hexdigest()
    assert f"expected {first}, found {now}" in caught.value.message
    assert str(folder / "digests.json") in caught.value.hint
    assert not path.exists()
    assert not (folder / "model.pth.part").exists()
    assert (folder / "digests.json").read_bytes() == record


def test_a_file_changed_on_disk_is_refused(server, folder):
    path = download(url(server), folder, policy=QUICK)
    path.write_bytes(BODY[:-1])
    with pytest.raises(WeightsError, match="wrong SHA-256") as caught:
        download(url(server), folder, policy=QUICK)
    assert "Remove" in caught.value.hint
    assert len(server.requests) == 1


def test_a_file_put_there_by_hand_is_trusted_once(server, folder):
    folder.mkdir()
    (folder / "model.pth").write_bytes(BODY)
    download(url(server), folder, policy=QUICK)
    assert server.requests == []
    (folder / "model.pth").write_bytes(OTHER)
    with pytest.raises(WeightsError, match="wrong SHA-256"):
        download(url(server), folder, policy=QUICK)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"version": 2, "downloads": {}}', '{"version": 1, "downloads": {"u": {}}}']
)
def test_a_damaged_record_is_not_silently_trusted_again(server, folder, text):
    folder.mkdir()
    (folder / "digests.json").write_text(text)
    with pytest.raises(WeightsError, match="damaged") as caught:
        download(url(server), folder, policy=QUICK)
    assert "Remove it" in caught.value.hint
    assert (folder / "digests.json").read_text() == text


def test_a_mirror_delivers_under_the_official_address(server, folder, monkeypatch):
    monkeypatch.setenv("ADACODE_RELEASE_BASE", f"{server.url}/v0/")
    official = "https://example.org/releases/model.pth"
    assert download(official, folder, policy=QUICK).read_bytes() == BODY
    assert list(json.loads((folder / "digests.json").read_text())["downloads"]) == [official]


@pytest.mark.parametrize(
    "bad",
    ["http://example.org/model.pth", "ftp://127.0.0.1/model.pth", "http://127.0.0.1.example.org/m.pth", "model.pth"],
)
def test_unsafe_addresses_are_refused(folder, bad):
    with pytest.raises(WeightsError, match="not a safe address"):
        download(bad, folder, policy=QUICK)
    assert not folder.exists()


def test_a_redirect_is_followed_but_not_to_an_unsafe_address(server, folder):
    server.files["/elsewhere"] = BODY
    server.faults["/v0/model.pth"] = [Reply(302, {"Location": "/elsewhere"})]
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    server.faults["/v0/model.pth"] = [Reply(302, {"Location": "http://192.0.2.1/model.pth"})]
    with pytest.raises(WeightsError, match=r"192\.0\.2\.1.* not a safe address"):
        download(url(server), folder / "second", policy=QUICK)


def test_a_redirect_loop_ends(server, folder):
    server.faults["/v0/model.pth"] = [Reply(302, {"Location": "/v0/model.pth"})] * 100
    with pytest.raises(WeightsError, match="cannot be fetched"):
        download(url(server), folder, policy=QUICK)


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(OutputError, match="cannot be stored") as caught:
        download(url(server), tmp_path / "file" / "cache", policy=QUICK)
    assert "ADACODE_CACHE" in caught.value.hint


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on file sizes")
def test_a_disk_that_takes_no_more(server, folder):
    program = """
import resource, signal, sys
from pathlib import Path
from adacode_cli.checkpoints.integrity import sha256_of
from adacode_cli.checkpoints.release import download
from adacode_cli.errors import AdaCodeError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    download(sys.argv[1], Path(sys.argv[2]), accept=sha256_of)
except AdaCodeError as error:
    print(error, error.hint)
    sys.exit(error.exit_code)
"""
    done = _python(program, url(server), str(folder))
    assert done.returncode == 6, done.stderr
    assert "cannot be stored" in done.stdout
    assert "ADACODE_CACHE" in done.stdout
    assert_nothing_final(folder)
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    assert ranges(server)[-1] == "bytes=100000-"


def test_two_at_once_download_once(server, folder):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(download(url(server), folder, policy=QUICK))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == BODY for path in results] == [True] * 3
    assert len(server.requests) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_process_leaves_what_the_next_one_continues(server, folder):
    let_go = threading.Event()
    server.faults["/v0/model.pth"] = [lambda reply: replace(reply, cut_after=131_072, stall=let_go)]
    program = "import sys; from pathlib import Path; from adacode_cli.checkpoints.release import download\n"
    program += "download(sys.argv[1], Path(sys.argv[2]), accept=None)"
    victim = subprocess.Popen([sys.executable, "-c", program, url(server), str(folder)], env=_environment())
    part = folder / "model.pth.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 60_000):
        assert time.monotonic() < deadline, "nothing arrived"
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    let_go.set()
    assert_nothing_final(folder)
    here = part.stat().st_size
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY
    assert ranges(server) == [None, f"bytes={here}-"]


def test_a_crash_just_before_the_rename_needs_no_network(server, folder):
    server.faults["/v0/model.pth"] = [cut(50_000)] + [cut(0)] * 3
    with contextlib.suppress(WeightsError):
        download(url(server), folder, policy=QUICK)
    (folder / "model.pth.part").write_bytes(BODY)
    server.stop()
    assert download(url(server), folder, policy=QUICK).read_bytes() == BODY


PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def only_the_body(path: Path) -> str:
    """As a conversion refuses what is no checkpoint."""
    if path.read_bytes() != BODY:
        raise WeightsError("cannot be read as a checkpoint of tensors", path=path, hint="Download it again.")
    return sha256_of(path)


@pytest.mark.parametrize(
    ("content", "what"), [(PAGE, "a web page came instead"), (OTHER, "what arrived cannot be read")]
)
def test_what_is_no_checkpoint_is_discarded_and_not_recorded(server, folder, content, what):
    server.files["/v0/model.pth"] = content
    with pytest.raises(WeightsError, match=what) as caught:
        download(url(server), folder, policy=QUICK, accept=only_the_body)
    assert url(server) in caught.value.message
    assert "discarded" in caught.value.hint
    assert {path.name for path in folder.iterdir() if path.suffix != ".lock"} == set()
    server.files["/v0/model.pth"] = BODY
    assert download(url(server), folder, policy=QUICK, accept=only_the_body).read_bytes() == BODY


def test_a_page_that_an_earlier_version_recorded_is_discarded_too(server, folder):
    folder.mkdir()
    (folder / "model.pth").write_bytes(PAGE)
    seen = {"sha256": hashlib.sha256(PAGE).hexdigest(), "bytes": len(PAGE), "converted_sha256": None}
    (folder / "digests.json").write_text(json.dumps({"version": 1, "downloads": {url(server): seen}}))
    with pytest.raises(WeightsError, match="a web page came instead"):
        download(url(server), folder, policy=QUICK, accept=only_the_body)
    assert download(url(server), folder, policy=QUICK, accept=only_the_body).read_bytes() == BODY


def test_a_file_of_a_user_that_an_earlier_version_recorded_stays(server, folder):
    folder.mkdir()
    (folder / "model.pth").write_bytes(OTHER)
    seen = {"sha256": hashlib.sha256(OTHER).hexdigest(), "bytes": len(OTHER), "converted_sha256": None}
    (folder / "digests.json").write_text(json.dumps({"version": 1, "downloads": {url(server): seen}}))
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        download(url(server), folder, policy=QUICK, accept=only_the_body)
    assert (folder / "model.pth").read_bytes() == OTHER


def test_a_crash_before_a_download_is_proved_does_not_make_it_the_users(server, folder):
    server.files["/v0/model.pth"] = PAGE

    def crash(_path: Path) -> str:
        raise MemoryError

    with pytest.raises(MemoryError):
        download(url(server), folder, policy=QUICK, accept=crash)
    assert (folder / "model.pth").exists()
    with pytest.raises(WeightsError, match="a web page came instead"):
        download(url(server), folder, policy=QUICK, accept=only_the_body)
    assert len(server.requests) == 1
    assert not (folder / "model.pth").exists()


def test_a_file_put_there_by_hand_is_never_removed(server, folder):
    folder.mkdir()
    (folder / "model.pth").write_bytes(OTHER)
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint") as caught:
        download(url(server), folder, policy=QUICK, accept=only_the_body)
    assert caught.value.path == folder / "model.pth"
    assert "Remove it, or put the published file there" in caught.value.hint
    assert (folder / "model.pth").read_bytes() == OTHER
    assert not (folder / "digests.json").exists()
    (folder / "model.pth").write_bytes(BODY)
    assert download(url(server), folder, policy=QUICK, accept=only_the_body).read_bytes() == BODY
    assert server.requests == []


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCES)}


def _python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
