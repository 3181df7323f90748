"""Version 3 of the file of codes: packed with a prior, exact everywhere, and never misread.

`golden` holds files that one machine wrote. Run this file as a script, with PYTHONPATH=., to write them again, if the
format or the bundled prior changes.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_codes import DEPTHS, assert_equal, made_alpha, made_codes
from made_priors import made_prior, scattered_codes
from test_codes_file import BOOKS, HEADER, HEADER_AT, forged, little_memory, signed

from adacode_cli.checkpoints.catalogue_file import weights_folder
from adacode_cli.checkpoints.priors import read_prior
from adacode_cli.codes import packing, prior_coding
from adacode_cli.codes.file import from_bytes, layout_in, to_bytes
from adacode_cli.codes.image import Codes, DecoderIdentity
from adacode_cli.codes.prior import MAX_CODES, Prior
from adacode_cli.errors import InputError, WeightsError

GOLDEN = Path(__file__).parent / "golden"


def version_of(data):
    return struct.unpack_from("<H", data, 8)[0]


def golden_codes(books):
    """Codes of 19×26 cells with metadata, made from whole numbers alone.

    There is nothing in it that LZMA packs, because another version of LZMA may pack the same values in other bytes.
    """
    codes, steps = scattered_codes(books, 19, 26, seed=7, low=-95, high=159)
    decoder = DecoderIdentity("golden", bytes(range(16)))
    blocks = {"icc": b"profile", "exif": b"II*\0", "xmp": b"<x/>", "iptc": b"\x1c\2\x19\0\1a"}
    return Codes(150, 203, False, np.dtype(np.uint8), 8, tuple(books), codes, steps, decoder, **blocks)


def bundled_prior():
    stored = read_prior(weights_folder() / "compact-prior.safetensors")
    return Prior(stored.order, stored.book_sizes, stored.tensors)


def golden_priors():
    """A wide one, part of which is computed in float64, and the one that ships."""
    wide = made_prior((300, 6, 40), (1, 2, 0), hidden=(80, 70), mixture=3)
    return {"wide": wide, "compact": bundled_prior()}


@pytest.mark.parametrize("name", ["wide", "compact"])
def test_a_file_of_another_machine_is_read_and_written_byte_for_byte(name):
    """If this fails on a new machine or with a new NumPy, the arithmetic there is not exact: files cannot be shared."""
    prior, data = golden_priors()[name], (GOLDEN / f"{name}.adacode").read_bytes()
    codes = golden_codes(prior.book_sizes)
    assert version_of(data) == 3
    assert_equal(from_bytes(data, name="x", prior=lambda: prior), codes)
    assert to_bytes(codes, prior) == data


@given(
    st.integers(1, 70), st.integers(1, 70), BOOKS, st.sampled_from([4, 8, 16]), st.sampled_from(DEPTHS), st.booleans()
)
@settings(max_examples=25, deadline=None)
def test_everything_comes_back(height, width, books, stride, dtype, grey):
    books = tuple(min(size, MAX_CODES) for size in books)
    prior, alpha = made_prior(books), made_alpha(height, width, dtype) if height % 2 else None
    codes = made_codes(
        height, width, books=books, stride=stride, dtype=dtype, grey=grey, alpha=alpha, icc=b"icc", iptc=b"\x1c"
    )
    data = to_bytes(codes, prior)
    assert version_of(data) == 3
    assert_equal(from_bytes(data, name="x", prior=lambda: prior), codes)
    assert to_bytes(codes, prior) == data
    assert layout_in(data[:64]) == (height, width, grey, np.dtype(dtype))


def test_earlier_versions_are_written_without_a_prior_and_read_with_one():
    for codes, version in ((made_codes(), 1), (made_codes(xmp=b"<x/>"), 2)):
        data = to_bytes(codes)
        assert version_of(data) == version
        assert_equal(from_bytes(data, name="x", prior=lambda: pytest.fail("it is not needed")), codes)


@pytest.mark.parametrize(
    "other", [None, made_prior((300, 6), seed=1), made_prior((9, 9))], ids=["none", "other", "books"]
)
def test_another_prior_is_refused_with_the_name_of_the_weights(other):
    data = to_bytes(made_codes(), made_prior((300, 6)))
    with pytest.raises(WeightsError, match="packed with the prior") as caught:
        from_bytes(data, name="a.adacode", prior=lambda: other)
    assert caught.value.exit_code == 4
    assert caught.value.only_this_image
    assert str(caught.value.path) == "a.adacode"
    assert "--weights tiny" in caught.value.hint


def test_the_prior_packs_the_first_level_and_the_others_lie_beside_it():
    prior, codes = made_prior((300, 6)), made_codes(levels=3, alpha=made_alpha(37, 50, np.uint8))
    data = to_bytes(codes, prior)
    assert version_of(data) == 4
    assert_equal(from_bytes(data, name="x", prior=lambda: prior), codes)
    with pytest.raises(WeightsError, match="packed with the prior"):
        from_bytes(data, name="x")
    assert_equal(from_bytes(to_bytes(codes), name="x", prior=lambda: pytest.fail("it is not needed")), codes)
    body = bytearray(data[:-4])
    at = HEADER_AT + HEADER.size + len("tiny") + 4 * 2
    body[at : at + 16] = bytes(16)  # as if it were packed without one
    with pytest.raises(InputError, match="inconsistent"):
        from_bytes(signed(bytes(body)), name="x", prior=lambda: prior)


def test_a_prior_of_other_codebooks_is_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="does not fit"):
        to_bytes(made_codes(), made_prior((9, 9)))
    beyond = made_codes()
    beyond.codes_KHW[1, 0, 0] = 6
    with pytest.raises(ValueError, match="beyond its codebook"):
        to_bytes(beyond, made_prior((300, 6)))


def sections_at(data):
    """Where the sections of a file of two bases begin and end: the coded data, and what is beyond the window."""
    at = HEADER_AT + HEADER.size + len("tiny") + 4 * 2 + 16
    found = []
    for _ in range(2):
        (length,) = struct.unpack_from("<I", data, at)
        found.append((at + 4, at + 4 + length))
        at += 4 + length
    return found


def with_section(data, number, content):
    """The file with another section, and with lengths and checksum that are right."""
    start, end = sections_at(data)[number]
    return signed(data[: start - 4] + struct.pack("<I", len(content)) + content + data[end:-4])


def test_a_section_that_is_cut_at_any_length_is_refused():
    prior = made_prior((300, 6))
    data = to_bytes(made_codes(), prior)
    for number in (0, 1):
        start, end = sections_at(data)[number]
        for length in range(end - start):
            with pytest.raises(InputError):
                from_bytes(with_section(data, number, data[start : start + length]), name="x", prior=lambda: prior)


def test_nearly_every_changed_byte_is_found_even_if_the_checksum_agrees():
    """A change that swaps two symbols of equal frequency at the end of a lane is not: only the checksum finds it."""
    prior, codes = made_prior((300, 6)), made_codes()
    whole, silent = to_bytes(codes, prior), []
    start, end = sections_at(whole)[0]
    for at in range(start, end):
        changed = bytearray(whole[:-4])
        changed[at] ^= (1, 16, 128)[at % 3]
        try:
            found = from_bytes(signed(bytes(changed)), name="x", prior=lambda: prior)
        except InputError:
            continue
        silent.append(int((found.codes_KHW != codes.codes_KHW).sum() + (found.steps_KHW != codes.steps_KHW).sum()))
    assert len(silent) <= (end - start) // 50
    assert all(values == 1 for values in silent)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_is_refused(data):
    prior = made_prior((300, 6))
    whole = bytearray(to_bytes(made_codes(alpha=made_alpha(37, 50, np.uint8)), prior))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InputError):
        from_bytes(bytes(whole), name="x", prior=lambda: prior)


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 20_000, "width": 20_000, "rows": 2_500, "columns": 2_500},
        {"height": 8_000, "width": 8_000, "rows": 1_000, "columns": 1_000},
        {"rows": 7},
        {"flags": 64},
    ],
    ids=str,
)
def test_a_forged_header_is_refused_without_taking_memory(changes):
    prior = made_prior((300, 6))
    data = forged(to_bytes(made_codes(), prior), **changes)
    with little_memory(), pytest.raises(InputError):
        from_bytes(data, name="x", prior=lambda: prior)


def test_what_is_beyond_the_window_is_checked():
    prior = made_prior((300, 6))
    data = to_bytes(made_codes(), prior)
    far = packing.pack_planes(np.full(61, 40_000, np.uint16))
    inside = made_codes()
    inside.steps_KHW[:] = 5
    for forgery in (
        with_section(data, 1, b""),
        with_section(data, 1, far),
        with_section(to_bytes(inside, prior), 1, far),
        with_section(data, 1, packing.pack_planes(np.zeros(50_000_000, np.uint8))),
    ):
        with pytest.raises(InputError, match="inconsistent"):
            from_bytes(forgery, name="x", prior=lambda: prior)


def test_other_codebooks_than_the_priors_are_refused():
    prior = made_prior((300, 6))
    data = bytearray(to_bytes(made_codes(), prior))
    at = HEADER_AT + HEADER.size + len("tiny")
    data[at : at + 4] = struct.pack("<I", 200)
    with pytest.raises(InputError, match="its codebooks"):
        from_bytes(signed(bytes(data[:-4])), name="x", prior=lambda: prior)


def test_data_that_a_reader_would_refuse_are_packed_without_the_prior(monkeypatch):
    codes = made_codes(800, 800, books=(300, 6))
    codes.codes_KHW[:] = 3
    codes.steps_KHW[:] = 12
    prior = made_prior((300, 6))
    assert version_of(to_bytes(codes, prior)) == 3
    refused = packing.PackingError("too short")
    monkeypatch.setattr(prior_coding, "check_size", lambda *_: (_ for _ in ()).throw(refused))
    data = to_bytes(codes, prior)
    assert version_of(data) == 1
    assert_equal(from_bytes(data, name="x"), codes)


if __name__ == "__main__":
    for title, one in golden_priors().items():
        (GOLDEN / f"{title}.adacode").write_bytes(to_bytes(golden_codes(one.book_sizes), one))
