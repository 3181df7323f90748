"""Limits on what one file may cost, at the decoder: what is refused, and what merely looks like it."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from image_fixtures import noise, saved, smooth
from tiff_files import tiff

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

import bombs

from adacode_cli import limits
from adacode_cli.errors import InputError
from adacode_cli.imaging import memory_limit
from adacode_cli.imaging.decode import check_kind, decode
from adacode_cli.imaging.decoder_pool import decoding
from adacode_cli.imaging.files import file_bytes, stream_bytes

not_windows = pytest.mark.skipif(
    sys.platform == "win32", reason="files are not decoded in processes of their own there"
)


def test_scans_within_a_profile_do_not_count():
    profile = b"\0\0\xff\xda" * 200
    data = saved(smooth(16, 16), "JPEG", icc_profile=profile)
    assert data.count(b"\xff\xda") > limits.MAX_SCANS
    assert decode(data, name="x").icc == profile


def test_scans_of_an_image_behind_the_first_do_not_count():
    data = saved(smooth(16, 16), "JPEG")
    assert decode(data + data * limits.MAX_SCANS, name="x").size == (16, 16)


@pytest.mark.parametrize("num_scans", [limits.MAX_SCANS - 10, limits.MAX_SCANS])
def test_as_many_scans_as_are_allowed(num_scans):
    """The image has some itself, and those that are added change nothing."""
    plain = decode(bombs.jpeg_scans(0, (40, 30)), name="x")
    data = bombs.jpeg_scans(num_scans, (40, 30))
    if num_scans < limits.MAX_SCANS:
        np.testing.assert_array_equal(decode(data, name="x").pixels, plain.pixels)
    else:
        with pytest.raises(InputError, match=f"more than the {limits.MAX_SCANS} that are read"):
            decode(data, name="x")


def test_pixels_of_many_bytes_count_for_more():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((50, 40, 8), np.float64), photometric="rgb", planarconfig="contig")
    assert decode(buffer.getvalue(), name="x", max_pixels=50 * 40 * 4).size == (50, 40)
    with pytest.raises(InputError, match=r"as much as 0\.008 megapixels"):
        decode(buffer.getvalue(), name="x", max_pixels=50 * 40 * 4 - 1)


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
@pytest.mark.parametrize(
    "layout", [{}, {"rowsperstrip": 7}, {"tile": (16, 32)}, {"predictor": True}, {"byteorder": ">"}]
)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_packed_strips_are_what_tifffile_makes_of_them(compression, layout, dtype):
    pixels, buffer = noise((45, 70, 3), dtype), io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb", compression=compression, **layout)
    np.testing.assert_array_equal(decode(buffer.getvalue(), name="x").pixels, pixels)


def strips_that_are_larger_than_their_page():
    """{compression: (its number, a strip of 9 megapixels)}, all below 100 KB."""
    large = np.zeros((3000, 3000, 3), np.uint8)
    return {
        "packbits": (32773, b"\x81\0" * 40_000),
        "zstd": (50000, imagecodecs.zstd_encode(large, level=1)),
        "webp": (50001, imagecodecs.webp_encode(large, lossless=True, level=0)),
        "jpeg xl": (50002, imagecodecs.jpegxl_encode(large, effort=1)),
        "lerc": (34887, imagecodecs.lerc_encode(large)),
        "jpeg 2000": (34712, imagecodecs.jpeg2k_encode(large[:500, :500])),
        "png": (34933, imagecodecs.png_encode(large[:1000], level=1)),
        "jpeg": (7, imagecodecs.jpeg_encode(large[:1000])),
    }


def test_strips_unpack_to_no_more_than_their_page_has():
    for packing, (number, strip) in strips_that_are_larger_than_their_page().items():
        assert len(strip) < 100_000
        data = tiff([strip], (16, 16), {258: [8] * 3, 259: number, 262: 2, 277: 3})
        tracemalloc.start()
        with pytest.raises(InputError, match="damaged"):
            decode(data, name=packing)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 << 20, packing
    lzw_of_zeros = imagecodecs.lzw_encode(bytes(1 << 20))
    tracemalloc.start()
    assert decode(tiff([lzw_of_zeros], (16, 16), {259: 5}), name="x").size == (16, 16)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_jpeg_strip_has_as_many_scans_as_a_jpeg():
    strip = bombs.jpeg_scans(limits.MAX_SCANS, (40, 30))
    with pytest.raises(InputError, match="scans"):
        decode(tiff([strip], (30, 40), {259: 7}), name="x")


def test_a_tile_is_not_far_larger_than_the_image():
    strip = imagecodecs.zstd_encode(bytes(1 << 20))
    tags = {259: 50000, 322: 16384, 323: 16384, 324: 8, 325: len(strip)}
    with pytest.raises(InputError, match="far larger than the image"):
        decode(tiff([strip], (16, 16), tags, leave_out=(273, 278, 279)), name="x")


@pytest.mark.parametrize("cut", [1, 4, 30])
def test_a_strip_that_is_cut_short_is_no_image(cut):
    stream = zlib.compress(np.arange(256, dtype=np.uint16).tobytes())
    assert decode(bombs.tiff_strip(stream, 8), name="x").size == (16, 16)
    with pytest.raises(InputError, match="truncated"):
        decode(bombs.tiff_strip(stream[:-cut], 8), name="x")


def test_a_file_that_is_no_image_is_not_read_on(tmp_path):
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="not an image of a known kind"):
        file_bytes(path, look=check_kind)
    with pytest.raises(InputError, match=r"has 1,099,511.6 MB, more than the 2000 MB") as caught:
        file_bytes(path)
    assert caught.value.over_limit
    assert "--max-file-size" in caught.value.hint


def test_a_stream_is_read_to_its_end_or_to_the_limit():
    data = bytes(range(256)) * 100
    assert stream_bytes(io.BytesIO(data), "x", max_bytes=len(data)) == data
    with pytest.raises(InputError, match=r"has more than the 0\.0255"):
        stream_bytes(io.BytesIO(data), "x", max_bytes=len(data) - 100)


@not_windows
def test_pages_share_the_metadata_that_are_the_same():
    with decoding(isolated=True) as pool:
        image = pool(bombs.pages_sharing_metadata(4, 10_000), name="x")
    assert len(image.pages) == 4
    assert len(image.pages[1].exif) > 10_000
    assert image.pages[1].exif is image.pages[3].exif


@pytest.mark.skipif(sys.platform != "linux", reason="private memory is limited there only")
def test_a_limit_of_memory_goes_with_the_file():
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    memory_limit.begin(1000)
    try:
        assert memory_limit.in_force() == limits.MEMORY_FIXED_BYTES + 4000
        memory_limit.permit(1_000_000)
        assert memory_limit.in_force() == limits.MEMORY_FIXED_BYTES + 4000 + 80_000_000
        with pytest.raises(MemoryError):
            bytes(1 << 40)
    finally:
        memory_limit.end()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert memory_limit.in_force() is None


@pytest.mark.skipif(sys.platform != "linux", reason="private memory is limited there only")
def test_stacks_of_threads_have_room_however_large_they_are():
    """Threads have stacks as large as the limit that a process begins with, here of 256 MB."""
    program = """
        import os, threading
        from adacode_cli.imaging import memory_limit

        memory_limit.MEMORY_FIXED_BYTES = 64 << 20
        memory_limit.begin(0)
        going_on = threading.Event()
        try:
            for _ in range(os.sysconf("SC_NPROCESSORS_ONLN")):
                threading.Thread(target=going_on.wait).start()
            print("all run")
        finally:
            going_on.set()
    """
    command = ["bash", "-c", 'ulimit -S -s 262144; exec "$0" -c "$1"', sys.executable, textwrap.dedent(program)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "all run\n", run.stderr
