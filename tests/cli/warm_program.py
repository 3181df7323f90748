"""Starts the program many times without importing torch, other libraries and modules of ours each time.

    python warm_program.py DESCRIPTOR

A process that has them imported waits. Each run is a process of its own, forked from that one, with its own arguments,
environment, directory and standard streams. It ends without freeing every object of every library, which takes longer
than most runs. The processes in which a run decodes files are forked from that process too, because most runs of tests
decode a few small files, and starting interpreters for them takes longer than all the rest. How a process begins (the
locale, closed streams, signals while it starts, limits) is not tested with it: `adacode_process.Program` starts a fresh
interpreter for such tests. `WarmProgram` is the other end of the socket, and `Started` is such a run.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import io
import json
import os
import pkgutil
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

if os.name == "posix":
    import fcntl
    import termios

_LIBRARIES = (
    *("torch", "cv2", "imagecodecs", "tifffile", "PIL.Image", "pillow_heif", "rich.progress", "typer", "s3fs"),
    *("filelock", "httpx2", "tqdm.auto", "yaml"),
)
# What newer versions of a library import with the first command.
_IF_THERE = ("typer._adapters",)
_OURS = ("batch", "checkpoints", "cli", "codes", "engine", "imaging", "model")
# `fake_program` puts another one in its place, which modules that import it would not see any more.
_REPLACED = "adacode_cli.engine.restorer"
# These variables are read while the program runs. All others may be read when the interpreter or a library starts.
_READ_WHILE_RUNNING = (
    *("ADACODE_", "AWS_", "AZURE_", "COLUMNS", "COUNTED", "DIED", "HF_", "HOME", "LINES", "PAUSE", "RAY_", "SIGNAL"),
    *("STORAGE_", "TERM", "VANISH", "XDG_CACHE_HOME"),
)
# What functions for `preexec_fn` do: whether they take the terminal, and whether they heed signals.
_BEGINNINGS = {"": (False, False), "default_signals": (False, True), "own_terminal": (True, True)}
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
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with self.start(script, arguments, directory=directory, environment=environment, **pipes) as process:
            try:
                out, err = process.communicate(stdin, timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(
        self, script: list[str], arguments: tuple[str, ...], *, directory: Path, environment: dict[str, str], **options
    ) -> Started:
        """What `subprocess.Popen` gives for `python *script *arguments`, with these options: `can_start_with`."""
        return Started(self, [script, arguments, str(directory), environment], **options)

    def ask(self, task: list[object], streams: list[int]) -> tuple[socket.socket, int]:
        """Begins a process. Returns the connection that tells its end, and its number."""
        connection, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._channel, [b"."], [theirs.fileno(), *streams])
        connection.settimeout(_STARTS_WITHIN_S)
        number = _asked(connection, task)
        if not number:
            self._process.kill()
            raise RuntimeError(f"the process that waits has died: {self._process.communicate()[1].decode()}")
        return connection, number


def _asked(connection: socket.socket, task: list[object]) -> int:
    connection.sendall(json.dumps(task).encode() + b"\n")
    return _number(connection)


def _number(connection: socket.socket) -> int:
    """The next number, and nothing of what follows it; 0 if the other end is closed."""
    digits = b""
    while (byte := connection.recv(1)) not in (b"\n", b""):
        digits += byte
    return int(digits or b"0")


def _is_pipe_or_terminal(stream: object) -> bool:
    """What cannot be full; or what `subprocess` makes for these constants."""
    if stream in (subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT):
        return True
    number = stream if isinstance(stream, int) else stream.fileno()
    return os.isatty(number) or stat.S_ISFIFO(os.fstat(number).st_mode)


class Started(subprocess.Popen):
    """A run that is forked from the process that waits. Of the options, only those of `can_start_with` have effect."""

    def __init__(self, warm: WarmProgram, task: list, *, preexec_fn=None, start_new_session=False, **streams) -> None:
        self._warm = warm
        self._task = [*task, [start_new_session, *_BEGINNINGS[preexec_fn.__name__ if preexec_fn else ""]]]
        script, arguments = task[:2]
        super().__init__([sys.executable, *script, *arguments], **streams)

    @staticmethod
    def can_start_with(options: dict[str, object]) -> bool:
        """Whether a forked process can begin with these options of `subprocess.Popen`, and end as others do."""
        begin, streams = options.get("preexec_fn"), {"stdin", "stdout", "stderr"}
        if not options.keys() <= streams | {"preexec_fn", "start_new_session", "text"}:
            return False
        is_usual = all(_is_pipe_or_terminal(options[name]) for name in streams & options.keys())
        return is_usual and (begin is None or begin.__name__ in _BEGINNINGS)

    def _execute_child(self, *given: object) -> None:
        found = inspect.signature(subprocess.Popen._execute_child).bind(self, *given).arguments
        pipes = [found[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        streams = [number if pipe == -1 else pipe for number, pipe in enumerate((pipes[0], pipes[3], pipes[5]))]
        try:
            self._connection, self.pid = self._warm.ask(self._task, streams)
        finally:
            self._close_pipe_fds(*pipes)
        self._child_created = True

    def _internal_poll(self, *_: object, **__: object) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self._wait(0)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        has_ended = select.select([self._connection], [], [], timeout)[0]
        with self._waitpid_lock:
            if self.returncode is None:
                if not has_ended:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
                self.returncode = _number(self._connection)
            return self.returncode


class _Decoder:
    """A decoding process that is forked from the process that waits; what `decoder_pool` uses of `subprocess.Popen`."""

    def __init__(self, asking: socket.socket, command: list[str], *, pass_fds: list[int], **_options: object) -> None:
        self._code: int | None = None
        self._lock = threading.Lock()
        self._connection, theirs = socket.socketpair()
        with theirs, Path(os.devnull).open("r+b") as null:
            streams = [null.fileno(), null.fileno(), 2]
            socket.send_fds(asking, [b"."], [theirs.fileno(), *streams, *pass_fds])
        self.pid = _asked(self._connection, [command[1:], [], str(Path.cwd()), dict(os.environ), []])

    def kill(self) -> None:
        if self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        has_ended = select.select([self._connection], [], [], timeout)[0]
        with self._lock:
            if self._code is None:
                if not has_ended:
                    raise subprocess.TimeoutExpired("a decoding process", timeout or 0.0)
                self._code = _number(self._connection)
            return self._code


def serve(channel: socket.socket) -> tuple[list[str], list[str]]:
    """Returns in each forked process, with what it is to run; ends this one when nobody can ask any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    by_runs, asking = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    while True:
        for asked in select.select([channel, by_runs], [], [])[0]:
            byte, descriptors, _, _ = socket.recv_fds(asked, 1, 5)
            if not byte:
                os._exit(0)
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                channel.close()
                by_runs.close()
                return _begun(asking, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)


def _begun(asking: socket.socket, connection: int, *descriptors: int) -> tuple[list[str], list[str]]:
    """Forks once more: one of the two waits for the other, which returns, and reports how it ended.

    descriptors: the standard streams; for a decoding process, which does not return, also its socket.
    """
    with socket.socket(fileno=connection) as asker, asker.makefile("rw") as lines:
        script, arguments, directory, environment, beginning = json.loads(lines.readline())
        pid = os.fork()
        if pid:
            for descriptor in (*descriptors, 0, 1, 2):
                os.close(descriptor)
            asking.close()
            lines.write(f"{pid}\n")
            lines.flush()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            lines.write(f"{code}\n")
            lines.flush()
            os._exit(0)
    streams, further = descriptors[:3], descriptors[3:]
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    if further:
        asking.close()
        _decode(*further, script)
    _begin(*beginning)
    _fork_decoders(asking)
    return script, arguments


def _begin(new_session: bool, own_terminal: bool, heed_signals: bool) -> None:
    """What `subprocess.Popen` and the functions that tests give it do, and what the interpreter does with streams."""
    if new_session:
        os.setsid()
    if own_terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if heed_signals:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        form = {"encoding": old.encoding, "errors": old.errors, "line_buffering": name == "stderr" or os.isatty(number)}
        buffered = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115
        new = io.TextIOWrapper(buffered, write_through=old.write_through, **form)
        new.mode = "w" if number else "r"
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _decode(descriptor: int, command: list[str]) -> NoReturn:
    """What a decoding process does that `decoder_pool` starts with this command, except for its start."""
    from adacode_cli.imaging.decoder_worker import main as decode

    # python -P -c START SOCKET FORMATS *PATH
    _, _, _, _, further_formats, *sys.path[:] = command
    os.setpgid(0, 0)
    decode(descriptor, bytes.fromhex(further_formats))
    os._exit(0)


def _fork_decoders(asking: socket.socket) -> None:
    """Decoding processes of this process are forked from the one that waits."""
    from adacode_cli.imaging import decoder_pool

    decoder_pool.subprocess = SimpleNamespace(
        Popen=partial(_Decoder, asking), DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )


def _imported() -> None:
    for name in _LIBRARIES + tuple(filter(find_spec, _IF_THERE)):
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
