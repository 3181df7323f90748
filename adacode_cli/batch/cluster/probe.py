"""Whether a Ray cluster takes this machine as a driver, tried in a process of its own.

Ray tries for a long time to reach what does not answer as a cluster does, and prints a line for each attempt. Neither
is for the terminal of a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from adacode_cli.batch.cluster.local_cluster import environment

if TYPE_CHECKING:
    from ray.job_config import JobConfig

_LIMIT_S = 30.0
_PASSWORD = "it asks for another password (RAY_AUTH_MODE, RAY_AUTH_TOKEN)"
_MOST_CHARACTERS = 300


def problem_with(address: str) -> str:
    """Why the cluster at an address cannot be used, in words; "" if it can."""
    command = [sys.executable, "-m", __name__, address]
    theirs, ours = os.pipe()  # It ends when this pipe is closed, as it is when this process has ended in any way.
    try:
        done = subprocess.run(
            command,
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
            start_new_session=True,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        return f"it has not answered within {_LIMIT_S:g} s"
    except OSError as error:
        return f"no process can be started to try it ({error})"
    finally:
        os.close(theirs)
        os.close(ours)
    said = done.stdout.splitlines()[-1:] or ["error no answer came"]
    return "" if said == ["usable"] else said[0].removeprefix("error ")


def job_config() -> JobConfig:
    """As if another program had sent the job: then the working directory, which may be a folder of somebody else's
    photographs, is not where workers look for Python modules.
    """
    from ray.job_config import JobConfig

    return JobConfig(_client_job=True)


def _end_with_the_run() -> None:
    """Ends this process when its standard input is closed, or after a while if nothing else does."""
    until = threading.Timer(2 * _LIMIT_S, os._exit, (1,))
    until.daemon = True
    until.start()
    while os.read(sys.stdin.fileno(), 1):  # Not through `sys.stdin`, whose lock would disturb the end of the process.
        pass
    os._exit(1)


def _try(address: str) -> None:
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    try:
        import ray

        ray.init(address=address, log_to_driver=False, configure_logging=False, job_config=job_config())
        print("usable", flush=True)
        ray.shutdown()
    except Exception as error:  # noqa: BLE001 (the run reports it)
        print("error", _in_words(error), flush=True)
    os._exit(0)  # The run waits for the end, and Ray would wait at it for messages that nobody reads.


def _in_words(error: BaseException) -> str:
    """The reason in an error of Ray or in one of its causes."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    if any("AuthToken" in str(one) or "AuthenticationError" in type(one).__name__ for one in chain):
        return _PASSWORD
    return " ".join(str(error).split())[:_MOST_CHARACTERS] or type(error).__name__


if __name__ == "__main__":
    _try(sys.argv[1])
