"""The process in which files are decoded; if a library crashes it, the run continues.

It decodes one file after the other and has no data to save. It ignores Ctrl-C, which the run handles, and it ends
when the run has ended, whatever it is doing.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging import memory_limit
from adacode_cli.imaging.codec import load_all
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.decoder_message import Blob, Blobs, Facts, packed, receive, send
from adacode_cli.imaging.quiet import quiet_libraries
from adacode_cli.imaging.refusals import too_little_memory

# If a library blocks all Python threads, the system ends the process, this long after the run should have done so.
_TIMER_MARGIN_S = 5.0
_POLL_INTERVAL_MS = 1000
_STANDARD_ERROR = 2


def main(descriptor: int, further_formats: bytes) -> None:
    """Answers requests on the socket `descriptor` until its other end is closed.

    further_formats: the formats that were registered in the parent process, pickled by it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=descriptor)
    threading.Thread(target=_exit_with_parent, args=(channel, os.getppid()), daemon=True, name="run").start()
    for format in pickle.loads(further_formats):
        formats.register(format)
    load_all()  # before memory is limited
    send(channel, {"ready": True})
    _redirect_standard_error()
    with quiet_libraries():
        _answer_all(channel)


def _redirect_standard_error() -> None:
    """Discards what C libraries write to standard error, which would be mixed with the output of the run.

    Messages of Python itself (an error in this file) are still written there.
    """
    try:
        copy = os.dup(_STANDARD_ERROR)
    except OSError:  # Standard error is closed.
        return
    sys.stderr = os.fdopen(copy, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, _STANDARD_ERROR)
    os.close(null)


def _answer_all(channel: socket.socket) -> None:
    while (request := receive(channel)) is not None:
        facts, (data,) = request
        signal.setitimer(signal.ITIMER_REAL, facts["limit_s"] + _TIMER_MARGIN_S)
        send(channel, {"taken": True})  # From here on, this file is the cause if the process ends.
        answer = _answer(facts, data)
        try:
            send(channel, *answer)
        except OSError:  # Limits on the size of files apply to files in memory too.
            send(channel, {"no_room": True})
        signal.setitimer(signal.ITIMER_REAL, 0)


def _exit_with_parent(channel: socket.socket, run: int) -> None:
    hung_up = select.poll()
    hung_up.register(channel, 0)
    # Not every system reports that the other side is closed; but a process whose parent has ended gets a new parent.
    while not hung_up.poll(_POLL_INTERVAL_MS) and os.getppid() == run:
        pass
    os._exit(0)


def _answer(facts: Facts, data: memoryview) -> tuple[Facts, list[Blob]]:
    memory_limit.begin(len(data))
    try:
        blobs = Blobs()
        options = {key: facts[key] for key in ("name", "max_pixels", "accept_damaged", "first_page")}
        return {"image": packed(decode(bytes(data), **options), blobs)}, blobs
    except InputError as error:
        return _refusal(error)
    except MemoryError:
        return _refusal(too_little_memory(facts["name"], memory_limit.in_force()))
    except Exception as error:  # noqa: BLE001 (a bug of this program is reported by the run)
        return {"bug": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}, []
    finally:
        memory_limit.end()


def _refusal(error: InputError) -> tuple[Facts, list[Blob]]:
    """The answer for an error, with its traceback; called in the handler of the error."""
    path = None if error.path is None else str(error.path)
    refused = {
        "message": error.message,
        "path": path,
        "hint": error.hint,
        "over_limit": error.over_limit,
        "damage": error.damage,
    }
    return {"refused": refused, "trace": traceback.format_exc()}, []
