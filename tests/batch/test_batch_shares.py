"""A run reports which share of each file the network has computed: over the pages of a document and several runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from nearest import NearestRestorer
from PIL import Image

from adacode_cli.batch.description import Description, NetworkDescription
from adacode_cli.batch.events import Event, FileAdvanced, FileFinished, FileStarted
from adacode_cli.batch.found import Selection
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.run import run
from adacode_cli.engine.progress import Meter
from adacode_cli.imaging.decode import decode
from adacode_cli.sizes import Sizing


class Tiled(NearestRestorer):
    """Tells of two tiles for each run of the network."""

    device, lanes = "cpu", 1

    def factors(self, _task):
        return (4, 2)

    def prepare(self, *_args):
        return "a" * 64

    def require_room(self, *_args, **_options):
        """There is enough."""

    def restore(self, task, image, **options):
        meter = Meter(2)
        meter.add(1)
        result = super().restore(task, image, **options)
        meter.add(1)
        return result


@pytest.fixture
def events(tmp_path, monkeypatch):
    """events(sizing) → the events of a run over the folder `in`."""
    monkeypatch.setattr(NetworkDescription, "restorer", lambda _self: Tiled())
    monkeypatch.setattr("adacode_cli.batch.local._REPORT_EVERY_S", 0.0)  # Every share is reported.

    def of(sizing: Sizing) -> list[Event]:
        found: list[Event] = []
        description = Description(NetworkDescription(), "sr", sizing)
        description = replace(description, foresight=replace(description.foresight, sizing=sizing))
        stages, _ = description.stages(decode)
        plan = make_plan([tmp_path / "in"], Naming("sr", tmp_path / "out"), Selection(), OnExisting.REFUSE)
        run(plan, LocalExecutor(stages), on_event=found.append)
        return found

    return of


def shares(events: list[Event], name: str) -> list[float]:
    return [event.share for event in events if isinstance(event, FileAdvanced) and event.job.source.name == name]


def write_image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)


def test_every_file_begins_advances_to_the_whole_and_ends(events, tmp_path):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, (16, 24))
    found = events(Sizing("scale", 4))
    assert shares(found, "a.png") == shares(found, "b.png") == [0.5, 1, 1]
    for name in ("a.png", "b.png"):
        kinds = [
            type(event)
            for event in found
            if (isinstance(event, FileStarted | FileAdvanced) and event.job.source.name == name)
            or (isinstance(event, FileFinished) and event.outcome.source.name == name)
        ]
        assert kinds == [FileStarted, FileAdvanced, FileAdvanced, FileAdvanced, FileFinished]


def test_pages_are_equal_parts(events, tmp_path):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", np.zeros((4, 20, 30), np.uint8), photometric="minisblack")
    assert shares(events(Sizing("scale", 2)), "a.tif") == [i / 8 for i in range(1, 9)] + [1]


def test_runs_count_with_their_pixels(events, tmp_path):
    """×16 are two runs, of which the second one gets 16 times the pixels."""
    write_image(tmp_path / "in" / "a.png", (16, 24))
    assert shares(events(Sizing("scale", 16)), "a.png") == pytest.approx([0.5 / 17, 1 / 17, 9 / 17, 1, 1])
