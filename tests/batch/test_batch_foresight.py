"""What will be refused is refused before the network runs, and by headers alone where these say so."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from nearest import NearestRestorer
from PIL import Image

from adacode_cli import formats
from adacode_cli.batch import foresight, masks
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.found import Selection
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages
from adacode_cli.batch.stream import restore_bytes
from adacode_cli.errors import OutputError
from adacode_cli.imaging import encode
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.image import Decoded
from adacode_cli.sizes import Sizing

TWICE = Foresight(Sizing("scale", 2.0))


def never(_image, _mask):
    raise AssertionError("the network was asked")


def written(path: Path, image: Decoded) -> Path:
    path.write_bytes(encode.encode(image, format=path.suffix[1:].replace("tif", "tiff")))
    return path


def grey(width: int, height: int = 1, dtype=np.uint8, **others) -> Decoded:
    return Decoded(np.zeros((height, width), dtype), **others)


def plan_of(source: Path, format: str):
    return make_plan([source], Naming("sr-x2", source.parent / "out", format), Selection(), OnExisting.REFUSE)


def failure_of(source: Path, format: str, stages: Stages) -> str | None:
    plan = plan_of(source, format)
    report = run(plan, LocalExecutor(stages), on_event=lambda _event: None)
    assert not list((source.parent / "out").glob("a.*"))
    return report.failed[0].failure.message if report.failed else None


def test_what_the_decoder_cannot_tell_is_left_to_the_run(tmp_path):
    raw = tmp_path / "raw.dng"
    tifffile.imwrite(raw, np.zeros((8, 8), np.uint16), photometric=32803, extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])
    cut = written(tmp_path / "cut.jpeg", grey(16, 16))
    cut.write_bytes(cut.read_bytes()[:30])
    asked = []

    def decoder(data, **_facts):
        asked.append(data)
        raise RuntimeError("a bug")

    for source in (raw, cut):
        (job,) = plan_of(source, "png").jobs
        assert TWICE.refusal(job, Keeping(), decoder) is None
    assert asked == [cut.read_bytes()]  # raw would take too long


@pytest.mark.parametrize(
    ("format", "width", "message"),
    [
        ("webp", 8192, "a WebP cannot hold 16384×2 pixels"),
        ("jpeg", 32751, "a JPEG cannot hold 65502×2 pixels"),
        ("avif", 32768, "an AVIF cannot hold 65536×2 pixels"),
        ("heic", 8193, "a HEIC cannot hold 16386×2 pixels"),
    ],
)
def test_a_result_too_large_for_its_format_is_not_computed(tmp_path, format, width, message):
    source = written(tmp_path / "a.png", grey(width))
    (job,) = plan_of(source, format).jobs
    error = TWICE.refusal(job, Keeping())
    assert failure_of(source, format, Stages(never, foresight=TWICE)) == error.message == message
    with pytest.raises(OutputError, match=f"^<stdin>: {message}"):
        restore_bytes(source.read_bytes(), Stages(never, foresight=TWICE), format)
    smaller = dataclasses.replace(job, found=dataclasses.replace(job.found, given=written(tmp_path / "b.png", grey(9))))
    assert TWICE.refusal(smaller, Keeping()) is None


def test_sides_and_bytes_that_formats_hold():
    largest = {"jpeg": 65500, "webp": 16383, "avif": 65535, "heic": 16384}
    for format in formats.every():
        side = largest.get(format.name, 70000)
        assert format.fits((1, side), 3)
        assert format.fits((side, 1), 3)
        assert format.fits((1, side + 1), 3) == (format.name not in largest)
    assert formats.named("bmp").fits((65000, 65000), 1)
    assert not formats.named("bmp").fits((65000, 65000), 3)


LOSSES = {
    "alpha": (grey(4, alpha=np.array([[0, 9, 9, 9]], np.uint8)), "png", "jpeg", "alpha (composited on white)"),
    "depth": (grey(4, dtype=np.uint16), "png", "webp", "16-bit depth (saved as 8-bit)"),
    "float": (grey(4, dtype=np.float32), "tiff", "png", "32-bit float depth (saved as 16-bit)"),
    "pages": (grey(4, more_pages=(grey(3, page=1), grey(2, page=2))), "tiff", "png", "2 of 3 pages"),
    "colours": (grey(4, cicp=Cicp(12, 17)), "png", "tiff", "CICP colour description (Display P3, SMPTE ST 428-1)"),
    "HDR": (grey(4, dtype=np.uint16, cicp=Cicp(9, 16)), "png", "tiff", "HDR colour description (BT.2020, PQ)"),
    "metadata": (grey(4, iptc=b"\x1c\x02\x05\x00\x05title"), "jpeg", "webp", "IPTC"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_what_strict_refuses_is_not_computed(tmp_path, kind):
    image, format, other, lost = LOSSES[kind]
    source = written(tmp_path / f"a{formats.named(format).suffix}".replace(".jpg", ".jpeg"), image)
    strict = Keeping(strict=True)
    message = failure_of(source, other, Stages(never, keeping=strict, foresight=TWICE))
    assert message.startswith(f"cannot be kept in {other}: ")
    assert lost in message
    (job,) = plan_of(source, other).jobs
    error = TWICE.refusal(job, strict)
    assert (error and error.message) == (None if kind == "alpha" else message)  # a header does not say what is opaque
    assert TWICE.refusal(job, Keeping()) is None
    (kept,) = plan_of(source, format).jobs
    assert TWICE.refusal(kept, strict) is None


def test_a_dry_run_knows_what_strict_refuses_of_what_a_file_says(tmp_path):
    """Where the tags lie, and what is behind the image, no header tells."""
    strict = Keeping(strict=True)
    jpeg = encode.encode(grey(4, 4), format="jpeg")
    png = encode.encode(grey(4, 4), format="png")
    text = b"tEXtAuthor\0x"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    comment = b"\xff\xfe\0\x07by me"
    cases = {
        "comment.jpg": (jpeg[:2] + comment + jpeg[2:], "its comment"),
        "behind.jpg": (jpeg + b"something", "bytes after its end (9)"),
        "text.png": (png[:33] + chunk + png[33:], "texts (Author)"),
        "whole.jpg": (jpeg, None),
    }
    for name, (data, lost) in cases.items():
        (tmp_path / name).write_bytes(data)
        (job,) = plan_of(tmp_path / name, "tiff").jobs
        error = TWICE.refusal(job, strict)
        assert (error and error.message) == (lost and f"cannot be kept in tiff: {lost}")
        assert TWICE.refusal(job, Keeping()) is None
        if lost:
            assert failure_of(tmp_path / name, "tiff", Stages(never, keeping=strict, foresight=TWICE)) == error.message


def test_a_map_that_a_tiff_may_keep_is_not_foreseen_as_lost(tmp_path):
    scale = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (65000, "s", 2, "x", True)]
    for tags, lost in ((scale[:1], None), (scale, "TIFF tags (tag 65000)")):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8), extratags=tags, metadata=None, software=False)
        (job,) = plan_of(tmp_path / "a.tif", "tiff").jobs
        error = TWICE.refusal(job, Keeping(strict=True))
        assert (error and error.message) == (lost and f"cannot be kept in tiff: {lost}")


def test_a_hole_that_is_filled_is_no_alpha_that_is_lost(tmp_path):
    image = Decoded(np.full((4, 6, 3), 90, np.uint8), np.where(np.eye(4, 6), 0, 255).astype(np.uint8))
    data = encode.encode(image, format="png")
    restore = Restoring(NearestRestorer(), "inpaint")
    stages = Stages(restore, masks.Transparency(), keeping=Keeping(strict=True))
    out, *_ = restore_bytes(data, stages, "jpeg")
    assert decode(out, name="x").alpha is None
    half = dataclasses.replace(image, alpha=np.full((4, 6), 200, np.uint8))
    other = dataclasses.replace(stages, holes=masks.OneColor("#ffffff"), restore=never)
    with pytest.raises(OutputError, match=r"^<stdin>: cannot be kept in jpeg: .*alpha"):
        restore_bytes(encode.encode(half, format="png"), other, "jpeg")


def test_a_header_that_cannot_be_read_refuses_nothing(tmp_path):
    for name, data in (
        ("a.png", b"\x89PNG\r\n\x1a\nx"),
        ("b.webp", b"RIFF\1\0\0\0WEBPVP8 "),
        ("c.jpg", b"\xff\xd8\xff\xe0"),
    ):
        (tmp_path / name).write_bytes(data)
        (job,) = plan_of(tmp_path / name, "webp").jobs
        assert Foresight(Sizing("scale", 4.0)).refusal(job, Keeping(strict=True)) is None
        assert Foresight(Sizing("scale", 4.0)).refitted([job], Naming("x", format="png")) == [job]


@pytest.mark.parametrize("other", ["png", "tiff"])
def test_jobs_get_another_name_where_the_result_is_too_large(tmp_path, other):
    (tmp_path / "p").mkdir()
    for name, width in (("wide.webp", 8192), ("small.webp", 9), ("large.png", 40000), ("b.bmp", 8192)):
        Image.new("L", (width, 1)).save(tmp_path / "p" / name)
    jobs = make_plan([tmp_path / "p"], Naming("sr-x2"), Selection(), OnExisting.REFUSE).jobs
    names = {job.name: job.instead_of for job in TWICE.refitted(jobs, Naming("sr-x2", format=other))}
    assert names == {"b.bmp": "", "large.png": "", "small.webp": "", f"wide{formats.named(other).suffix}": "webp"}
    kept = TWICE.refitted(jobs, Naming("sr-x2", format=other, keep_suffix=True))
    assert {job.name for job in kept if job.instead_of} == {f"wide.webp{formats.named(other).suffix}"}


def test_a_header_that_was_read_for_the_name_is_not_read_again(tmp_path, monkeypatch):
    read, read_header = [], foresight.read_header
    monkeypatch.setattr(foresight, "read_header", lambda path, parse: read.append(path) or read_header(path, parse))
    (tmp_path / "p").mkdir()
    for name, width in (("wide.webp", 8192), ("small.webp", 9), ("large.png", 40)):
        Image.new("L", (width, 1)).save(tmp_path / "p" / name)
    jobs = make_plan([tmp_path / "p"], Naming("sr-x2"), Selection(), OnExisting.REFUSE).jobs
    again = TWICE.refitted(jobs, Naming("sr-x2", format="png"))
    assert [TWICE.refusal(job, Keeping(strict=True)) for job in again] == [None] * 3
    assert sorted(path.name for path in read) == ["large.png", "small.webp", "wide.webp"]


@pytest.mark.parametrize("format", ["png", "tiff", "jpeg", "jp2"])
def test_limits_that_a_run_would_refuse_are_foreseen(tmp_path, format):
    source = written(tmp_path / f"a{formats.named(format).suffix}".replace(".jpg", ".jpeg"), grey(40, 50))
    (job,) = plan_of(source, "png").jobs
    for keeping, message in (
        (Keeping(max_pixels=1999), "claims 40×50 pixels, more than 0.001999 megapixels"),
        (Keeping(max_file_bytes=9), "MB, more than the 9e-06 MB that a file may have"),
    ):
        error = TWICE.refusal(job, keeping)
        assert failure_of(source, "png", Stages(never, keeping=keeping, foresight=TWICE)) == error.message
        assert message in error.message
    assert TWICE.refusal(job, Keeping(max_pixels=2000, max_file_bytes=source.stat().st_size)) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty (0 bytes)"), (b"no picture at all", "holds no image"), (b"GIF89a" + bytes(9), "is a GIF")],
)
def test_files_whose_first_bytes_are_no_images_are_known_to_fail(tmp_path, content, said):
    source = tmp_path / "a.png"
    source.write_bytes(content)
    [job] = plan_of(source, "png").jobs
    assert said in TWICE.refusal(job, Keeping()).message
    source.write_bytes(encode.encode(grey(3), format="png"))
    assert TWICE.refusal(job, Keeping()) is None
