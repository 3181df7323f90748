"""The whole program `adacode`, with a small real restorer in the place of the network.

Run as a process by the tests. What `--weights` names decides how the restorer behaves: `nearest` enlarges, `far` would
have to be downloaded, `slow` takes its time, `tiles` does so and tells of ten tiles, `warns` warns as a library does,
`unknown` and `other-task` cannot be loaded, `swallows` makes a ValueError of an interruption while it is loaded,
`counted` notes each image in the file that COUNTED names; at images 33 pixels wide `wait` blocks until it is
interrupted, `deaf` for ever, `stuck` where no signal is heard, `no-device`, `bug` and `hungry` (for memory) fail,
`black` makes black images, `overflows` does except in fp32, `large` finds no memory for any image, `dies` kills its
process, `dies-once` only if the file that DIED names is not there yet, as do `changes`, which has another digest from
then on, and `no-return`, which cannot be loaded from then on (both then block until they are interrupted); `signalled`
once gets the signal SIGNAL; `vanish` removes what VANISH names, and `pause` waits until the file PAUSE is there.
WINDOW_PIXELS replaces the limit of that name in this process. `slow-start` takes its time to be loaded, and `broken`
cannot be, by a bug. The journal takes SLOW_JOURNAL seconds for each line, and
a lease is renewed every BEAT_S seconds. In the processes of a run, a directory takes
SLOW_SYNC seconds to be on the disk, and a file SLOW_WRITE seconds; one of them is killed while it writes an output if
the file that DIES_WRITING names is not there yet.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parent.parent / "batch"))


class Restorer:
    def __init__(self, name: str, options: dict) -> None:
        self.name, self.options = name, options

    @classmethod
    def from_pretrained(cls, name, **options):
        from adacode_cli.errors import WeightsError

        if name == "unknown":
            raise WeightsError("no weights are called 'unknown'", hint="`adacode weights list` shows every name.")
        return cls(name, options)

    @property
    def lanes(self):
        """As on a GPU, where one is asked for."""
        return 2 if self.options["device"] == "cuda" else 1

    @property
    def device(self):
        return "cpu"

    def needs_download(self, task, scale=4):
        return self.name == "far" or (self.name == "far-x2" and scale == 2)

    def prepare(self, task, scale=4, denoise=1.0):
        if self.name == "other-task":
            from adacode_cli.errors import WeightsError

            raise WeightsError(
                f"other-task is not for {task}", hint="`adacode weights list` shows the available weights."
            )
        if self.name == "broken":
            raise ZeroDivisionError("a bug while loading")
        if self.name == "slow-start":
            print("waiting", file=sys.stderr, flush=True)
            time.sleep(5)
        if self.name == "no-return" and has_died():
            os._exit(3)
        if self.name == "swallows":
            swallow_an_interruption()
        # `other` has other weights than the rest, which differ in behaviour only.
        return "b" * 64 if self.name == "other" or (self.name == "changes" and has_died()) else "a" * 64

    def factors(self, task):
        return (2,) if self.name == "twice" else (4, 2)

    def require_room(self, task, height, width, *, deep, scale=4, denoise=1.0):
        if self.name == "cramped" and height * width > 20_000:
            from adacode_cli.errors import DeviceError

            raise DeviceError("it needs too much memory", hint="Cut the image.", only_this_image=True)

    def prior(self):
        """None: there are no codes here that could be packed with one."""

    def restore(self, task, image, **options):
        import numpy as np
        from nearest import NearestRestorer

        from adacode_cli.errors import DeviceError

        if self.name == "large":
            raise DeviceError("there is no memory", hint="Use a smaller image.", only_this_image=True)
        if image.shape[1] == 33:
            if self.name == "wait":
                print("waiting", file=sys.stderr, flush=True)
                while True:
                    time.sleep(0.05)
            if self.name == "deaf":
                wait_for_ever()
            if self.name == "no-device":
                raise DeviceError("the device is gone", hint="Use --device cpu.")
            if self.name == "hungry":
                np.empty(1 << 50)
            if self.name == "bug":
                raise ZeroDivisionError("a bug in the network")
            if self.name == "black" or (self.name == "overflows" and self.options["precision"] != "fp32"):
                return NearestRestorer().restore(task, image * 0, **options)
            if self.name == "stuck":
                stuck_in_a_library()
            if self.name == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.name in ("dies-once", "changes", "no-return", "signalled") and not has_died():
                Path(os.environ["DIED"]).touch()
                os.kill(os.getpid(), signal.Signals[os.environ.get("SIGNAL", "SIGKILL")])
            if self.name == "vanish":
                vanish(Path(os.environ["VANISH"]))
            if self.name == "pause":
                pause(Path(os.environ["PAUSE"]))
        while self.name in ("changes", "no-return") and has_died():
            time.sleep(0.05)
        if self.name == "counted":
            note(image)
        if self.name == "slow":
            time.sleep(0.3)
        if self.name == "tiles":
            from adacode_cli.engine.progress import Meter

            meter = Meter(10)
            for _ in range(10):
                time.sleep(0.35)
                meter.add(1)
        if self.name == "warns":
            warnings.warn("a library's warning", stacklevel=1)
            logging.getLogger("library").warning("a library's log")
        return NearestRestorer().restore(task, image, **options)


def has_died() -> bool:
    """Whether a process has done what only one of them does."""
    return Path(os.environ["DIED"]).exists()


def wait_for_ever() -> None:
    """Pays no attention to being interrupted."""
    while True:
        try:
            print("waiting", file=sys.stderr, flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            continue


def swallow_an_interruption() -> None:
    """As the library that reads weights does: its own error comes in the place of the KeyboardInterrupt."""
    with suppress(KeyboardInterrupt):
        os.write(2, b"waiting\n")
        time.sleep(600)
    raise ValueError("could not determine the shape of an object")


def stuck_in_a_library() -> None:
    """A call that takes long and in which the interpreter hears no signal, as a network's may be."""
    import hashlib

    print("waiting", file=sys.stderr, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)


def vanish(path: Path) -> None:
    """Removes a file, or a directory as soon as its journal says that two images are done."""
    if path.is_dir():
        while (path / ".adacode" / "journal.jsonl").read_bytes().count(b"\n") < 2:
            time.sleep(0.01)
        gone = path.rename(path.with_name("gone"))  # at once, whatever is written into it meanwhile
        shutil.rmtree(gone, ignore_errors=True)
    else:
        path.unlink()


def pause(path: Path) -> None:
    """Says so and waits for a file."""
    print("waiting", file=sys.stderr, flush=True)
    while not path.exists():
        time.sleep(0.01)


def note(image) -> None:
    """The image's width identifies it; the line is whole or not there, whenever the process is killed."""
    with open(os.environ["COUNTED"], "ab", buffering=0) as file:  # noqa: PTH123
        file.write(f"{image.shape[1]}\n".encode())
    time.sleep(0.01)


def install() -> None:
    """Puts the restorer in the place of the network, in this process."""
    engine = ModuleType("adacode_cli.engine.restorer")
    engine.Restorer = Restorer
    sys.modules["adacode_cli.engine.restorer"] = engine


def slow_journal(seconds: float) -> None:
    """Another process holds the lock of the journal so long before each line of this one."""
    from adacode_cli.batch import journal

    wait_for_lock = journal._wait_for_lock

    def slow(file, path):
        time.sleep(seconds)
        wait_for_lock(file, path)

    journal._wait_for_lock = slow


def install_in_a_process_of_a_run() -> None:
    """The restorer, and faults while an output is written."""
    install()
    from adacode_cli import atomic

    sync = atomic.sync

    def slow(number):
        time.sleep(float(os.environ["SLOW_WRITE"]))
        sync(number)

    def dying(number):
        sync(number)
        if (marker := Path(os.environ["DIES_WRITING"])) and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    if "DIES_WRITING" in os.environ:
        atomic.sync = dying
    if "SLOW_WRITE" in os.environ:
        atomic.sync = slow
    if "SLOW_SYNC" in os.environ:
        atomic.sync_directory = lambda _path: time.sleep(float(os.environ["SLOW_SYNC"]))


def main() -> None:
    if "WINDOW_PIXELS" in os.environ:
        from adacode_cli import limits

        limits.WINDOW_PIXELS = int(os.environ["WINDOW_PIXELS"])
    if "BEAT_S" in os.environ:
        from adacode_cli.batch import lease

        lease.BEAT_S = float(os.environ["BEAT_S"])
    if "SLOW_JOURNAL" in os.environ:
        slow_journal(float(os.environ["SLOW_JOURNAL"]))
    install()
    from adacode_cli.cli import readiness

    readiness.check_network = lambda options, _request: Restorer.from_pretrained(options.weights)
    from adacode_cli.cli.main import main as program

    program()


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":  # a process that a run has started
    install_in_a_process_of_a_run()
