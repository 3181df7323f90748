"""Long documents: they take the memory of a few pages, and however a run ends, there is a whole output or none."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import tifffile
from killed_runs import leftovers, outputs
from test_faults_budgets import measured

__all__ = ["measured"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="measures and ends processes as POSIX systems do")

NUM_PAGES = 6
RUN = ("sr", "p", "-o", "out", "--weights", "counted", "--no-isolate", "--json")
MIB = 1 << 20


def document(path, shapes) -> None:
    path.parent.mkdir(exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for page, shape in enumerate(shapes):
            samples = np.full(shape, page, np.uint8)
            file.write(
                samples, photometric="minisblack", compression="zlib", compressionargs={"level": 1}, metadata=None
            )


def test_200_pages_take_the_memory_of_a_few(measured, tmp_path):
    """800 MB of samples are read, and as many are written."""
    document(tmp_path / "p" / "a.tif", [(2000, 2000)] * 200)
    result, peak = measured("reconstruct", "p", "-o", "out", "--weights", "nearest", "--jobs", "1")
    assert result.returncode == 0, result.stderr.decode()
    assert peak < 500 * MIB
    with tifffile.TiffFile(tmp_path / "out" / "a.tif") as file:
        assert len(file.pages) == 200
        for page in (0, 15, 16, 199):
            assert (file.pages[page].asarray() == page).all()


@pytest.fixture
def counted(tmp_path):
    """The file in which the program notes each page, and the environment in which each window holds one page."""
    document(tmp_path / "p" / "a.tif", [(12, 40 + page) for page in range(NUM_PAGES)])
    return tmp_path / "counted.txt", {"COUNTED": str(tmp_path / "counted.txt"), "WINDOW_PIXELS": "1"}


def until_page(process, path, page) -> None:
    """Waits until so many pages were noted."""
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < page:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("end", "device", "pages"),
    [
        (signal.SIGKILL, "cpu", (1, 2, 4, NUM_PAGES)),
        (signal.SIGTERM, "cpu", (3,)),
        (signal.SIGINT, "cpu", (1, 5)),
        (signal.SIGINT, "cuda", (3,)),
    ],
)
def test_ended_at_any_page(adacode, counted, tmp_path, end, device, pages):
    """`cuda` stands for a network that works in several threads."""
    noted, env = counted
    arguments = (*RUN, "--device", device)
    whole = adacode(*RUN, COUNTED=str(noted))
    assert whole.returncode == 0, whole.stderr.decode()
    expected = outputs(tmp_path / "out")
    assert list(expected) == ["a.tif"]
    for page in pages:
        (tmp_path / "out").rename(tmp_path / f"out-{page}")
        noted.unlink()
        with adacode.start(*arguments, env=env) as process:
            until_page(process, noted, page)
            process.send_signal(end)
            process.communicate(timeout=120)
        assert outputs(tmp_path / "out") in ({}, expected)
        if end != signal.SIGKILL and device == "cpu":
            assert list((tmp_path / "out").rglob("*.adacode-part")) == []
        again = adacode(*arguments, COUNTED=str(noted))
        assert again.returncode == 0, again.stderr.decode()
        assert outputs(tmp_path / "out") == expected
        assert leftovers(tmp_path / "out") == []
