"""Long documents with a target size: page by page they become what they become at once, and copies are intact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from long_documents import HISTORY, carry_out, noise, stages, written_documents
from nearest import NearestRestorer

from adacode_cli.batch.enlarging import Enlarging
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.stages import Stages
from adacode_cli.imaging import tiff_codec
from adacode_cli.imaging.decode import decode
from adacode_cli.sizes import Fate, Sizing


@pytest.fixture
def folder(tmp_path):
    return written_documents(tmp_path / "p")


def sized(wanted: Sizing) -> Stages:
    """Stages that make results of the size `wanted`."""

    def run_of_network(scale, size):
        return Restoring(NearestRestorer(), "sr", scale, 1.0, size)

    restore = Enlarging(wanted, (4, 2), run_of_network, lambda *_, **__: None)
    return stages(restore, foresight=Foresight(wanted), keeping=Keeping(HISTORY))


@pytest.mark.parametrize("as_large", [Fate.COPIED, Fate.SHRUNK, Fate.LEFT_OUT])
@pytest.mark.parametrize("sizing", [Sizing("long-edge", 12), Sizing("width", 9), Sizing("long-edge", 7)])
def test_sizes_page_by_page_are_those_at_once(monkeypatch, folder, tmp_path, sizing, as_large):
    """Some pages are as large already, of `same.tiff` all, and one of `plain.tif` is stored turned."""
    wanted = replace(sizing, as_large=as_large)
    whole = carry_out(folder, tmp_path / "a", sized(wanted))
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    by_page = carry_out(folder, tmp_path / "b", sized(wanted))
    assert by_page[1:] == whole[1:]
    assert by_page[0].fates == whole[0].fates
    is_left_out = as_large is Fate.LEFT_OUT
    assert ("same.tiff" in whole[1]) is not is_left_out
    if not is_left_out:  # its pages are 12 pixels wide
        is_copy = as_large is Fate.COPIED or sizing.amount == 12
        assert (whole[1]["same.tiff"] == (folder / "same.tiff").read_bytes()) is is_copy
    for name, data in whole[1].items():
        made, given = decode(data, name=name), decode((folder / name).read_bytes(), name=name)
        sizes = [(wanted.size(*page.size), page.size) for page in given.pages]
        kept = [page.size if after == page.size else after for page, (after, _) in zip(given.pages, sizes, strict=True)]
        assert [page.size for page in made.pages] == kept


@pytest.mark.parametrize("as_large", [Fate.COPIED, Fate.LEFT_OUT])
def test_a_document_with_a_damaged_later_page_is_not_copied(monkeypatch, tmp_path, as_large):
    """It fails as it fails when all its pages are decoded at once."""
    path = tmp_path / "damaged.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in range(5):
            writer.write(noise((9, 12, 3), np.uint8, page), photometric="rgb", metadata=None, compression="zlib")
    with tifffile.TiffFile(path) as file:
        at = file.pages[3].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(60))
    stages_of_size = sized(Sizing("long-edge", 12, as_large))
    at_once, found, _ = carry_out(path, tmp_path / "a", stages_of_size)
    assert found == {}
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 1)
    by_page, found, _ = carry_out(path, tmp_path / "b", stages_of_size)
    assert found == {}
    (one,), (other,) = at_once.failed, by_page.failed
    assert other.failure.message == one.failure.message
    assert other.failure.exit_code == 3


def strips(path, count: int, turned: int = -1) -> bytes:
    """Writes a document of pages of 400×15 pixels; that with the number `turned` is stored so, and is 15 wide."""
    with tifffile.TiffWriter(path) as writer:
        for page in range(count):
            tags = [(274, 3, 1, 6 if page == turned else 1, True)]
            samples = noise((15, 400), np.uint8, page)
            writer.write(samples, photometric="minisblack", metadata=None, extratags=tags)
    return path.read_bytes()


@pytest.mark.parametrize("as_large", [Fate.COPIED, Fate.SHRUNK, Fate.LEFT_OUT])
def test_pages_that_would_be_too_narrow_if_they_were_turned(monkeypatch, tmp_path, as_large):
    """Upright pages of 400×15 are as large already as a width of 320; turned by a quarter, they would need ×21."""
    source = tmp_path / "long.tif"
    data = strips(source, 5)
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", 2 * 400 * 15)
    report, found, _ = carry_out(source, tmp_path / "a", sized(Sizing("width", 320, as_large)))
    assert report.failed == ()
    match as_large:
        case Fate.COPIED:
            assert found == {"long.tif": data}
        case Fate.LEFT_OUT:
            assert found == {}
        case _:
            sizes = {page.shape for page in tifffile.TiffFile(tmp_path / "a" / "long.tif").pages}
            assert sizes == {(12, 320)}


@pytest.mark.parametrize("as_large", [Fate.COPIED, Fate.SHRUNK, Fate.LEFT_OUT])
@pytest.mark.parametrize("window", [2 * 400 * 15, 1 << 20])
def test_a_later_page_that_is_stored_turned_and_too_narrow_fails(monkeypatch, tmp_path, as_large, window):
    source = tmp_path / "long.tif"
    strips(source, 5, turned=4)
    monkeypatch.setattr(tiff_codec, "WINDOW_PIXELS", window)
    report, found, _ = carry_out(source, tmp_path / "a", sized(Sizing("width", 320, as_large)))
    (failed,) = report.failed
    assert failed.failure.message.startswith("15×400 pixels are too few for --width 320")
    assert found == {}
