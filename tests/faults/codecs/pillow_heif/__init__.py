"""A codec that does to its process what its file says: `crash`, `hang`, `leave`, or `grow`, which takes memory.

`spoil` damages the process without a visible fault; a `victim` crashes in a process that has been damaged.

It stands on the module search path before the real package and is found by whatever process decodes a HEIC file.
"""

import os
import signal
import sys
import time

_spoilt = []


def open_heif(file, **options):
    word = file.read()[12:].decode()
    print(f"decoding in {os.getpid()}", file=sys.stderr, flush=True)
    if word == "spoil":
        _spoilt.append(True)
    if word == "crash" or (word == "victim" and _spoilt):
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "leave":
        os._exit(3)
    taken = []
    while word == "grow" and len(taken) < 64:
        taken.append(bytes(64 << 20))
    while word == "hang":
        time.sleep(1)
    raise ValueError(f"a codec that cannot {word}")
