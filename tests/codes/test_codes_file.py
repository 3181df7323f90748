"""A file of codes keeps everything, and no damaged or hostile file is taken for a whole one or takes much memory."""

import struct
import tracemalloc
import zlib
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_codes import DEPTHS, assert_equal, made_alpha, made_codes

from adacode_cli.batch.coding import FromCodesStages
from adacode_cli.batch.executor import JobPassage
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.found import Found
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import Job
from adacode_cli.codes import packing
from adacode_cli.codes.file import MAGIC, from_bytes, layout_in, to_bytes
from adacode_cli.codes.image import in_steps
from adacode_cli.errors import InputError, OutputError

BOOKS = st.lists(st.sampled_from([1, 2, 255, 256, 257, 512, 65536]), min_size=1, max_size=9).map(tuple)
HEADER_AT = 14  # behind magic, version and length
# What the header's fields are called in docs/codes.md, and where they lie in it.
HEADER = struct.Struct("<BBIIIIBBH16sB")
FIELDS = ("depth", "flags", "height", "width", "rows", "columns", "stride", "bases", "steps", "digest", "name")


class WithoutPrior:
    """As a `Restorer` whose weights have no prior."""

    def prior(self):
        return None


@contextmanager
def little_memory():
    """Fails if what is inside takes 8 MB."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@given(
    st.integers(1, 70), st.integers(1, 70), BOOKS, st.sampled_from([1, 2, 8]), st.sampled_from(DEPTHS), st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_everything_comes_back(height, width, books, stride, dtype, grey):
    alpha = made_alpha(height, width, dtype) if height % 2 else None
    codes = made_codes(
        height, width, books=books, stride=stride, dtype=dtype, grey=grey, alpha=alpha, icc=b"icc" * 9, exif=b"II*\0"
    )
    data = to_bytes(codes)
    assert_equal(from_bytes(data, name="x"), codes)
    assert to_bytes(codes) == data
    assert layout_in(data[:64]) == (height, width, grey, np.dtype(dtype))


@given(BOOKS, st.integers(2, 4), st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_every_level_of_codes_comes_back(books, levels, alpha, exif):
    extras = {"alpha": made_alpha(37, 50, np.uint8) if alpha else None, "exif": b"II*\0" if exif else None}
    codes = made_codes(books=books, levels=levels, **extras)
    data = to_bytes(codes)
    assert struct.unpack_from("<H", data, 8)[0] == 4
    assert_equal(from_bytes(data, name="x"), codes)
    for impossible in (0, levels + 1):
        with pytest.raises(ValueError, match=f"there are {levels} levels"):
            codes.of_levels(impossible)
    coarse = to_bytes(codes.of_levels(1))
    assert struct.unpack_from("<H", coarse, 8)[0] == 1
    np.testing.assert_array_equal(from_bytes(coarse, name="x").codes_KHW, codes.codes_KHW[: len(books)])


@pytest.mark.parametrize("levels", [0, 1, 3, 5, 255])
def test_another_number_of_levels_than_the_file_holds_is_refused(levels):
    body = bytearray(to_bytes(made_codes(levels=2))[:-4])
    at = HEADER_AT + HEADER.size + len("tiny") + 4 * 2 + 16
    assert body[at] == 2
    body[at] = levels
    with pytest.raises(InputError, match="number of levels of codes" if levels != 3 else "inconsistent"):
        from_bytes(signed(bytes(body)), name="x")


def test_a_further_level_is_checked_before_it_is_unpacked(monkeypatch):
    bomb, whole = packing.pack_planes(np.zeros(50_000_000, np.uint8)), packing.pack_codes
    for wrong in (bomb, b"", bomb[:40]):
        with monkeypatch.context() as patched:
            patched.setattr(packing, "pack_codes", lambda c, s, wrong=wrong: wrong if len(c) == 4 else whole(c, s))
            data = to_bytes(made_codes(levels=3))
        with little_memory(), pytest.raises(InputError, match="inconsistent"):
            from_bytes(data, name="x")
    beyond = made_codes(levels=2)
    beyond.codes_KHW[3, 1, 2] = 6
    with pytest.raises(InputError, match="beyond its codebook"):
        from_bytes(to_bytes(beyond), name="x")


def test_the_result_of_codes_is_refused_by_their_header_and_when_they_are_read(tmp_path):
    codes = made_codes(1, 16384, alpha=made_alpha(1, 16384, np.uint8))
    path = tmp_path / "a.webp.adacode"
    path.write_bytes(to_bytes(codes))
    job = Job(Found(path, path.name, in_tree=False), tmp_path, "a.webp")
    foresight = Foresight(from_codes=True)
    stages = FromCodesStages(lambda *_: pytest.fail("decoded"), coder=WithoutPrior(), foresight=foresight)
    message = "a WebP cannot hold 16384×1 pixels"
    assert foresight.refusal(job, Keeping()).message == message
    with pytest.raises(OutputError, match=message):
        JobPassage(stages, job).read()
    (other,) = foresight.refitted([job], Naming("x", format="png"))
    assert (other.name, other.instead_of) == ("a.png", "webp")
    JobPassage(stages, other).read()
    strict = replace(stages, keeping=Keeping(strict=True))
    named = replace(job, name="a.bmp")
    with pytest.raises(OutputError, match="cannot be kept in bmp: alpha"):
        JobPassage(strict, named).read()
    for beginning in (b"", to_bytes(codes)[:30], b"x" * 64):
        assert layout_in(beginning) is None


@pytest.mark.parametrize("xmp", [None, b"<x/>"])
@pytest.mark.parametrize("iptc", [None, b"\x1c\x02\x19\0\1a"])
def test_the_second_version_is_written_only_where_it_holds_more(xmp, iptc):
    codes = made_codes(exif=b"II*\0", xmp=xmp, iptc=iptc)
    data = to_bytes(codes)
    assert struct.unpack_from("<H", data, 8)[0] == (1 if xmp is iptc is None else 2)
    assert_equal(from_bytes(data, name="x"), codes)


def test_the_first_version_has_no_flags_of_the_second():
    data = forged(to_bytes(made_codes(xmp=b"<x/>")))
    old = bytearray(data[:-4])
    old[8:10] = struct.pack("<H", 1)
    with pytest.raises(InputError, match="flags"):
        from_bytes(bytes(old) + struct.pack("<I", zlib.crc32(old)), name="x")


@given(st.data(), st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_a_file_with_one_changed_byte_is_refused(data, levels):
    whole = bytearray(to_bytes(made_codes(levels=levels, alpha=made_alpha(37, 50, np.uint8))))
    at, value = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    whole[at] ^= value
    with pytest.raises(InputError) as caught:
        from_bytes(bytes(whole), name="a.adacode")
    assert str(caught.value.path) == "a.adacode"
    assert caught.value.hint


@given(st.integers(0, 400))
@example(0)
@example(7)
@example(13)
@settings(max_examples=30, deadline=None)
def test_a_truncated_file_is_called_so(length):
    whole = to_bytes(made_codes())
    with pytest.raises(InputError, match="truncated" if length else "empty"):
        from_bytes(whole[: min(length, len(whole) - 1)], name="x")


@given(st.binary(max_size=60))
@settings(max_examples=50, deadline=None)
def test_other_bytes_are_refused(data):
    with pytest.raises(InputError):
        from_bytes(data, name="x")
    with pytest.raises(InputError):
        from_bytes(MAGIC + data, name="x")


def test_a_later_version_says_what_to_do():
    data = bytearray(to_bytes(made_codes()))
    data[8:10] = struct.pack("<H", 5)
    with pytest.raises(InputError, match="version 5") as caught:
        from_bytes(bytes(data), name="x")
    assert "Update adacode" in caught.value.hint


def forged(data, **changes):
    """A file whose header says something else, with length and checksum made to agree."""
    values = dict(zip(FIELDS, HEADER.unpack_from(data, HEADER_AT), strict=True)) | changes
    body = bytearray(data[:-4])
    HEADER.pack_into(body, HEADER_AT, *values.values())
    return signed(bytes(body))


def signed(body):
    body = body[:10] + struct.pack("<I", len(body) + 4) + body[14:]
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 2**32 - 1, "width": 2**32 - 1, "rows": 2**29, "columns": 2**29},
        {"height": 2**31, "width": 1},
        {"height": 30_000, "width": 30_000, "rows": 30_000, "columns": 30_000, "stride": 1},
        {"height": 20_000, "width": 20_000, "rows": 2_500, "columns": 2_500},
        {"rows": 2**32 - 1},
        {"rows": 500},
        {"rows": 1},
        {"rows": 0},
        {"height": 0},
        {"stride": 0},
        {"bases": 0},
        {"bases": 255},
        {"steps": 0},
        {"depth": 7},
        {"flags": 16},
        {"flags": 2},
        {"name": 255},
    ],
    ids=lambda changes: ",".join(f"{k}={v}" for k, v in changes.items()),
)
def test_a_forged_header_is_refused_without_taking_memory(changes):
    data = forged(to_bytes(made_codes()), **changes)
    with little_memory(), pytest.raises(InputError):
        from_bytes(data, name="x")


def test_a_section_that_unpacks_to_more_than_its_arrays_is_cut_off(monkeypatch):
    bomb = packing.pack_planes(np.zeros(50_000_000, np.uint8))
    with monkeypatch.context() as patched:
        patched.setattr(packing, "pack_steps", lambda steps: bomb)
        data = to_bytes(made_codes())
    assert len(data) < 50_000
    with little_memory(), pytest.raises(InputError, match="inconsistent"):
        from_bytes(data, name="x")


@pytest.mark.parametrize("books", [(5, 200), (300, 300), (257,)])
def test_codes_beyond_their_codebook_are_refused(books):
    codes = made_codes(books=books)
    codes.codes_KHW[0, 1, 2] = books[0]
    with pytest.raises(InputError, match="beyond its codebook"):
        from_bytes(to_bytes(codes), name="x")


def test_bytes_behind_the_last_section_are_refused():
    data = to_bytes(made_codes())
    with pytest.raises(InputError, match="longer than its header states"):
        from_bytes(signed(data[:-4] + b"more"), name="x")


def test_coverage_outside_of_its_range_is_refused():
    alpha = made_alpha(37, 50, np.float32)
    alpha[3, 3] = np.nan
    with pytest.raises(InputError, match="alpha is not between"):
        from_bytes(to_bytes(made_codes(dtype=np.float32, alpha=alpha)), name="x")


def test_equal_cells_cost_next_to_nothing():
    """Entropy coding is there: what repeats is small, and what the file needs beside it is small too."""
    flat = made_codes(800, 800, books=(512,) * 5)
    flat.codes_KHW[:] = 301
    flat.steps_KHW[:] = -17
    assert len(to_bytes(flat)) < 400


@given(st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=20))
@settings(deadline=None)
def test_mixing_weights_are_rounded_to_the_nearest_step(weights):
    exact = np.array(weights, np.float32).reshape(1, 1, -1)
    back = in_steps(exact) / 128
    np.testing.assert_allclose(back, np.clip(exact, -32767 / 128, 32767 / 128), atol=0.5 / 128 + 1e-4)
