"""A store that is busy, slow, loses connections or dies, and runs that are killed: nothing is lost, half or wrong."""

from __future__ import annotations

import json
import signal
import time

import pytest
from adacode_process import default_signals
from faulty_proxy import Fault
from test_storage_trees import tree

WAITS_AT = 4
COMMAND = ("sr", "s3://museum/scans", "-o", "s3://museum/large", "-w", "pause")


def lines_of(store, folder="large") -> list[dict]:
    keys = store.keys(f"{folder}/.adacode/journal/")
    return [json.loads(line) for key in keys for line in store.get(key).splitlines()]


@pytest.fixture
def go(tmp_path, store, monkeypatch):
    """The file for which runs wait before they restore image `WAITS_AT`, while it is away."""
    path = tmp_path / "go"
    path.touch()
    monkeypatch.setitem(store.env, "PAUSE", str(path))
    return path


@pytest.fixture
def wanted(adacode, tmp_path, scans, go):
    scans(*(f"{number:02}.png" for number in range(8) if number != WAITS_AT))
    scans(f"{WAITS_AT:02}.png", size=(33, 16))
    assert adacode("sr", "photos", "-o", "wanted", "-q", "-w", "pause", PAUSE=str(go)).returncode == 0
    return tree(tmp_path / "wanted")


@pytest.fixture
def waiting(adacode, store, wanted, go):
    """A run that has written the outputs before image `WAITS_AT`, and waits."""
    go.unlink()
    run = adacode.start(*COMMAND, env=store.env, preexec_fn=default_signals)
    wait_for(run, lambda: len(store.outputs("large")) >= WAITS_AT)
    yield run
    run.kill()
    run.communicate()


def wait_for(run, condition) -> None:
    while not condition():
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)


def test_failures_that_pass_are_survived(adacode, store, wanted):
    store.proxy.faults += [
        Fault("busy", "GET", "list-type=2"),
        Fault("busy", "GET", "/scans/00.png", times=2),
        Fault("reset", "GET", "/scans/01.png"),
        Fault("slow", "GET", "/scans/02.png"),
        Fault("busy", "PUT", "/large/03.png", times=2),
        Fault("reset", "PUT", "/large/04.png"),
        Fault("lost", "PUT", "/large/05.png"),
        Fault("reset", "PUT", "/.adacode/journal/"),
        Fault("lost", "PUT", "/.adacode/leases/"),
        Fault("lost", "DELETE", "/.adacode/leases/"),
    ]
    result = adacode(*COMMAND, **store.env)
    assert result.returncode == 0, result.stderr
    assert store.outputs("large") == wanted
    assert not any(fault.times for fault in store.proxy.faults)
    assert sorted(line["target"] for line in lines_of(store)) == sorted(wanted)
    assert [key for key in store.keys("large/.adacode/") if "journal" not in key] == ["large/.adacode/report.json"]


def test_what_does_not_pass_is_tried_once(adacode, store, wanted):
    store.proxy.faults += [
        Fault("denied", "HEAD", "/scans/00.png", times=9),
        Fault("denied", "PUT", "/01.png", times=9),
    ]
    result = adacode(*COMMAND, **store.env)
    assert result.returncode == 9
    assert b"00.png: cannot be read: S3 denies permission" in result.stderr
    assert b"01.png: cannot be written: S3 denies permission" in result.stderr
    assert [fault.times for fault in store.proxy.faults] == [8, 8]
    store.proxy.faults.clear()
    assert adacode(*COMMAND, **store.env).returncode == 0
    assert store.outputs("large") == wanted


def test_a_killed_run_is_continued(adacode, store, wanted, waiting, go):
    """Killed before the lines of its last outputs are written: they are known by their announcement."""
    waiting.kill()
    waiting.communicate()
    before = store.outputs("large")
    assert len(before) == WAITS_AT
    assert all(wanted[name] == data for name, data in before.items())
    assert store.keys("large/.adacode/leases/")
    assert store.keys("large/.adacode/in-flight/")
    go.touch()
    result = adacode(*COMMAND, **store.env)
    assert result.returncode == 0, result.stderr
    assert store.outputs("large") == wanted
    assert {line["target"] for line in lines_of(store)} == set(wanted)
    assert not store.keys("large/.adacode/leases/") + store.keys("large/.adacode/in-flight/")


def test_a_file_that_a_killed_run_announced_and_did_not_write_is_not_replaced(adacode, store, wanted, waiting, go):
    waiting.kill()
    waiting.communicate()
    store.put("large/07.png", b"mine")
    go.touch()
    result = adacode(*COMMAND, **store.env)
    assert result.returncode == 9
    assert b"s3://museum/large/07.png: exists already, and no run made it from this input" in result.stderr
    assert store.outputs("large") == wanted | {"07.png": b"mine"}
    assert adacode(*COMMAND, "--overwrite", **store.env).returncode == 0
    assert store.outputs("large") == wanted


def test_what_a_killed_run_made_with_other_options_is_made_again(adacode, store, wanted, waiting, go, tmp_path):
    waiting.kill()
    waiting.communicate()
    go.touch()
    other = ("--scale", "2")
    assert adacode("sr", "photos", "-o", "other", "-w", "pause", *other, PAUSE=str(go)).returncode == 0
    result = adacode(*COMMAND, *other, **store.env)
    assert result.returncode == 0, result.stderr
    assert store.outputs("large") == tree(tmp_path / "other")


def test_a_signal_leaves_a_journal_of_all_that_is_done(adacode, store, wanted, waiting, go):
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert {line["target"] for line in lines_of(store)} == set(store.outputs("large"))
    assert not store.keys("large/.adacode/leases/")
    go.touch()
    assert adacode(*COMMAND, **store.env).returncode == 0
    assert store.outputs("large") == wanted


def test_a_run_without_o_has_the_time_that_a_store_needs_to_end(adacode, store, wanted, go):
    """Its last three requests take a second each: a run on a disk would be ended before."""
    go.unlink()
    run = adacode.start(*COMMAND[:2], *COMMAND[4:], env=store.env, preexec_fn=default_signals)
    wait_for(run, lambda: len(store.outputs("scans-sr-x4")) >= WAITS_AT)
    slow = [("PUT", "/.adacode/journal/"), ("PUT", "/.adacode/report.json"), ("DELETE", "/.adacode/leases/")]
    store.proxy.faults += [Fault("slow", *request) for request in slow]
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    made = store.outputs("scans-sr-x4")
    assert {line["target"] for line in lines_of(store, "scans-sr-x4")} == set(made) == set(sorted(wanted)[:WAITS_AT])
    assert made.items() <= wanted.items()
    assert not store.keys("scans-sr-x4/.adacode/leases/")


def test_a_server_that_dies_and_comes_back_empty_handed(store, wanted, waiting, go):
    """moto keeps objects in memory: after its death all are gone, and the run must say so, not invent results."""
    store.kill()
    go.touch()
    store.start()
    _, errors = waiting.communicate()
    assert waiting.returncode in (6, 7, 9), errors
    assert b"there is no bucket museum" in errors
    assert b"Traceback" not in errors


def test_a_second_run_on_the_same_tree_is_refused(adacode, store, wanted, waiting, go):
    for more in ((), ("--shard", "1/2")):
        result = adacode(*COMMAND, *more, **store.env)
        assert result.returncode == 6
        assert f"s3://museum/large: another run writes there now: process {waiting.pid} on ".encode() in result.stderr
    go.touch()
    waiting.communicate()
    assert waiting.returncode == 0
    assert store.outputs("large") == wanted


def test_a_process_of_a_run_that_has_lost_its_lease_writes_nothing(adacode, store, wanted, go):
    go.unlink()
    run = adacode.start(*COMMAND, "--processes", "2", env=store.env | {"BEAT_S": "0.2"})
    wait_for(run, lambda: len(store.keys("large/0")) >= WAITS_AT)
    time.sleep(0.5)  # What is behind the image that waits is not written either.
    before = store.outputs("large")
    lease = "large/.adacode/leases/whole.000009.json"
    store.put(lease, json.dumps({"id": "other", "pid": 7, "host": "elsewhere"}).encode())
    wait_for(run, lambda: store.proxy.count("GET", f"/{lease}"))  # It has seen that there is another owner.
    go.touch()
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 7, errors
    assert b"another run " in errors
    assert store.outputs("large") == before
    assert store.keys("large/.adacode/leases/") == [lease]


def test_two_parts_run_at_once(adacode, store, wanted, go):
    go.unlink()
    runs = [adacode.start(*COMMAND, "--shard", f"{part}/2", env=store.env) for part in (1, 2)]
    for run in runs:
        wait_for(run, lambda: len(store.keys("large/.adacode/leases/")) == 2)
    go.touch()
    errors = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert store.outputs("large") == wanted
    assert {line["target"] for line in lines_of(store)} == set(wanted)


def test_a_file_that_appears_during_the_run_is_not_replaced(adacode, store, wanted, waiting, go):
    store.put("large/07.png", b"mine")
    go.touch()
    _, errors = waiting.communicate()
    assert waiting.returncode == 9
    assert b"s3://museum/large/07.png: exists already: it was written after the run began" in errors
    assert store.get("large/07.png") == b"mine"
    # A later run does not know who made it.
    assert adacode(*COMMAND, **store.env).returncode == 6
    assert adacode(*COMMAND, "--overwrite", **store.env).returncode == 0
    assert store.outputs("large") == wanted


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["s3://nowhere/scans", "-o", "out"], 3, b"s3://nowhere/scans: there is no bucket nowhere"),
        (["s3://museum/none", "-o", "out"], 3, b"s3://museum/none: there is no such file or folder"),
        (["s3://museum/scans", "-o", "s3://nowhere/x"], 6, b"there is no bucket nowhere"),
        (["s3://museum/scans", "-o", "https://example.org/x"], 2, b"on HTTP, files can only be read"),
        (["ftp://museum/scans", "-o", "out"], 2, b"ftp:// addresses are not supported"),
        (["s3://museum/../scans", "-o", "out"], 2, b"an address with an empty part, '.' or '..' cannot be used"),
        (["s3://key:secret@museum/scans", "-o", "out"], 2, b"s3://museum/scans: a user or a key in the address"),
        (["s3:///scans", "-o", "out"], 2, b"the address has no bucket or server"),
        (
            ["s3://museum/scans", "--quarantine", "hf://a/b", "-o", "out"],
            2,
            b"on the Hugging Face Hub, files can only be read",
        ),
        (["s3://museum/scans", "--watch", "-o", "out"], 2, b"--watch"),
        (["s3://museum/scans", "--preserve-times", "-o", "out"], 2, b"--preserve-times works with local files only"),
        (["photos", "--log-file", "s3://museum/log"], 2, b"--log-file must be a local path"),
        (["s3://museum"], 2, b"has no parent directory for its outputs"),
        (["-", "-o", "s3://museum/a.png"], 2, b"standard input cannot be combined with an address"),
    ],
)
def test_bad_input(adacode, store, scans, arguments, exit_code, message):
    scans("a.png")
    before = store.keys()
    result = adacode("sr", *arguments, **store.env)
    assert (result.returncode, message in result.stderr) == (exit_code, True), result.stderr
    assert b"secret@" not in result.stderr
    assert store.keys() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("s3://museum/scans", "-o", "s3://museum/scans"),
        ("s3://museum/scans", "-o", "s3://museum/scans", "--overwrite"),
        ("s3://museum/scans/a.png", "-o", "s3://museum/scans", "--overwrite"),
        ("s3://museum/scans/a.png", "-o", "s3://museum/scans/a.png", "--overwrite"),
        ("s3://museum/scans/a.png", "-o", "s3://museum/scans", "--format", "jpeg", "--overwrite"),
    ],
)
def test_originals_are_never_overwritten(adacode, store, scans, arguments):
    scans("a.png", "a.jpg")
    before = store.outputs("scans")
    result = adacode("sr", *arguments, **store.env)
    assert result.returncode == 6, result.stderr
    assert b"would overwrite" in result.stderr or b"exist" in result.stderr
    assert store.outputs("scans") == before


def test_outputs_may_be_among_the_inputs_with_a_suffix(adacode, store, scans):
    scans("a.png", "b.jpg")
    for _ in range(2):
        result = adacode("sr", "s3://museum/scans", "-o", "s3://museum/scans", "--suffix", "-x", **store.env)
        assert result.returncode == 0, result.stderr
        assert set(store.outputs("scans")) == {"a.png", "a-x.png", "b.jpg", "b-x.jpg"}


def test_an_output_that_somebody_edited_is_kept(adacode, store, scans):
    scans("a.png", "b.png")
    command = ("sr", "s3://museum/scans", "-o", "s3://museum/large")
    assert adacode(*command, **store.env).returncode == 0
    edited = store.get("scans/b.png")
    store.put("large/a.png", edited)
    result = adacode(*command, **store.env)
    assert result.returncode == 0
    assert b"changed since it was made, kept" in result.stdout + result.stderr
    assert store.get("large/a.png") == edited
    assert adacode(*command, "--overwrite", **store.env).returncode == 0
    assert store.get("large/a.png") != edited


def test_credentials_that_are_missing_are_named(adacode, store, scans):
    scans("a.png")
    env = {**store.env, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    result = adacode("sr", "s3://museum/scans", "-o", "out", **env)
    assert result.returncode == 3
    assert b"no credentials for S3 were found" in result.stderr
    assert b"AWS_PROFILE" in result.stderr
