"""Small files that claim much, large ones that are no images, streams without end: each fails alone and cheaply."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import bombs
import numpy as np
import pytest
from adacode_process import Program
from PIL import Image
from test_faults_codecs import CODECS
from test_faults_disk import names, said

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="measures processes as POSIX systems do")
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory of decoding processes is limited there only")

W = ("--weights", "nearest", "--jobs", "1")
MAX_BYTES = 700 << 20
"""Of any process of a run: the stand-in for the network holds 80 MB of it."""
ADDRESS_SPACE = 12 << 30
PNG = b"\x89PNG\r\n\x1a\n"


def limited() -> None:
    """So that a run which takes too much fails, and not the machine."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


# A process that a large one has started counts as large as that one, so a small one starts the program. It says how it
# ended and, on its last line, how much it took at most.
_STARTS = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@pytest.fixture
def measured(adacode):
    """(a finished run, the largest resident size of its processes in bytes): measured("sr", "p", …)."""

    starter = Program(adacode.directory, network=False)
    starter.command = [sys.executable, "-c", _STARTS, *adacode.command]

    def run(*arguments: str, stdin=subprocess.DEVNULL, **env: str):
        process = starter.start(*arguments, env=env, stdin=stdin, preexec_fn=limited, start_new_session=True)
        ended = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        ended.start()
        stdout, stderr = process.communicate()
        ended.cancel()
        peak = int(stdout.splitlines()[-1]) * (1 if sys.platform == "darwin" else 1024)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr), peak

    return run


def sparse(path, num_bytes: int, start: bytes = b"") -> None:
    path.write_bytes(start)
    os.truncate(path, num_bytes)


BOMBS = {
    "pages.tif": (lambda: bombs.many_pages(10_001), "a TIFF of 10,001 pages"),
    "deflate.tif": (
        lambda: bombs.tiff_strip(bombs.deflated_zeros(1 << 30), 8),
        "a deflated strip of 1 GB in an image of 16 pixels a side",
    ),
    "lzma.tif": (
        lambda: bombs.tiff_strip(bombs.xz_zeros(3 << 30), 34925),
        "an LZMA strip of 3 GB in an image of 16 pixels a side",
    ),
    "scans.jpg": (lambda: bombs.jpeg_scans(20_000, (200, 100)), "a JPEG of 20,000 scans"),
    "one.webp": (bombs.webp_of_bytes, "a WebP of 34 bytes and 268 megapixels, with --max-megapixels 20"),
    "frames.webp": (bombs.webp_animation, "a WebP animation of 268 megapixels, with --max-megapixels 20"),
}


def test_small_files_that_claim_much_fail_alone(measured, photo, tmp_path, table):
    photo("p/a.png")
    for name, (make, _) in BOMBS.items():
        (tmp_path / "p" / name).write_bytes(make())
        assert (tmp_path / "p" / name).stat().st_size < 1_500_000
    (tmp_path / "p" / "exif.tif").write_bytes(bombs.pages_sharing_metadata(400, 500_000))
    sparse(tmp_path / "p" / "zeros.png", 1_000_000_000)
    sparse(tmp_path / "p" / "sparse.tif", 40_000_000_000, b"II*\0")
    result, peak = measured("sr", "p", "-o", "out", *W, "--max-megapixels", "20")
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png", "exif.tif"}), result.stderr.decode()
    assert peak < MAX_BYTES
    assert b"bug" not in result.stderr
    # The images are kept, and of what their pages share as much as a file may bring.
    assert b"metadata of further pages" in result.stderr
    assert (tmp_path / "out" / "exif.tif").stat().st_size < 80_000_000
    rows = {name: fault for name, (_, fault) in BOMBS.items()}
    rows |= {"zeros.png": "a gigabyte of zeros", "sparse.tif": "a sparse TIFF of 40 GB"}
    for name, fault in rows.items():
        table.row(fault, 9, said(result, f"failed: p/{name}"), "is done")
    assert "--max-file-size" in said(result, "failed: p/sparse.tif")
    assert result.stderr.count(b"--max-megapixels") == 1  # The same advice is given once.


def test_hundreds_of_pages_are_no_copies_of_the_file(measured, tmp_path):
    """Two for each page would be 100 GB."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.tif").write_bytes(bombs.many_pages(500) + bytes(100_000_000))
    result, peak = measured("sr", "p", "-o", "out", *W, "--decode-timeout", "20")
    assert result.returncode == 0, result.stderr.decode()
    assert peak < MAX_BYTES


def test_a_mask_has_the_same_limits(measured, photo, tmp_path, table):
    for name in ("a", "b", "c"):
        photo(f"p/{name}.png")
    (tmp_path / "m").mkdir()
    Image.fromarray(np.eye(16, 24, dtype=np.uint8) * 255).save(tmp_path / "m" / "a.png")
    (tmp_path / "m" / "b.webp").write_bytes(bombs.webp_of_bytes())
    sparse(tmp_path / "m" / "c.png", 3_000_000_000, PNG)
    result, peak = measured("inpaint", "p", "--mask-dir", "m", "-o", "out", *W, "--max-megapixels", "20")
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png"}), result.stderr.decode()
    assert peak < MAX_BYTES
    assert "more than 20 megapixels" in said(result, "failed: p/b.png")
    table.row("a mask of 3 GB", 9, said(result, "failed: p/c.png"), "is done")


def test_codes_are_looked_at_before_anything_is_unpacked(measured, tmp_path, table):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "much.adacode").write_bytes(bombs.codes_with_alpha())
    (tmp_path / "c" / "lies.adacode").write_bytes(bombs.codes_that_lie())
    sparse(tmp_path / "c" / "zeros.adacode", 1_000_000_000)
    run = ("reconstruct", "--from-codes", "c", "-o", "out", *W)
    result, peak = measured(*run, "--max-megapixels", "20")
    assert (result.returncode, peak < MAX_BYTES) == (9, True)
    fault = "a file of codes of 136 kB and 196 megapixels, with --max-megapixels 20"
    table.row(fault, 9, said(result, "failed: c/much.adacode"), "is done")
    assert "holds no codes" in said(result, "failed: c/zeros.adacode")
    (tmp_path / "c" / "much.adacode").unlink()
    result, peak = measured(*run)
    assert (result.returncode, peak < MAX_BYTES) == (9, True)
    table.row("a file of codes that claims more than its bytes hold", 9, said(result, "failed: c/lies"), "is done")


@linux
def test_a_library_that_takes_more_memory_than_the_image_needs(measured, photo, tmp_path, table):
    photo("p/a.png")
    photo("p/c.png")
    (tmp_path / "p" / "b.heic").write_bytes(b"\0\0\0\x0cftypheicgrow")
    result, peak = measured("sr", "p", "-o", "out", *W, PYTHONPATH=os.pathsep.join([CODECS, *sys.path]))
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png", "c.png"}), result.stderr.decode()
    assert peak < (800 << 20) + (16 << 20) * (os.cpu_count() or 1)
    table.row("a codec takes all the memory it can get", 9, said(result, "failed: p/b.heic"), "is done")


def test_a_run_that_lacks_memory_for_one_image_restores_the_others(measured, photo, tmp_path, table):
    photo("p/a.png")
    photo("p/b.png", (33, 16))
    photo("p/c.png")
    result, _ = measured("sr", "p", "-o", "out", "--jobs", "1", "--weights", "hungry")
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png", "c.png"})
    table.row("memory does not suffice for an image", 9, said(result, "failed: p/b.png"), "is done")


@pytest.mark.parametrize(
    ("start", "command", "fault"),
    [
        (PNG, ("sr", "-", "--max-file-size", "30"), "a PNG without end on a pipe, with --max-file-size 30"),
        (b"", ("sr", "--from-file", "-", "-o", "out"), "a list of paths without end"),
    ],
    ids=["png", "list"],
)
def test_streams_without_end(measured, table, start, command, fault):
    reading, writing = os.pipe()

    def pour() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            try:
                pipe.write(start)
                while True:
                    pipe.write(b"x" * (1 << 20))
            except BrokenPipeError:
                pass

    source = threading.Thread(target=pour)
    source.start()
    more = () if "-o" in command else ("-o", "out.png")
    result, peak = measured(*command, *more, *W, stdin=reading)
    os.close(reading)
    source.join()
    assert result.returncode == 3
    assert peak < MAX_BYTES
    table.row(fault, 3, said(result, "error: "), "nothing is done")


def test_a_hanging_decoder_ends_on_a_pipe_too(adacode):
    env = {"PYTHONPATH": os.pathsep.join([CODECS, *sys.path])}
    data = b"\0\0\0\x0cftypheichang"
    result = adacode("sr", "-", "-o", "out.png", *W, "--decode-timeout", "1", stdin=data, **env)
    assert result.returncode == 3
    assert "did not finish within 1 seconds" in said(result, "error: ")
