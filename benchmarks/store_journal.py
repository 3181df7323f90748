"""The cost of reading the journal of a tree in a store: time and memory, for a million lines.

    python benchmarks/store_journal.py [--lines N]

The store is a fake one that makes the objects of a journal as they are read, without a network; the time to make them
is measured alone and printed too. Each object has as many lines as fit into four megabytes.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys

MEASURED = """
import hashlib, json, resource, sys, time
from adacode_cli.batch.remote_journal import RemoteJournal
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import path_of

LINES, IN_ONE = int(sys.argv[1]), 4500
RESULT = {"options_sha256": "a" * 64, "weights_sha256": "b" * 64, "outcome": "done", "seconds": 1.234,
          "peak_memory_bytes": 987654321, "besides": [], "precisions": ["fp32"], "fate": "restored", "notes": [],
          "error": None, "mask_sha256": None}
HEAD = {"version": 2, "time": "2026-11-30T12:00:00.000+00:00", "tool": "0.1.0", "input": "s3://museum/scans"}

def line(number):
    place, digest = f"{number // 1000:04}/scan-{number:07}.jpg", hashlib.sha256(b"%d" % number).hexdigest()
    of_file = {"source": place, "path": f"s3://museum/scans/{place}", "source_bytes": number, "source_sha256": digest,
               "target": place, "bytes": 16 * number, "sha256": digest[::-1], "source_stamp": digest[:16],
               "output_stamp": digest[16:32]}
    return json.dumps(HEAD | of_file | RESULT, separators=(",", ":")).encode() + b"\\n"

def content(number):
    return b"".join(line(one) for one in range(IN_ONE * number, min(LINES, IN_ONE * (number + 1))))

def read(path, start=0, end=None, kind=None):
    return content(int(path.name.split("-")[1].split(".")[0]))[start:end]

count = -(-LINES // IN_ONE)
listing.entries = lambda _path, _kind=None: iter([(f"000001-{number:06}.jsonl", 1) for number in range(count)])
objects.read = read
cpu = time.process_time()
num_bytes = sum(len(content(number)) for number in range(count))
faking_s, cpu = time.process_time() - cpu, time.process_time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
journal = RemoteJournal(path_of("s3://museum/large"))
journal.begin()
cpu_s = time.process_time() - cpu
last = journal.done(f"{(LINES - 1) // 1000:04}/scan-{LINES - 1:07}.jpg")
assert last is not None and last.source.num_bytes == LINES - 1
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([num_bytes, faking_s, cpu_s, before, peak]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    given = parser.parse_args()
    command = [sys.executable, "-c", MEASURED, str(given.lines)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    num_bytes, faking_s, cpu_s, before, peak = json.loads(answer)
    print("| lines | journal | time of the CPU | of it, to fake the objects | memory before | peak |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    sizes = f"{before / 1e6:.0f} MB | {peak / 1e6:.0f} MB"
    print(f"| {given.lines:,} | {num_bytes / 1e6:.0f} MB | {cpu_s:.1f} s | about {faking_s:.1f} s | {sizes} |")
    print(f"\n{platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
