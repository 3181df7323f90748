"""Edits XMP packets: properties of the pixels are adapted, and an entry is added to the history.

All other bytes are kept. A packet that cannot be read is not changed: `DamagedXmp`.
"""

from __future__ import annotations

import html
import re
from fractions import Fraction

from adacode_cli.imaging.resolution import rational
from adacode_cli.imaging.xmp_scan import (
    RDF,
    Change,
    DamagedXmp,
    Element,
    applied,
    descriptions,
    properties,
    removed,
    scanned,
    set_value,
    value_of,
)

__all__ = [
    "DamagedXmp",
    "compacted",
    "creator_tool",
    "is_extended",
    "orientation",
    "resized",
    "upright",
    "with_event",
    "without_orientation",
]

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_XMP, _MM = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xap/1.0/mm/"
_EVENT = "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
_NOTE = "http://ns.adobe.com/xmp/note/"
_ACROSS, _DOWN = (_TIFF, "XResolution"), (_TIFF, "YResolution")
_WIDTHS = ((_TIFF, "ImageWidth"), (_EXIF, "PixelXDimension"))
_HEIGHTS = ((_TIFF, "ImageLength"), (_EXIF, "PixelYDimension"))
_ORIENTATION, _THUMBNAILS, _HISTORY = (_TIFF, "Orientation"), (_XMP, "Thumbnails"), (_MM, "History")
_CREATOR_TOOL, _EXTENDED = (_XMP, "CreatorTool"), (_NOTE, "HasExtendedXMP")
# Properties of gain maps, videos and other attachments, which no output has; viewers would not find them.
_GAIN_MAP, _APPLE_GAIN_MAP = "http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/"
_CONTAINERS = ("http://ns.google.com/photos/1.0/container/", "http://ns.google.com/photos/dd/1.0/container/")
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_ATTACHMENTS = frozenset(
    {
        *((_GAIN_MAP, name) for name in ("Version", "BaseRenditionIsHDR", "GainMapMin", "GainMapMax", "Gamma")),
        *((_GAIN_MAP, name) for name in ("OffsetSDR", "OffsetHDR", "HDRCapacityMin", "HDRCapacityMax")),
        *((_APPLE_GAIN_MAP, name) for name in ("HDRGainMapVersion", "HDRGainMapHeadroom")),
        *((container, "Directory") for container in _CONTAINERS),
        *((_CAMERA, "MotionPhoto" + end) for end in ("", "Version", "PresentationTimestampUs")),
        *((_CAMERA, "MicroVideo" + end) for end in ("", "Version", "Offset", "PresentationTimestampUs")),
    }
)
_FRACTION = re.compile(r"(\d{1,12})/(\d{1,12})|(\d{1,12}(?:\.\d{1,12})?)")
_PLAIN_ORIENTATION = re.compile(rb"(tiff:Orientation(?:[ \t\r\n]?=[ \t\r\n]?[\"']|>))[2-8]")
_MAX_FRACTION = 100  # A longer text is not a fraction, and could be copied to many places.
_NO_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TRAILER = b"<?xpacket end"
_BLANKS = b" \t\n\r\v\f"
_PROPERTIES = frozenset(
    {_ORIENTATION, _THUMBNAILS, _HISTORY, _CREATOR_TOOL, _EXTENDED, _ACROSS, _DOWN, *_WIDTHS, *_HEIGHTS} | _ATTACHMENTS
)
_NEW_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
).encode()


def upright(packet: bytes, *, swaps_axes: bool) -> bytes:
    """The packet with tiff:Orientation 1, without thumbnails and references to gain maps and videos.

    With `swaps_axes`, horizontal and vertical resolution are exchanged. Raises DamagedXmp.
    """
    rdf = scanned(packet, _PROPERTIES)
    changes = set_value(packet, rdf, _ORIENTATION, "1")
    changes += removed(packet, rdf, _ATTACHMENTS | {_THUMBNAILS})
    across, down = value_of(rdf, _ACROSS), value_of(rdf, _DOWN)
    if swaps_axes and across and down and max(len(across), len(down)) <= _MAX_FRACTION:
        changes += set_value(packet, rdf, _ACROSS, _quoted(down))
        changes += set_value(packet, rdf, _DOWN, _quoted(across))
    return applied(packet, changes)


def without_orientation(packet: bytes) -> bytes:
    """A damaged packet in which orientations in plain bytes are replaced by 1.

    Programs that search for these bytes without parsing the packet would otherwise rotate the upright image.
    """
    return _PLAIN_ORIENTATION.sub(rb"\g<1>1", packet)


def resized(packet: bytes, *, across: Fraction, down: Fraction, size: tuple[int, int]) -> bytes:
    """The packet for an image resized by the factors `across` and `down` to `size` (H, W). Raises DamagedXmp."""
    rdf = scanned(packet, _PROPERTIES)
    changes = []
    for name, factor in ((_ACROSS, across), (_DOWN, down)):
        old = _fraction(value_of(rdf, name))
        if old is not None and factor != 1:
            above, below = rational(old * factor)
            changes += set_value(packet, rdf, name, f"{above}/{below}")
    for names, side in ((_HEIGHTS, size[0]), (_WIDTHS, size[1])):
        for name in names:
            changes += set_value(packet, rdf, name, str(side))
    return applied(packet, changes)


def with_event(packet: bytes | None, *, tool: str, parameters: str) -> bytes:
    """The packet (None: a new one) with an event at the end of xmpMM:History. Raises DamagedXmp.

    Characters of `tool` and `parameters` that XML cannot hold are replaced.
    """
    packet = _NEW_PACKET if packet is None else packet
    rdf = scanned(packet, _PROPERTIES)
    event = (
        f'<rdf:li xmlns:rdf="{RDF}" xmlns:stEvt="{_EVENT}" rdf:parseType="Resource">'
        f"<stEvt:action>edited</stEvt:action><stEvt:softwareAgent>{_text(tool)}</stEvt:softwareAgent>"
        f"<stEvt:parameters>{_text(parameters)}</stEvt:parameters></rdf:li>"
    )
    history = next(iter(properties(rdf, _HISTORY)), None)
    sequence = next((c for c in history.children if c.name == (RDF, "Seq")), None) if history is not None else None
    if sequence is not None and not sequence.is_empty_tag:
        return applied(packet, [Change(sequence.close, sequence.close, event.encode())])
    new = f'<xmpMM:History xmlns:xmpMM="{_MM}"><rdf:Seq xmlns:rdf="{RDF}">{event}</rdf:Seq></xmpMM:History>'
    if history is not None:
        return applied(packet, [Change(history.start, history.end, new.encode())])
    return applied(packet, [_new_description(rdf, new)])


def orientation(packet: bytes) -> int | None:
    """tiff:Orientation, or None if it is missing or not a number. Raises DamagedXmp."""
    text = value_of(scanned(packet, _PROPERTIES), _ORIENTATION) or ""
    return int(text) if text.isdecimal() and len(text) == 1 else None


def creator_tool(packet: bytes) -> str | None:
    """xmp:CreatorTool, or None. Raises DamagedXmp."""
    return value_of(scanned(packet, _PROPERTIES), _CREATOR_TOOL) or None


def is_extended(packet: bytes) -> bool:
    """Whether the packet refers to an extended packet, as in JPEG files with long XMP. Raises DamagedXmp."""
    return value_of(scanned(packet, _PROPERTIES), _EXTENDED) is not None


def compacted(packet: bytes) -> bytes:
    """The packet without the padding for programs that edit in place."""
    content, trailer, rest = packet.rpartition(_TRAILER)
    return content.rstrip(_BLANKS) + b"\n" + trailer + rest if trailer else packet


def _new_description(rdf: Element, content: str) -> Change:
    about = next(
        (part.attributes[(RDF, "about")][1] for part in descriptions(rdf) if (RDF, "about") in part.attributes), ""
    )
    part = f'<rdf:Description xmlns:rdf="{RDF}" rdf:about={_attribute(about)}>{content}</rdf:Description>'
    if rdf.is_empty_tag:
        whole = f'<rdf:RDF xmlns:rdf="{RDF}">{part}</rdf:RDF>'
        return Change(rdf.start, rdf.end, whole.encode())
    return Change(rdf.close, rdf.close, part.encode())


def _text(text: str) -> str:
    """Text for an element; invalid XML characters (control characters, lone surrogates) are replaced."""
    return html.escape(_NO_XML.sub("\ufffd", text), quote=False)


def _quoted(value: str) -> str:
    """Text for an element or between quotes of either kind."""
    return html.escape(value, quote=False).replace('"', "&quot;").replace("'", "&apos;")


def _attribute(value: str) -> str:
    """The value of an attribute, with quotes."""
    text = html.escape(value, quote=False)
    for blank, reference in (("\n", "&#10;"), ("\r", "&#13;"), ("\t", "&#9;")):
        text = text.replace(blank, reference)
    if '"' in text and "'" not in text:
        return f"'{text}'"
    text = text.replace('"', "&quot;")
    return f'"{text}"'


def _fraction(text: str | None) -> Fraction | None:
    match = _FRACTION.fullmatch((text or "").strip())
    if match is None:
        return None
    value = Fraction(int(match[1]), int(match[2])) if match[1] and int(match[2]) else Fraction(match[3] or 0)
    return value if 0 < value < 1 << 32 else None
