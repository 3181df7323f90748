"""Packed records are the records that were put in, whatever they hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adacode_cli.batch.contents import Content
from adacode_cli.batch.packed import Packed
from adacode_cli.batch.record import Record, Settings

NAMES = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=12)
SHA256 = st.text("0123456789abcdef", min_size=64, max_size=64)
CONTENTS = st.builds(Content, st.integers(0, (1 << 63) - 1), SHA256)
STAMPS = st.integers(0, (1 << 70))
RECORDS = st.builds(
    Record,
    CONTENTS,
    st.none() | SHA256 | NAMES,
    st.builds(Settings, NAMES, SHA256),
    CONTENTS,
    st.lists(st.tuples(NAMES, CONTENTS), max_size=2).map(tuple),
    st.none() | NAMES,
    STAMPS,
    STAMPS,
)


@given(st.lists(st.tuples(NAMES, RECORDS, st.sampled_from(["", "/", "s3://museum/scans/"]))), st.integers(0, 9))
def test_what_is_put_in_comes_out(entries, first):
    """Paths also end as their targets do, as in almost every journal."""
    wanted, earlier, later = {}, Packed(), Packed()
    for number, (target, record, folder) in enumerate(entries):
        path = f"{folder}{target}" if folder else record.path
        one = Record(record.source, record.mask, record.settings, record.output, record.side_files, path)
        wanted[target] = one
        (earlier if number < first else later)[target] = one
    records = earlier.joined(later)
    assert set(records) == set(wanted)
    for target, record in wanted.items():
        assert target in records
        assert records.get(target) == record
        assert records.settings_of(target) == record.settings
    assert records.get("none\0") is records.settings_of("none\0") is None


@given(RECORDS)
def test_stamps_of_any_size_are_kept(record):
    records = Packed()
    records["a.png"] = record
    assert records.get("a.png") == record
    assert "a.png" in records


def test_more_settings_than_two_bytes_can_count():
    records, content = Packed(), Content(1, "0" * 64)
    for number in range(70_000):
        records[str(number)] = Record(content, None, Settings(str(number)), content)
    assert all(records.get(str(number)).settings.options == str(number) for number in (0, 65_535, 65_536, 69_999))
