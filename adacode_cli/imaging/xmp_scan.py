"""Where in an XMP packet its properties stand, byte for byte, so that one can be changed and all else be left.

Expat reads the XML; this file only remembers where it was. Rewriting a parsed tree would change prefixes, white space
and whatever another program meant by them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_MAX_BYTES = 1 << 24
_MAX_DEPTH = 200
_TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")


class DamagedXmp(ValueError):  # noqa: N818 (names what was found, not what went wrong in the code)
    """No well-formed UTF-8 XML with an rdf:RDF in it."""


@dataclass
class Element:
    """`name` is (namespace, local name); its start tag is data[start:inner], its content data[inner:close].

    `end` lies behind its end tag. An empty tag has no content and inner = close = end. `attributes` are the name as
    written and the value as read, by (namespace, local name).
    """

    name: tuple[str, str]
    start: int
    inner: int
    attributes: dict[tuple[str, str], tuple[str, str]]
    depth: int
    close: int = 0
    end: int = 0
    parent: Element | None = None
    text: str = ""
    children: list[Element] = field(default_factory=list)

    @property
    def is_empty_tag(self) -> bool:
        return self.inner == self.end


@dataclass(frozen=True)
class Change:
    """The bytes from `start` to `end` are to become `new`."""

    start: int
    end: int
    new: bytes


def scanned(packet: bytes) -> Element:
    """The rdf:RDF element of a packet. Raises DamagedXmp."""
    if len(packet) > _MAX_BYTES:
        raise DamagedXmp("too long")
    scan = _Scan(packet)
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator="\n")
    parser.namespace_prefixes = True
    parser.buffer_text = True
    parser.StartElementHandler = lambda name, attributes: scan.started(name, attributes, parser.CurrentByteIndex)
    parser.EndElementHandler = lambda _name: scan.ended(parser.CurrentByteIndex)
    parser.CharacterDataHandler = scan.said
    parser.StartDoctypeDeclHandler = scan.refused  # Entities could unfold without end, and XMP has none.
    try:
        parser.Parse(packet.rstrip(b"\0"), True)
    except (expat.ExpatError, ValueError, AttributeError) as error:
        raise DamagedXmp(str(error)) from error
    if scan.rdf is None:
        raise DamagedXmp("no rdf:RDF in it")
    return scan.rdf


def properties(rdf: Element, name: tuple[str, str]) -> list[Element]:
    """The elements that state a top-level property; attributes that do so are found in `descriptions`."""
    return [child for part in descriptions(rdf) for child in part.children if child.name == name]


def descriptions(rdf: Element) -> list[Element]:
    """The rdf:Description elements directly below rdf:RDF."""
    return [child for child in rdf.children if child.name == (RDF, "Description")]


def value_of(rdf: Element, name: tuple[str, str]) -> str | None:
    """The text of a simple top-level property, however it is written."""
    for part in descriptions(rdf):
        if name in part.attributes:
            return part.attributes[name][1]
    found = [element for element in properties(rdf, name) if not element.children]
    return found[0].text.strip() if found else None


def set_value(packet: bytes, rdf: Element, name: tuple[str, str], value: str) -> list[Change]:
    """Changes that give a simple property, where it is there, another value. `value` needs no escaping."""
    changes = []
    for part in descriptions(rdf):
        if name in part.attributes:
            span = _value_span(packet, part, part.attributes[name][0])
            changes += [Change(*span, value.encode())] if span else []
    for element in properties(rdf, name):
        if not element.children and not element.is_empty_tag:
            changes.append(Change(element.inner, element.close, value.encode()))
    return changes


def applied(packet: bytes, changes: list[Change]) -> bytes:
    """The packet with changes that do not overlap."""
    result = bytearray(packet)
    for change in sorted(changes, key=lambda change: change.start, reverse=True):
        result[change.start : change.end] = change.new
    return bytes(result)


def _value_span(packet: bytes, element: Element, written: str) -> tuple[int, int] | None:
    """Where between its quotes an attribute's value stands."""
    pattern = rb"""\s""" + re.escape(written.encode()) + rb"""\s*=\s*("[^"]*"|'[^']*')"""
    match = re.search(pattern, packet[element.start : element.inner])
    return (element.start + match.start(1) + 1, element.start + match.end(1) - 1) if match else None


class _Scan:
    """What is open while expat reads, and the first rdf:RDF."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._open: list[Element] = []
        self.rdf: Element | None = None

    def started(self, name: str, attributes: dict[str, str], at: int) -> None:
        """A start tag at byte `at`, with names as expat gives them. Raises DamagedXmp."""
        if len(self._open) >= _MAX_DEPTH:
            raise DamagedXmp("nested too deeply")
        tag = _TAG.match(self._packet, at)
        if tag is None:
            raise DamagedXmp("a tag is not where it was read")
        named = {_name(key): (_written(key), value) for key, value in attributes.items()}
        parent = self._open[-1] if self._open else None
        element = Element(_name(name), at, tag.end(), named, len(self._open), parent=parent)
        if parent is not None:
            parent.children.append(element)
        if self.rdf is None and element.name == (RDF, "RDF"):
            self.rdf = element
        self._open.append(element)

    def ended(self, at: int) -> None:
        """The end tag, at byte `at`, of the element that was opened last."""
        element = self._open.pop()
        if self._packet[element.inner - 2 : element.inner] == b"/>":
            element.close = element.end = element.inner
            return
        tag = _TAG.match(self._packet, at)
        element.close, element.end = at, tag.end() if tag is not None else at

    def said(self, text: str) -> None:
        self._open[-1].text += text

    def refused(self, *_: object) -> None:
        raise DamagedXmp("a document type in it")


def _name(key: str) -> tuple[str, str]:
    parts = key.split("\n")
    return (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])


def _written(key: str) -> str:
    parts = key.split("\n")
    return f"{parts[2]}:{parts[1]}" if len(parts) > 2 else parts[-1]
