"""A codec that does to its process what its file says: `crash`, `hang`, `leave`, or `grow`, which takes memory.

It stands on the module search path before the real package and is found by whatever process decodes a HEIC file.
"""

import os
import signal
import sys
import time


def open_heif(file, **options):
    word = file.read()[12:].decode()
    print(f"decoding in {os.getpid()}", file=sys.stderr, flush=True)
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "leave":
        os._exit(3)
    taken = []
    while word == "grow" and len(taken) < 64:
        taken.append(bytes(64 << 20))
    while word == "hang":
        time.sleep(1)
    raise ValueError(f"a codec that cannot {word}")
