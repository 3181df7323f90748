"""docs/formats.md says what other programs find in our files: each of its cells is made and looked at here."""

import re

import format_table
import pytest
from other_programs import needs_exiftool, needs_imagemagick


@pytest.fixture(scope="module")
def found():
    return format_table.found_tables()


@needs_exiftool
@needs_imagemagick
@pytest.mark.parametrize("name", ["written", "read"])
def test_the_document_says_what_is_found(found, name):
    text = format_table.DOCUMENT.read_text(encoding="utf-8")
    told = re.search(rf"<!-- {name} -->\n(.*)\n<!-- /{name} -->", text, re.DOTALL)[1]
    hint = "after a wanted change: python tests/formats/format_table.py"
    assert told.splitlines() == found[name].splitlines(), hint


@needs_exiftool
@needs_imagemagick
def test_what_is_promised_of_every_format_is_so(found):
    """Whatever the tables say, these cells may never become otherwise."""
    rows = {
        line.split(" | ")[0].strip("| "): set(line.strip("| ").split(" | ")[1:])
        for line in found["written"].splitlines()
    }
    assert rows["orientation"] == {"upright"}
    assert rows["file times"] == {"yes"}
    assert rows["8 bits"] == {"8"}
    assert "no" not in rows["resolution"]


def test_the_default_limit_in_the_document_is_the_program_s():
    from adacode_cli.cli.restore_options import DEFAULT_MAX_MEGAPIXELS

    assert f"`--max-megapixels` (default {DEFAULT_MAX_MEGAPIXELS})" in format_table.DOCUMENT.read_text(encoding="utf-8")
