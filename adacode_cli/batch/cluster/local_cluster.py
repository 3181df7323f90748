"""A Ray cluster of this machine alone, for one run.

Two processes hold it, in a session of their own: a terminal or a service that sends a signal to all processes of the
run does not reach the cluster, which the run needs until it has stopped. One of them starts the cluster, and ends it as
soon as the run closes its pipe, or has ended in any way. Ray ends this process if the cluster fails, so the other one
waits for its end, and removes what is left. Nobody else can connect: the cluster listens at 127.0.0.1 only, and asks
for a password of this run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adacode_cli.errors import DeviceError, reason

_OBJECTS_BYTES = 100 << 20  # Files are read and written by the workers, so hardly anything passes through Ray.
# Paths of sockets have at most 107 bytes, and the two folders of a run and Ray's own ones add about 88.
_MAX_FOLDER_BYTES = 18
# Ray takes the machine's own address in the place of 127.0.0.1, and then listens on all of them, unless it is told that
# there are no clusters on this system. That is what it assumes by itself on Windows and macOS.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_REMOVING_S, _TIMES_ABSENT = 20.0, 10
_COMMAND = (sys.executable, "-m", "adacode_cli.batch.cluster.local_cluster")


@contextmanager
def local_cluster(*, cpus: int, gpus: int) -> Iterator[str]:
    """Within the block, there is a cluster with these devices; its address. Raises DeviceError."""
    # For this process too, before it imports ray.
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **_LOOPBACK_ONLY})
    command = [*_COMMAND, str(cpus), str(gpus)]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env=environment(),
        )
    except OSError as error:
        raise _not_started(reason(error)) from error
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said, _, address = process.stdout.readline().strip().partition(" ")
        if said != "address":
            raise _not_started(address or "its process has ended")
        yield address
    finally:
        # It ends by itself then; nobody needs to wait for that.
        with suppress(OSError):
            process.stdin.close()
        process.stdout.close()


def _not_started(why: str) -> DeviceError:
    hint = "Check the free memory and the room in the folder for temporary files, or use --engine local."
    return DeviceError(f"a Ray cluster of this machine cannot be started: {why}", hint=hint)


def environment() -> dict[str, str]:
    """For processes that use Ray: the variables of this one, with which this package is found; no usage statistics, and
    no modules from the working directory.
    """
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "error", "PYTHONSAFEPATH": "1"}
    without = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    source = str(Path(__file__).parents[3])
    if not source.endswith(("site-packages", "dist-packages")):  # Those are searched in any case, and later.
        quiet["PYTHONPATH"] = os.pathsep.join(filter(None, [source, without.get("PYTHONPATH")]))
    return {**without, **quiet}


def _hold(cpus: str, gpus: str) -> None:
    """Starts the process that runs the cluster, waits for its end, and removes what is left."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _MAX_FOLDER_BYTES and os.path.isdir("/tmp"):  # noqa: PTH112
        folder = "/tmp"
    folder = tempfile.mkdtemp(prefix="adacode-ray-", dir=folder)
    # Who stops a service sends it to all processes. The other one ends at it; not ignored, because that is inherited.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        with subprocess.Popen([*_COMMAND, cpus, gpus, folder]):  # with the standard streams of this process
            # The run learns at once then if the other process ends without a word.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    finally:
        _end_session()
        _remove(folder)


def _run(cpus: str, gpus: str, folder: str) -> None:
    """Starts the cluster, says its address on standard output, and ends it when standard input is closed."""
    try:
        import ray

        ray.init(
            address="local",
            num_cpus=int(cpus),
            num_gpus=int(gpus),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=_OBJECTS_BYTES,
            _temp_dir=os.path.join(folder, "r"),  # noqa: PTH118 (Ray lets everybody write there, so it is a folder inside)
            _node_ip_address="127.0.0.1",
        )
        print("address", ray.get_runtime_context().gcs_address, flush=True)
        sys.stdin.read()
    except Exception as error:  # noqa: BLE001 (the run reports it)
        with suppress(OSError):  # The run may have ended while the cluster was starting.
            print("error", " ".join(str(error).split()), flush=True)
    finally:
        with suppress(Exception):  # It may not have been imported.
            ray.shutdown()


def _end_session() -> None:
    """Ends the other processes of the session that this process leads; on Linux, where it can be known which these are.

    Elsewhere Ray alone sees to their end.
    """
    if sys.platform != "linux" or os.getsid(0) != os.getpid():
        return
    for path in Path("/proc").glob("[0-9]*"):
        number = int(path.name)
        with suppress(OSError):  # It has ended meanwhile.
            if number != os.getpid() and os.getsid(number) == os.getpid():
                os.kill(number, signal.SIGKILL)


def _remove(folder: str) -> None:
    """Removes a folder to which processes that are ending may still write."""
    until, absent = time.monotonic() + _REMOVING_S, 0
    while absent < _TIMES_ABSENT and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)
        absent = 0 if os.path.lexists(folder) else absent + 1


if __name__ == "__main__":
    (_run if len(sys.argv) > 3 else _hold)(*sys.argv[1:])
