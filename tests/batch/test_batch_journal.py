"""The journal tells the truth after crashes, beside other processes, and across its own versions."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import tracemalloc

import pytest

from adacode_cli import locks
from adacode_cli.batch.contents import content_of
from adacode_cli.batch.found import Found
from adacode_cli.batch.journal import JOURNAL, Journal
from adacode_cli.batch.outcome import Made, Outcome, Result
from adacode_cli.batch.plan import Job
from adacode_cli.batch.record import FORMAT_VERSION, Settings, digest_of, line_of
from adacode_cli.errors import JournalError


def line(root, name="a.png", result=Result.DONE, settings=None) -> bytes:
    job = Job(Found(root / "in", name, in_tree=True), root, name)
    made = Made(content_of(b"source of " + os.fsencode(name)), None, content_of(b"output"))
    return line_of(job, Outcome(result, job.source, job.target, made=made), settings or Settings("o", "w"))


def text_of(root) -> bytes:
    return (root / JOURNAL).read_bytes()


def test_what_was_written_is_read_by_the_next_run(tmp_path):
    Journal(tmp_path).add(line(tmp_path, "a.png"))
    Journal(tmp_path).add(line(tmp_path, "b.png", Result.FAILED))
    journal = Journal(tmp_path)
    record = journal.done("a.png")
    assert record.source == content_of(b"source of a.png")
    assert record.output == content_of(b"output")
    assert record.settings == Settings("o", "w")
    assert journal.done("b.png") is None
    assert journal.done("c.png") is None


def test_every_documented_field_is_there_and_no_other(tmp_path):
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")
    table = page.split("## Fields")[1].split("##")[0]
    documented = {row.split("`")[1] for row in table.splitlines() if row.startswith("| `")}
    assert documented == json.loads(line(tmp_path)).keys()
    assert f"version {FORMAT_VERSION}" in page


def test_lines_that_are_added_together_are_all_read(tmp_path):
    journal, other = Journal(tmp_path), Journal(tmp_path)
    journal.add(line(tmp_path, "a.png"), line(tmp_path, "b.png"))
    journal.add(line(tmp_path, "c.png"))
    assert [json.loads(text)["target"] for text in text_of(tmp_path).splitlines()] == ["a.png", "b.png", "c.png"]
    assert set(journal.records()) == set(other.records()) == {"a.png", "b.png", "c.png"}


@pytest.mark.parametrize("cut", [1, 5, 60, -1, -2])
def test_a_torn_last_line_is_repaired_and_everything_else_kept(tmp_path, cut):
    journal = Journal(tmp_path)
    journal.add(line(tmp_path, "a.png"))
    journal.add(line(tmp_path, "b.png"))
    whole = text_of(tmp_path)
    last = line(tmp_path, "c.png")[:cut]
    (tmp_path / JOURNAL).write_bytes(whole + last)
    later = Journal(tmp_path)
    assert later.done("a.png")
    later.add(line(tmp_path, "d.png"))
    lines = [json.loads(text) for text in text_of(tmp_path).splitlines()]
    expected = ["a.png", "b.png", *(["c.png"] if cut == -1 else []), "d.png"]
    assert [entry["target"] for entry in lines] == expected
    assert text_of(tmp_path).startswith(whole)
    assert all(Journal(tmp_path).done(name) for name in expected)


def test_a_torn_line_longer_than_a_block_of_reading(tmp_path):
    Journal(tmp_path).add(line(tmp_path, "a.png"))
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"version":2,"error":"' + b"x" * 200_000)
    Journal(tmp_path).add(line(tmp_path, "b.png"))
    assert [json.loads(text)["target"] for text in text_of(tmp_path).splitlines()] == ["a.png", "b.png"]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_what_is_huge_costs_little_time_and_less_memory(tmp_path, end):
    """A line of 200 MB, which is a hole in the file: torn, or with its end. Work that is quadratic takes minutes."""
    Journal(tmp_path).add(line(tmp_path, "a.png"))
    whole = text_of(tmp_path)
    with (tmp_path / JOURNAL).open("r+b") as file:
        file.seek(200_000_000)
        file.write(b"x" + end + (line(tmp_path, "b.png") if end else b""))
    tracemalloc.start()
    began = time.monotonic()
    try:
        journal = Journal(tmp_path)
        assert journal.done("a.png")
        assert bool(journal.done("b.png")) == bool(end)
        for _ in range(1000):  # each file of a run asks
            journal.done("c.png")
        journal.add(line(tmp_path, "c.png"))
        assert journal.done("c.png")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 20
    if not end:  # cut off
        text = text_of(tmp_path)
        assert (text.startswith(whole), text.count(b"\n")) == (True, 2)


@pytest.mark.parametrize(
    "text",
    [
        b'{"version":1,"time":"t","source":"/x/a.png","target":"a.png","outcome":"done","bytes":6,"error":null}\n',
        b"not json at all\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"version":2,"outcome":"done","target":"a.png"}\n',
        b"\n",
        b'{"version":2,"outcome":"done","target":"a.png","besides":' + b"[" * 200_000 + b"\n",
        b'{"version":2,"outcome":"done","target":"a.png","bytes":Infinity}\n',
        b'{"version":1e999,"outcome":"done","target":"a.png"}\n',
        b'{"version":2,"outcome":"postponed","target":"a.png"}\n',
    ],
)
def test_lines_that_prove_nothing_are_no_obstacle(tmp_path, text):
    (tmp_path / ".adacode").mkdir()
    (tmp_path / JOURNAL).write_bytes(text + line(tmp_path, "b.png"))
    journal = Journal(tmp_path)
    assert journal.done("a.png") is None
    assert journal.done("b.png")


def test_a_later_version_is_refused(tmp_path):
    (tmp_path / ".adacode").mkdir()
    (tmp_path / JOURNAL).write_bytes(b'{"version":3,"outcome":"done","target":"a.png"}\n')
    with pytest.raises(JournalError, match="later version of adacode") as caught:
        Journal(tmp_path).done("a.png")
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("text", [b"a diary", b"a diary\n", b'{"name": 1}\n', b"\x89PNG\r\n\x1a\n" * 9, b"a\n" * 9_999])
def test_what_is_no_journal_is_never_written_to(tmp_path, text):
    (tmp_path / ".adacode").mkdir()
    (tmp_path / JOURNAL).write_bytes(text)
    for call in (lambda journal: journal.begin(), lambda journal: journal.add(line(tmp_path))):
        with pytest.raises(JournalError, match="is not a journal of adacode"):
            call(Journal(tmp_path))
    assert text_of(tmp_path) == text


@pytest.mark.parametrize("text", [b"", b"{", b'{"vers', b'{"version":2,"ti', b"\0" * 300, b"\0\0{"])
def test_what_a_crash_left_of_the_first_line_is_a_journal(tmp_path, text):
    (tmp_path / ".adacode").mkdir()
    (tmp_path / JOURNAL).write_bytes(text)
    journal = Journal(tmp_path)
    journal.begin()
    journal.add(line(tmp_path))
    assert journal.done("a.png")
    assert text_of(tmp_path).count(b"\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_stopped_process_with_the_lock_is_not_waited_for_without_end(tmp_path, monkeypatch):
    Journal(tmp_path).add(line(tmp_path))
    reader, writer = multiprocessing.Pipe(duplex=False)
    holder = multiprocessing.get_context("spawn").Process(target=hold_lock, args=(tmp_path / JOURNAL, writer))
    holder.start()
    try:
        assert reader.recv() == "locked"
        os.kill(holder.pid, signal.SIGSTOP)
        monkeypatch.setattr("adacode_cli.batch.journal._LOCK_LIMIT_S", 0.3)
        with pytest.raises(JournalError, match="locked by another process") as caught:
            Journal(tmp_path).add(line(tmp_path, "b.png"))
        assert "Resume or end" in caught.value.hint
    finally:
        holder.kill()
        holder.join()
    Journal(tmp_path).add(line(tmp_path, "b.png"))
    assert Journal(tmp_path).done("b.png")


def hold_lock(path, writer):
    with path.open("ab") as file:
        assert locks.lock(file.fileno(), wait=False)
        writer.send("locked")
        time.sleep(600)


def test_lines_of_another_process_are_seen_and_new_ones_told_apart(tmp_path):
    ours, other = Journal(tmp_path), Journal(tmp_path)
    other.add(line(tmp_path, "a.png"))
    ours.begin()
    assert ours.done("a.png")
    assert ours.done("a.png", only_new=True) is None
    other.add(line(tmp_path, "b.png"))
    assert ours.done("b.png", only_new=True)


def test_a_tree_that_vanished_is_forgotten(tmp_path):
    journal = Journal(tmp_path)
    journal.add(line(tmp_path, "a.png"))
    assert journal.done("a.png")
    (tmp_path / JOURNAL).unlink()
    assert journal.done("a.png") is None
    journal.add(line(tmp_path, "b.png"))
    assert journal.done("b.png")


def add_many(root, start):
    journal = Journal(root)
    for index in range(start, start + 100):
        journal.add(line(root, f"{index}.png"))


def test_lines_of_many_processes_never_mix(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_many, args=(tmp_path, start)) for start in (0, 1000, 2000)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    targets = {json.loads(text)["target"] for text in text_of(tmp_path).splitlines()}
    assert targets == {f"{base + index}.png" for base in (0, 1000, 2000) for index in range(100)}


def test_digests_of_options_ignore_order_and_nothing_else():
    assert digest_of({"a": 1, "b": None}) == digest_of({"b": None, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
