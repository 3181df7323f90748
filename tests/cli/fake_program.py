"""The whole program `adacode`, with a small real restorer in the place of the network.

Run as a process by the tests. What `--weights` names decides how the restorer behaves: `nearest` enlarges, `slow`
takes its time, `unknown` and `other-task` cannot be loaded; at images 33 pixels wide `wait` blocks until it is
interrupted, `deaf` for ever, and `no-device` and `bug` fail.
"""

from __future__ import annotations

import hashlib
import sys
import time
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

    def prepare(self, task, scale=4):
        if self.name == "other-task":
            from adacode_cli.errors import WeightsError

            raise WeightsError(f"other-task is not for {task}", hint="`adacode weights list` shows what there is.")
        return hashlib.sha256(self.name.encode()).hexdigest()

    def restore(self, task, image, **options):
        from nearest import NearestRestorer

        from adacode_cli.errors import DeviceError

        if image.shape[1] == 33:
            if self.name == "wait":
                print("waiting", file=sys.stderr, flush=True)
                while True:
                    time.sleep(0.05)
            if self.name == "deaf":
                wait_for_ever()
            if self.name == "no-device":
                raise DeviceError("the device is gone", hint="Use --device cpu.")
            if self.name == "bug":
                raise ZeroDivisionError("a bug in the network")
        if self.name == "slow":
            time.sleep(0.3)
        return NearestRestorer().restore(task, image, **options)


def wait_for_ever() -> None:
    """Pays no attention to being interrupted."""
    while True:
        try:
            print("waiting", file=sys.stderr, flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            continue


def main() -> None:
    engine = ModuleType("adacode_cli.engine.restorer")
    engine.Restorer = Restorer
    sys.modules["adacode_cli.engine.restorer"] = engine
    from adacode_cli.cli.main import main as program

    program()


if __name__ == "__main__":
    main()
