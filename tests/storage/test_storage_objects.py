"""Whole reads and writes: what is tried again and what is not, over a real server and in memory."""

from __future__ import annotations

import errno

import pytest
from faulty_proxy import Fault
from web_site import Site

from adacode_cli.batch.contents import content_of, holds, read_whole
from adacode_cli.errors import InputError, JournalError, OutputError, UsageError
from adacode_cli.storage import kinds, listing, objects, opening, patience
from adacode_cli.storage.path import path_of


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.001)


@pytest.fixture
def memory():
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield path_of("memory://museum/scans")
    MemoryFileSystem.store.clear()


@pytest.fixture
def site():
    pytest.importorskip("aiohttp", reason="the package of the extra `http` is absent")
    one = Site({"/a.png": b"image" * 100, "/endless": b"", "/liar": b""})
    yield one
    one.close()


def test_a_web_server_that_is_busy_is_asked_again(site):
    site.answers[:] = [503, 500, 429]
    assert read_whole(path_of(f"http://{site.place}/a.png")) == b"image" * 100


@pytest.mark.parametrize(("status", "message"), [(403, "HTTP denies permission"), (404, "there is no such file")])
def test_a_refusal_of_a_web_server_is_final_and_tells_no_secret(site, status, message):
    site.answers[:] = [status] * 9
    path = path_of(f"http://ada:lovelace@{site.place}/a.png?sig=verysecret{status}")
    with pytest.raises(InputError, match=message) as refused:
        objects.read(path)
    assert len(site.seen) == 1
    assert site.seen[0][1].endswith(f"?sig=verysecret{status}")
    assert site.seen[0][2].startswith("Basic ")
    told = f"{refused.value} {refused.value.hint}"
    assert f"http://{site.place}/a.png" in told
    assert "verysecret" not in told
    assert "lovelace" not in told


def test_a_server_that_is_not_there_is_named_after_several_tries():
    with pytest.raises(InputError, match="HTTP did not answer as it should, several times") as refused:
        objects.read(path_of("http://127.0.0.1:9/a.png"))
    assert "Check the connection" in refused.value.hint


def test_files_on_web_servers_are_not_written_and_not_searched(site):
    path = path_of(f"http://{site.place}/new.png")
    with pytest.raises(OutputError, match="files on HTTP can only be read"):
        objects.write(path, b"x")
    assert not objects.is_folder(path)
    assert site.seen == []


def test_a_large_file_is_refused_before_it_is_read(site):
    with pytest.raises(InputError, match="more than"):
        read_whole(path_of(f"http://{site.place}/a.png"), max_bytes=100)
    assert all(method == "HEAD" for method, _, _ in site.seen)


@pytest.mark.parametrize("name", ["endless", "liar"])
def test_an_endless_answer_is_refused_when_it_is_too_large(site, name):
    with pytest.raises(InputError, match="has more than the 1 MB"):
        read_whole(path_of(f"http://{site.place}/{name}"), max_bytes=1_000_000)


@pytest.mark.parametrize("data", [b"", b"1", b"1234"])
def test_files_of_all_sizes_are_read(in_process, data):
    path = path_of("s3://museum/a.png")
    objects.write(path, data)
    assert read_whole(path) == data
    assert holds(path, content_of(data))
    assert not data or objects.read_sized(path, 2) == data[:3]


def test_nothing_is_replaced_unless_it_may_be(memory):
    path = memory / "a.png"
    first = objects.write(path, b"one", replaces=objects.Replaces.NOTHING)
    assert objects.status(path) == first
    assert (
        objects.write(path, b"one", replaces=objects.Replaces.NOTHING).num_bytes == 3
    )  # The same content is no conflict.
    with pytest.raises(OutputError, match="exists already"):
        objects.write(path, b"two", replaces=objects.Replaces.NOTHING)
    assert not objects.creates(path, b"two")
    assert objects.read(path) == b"one"
    objects.write(path, b"two")
    assert objects.read(path) == b"two"
    objects.remove(path)
    objects.remove(path)
    assert objects.status(path) is None
    assert objects.creates(path, b"two")


def test_contents_are_compared_by_their_bytes(memory):
    objects.write(memory / "a.png", b"one")
    assert holds(memory / "a.png", content_of(b"one"))
    assert not holds(memory / "a.png", content_of(b"two"))
    assert not holds(memory / "none.png", content_of(b"two"))


def test_folders_are_told_from_files(memory):
    objects.write(memory / "sub" / "a.png", b"one")
    assert objects.is_folder(path_of("memory://museum/scans"))
    assert not objects.is_folder(path_of("memory://museum/scans/sub/a.png"))
    with pytest.raises(InputError, match="there is no such file or folder"):
        objects.is_folder(path_of("memory://museum/none"))


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda _name: None)
    for scheme, kind in kinds.KINDS.items():
        with pytest.raises(UsageError, match=f"{scheme}:// addresses need the package {kind.module}") as refused:
            objects.read(path_of(f"{scheme}://x@account/y" if scheme.startswith(("ab", "az")) else f"{scheme}://x/y"))
        assert f"adacode-cli[{kind.extra}]" in refused.value.hint or not kind.extra


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(errno.EPIPE, "broken"), True),
        (OSError(errno.EBUSY, "slow down"), True),
        (OSError(errno.EINVAL, "invalid"), False),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (ValueError(), False),
        (UsageError("no"), False),
    ],
)
def test_which_errors_may_pass(error, passes):
    assert patience.may_pass(error) is passes
    calls = []

    def call():
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        patience.patiently(call)
    assert len(calls) == (patience.TRIES if passes else 1)


def test_lists_come_in_pages(in_process, monkeypatch):
    assert listing.PAGE == 1000
    monkeypatch.setattr(listing, "PAGE", 10)
    for number in range(23):
        in_process.put(f"scans/{number // 5}/{number:04}.png", b"")
    in_process.proxy.faults += [Fault("busy", "GET", "continuation-token"), Fault("reset", "GET", "continuation-token")]
    entries = listing.entries(path_of("s3://museum/scans"))
    assert next(entries)[0] == "0/0000.png"
    assert in_process.proxy.count("GET", "list-type=2") == 1
    assert len(list(entries)) == 22
    assert in_process.proxy.count("GET", "list-type=2") == 3 + 2
    assert in_process.proxy.count("GET", "max-keys=10") == 3 + 2


def test_the_stamp_of_a_list_is_that_of_a_file_and_of_a_write(in_process):
    path = path_of("s3://museum/scans/a.png")
    written = objects.write(path, b"one")
    assert written == objects.status(path)
    assert list(listing.entries(path_of("s3://museum"))) == [("scans/a.png", written.stamp)]
    assert objects.write(path, b"two").stamp != written.stamp


def test_a_lost_answer_to_a_new_file_is_no_conflict_with_itself(in_process):
    in_process.proxy.faults.append(Fault("lost", "PUT", "/a.png"))
    assert objects.write(path_of("s3://museum/a.png"), b"one", replaces=objects.Replaces.NOTHING).num_bytes == 3
    assert in_process.proxy.count("PUT", "/a.png") == 2


def test_a_large_file_is_put_together_by_one_request_or_not_there_at_all(in_process):
    data = bytes(101 << 20)
    in_process.proxy.faults.append(Fault("reset", "PUT", "partNumber=2"))
    assert objects.write(path_of("s3://museum/large.tif"), data).num_bytes == len(data)
    assert in_process.client.head_object(Bucket="museum", Key="large.tif")["ContentLength"] == len(data)
    in_process.proxy.faults.append(Fault("denied", "PUT", "partNumber=2"))
    with pytest.raises(JournalError, match="S3 denies permission"):
        objects.write(path_of("s3://museum/half.tif"), data, kind=JournalError)
    assert in_process.keys() == ["large.tif"]
    assert not in_process.client.list_multipart_uploads(Bucket="museum").get("Uploads")


def test_a_lost_answer_to_the_last_request_of_a_large_file_is_no_failure(in_process):
    data = bytes(101 << 20)
    for replaces in objects.Replaces:
        in_process.proxy.faults.append(Fault("lost", "POST", "uploadId="))
        written = objects.write(path_of(f"s3://museum/{replaces.value}.tif"), data, replaces=replaces)
        assert written.num_bytes == len(data)
    assert not any(fault.times for fault in in_process.proxy.faults)


def test_a_file_of_which_all_answers_were_lost_is_found(in_process):
    in_process.proxy.faults.append(Fault("lost", "PUT", "/a.png", times=patience.TRIES))
    assert objects.write(path_of("s3://museum/a.png"), b"one").num_bytes == 3


def test_only_a_file_with_the_same_facts_counts_as_own(in_process):
    path = path_of("s3://museum/a.png")
    facts = {"adacode-source-sha256": "1" * 64}
    objects.write(path, b"one", facts=facts)
    objects.write(path, b"two", facts=facts, replaces=objects.Replaces.OWN)
    assert objects.read(path) == b"two"
    with pytest.raises(OutputError, match="no run made it from this input"):
        objects.write(path, b"3", facts={"adacode-source-sha256": "2" * 64}, replaces=objects.Replaces.OWN)
    in_process.put("a.png", b"mine")
    with pytest.raises(OutputError, match="no run made it from this input"):
        objects.write(path, b"3", facts=facts, replaces=objects.Replaces.OWN)
    assert objects.read(path) == b"mine"
