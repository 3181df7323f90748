"""A Ray cluster of several machines, all of them this one. Run as a process by the tests, with commands on its input:

    gain NAME=VALUE …   another machine with two CPUs, with these variables; "gained" is the answer
    lose                the machine that was gained last is gone at once, with all its processes; "lost" is the answer

Its first line is the address. The first machine has no CPUs for workers. It ends when its standard input is closed.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Holds the cluster."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    print(cluster.address, flush=True)
    gained = []
    for line in sys.stdin:
        command, *settings = line.split()
        if command == "gain":
            variables = dict(one.split("=", 1) for one in settings)
            os.environ.update(variables)
            gained.append(cluster.add_node(num_cpus=2))
            for name in variables:
                del os.environ[name]
            print("gained", flush=True)
        else:
            cluster.remove_node(gained.pop(), allow_graceful=False)
            print("lost", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
