"""The device of these tests: a GPU where there is one. Without one they run on the CPU, in the same sizes.

Where a test compares the device with the CPU, without a GPU it compares two runs of the CPU: that keeps the test alive.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

# Small networks, published layouts, shards and programs that the tests of those parts use.
for _folder in ("engine", "model", "training", "cli"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))

CUDA = torch.cuda.is_available()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Prints a failure at once: on a machine that is lent for minutes, a run may be stopped before pytest's summary."""
    if report.failed:
        print(f"\n{report.nodeid}\n{report.longreprtext[-4000:]}", flush=True)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """cuda, or the CPU where there is none."""
    return torch.device("cuda" if CUDA else "cpu")


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """cuda; a test that has no meaning without one is skipped."""
    if not CUDA:
        pytest.skip("has no meaning, or a test of its own, where there is no GPU")
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def _fresh_memory():
    """Each test's peak is its own, and what a test leaves is not the next one's lack."""
    yield
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
