"""What a file says and the written one does not is a loss, whatever it is: named once, and refused by --strict."""

import random
import struct
import subprocess
import zlib
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
import tifffile
from image_fixtures import png_chunk, saved, smooth, srgb_profile
from nearest_image import enlarged
from other_programs import exiftool, needs_exiftool, needs_imagemagick, tagged
from PIL import Image

from adacode_cli import formats
from adacode_cli.batch.keeping import Keeping
from adacode_cli.errors import OutputError
from adacode_cli.imaging import inventory
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.decoder_pool import decoding
from adacode_cli.imaging.encode import losses
from adacode_cli.imaging.provenance import HistoryEntry

PIXELS = smooth(24, 32)
MAP = "GeoTIFF tags (ModelPixelScaleTag, ModelTiepointTag, ModelTransformationTag, GeoKeyDirectoryTag)"
CLEAR = np.dstack([PIXELS, np.tile(np.uint8([0, 200]), (24, 16))])
ENTRY = HistoryEntry("sr-x2", "compact", "0" * 64)
RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
ULTRA_HDR = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + RDF + b'">'
    b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
    b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" '
    b'GCamera:MotionPhoto=\'1\' dc:source="a camera" hdrgm:Version="1.0"><hdrgm:Gamma>1.2</hdrgm:Gamma>'
    b'<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary"/></rdf:li>'
    b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Length="99"/></rdf:li></rdf:Seq>'
    b"</Container:Directory><dc:format>image/jpeg</dc:format></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*segments, behind=b"", pixels=PIXELS, **options):
    """A JPEG with further segments, and bytes behind its image."""
    file = saved(pixels, "JPEG", **options)
    return file[:2] + b"".join(segments) + file[2:] + behind


def with_index(kind, second, **options):
    """A JPEG whose MPF index, which lies behind the first two bytes, names a second image of a kind."""
    body_at = 2 + 4 + len(b"MPF\0")

    def index(offset):
        entries = struct.pack("<3I2H", 0x20030000, 0, 0, 0, 0)
        entries += struct.pack("<3I2H", kind, len(second), offset, 0, 0)
        tags = [(0xB000, 7, 4, b"0100"), (0xB001, 4, 1, struct.pack("<I", 2)), (0xB002, 7, 32, struct.pack("<I", 50))]
        table = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
        return segment(0xE2, b"MPF\0II*\0" + struct.pack("<IH", 8, 3) + table + bytes(4) + entries)

    whole = jpeg(index(0), **options)
    return jpeg(index(len(whole) - body_at), behind=second, **options)


def gain_map():
    return jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + ULTRA_HDR), pixels=PIXELS[:8, :8, 0].copy())


def png(*chunks, pixels=PIXELS):
    file = saved(pixels, "PNG")
    return file[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + file[33:]


def tiff(pixels=PIXELS, tags=(), **options):
    buffer = BytesIO()
    options = {"photometric": "rgb", "metadata": None, "software": False} | options
    tifffile.imwrite(buffer, pixels, extratags=list(tags), **options)
    return buffer.getvalue()


def tiff_with_image_inside():
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(PIXELS, photometric="rgb", subifds=1, metadata=None, software=False)
        writer.write(PIXELS, photometric="rgb", metadata=None, software=False)
    return buffer.getvalue()


def webp(kind, body):
    content = saved(CLEAR, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")[8:] + kind
    content += struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(content)) + content


def jp2(kind, body):
    file = saved(PIXELS, "JPEG2000")
    at = file.index(b"jp2h") - 4
    return file[:at] + struct.pack(">I4s", 8 + len(body), kind) + body + file[at:]


def heif(format, which):
    """An AVIF or HEIC whose second image, its alpha, is called something else."""
    buffer = BytesIO()
    if format == "heic":
        pillow_heif.from_pillow(Image.fromarray(CLEAR)).save(buffer, quality=90)
    else:
        Image.fromarray(CLEAR).save(buffer, "AVIF")
    data = buffer.getvalue()
    alpha = {"avif": b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", "heic": b"urn:mpeg:hevc:2015:auxid:1"}[format]
    assert alpha in data
    return data.replace(alpha, which.ljust(len(alpha), b"\0"))


def bmp_with_profile():
    file, profile = bytearray(saved(PIXELS, "BMP")), srgb_profile()
    header = bytearray(file[14:54].ljust(124, b"\0"))
    struct.pack_into("<I", header, 0, 124)
    header[56:60] = b"DEBM"
    struct.pack_into("<2I", header, 112, 124 + len(file) - 54, len(profile))
    struct.pack_into("<I", file, 10, 14 + 124)
    return bytes(file[:14] + header + file[54:]) + profile


def resources(*kinds):
    parts = [struct.pack(">4sHHI", b"8BIM", kind, 0, len(body)) + body + bytes(len(body) % 2) for kind, body in kinds]
    return b"Photoshop 3.0\0" + b"".join(parts)


def saved_exif(maker):
    exif = Image.Exif()
    exif[271] = maker
    return exif.tobytes().removeprefix(b"Exif\0\0")


# In front of the path is a state of Photoshop that does not fit into a segment.
CUT = resources((1082, bytes(70_000)), (2000, b"x" * 26))


def credentials():
    return b"JP\0\1" + struct.pack(">II4sI4s", 1, 60, b"jumb", 40, b"jumd") + b"c2pa" + bytes(40)


MP4 = struct.pack(">I", 24) + b"ftypmp42" + bytes(12)
BEHIND = "bytes after its end (9)"
LOSSES = {
    "gain map of a JPEG": (lambda: with_index(0, gain_map()), "its gain map"),
    "gain map that only follows": (lambda: jpeg(behind=gain_map()), "its gain map"),
    "gain map by its ISO kind": (lambda: with_index(0x050000, jpeg()), "its gain map"),
    "second view of a JPEG": (lambda: with_index(0x020002, jpeg()), "further images (1)"),
    "motion photo": (lambda: jpeg(behind=MP4), "its video"),
    "anything behind a JPEG": (lambda: jpeg(behind=b"something"), "bytes after its end (9)"),
    **{
        f"anything behind a {format}": (lambda format=format: saved(PIXELS, format) + b"something", BEHIND)
        for format in ("BMP", "JPEG2000", "AVIF")
    },
    "a video behind an AVIF": (lambda: saved(PIXELS, "AVIF") + MP4, "its video"),
    "an APP0 that is not JFIF's": (lambda: jpeg(segment(0xE0, b"CIFF\0")), "JPEG segments (APP0 CIFF)"),
    "an APP14 that is not Adobe's": (lambda: jpeg(segment(0xEE, b"Other\0")), "JPEG segments (APP14 Other)"),
    "a second EXIF block": (
        lambda: jpeg(*(segment(0xE1, b"Exif\0\0" + saved_exif(maker)) for maker in ("a", "b"))),
        "JPEG segments (further EXIF)",
    ),
    "a second IPTC block": (
        lambda: jpeg(*(segment(0xED, resources((0x404, b"\x1c\x02\x05\0\x01" + title))) for title in (b"a", b"b"))),
        "further IPTC records",
    ),
    "a path behind a segment's end": (
        lambda: jpeg(segment(0xED, CUT[:60_000]), segment(0xED, b"Photoshop 3.0\0" + CUT[60_000:])),
        "Photoshop resources (paths)",
    ),
    "FlashPix": (lambda: jpeg(segment(0xE2, b"FPXR\0\0")), "JPEG segments (APP2 FPXR)"),
    "content credentials": (lambda: jpeg(segment(0xEB, credentials())), "its content credentials (C2PA)"),
    "path in a JPEG": (
        lambda: jpeg(segment(0xED, resources((2000, b"x" * 26), (0x3ED, bytes(16)), (1034, b"\0")))),
        "Photoshop resources (paths)",
    ),
    "text of Ducky": (
        lambda: jpeg(segment(0xEC, b"Ducky" + struct.pack(">2HI2H", 1, 4, 60, 2, 8) + b"\0\0\0\2\0a\0b")),
        "JPEG segments (Ducky comment)",
    ),
    "comment": (lambda: jpeg(comment=b"by hand"), "its comment"),
    "texts of a PNG": (
        lambda: png((b"tEXt", b"Author\0x"), (b"tEXt", b"date:create\0x")),
        "texts (Author)",
    ),
    "chunks of a PNG": (lambda: png((b"sTER", b"\0"), (b"prVt", b"x")), "PNG chunks (sTER, prVt)"),
    "light levels of a PNG": (lambda: png((b"cLLI", bytes(8))), "its HDR light levels"),
    "background of a PNG": (lambda: png((b"bKGD", bytes(6)), pixels=CLEAR), "PNG chunks (bKGD)"),
    "chunk of a WebP": (lambda: webp(b"ABCD", b"xy"), "WebP chunks (ABCD)"),
    "box of a JPEG 2000": (lambda: jp2(b"xml ", b"<gml/>"), "JPEG 2000 boxes (xml)"),
    "gain map of an AVIF": (lambda: heif("avif", b"urn:com:apple:photo:2020:aux:hdrgainmap"), "its gain map"),
    "depth map of an AVIF": (lambda: heif("avif", b"urn:com:apple:photo:2020:aux:disparity"), "its depth map"),
    "depth map of a HEIC": (
        lambda: heif("heic", b"urn:mpeg:hevc:2015:auxid:2"),
        "its depth, brightness or other auxiliary maps",
    ),
    "private tag of a TIFF": (lambda: tiff(tags=[(65000, 2, 3, "ab", True)]), "TIFF tags (tag 65000)"),
    "layers of a TIFF": (lambda: tiff(tags=[(37724, 7, 4, b"8BIM", True)]), "TIFF tags (ImageSourceData)"),
    "images inside a TIFF": (tiff_with_image_inside, "images in subdirectories"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_is_named_once_and_refused_by_strict(kind):
    make, said = LOSSES[kind]
    image = decode(make(), name="x")
    for format in {image.format, "tiff"}:
        _, notes = Keeping(ENTRY).encoded(image, format, None)
        lost = [note for note in notes if note.startswith("not kept")]
        assert lost == [f"not kept in {format}: {said}"]
        with pytest.raises(OutputError, match="cannot be kept"):
            Keeping(ENTRY, strict=True).encoded(image, format, None)


@pytest.mark.parametrize("format", ["tiff", "bmp"])
def test_a_profile_of_a_bmp_arrives_or_is_named(format):
    data, notes = Keeping().encoded(decode(bmp_with_profile(), name="x"), format, None)
    assert ("ICC profile" in "".join(notes)) == (decode(data, name="x").icc is None)


def test_alpha_of_every_kind_is_no_further_channel():
    """999 is how Corel's programs call it."""
    data = bytearray(tiff(np.dstack([PIXELS, PIXELS[..., :1]]), extrasamples=["unassalpha"]))
    entry = struct.pack("<HHIH", 338, 3, 1, 2)
    assert data.count(entry) == 1
    image = decode(bytes(data.replace(entry, struct.pack("<HHIH", 338, 3, 1, 999))), name="x")
    assert image.alpha is not None
    assert Keeping(strict=True).encoded(image, "tiff", None)[1] == ()


@pytest.mark.parametrize("count", [4, 5])
def test_channels_that_are_neither_colour_nor_alpha_are_a_loss(count):
    """Also of 8 bits, where Pillow reads the file and passes them by."""
    pixels = np.dstack([PIXELS, *[PIXELS[..., :1]] * (count - 3)])
    kinds = ["unspecified"] if count == 4 else ["unassalpha", "unspecified"]
    image = decode(tiff(pixels, extrasamples=kinds), name="x")
    _, (note,) = Keeping().encoded(image, "tiff", None)
    assert note.count("extra channel") == 1


def camera_file():
    """As cameras write it: maker note, interoperability, a large thumbnail in an MPF index, empty image resources."""
    exif = Image.Exif()
    exif[271], exif[272], exif[274], exif[531], exif[50341] = "Maker", "Model", 1, 2, b"PrintIM\0" + bytes(8)
    exif[318] = (0.3127, 0.329)
    exif[34665] = {36867: "2021:03:04 05:06:07", 37500: b"maker note", 40962: 32, 40963: 24, 40965: {1: "R98"}}
    exif[34853] = {1: "N", 2: (48.0, 51.0, 30.5)}
    block = exif.tobytes()
    photoshop = segment(0xED, resources((0x3ED, bytes(16)), (1034, b"\0"), (1054, bytes(4))))
    file = with_index(0x010001, jpeg(pixels=PIXELS[:8, :8].copy()), exif=block, icc_profile=srgb_profile())
    return file[:2] + photoshop + file[2:] + bytes(100)


@pytest.mark.parametrize("format", ["jpeg", "tiff", "png", "webp", "jp2", "avif", "heic"])
def test_an_ordinary_photograph_loses_nothing(format):
    # The segment in front moves the index and what it points to alike.
    image = decode(camera_file(), name="x")
    assert Keeping(ENTRY, strict=True).encoded(enlarged(image, 2), format, None)[1] == ()


@needs_exiftool
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_what_exiftool_has_written_comes_out_in_its_own_format(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(PIXELS).save(path)
    tagged(path, "-IFD0:Artist=x", "-GPSLatitude=48.5", "-GPSLatitudeRef=N", "-XMP-dc:Title=Zoë", "-ExifIFD:ISO=100")
    image = decode(path.read_bytes(), name="x")
    assert Keeping(ENTRY, strict=True).encoded(image, image.format, None)[1] == ()


@needs_imagemagick
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".bmp"])
@pytest.mark.parametrize("depth", [8, 16])
def test_what_imagemagick_has_written_loses_nothing(tmp_path, suffix, depth):
    path = tmp_path / f"a{suffix}"
    command = ["convert", "-size", "12x9", "gradient:red-blue", "-depth", str(depth), path]
    subprocess.run(command, check=True, timeout=60)
    image = decode(path.read_bytes(), name="x")
    _, notes = Keeping(ENTRY).encoded(image, image.format, None)
    lost = "".join(note for note in notes if "not kept" in note)
    assert not lost


@needs_exiftool
def test_tags_that_still_hold_are_kept(tmp_path):
    tags = [(297, 3, 2, (3, 7), True), (337, 2, 8, "printer", True), (37395, 2, 4, "ink", True), (11, 2, 2, "p", True)]
    image = decode(tiff(tags=tags), name="x")
    for format, suffix in (("tiff", ".tif"), ("jpeg", ".jpg")):
        data, notes = Keeping(strict=True).encoded(enlarged(image, 2), format, None)
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        found = exiftool(path)
        assert (found["IFD0:PageNumber"], found["IFD0:TargetPrinter"], notes) == ("3 7", "printer", ())
        assert found["IFD0:ImageHistory"] == "ink"


def map_of(*, is_point=False, orientation=1):
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, 2 if is_point else 1)
    tags = [
        (33550, 12, 3, (10.0, 20.0, 0.0), True),
        (33922, 12, 6, (4.0, 2.0, 0.0, 500.0, 900.0, 0.0), True),
        (34264, 12, 16, (10.0, 1.0, 0.0, 460.0, 2.0, -20.0, 0.0, 940.0, *[0.0] * 7, 1.0), True),
        (34735, 3, len(keys), keys, True),
        (274, 3, 1, orientation, True),
    ]
    return tiff(tags=tags)


def adobe_rgb_file():
    exif = Image.Exif()
    exif[34665] = {40961: 65535, 40965: {1: "R03"}}
    return jpeg(exif=exif.tobytes())


def numbers(*said, pixels=PIXELS):
    """A PNG with colours in numbers and a profile."""
    profile = zlib.compress(srgb_profile())
    return png((b"cICP", bytes((*said, 0, 1))), (b"iCCP", b"a\0\0" + profile), pixels=pixels)


KNOWN = {
    "private tag": (lambda: tiff(tags=[(65000, 2, 3, "ab", True)]), "tiff", ["TIFF tags (tag 65000)"]),
    "a map elsewhere": (map_of, "jpeg", [MAP]),
    "a map on its side": (lambda: map_of(orientation=6), "tiff", [MAP]),
    "a map": (map_of, "tiff", []),
    "Adobe RGB by EXIF": (adobe_rgb_file, "bmp", ["ICC profile", "EXIF"]),
    "Adobe RGB by EXIF, kept": (adobe_rgb_file, "png", []),
    "numbers for a profile": (lambda: numbers(12, 13), "avif", []),
    "HDR and a profile": (lambda: numbers(9, 16), "heic", []),
    "HDR and a profile, both kept": (lambda: numbers(9, 16), "png", []),
    "HDR without a place": (lambda: numbers(9, 16), "bmp", ["HDR colour description (BT.2020, PQ)", "ICC profile"]),
    "numbers of sRGB": (lambda: numbers(1, 13), "bmp", ["ICC profile"]),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_a_loss_is_known_before_an_image_is_restored(kind):
    """So that --strict refuses it before; and it is named once."""
    make, format, expected = KNOWN[kind]
    image = decode(make(), name="x")
    assert list(losses(image, format)) == expected
    _, notes = Keeping(ENTRY).encoded(enlarged(image, 2), format, None)
    lost = [note for note in notes if note.startswith("not kept")]
    assert lost == ([f"not kept in {format}: {', '.join(expected)}"] if expected else [])


@needs_exiftool
@pytest.mark.parametrize("is_point", [False, True])
def test_a_map_is_where_it_was(tmp_path, is_point):
    """Corners of pixels lie in the same place of the map, by either way of saying it."""
    image = enlarged(decode(map_of(is_point=is_point), name="x"), 2)
    data, notes = Keeping(ENTRY, strict=True).encoded(image, "tiff", None)
    assert notes == ()
    (tmp_path / "a.tif").write_bytes(data)
    found = exiftool(tmp_path / "a.tif")
    scale = [float(n) for n in found["IFD0:PixelScale"].split()]
    tie = [float(n) for n in found["IFD0:ModelTiePoint"].split()]
    matrix = np.array([float(n) for n in found["IFD0:ModelTransform"].split()]).reshape(4, 4)
    assert scale == [5.0, 10.0, 0.0]
    centre = 0.5 if is_point else 0.0  # of a pixel, from its corner
    assert tie == [(4 + centre) * 2 - centre, (2 + centre) * 2 - centre, 0, 500, 900, 0]
    old = np.array([[10, 1, 0, 460], [2, -20, 0, 940], [0, 0, 0, 0], [0, 0, 0, 1]])
    for column, row in ((0, 0), (16, 12), (32, 24)):  # corners of old pixels
        before = old @ [column - centre, row - centre, 0, 1]
        assert np.allclose(matrix @ [2 * column - centre, 2 * row - centre, 0, 1], before)


def test_a_map_that_lies_on_its_side_or_goes_elsewhere_is_none():
    for data, format in ((map_of(orientation=6), "tiff"), (map_of(), "jpeg")):
        written, notes = Keeping(ENTRY).encoded(decode(data, name="x"), format, None)
        (note,) = notes
        assert note.startswith(f"not kept in {format}: GeoTIFF tags (")
        assert not any(group == "GeoTIFF tags" for group, _ in inventory.stated(written, formats.named(format))[0])


@needs_exiftool
def test_xmp_no_longer_points_to_what_is_not_there(tmp_path):
    packet = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + ULTRA_HDR)
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(packet, behind=gain_map()))
    assert any(key.startswith("XMP-hdrgm") for key in exiftool(path))
    image = decode(path.read_bytes(), name="x")
    for format, suffix in (("jpeg", ".jpg"), ("tiff", ".tif")):
        out = tmp_path / f"b{suffix}"
        out.write_bytes(Keeping(ENTRY).encoded(image, format, None)[0])
        found = exiftool(out)
        assert (found["XMP-dc:Source"], found["XMP-dc:Format"]) == ("a camera", "image/jpeg")
        assert not [key for key in found if key.startswith(("XMP-hdrgm", "XMP-GContainer", "XMP-GCamera"))]


def test_items_come_through_a_decoding_process():
    data = camera_file()
    with decoding(isolated=True) as elsewhere:
        assert elsewhere(data, name="x").stated == decode(data, name="x").stated != ()


def test_pages_have_items_of_their_own():
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for name in ("a", None, "small copy", "b"):
            tags = [(337, 2, 2, name, True), (65000, 2, 2, name, True)] if name in ("a", "b") else []
            if name == "small copy":
                tags = [(255, 3, 1, 2, True)]
            writer.write(PIXELS, photometric="rgb", metadata=None, software=False, extratags=tags)
    image = decode(buffer.getvalue(), name="x")
    assert [len(page.stated) for page in image.pages] == [2, 0, 2]
    assert Keeping().encoded(image, "tiff", None)[1] == ("not kept in tiff: TIFF tags (tag 65000)",)


def test_damage_does_not_fail_an_inventory():
    """Nor does a list of items grow without end."""
    pick = random.Random(3)
    for make, _ in LOSSES.values():
        data = make()
        format = decode(data, name="x").format
        for _ in range(40):
            damaged = bytearray(data)
            for _ in range(pick.randint(1, 9)):
                damaged[pick.randrange(pick.choice((64, 400, len(data))) % len(data) or 1)] = pick.choice((0, 255, 7))
            found = inventory.stated(bytes(damaged[: pick.choice((None, len(data) // 2))]), formats.named(format))
            assert all(len(page) <= 2000 for page in found)
