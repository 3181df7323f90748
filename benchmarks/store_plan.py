"""The cost of planning a run over a bucket with a million keys: time and memory of the driver before its first file.

    python benchmarks/store_plan.py [--keys N] [--done]

The store is a fake one that makes pages of a thousand keys, as a client library returns them, without a network; the
time to make them is measured alone and printed too. With `--done`, half of the outputs exist.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys

MEASURED = '''
import json, resource, sys, time
from datetime import UTC, datetime
from adacode_cli.batch.found import Selection
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.trees import Trees
from adacode_cli.storage import listing
from adacode_cli.storage.path import path_of

KEYS, DONE = int(sys.argv[1]), sys.argv[2] == "done"
TIME = datetime.now(UTC)

class Store:
    """Lists scans/NNNN/scan-NNNNNNN.jpg; below large/, every second of them if DONE."""

    def call_s3(self, _method, Prefix, ContinuationToken="0", **_):
        first = int(ContinuationToken)
        step = 2 if Prefix.startswith("large") else 1
        count = KEYS if Prefix.startswith("scans") else KEYS // 2 if DONE and Prefix == "large/" else 0
        contents = [
            {"Key": f"{Prefix}{number * step // 1000:04}/scan-{number * step:07}.jpg", "Size": 5_000_000 + number,
             "ETag": f'"{number:032x}"', "LastModified": TIME, "StorageClass": "STANDARD"}
            for number in range(first, min(first + 1000, count))
        ]
        more = first + 1000 < count
        return {"Contents": contents, "IsTruncated": more, "NextContinuationToken": str(first + 1000)}

store = Store()
listing.file_system = lambda _path: (store, "")
source, target = path_of("s3://museum/scans"), path_of("s3://museum/large")
source.is_known_folder = True
began = time.perf_counter()
for first in range(0, KEYS, 1000):
    store.call_s3("", Prefix="scans/", ContinuationToken=str(first))
faking_s = time.perf_counter() - began
cpu = time.process_time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
began = time.perf_counter()
trees = Trees(resume=True, replace=False)
on_existing = OnExisting.SKIP if DONE else OnExisting.REFUSE
plan = make_plan([source], Naming("sr-x4", target), Selection(), on_existing,
                 may_go_on=trees.may_go_on, outputs=trees.outputs)
trees.begin(plan.roots)
trees.with_weights("", plan.jobs)
seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([len(plan.jobs), len(plan.to_skip), faking_s, seconds, cpu_s, before, peak]))
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--done", action="store_true")
    given = parser.parse_args()
    command = [sys.executable, "-c", MEASURED, str(given.keys), "done" if given.done else "new"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    jobs, skipped, faking_s, seconds, cpu_s, before, peak = json.loads(answer)
    print("| jobs | outputs that exist | to plan | time of the CPU | of it, to fake the lists | memory before | peak |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    times = f"{seconds:.1f} s | {cpu_s:.1f} s | about {faking_s:.1f} s"
    print(f"| {jobs:,} | {skipped:,} | {times} | {before / 1e6:.0f} MB | {peak / 1e6:.0f} MB |")
    print(f"\n{platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
