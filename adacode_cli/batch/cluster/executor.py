"""The executor on a Ray cluster (`batch.dispatched`): a worker for each GPU, or for each machine without one."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from adacode_cli.batch.claims import own_token
from adacode_cli.batch.cluster.actor import ClusterTask
from adacode_cli.batch.cluster.carried import CarriedFiles
from adacode_cli.batch.cluster.connection import Machine, connected, keep_handlers, machines, resolved, watched
from adacode_cli.batch.cluster.local_cluster import local_cluster
from adacode_cli.batch.cluster.ray_worker import Needs, Presence, RayWorker
from adacode_cli.batch.cluster.shared import folders_beside, marked, seen_of
from adacode_cli.batch.dispatched import Dispatched
from adacode_cli.batch.dispatcher import Dispatcher
from adacode_cli.batch.lease import tickets
from adacode_cli.batch.plan import Job
from adacode_cli.batch.worker import WorkerPlacement, WorkerTask
from adacode_cli.errors import DeviceError

# Jobs that all workers may have at once, as each has a claim, which is an open file.
_MOST_JOBS_OF_ALL = 512
_MOST_JOBS = 64
_CLAIMS_AHEAD = 32
_JOINING_S = 1.0
# Besides its GPU, a worker reads and writes files.
_CPUS_BESIDE_GPU = 2


@dataclass(frozen=True)
class ClusterRequest:
    """Which cluster, and how much of it.

    address: of a running cluster; None: one of this machine is started for the run.
    num_workers: None: one for each GPU, or for each machine if no machine has one or they are not wanted.
    worker_cpus: of each worker, which are its threads on a CPU; None: all of a machine are divided among its workers.
    device: "auto", "cpu" or "cuda".
    here: the placements on this machine, for its own cluster.
    carried: files of weights that other machines do not have.
    inputs: local ones, which every machine must see.
    is_local: whether the run has local paths, so that every machine must see its working directory.
    """

    address: str | None
    num_workers: int | None
    device: str = "auto"
    here: tuple[WorkerPlacement, ...] = ()
    carried: CarriedFiles | None = None
    inputs: tuple[str, ...] = ()
    is_local: bool = True
    worker_cpus: int | None = None


class ClusterExecutor(Dispatched):
    """An `Executor`. When its block is left, no worker of it runs any more.

    task: what each worker does; its placement follows from the cluster.
    """

    def __init__(self, task: WorkerTask, request: ClusterRequest) -> None:
        self._task, self._request = task, request
        self._workers: list[RayWorker] = []
        foresight = task.description.foresight

        def pixels_of(job: Job) -> int:
            header = foresight.headed(job).header
            return 0 if header is None else header.width * header.height * max(1, header.pages)

        dispatcher = Dispatcher(
            (),
            task.description.paths,
            joining=self._joining(),
            pixels_of=pixels_of,
            seen_of=partial(seen_of, task.description),
            claims_ahead=_CLAIMS_AHEAD,
        )
        super().__init__(task.description, dispatcher)

    @property
    def pids(self) -> list[int]:
        """The numbers of the workers' processes, each on its machine."""
        known = [worker.introduction for worker in self._workers]
        return [one.pid for one in known if one is not None]

    @contextmanager
    def _joining(self) -> Iterator[Sequence[RayWorker]]:
        """The workers, while this process is a driver of the cluster. Runs in the thread of the dispatcher."""
        if self._request.address is None:
            here = self._request.here
            gpus = sum(placement.device != "cpu" for placement in here)
            cpus = self._request.worker_cpus or _cpus(gpus)
            with local_cluster(cpus=len(here) * cpus, gpus=gpus) as address, self._driving(address):
                needs = Needs(cpus, min(1, gpus))
                with self._made([(placement, needs) for placement in here]), watched(address, self._lose):
                    yield self._workers
            return
        address = resolved(self._request.address)
        with (
            self._driving(address),
            self._made(placements_on(machines(), self._request)),
            watched(address, self._lose),
        ):
            yield self._workers

    def _lose(self, error: DeviceError) -> None:
        """Has the run end because the cluster is gone. Called in another thread."""
        for worker in self._workers:
            worker.lose(error)

    @contextmanager
    def _driving(self, address: str) -> Iterator[None]:
        if self._dispatcher.is_stopping:  # To import ray and to connect takes time.
            raise RuntimeError("the run was stopped before its workers were there")
        is_connected = threading.Event()
        self._dispatcher.reports.put(partial(keep_handlers, is_connected))
        try:
            with connected(address):
                is_connected.set()
                yield
        finally:
            is_connected.set()

    @contextmanager
    def _made(self, placements: Sequence[tuple[WorkerPlacement, Needs]]) -> Iterator[None]:
        """Within the block, `_workers` has one for each placement. What they share goes to Ray's object store once."""
        import ray

        most = max(4, min(_MOST_JOBS, _MOST_JOBS_OF_ALL // len(placements)))
        carried = ray.put(self._request.carried)
        stored: dict[WorkerPlacement, object] = {}
        presence = Presence()
        here = os.getcwd() if self._request.is_local else ""  # noqa: PTH109
        with marked(folders_beside(self._task.description)) as marks:
            for placement, needs in placements:
                if placement not in stored:
                    of_placement = replace(self._task, placement=placement)
                    task = ClusterTask(of_placement, here, self._request.inputs, marks, own_token(), tickets(), most)
                    stored[placement] = ray.put(pickle.dumps(task))
                self._workers.append(RayWorker(needs, stored[placement], carried, presence))
            try:
                yield
            finally:
                until = time.monotonic() + _JOINING_S
                for worker in self._workers:
                    worker.join(until)


def _cpus(gpus: int) -> int:
    return 1 if gpus == 0 else _CPUS_BESIDE_GPU


def placements_on(found: Sequence[Machine], request: ClusterRequest) -> list[tuple[WorkerPlacement, Needs]]:
    """The placements of the workers, and what each needs. Raises DeviceError for a GPU or CPUs that are not there."""
    gpus = sum(machine.gpus for machine in found)
    if request.device == "cuda" and not gpus:
        hint = "Add machines with GPUs (ray start --num-gpus), or use --device cpu."
        raise DeviceError("no machine of the Ray cluster offers a GPU", hint=hint)
    if gpus and request.device != "cpu":
        with_gpus = [machine for machine in found if machine.gpus]
        most = max(machine.gpus for machine in with_gpus)
        cpus = min(min(_CPUS_BESIDE_GPU, machine.cpus // machine.gpus) for machine in with_gpus)
        if request.worker_cpus is not None:
            cpus = request.worker_cpus
            _large_enough(with_gpus, cpus)
        return [(WorkerPlacement("cuda", None, most), Needs(cpus, 1))] * (request.num_workers or gpus)
    with_cpus = [machine for machine in found if machine.cpus]
    if request.worker_cpus is not None:
        return _of_a_size(_large_enough(with_cpus, request.worker_cpus), request.worker_cpus, request.num_workers)
    shares = _shares([machine.cpus for machine in with_cpus], request.num_workers)
    return [(WorkerPlacement("cpu", cpus, of), Needs(cpus, machine=with_cpus[one].name)) for one, cpus, of in shares]


def _large_enough(found: Sequence[Machine], cpus: int) -> list[Machine]:
    """The machines that have so many CPUs. Raises DeviceError if none has."""
    large = [machine for machine in found if machine.cpus >= cpus]
    if not large:
        most = max((machine.cpus for machine in found), default=0)
        what = f"--worker-cpus {cpus}: no machine of the Ray cluster has so many CPUs; the largest one has {most}"
        raise DeviceError(what, hint="Use a smaller number.")
    return large


def _of_a_size(found: Sequence[Machine], cpus: int, num_workers: int | None) -> list[tuple[WorkerPlacement, Needs]]:
    """Workers with so many CPUs each: as many as the machines have room for, or so many. Other runs may have the rest,
    so a worker takes its share of the machine's memory too.
    """
    room = [machine.cpus // cpus for machine in found]
    taken = [0] * len(found)
    for _ in range(num_workers or sum(room)):
        best = max(range(len(found)), key=lambda one: ((room[one] - taken[one]) / room[one], -one))
        taken[best] += 1
    return [
        (WorkerPlacement("cpu", cpus, room[one]), Needs(cpus, machine=found[one].name))
        for one, number in enumerate(taken)
        for _ in range(number)
    ]


def _shares(cpus: Sequence[int], num_workers: int | None) -> list[tuple[int, int, int]]:
    """For each worker: (the number of its machine, its CPUs, the workers there), by machines that have so many CPUs.

    Each further worker goes to the machine where it has most. More workers than CPUs get one each, and some must wait.
    """
    workers = [0 if num_workers else 1] * len(cpus)
    for _ in range(num_workers or 0):
        best = max(range(len(cpus)), key=lambda one: (cpus[one] / (workers[one] + 1), -workers[one]))
        workers[best] += 1
    return [(one, max(1, cpus[one] // of), of) for one, of in enumerate(workers) for _ in range(of)]
