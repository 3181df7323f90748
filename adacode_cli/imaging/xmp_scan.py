"""Finds the byte positions of properties in an XMP packet, so that one can be changed without changing others.

Expat parses the XML; this module records positions. Writing a parsed tree again would change prefixes and white
space, which may matter to other programs. Packets may be malicious, so all work takes time in proportion to the
length of the packet, and only requested properties are recorded. Namespaces are handled here, because Expat copies the
full name of the namespace for each element and attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from xml.parsers import expat

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

Name = tuple[str, str]
"""(namespace, local name)."""

_ABOUT = (RDF, "about")
_MAX_DEPTH = 200
_MAX_REMEMBERED = 10_000
# Possessive quantifiers prevent backtracking.
_TAG = re.compile(rb"""<(?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")
_TAG_NAME = re.compile(rb"<[^\s/>]++")
_ATTRIBUTE = re.compile(rb"""\s*+([^\s=/>]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)')""")


class DamagedXmp(ValueError):  # noqa: N818 (the name describes the data, not an error of the code)
    """The packet is not well-formed UTF-8 XML with an rdf:RDF, or it has too many or too deeply nested elements."""


@dataclass
class Element:
    """`name` is (namespace, local name); its start tag is data[start:inner], its content data[inner:close].

    end: after its end tag. An empty tag has no content, and inner = close = end.
    attributes: (namespace, local name) → (name as written, parsed value), of requested attributes.
    has_children: whether it contains elements; `children` are the recorded ones.
    """

    name: Name
    start: int
    inner: int
    attributes: dict[Name, tuple[str, str]]
    close: int = 0
    end: int = 0
    texts: list[str] = field(default_factory=list)
    children: list[Element] = field(default_factory=list)
    has_children: bool = False

    @property
    def is_empty_tag(self) -> bool:
        return self.inner == self.end


@dataclass(frozen=True)
class Change:
    """A replacement of the bytes from `start` to `end` by `new`."""

    start: int
    end: int
    new: bytes


def scanned(packet: bytes, names: Set[Name]) -> Element:
    """The rdf:RDF element of a packet, with the `names` properties and attributes in it. Raises DamagedXmp."""
    parser = expat.ParserCreate(encoding="utf-8")
    parser.buffer_text = True
    parser.ordered_attributes = True
    scan = _Scan(packet, names)
    parser.StartElementHandler = lambda name, attributes: scan.started(name, attributes, parser.CurrentByteIndex)
    parser.EndElementHandler = lambda _name: scan.ended(parser.CurrentByteIndex)
    parser.CharacterDataHandler = scan.add_text
    parser.StartDoctypeDeclHandler = scan.refuse_doctype  # Entities could expand without limit, and XMP has none.
    try:
        parser.Parse(packet.rstrip(b"\0"), True)
    except (expat.ExpatError, ValueError, AttributeError) as error:
        raise DamagedXmp(str(error)) from error
    if scan.rdf is None:
        raise DamagedXmp("it contains no rdf:RDF")
    return scan.rdf


def properties(rdf: Element, name: Name) -> list[Element]:
    """The elements of a top-level property; attributes are in `descriptions`."""
    return [child for part in descriptions(rdf) for child in part.children if child.name == name]


def descriptions(rdf: Element) -> list[Element]:
    """The rdf:Description elements directly below rdf:RDF."""
    return rdf.children


def value_of(rdf: Element, name: Name) -> str | None:
    """The text of a simple top-level property, in an attribute or an element; None if it is missing."""
    for part in descriptions(rdf):
        if name in part.attributes:
            return part.attributes[name][1]
    found = [element for element in properties(rdf, name) if not element.has_children]
    return "".join(found[0].texts).strip() if found else None


def set_value(packet: bytes, rdf: Element, name: Name, value: str) -> list[Change]:
    """Changes that replace the value of a simple property, if it exists. `value` must be escaped already."""
    changes = []
    for part in descriptions(rdf):
        if name in part.attributes:
            span = _value_span(packet, part, part.attributes[name][0])
            changes += [Change(*span, value.encode())] if span else []
    for element in properties(rdf, name):
        if not element.has_children and not element.is_empty_tag:
            changes.append(Change(element.inner, element.close, value.encode()))
    return changes


def removed(packet: bytes, rdf: Element, names: Set[Name]) -> list[Change]:
    """Changes that remove the properties `names`, in attributes and elements."""
    changes = []
    for part in descriptions(rdf):
        written = {part.attributes[name][0].encode() for name in names & part.attributes.keys()}
        if written:
            changes += [Change(*match.span(), b"") for match in _attributes(packet, part) if match[1] in written]
        changes += [Change(child.start, child.end, b"") for child in part.children if child.name in names]
    return changes


def applied(packet: bytes, changes: list[Change]) -> bytes:
    """The packet with changes that do not overlap."""
    pieces, at = [], 0
    for change in sorted(changes, key=lambda change: change.start):
        pieces += [packet[at : change.start], change.new]
        at = change.end
    return b"".join([*pieces, packet[at:]])


def _value_span(packet: bytes, element: Element, written: str) -> tuple[int, int] | None:
    """(begin, end) of the value of an attribute, without quotes."""
    for match in _attributes(packet, element):
        if match[1] == written.encode():
            return match.span(2) if match[2] is not None else match.span(3)
    return None


def _attributes(packet: bytes, element: Element) -> Iterator[re.Match[bytes]]:
    """The attributes in a start tag, with white space before them."""
    tag_name = _TAG_NAME.match(packet, element.start)
    at = tag_name.end() if tag_name is not None else element.inner
    while (match := _ATTRIBUTE.match(packet, at, element.inner)) is not None:
        yield match
        at = match.end()


class _Scan:
    """The open elements while Expat parses, and the first rdf:RDF."""

    def __init__(self, packet: bytes, names: Set[Name]) -> None:
        self._packet = packet
        self._names = names
        self._attributes = names | {_ABOUT}
        self._open: list[Element | None] = []  # None: not recorded
        self._declared: list[tuple[str, ...]] = []  # the prefixes that each open element declares
        self._namespaces: dict[str, list[str]] = {"": [""], "xml": ["http://www.w3.org/XML/1998/namespace"]}
        self._remembered = 0
        self.rdf: Element | None = None

    def started(self, written: str, attributes: list[str], at: int) -> None:
        """Handles a start tag at byte `at`; `attributes` are names and values alternately. Raises DamagedXmp."""
        if len(self._open) >= _MAX_DEPTH:
            raise DamagedXmp("nested too deeply")
        self._declared.append(self._declare(attributes) if attributes else ())
        name = self._name(written, self._namespaces[""][-1])
        parent = self._open[-1] if self._open else None
        named = self._named(attributes) if attributes else {}
        if parent is not None:
            parent.has_children = True
        remembered = None
        if self._is_remembered(name, parent):
            self._remembered += 1
            tag = _TAG.match(self._packet, at)
            if tag is None or self._remembered > _MAX_REMEMBERED:
                raise DamagedXmp("a tag is not where it was read" if tag is None else "too many elements are repeated")
            remembered = Element(name, at, tag.end(), named)
            if parent is not None:
                parent.children.append(remembered)
            if self.rdf is None:
                self.rdf = remembered
        self._open.append(remembered)

    def ended(self, at: int) -> None:
        """Handles the end tag, at byte `at`, of the innermost open element."""
        element = self._open.pop()
        for prefix in self._declared.pop():
            self._namespaces[prefix].pop()
        if element is None:
            return
        if self._packet[element.inner - 2 : element.inner] == b"/>":
            element.close = element.end = element.inner
            return
        tag = _TAG.match(self._packet, at)
        element.close, element.end = at, tag.end() if tag is not None else at

    def add_text(self, text: str) -> None:
        element = self._open[-1]
        if element is not None and element.name in self._names and not element.has_children:
            element.texts.append(text)

    def refuse_doctype(self, *_: object) -> None:
        raise DamagedXmp("it contains a document type declaration")

    def _is_remembered(self, name: Name, parent: Element | None) -> bool:
        """Whether an element is recorded: the first rdf:RDF, its descriptions, requested properties, and rdf:Seq."""
        if self.rdf is None:
            return name == (RDF, "RDF")
        if parent is self.rdf:
            return name == (RDF, "Description")
        if parent is not None and parent.name == (RDF, "Description"):
            return name in self._names
        return parent is not None and parent.name in self._names and name == (RDF, "Seq")

    def _declare(self, attributes: list[str]) -> tuple[str, ...]:
        prefixes = []
        for key, value in zip(attributes[::2], attributes[1::2], strict=True):
            if key == "xmlns" or key.startswith("xmlns:"):
                prefixes.append(key[6:])
                self._namespaces.setdefault(key[6:], []).append(value)
        return tuple(prefixes)

    def _named(self, attributes: list[str]) -> dict[Name, tuple[str, str]]:
        found = {}
        for key, value in zip(attributes[::2], attributes[1::2], strict=True):
            if key != "xmlns" and not key.startswith("xmlns:"):
                name = self._name(key, "")
                if name in self._attributes:
                    found[name] = key, value
        return found

    def _name(self, written: str, default: str) -> Name:
        """(namespace, local name); `default` is the namespace without a prefix. Raises DamagedXmp."""
        prefix, colon, local = written.partition(":")
        if not colon:
            return default, written
        namespaces = self._namespaces.get(prefix)
        if not namespaces or not local or ":" in local:
            raise DamagedXmp("a prefix is not declared")
        return namespaces[-1], local
