"""The process in which files are decoded: whatever a library does to it, the run that asked goes on.

It does one file after the other and holds nothing that could be lost. It does not hear Ctrl-C, which is for the run to
decide, and it ends when the run is gone, however that ended and whatever it is doing itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import traceback

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.decoder_message import Blob, Facts, packed, receive, send

# A library that hangs and does not let Python's other threads run is ended by the system itself, so much later than the
# run would have done it.
_RUN_IS_LATE_S = 5.0


def main(descriptor: int) -> None:
    """Answers what comes through the socket `descriptor` until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with, args=(channel,), daemon=True, name="run").start()
    send(channel, {"ready": True})
    while (request := receive(channel)) is not None:
        facts, (data,) = request
        signal.setitimer(signal.ITIMER_REAL, facts["limit_s"] + _RUN_IS_LATE_S)
        send(channel, {"taken": True})  # from here on, an end of this process is this file's fault
        send(channel, *_answer(facts, bytes(data)))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _end_with(channel: socket.socket) -> None:
    hung_up = select.poll()
    hung_up.register(channel, 0)
    hung_up.poll()
    os._exit(0)


def _answer(facts: Facts, data: bytes) -> tuple[Facts, list[Blob]]:
    try:
        blobs: list[Blob] = []
        return {"image": packed(decode(data, name=facts["name"], max_pixels=facts["max_pixels"]), blobs)}, blobs
    except InputError as error:
        path = None if error.path is None else str(error.path)
        refused = {"message": error.message, "path": path, "hint": error.hint}
        return {"refused": refused, "trace": traceback.format_exc()}, []
    except Exception as error:  # noqa: BLE001 (a bug of ours is told as one, on the other side)
        return {"bug": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}, []


if __name__ == "__main__":
    main(int(sys.argv[1]))
