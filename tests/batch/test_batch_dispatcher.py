"""The thread that gives jobs to workers: batches, files that waited at a dead worker, claims that are taken ahead."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import ClassVar

import pytest

from adacode_cli.batch.claiming import Claiming
from adacode_cli.batch.contents import Content
from adacode_cli.batch.dispatched import Dispatched
from adacode_cli.batch.dispatcher import Dispatcher
from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.outcome import Made, Outcome, Result
from adacode_cli.batch.worker_handle import Room, WorkerHandle
from adacode_cli.errors import DeviceError, JournalError, OutputError, WeightsError

CONTENT = Content(1, "0" * 64)


@dataclass(frozen=True)
class Job:
    name: str
    root: Path = Path("out")

    @property
    def source(self) -> Path:
        return Path(self.name)

    @property
    def target(self) -> Path:
        return self.root / self.name


class Thread(WorkerHandle):
    """A worker in this process that asks for much at once. behaviour: what it does with the jobs that it is given."""

    says_begun: ClassVar[bool] = True

    def __init__(self, behaviour) -> None:
        super().__init__()
        self.behaviour, self.given, self.starts = behaviour, [], 0
        self.is_broken = False

    @property
    def connection(self):
        return self._heard

    @property
    def is_running(self):
        return self.starts > 0

    @property
    def _place(self):
        return "a thread"

    def start(self):
        self._heard, self.tell = Pipe(duplex=False)
        self.starts += 1
        self.is_ready = self.is_waiting = False
        if self.is_broken:
            self.fail()
            return
        self.tell.send(("ready", "a" * 64))
        self.tell.send(("next", Room(4, 1000)))

    def fail(self):
        """The device fails, as in a worker of a cluster."""
        self.failure = DeviceError("the device is gone")
        self.tell.close()

    def _message(self):
        try:
            return self._heard.recv()
        except EOFError:
            return None

    def _send(self, given):
        self.given.append([one.assignment.job.name for one in given])
        self.behaviour(self, given)

    def finish(self, given):
        for one in given:
            self.tell.send(("begun", one.number))
            job = one.assignment.job
            self.tell.send(
                ("ended", one.number, Outcome(Result.DONE, job.source, job.target, made=Made(CONTENT, None)))
            )
        self.tell.send(("next", Room(4, 1000)))

    def interrupt(self):
        self.tell.close()

    def how_it_ended(self):
        return "it was told to"

    def end(self):
        self.tell.close()

    def error_about(self, how):
        return DeviceError(how)

    def other_weights(self):
        return WeightsError("other weights")


class Coordinator:
    """Notes what it is told. together: the numbers of files whose lines were written together."""

    def __init__(self) -> None:
        self.taken, self.done, self.given_up, self.together = [], [], [], []

    def take(self, job):
        self.taken.append(job.name)
        return Assignment(job)

    def ended(self, job, outcome):
        assert outcome is None
        self.given_up.append(job.name)

    def ended_together(self, ended):
        self.together.append(len(ended))
        self.done += [(job.name, outcome.result) for job, outcome in ended]

    def started(self, job):
        pass

    page_finished = advanced = None

    def finished(self, outcome):
        assert outcome.source.name in dict(self.done)


class Description:
    @staticmethod
    def paths(job):
        return (job.target,)


class Dispensable(Thread):
    is_dispensable: ClassVar[bool] = True


def carried_out(names, *workers, pixels=100, **options) -> Coordinator:
    coordinator = Coordinator()
    dispatcher = Dispatcher(workers, Description.paths, pixels_of=lambda _job: pixels, **options)
    with Dispatched(Description(), dispatcher) as executor:
        executor.start()
        executor.execute([Job(name) for name in names], coordinator)
    return coordinator


def finish(worker, given):
    if given:
        worker.finish(given)


@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize(("pixels", "size"), [(100, 4), (500, 2), (5000, 1), (0, 1)])
def test_a_worker_gets_as_many_jobs_as_it_has_room_for(pixels, size, ahead):
    worker, names = Thread(finish), list("abcdefgh")
    coordinator = carried_out(names, worker, pixels=pixels, claims_ahead=ahead)
    assert [name for name, _ in coordinator.done] == names
    assert [len(given) for given in worker.given] == [size] * (8 // size)
    assert coordinator.given_up == []


def test_only_files_that_were_begun_are_tried_alone():
    def die_once(worker, given):
        if worker.starts > 1:
            finish(worker, given)
        elif given:
            worker.tell.send(("begun", given[0].number))
            worker.tell.close()

    worker = Thread(die_once)
    coordinator = carried_out("abcdef", worker)
    # The first four went to the one that died; "b" to "d" come first again, and "a" comes last, alone.
    assert worker.given == [list("abcd"), list("bcde"), ["f"], ["a"]]
    assert {name: str(result) for name, result in coordinator.done} == dict.fromkeys("abcdef", "done")


def test_a_file_that_ends_workers_before_they_say_so_fails_in_the_end():
    def die(worker, given):
        if any(one.assignment.job.name == "a" for one in given):
            worker.is_ready = True
            worker.tell.close()
        else:
            finish(worker, given)

    worker = Thread(die)
    coordinator = carried_out("ab", worker)
    assert sorted((name, str(result)) for name, result in coordinator.done) == [("a", "failed"), ("b", "done")]


def test_a_device_that_is_lost_for_good_costs_its_worker_only():
    def break_down(worker, given):
        if given:
            worker.tell.send(("begun", given[0].number))
            worker.is_broken = True
            worker.fail()

    broken = Dispensable(break_down)

    def work_when_the_other_is_gone(worker, given):
        if given:
            assert done_within_a_minute(lambda: broken.is_broken)
            worker.finish(given)

    coordinator = carried_out("abcdefgh", broken, Dispensable(work_when_the_other_is_gone))
    assert {name: str(result) for name, result in coordinator.done} == dict.fromkeys("abcdefgh", "done")
    assert broken.starts == 1 + broken.max_failed_starts


@pytest.mark.parametrize("kind", [Thread, Dispensable])
def test_a_device_error_that_every_file_meets_ends_the_run(kind):
    def fail(worker, given):
        if given:
            worker.tell.send(("begun", given[0].number))
            worker.fail()

    worker = kind(fail)
    with pytest.raises(DeviceError, match="the device is gone"):
        carried_out("abcdefghijkl", worker)
    assert worker.starts == 4


def done_within_a_minute(condition) -> bool:
    until = time.monotonic() + 60
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_claims_that_nobody_asked_for_are_given_up():
    def interrupt(worker, given):
        raise OutputError("stop")

    worker, coordinator = Thread(interrupt), Coordinator()
    dispatcher = Dispatcher([worker], Description.paths, pixels_of=lambda _job: 5000, claims_ahead=4)
    with Dispatched(Description(), dispatcher) as executor:
        executor.start()
        with pytest.raises(OutputError, match="stop"):
            executor.execute([Job(name) for name in "abcdefgh"], coordinator)
    assert sorted(coordinator.given_up) == sorted(set(coordinator.taken) - {"a"})


def test_claims_of_a_batch_that_is_not_given_out_are_given_up():
    class Full(Coordinator):
        def take(self, job):
            if job.name == "c":
                raise JournalError("the journal cannot be read")
            return super().take(job)

    coordinator = Full()
    dispatcher = Dispatcher([Thread(finish)], Description.paths, pixels_of=lambda _job: 100)
    with Dispatched(Description(), dispatcher) as executor:
        executor.start()
        with pytest.raises(JournalError):
            executor.execute([Job(name) for name in "abcd"], coordinator)
    assert (coordinator.taken, coordinator.given_up) == (["a", "b"], ["a", "b"])


def test_a_journal_that_fails_costs_the_lines_of_its_tree_only():
    class OneIsFull(Coordinator):
        def __init__(self) -> None:
            super().__init__()
            self.reported = []

        def ended_together(self, ended):
            if ended[0][0].root == Path("full"):
                raise JournalError("the journal cannot be written to")
            super().ended_together(ended)

        def finished(self, outcome):
            self.reported.append(outcome.source.name)

    def end_two(worker, given):
        """The worker keeps the last two, and the claims of others wait for it."""
        if given:
            worker.finish(given[:2])

    coordinator, worker = OneIsFull(), Thread(end_two)
    jobs = [Job("a", Path("full")), Job("b"), Job("c"), Job("d"), Job("e")]
    dispatcher = Dispatcher([worker], Description.paths, pixels_of=lambda _job: 100, claims_ahead=8)
    with Dispatched(Description(), dispatcher) as executor:
        executor.start()
        with pytest.raises(JournalError):
            executor.execute(jobs, coordinator)
    assert coordinator.done == [("b", Result.DONE)]
    assert coordinator.reported == ["b"]
    assert coordinator.given_up == ["e"]


def test_files_of_a_lost_machine_are_tried_again_at_once():
    class OnMachine(Thread):
        lost_its_machine = True

    def lose_three(worker, given):
        if worker.starts > 3:
            finish(worker, given)
        elif given:
            worker.tell.send(("begun", given[0].number))
            worker.is_ready = True
            worker.tell.close()

    worker = OnMachine(lose_three)
    coordinator = carried_out("abcdef", worker)
    assert {name: str(result) for name, result in coordinator.done} == dict.fromkeys("abcdef", "done")
    assert [given[0] for given in worker.given[:3]] != ["a"]
    assert worker.given[-1] != ["a"]


def test_claims_are_taken_ahead_in_order_and_errors_come_in_their_turn():
    taken, may_go = [], threading.Event()

    def take(job):
        may_go.wait(60)
        taken.append(job)
        if job == "c":
            raise OutputError("c cannot be claimed")
        return Assignment(job)

    claiming = Claiming(iter("abcdef"), take, 4)
    first = claiming.next()
    may_go.set()
    assert first[1](first[0]) == Assignment("a")
    second = claiming.next()
    assert second[1]("b") == Assignment("b")
    third = claiming.next()
    with pytest.raises(OutputError, match="c cannot be claimed"):
        third[1]("c")
    left = claiming.close()
    assert left == sorted(left)
    assert set(left) <= {"d", "e", "f"}
    assert set(left) == set(taken) - {"a", "b", "c"}
