"""Starts the program many times without importing torch, other libraries and modules of ours each time.

    python warm_program.py DESCRIPTOR

A process that has them imported waits. Each run is a process of its own, forked from that one, with its own arguments,
environment, directory and standard streams. It ends without freeing every object of every library, which takes longer
than most runs. How a process begins (the locale, closed streams, signals while it starts, limits) is not tested with
it: `adacode_process.Program` starts a fresh interpreter for such tests. `WarmProgram` is the other end of the socket.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import NoReturn

_LIBRARIES = ("torch", "cv2", "imagecodecs", "tifffile", "PIL.Image", "pillow_heif", "rich.progress", "typer", "s3fs")
_OURS = ("batch", "checkpoints", "cli", "codes", "engine", "imaging", "model")
# `fake_program` puts another one in its place, which modules that import it would not see any more.
_REPLACED = "adacode_cli.engine.restorer"
# These variables are read while the program runs. All others may be read when the interpreter or a library starts.
_READ_WHILE_RUNNING = (
    *("ADACODE_", "AWS_", "AZURE_", "COLUMNS", "COUNTED", "HF_", "HOME"),
    *("PAUSE", "STORAGE_", "VANISH", "XDG_CACHE_HOME"),
)
_STARTS_WITHIN_S = 300.0  # the process that waits, on a busy machine


class WarmProgram:
    """The process that waits, started at the first run, with a given environment; it ends with this one."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        ours, theirs = socket.socketpair()
        command = [sys.executable, __file__, str(theirs.fileno())]
        # Pipes as they will be: whether they can be sought in is found out once.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with theirs:
            self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], **pipes)
        self._channel, self._lock = ours, threading.Lock()

    def can_run_in(self, environment: dict[str, str]) -> bool:
        """Whether a forked process with `environment` does what a fresh interpreter with it would do."""
        changed = {name for name, _ in self.environment.items() ^ environment.items()}
        return all(name.startswith(_READ_WHILE_RUNNING) for name in changed)

    def run(
        self,
        script: list[str],
        arguments: tuple[str, ...],
        *,
        directory: Path,
        environment: dict[str, str],
        stdin: bytes,
        timeout_s: float,
    ) -> subprocess.CompletedProcess[bytes]:
        """What `subprocess.run` gives for `python *script *arguments`, with its output captured."""
        streams = [os.pipe() for _ in range(3)]
        (inner_in, outer_in), (outer_out, inner_out), (outer_err, inner_err) = streams
        inner = [inner_in, inner_out, inner_err]
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._channel, [b"."], [theirs.fileno(), *inner])
        for descriptor in inner:
            os.close(descriptor)
        found: dict[int, bytes] = {}
        threads = [threading.Thread(target=_write, args=(outer_in, stdin), daemon=True)]
        threads += [threading.Thread(target=_read, args=(one, found), daemon=True) for one in (outer_out, outer_err)]
        for thread in threads:
            thread.start()
        command = [sys.executable, *script, *arguments]
        with ours, ours.makefile("rw") as lines:
            ours.settimeout(_STARTS_WITHIN_S)
            lines.write(json.dumps([script, arguments, str(directory), environment]) + "\n")
            lines.flush()
            pid = int(lines.readline() or self._dead())
            deadline = time.monotonic() + timeout_s
            ours.settimeout(timeout_s)
            try:
                code = int(lines.readline() or self._dead())
            except TimeoutError as error:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout_s) from error
        for thread in threads:  # a process that it has left behind may hold the pipes
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(command, timeout_s)
        return subprocess.CompletedProcess(command, code, found[outer_out], found[outer_err])

    def _dead(self) -> NoReturn:
        self._process.kill()
        raise RuntimeError(f"the process that waits has died: {self._process.communicate()[1].decode()}")


def _write(descriptor: int, data: bytes) -> None:
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
    except BrokenPipeError:
        pass  # as `subprocess` does: the program need not read it


def _read(descriptor: int, found: dict[int, bytes]) -> None:
    with open(descriptor, "rb") as file:
        found[descriptor] = file.read()


def serve(channel: socket.socket) -> tuple[list[str], list[str]]:
    """Returns in each forked process, with what it is to run; ends this one when nobody can ask any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        byte, descriptors, _, _ = socket.recv_fds(channel, 1, 4)
        if not byte:
            os._exit(0)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            channel.close()
            return _begun(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _begun(connection: int, *streams: int) -> tuple[list[str], list[str]]:
    """Forks once more: one of the two waits for the other, which returns, and reports how it ended."""
    with socket.socket(fileno=connection) as asker, asker.makefile("rw") as lines:
        script, arguments, directory, environment = json.loads(lines.readline())
        pid = os.fork()
        if pid:
            for descriptor in (*streams, 0, 1, 2):
                os.close(descriptor)
            lines.write(f"{pid}\n")
            lines.flush()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            lines.write(f"{code}\n")
            lines.flush()
            os._exit(0)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    return script, arguments


def _imported() -> None:
    for name in _LIBRARIES:
        import_module(name)
    for folder in _OURS:
        package = import_module(f"adacode_cli.{folder}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name != _REPLACED:
                import_module(module.name)
    # Hugging Face's library keeps what the environment says when it is imported.
    early = {_REPLACED, "huggingface_hub"} & sys.modules.keys()
    if early:
        raise RuntimeError(f"each run must import these modules for itself: {sorted(early)}")
    gc.freeze()


def _end(code: int | None) -> NoReturn:
    """Does what the interpreter does at its end, except freeing what has been imported."""
    threading._shutdown()  # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def main() -> None:
    _imported()
    script, arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    # As the interpreter does for `-m MODULE` and for `FILE`.
    if script[0] == "-m":
        sys.path[0] = ""
        program = import_module(f"{script[1]}.__main__")
    else:
        sys.path[0] = str(Path(script[0]).parent)
        program = import_module(Path(script[0]).stem)
    sys.argv = [str(program.__file__), *arguments]
    sys.orig_argv = [sys.executable, *script, *arguments]
    try:
        program.main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        _end(end.code)
    _end(0)


if __name__ == "__main__":
    main()
