"""The image formats: one value for each, with everything that readers, writers, options and documentation need.

This module is pure data and imports nothing from the package, so that the command line can use it before NumPy is
loaded. `codec` names the module that reads and writes a format; `imaging.codec.codec_of` imports it when it is first
needed. Code reads these values and never compares names: a new format needs an entry here and a codec module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

Signature = tuple[tuple[int, bytes], ...]
"""Parts of the beginning of a file, each with its offset; a file must have all of them."""

Depth = Literal["uint8", "uint16", "float32"]
"""The type of a sample in memory, by its name in NumPy."""

CODES_SIGNATURE, CODES_SUFFIX = b"\x89ADC\r\n\x1a\n", ".adacode"
"""The beginning and the suffix of a file of codes, which is not an image (`codes.file`)."""

FALLBACK = "png"
"""The format of an output whose name does not give one: it is lossless, and all programs read it."""

_MAX_SIDE = 2**31 - 1
_BRANDS_END = 64  # So many bytes of an ISO media file are searched for its brands.
_EVERYTHING = frozenset({"icc", "exif", "xmp", "iptc", "resolution"})


@dataclass(frozen=True)
class Format:
    """One image format. All names are in lower case.

    name: as in `--format`, the journal and the JSON events.
    title: for messages: "JPEG 2000".
    codec: import path of the module whose `CODEC` reads and writes it.
    suffixes: of its files, with their dot; outputs get the first one.
    input_suffixes: further suffixes of files that are found in folders and never written; their outputs have this
        format, and its suffix is appended to theirs.
    signatures: beginnings of its files; a file must have one of them.
    brands: brands of ISO media files that have this format.
    weak_brands: brands of ISO media files that have this format unless another brand identifies another format.
    depths: types in which samples are stored, the deepest first.
    deep_bits: bits of a stored sample of an image that has more than 8 bits in memory.
    lossy: whether `--quality` has an effect.
    grey: whether grey images are stored as grey.
    grey_alpha: whether grey images with alpha are stored as grey.
    alpha: whether it holds alpha; in other formats a transparent image is composited on white.
    pages: whether it holds several pages.
    metadata: the fields of `imaging.metadata.Metadata` that it can hold.
    cicp: whether it holds CICP colour descriptions: "no"; "alone", in place of a profile; "hdr", for HDR also beside
        a profile; "beside", beside any profile, which CICP then overrules, and for samples of narrow range too.
    resolution_in_exif: whether it holds the resolution in EXIF only.
    geography: whether it holds GeoTIFF tags.
    max_side: pixels of the longer side.
    max_bytes: of all samples, if there is such a limit: one byte for each grey pixel, four for each colour pixel.
    replaces_others: whether results that are too large for their own format can get this one (`--if-too-large`).
    salvageable: whether a part of a damaged file can be read (`--accept-damaged`).
    written_as: the name of the format of the outputs of its files, if it is only read. Then it has no `suffixes`, and
        its files are left out of folders (`UNREAD`) if its `package` is not installed.
    package: the name on PyPI of the optional package that reads and writes it.
    profile_package: the name on PyPI of an optional package that is needed only for files with an ICC profile.
    install: the command that installs `package` or `profile_package`.
    """

    name: str
    title: str
    codec: str
    suffixes: tuple[str, ...]
    signatures: tuple[Signature, ...] = ()
    input_suffixes: tuple[str, ...] = ()
    brands: tuple[bytes, ...] = ()
    weak_brands: tuple[bytes, ...] = ()
    depths: tuple[Depth, ...] = ("uint8",)
    deep_bits: int = 16
    lossy: bool = False
    grey: bool = True
    grey_alpha: bool = True
    alpha: bool = True
    pages: bool = False
    metadata: frozenset[str] = frozenset()
    cicp: Literal["no", "alone", "hdr", "beside"] = "no"
    resolution_in_exif: bool = False
    geography: bool = False
    max_side: int = _MAX_SIDE
    max_bytes: int | None = None
    replaces_others: bool = False
    salvageable: bool = False
    written_as: str = ""
    package: str | None = None
    profile_package: str | None = None
    install: str = ""

    @property
    def suffix(self) -> str:
        """The suffix of outputs."""
        return self.suffixes[0]

    @property
    def of_outputs(self) -> str:
        """The name of the format of outputs of its files."""
        return self.written_as or self.name

    @property
    def is_limited(self) -> bool:
        """Whether this program can make images that are too large for the format."""
        return self.max_side < _MAX_SIDE or self.max_bytes is not None

    def kept_metadata(self) -> frozenset[str]:
        """The fields of `imaging.metadata.Metadata` that a file can hold."""
        return self.metadata if self.cicp == "no" else self.metadata | {"cicp"}

    def fits(self, size: tuple[int, int], colors: int) -> bool:
        """Whether a file can hold an image of `size` (height, width) with one colour or three."""
        num_bytes = size[0] * size[1] * (4 if colors > 1 else 1)
        return max(size) <= self.max_side and (self.max_bytes is None or num_bytes <= self.max_bytes)


_FORMATS = (
    Format(
        "jpeg",
        "JPEG",
        codec="adacode_cli.imaging.jpeg_codec",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
        input_suffixes=(".mpo",),
        signatures=(((0, b"\xff\xd8\xff"),),),
        lossy=True,
        alpha=False,
        metadata=_EVERYTHING,
        max_side=65500,
        salvageable=True,
    ),
    Format(
        "png",
        "PNG",
        codec="adacode_cli.imaging.png_codec",
        suffixes=(".png",),
        input_suffixes=(".jls", ".apng"),
        signatures=(((0, b"\x89PNG\r\n\x1a\n"),),),
        depths=("uint16", "uint8"),
        metadata=_EVERYTHING,
        cicp="beside",
        replaces_others=True,
        salvageable=True,
    ),
    Format(
        "webp",
        "WebP",
        codec="adacode_cli.imaging.webp_codec",
        suffixes=(".webp",),
        signatures=(((0, b"RIFF"), (8, b"WEBP")),),
        lossy=True,
        grey=False,
        grey_alpha=False,
        metadata=_EVERYTHING - {"iptc"},
        resolution_in_exif=True,
        max_side=16383,
    ),
    Format(
        "tiff",
        "TIFF",
        codec="adacode_cli.imaging.tiff_codec",
        suffixes=(".tif", ".tiff"),
        signatures=(((0, b"II*\0"),), ((0, b"MM\0*"),), ((0, b"II+\0"),), ((0, b"MM\0+"),)),
        depths=("float32", "uint16", "uint8"),
        pages=True,
        metadata=_EVERYTHING,
        geography=True,
        replaces_others=True,
    ),
    Format(
        "bmp",
        "BMP",
        codec="adacode_cli.imaging.bmp_codec",
        suffixes=(".bmp",),
        signatures=(((0, b"BM"),),),
        alpha=False,
        metadata=frozenset({"resolution"}),
        max_bytes=2**32 - 4096,
        salvageable=True,
    ),
    Format(
        "jp2",
        "JPEG 2000",
        codec="adacode_cli.imaging.jp2_codec",
        suffixes=(".jp2",),
        input_suffixes=(".j2k", ".j2c", ".jpc", ".jpx", ".jpf"),
        signatures=(((0, b"\0\0\0\x0cjP  \r\n\x87\n"),), ((0, b"\xff\x4f\xff\x51"),)),
        depths=("uint16", "uint8"),
        metadata=_EVERYTHING,
    ),
    Format(
        "avif",
        "AVIF",
        codec="adacode_cli.imaging.avif_codec",
        suffixes=(".avif",),
        brands=(b"avif", b"avis"),
        depths=("uint16", "uint8"),
        deep_bits=12,
        lossy=True,
        grey_alpha=False,
        metadata=_EVERYTHING - {"iptc"},
        cicp="hdr",
        resolution_in_exif=True,
        max_side=65535,
    ),
    Format(
        "heic",
        "HEIC",
        codec="adacode_cli.imaging.heic_codec",
        suffixes=(".heic", ".heif"),
        input_suffixes=(".hif",),
        brands=(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"),
        weak_brands=(b"mif1", b"mif2", b"msf1"),  # They do not identify the compression.
        depths=("uint16", "uint8"),
        deep_bits=10,
        lossy=True,
        grey_alpha=False,
        metadata=_EVERYTHING - {"iptc"},
        cicp="alone",
        resolution_in_exif=True,
        max_side=16384,
        package="pillow-heif",
        install="pip install 'adacode-cli[heic]'",
    ),
)
_RAW = "cr2 cr3 nef arw dng 3fr crw dcr erf fff iiq k25 kdc mef mos mrw nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
_INSTALL_RAW = "pip install 'adacode-cli[raw]'"
_READ_ONLY = (
    Format(
        "jxl",
        "JPEG XL",
        codec="adacode_cli.imaging.jxl_codec",
        suffixes=(),
        input_suffixes=(".jxl",),
        signatures=(((0, b"\0\0\0\x0cJXL \r\n\x87\n"),), ((0, b"\xff\x0a"),)),
        depths=("uint16", "uint8"),
        lossy=True,
        metadata=frozenset({"icc", "exif", "xmp"}),
        written_as="png",
        profile_package="pillow-jxl-plugin",
        install="pip install 'adacode-cli[jxl]'",
    ),
    Format(
        "raw",
        "camera raw",
        codec="adacode_cli.imaging.raw_codec",
        suffixes=(),
        input_suffixes=tuple(f".{suffix}" for suffix in _RAW.split()),
        signatures=(
            ((4, b"ftypcrx "),),
            ((0, b"FUJIFILMCCD-RAW"),),
            *(((0, start),) for start in (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")),
            ((0, b"II\x1a\0\0\0HEAPCCDR"),),
        ),
        depths=("uint16",),
        metadata=frozenset({"exif", "xmp"}),
        written_as="tiff",
        package="rawpy",
        install=_INSTALL_RAW,
    ),
)
_TABLE = {format.name: format for format in _FORMATS}
_READ = {format.name: format for format in _READ_ONLY}
_BY_SUFFIX = {suffix: format for format in _FORMATS for suffix in format.suffixes}
_BY_INPUT_SUFFIX = {suffix: format for format in _FORMATS for suffix in format.input_suffixes}
_BY_INPUT_SUFFIX |= {
    suffix: _TABLE[format.written_as]
    for format in _READ_ONLY
    if format.package is None or find_spec(format.package) is not None
    for suffix in format.input_suffixes
}


@dataclass(frozen=True)
class Unread:
    """A kind of files that hold images and are not read.

    title: for messages, with its article.
    suffixes: of its files, in lower case, without their dot, between spaces.
    program: one that converts them.
    usage: its command for a file; `{}` stands for the suffix.
    signatures: beginnings of its files, as in `Format`.
    install: the command that installs a package with which this program reads it.
    """

    title: str
    suffixes: str
    program: str
    usage: str
    signatures: tuple[Signature, ...] = ()
    install: str = ""

    def command(self, suffix: str) -> str:
        """Program and command for a file with this suffix (".cr2"); "" stands for the first suffix of the kind."""
        usage = self.usage.replace("{}", suffix.lower() or f".{self.suffixes.split()[0]}")
        return f"{self.program} ({usage})" + (f", or install what reads it ({self.install})" if self.install else "")


_VIDEO = "mp4 3g2 3gp avi flv m2ts m4v mkv mov mpeg mpg mts mxf ogv vob webm wmv"
UNREAD: tuple[Unread, ...] = (
    Unread("a camera raw file", _RAW, "darktable", "darktable-cli a{} a.tif", install=_INSTALL_RAW),
    Unread("a GIF", "gif", "ImageMagick", "convert a.gif a.png", (((0, b"GIF8"),),)),
    Unread("a PDF document", "pdf", "Poppler", "pdftoppm -r 300 -tiff a.pdf a", (((0, b"%PDF"),),)),
    Unread("a DjVu document", "djvu djv", "DjVuLibre", "ddjvu -format=tiff a{} a.tif", (((0, b"AT&TFORM"),),)),
    Unread("a Photoshop document", "psd psb", "ImageMagick", "convert 'a{}[0]' a.tif", (((0, b"8BPS"),),)),
    Unread("a GIMP image", "xcf", "ImageMagick", "convert a.xcf -flatten a.png", (((0, b"gimp xcf"),),)),
    Unread("a Krita document", "kra ora", "Krita", "krita a{} --export --export-filename a.png"),
    Unread("an animation", "avifs heics heifs", "FFmpeg", "ffmpeg -i a{} a-%05d.png"),
    Unread("a JPEG XR", "jxr hdp wdp", "jxrlib", "JxrDecApp -i a{} -o a.tif", (((0, b"II\xbc\x01"),),)),
    Unread("a high-throughput JPEG 2000", "jph", "OpenJPH", "ojph_expand -i a.jph -o a.ppm"),
    Unread(
        "an OpenEXR or Radiance image",
        "exr hdr",
        "ImageMagick",
        "convert a{} a.tif",
        (((0, b"v/1\x01"),), ((0, b"#?RADIANCE"),)),
    ),
    Unread("an image of another kind", "dds dib pam pbm pcx pgm pnm ppm qoi tga", "ImageMagick", "convert a{} a.png"),
    Unread("a video", _VIDEO, "FFmpeg", "ffmpeg -i a{} a-%05d.png"),
)
"""Kinds of files that lie beside images, or that users may take for images that are read. Of several that have a
signature, the first one counts. In ImageMagick 7, `convert` is called `magick`."""
_UNREAD_BY_SUFFIX = {f".{suffix}": kind for kind in UNREAD for suffix in kind.suffixes.split()}


def every() -> tuple[Format, ...]:
    """All formats that are read and written, in the order in which they are listed."""
    return tuple(_TABLE.values())


def read_only() -> tuple[Format, ...]:
    """The formats that are only read."""
    return tuple(_READ.values())


def known() -> tuple[Format, ...]:
    """All formats that are read."""
    return (*every(), *read_only())


def names() -> tuple[str, ...]:
    """The names of all formats that are read and written."""
    return tuple(_TABLE)


def named(name: str) -> Format:
    """The format called `name`, which may be only read. Raises KeyError for another name."""
    return _TABLE.get(name) or _READ[name]


def find(text: str) -> Format | None:
    """The format that `text` names, by its name or a suffix in any letter case; None for another text."""
    name = text.lower().removeprefix(".")
    return _TABLE.get(name) or _BY_SUFFIX.get(f".{name}")


def of_suffix(suffix: str) -> Format | None:
    """The format of files that are written with this suffix, in any letter case; None for another suffix."""
    return _BY_SUFFIX.get(suffix.lower())


def of_input_suffix(suffix: str) -> Format | None:
    """The format of the outputs of files with one of the `input_suffixes`; None for another suffix."""
    return _BY_INPUT_SUFFIX.get(suffix.lower())


def of_any_suffix(suffix: str) -> Format | None:
    """The format of the outputs of files with this suffix, in any letter case; None for other files."""
    return of_suffix(suffix) or of_input_suffix(suffix)


def input_suffixes() -> frozenset[str]:
    """All suffixes, in lower case and with their dot, of the files that count as images in folders."""
    return frozenset({*_BY_SUFFIX, *_BY_INPUT_SUFFIX})


def unread(suffix: str) -> Unread | None:
    """The kind of files with this suffix, in lower case, that hold images and are not read; None for other files."""
    return _UNREAD_BY_SUFFIX.get(suffix)


def of_bytes(start: bytes) -> Format | None:
    """The format of a file that begins with `start`; None if it is no known format."""
    for format in known():
        if any(begins(start, signature) for signature in format.signatures):
            return format
    if start[4:8] != b"ftyp":
        return None
    # The major brand of an ISO media file follows the length and type of its first box; further brands follow it.
    major, end = start[8:12], min(int.from_bytes(start[:4], "big"), _BRANDS_END)
    others = {start[at : at + 4] for at in range(16, end - 3, 4)}
    for has_brand in (
        lambda format: major in format.brands,
        lambda format: not others.isdisjoint(format.brands),
        lambda format: major in format.weak_brands,
    ):
        if (branded := next(filter(has_brand, _TABLE.values()), None)) is not None:
            return branded
    return None


def begins(start: bytes, signature: Signature) -> bool:
    """Whether a file that begins with `start` has all parts of a signature."""
    return all(start[at : at + len(piece)] == piece for at, piece in signature)


def listed(chosen: Iterable[Format] | None = None, *, word: str = "and", by_name: bool = False) -> str:
    """The titles, or the names, of the `chosen` formats (None: all) as a list in words: "PNG, TIFF and BMP"."""
    return in_words([format.name if by_name else format.title for format in chosen or every()], word)


def in_words(parts: Iterable[str], word: str = "and") -> str:
    """Several words as a list, with `word` before the last one."""
    *first, last = parts
    return f"{', '.join(first)} {word} {last}" if first else last


def readable() -> str:
    """The sentence that lists the formats that are read."""
    return f"{listed(known())} are read."


def large() -> str:
    """The names of the formats for results that are too large for their own: "png or tiff"."""
    return listed((format for format in every() if format.replaces_others), word="or", by_name=True)


def register(format: Format) -> None:
    """Adds a format that is defined outside the package. Its codec must be on Python's search path.

    It must be added before a run begins and before the commands are imported, because their help texts list all
    formats; decoding processes receive it. Raises ValueError if its name, a suffix or a signature is already used.
    """
    suffixes = {*format.suffixes, *format.input_suffixes}
    if format.name in _TABLE or not suffixes.isdisjoint(input_suffixes()):
        raise ValueError(f"the name or a suffix of {format.name!r} is already used")
    beginnings = (dict(signature).get(0, b"") for signature in format.signatures)
    if any(start and of_bytes(start) for start in beginnings):
        raise ValueError(f"the signature of {format.name!r} is already used by another format")
    _TABLE[format.name] = format
    _BY_SUFFIX.update(dict.fromkeys(format.suffixes, format))
    _BY_INPUT_SUFFIX.update(dict.fromkeys(format.input_suffixes, format))


def registered() -> tuple[Format, ...]:
    """The formats that were added with `register`."""
    return tuple(_TABLE.values())[len(_FORMATS) :]
