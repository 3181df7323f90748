"""Damaged metadata never spoil an image: what is written can be opened, and what could not be read again is named."""

import random
import shutil
import struct
import subprocess
import warnings
from dataclasses import replace
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
from image_fixtures import srgb_profile
from other_programs import needs_exiftool
from PIL import Image

from adacode_cli import formats
from adacode_cli.batch.keeping import Keeping
from adacode_cli.errors import OutputError
from adacode_cli.imaging import exif, exif_editing, png_chunks, xmp_editing
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encoded, losses
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.metadata import TITLES, upright
from adacode_cli.imaging.provenance import HistoryEntry, attributed
from adacode_cli.imaging.resolution import INCH, Resolution

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about EXIF

ENTRY = HistoryEntry("sr x2", "a", "0" * 64)
DPI = Resolution(Fraction(300), Fraction(300), INCH)
PIXELS = np.random.default_rng(0).integers(0, 256, (33, 37, 3)).astype(np.uint8)
MAX_EXIF_IN_A_JPEG = 65527
A_FORMAT = 12  # damaged images of each


def exif_block():
    block = Image.Exif()
    block[274], block[305], block[282], block[283], block[296] = 6, "A tool", 72.0, 72.0, 2
    block[34665] = {36867: "2021:03:04 05:06:07", 40962: 37, 37500: b"maker note" * 5}
    block[34853] = {1: "N", 2: (48.0, 51.0, 30.5)}
    return block.tobytes()[6:]


BLOCKS = {
    "exif": exif_block(),
    "xmp": xmp_editing.with_event(None, tool="a", parameters="b"),
    "icc": srgb_profile(),
    "iptc": b"\x1c\x02\x19\0\3abc\x1c\x02\x19\0\4abcd",
}


def damaged(block, dice):
    found = bytearray(block)
    for _ in range(dice.choice((1, 2, 4, 8))):
        at = dice.randrange(min(len(found), dice.choice((120, 1 << 20)))) if found else 0
        match dice.randrange(4):
            case 0:
                found[at : at + 1] = bytes([dice.choice((0, 1, 2, 8, 127, 255))])
            case 1:
                found[at : at + 4] = dice.choice((b"\xff", b"\0")) * 4
            case 2:
                del found[at:]
            case _:
                del found[at : at + dice.randrange(1, 20)]
    return bytes(found) or None


def damaged_image(number):
    """What a reader would hand on: its blocks upright or dropped."""
    dice = random.Random(number)
    blocks = {name: damaged(block, dice) if dice.random() < 0.6 else block for name, block in BLOCKS.items()}
    said = upright(Decoded(PIXELS, **blocks).metadata, None).metadata
    image = Decoded(PIXELS, icc=said.icc, exif=said.exif, xmp=said.xmp, iptc=said.iptc, resolution=DPI)
    return attributed(image.restored(image.pixels, None, ()), ENTRY)


def opened_by_pillow(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(BytesIO(file))
        image.load()
        image.getexif().get_ifd(34665)
    return image


@pytest.mark.parametrize("format", formats.names())
def test_damaged_blocks_come_back_or_are_named(format):
    named = 0
    for number in range(A_FORMAT):
        image = damaged_image(f"{format}{number}")
        file, beyond = encoded(image, format=format)
        lost = " ".join((*losses(image, format), *beyond))
        back = decode(file, name="x")
        assert back.size == image.size
        if format != "heic":
            assert opened_by_pillow(file).size == (37, 33)
        for name, title in TITLES.items():
            if getattr(image, name) is not None and name != "resolution":
                assert (getattr(back, name) is None) == (title in lost), (number, name, lost)
        named += bool(beyond)
    assert named or format in ("bmp", "webp", "avif"), "nothing that was damaged was found to be"


@needs_exiftool
@pytest.mark.skipif(shutil.which("identify") is None, reason="ImageMagick is not installed")
def test_other_programs_open_all_of_them(tmp_path):
    for format, suffix in ((each.name, each.suffix) for each in formats.every()):
        for number in range(3):
            (tmp_path / f"{format}{number}{suffix}").write_bytes(
                encoded(damaged_image(f"{format}{number}"), format=format)[0]
            )
    sizes = ["exiftool", "-T", "-FileName", "-ImageWidth", "-ImageHeight", str(tmp_path)]
    found = subprocess.run(sizes, check=True, capture_output=True, timeout=120, text=True).stdout.splitlines()
    assert len(found) == 3 * len(formats.names())
    # exiftool says of HEIC how large the coded image is.
    assert all(line.endswith(("\t37\t33", ".heic\t64\t64")) for line in found), found
    readable = [str(path) for path in tmp_path.iterdir() if path.suffix in (".jpg", ".png", ".webp", ".tif", ".bmp")]
    run = subprocess.run(["identify", "-format", "%wx%h\n", *readable], check=False, capture_output=True, timeout=120)
    assert run.stdout.decode().split() == ["37x33"] * len(readable), run.stderr.decode()


@pytest.mark.parametrize("format", ["avif", "jpeg", "heic", "webp", "png", "jp2", "tiff"])
def test_no_exif_at_all_is_a_loss_and_not_a_failure(format):
    image = Decoded(PIXELS, exif=b"this is no EXIF block")
    data, notes = Keeping().encoded(image, format, None)
    assert notes == (f"not kept in {format}: EXIF",)
    assert decode(data, name="x").size == image.size
    with pytest.raises(OutputError, match="EXIF"):
        Keeping(strict=True).encoded(image, format, None)


def written_by_a_camera(order, main, inner):
    """A block as cameras write them; tags are (code, type, number of values, bytes)."""

    def directory(tags, at):
        values_at, values, head = at + 2 + 12 * len(tags) + 4, b"", struct.pack(f"{order}H", len(tags))
        for code, kind, count, data in tags:
            where = data.ljust(4, b"\0")
            if len(data) > 4:
                where = struct.pack(f"{order}I", values_at + len(values))
                values += data + bytes(len(data) % 2)
            head += struct.pack(f"{order}HHI", code, kind, count) + where
        return head + bytes(4) + values

    def pointing(to):
        return directory([*main, *([(34665, 4, 1, struct.pack(f"{order}I", to))] if inner else [])], 8)

    inner_at = 8 + len(pointing(0))
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    return head + pointing(inner_at) + (directory(inner, inner_at) if inner else b"")


def text(code, said):
    return code, 2, len(said), said


ODDITIES = {
    "no final NUL": ([text(271, b"Canon"), text(305, b"abc"), text(272, b"EOS9")], [text(36867, b"2021:03:04")]),
    "many final NULs": ([text(271, b"Canon" + bytes(27))], [text(42036, b"a lens" + bytes(58))]),
    "blanks": ([text(270, b" " * 31 + b"\0"), text(271, b"  two  blanks  ")], []),
    "empty texts": ([text(270, b"\0"), (315, 2, 0, b""), text(271, b"Canon\0")], []),
    "two texts in one": ([text(33432, b"Photographer\0Editor\0")], []),
    "not ASCII": ([text(315, "Müller".encode()), text(33432, "Müller".encode("latin-1"))], []),
    "tags out of order": (
        [text(306, b"2021:03:04 05:06:07\0"), text(271, b"Canon\0")],
        [text(36867, b"b"), text(1, b"a")],
    ),
    "a tag twice": ([text(271, b"Canon\0"), text(271, b"Canon\0")], []),
    "text of other types": ([(271, 1, 6, b"Canon\0"), (272, 7, 5, b"EOS 9")], [(37510, 7, 11, b"ASCII\0\0\0a  ")]),
    "unknown types": ([(271, 0, 5, b""), text(272, b"EOS 9")], [(37500, 99, 5, b""), (40000, 13, 1, b"\0\0\0\7")]),
    "nothing but an orientation": ([(274, 3, 1, b"\1\0")], []),
    "private tags alone": ([(50341, 7, 8, b"PrintIM\0")], []),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("oddity", ODDITIES)
def test_ordinary_oddities_of_cameras_are_kept(oddity, order):
    block, _ = exif.upright(written_by_a_camera(order, *ODDITIES[oddity]))
    image = Decoded(PIXELS, exif=block)
    for format in formats.names():
        file, beyond = encoded(image, format=format)
        assert beyond == (), format
        assert losses(image, format) == (() if format != "bmp" else ("EXIF",)), format
        back = decode(file, name="x").exif
        if format in ("jpeg", "png", "webp", "jp2", "heic"):
            assert back == block, format
        if format == "tiff" and ODDITIES[oddity][0][0][1] == 2:
            assert ODDITIES[oddity][0][0][3].rstrip(b"\0") in back


@pytest.mark.parametrize("fails", ["writing", "reading"])
def test_a_lack_of_memory_is_no_fault_of_the_metadata(fails, monkeypatch):
    def without_memory(*_arguments, **_options):
        raise MemoryError

    module, name = (png_chunks, "inserted") if fails == "writing" else (exif, "upright")
    monkeypatch.setattr(module, name, without_memory)
    with pytest.raises(MemoryError):
        encoded(Decoded(PIXELS, exif=BLOCKS["exif"]), format="png")


def test_a_history_that_does_not_fit_costs_no_metadata():
    block = exif_editing.with_tags(None, [exif_editing.Tag(270, 2, "x" * 65400)])
    block += bytes(MAX_EXIF_IN_A_JPEG - len(block))
    data, notes = Keeping(history=ENTRY).encoded(Decoded(PIXELS, exif=block), "jpeg", None)
    assert notes == ()
    assert decode(data, name="x").exif == block


@pytest.mark.parametrize("said", ["\x01\x02bell\x07", "half a pair \udcff", "nul \0 in it", "\ufffe"])
def test_control_characters_in_a_name_make_no_damaged_xmp(said):
    block = exif_editing.with_tags(None, [exif_editing.Tag(305, 2, said)])
    told = attributed(Decoded(PIXELS, exif=block), replace(ENTRY, weights=said))
    assert told.xmp is not None
    again = attributed(told, ENTRY)
    assert again.xmp is not None
    assert again.xmp.count(b"<stEvt:action>") == 2
    assert encoded(again, format="png")[1] == ()
