"""XMP packets: what is to change changes, however it is written; every other byte stays; damage is called damage."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adacode_cli.imaging import xmp_editing
from adacode_cli.imaging.xmp_editing import DamagedXmp

HEAD = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
RDF = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
TAIL = b"</rdf:RDF></x:xmpmeta>" + b" " * 300 + b"<?xpacket end='w'?>"
NAMES = b' xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
AS_ATTRIBUTE = HEAD + RDF + b"<rdf:Description rdf:about='uuid:1'" + NAMES + b"\n t:Orientation = '8' dc:x='6'/>" + TAIL
AS_ELEMENT = (
    HEAD
    + RDF
    + b"<rdf:Description"
    + NAMES
    + b"><t:Orientation> 8 </t:Orientation><dc:x>6</dc:x></rdf:Description>"
    + TAIL
)


def test_only_the_orientation_changes_in_an_attribute():
    changed = xmp_editing.upright(AS_ATTRIBUTE, swaps_axes=False)
    assert changed == AS_ATTRIBUTE.replace(b"'8'", b"'1'")


def test_only_the_orientation_changes_in_an_element():
    changed = xmp_editing.upright(AS_ELEMENT, swaps_axes=False)
    assert changed == AS_ELEMENT.replace(b"> 8 <", b">1<")


def test_another_namespace_with_the_same_word_is_not_meant():
    packet = AS_ATTRIBUTE.replace(b"http://ns.adobe.com/tiff/1.0/", b"http://example.org/other/")
    assert xmp_editing.upright(packet, swaps_axes=False) == packet


def test_resolution_and_size_follow():
    packet = AS_ATTRIBUTE.replace(b"t:Orientation = '8'", b"t:XResolution='72/1' t:YResolution=\"72\" t:ImageWidth='5'")
    changed = xmp_editing.resized(packet, across=Fraction(3, 2), down=Fraction(2), size=(40, 30))
    assert b"t:XResolution='108/1' t:YResolution=\"144/1\" t:ImageWidth='30'" in changed


@pytest.mark.parametrize("packet", [AS_ATTRIBUTE, AS_ELEMENT, HEAD + RDF.replace(b">", b"/>") + b"</x:xmpmeta>", None])
def test_events_add_up(packet):
    once = xmp_editing.with_event(packet, tool="a & b", parameters="<1>")
    twice = xmp_editing.with_event(once, tool="c", parameters="2")
    assert twice.count(b":History ") == 1
    assert twice.index(b"a &amp; b") < twice.index(b">c<")
    assert xmp_editing.upright(twice, swaps_axes=False)


def test_an_event_belongs_to_the_same_subject():
    assert b'rdf:about="uuid:1"' in xmp_editing.with_event(AS_ATTRIBUTE, tool="a", parameters="")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"no xml",
        HEAD + RDF,
        HEAD + b"</x:xmpmeta>",
        AS_ELEMENT.replace(b"Zo", b"\xff").replace(b" 8 ", b"\xff\xfe"),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + AS_ELEMENT.split(b"?>\n", 1)[1],
        HEAD + RDF + b"<a>" * 5000 + b"</a>" * 5000 + TAIL,
    ],
)
def test_damage_is_called_damage(packet):
    for edit in (
        lambda: xmp_editing.upright(packet, swaps_axes=True),
        lambda: xmp_editing.with_event(packet, tool="a", parameters="b"),
        lambda: xmp_editing.resized(packet, across=Fraction(2), down=Fraction(2), size=(2, 2)),
    ):
        with pytest.raises(DamagedXmp):
            edit()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_bytes_that_changed_on_the_way_are_edited_or_called_damaged(data):
    packet = bytearray(data.draw(st.sampled_from([AS_ATTRIBUTE, AS_ELEMENT])))
    for _ in range(data.draw(st.integers(1, 3))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    for edit in (
        lambda: xmp_editing.upright(bytes(packet), swaps_axes=True),
        lambda: xmp_editing.with_event(bytes(packet), tool="a", parameters="b"),
        lambda: xmp_editing.resized(bytes(packet), across=Fraction(2), down=Fraction(3), size=(2, 2)),
    ):
        try:
            result = edit()
        except DamagedXmp:
            continue
        assert b"rdf" in result
