"""XMP, IPTC, resolution, GPS and history come out of one program's files into another's, and follow the image."""

import struct

import pytest
from image_fixtures import noise, saved, smooth, srgb_profile
from nearest_image import enlarged
from other_programs import exiftool, needs_exiftool, tagged, warnings_of
from PIL import Image, PngImagePlugin

from adacode_cli import formats
from adacode_cli.batch.keeping import Keeping
from adacode_cli.errors import OutputError
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.provenance import HistoryEntry

SOURCES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}
RICH = [format for format in formats.names() if format != "bmp"]
WITHOUT_IPTC = ("webp", "avif", "heic")
ENTRY = HistoryEntry("sr-x2", "compact", "0123456789abcdef" * 4)
TAGS = [
    *("-IFD0:Software=Old Editor 5", "-IFD0:Orientation=6"),
    *("-IFD0:XResolution=300", "-IFD0:YResolution=150", "-IFD0:ResolutionUnit=2"),
    *("-GPSLatitude=48.5", "-GPSLatitudeRef=N", "-ExifIFD:ExifImageWidth=32", "-ExifIFD:ExifImageHeight=24"),
    *("-XMP-dc:Title=Zoë", "-XMP-tiff:Orientation=6", "-XMP-xmp:CreatorTool=Old Tool", "-XMP-exif:ExifImageWidth=32"),
    *("-XMP-tiff:XResolution=300", "-XMP-tiff:YResolution=150"),
]
OWN_RESOLUTION = {
    "JPEG": ["-JFIF:XResolution=300", "-JFIF:YResolution=150", "-JFIF:ResolutionUnit=1"],
    "PNG": ["-PNG-pHYs:PixelsPerUnitX=11811", "-PNG-pHYs:PixelsPerUnitY=5906", "-PNG-pHYs:PixelUnits=1"],
}


def photograph(tmp_path, source):
    """A 32×24 file that lies on its side, 300 × 150 dpi as stored, with all that exiftool can put into it."""
    path = tmp_path / f"source{SOURCES[source]}"
    path.write_bytes(saved(smooth(24, 32), source, icc_profile=srgb_profile()))
    records = ["-IPTC:Keywords=über"] if source != "WEBP" else []
    return tagged(path, *TAGS, *records, *OWN_RESOLUTION.get(source, []))


def restored(path, target, history=ENTRY):
    """What a run with a factor of two writes: (its path, the notes)."""
    data, notes = Keeping(history).encoded(enlarged(read_image(path), 2), target, None)
    out = path.with_name(f"restored{formats.named(target).suffix}")
    out.write_bytes(data)
    return out, notes


@needs_exiftool
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", RICH)
def test_what_another_program_wrote_is_found_by_it_again(tmp_path, source, target):
    out, notes = restored(photograph(tmp_path, source), target)
    found = exiftool(out)
    assert found["XMP-dc:Title"] == "Zoë"
    assert found["GPS:GPSLatitude"] == 48.5
    assert found["XMP-xmp:CreatorTool"] == "Old Tool"
    assert found["ICC_Profile:ProfileDescription"].startswith("sRGB")
    if source != "WEBP" and target not in WITHOUT_IPTC:
        assert found["IPTC:Keywords"] == "über"
    assert ("IPTC" in " ".join(notes)) == (source != "WEBP" and target in WITHOUT_IPTC)
    serious = [warning for warning in warnings_of(out) if not warning.startswith(("[minor]", "Missing required"))]
    assert not [warning for warning in serious if "IPTC" in warning or "XMP" in warning or "offset" in warning], serious


@needs_exiftool
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", RICH)
def test_what_speaks_of_pixels_follows_them(tmp_path, source, target):
    out, _ = restored(photograph(tmp_path, source), target)
    found = exiftool(out)
    assert found.get("IFD0:Orientation", 1) == found["XMP-tiff:Orientation"] == 1  # Pillow's AVIF leaves it out.
    # 300 × 150 dpi on its side, twice as many pixels: 300 across and 600 down.
    assert dots_per_inch(found, "IFD0:XResolution", "IFD0:YResolution", "IFD0:ResolutionUnit") == (300, 600)
    assert (found["XMP-tiff:XResolution"], found["XMP-tiff:YResolution"]) == (300, 600)
    assert found["ExifIFD:ExifImageWidth"] == found["XMP-exif:ExifImageWidth"] == 48
    if target == "jpeg":
        assert dots_per_inch(found, "JFIF:XResolution", "JFIF:YResolution", "JFIF:ResolutionUnit") == (300, 600)
    if target == "png":
        per_metre = found["PNG-pHYs:PixelsPerUnitX"], found["PNG-pHYs:PixelsPerUnitY"]
        assert [round(n * 0.0254) for n in per_metre] == [300, 600]


def dots_per_inch(found, across, down, unit):
    factor = {1: 1, 2: 1, 3: 2.54}[found[unit]]
    return round(found[across] * factor), round(found[down] * factor)


@needs_exiftool
@pytest.mark.parametrize("target", RICH)
def test_history_names_tool_weights_and_what_was_there(tmp_path, target):
    source = photograph(tmp_path, "JPEG")
    out, _ = restored(source, target)
    found = exiftool(out)
    assert found["IFD0:Software"] == "adacode 0.1.0 (compact)"
    (event,) = found["XMP-xmpMM:History"]
    assert event["SoftwareAgent"] == "adacode 0.1.0"
    assert "sr-x2; weights compact" in event["Parameters"]
    assert ENTRY.digest in event["Parameters"]
    assert event["Parameters"].endswith("Software before: Old Editor 5")
    twice = exiftool(restored(out, target)[0])["XMP-xmpMM:History"]
    assert twice[0] == event
    assert twice[1]["Parameters"].endswith("Software before: adacode 0.1.0 (compact)")
    silent = exiftool(restored(source, target, history=None)[0])
    assert silent["IFD0:Software"] == "Old Editor 5"
    assert "XMP-xmpMM:History" not in silent


@needs_exiftool
@pytest.mark.parametrize("target", RICH)
def test_history_is_said_where_nothing_was_said_before(tmp_path, target):
    path = tmp_path / "plain.png"
    path.write_bytes(saved(smooth(5, 7), "PNG"))
    out, notes = restored(path, target)
    found = exiftool(out)
    assert found["IFD0:Software"] == "adacode 0.1.0 (compact)"
    assert len(found["XMP-xmpMM:History"]) == 1
    assert notes == ()


@needs_exiftool
def test_old_thumbnails_go_from_xmp_too(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(smooth(24, 32), "JPEG"))
    tagged(path, "-XMP-xmp:ThumbnailImage=old image", "-XMP-dc:Title=x")
    assert b"xmpGImg" in path.read_bytes()
    image = read_image(path)
    assert b"xmpGImg:image" not in image.xmp
    assert b"dc:title" in image.xmp


@needs_exiftool
def test_bmp_has_room_for_the_resolution_alone(tmp_path):
    out, notes = restored(photograph(tmp_path, "PNG"), "bmp")
    assert notes == ("not kept in bmp: ICC profile, EXIF, XMP, IPTC",)
    found = exiftool(out)
    assert [round(found[f"File:PixelsPerMeter{axis}"] * 0.0254) for axis in "XY"] == [300, 600]


def test_no_resolution_is_invented():
    image = decode(saved(smooth(4, 5), "JPEG"), name="x")
    assert image.resolution is None
    for format in formats.names():
        assert decode(encode(image, format=format), name="x").resolution is None


@needs_exiftool
@pytest.mark.parametrize(
    ("target", "fields", "unit"),
    [
        ("tiff", "IFD0:{}Resolution", ("IFD0:ResolutionUnit", 1)),
        ("jpeg", "JFIF:{}Resolution", ("JFIF:ResolutionUnit", 0)),
        ("png", "PNG-pHYs:PixelsPerUnit{}", ("PNG-pHYs:PixelUnits", 0)),
        ("webp", "IFD0:{}Resolution", ("IFD0:ResolutionUnit", 1)),
    ],
)
def test_a_resolution_without_a_unit_keeps_its_numbers(tmp_path, target, fields, unit):
    path = tmp_path / "a.tif"
    path.write_bytes(saved(smooth(24, 32), "TIFF"))
    tagged(path, "-IFD0:XResolution=300", "-IFD0:YResolution=300", "-IFD0:ResolutionUnit#=1")
    out, notes = restored(path, target)
    found = exiftool(out)
    assert [found[fields.format(axis)] for axis in "XY"] == [600, 600]
    assert found[unit[0]] == unit[1]
    assert "resolution" not in "".join(notes)


@needs_exiftool
def test_a_resolution_without_a_unit_is_missed_where_there_is_no_field_for_it(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(saved(smooth(24, 32), "TIFF"))
    tagged(path, "-IFD0:XResolution=300", "-IFD0:YResolution=300", "-IFD0:ResolutionUnit#=1")
    _, notes = restored(path, "bmp", history=None)
    assert notes == ("not kept in bmp: IPTC, resolution",)  # exiftool names the encoding of text in IPTC


def test_strict_names_what_would_be_lost_and_gives_no_bytes():
    image = decode(saved(noise((5, 6, 4), "uint8"), "PNG", icc_profile=srgb_profile()), name="x")
    assert Keeping(strict=True).encoded(image, "png", None)
    with pytest.raises(OutputError, match=r"cannot be kept in bmp: alpha .*ICC profile") as caught:
        Keeping(strict=True).encoded(image, "bmp", None)
    assert "--format" in caught.value.hint


def test_strict_counts_what_reading_has_lost():
    images = [Image.fromarray(noise((5, 6, 3), "uint8", seed)) for seed in range(3)]
    animated = saved(images[0], "PNG", save_all=True, append_images=images[1:])
    image = decode(animated, name="x")
    assert losses(image, "png") == ("2 of 3 frames",)
    with pytest.raises(OutputError, match="frames"):
        Keeping(strict=True).encoded(image, "png", None)


def test_comments_and_texts_are_lost_and_named():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "somebody")
    texts.add_itxt("Title", "something", zip=True)
    image = decode(saved(smooth(5, 6), "PNG", pnginfo=texts), name="x")
    assert losses(image, "png") == ("texts (Author, Title)",)
    assert losses(decode(saved(smooth(5, 6), "JPEG", comment=b"by hand"), name="x"), "png") == ("its comment",)


@needs_exiftool
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_iptc_that_a_jpeg_has_in_several_segments_is_kept_whole(tmp_path, format):
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(smooth(16, 24), "JPEG"))
    words = [f"keyword {number:04d} " + "x" * 50 for number in range(1500)]
    list_of_words = tmp_path / "a.args"
    list_of_words.write_text("\n".join(f"-IPTC:Keywords={word}" for word in words))
    tagged(path, "-@", str(list_of_words))
    assert path.read_bytes().count(b"Photoshop 3.0\0") == 2
    data, notes = Keeping(strict=True).encoded(decode(path.read_bytes(), name="x"), format, None)
    assert notes == ()
    (tmp_path / f"b.{format}").write_bytes(data)
    assert exiftool(tmp_path / f"b.{format}")["IPTC:Keywords"] == words


def records(*texts, kind=25):
    """IPTC records, by default keywords."""
    return b"".join(struct.pack(">3BH", 0x1C, 2, kind, len(text)) + text for text in texts)


def resource(kind, body, length=None):
    return (
        struct.pack(">4s2HI", b"8BIM", kind, 0, len(body) if length is None else length) + body + bytes(len(body) % 2)
    )


WORDS = [f"keyword {number:04d} " + "x" * 46 for number in range(1500)]
KEYWORDS = resource(0x404, records(*(word.encode() for word in WORDS)))
TITLE = resource(0x404, records(b"a title of 23 characters"[:23], kind=5))
ODD_TITLE = resource(0x404, records(b"an odd title", kind=5))
# Records in the data of another resource are not those of the image.
STATE = resource(1082, bytes(40_000) + records(b"no title", kind=5) * 1000)
# (image resources, the bytes of them in the first segment)
SEGMENTED = {
    "between two records": (KEYWORDS, 12 + 600 * 64),
    "within a record": (KEYWORDS, 12 + 600 * 64 + 30),
    "before the last byte of a length, 0x1c": (STATE + TITLE, len(STATE) + 11),
    "in the data of another resource": (TITLE + STATE, len(TITLE) + 12 + 40_000),
    "before a padding byte": (ODD_TITLE + STATE, len(ODD_TITLE) - 1),
}


def with_segments(head, *parts):
    """A JPEG with a segment for each part of image resources or EXIF."""
    marker = {b"Photoshop 3.0\0": b"\xff\xed", b"Exif\0\0": b"\xff\xe1"}[head]
    segments = (marker + struct.pack(">H", 2 + len(head + part)) + head + part for part in parts)
    file = saved(smooth(16, 24), "JPEG")
    return file[:2] + b"".join(segments) + file[2:]


@needs_exiftool
@pytest.mark.parametrize("case", SEGMENTED)
def test_iptc_of_segments_is_what_exiftool_reads(tmp_path, case):
    block, cut = SEGMENTED[case]
    (tmp_path / "a.jpg").write_bytes(with_segments(b"Photoshop 3.0\0", block[:cut], block[cut:]))
    data, notes = Keeping(strict=True).encoded(decode((tmp_path / "a.jpg").read_bytes(), name="x"), "tiff", None)
    assert notes == ()
    (tmp_path / "b.tiff").write_bytes(data)
    expected, found = (
        {key: value for key, value in exiftool(tmp_path / name).items() if key.startswith("IPTC")}
        for name in ("a.jpg", "b.tiff")
    )
    assert found == expected != {}


def test_a_resource_longer_than_its_file_hides_no_later_segment():
    """Its length may be damaged; exiftool reads no records then."""
    image = decode(with_segments(b"Photoshop 3.0\0", resource(1005, b"abc", 5000), TITLE), name="x")
    assert image.iptc == TITLE[12:40]


def exif_of(maker):
    exif = Image.Exif()
    exif[271], exif[34665] = maker, {37500: bytes(40_000)}
    return exif.tobytes().removeprefix(b"Exif\0\0")


FIRST, SECOND = exif_of("a"), exif_of("b")


@pytest.mark.parametrize("format", ["jpeg", "tiff"])
@pytest.mark.parametrize(
    "parts",
    [(FIRST, SECOND), (FIRST[:20_000], FIRST[20_000:], SECOND[:20_000], SECOND[20_000:]), (b"", FIRST, SECOND)],
)
def test_of_two_exif_blocks_only_the_first_is_kept(tmp_path, format, parts):
    """Both together would be too large for the segment of a JPEG."""
    image = decode(with_segments(b"Exif\0\0", *parts), name="x")
    assert image.exif == FIRST
    data, notes = Keeping().encoded(image, format, None)
    assert notes == (f"not kept in {format}: JPEG segments (further EXIF)",)
    path = tmp_path / f"a.{format}"
    path.write_bytes(data)
    assert Image.open(path).getexif()[271] == "a"


@pytest.mark.parametrize(
    "parts",
    [(FIRST, FIRST), (b"", FIRST), (FIRST[:20_000], FIRST[20_000:]) * 2],
    ids=["twice", "behind an empty segment", "twice in two segments"],
)
def test_segments_with_one_exif_block_lose_nothing(parts):
    image = decode(with_segments(b"Exif\0\0", *parts), name="x")
    assert image.exif == FIRST
    data, notes = Keeping(strict=True).encoded(image, "jpeg", None)
    assert notes == ()
    assert data.count(b"Exif\0\0") == 1
