"""Finds out, file by file, what each format keeps: the tables of docs/formats.md are what this module finds.

The table of the formats themselves is what the program knows of them (`adacode_cli.formats`).

    python tests/formats/format_table.py        writes the tables anew (after a wanted change)

Sources are made by Pillow, tifffile, pillow-heif, imagecodecs and exiftool, except a PNG with numbers of colours, which
none of these writes. A run's own stages restore them, with pixels repeated in place of a network; exiftool and
ImageMagick look at what was written. A property that a format does not keep must have been announced by the run: a
silent loss is an error here.
"""

from __future__ import annotations

import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "imaging"))

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from image_fixtures import smooth, srgb_profile
from nearest_image import RepeatingRestorer
from other_programs import exiftool, identify, tagged
from PIL import Image

from adacode_cli import formats
from adacode_cli.batch.executor import JobPassage
from adacode_cli.batch.found import Found
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.plan import Job
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.stages import Read, Stages
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.provenance import HistoryEntry

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
TIMES_NS = (1_000_000_000_000_000_000, 1_100_000_000_000_000_000)
_TAGS = [
    *("-IFD0:Artist=Somebody", "-IFD0:Orientation=6", "-IFD0:XResolution=300", "-IFD0:YResolution=150"),
    *("-IFD0:ResolutionUnit=2", "-GPSLatitude=48.5", "-GPSLatitudeRef=N", "-XMP-dc:Title=Zoë"),
]
_OWN_TAGS = {
    "jpeg": ["-JFIF:XResolution=300", "-JFIF:YResolution=150", "-JFIF:ResolutionUnit=1"],
    "png": ["-PNG-pHYs:PixelsPerUnitX=11811", "-PNG-pHYs:PixelsPerUnitY=5906", "-PNG-pHYs:PixelUnits=1"],
}
_WRITES_IPTC = ("jpeg", "png", "tiff", "jp2")
_PILLOW_NAMES = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "jp2": "JPEG2000"}
# Found by exiftool in dots per inch across and down, of an image that had 300 × 150 and lay on its side.
_RESOLUTION_FIELDS = {
    "jpeg": ("JFIF:XResolution", "JFIF:YResolution", 1),
    "png": ("PNG-pHYs:PixelsPerUnitX", "PNG-pHYs:PixelsPerUnitY", 0.0254),
    "tiff": ("IFD0:XResolution", "IFD0:YResolution", 1),
    "bmp": ("File:PixelsPerMeterX", "File:PixelsPerMeterY", 0.0254),
    "jp2": ("Jpeg2000:CaptureXResolution", "Jpeg2000:CaptureYResolution", 0.0254),
}
_METADATA = {
    "ICC profile": "ICC_Profile:ProfileDescription",
    "EXIF": "IFD0:Artist",
    "GPS": "GPS:GPSLatitude",
    "XMP": "XMP-dc:Title",
    "IPTC": "IPTC:Keywords",
}


def run(source: Path, target: Path) -> tuple[str, ...]:
    """Restores one file as `adacode sr --scale 2 --preserve-times` does; the run's notes."""
    keeping = Keeping(HistoryEntry("sr-x2", "compact", "0" * 64), preserve_times=True)
    stages = Stages(Restoring(RepeatingRestorer(), "sr", 2), keeping=keeping)
    job = Job(Found(source, source.name, in_tree=False), target.parent, target.name)
    passage = JobPassage(stages, job)
    read = passage.read()
    assert isinstance(read, Read)
    return passage.write(passage.infer(read)).notes


def made(path: Path, samples: np.ndarray, format: str, **options: object) -> Path:
    """A file of `format` by another program's writer, of H×W(×C) uint8 samples."""
    if format == "jxl":
        path.write_bytes(imagecodecs.jpegxl_encode(samples, lossless=True, usecontainer=True))
    elif format == "heic":
        buffer = BytesIO()
        image = Image.fromarray(samples)
        image.info |= options
        pillow_heif.from_pillow(image).save(buffer, quality=90)
        path.write_bytes(buffer.getvalue())
    else:
        Image.fromarray(samples).save(path, _PILLOW_NAMES.get(format, "AVIF"), **options)
    return path


def deep(path: Path, samples: np.ndarray, **options: object) -> Path:
    """A TIFF file by tifffile."""
    photometric = "rgb" if samples.ndim == 3 else "minisblack"
    tifffile.imwrite(path, samples, photometric=photometric, metadata=None, software=False, **options)
    return path


def rich(path: Path, format: str) -> Path:
    """A 32×24 file that lies on its side, with all the metadata that exiftool can put into its format."""
    profile = {} if format in ("bmp", "jp2", "jxl") else {"icc_profile": srgb_profile()}
    if format == "bmp":
        return made(path, smooth(24, 32), format, dpi=(300, 150))
    made(path, smooth(24, 32), format, **profile)
    records = ["-IPTC:Keywords=über"] if format in _WRITES_IPTC else []
    tagged(path, *_TAGS, *records, *_OWN_TAGS.get(format, []))
    os.utime(path, ns=TIMES_NS)
    return path


def metadata_cells(path: Path, format: str, *, turned: bool = True) -> dict[str, str]:
    """What exiftool finds in a file that was restored from a `rich` one."""
    found = exiftool(path)
    cells = {name: "yes" if tag in found else "no" for name, tag in _METADATA.items()}
    cells["resolution"] = _resolution_cell(found, format, turned=turned)
    width, height = map(int, identify(path, "%w %h")[0].split())
    tags = {value for key, value in found.items() if key.endswith(":Orientation")}
    upright = (width, height) == ((48, 64) if turned else (64, 48)) and tags <= {1}
    cells["orientation"] = "upright" if upright else "WRONG"
    told = str(found.get("XMP-xmpMM:History", "")), str(found.get("IFD0:Software", ""))
    cells["history"] = "yes" if all("adacode" in text for text in told) else "no"
    cells["file times"] = "yes" if path.stat().st_mtime_ns == TIMES_NS[1] else "no"
    return cells


def _resolution_cell(found: dict, format: str, *, turned: bool) -> str:
    wanted = [300, 600] if turned else [600, 300]  # twice as many pixels of 300 × 150
    fields = {"own field": _RESOLUTION_FIELDS.get(format), "in EXIF": ("IFD0:XResolution", "IFD0:YResolution", 1)}
    for where, field in fields.items():
        if field is None or field[0] not in found:
            continue
        factor = field[2] * (2.54 if found.get("IFD0:ResolutionUnit") == 3 and field[0].startswith("IFD0") else 1)
        if [round(found[tag] * factor) for tag in field[:2]] == wanted:
            return where
    return "no"


def written_cells(folder: Path, format: str) -> dict[str, str]:
    """What `format` keeps of a TIFF that has everything."""
    suffix, cells = formats.named(format).suffix, {}
    notes: dict[str, str] = {}

    def restored(name: str, source: Path) -> Path:
        target = folder / f"{name}{suffix}"
        notes[name] = " ".join(run(source, target))
        return target

    rgb = smooth(34, 40)
    for name, samples in (("8 bits", rgb), ("16 bits", rgb.astype(np.uint16) * 257)):
        cells[name] = identify(restored(name, deep(folder / "s.tif", samples)), "%z")[0]
    path = restored("32-bit float", deep(folder / "s.tif", rgb.astype(np.float32) / 255))
    is_float = format == "tiff" and exiftool(path)["IFD0:SampleFormat"] == "3 3 3"
    cells["32-bit float"] = "32, float" if is_float else identify(path, "%z")[0]
    path = restored("grey", deep(folder / "s.tif", rgb[..., 0].copy()))
    cells["grey"] = "yes" if _is_grey(path, format) else "as RGB"
    clear = np.dstack([rgb, np.tile(np.uint8([0, 200]), (34, 20))])
    path = restored("alpha", deep(folder / "s.tif", clear, extrasamples=["unassalpha"]))
    cells["alpha"] = "yes" if _has_alpha(path) else "on white"
    with tifffile.TiffWriter(folder / "s.tif") as writer:
        for _ in range(3):
            writer.write(rgb, photometric="rgb", metadata=None, software=False)
    path = restored("pages", folder / "s.tif")
    cells["pages"] = "all" if format == "tiff" and len(identify(path, "%w")) == 3 else "first"
    (folder / "s.png").write_bytes(encode(Decoded(rgb, cicp=Cicp(12, 13)), format="png"))
    cells["CICP"] = _numbers_cell(exiftool(restored("CICP", folder / "s.png")))
    path = restored("metadata", rich(folder / "rich.tif", "tiff"))
    cells |= metadata_cells(path, format)
    _check_announced(cells, notes)
    return cells


def _numbers_cell(found: dict) -> str:
    """How colours that were Display P3 by their numbers are described."""
    if 12 in (found.get("PNG-cICP:ColorPrimaries"), found.get("QuickTime:ColorPrimaries")):
        return "yes"
    return "as profile" if found.get("ICC_Profile:ProfileDescription") == "Display P3" else "no"


def _check_announced(cells: dict[str, str], notes: dict[str, str]) -> None:
    """A loss that the run has not spoken of is an error."""
    expected = {
        "16 bits": ("depth", cells["16 bits"] != "16"),
        "32-bit float": ("depth", cells["32-bit float"] != "32, float"),
        "alpha": ("alpha", cells["alpha"] != "yes"),
        "pages": ("2 of 3 pages", cells["pages"] != "all"),
        "CICP": ("CICP", cells["CICP"] == "no"),
    }
    for name, (word, lost) in expected.items():
        assert (word in notes[name]) == lost, (name, notes[name])
    for name in ("ICC profile", "EXIF", "XMP", "IPTC"):
        assert (name in notes["metadata"]) == (cells[name] == "no"), (name, notes["metadata"])
    assert notes["8 bits"] == notes["grey"] == "", notes


def read_cells(folder: Path, format: str) -> dict[str, str]:
    """What of a `format` file another program wrote arrives in a TIFF, which keeps everything."""
    known = formats.named(format)
    source, out = folder / f"r{(*known.suffixes, *known.input_suffixes)[0]}", folder / "r.tif"
    cells = {}
    run(made(source, smooth(34, 40)[..., 0].copy(), format), out)
    cells["grey"] = "yes" if _is_grey(out, "tiff") else "as RGB"
    clear = np.dstack([smooth(34, 40), np.tile(np.uint8([0, 200]), (34, 20))])
    if format == "jpeg":
        cells["alpha"] = "—"
    else:
        run(made(source, clear, format), out)
        cells["alpha"] = "yes" if _has_alpha(out) else "no"
    run(rich(source, format), out)
    # Their own readers turn a HEIC; exiftool can set no orientation that counts in AVIF and JPEG XL, beside EXIF's.
    before = exiftool(source)
    turned = "IFD0:Orientation" in before and format not in ("heic", "avif", "jxl")
    found = metadata_cells(out, "tiff", turned=turned)
    for name, tag in _METADATA.items():
        cells[name] = found[name] if tag in before else "—"
    cells["resolution"] = "yes" if found["resolution"] == "own field" else "no"
    cells["orientation"] = found["orientation"]
    return cells


def _is_grey(path: Path, format: str) -> bool:
    if format in ("avif", "heic"):
        return " " not in str(exiftool(path)["QuickTime:ImagePixelDepth"])
    if format == "bmp":
        return exiftool(path)["File:BitDepth"] == 8
    return identify(path, "%[colorspace]")[0] == "Gray"


def _has_alpha(path: Path) -> bool:
    if path.suffix in (".avif", ".heic"):
        return "auxid:1" in _auxiliary(path) or "alpha" in _auxiliary(path)
    return identify(path, "%A")[0] != "False"


def _auxiliary(path: Path) -> str:
    return str(exiftool(path).get("QuickTime:AuxiliaryImageType", ""))


def table(cells_of: dict[str, dict[str, str]]) -> str:
    """Properties down, formats across."""
    rows = list(next(iter(cells_of.values())))
    lines = [
        "| | " + " | ".join(formats.named(format).title for format in cells_of) + " |",
        "| --- " * (len(cells_of) + 1) + "|",
    ]
    lines += [f"| {row} | " + " | ".join(cells[row] for cells in cells_of.values()) + " |" for row in rows]
    return "\n".join(lines)


def found_tables() -> dict[str, str]:
    """The tables by name, as they stand in the document between `<!-- NAME -->` and `<!-- /NAME -->`."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        written = {format: written_cells(place, format) for format in formats.names()}
        # Of camera raw, no program writes a file with all of this.
        read = {format.name: read_cells(place, format.name) for format in formats.known() if format.name != "raw"}
    tables = {"written": table(written), "read": table(read)}
    return tables | {"formats": table_of_formats(), "unread": table_of_unread()}


def table_of_formats() -> str:
    """What `adacode_cli.formats` says of each format, a line for each."""
    lines = [
        "| format | `--format` | suffixes | also found in folders | bits a sample | lossy | longest side (pixels) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for format in formats.known():
        bits = [{"uint8": "8", "uint16": str(format.deep_bits), "float32": "32, float"}[d] for d in format.depths[::-1]]
        cells = [
            format.title,
            f"`{format.name}`" if format.suffixes else "read only",
            ", ".join(f"`{suffix}`" for suffix in format.suffixes),
            ", ".join(f"`{suffix}`" for suffix in format.input_suffixes),
            "; ".join(bits),
            "yes" if format.lossy else "",
            f"{format.max_side:,}" if format.max_side < 2**31 - 1 else "",
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)


def table_of_unread() -> str:
    """The kinds that are not read, a line for each."""
    lines = ["| what it is | suffixes | program | command |", "| --- | --- | --- | --- |"]
    for kind in formats.UNREAD:
        suffixes = ", ".join(f"`.{suffix}`" for suffix in kind.suffixes.split())
        command = kind.usage.replace("{}", f".{kind.suffixes.split()[0]}")
        lines.append(f"| {kind.title} | {suffixes} | {kind.program} | `{command}` |")
    return "\n".join(lines)


def with_tables(text: str, tables: dict[str, str]) -> str:
    """The document's text with these tables in their places."""
    for name, content in tables.items():
        head, rest = text.split(f"<!-- {name} -->\n")
        tail = rest.split(f"<!-- /{name} -->")[1]
        text = f"{head}<!-- {name} -->\n{content}\n<!-- /{name} -->{tail}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8"), found_tables()), encoding="utf-8")
