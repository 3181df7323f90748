"""An image is the same whichever process decoded it, and so is an error; nothing of either is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from image_fixtures import noise, saved, smooth, srgb_profile

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.decoder_pool import DecoderPool, DecodingBug, decoding
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.resolution import Resolution

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files are not decoded in processes of their own there")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.fixture(scope="module")
def pool():
    with decoding(isolated=True) as decoder:
        yield decoder


def assert_same(one: Decoded, other: Decoded) -> None:
    for field in fields(Decoded):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.flags.c_contiguous, a.flags.writeable) == (b.dtype, b.shape, True, True)
            np.testing.assert_array_equal(a, b)
        elif field.name == "more_pages":
            assert len(a) == len(b)
            for pair in zip(a, b, strict=True):
                assert_same(*pair)
        else:
            assert a == b, field.name
            assert type(a) is type(b), field.name


def full(dtype, *, grey=False, pages=()) -> Decoded:
    """An image with all that may be in one."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x010E] = "by the sea"
    return Decoded(
        noise((33, 47) if grey else (33, 47, 3), dtype),
        noise((33, 47), dtype, seed=1),
        icc=srgb_profile(),
        exif=exif.tobytes().removeprefix(b"Exif\0\0"),
        xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
        resolution=Resolution(Fraction(300), Fraction(1000, 3)),
        more_pages=pages,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("format", formats.names())
def test_an_image_is_the_same(pool, format, grey, dtype):
    if format == "heic":
        pytest.importorskip("pillow_heif")
    data = encode(full(dtype, grey=grey), format=format)
    assert_same(decode(data, name="x"), pool(data, name="x"))


def test_pages_are_the_same(pool):
    data = encode(full(np.uint16, pages=(Decoded(noise((5, 7), np.uint8), page=1),)), format="tiff")
    assert len(decode(data, name="x").pages) == 2
    assert_same(decode(data, name="x"), pool(data, name="x"))


@pytest.mark.parametrize("data", [b"", b"a text", b"GIF89a", saved(smooth(9, 9), "JPEG")[:300], b"\x89ADC\r\n\x1a\n"])
def test_an_error_is_the_same(pool, data):
    found = []
    for decoder in (decode, pool):
        with pytest.raises(InputError) as raised:
            decoder(data, name="a\udcff.png")
        found.append((raised.value.message, raised.value.path, raised.value.hint))
    assert found[0] == found[1]
    assert "in the decoding process" in str(raised.value.__cause__)


def test_a_limit_of_pixels_holds_there_too(pool):
    with pytest.raises(InputError, match="more than"):
        pool(saved(smooth(9, 9), "PNG"), name="x", max_pixels=80)


def test_a_bug_stays_a_bug(pool):
    with pytest.raises(DecodingBug, match="TypeError"):
        pool(saved(smooth(9, 9), "PNG"), name="x", max_pixels="many")


def test_many_threads_get_their_own_images(pool):
    files = [saved(noise((40 + index, 30, 3), np.uint8, index), "PNG") for index in range(24)]
    with ThreadPoolExecutor(4) as threads:
        for data, image in zip(files, threads.map(lambda data: pool(data, name="x"), files), strict=True):
            np.testing.assert_array_equal(image.pixels, decode(data, name="x").pixels)


def children() -> set[int]:
    """Processes that this one started and that still are there."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def mapped() -> int:
    return Path("/proc/self/maps").read_text().count("adacode-picture")


@linux
def test_memory_and_descriptors_are_given_back(pool):
    data = saved(smooth(50, 50), "PNG")
    pool(data, name="x")
    gc.collect()
    before = (mapped(), len(os.listdir("/proc/self/fd")))  # noqa: PTH208 (a count)
    held = [pool(data, name="x") for _ in range(20)]
    assert mapped() == before[0] + 20
    del held
    gc.collect()
    assert (mapped(), len(os.listdir("/proc/self/fd"))) == before  # noqa: PTH208 (a count)


@linux
def test_processes_start_when_they_are_needed_and_end_with_the_pool():
    before = children()
    with decoding(isolated=True) as decoder:
        assert children() == before
        decoder(saved(smooth(9, 9), "PNG"), name="x")
        (started,) = children() - before
        maps = Path(f"/proc/{started}/maps").read_text()
        assert "cv2" in maps
        assert "libtorch" not in maps
    assert children() == before


@linux
@pytest.mark.parametrize("wait_s", [0, 0.001, 0.003, 0.01, 0.1])  # dying takes a moment
def test_one_that_died_while_idle_is_replaced(wait_s):
    pool, before, data = DecoderPool(), children(), saved(smooth(9, 9), "PNG")
    pool(data, name="x")
    (idle,) = children() - before
    os.kill(idle, signal.SIGKILL)
    time.sleep(wait_s)
    assert_same(pool(data, name="x"), decode(data, name="x"))
    pool.close()
    assert children() == before


@pytest.mark.parametrize("used", [False, True])
def test_a_closed_pool_reads_nothing(used):
    pool, data = DecoderPool(), saved(smooth(9, 9), "PNG")
    if used:
        pool(data, name="x")
    pool.close()
    with pytest.raises(InputError, match="the run is ending"):
        pool(data, name="x")


def test_a_pool_that_is_closed_beside_its_readers_raises_nothing_else():
    pool, data, has_read = DecoderPool(), saved(smooth(99, 99), "PNG"), threading.Event()

    def read_until_it_is_closed(_: int) -> str:
        while True:
            try:
                pool(data, name="x")
                has_read.set()
            except InputError as error:
                return error.message

    with ThreadPoolExecutor(4) as threads:
        found = threads.map(read_until_it_is_closed, range(4))
        assert has_read.wait(60)
        pool.close()
        assert list(found) == ["was not read because the run is ending"] * 4


def test_without_files_in_memory_there_are_temporary_ones(tmp_path):
    """As where Python was built for an old C library; in the decoding process too, as it takes what it imports here."""
    (tmp_path / "sitecustomize.py").write_text("import os\nif hasattr(os, 'memfd_create'):\n    del os.memfd_create\n")
    code = (
        "import os, sys; from pathlib import Path; from adacode_cli.imaging.decoder_pool import decoding\n"
        "with decoding(isolated=True) as decoder:\n"
        "    print(hasattr(os, 'memfd_create'), decoder(Path(sys.argv[1]).read_bytes(), name='x').pixels.shape)"
    )
    (tmp_path / "x.png").write_bytes(saved(smooth(9, 7), "PNG"))
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", code, str(tmp_path / "x.png")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"False {smooth(9, 7).shape}\n"


@linux
@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_FSIZE"])
def test_a_run_without_room_for_messages_decodes_by_itself(tmp_path, limit):
    """It does not wait for what the system has thrown away, nor is the file to blame for the system's limits."""
    code = (
        "import os, resource, sys; from pathlib import Path; from adacode_cli.imaging.decoder_pool import DecoderPool\n"
        "data, limit, spare = Path(sys.argv[1]).read_bytes(), getattr(resource, sys.argv[2]), []\n"
        "if sys.argv[2] == 'RLIMIT_FSIZE': resource.setrlimit(limit, (2000, 2000))\n"
        "pool = DecoderPool(); first = pool(data, name='x')\n"
        "if sys.argv[2] == 'RLIMIT_NOFILE':\n"
        "    resource.setrlimit(limit, (64, 64))\n"
        "    try:\n"
        "        while True: spare.append(os.open('/dev/null', os.O_RDONLY))\n"
        "    except OSError: pass\n"
        "for _ in range(6):\n"
        "    assert (pool(data, name='x').pixels == first.pixels).all()\n"
        "    if spare: os.close(spare.pop())\n"
        "print(first.pixels.shape); pool.close()"
    )
    (tmp_path / "x.png").write_bytes(saved(smooth(90, 70), "PNG"))
    command = [sys.executable, "-c", code, str(tmp_path / "x.png"), limit]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (f"{smooth(90, 70).shape}\n", "")
