"""docs/tour.md is what docs/make_tour.py writes: the same commands in the same order, each with its screens."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def script():
    spec = importlib.util.spec_from_file_location("make_tour", DOCS / "make_tour.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_tour"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    del sys.modules["make_tour"]
    return module


def test_the_tour_has_every_command_with_its_screens():
    page, tours = (DOCS / "tour.md").read_text(encoding="utf-8"), script().TOURS
    assert len(tours) == 3
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [tour.title for tour in tours]
    commands = [command for tour in tours for command in tour.commands]
    typed = [command.typed for command in commands for _ in range(2 if command.during else 1)]
    assert re.findall(r"^```text\n\$ (.*)$", page, re.MULTILINE) == typed
    for command in commands:
        assert not command.during or re.search(command.during, page)


def test_the_screens_fit_their_terminal_and_tell_nothing_of_the_machine():
    page, columns = (DOCS / "tour.md").read_text(encoding="utf-8"), script()._COLUMNS
    for screen in re.findall(r"^```text\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL):
        assert all(len(line) <= columns for line in screen.split("\n"))
        assert "Traceback" not in screen
        assert not re.search(r"/(home|root|tmp|Users)/", screen)
