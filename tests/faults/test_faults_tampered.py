"""Journals, claims and state folders that somebody has forged, linked or left behind: nothing hangs, nothing foreign is
written to or removed, and a line that says nonsense proves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time

import pytest
from fault_table import PAGE
from jsonschema import Draft202012Validator
from test_faults_disk import RUN, W, names, said

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes, links and signals as POSIX has them")

HANGS_AFTER_S = 60
EVENTS = PAGE.with_name("events.schema.json")
FOREIGN = b"a diary, and what it says is nobody's business\nits last line has no end"


@pytest.fixture
def run(adacode):
    """The program, as `adacode` starts it, but given up soon."""

    def started(*arguments, **env):
        with adacode.start(*arguments, env=env) as process:
            try:
                out, err = process.communicate(timeout=HANGS_AFTER_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return started


def forged(line: dict) -> list[bytes]:
    """Lines about a.png that no run writes, made from one that a run has written."""
    changes = [
        {"bytes": float("inf")}, {"bytes": float("nan")}, {"bytes": 1e308}, {"bytes": True}, {"bytes": -1},
        {"bytes": 10**400}, {"source_bytes": "12"}, {"sha256": "x"}, {"sha256": ["a"]}, {"mask_sha256": {"a": 1}},
        {"options_sha256": None}, {"weights_sha256": 7}, {"path": "\ud800"}, {"path": "a\0b"}, {"path": ["p"]},
        {"target": None}, {"target": ""}, {"besides": 5}, {"besides": [5]}, {"besides": [{"path": "\udfff\ud800"}]},
        {"besides": None}, {"version": True}, {"version": float("inf")}, {"version": 2.0}, {"version": 10**300},
        {"outcome": "paused"}, {"outcome": {}}, {"outcome": None}, {"version": 1},
    ]  # fmt: skip
    lines = [json.dumps(line | change).encode() + b"\n" for change in changes]
    nested = b'{"version":2,"besides":' + b"[" * 200_000 + b"\n"
    return [*lines, nested, b"1e999\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"null\n", b"\0" * 300 + b"\n"]


def test_forged_lines(run, photo, tmp_path, table):
    for name in "abc":
        photo(f"p/{name}.png")
    assert run(*RUN).returncode == 0
    journal = tmp_path / "out" / ".adacode" / "journal.jsonl"
    first, second, third = map(json.loads, journal.read_bytes().splitlines())
    assert first["target"] == "a.png"
    os.mkfifo(tmp_path / "pipe")
    second["besides"] = [{"path": str(tmp_path / "pipe"), "bytes": 0, "sha256": "0" * 64}]
    third["besides"] = [{"path": "/dev/zero", "bytes": 0, "sha256": "0" * 64}]
    with journal.open("ab") as file:
        file.writelines([*forged(first), *(json.dumps(line).encode() + b"\n" for line in (second, third))])
    result = run(*RUN)
    assert result.returncode == 0, result.stderr
    assert "2 restored, 1 skipped" in result.stderr.decode()
    told = said(result, "finished: ").split(" in ")[0]
    table.row("the journal holds forged lines", 0, told, "is done; such a line proves nothing")


def at_the_journal(kind: str, out, diary) -> None:
    state = out / ".adacode"
    if kind == ".adacode is a link":
        diary.with_name("elsewhere").mkdir()
        state.symlink_to(diary.with_name("elsewhere"))
        return
    state.mkdir()
    if kind == "a link":
        (state / "journal.jsonl").symlink_to(diary)
    elif kind == "another file, linked hard":
        os.link(diary, state / "journal.jsonl")
    elif kind == "a pipe":
        os.mkfifo(state / "journal.jsonl")
    else:
        (state / "journal.jsonl").symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "kind", ["a link", "another file, linked hard", "a pipe", "a link to a device", ".adacode is a link"]
)
def test_what_is_no_journal_is_left_alone(run, photo, tmp_path, table, kind):
    photo("p/a.png")
    diary = tmp_path / "diary.txt"
    diary.write_bytes(FOREIGN)
    (tmp_path / "out").mkdir()
    at_the_journal(kind, tmp_path / "out", diary)
    result = run(*RUN)
    assert result.returncode == 7, result.stderr
    assert diary.read_bytes() == FOREIGN
    assert names(tmp_path / "out") == set()
    if kind == ".adacode is a link":
        assert list((tmp_path / "elsewhere").iterdir()) == []
    fault = kind if kind.startswith(".") else f"the journal is {kind}"
    table.row(fault, 7, said(result, "error: "), "nothing is done")


def claim(out, target):
    """The path of the claim on a target."""
    folder = out / ".adacode" / "in-flight"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{hashlib.sha256(target.encode()).hexdigest()[:32]}.json"


@pytest.mark.parametrize("kind", ["a link", "a pipe"])
def test_what_is_no_claim_fails_its_file_only(run, photo, tmp_path, table, kind):
    for name in "ab":
        photo(f"p/{name}.png")
    diary = tmp_path / "diary.txt"
    diary.write_bytes(FOREIGN)
    path = claim(tmp_path / "out", "a.png")
    path.symlink_to(diary) if kind == "a link" else os.mkfifo(path)
    result = run(*RUN)
    assert (result.returncode, names(tmp_path / "out")) == (9, {"b.png"}), result.stderr
    assert diary.read_bytes() == FOREIGN
    line = said(result, "failed: p/a.png").replace(path.name, "….json")
    table.row(f"the claim on a file is {kind}", 9, line, "is done")


def test_claims_that_name_what_is_not_theirs(run, photo, tmp_path):
    for name in "abc":
        photo(f"p/{name}.png")
    out, precious = tmp_path / "out", tmp_path / "precious"
    precious.mkdir()
    theirs = precious / ".a.png.01234567.adacode-part"
    theirs.write_bytes(FOREIGN)
    ours = out / ".b.png.01234567.adacode-part"
    paths = [str(precious / "a.png"), str(out / ".." / "precious" / "a.png"), "\ud800", "a\0b", 7, str(out / "b.png")]
    claim(out, "elsewhere.png").write_text(json.dumps({"target": "elsewhere.png", "paths": paths}))
    claim(out, "a.png").write_text(json.dumps({"target": "a.png", "paths": paths}))
    claim(out, "c.png").write_bytes(b'{"paths":' + b"[" * 100_000)
    ours.write_bytes(b"half")
    (out / ".c.png.01234567.adacode-part").symlink_to(theirs)
    os.mkfifo(out / ".b.png.89abcdef.adacode-part")
    os.link(theirs, claim(out, "b.png"))  # would be written over
    result = run(*RUN)
    assert result.returncode == 0, result.stderr
    assert theirs.read_bytes() == FOREIGN
    assert not ours.exists()
    assert {"a.png", "b.png", "c.png"} <= names(out)


def test_whom_a_run_waits_for(adacode, photo, tmp_path, table):
    photo("p/a.png", (33, 16))
    photo("p/b.png")
    arguments = ("sr", "p", "-o", "out", "--weights")
    holder = adacode.start(*arguments, "pause", env={"PAUSE": "never"})
    while not holder.stderr.readline().startswith(b"waiting"):
        pass
    holder.send_signal(signal.SIGSTOP)
    try:
        waiting = [adacode.start(*arguments, "nearest", *more) for more in (("--log-file", "log"), ("--json",))]
        for line in waiting[0].stderr:
            if line.startswith(b"waiting"):
                break
        events = _until_awaited(waiting[1])
    finally:
        holder.kill()
        holder.communicate()
    host = os.uname().nodename
    assert line.decode() == (
        f"waiting for p/a.png, which another process (PID {holder.pid} on host {host}) is working on\n"
    )
    awaited = {"source": "p/a.png", "target": "out/a.png", "pid": holder.pid, "host": host}
    assert events[-1] == {"event": "file-awaited"} | awaited
    Draft202012Validator(json.loads(EVENTS.read_text(encoding="utf-8"))).validate(events[-1])
    for process in waiting:
        process.communicate(timeout=HANGS_AFTER_S)
        assert process.returncode == 0
    assert names(tmp_path / "out") == {"a.png", "b.png"}
    assert (tmp_path / "log").read_text().count("waiting for p/a.png") == 1
    shown = line.decode().replace(str(holder.pid), "4711").replace(host, "studio")
    table.row("a process that was stopped holds the last file", 0, shown, "is done; this file, once that process ends")


def _until_awaited(process) -> list[dict]:
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "file-awaited":
            return events
    raise AssertionError(events)


def test_outputs_names_that_are_pipes(run, photo, tmp_path):
    """Known to the journal or not: nothing waits for their other end."""
    for name in "ab":
        photo(f"p/{name}.png")
    (tmp_path / "new").mkdir()
    os.mkfifo(tmp_path / "new" / "a.png")
    assert run("sr", "p", "-o", "new", *W).returncode == 6
    assert run(*RUN).returncode == 0
    (tmp_path / "out" / "a.png").unlink()
    os.mkfifo(tmp_path / "out" / "a.png")
    (tmp_path / "out" / ".adacode" / "report.json").unlink()
    os.mkfifo(tmp_path / "out" / ".adacode" / "report.json")
    began = time.monotonic()
    assert run(*RUN).returncode == 0
    assert time.monotonic() - began < HANGS_AFTER_S
    assert json.loads((tmp_path / "out" / ".adacode" / "report.json").read_bytes())["exit_code"] == 0
