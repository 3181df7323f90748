"""Metadata that are damaged, or made to do harm: the image is restored, and what is not kept is named."""

from __future__ import annotations

import struct
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from test_faults_disk import RUN, lines, names, said

from adacode_cli.imaging.png_chunks import chunk

# Before they were mended, the files of this page took minutes.
MAX_S = 60
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="">%b</rdf:Description></rdf:RDF></x:xmpmeta>'
)


def saved(format, **options):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def png_with(packet):
    file = saved("PNG")
    return file[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet, 9)) + file[33:]


@pytest.fixture
def folder(photo, tmp_path):
    """Writes a file between two images: folder("b.png", content)."""

    def write(name, content):
        for other in ("a", "c"):
            photo(f"p/{other}.png")
        (tmp_path / "p" / name).write_bytes(content)

    return write


PACKETS = {
    "a packed XMP of a million blanks": (PACKET % b"" + b" " * 1_000_000, "XMP"),
    "a packed XMP of 200,000 scraps of text": (PACKET % (b"a<a/>" * 200_000), "XMP"),
    "a packed XMP of 100 MB": (PACKET % b"" + b" " * 100_000_000, "XMP of more than 4 MiB"),
}


def test_xmp_made_to_take_for_ever(adacode, folder, tmp_path, table):
    for number, (packet, _) in enumerate(PACKETS.values()):
        folder(f"{number}.png", png_with(packet))
    began = time.monotonic()
    result = adacode(*RUN, "--format", "jpeg")
    assert time.monotonic() - began < MAX_S
    assert (result.returncode, len(names(tmp_path / "out"))) == (0, 2 + len(PACKETS))
    for number, (fault, (_, loss)) in enumerate(PACKETS.items()):
        (line,) = (line for line in lines(result) if f"p/{number}.png" in line)
        assert line.endswith(f"not kept in jpeg: {loss})")
        table.row(fault, 0, f"not kept in jpeg: {loss}", "is done, this file too")


def one_letter():
    """A resolution of one letter: Pillow looks at the second when it opens a JPEG."""
    return b"Exif\0\0II*\0\x08\0\0\0\2\0" + struct.pack("<HHI2sHHHIHHI", 282, 2, 2, b"5", 0, 296, 3, 1, 2, 0, 0)


def thumbnail_over_everything():
    first = struct.pack("<HHHIII", 1, 274, 3, 1, 6, 26)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 2, 514, 4, 1, 40, 0)


BLOCKS = {
    "EXIF for which programs refuse a JPEG": (one_letter(), "EXIF"),
    "EXIF with a thumbnail that lies over it": (thumbnail_over_everything(), "damaged EXIF"),
}


def test_damaged_exif_is_left_out(adacode, folder, tmp_path, table):
    for number, (block, _) in enumerate(BLOCKS.values()):
        folder(f"{number}.webp", saved("WEBP", exif=block))
    result = adacode(*RUN, "--format", "jpeg")
    assert (result.returncode, names(tmp_path / "out")) == (0, {"a.jpg", "c.jpg", "0.jpg", "1.jpg"})
    strict = adacode(*RUN[:3], "strict", *RUN[4:], "--format", "jpeg", "--strict")
    assert (strict.returncode, names(tmp_path / "strict")) == (9, {"a.jpg", "c.jpg"})
    for number, (fault, (_, loss)) in enumerate(BLOCKS.items()):
        assert Image.open(tmp_path / "out" / f"{number}.jpg").size == (96, 64)
        (line,) = (line for line in lines(result) if f"p/{number}.webp" in line)
        assert line.endswith(f"not kept in jpeg: {loss})")
        table.row(fault, 0, f"not kept in jpeg: {loss}", "is done, this file too")
        line = said(strict, f"failed: p/{number}.webp")
        assert f"cannot be kept in jpeg: {loss}" in line
        table.row(f"{fault}, with --strict", 9, line, "is done")


@pytest.mark.parametrize("more", [(), ("--no-isolate",)])
def test_libraries_say_nothing(adacode, folder, more):
    """Pillow, tifffile and libtiff (in Pillow) all have something to say of these."""
    file = bytearray(saved("TIFF", compression="tiff_lzw"))
    file[40:60] = b"\xff" * 20
    folder("b.tif", bytes(file))
    jpeg = saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\2\0" + struct.pack("<HHIIHHII", 271, 2, 99, 9, 272, 2, 99, 9))
    folder("d.jpg", jpeg)
    folder("e.tif", saved("TIFF").replace(struct.pack("<HHI", 284, 3, 1), struct.pack("<HHI", 284, 99, 1)))
    result = adacode(*RUN, *more)
    assert result.returncode in (0, 9)
    own = ("[", "failed: ", "finished: ", "  failed: p/")
    assert all(line.startswith(own) for line in lines(result)), result.stderr.decode()
