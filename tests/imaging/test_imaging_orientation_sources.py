"""Which of container, EXIF and XMP says how an image lies: the first that does, once, and 1 everywhere after."""

from io import BytesIO

import numpy as np
import pytest
import tifffile
from image_fixtures import saved, smooth
from other_programs import avifenc, exiftool, needs_exiftool, needs_libavif, tagged
from PIL import Image, ImageOps

from adacode_cli.imaging import exif as exif_blocks
from adacode_cli.imaging import png_codec, xmp_editing
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded

PIXELS = smooth(24, 36)
ON_ITS_SIDE = np.rot90(PIXELS, -1)
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "JP2": "jp2"}


def packet(orientation, *, as_element=False):
    said = f"<tiff:Orientation>{orientation}</tiff:Orientation>" if as_element else ""
    attribute = "" if as_element else f' tiff:Orientation="{orientation}"'
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{attribute}>{said}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def exif_of(orientation):
    exif = Image.Exif()
    exif[271] = "Maker"
    if orientation is not None:
        exif[274] = orientation
    return exif.tobytes()


def written(format, *, exif, xmp):
    """A file of the pixels as another library writes it, but for JPEG 2000, of which none writes what is said."""
    if format == "JP2":
        image = Decoded(PIXELS, exif=exif.removeprefix(b"Exif\0\0") if exif else None, xmp=xmp)
        return encode(image, format="jp2")
    options = {"exif": exif} if exif else {}
    if format == "PNG":
        return saved(PIXELS, "PNG", pnginfo=_text(xmp), **options)
    if format == "TIFF":
        buffer = BytesIO()
        tags = [(700, 1, len(xmp), xmp, True)]
        if exif and (said := Image.Exif()).load(exif) is None and 274 in said:
            tags.append((274, 3, 1, said[274], True))
        tifffile.imwrite(buffer, PIXELS, photometric="rgb", extratags=tags)
        return buffer.getvalue()
    return saved(PIXELS, format, xmp=xmp, quality=100, **options)


def _text(xmp):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return info


def assert_lies(image, expected):
    assert image.pixels.shape == expected.shape
    assert np.abs(image.pixels.astype(int) - expected).mean() < 4
    assert xmp_editing.orientation(image.xmp) == 1


@pytest.mark.parametrize("format", SUFFIXES)
@pytest.mark.parametrize("exif", [None, exif_of(None), exif_of(0), exif_of(9)], ids=["none", "silent", "0", "9"])
def test_xmp_is_followed_where_nothing_else_says_it(format, exif):
    image = decode(written(format, exif=exif, xmp=packet(6)), name="x")
    assert_lies(image, ON_ITS_SIDE)
    again = decode(encode(image, format="png"), name="x")
    np.testing.assert_array_equal(again.pixels, image.pixels)


@pytest.mark.parametrize("format", SUFFIXES)
@pytest.mark.parametrize(("by_exif", "expected"), [(1, PIXELS), (3, PIXELS[::-1, ::-1])])
def test_xmp_does_not_overrule_exif_or_a_tiffs_tag(format, by_exif, expected):
    assert_lies(decode(written(format, exif=exif_of(by_exif), xmp=packet(6)), name="x"), expected)


@pytest.mark.parametrize("said", ["0", "9", "66", "x", ""])
def test_what_is_no_orientation_turns_nothing(said):
    np.testing.assert_array_equal(decode(written("PNG", exif=None, xmp=packet(said)), name="x").pixels, PIXELS)


def test_a_property_may_be_an_element():
    assert_lies(decode(written("PNG", exif=None, xmp=packet(8, as_element=True)), name="x"), np.rot90(PIXELS))


def test_each_page_of_a_tiff_has_its_own():
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for xmp, tags in ((packet(6), []), (packet(6), [(274, 3, 1, 3, True)]), (packet(3), [])):
            writer.write(PIXELS, photometric="rgb", extratags=[(700, 1, len(xmp), xmp, True), *tags])
    pages = decode(buffer.getvalue(), name="x").pages
    for page, expected in zip(pages, (ON_ITS_SIDE, PIXELS[::-1, ::-1], PIXELS[::-1, ::-1]), strict=True):
        assert_lies(page, expected)


@needs_exiftool
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_what_exiftool_wrote_is_applied_and_says_one_afterwards(tmp_path, format):
    path = tmp_path / f"a.{SUFFIXES[format]}"
    path.write_bytes(saved(PIXELS, format))
    tagged(path, "-XMP-tiff:Orientation=6")
    out = tmp_path / f"b.{SUFFIXES[format]}"
    out.write_bytes(encode(read_image(path), format=format.lower()))
    found = exiftool(out)
    assert found["XMP-tiff:Orientation"] == 1
    assert found.get("IFD0:Orientation", 1) == 1
    assert read_image(out).size == (36, 24)


@needs_libavif
@needs_exiftool
@pytest.mark.parametrize(("bits", "turn", "expected"), [(8, (), PIXELS), (10, ("--irot", 3), ON_ITS_SIDE)])
def test_in_avif_the_container_alone_counts(tmp_path, bits, turn, expected):
    (tmp_path / "a.png").write_bytes(png_codec.encoded(PIXELS.astype(np.uint16) * 257))
    path = avifenc(tmp_path / "a.avif", tmp_path / "a.png", "-d", bits, "-y", "444", *turn)
    image = read_image(tagged(path, "-EXIF:Orientation=8", "-XMP-tiff:Orientation=3"))
    assert_lies(Decoded(image.pixels // 257 if bits > 8 else image.pixels, xmp=image.xmp), expected)
    assert exif_blocks.upright(image.exif)[1] == 1


@needs_exiftool
def test_in_heic_the_container_alone_counts(tmp_path):
    # What writes HEIC makes a turn of the container of this orientation.
    image = Decoded(PIXELS, exif=exif_of(6).removeprefix(b"Exif\0\0"), xmp=packet(1))
    (tmp_path / "a.heic").write_bytes(encode(image, format="heic"))
    assert_lies(read_image(tagged(tmp_path / "a.heic", "-EXIF:Orientation=8", "-XMP-tiff:Orientation=3")), ON_ITS_SIDE)


@pytest.mark.parametrize("as_element", [False, True])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_that_is_damaged_turns_no_output(format, as_element):
    said = packet(6, as_element=as_element).replace(b"</rdf:RDF>", b"</rdf:RDX>")
    image = decode(written(format, exif=None, xmp=said), name="x")
    assert image.notes == ("its XMP is damaged and was kept unchanged, except for its orientation",)
    output = Image.open(BytesIO(encode(image, format=format.lower())))
    assert np.array_equal(ImageOps.exif_transpose(output), output)  # Pillow looks for the bytes in any packet
    assert output.size == (36, 24)
