"""Long documents are written page by page: the same bytes as at once, with no file before the last page is there."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import tifffile
from long_documents import HISTORY, carry_out, files, leftovers, noise, stages, written_documents
from nearest import NearestRestorer
from PIL import Image

from adacode_cli.batch import events, masks
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.found import Found
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.plan import Job
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.stages import Stages
from adacode_cli.batch.stream import restore_bytes
from adacode_cli.errors import DeviceError, InputError, OutputError, QualityError
from adacode_cli.imaging import read_back, tiff_codec
from adacode_cli.imaging.decode import decode
from adacode_cli.sizes import Sizing


@pytest.fixture
def folder(tmp_path):
    return written_documents(tmp_path / "p")


def notes(log):
    return {one.outcome.source.name: one.outcome.notes for one in log if isinstance(one, events.FileFinished)}


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("limit", [1, 200, 300])
def test_a_document_is_the_same_in_one_window_and_in_several(monkeypatch, folder, tmp_path, limit, lanes):
    """Bytes, notes, and what the journal says."""
    several = stages(keeping=Keeping(HISTORY), lanes=lanes)
    at_once, in_windows = [], []
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    _, whole, lines = carry_out(folder, tmp_path / "a" / "out", several, listener=at_once.append)
    assert len(whole) == 3
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", limit)
    _, found, others = carry_out(folder, tmp_path / "b" / "out", several, listener=in_windows.append)
    assert found == whole
    assert others == lines
    assert notes(in_windows) == notes(at_once)
    assert notes(at_once)["plain.tif"], "something is lost, which is reported"
    assert b"page 6" in whole["carried.tif"]


def test_a_large_document_is_a_big_tiff_with_its_directories(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(tiff_codec, "_MAX_BYTES_WITHOUT_BIG", 0)
    _, whole, _ = carry_out(folder, tmp_path / "a", stages())
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    _, found, _ = carry_out(folder, tmp_path / "b", stages())
    assert found == whole
    assert {data[2] for data in found.values()} == {43}
    with tifffile.TiffFile(BytesIO(found["carried.tif"])) as file:
        assert file.pages[6].tags["ExifTag"].value["DateTimeOriginal"] == "2024:01:02 03:04:06"
        assert file.pages[6].tags["GPSTag"].value["GPSLatitudeRef"] == "N"
    pages = decode(found["carried.tif"], name="x", max_pixels=10**6)
    assert b"03:04:00" in pages.exif


def test_whether_a_document_is_large_counts_all_its_pages(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    bound = 5 * 4 * (18 * 24)
    monkeypatch.setattr(tiff_codec, "_MAX_BYTES_WITHOUT_BIG", bound)
    scaled = stages(foresight=Foresight(Sizing("scale", 2.0)))
    _, found, _ = carry_out(folder / "same.tiff", tmp_path / "a", scaled)
    assert found["same.tiff"][2] == 42
    monkeypatch.setattr(tiff_codec, "_MAX_BYTES_WITHOUT_BIG", bound - 1)
    _, found, _ = carry_out(folder / "same.tiff", tmp_path / "b", scaled)
    assert found["same.tiff"][2] == 43


def test_a_block_that_cannot_be_read_back_is_lost_in_both_ways(monkeypatch, folder, tmp_path):
    """The page with XMP is the fifth; what a library makes of it is replaced here."""
    honest = read_back.missing

    def forgetful(file, format, written):
        return [
            lost | ({"xmp"} if page.xmp is not None else set())
            for lost, page in zip(honest(file, format, written), written, strict=True)
        ]

    monkeypatch.setattr(read_back, "missing", forgetful)
    log, again = [], []
    _, whole, _ = carry_out(folder / "carried.tif", tmp_path / "a", stages(), listener=log.append)
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    _, found, _ = carry_out(folder / "carried.tif", tmp_path / "b", stages(), listener=again.append)
    assert found == whole
    assert notes(again) == notes(log)
    assert notes(log)["carried.tif"][-1] == "not kept in tiff: XMP"


def test_masks_follow_their_pages(monkeypatch, folder, tmp_path):
    each = [np.zeros((9, 12), np.uint8) for _ in range(5)]
    for row, mask in enumerate(each):
        mask[row] = 255
    tifffile.imwrite(tmp_path / "m.tif", np.stack(each), photometric="minisblack", metadata=None)
    fills = Stages(Restoring(NearestRestorer(), "inpaint"), masks.OneFile(tmp_path / "m.tif"))
    _, whole, _ = carry_out(folder / "same.tiff", tmp_path / "a", fills)
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 2 * 9 * 12)
    _, found, _ = carry_out(folder / "same.tiff", tmp_path / "b", fills)
    assert found == whole
    assert (decode(found["same.tiff"], name="x", first_page=4).pixels[4] == 128).all()


def test_a_mask_of_another_size_names_the_page(folder, tmp_path):
    first = decode((folder / "carried.tif").read_bytes(), name="x")
    sizes = [page.size for page in first.pages]
    assert sizes[0] != sizes[1]
    Image.new("L", sizes[0][::-1]).save(tmp_path / "m.png")
    fills = Stages(Restoring(NearestRestorer(), "inpaint"), masks.OneFile(tmp_path / "m.png"))
    log = []
    carry_out(folder / "carried.tif", tmp_path / "a", fills, listener=log.append)
    (failure,) = [event.outcome.failure for event in log if isinstance(event, events.FileFinished)]
    height, width = sizes[1]
    assert f"page 2 of the image {width}×{height}" in failure.message


def test_other_formats_need_the_first_pages_only(monkeypatch, folder, tmp_path):
    decoded, restored = [], []

    def counting(data, **options):
        image = decode(data, **options)
        decoded.extend(page.page for page in image.pages)
        return image

    def restore(image, hole):
        restored.append(image.page)
        return Restoring(NearestRestorer(), "sr", 2)(image, hole)

    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 2 * 9 * 12)
    log = []
    only_first = Stages(restore, decoder=counting)
    carry_out(folder / "same.tiff", tmp_path / "a", only_first, suffix="png", listener=log.append)
    assert (decoded, restored) == ([0, 1], [0])
    assert notes(log) == {"same.tiff": ("not kept in png: 4 of 5 pages",)}


def test_a_pipe_gives_the_same_document(monkeypatch, folder):
    data = (folder / "carried.tif").read_bytes()
    whole = restore_bytes(data, stages(), None)
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    assert restore_bytes(data, stages(), None) == whole
    with pytest.raises(InputError, match="in 7 pages"):
        restore_bytes(data, stages(keeping=Keeping(max_pixels=1000)), None)
    monkeypatch.undo()
    with pytest.raises(InputError, match="in 7 pages"):
        restore_bytes(data, stages(keeping=Keeping(max_pixels=1000)), None)
    assert restore_bytes(data, stages(keeping=Keeping(max_pixels=1000)), "png")


class FailingAt:
    """Raises `error` at the page with a number, as often as is asked for."""

    def __init__(self, page, error, times=1):
        self.page, self.error, self.times, self.calls = page, error, times, []

    def __call__(self, image, hole):
        self.calls.append(image.page)
        if image.page == self.page and self.times:
            self.times -= 1
            raise self.error
        return Restoring(NearestRestorer(), "sr", 2.0)(image, hole)


@pytest.mark.parametrize("page", [0, 2, 4])
def test_a_page_that_fails_leaves_no_file(monkeypatch, folder, tmp_path, page):
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 2 * 9 * 12)
    failing = FailingAt(page, DeviceError("out of memory", only_this_image=True))
    report, found, _ = carry_out(folder / "same.tiff", tmp_path / "a", stages(failing))
    assert (len(report.failed), found) == (1, {})


def test_a_damaged_page_leaves_no_file(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    compressed = BytesIO()
    with tifffile.TiffWriter(compressed) as writer:
        for page in range(4):
            writer.write(noise((9, 12, 3), np.uint8, page), photometric="rgb", metadata=None, compression="zlib")
    compressed.seek(0)
    with tifffile.TiffFile(compressed) as file:
        at = file.pages[3].dataoffsets[0]
    compressed.getbuffer()[at + 2 : at + 40] = bytes(38)
    (folder / "same.tiff").write_bytes(compressed.getvalue())
    failing = FailingAt(None, None)
    report, found, _ = carry_out(folder / "same.tiff", tmp_path / "a", stages(failing))
    assert failing.calls == [0, 1, 2]
    assert [outcome.failure.kind for outcome in report.failed] == ["input"]
    assert found == {}


def test_what_strict_forbids_is_found_before_that_page_is_restored(monkeypatch, tmp_path):
    document = BytesIO()
    with tifffile.TiffWriter(document) as writer:
        for page in range(3):
            tags = [(65000, 3, 1, 7, True)] if page == 2 else []
            writer.write(noise((9, 12), np.uint8, page), photometric="minisblack", metadata=None, extratags=tags)
    (tmp_path / "a.tif").write_bytes(document.getvalue())
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    failing = FailingAt(None, None)
    strict = stages(failing, keeping=Keeping(strict=True))
    report, found, _ = carry_out(tmp_path / "a.tif", tmp_path / "out", strict)
    assert "tag 65000" in report.failed[0].failure.message
    assert failing.calls == [0, 1]
    assert found == {}


def test_a_page_that_the_guard_refuses_is_kept_apart(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    refused = decode((folder / "same.tiff").read_bytes(), name="x", first_page=3)
    error = QualityError("worse than its input", image=replace(refused, following=()))
    guarded = stages(FailingAt(3, error), quarantine=tmp_path / "refused")
    report, found, _ = carry_out(folder / "same.tiff", tmp_path / "a", guarded)
    assert len(report.failed) == 1
    assert found == {}
    np.testing.assert_array_equal(
        decode((tmp_path / "refused" / "same.tiff").read_bytes(), name="x").pixels, refused.pixels
    )


def test_a_page_that_finds_no_memory_while_others_wait_begins_the_document_again(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    (folder / "plain.tif").unlink()
    _, whole, _ = carry_out(folder, tmp_path / "a", stages())
    refused = threading.Event()

    class Tight(FailingAt):
        def __call__(self, image, hole):
            if image.size == (9, 12) and image.page == 4 and not refused.is_set():
                refused.set()
                raise self.error
            return super().__call__(image, hole)

    class Slow(Stages):
        def write(self, job, *made):
            assert refused.wait(30)
            return super().write(job, *made)

    tight = Tight(None, DeviceError("out of memory", only_this_image=True))
    report, found, _ = carry_out(folder, tmp_path / "b", Slow(tight))
    assert found == whole
    assert report.done == 2
    assert tight.calls == [*range(7), *range(4), *range(5)]


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("limit", [1, 10**6])
def test_pages_are_reported_in_order_and_before_their_file(monkeypatch, folder, tmp_path, limit, lanes):
    """All in the thread of the run, whatever thread the network works in."""
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", limit)
    Image.new("L", (9, 9)).save(folder / "one.png")
    log, threads = [], set()

    def listener(event):
        threads.add(threading.get_ident())
        log.append(event)

    carry_out(folder, tmp_path / "a", stages(lanes=lanes), listener=listener)
    assert threads == {threading.get_ident()}
    for name, num_pages in {"plain.tif": 4, "carried.tif": 7, "same.tiff": 5, "one.png": 0}.items():
        of_file = [event for event in log if source_of(event).endswith(name)]
        assert isinstance(of_file[0], events.FileStarted)
        assert isinstance(of_file[-1], events.FileFinished)
        pages = [(event.page, event.num_pages) for event in of_file[1:-1]]
        assert pages == [(page + 1, num_pages) for page in range(num_pages)]


def source_of(event) -> str:
    match event:
        case events.FileStarted(job) | events.PageFinished(job):
            return str(job.source)
        case events.FileFinished(outcome):
            return str(outcome.source)
    return ""


def test_a_document_whose_end_nobody_wants_ends_at_the_next_page(monkeypatch, folder, tmp_path):
    """A lane that is at work when a run is interrupted."""
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    calls, interrupted = [], threading.Event()

    def restore(image, hole):
        calls.append(image.page)
        if image.page:
            assert interrupted.wait(30)
            time.sleep(0.05)
        return Restoring(NearestRestorer(), "sr", 2.0)(image, hole)

    def listener(event):
        if isinstance(event, events.PageFinished):
            interrupted.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(folder / "same.tiff", tmp_path / "a", stages(restore, lanes=2), listener=listener)
    for thread in threading.enumerate():
        if thread.name.startswith("infer"):
            thread.join(30)
    assert 0 < len(calls) < 5
    assert files(tmp_path / "a") == {}
    assert leftovers(tmp_path / "a") == []


def job_for(source, target):
    return Job(Found(source, source.name, in_tree=False), target.parent, target.name)


def test_a_result_that_is_dropped_leaves_nothing(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    (tmp_path / "out").mkdir()
    job, here = job_for(folder / "same.tiff", tmp_path / "out" / "same.tiff"), stages()
    inferred = here.infer(job, here.take_in(job, (folder / "same.tiff").read_bytes()))
    assert len(leftovers(tmp_path)) == 1
    assert not job.target.exists()
    del inferred
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_becomes_full_leaves_nothing(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    (tmp_path / "out").mkdir()
    job, here = job_for(folder / "same.tiff", tmp_path / "out" / "same.tiff"), stages()

    class Full(FailingAt):
        def __call__(self, image, hole):
            if image.page == 3:
                raise OSError(28, "No space left on device")
            return super().__call__(image, hole)

    read = here.take_in(job, (folder / "same.tiff").read_bytes())
    with pytest.raises(OutputError, match="full"):
        replace(here, restore=Full(None, None)).infer(job, read)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_torn_document_is_found_on_any_page(monkeypatch, folder, tmp_path):
    """An output of which a later page was torn by a crash is made again."""
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    _, whole, _ = carry_out(folder / "same.tiff", tmp_path / "a", stages())
    target = tmp_path / "a" / "same.tiff"
    with tifffile.TiffFile(target) as file:
        at = file.pages[4].dataoffsets[0]
    torn = bytearray(whole["same.tiff"])
    torn[at : at + 60] = bytes(60)
    target.write_bytes(torn)
    report, found, _ = carry_out(folder / "same.tiff", tmp_path / "a", stages())
    assert report.done == 1
    assert found == whole
