"""The alternatives that are measured on a GPU are written so that they run, and what is missing is said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu_choices.py"


def test_a_rehearsal_has_a_ratio_or_a_reason_for_each_alternative():
    groups = ("normalisation", "settings", "trunk", "lanes")
    words = ["--device", "cpu", "--tiny", "--precision", "fp32", "--repeats", "1"]
    command = [sys.executable, str(PROGRAM), *words, *(word for name in groups for word in ("--only", name))]
    env = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines()[1:] if line.startswith("  ")]
    measured = [line for line in lines if re.search(r"[1-9].* ms  ratio +[0-9.]+", line)]
    missing = [line for line in lines if "unavailable: " in line]
    assert len(measured) + len(missing) == len(lines)
    assert sum("as it is" in line for line in measured) == 7
    assert sum("threads" in line for line in measured) == 5
    assert {line.split("unavailable")[0].strip() for line in missing} >= {"as a CUDA graph", "by jiterator"}
