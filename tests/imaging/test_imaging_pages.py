"""Every page of a TIFF is restored and written with its own depth, alpha, orientation and metadata."""

import struct
import sys
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_fixtures import noise, saved
from nearest_image import RepeatingRestorer
from other_programs import identify, needs_imagemagick
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

import bombs

from adacode_cli.batch import masks
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.stages import Stages
from adacode_cli.batch.stream import STREAM
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging import tiff_codec
from adacode_cli.imaging.decode import decode, further_windows
from adacode_cli.imaging.decoder_pool import decoding
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.headers import header_in
from adacode_cli.imaging.provenance import HistoryEntry

PAGES = [
    (noise((9, 12, 3), np.uint8), {"photometric": "rgb"}),
    (noise((5, 7), np.float32), {"photometric": "minisblack"}),
    (noise((6, 4, 4), np.uint16), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    (noise((8, 5), np.uint8), {"photometric": "minisblack", "extratags": [(274, 3, 1, 6, True)]}),
]


def document(pages=PAGES, **options):
    """A TIFF file that tifffile writes."""
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, **options) as writer:
        for number, (samples, how) in enumerate(pages):
            writer.write(samples, metadata=None, description=f"page {number}", resolution=(72 + number, 72), **how)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_each_page_keeps_what_it_is(options):
    image = decode(document(**options), name="x")
    again = decode(encode(image, format="tiff"), name="x")
    for found in (image, again):
        assert [page.page for page in found.pages] == [0, 1, 2, 3]
        assert [page.pixels.dtype for page in found.pages] == [np.uint8, np.float32, np.uint16, np.uint8]
        assert [page.alpha is not None for page in found.pages] == [False, False, True, False]
        assert [page.resolution.across for page in found.pages[:3]] == [72, 73, 74]
        np.testing.assert_array_equal(found.pages[2].alpha, PAGES[2][0][..., 3])
        np.testing.assert_array_equal(found.pages[3].pixels, np.rot90(PAGES[3][0], -1))
        assert all(f"page {page.page}".encode() in page.exif for page in found.pages)


def linked(data, number, place):
    """The little-endian TIFF `data`, whose directory `number` has a link to `place`."""
    at = 4
    for _ in range(number):
        (start,) = struct.unpack_from("<I", data, at)
        at = start + 2 + 12 * struct.unpack_from("<H", data, start)[0]
    return data[:at] + struct.pack("<I", place) + data[at + 4 :]


def by_libtiff():
    """Three pages, each with its directory behind its pixels."""
    first, *others = (Image.fromarray(noise((20, 30, 3), np.uint8, seed)) for seed in range(3))
    buffer = BytesIO()
    first.save(buffer, "tiff", compression="tiff_lzw", save_all=True, append_images=others)
    return buffer.getvalue()


def test_no_page_is_lost_without_a_word():
    data = by_libtiff()
    first = linked(data, 1, 0)
    wrong = [linked(data, number, place) for number in (1, 2, 3) for place in (len(data), 2**32 - 1)]
    for file in [data[:end] for end in range(97, len(data), 97)] + wrong:
        with pytest.raises(InputError, match=r"damaged|truncated"):
            decode(file, name="x")
    assert {header_in(BytesIO(file)) for file in wrong} == {None}
    assert decode(first, name="x").num_pages == 1
    with pytest.raises(InputError, match="the link to directory 3 leads out of the file, so pages are missing"):
        decode(linked(data, 2, 2**20), name="x")
    assert decode(data, name="x").num_pages == header_in(BytesIO(data)).pages == 3


def staged(data, stages, target="tiff"):
    """(bytes, notes) of what a run writes for these bytes."""
    inferred = stages.infer(STREAM, stages.take_in(STREAM, data))
    return stages.keeping.encoded(inferred.image, target, None)


def test_a_run_restores_every_page():
    stages = Stages(Restoring(RepeatingRestorer(), "sr", 2), keeping=Keeping(HistoryEntry("sr-x2", "w", "0" * 64)))
    data, notes = staged(document(), stages)
    assert notes == ()
    found = decode(data, name="x")
    assert [page.size for page in found.pages] == [(18, 24), (10, 14), (12, 8), (10, 16)]
    assert [page.resolution.across for page in found.pages[:3]] == [144, 146, 148]
    for page in found.pages:
        assert b"adacode" in page.exif
        assert page.xmp.count(b"softwareAgent>adacode") == 1


@needs_imagemagick
def test_imagemagick_finds_the_pages(tmp_path):
    (tmp_path / "a.tif").write_bytes(encode(decode(document(PAGES[:1] * 3), name="x"), format="tiff"))
    assert identify(tmp_path / "a.tif", "%w %h %z") == ["12 9 8"] * 3


def test_other_formats_hold_the_first_and_say_so():
    image = decode(document(), name="x")
    assert losses(image, "png") == ("3 of 4 pages",)
    assert losses(image, "tiff") == ()
    _, notes = Keeping().encoded(image, "png", None)
    assert notes == ("not kept in png: 3 of 4 pages",)
    with pytest.raises(OutputError, match="3 of 4 pages"):
        Keeping(strict=True).encoded(image, "png", None)


def test_small_copies_and_masks_of_pages_are_no_pages():
    small = (noise((3, 4, 3), np.uint8), {"photometric": "rgb", "subfiletype": 1})
    mask = (noise((9, 12), np.uint8) > 99, {"photometric": 4, "subfiletype": 4})
    image = decode(document([PAGES[0], small, PAGES[1]]), name="x")
    assert [page.size for page in image.pages] == [(9, 12), (5, 7)]
    assert image.lost == ()
    assert decode(document([PAGES[0], mask]), name="x").lost == ("1 mask(s) of pages",)


def test_each_page_counts_alone_towards_the_limit():
    data = document([PAGES[1], *PAGES[:1] * 5])
    assert len(decode(data, name="x", max_pixels=9 * 12).pages) == 6
    with pytest.raises(InputError, match="12×9 pixels"):
        decode(data, name="x", max_pixels=9 * 12 - 1)


def one_after_the_other(data, **options):
    first = decode(data, name="x", **options)
    decode_from = partial(decode_at, data, **options)
    return [first, *further_windows(first, decode_from)]


def decode_at(data, page, **options):
    return decode(data, name="x", first_page=page, **options)


@pytest.mark.parametrize("limit", [1, 150, 200, 10_000])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_windows_hold_the_pages_that_one_call_gives(monkeypatch, limit, options):
    """108, 35, 24 and 40 pixels: each alone, and together with some of the others."""
    data = document(**options)
    whole = decode(data, name="x").pages
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", limit)
    windows = one_after_the_other(data)
    numbers = [[page.page for page in window.pages] for window in windows]
    expected = {1: [[0], [1], [2], [3]], 150: [[0, 1], [2, 3]], 200: [[0, 1, 2], [3]], 10_000: [[0, 1, 2, 3]]}
    assert numbers == expected[limit]
    for window in windows:
        assert window.num_pages == 4
        assert [page[:2] for page in window.following] == [(9, 12), (5, 7), (6, 4), (8, 5)][window.pages[-1].page + 1 :]
        depths = [page[2] for page in window.following]
        assert depths == [1, 4, 2, 1][window.pages[-1].page + 1 :]
    for page, other in zip(whole, (page for window in windows for page in window.pages), strict=True):
        np.testing.assert_array_equal(page.pixels, other.pixels)
        assert (page.alpha is None) == (other.alpha is None)
        assert page.metadata == other.metadata
        assert (page.notes, page.lost, page.bits, page.stated) == (other.notes, other.lost, other.bits, other.stated)


def test_what_is_lost_of_a_document_is_reported_with_its_first_window(monkeypatch):
    mask = (noise((9, 12), np.uint8) > 99, {"photometric": 4, "subfiletype": 4})
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    windows = one_after_the_other(document([PAGES[0], mask, PAGES[1]]))
    assert [window.lost for window in windows] == [("1 mask(s) of pages",), ()]


def test_metadata_of_all_windows_count_together(monkeypatch):
    data = bombs.pages_sharing_metadata(6, 300_000)
    monkeypatch.setattr(tiff_codec, "MAX_SUM_OF_METADATA_BYTES", 1_000_000)
    whole = decode(data, name="x").pages
    assert len({page.lost for page in whole}) > 1, "the limit is reached within the document"
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 2)
    windows = one_after_the_other(data)
    assert len(windows) == 3
    assert [page.lost for window in windows for page in window.pages] == [page.lost for page in whole]


def test_decoding_processes_decode_later_pages_too():
    data = document()
    with decoding(isolated=True) as elsewhere:
        window = elsewhere(data, name="x", first_page=2)
    assert [page.page for page in window.pages] == [2, 3]
    np.testing.assert_array_equal(window.pixels, PAGES[2][0][..., :3])


def holes(path, count, shape=(9, 12)):
    """A mask file of so many pages, page k with its hole in row k; returns the masks."""
    wanted = [np.zeros(shape, bool) for _ in range(count)]
    for row, mask in enumerate(wanted):
        mask[row] = True
    pages = [Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)) for mask in wanted]
    path.write_bytes(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    return wanted


def test_masks_of_one_page_serve_all_and_of_several_their_own(tmp_path):
    image = decode(document(PAGES[:1] * 3), name="x")
    one, three, two = tmp_path / "1.tif", tmp_path / "3.tif", tmp_path / "2.tif"
    (only,) = holes(one, 1)
    each = holes(three, 3)
    holes(two, 2)
    files = {path: masks.MaskFile(path, partial(decode_at, path.read_bytes())) for path in (one, two, three)}
    for page in image.pages:
        np.testing.assert_array_equal(masks.OneFile(one)(page, files[one]).mask, only)
        np.testing.assert_array_equal(masks.OneFile(three)(page, files[three]).mask, each[page.page])
    with pytest.raises(InputError, match="2 pages"):
        masks.OneFile(two)(image.pages[2], files[two])


def test_masks_are_decoded_window_by_window_in_any_order(monkeypatch, tmp_path):
    each = holes(tmp_path / "m.tif", 5)
    decoded = []

    def decode_from(page):
        decoded.append(page)
        return decode_at((tmp_path / "m.tif").read_bytes(), page)

    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 2 * 9 * 12)
    file = masks.MaskFile(tmp_path / "m.tif", decode_from)
    image = decode(document(PAGES[:1]), name="x")
    for page in (0, 1, 2, 3, 4, 1, 3):
        hole = masks.OneFile(tmp_path / "m.tif")(replace(image, page=page), file)
        np.testing.assert_array_equal(hole.mask, each[page])
    assert decoded == [0, 2, 4, 0, 2]


def test_each_page_is_restored_with_its_own_mask(tmp_path):
    class Painting(RepeatingRestorer):
        def restore(self, task, image, *, mask=None, **options):
            return super().restore(task, np.where(mask.mask[..., None], 7, image).astype(image.dtype))

    each = holes(tmp_path / "m.tif", 3)
    stages = Stages(Restoring(Painting(), "inpaint"), masks.OneFile(tmp_path / "m.tif"))
    data, _ = staged(document(PAGES[:1] * 3), stages)
    for page, mask in zip(decode(data, name="x").pages, each, strict=True):
        assert (page.pixels[mask] == 7).all()
        np.testing.assert_array_equal(page.pixels[~mask], PAGES[0][0][~mask])
