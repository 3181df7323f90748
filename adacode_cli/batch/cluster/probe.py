"""Whether a Ray cluster takes this machine as a driver, tried in a process of its own.

Ray tries for a long time to reach what does not answer as a cluster does, and prints a line for each attempt. Neither
is for the terminal of a run.
"""

from __future__ import annotations

import subprocess
import sys

from adacode_cli.batch.cluster.local_cluster import environment

_LIMIT_S = 30.0
_PASSWORD = "it asks for another password (RAY_AUTH_MODE, RAY_AUTH_TOKEN)"
_MOST_CHARACTERS = 300


def problem_with(address: str) -> str:
    """Why the cluster at an address cannot be used, in words; "" if it can."""
    command = [sys.executable, "-m", __name__, address]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
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
    said = done.stdout.splitlines()[-1:] or ["error no answer came"]
    return "" if said == ["usable"] else said[0].removeprefix("error ")


def _try(address: str) -> None:
    try:
        import ray

        ray.init(address=address, log_to_driver=False, configure_logging=False)
        print("usable", flush=True)
    except Exception as error:  # noqa: BLE001 (the run reports it)
        print("error", _in_words(error), flush=True)


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
