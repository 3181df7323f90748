"""Documents of several pages, and runs over them."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile
from nearest import NearestRestorer
from PIL import Image, ImageCms

from adacode_cli.batch.found import Selection
from adacode_cli.batch.journal import JOURNAL
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.record import Settings
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages
from adacode_cli.batch.trees import Trees
from adacode_cli.imaging import tiff_codec
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.provenance import HistoryEntry

HISTORY = HistoryEntry("sr-x2", "w", "0" * 64)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(shape, dtype, seed):
    values = np.random.default_rng(seed).random(shape)
    return values.astype(dtype) if dtype == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)


def described(page: int) -> bytes:
    """An EXIF block with three directories."""
    block = Image.Exif()
    block[270] = f"page {page}"
    block[306] = "2024:01:02 03:04:05"
    block.get_ifd(0x8769)[36867] = f"2024:01:02 03:04:{page:02}"
    block.get_ifd(0x8769)[37500] = bytes([page]) * (11 + page)
    block.get_ifd(0x8825)[1] = "N"
    return block.tobytes().removeprefix(b"Exif\0\0")


def documents() -> dict[str, bytes]:
    """TIFF files of several pages."""
    plain = BytesIO()
    with tifffile.TiffWriter(plain) as writer:
        for page, shape in enumerate([(9, 12, 3), (5, 7), (6, 4), (8, 5)]):
            kind = "rgb" if len(shape) == 3 else "minisblack"
            tags = [(65000, 3, 1, page, True), (274, 3, 1, 6 if page == 3 else 1, True)]
            samples = noise(shape, (np.uint8, np.float32, np.uint16)[page % 3], page)
            writer.write(samples, photometric=kind, metadata=None, extratags=tags, resolution=(72 + page, 72))
    pages = []
    for page in range(7):
        channels = page % 3 != 1
        pixels = noise((10 + page, 12, 3)[: 2 + channels], (np.uint8, np.uint16)[page % 2], page)
        alpha = noise(pixels.shape[:2], pixels.dtype, 99) if page in (2, 3) else None
        icc = SRGB if channels else None
        xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>" if page == 4 else None
        pages.append(Decoded(pixels, alpha, "tiff", icc, described(page) if page != 5 else None, xmp=xmp, page=page))
    carried = tiff_codec.write(
        [(np.dstack([page.pixels] + ([page.alpha] if page.alpha is not None else [])), page.metadata) for page in pages]
    )
    same = BytesIO()
    with tifffile.TiffWriter(same, bigtiff=True) as writer:
        for page in range(5):
            writer.write(noise((9, 12, 3), np.uint8, page), photometric="rgb", metadata=None)
    return {"plain.tif": plain.getvalue(), "carried.tif": carried, "same.tiff": same.getvalue()}


def written_documents(folder: Path) -> Path:
    """A new folder with the files of `documents`."""
    folder.mkdir()
    for name, data in documents().items():
        (folder / name).write_bytes(data)
    return folder


def carry_out(source, out, stages, *, suffix=None, listener=lambda _event: None, jobs=None):
    """(the report of a run, every file under a final name, the journal's lines without times)."""
    trees = Trees(Settings("o", "w"), resume=True, replace=False)
    naming = Naming("sr-x2", out, format=suffix)
    plan = make_plan([source], naming, Selection(), OnExisting.REFUSE, may_go_on=trees.may_go_on)
    trees.begin(plan.roots)
    report = run(plan, LocalExecutor(stages, jobs=jobs), on_event=listener, trees=trees)
    assert leftovers(out) == []
    return report, files(out), journal(out)


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def leftovers(out):
    return list(out.rglob("*.adacode-part"))


def journal(out):
    if not (out / JOURNAL).exists():  # nothing was written
        return []
    lines = map(json.loads, (out / JOURNAL).read_text().splitlines())
    dropped = {"time", "seconds", "peak_memory_bytes"}
    return sorted(({k: v for k, v in line.items() if k not in dropped} for line in lines), key=str)


def stages(restore=None, **options) -> Stages:
    return Stages(restore or Restoring(NearestRestorer(), "sr", 2.0), **options)
