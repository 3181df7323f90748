"""A lease keeps two runs from one tree, and a dead run from keeping others out; announcements and journal beside it."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime

import pytest

from adacode_cli.batch import lease as lease_module
from adacode_cli.batch import remote_journal as journal_module
from adacode_cli.batch.announced import Announcements
from adacode_cli.batch.claims import claimed
from adacode_cli.batch.lease import Lease
from adacode_cli.batch.output_files import write_new
from adacode_cli.batch.record import Settings
from adacode_cli.batch.remote_journal import RemoteJournal
from adacode_cli.batch.remote_tree import RemoteTree
from adacode_cli.batch.report import REPORT, Tally, write_report
from adacode_cli.errors import JournalError, OutputError
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import path_of


@pytest.fixture
def root(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    for name, value in {"BEAT_S": 0.1, "EXPIRES_S": 2.0, "_POLL_S": 0.02}.items():
        monkeypatch.setattr(lease_module, name, value)
    monkeypatch.setattr(lease_module, "_taken", [])
    yield path_of("memory://museum/large")
    MemoryFileSystem.store.clear()


def leases(root):
    return [place for place, _ in listing.entries(root / ".adacode" / "leases")]


def elsewhere(root, label="whole", **more):
    """Writes the lease of a run on another machine; its content may be given."""
    content = {"id": "other", "pid": 7, "host": "elsewhere", "boot": "x", "space": "y", "start": "1"} | more
    path = root / ".adacode" / "leases" / f"{label}.000003.json"
    objects.write(path, json.dumps(content).encode())
    return path


def test_a_lease_is_taken_and_given_up(root):
    one = Lease(root)
    one.take()
    assert leases(root) == ["whole.000001.json"]
    with pytest.raises(OutputError, match=f"another run writes there now: process {os.getpid()} on ") as refused:
        Lease(root).take()
    assert "--shard" in refused.value.hint
    one.release()
    assert leases(root) == []
    Lease(root).take()


@pytest.mark.parametrize(
    ("held", "wanted", "is_refused"),
    [
        (None, (1, 2), True),
        ((1, 2), None, True),
        ((1, 2), (1, 2), True),
        ((1, 2), (2, 3), True),
        ((1, 2), (2, 2), False),
    ],
)
def test_parts_exclude_one_another_only_if_they_share_files(root, held, wanted, is_refused):
    Lease(root, held).take()
    if is_refused:
        with pytest.raises(OutputError, match="another run writes there now"):
            Lease(root, wanted).take()
        assert len(leases(root)) == 1
    else:
        Lease(root, wanted).take()
        assert len(leases(root)) == 2


def test_a_run_of_this_machine_that_is_dead_is_followed_at_once(root):
    elsewhere(root, **lease_module._process() | {"start": "1"})
    told = []
    Lease(root, waiting=told.append).take()
    assert leases(root) == ["whole.000004.json"]
    assert told == []


def test_a_run_elsewhere_without_a_sign_of_life_is_followed_after_a_while(root):
    elsewhere(root)
    told = []
    Lease(root, waiting=told.append).take()
    assert leases(root) == ["whole.000004.json"]
    assert told == ["waiting for a sign of life of the run that process 7 on elsewhere began"]


def test_a_run_elsewhere_that_lives_is_not_followed(root):
    path = elsewhere(root)
    is_over = threading.Event()

    def live():
        beats = 0
        while not is_over.wait(0.05):
            beats += 1
            elsewhere(root, beats=beats)

    other = threading.Thread(target=live)
    other.start()
    try:
        with pytest.raises(OutputError, match="process 7 on elsewhere"):
            Lease(root).take()
    finally:
        is_over.set()
        other.join()
    assert leases(root) == [path.name]


def test_of_two_that_follow_a_dead_run_one_succeeds(root):
    elsewhere(root)
    results = []

    def take():
        try:
            Lease(root).take()
            results.append("taken")
        except OutputError:
            results.append("refused")

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("taken") <= 1
    if "taken" not in results:
        Lease(root).take()


def test_a_run_whose_lease_was_taken_over_stops(root):
    tree = RemoteTree(root)
    tree.hold(None, print)
    claim = tree.claims.take("a.png")
    claim.release()
    elsewhere(root)
    while not tree._lease.is_lost:
        time.sleep(0.01)
    with pytest.raises(JournalError, match="another run has taken over: process 7 on elsewhere"):
        tree.claims.take("b.png")
    tree.close()


def test_a_run_that_cannot_reach_the_store_stops_before_it_is_followed(root, monkeypatch):
    one = Lease(root)
    one.take()
    one.check()
    one._last_beat -= 3
    with pytest.raises(JournalError, match="the store did not answer for too long"):
        one.check()
    one.release()


def test_a_run_that_wakes_after_another_has_come_and_gone_does_not_get_its_lease_back(root):
    slept, other = Lease(root), Lease(root)
    slept.take()
    objects.remove(root / ".adacode" / "leases" / "whole.000001.json")
    other.take()
    assert leases(root) == ["whole.000001.json"]
    slept._last_beat -= 0.5
    with pytest.raises(JournalError, match="another run has taken over"):
        slept.beat()
    with pytest.raises(JournalError, match="another run has taken over"):
        slept.check()
    slept.release()
    assert leases(root) == ["whole.000001.json"]
    other._last_beat -= 0.5
    other.beat()
    other.check()
    other.release()


def test_a_sign_of_life_that_comes_too_late_gives_no_lease_back(root, monkeypatch):
    one = Lease(root)
    one.take()
    one._last_beat -= 0.5
    write = objects.write

    def slow(*arguments, **options):
        one._last_beat -= 3
        return write(*arguments, **options)

    monkeypatch.setattr(objects, "write", slow)
    with pytest.raises(JournalError, match="this machine slept"):
        one.beat()
    assert one.is_lost
    one.release()


def test_a_lease_is_kept_while_the_journal_is_put_together(root, monkeypatch):
    tree = RemoteTree(root)
    tree.hold(None, print)
    path, close = root / ".adacode" / "leases" / "whole.000001.json", tree.journal.close

    def slow():
        before, until = objects.read(path), time.monotonic() + 20
        while objects.read(path) == before and time.monotonic() < until:
            time.sleep(0.02)
        assert objects.read(path) != before
        close()

    monkeypatch.setattr(tree.journal, "close", slow)
    tree.close()
    assert leases(root) == []


def test_several_dead_runs_are_waited_for_at_once(root):
    for part in range(1, 6):
        elsewhere(root, f"{part}-of-5")
    told = []
    Lease(root, waiting=told.append).take()
    assert leases(root) == ["whole.000001.json"]
    assert len(told) == 1


def test_a_run_without_its_lease_writes_nothing(root):
    tree = RemoteTree(root)
    tree.hold(None, print)
    tree.journal.add(LINE % 1)
    elsewhere(root)
    while not tree._lease.is_lost:
        time.sleep(0.01)
    with pytest.raises(JournalError, match="another run has taken over"):
        write_new(root / "a.png", b"late")
    with pytest.raises(JournalError, match="another run has taken over"):
        write_report(root, Tally(0).report(), Settings(), datetime.now(UTC))
    with pytest.raises(JournalError, match="another run has taken over"):
        tree.close()
    assert objects.status(root / "a.png") is None
    assert objects.status(root / REPORT) is None
    assert not list(listing.entries(root / ".adacode" / "journal"))
    write_new(root / "a.png", b"of another tree of this process")


def test_outputs_are_announced_before_they_are_written(root):
    names = [f"{number}.png" for number in range(2500)]
    announced = Announcements(root)
    announced.expect(names)
    claims = [announced.take(name) for name in names[:1001]]
    killed = Announcements(root).names()
    assert len(killed) == 2000
    assert claimed("0.png", killed)
    assert claimed("1999.png", killed)
    assert not claimed("2000.png", killed)
    announced.take("of no plan.png").release()
    assert claimed("of no plan.png", Announcements(root).names())
    for claim in claims:
        claim.release()
    announced.close(lambda _name: False)
    assert Announcements(root).names() == frozenset()


def test_announcements_of_killed_runs_stay_until_all_is_recorded(root):
    Announcements(root).take("a.png")
    later = Announcements(root)
    later.close(lambda _name: False)
    assert claimed("a.png", Announcements(root).names())
    later.close(lambda name: name == "a.png")
    assert not Announcements(root).names()


def test_an_output_of_which_nobody_knows_whether_it_was_written_stays_announced(root):
    announced = Announcements(root)
    announced.expect(["a.png", "b.png"])
    for name in ("a.png", "b.png"):
        claim = announced.take(name)
        if name == "b.png":
            announced.keep(name)
        claim.release()
    announced.close(lambda name: name == "a.png")
    left = Announcements(root).names()
    assert claimed("b.png", left)
    assert not claimed("a.png", left)


def test_an_announcement_that_goes_while_it_is_read_is_no_error(root, monkeypatch):
    ending = Announcements(root)
    ending.take("a.png").release()
    read = objects.read

    def late(*arguments, **options):
        ending.close(lambda _name: False)
        return read(*arguments, **options)

    monkeypatch.setattr(objects, "read", late)
    assert Announcements(root).names() == frozenset()


LINE = b'{"version":2,"target":"%d.png","outcome":"failed","besides":[]}\n'


def test_the_journal_becomes_few_objects_and_keeps_all_lines(root, monkeypatch):
    for run in range(2):
        journal = RemoteJournal(root)
        journal.begin()
        for number in range(30):
            journal.add(LINE % (100 * run + number))
            journal.flush()
        assert len(list(listing.entries(root / ".adacode" / "journal"))) == 30 + run
        journal.close()
    names = [place for place, _ in listing.entries(root / ".adacode" / "journal")]
    assert [name.partition("-")[0] for name in names] == ["000001", "000002"]
    data = b"".join(objects.read(root / ".adacode" / "journal" / name) for name in names)
    assert data.splitlines(keepends=True) == [LINE % (100 * run + number) for run in range(2) for number in range(30)]


def test_lines_that_could_not_be_written_are_kept_and_the_run_is_told(root, monkeypatch):
    journal = RemoteJournal(root)
    journal.begin()

    def fails(*_, **__):
        raise JournalError("cannot be written: no")

    with monkeypatch.context() as broken:
        broken.setattr(objects, "write", fails)
        journal.add(LINE % 1)
        journal._since -= 100
        journal.flush_if_due()
        with pytest.raises(JournalError, match="cannot be written"):
            journal.add(LINE % 2)
    journal.close()
    (name,) = [place for place, _ in listing.entries(root / ".adacode" / "journal")]
    assert objects.read(root / ".adacode" / "journal" / name) == LINE % 1


def lines(root):
    names = sorted(place for place, _ in listing.entries(root / ".adacode" / "journal"))
    return [line for name in names for line in objects.read(root / ".adacode" / "journal" / name).splitlines()]


def test_a_journal_that_another_part_puts_together_is_read_whole(root, monkeypatch):
    other = RemoteJournal(root)
    other.begin()
    for number in range(5):
        other.add(LINE % number)
        other.flush()
    read, taken = objects.read, []

    def late(*arguments, **options):
        monkeypatch.setattr(objects, "read", read)
        other.close()
        return read(*arguments, **options)

    monkeypatch.setattr(objects, "read", late)
    journal = RemoteJournal(root)
    monkeypatch.setattr(journal, "_take", taken.append)
    journal.begin()
    assert set(taken) == {LINE % number for number in range(5)}


def test_lines_that_are_put_together_keep_their_order(root, monkeypatch):
    journal = RemoteJournal(root)
    journal.begin()
    for number in range(5):
        journal.add(LINE % number)
        journal.flush()
    monkeypatch.setattr(journal_module, "_MAX_BYTES", 2 * len(LINE))
    journal.close()
    assert len(list(listing.entries(root / ".adacode" / "journal"))) == 3
    assert lines(root) == [LINE[:-1] % number for number in range(5)]


def test_what_is_put_together_already_is_not_read_again(root, monkeypatch):
    journal, read, seen = RemoteJournal(root), objects.read, []
    monkeypatch.setattr(journal_module, "_MAX_BYTES", 2 * len(LINE))
    monkeypatch.setattr(journal_module, "_MANY_SEGMENTS", 4)
    monkeypatch.setattr(journal_module, "_EVERY_S", 0)
    monkeypatch.setattr(objects, "read", lambda path, *rest, **named: seen.append(path) or read(path, *rest, **named))
    for number in range(100):
        journal.add(LINE % number)
        journal.flush_if_due()
    assert len(seen) < 200
    journal.close()
    monkeypatch.setattr(objects, "read", read)
    assert lines(root) == [LINE[:-1] % number for number in range(100)]


@pytest.mark.parametrize("name", ["read", "remove"])
def test_a_journal_that_cannot_be_put_together_stays_in_pieces(root, monkeypatch, name):
    journal = RemoteJournal(root)
    journal.begin()
    for number in range(3):
        journal.add(LINE % number)
        journal.flush()

    def fails(*_, **__):
        raise JournalError("denied")

    with monkeypatch.context() as broken:
        broken.setattr(objects, name, fails)
        journal.close()
    assert list(dict.fromkeys(lines(root))) == [LINE[:-1] % number for number in range(3)]


def test_what_a_run_wrote_between_the_plan_and_the_lease_of_another_is_read(root, monkeypatch):
    planned, taken = RemoteTree(root), []
    other = RemoteTree(root)
    other.hold(None, print)
    other.journal.add(LINE % 7)
    other.claims.take("8.png")
    other.close()
    monkeypatch.setattr(planned.journal, "_take", taken.append)
    planned.hold(None, print)
    assert taken == [LINE % 7]
    assert claimed("8.png", planned.claim_names)
    planned.close()
