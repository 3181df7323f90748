"""This process as the driver of a Ray cluster: connected, and told what the cluster has.

Everything here runs in the thread of `batch.dispatcher`, except `keep_handlers`: Ray replaces how the process reacts to
SIGTERM, so the main thread must set its handlers again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from adacode_cli.batch.cluster.probe import job_config, problem_with
from adacode_cli.batch.worker import FOR_THE_PARENT
from adacode_cli.errors import DeviceError, UsageError

INSTALL = "Install it on every machine of the cluster: pip install 'adacode-cli[ray]'."
_REACH_LIMIT_S = 5.0
_LOOK_EVERY_S = 5.0
_HANDLERS_EVERY_S = 0.002
_FAILURES = 3
# One open file for each claim, and a few for each worker.
_OPEN_FILES = 65536


@dataclass(frozen=True)
class Machine:
    """A machine of a cluster that is alive, a node in Ray's words: its CPUs and GPUs, as Ray counts them, and its name
    in Ray.
    """

    cpus: int
    gpus: int
    name: str = ""


def require_ray() -> None:
    """Raises UsageError if ray is not installed."""
    import importlib.util

    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray needs the package ray", hint=INSTALL)


def resolved(address: str) -> str:
    """The host and port of a cluster's address, which may be "auto". Raises UsageError if it cannot be used."""
    if address.startswith("ray://"):
        hint = (
            "Start the command on a machine of the cluster, with --address auto or HOST:PORT (the port of ray start)."
        )
        raise UsageError(f"--address {address}: addresses of the Ray Client cannot be used", hint=hint)
    found = address
    if address == "auto":
        found = os.environ.get("RAY_ADDRESS") or _last_started() or ""
        if not found or found == "auto":
            hint = "Start one with `ray start --head`, or name it: --address HOST:PORT."
            raise UsageError("--address auto: no Ray cluster runs on this machine", hint=hint)
    try:
        _reach(found)
    except (OSError, ValueError, OverflowError) as error:
        hint = "Check the address that `ray start --head` has printed, and that the cluster runs (ray status)."
        raise UsageError(f"--address {address}: no Ray cluster answers at {found}", hint=hint) from error
    if problem := problem_with(found):
        hint = "The machines of a cluster need the same versions of Ray and of Python. See docs/clusters.md."
        raise UsageError(f"--address {address}: the cluster at {found} cannot be used: {problem}", hint=hint)
    return found


def _reach(address: str) -> None:
    """Raises OSError if nobody answers there, ValueError or OverflowError for what is no address."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _REACH_LIMIT_S).close()


@contextmanager
def watched(address: str, when_lost: Callable[[DeviceError], None]) -> Iterator[None]:
    """Within the block, `when_lost` is called in another thread if the cluster does not answer any more.

    Ray itself would end this process after a minute, without a word.
    """
    is_over = threading.Event()

    def watch() -> None:
        """Looks again and again until the block is over, or the cluster is lost."""
        failures = 0
        while not is_over.wait(_LOOK_EVERY_S):
            try:
                _reach(address)
                failures = 0
            except OSError:
                failures += 1
            if failures == _FAILURES:
                hint = "Finished results stay. Start the cluster, and run the same command again: it goes on."
                when_lost(DeviceError(f"the Ray cluster at {address} does not answer any more", hint=hint))
                return

    thread = threading.Thread(target=watch, daemon=True, name="cluster")
    thread.start()
    try:
        yield
    finally:
        is_over.set()


def _say_nothing(*_arguments: object, **_more: object) -> None:
    """For what Ray would print."""


def _last_started() -> str | None:
    """The address of the cluster that was started last on this machine."""
    from ray._private.utils import read_ray_address

    found: str | None = read_ray_address()
    return found


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Within the block, this process is a driver of the cluster. Raises UsageError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _allow_open_files()
    import ray

    for name in ("ray", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # after the import, which sets it

    try:
        # Ray prints on standard output what it sees of workers that have died; the run reports that itself.
        ray._private.worker.print_to_stdstream = _say_nothing
        ray.init(address=address, log_to_driver=False, configure_logging=False, job_config=job_config())
    except Exception as error:
        reason = str(error).strip().splitlines()
        hint = "The machines of a cluster need the same versions of Ray and of Python. See docs/clusters.md."
        what = f"the Ray cluster at {address} cannot be used: {reason[0] if reason else type(error).__name__}"
        raise UsageError(what, hint=hint) from error
    try:
        yield
    finally:
        with suppress(Exception):  # nothing depends on it any more
            ray.shutdown()


def machines() -> list[Machine]:
    """The machines of the cluster. Raises DeviceError if none has CPUs or GPUs for actors."""
    import ray

    alive: list[tuple[dict[str, Any], str]] = [
        (node["Resources"], node["NodeID"]) for node in ray.nodes() if node["Alive"]
    ]
    found = [Machine(int(one.get("CPU", 0)), int(one.get("GPU", 0)), name) for one, name in alive]
    found = [machine for machine in found if machine.cpus or machine.gpus]
    if not found:
        hint = "Add machines with CPUs or GPUs: ray start --address HOST:PORT."
        raise DeviceError("no machine of the Ray cluster offers CPUs or GPUs", hint=hint)
    return found


def keep_handlers(is_connected: threading.Event) -> None:
    """For the main thread: sets the handlers of signals again that Python knows until `connected` has returned.

    Ray sets its own one for SIGTERM at some moment before that, which would end the process with a stack.
    """
    while not is_connected.wait(_HANDLERS_EVERY_S):
        _restore_handlers()
    _restore_handlers()


def _restore_handlers() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in FOR_THE_PARENT:
            handler = signal.getsignal(number)
            if handler is not None:
                signal.signal(number, handler)


def _allow_open_files() -> None:
    """Raises this process's own limit of open files as far as the system allows."""
    if sys.platform == "win32":
        return
    import resource

    with suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        if soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
