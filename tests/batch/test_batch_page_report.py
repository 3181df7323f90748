"""Notes on the pages of a document: each once, with the pages that it is about."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adacode_cli.batch.page_report import PageReport
from adacode_cli.imaging.image import Decoded


def page(*notes: str) -> Decoded:
    return Decoded(np.zeros((2, 3), np.uint8), None, "tiff", None, None, notes)


@pytest.mark.parametrize(
    ("num_pages", "numbers", "wanted"),
    [
        (1, [1], "found"),
        (3, [1, 2, 3], "found"),
        (3, [2], "page 2: found"),
        (4, [1, 4], "pages 1, 4: found"),
        (30, range(1, 30), "pages 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 19 more: found"),
    ],
)
def test_a_note_names_its_pages_unless_it_is_about_all(num_pages, numbers, wanted):
    report = PageReport(num_pages)
    for number in range(1, num_pages + 1):
        read = page("of the file")
        made = page("of the file", "found", "found") if number in numbers else read
        kept = report.add(read, made, SimpleNamespace(precision="fp32"), [])
        assert kept.notes == ("of the file",)
    assert report.notes == (wanted,)
