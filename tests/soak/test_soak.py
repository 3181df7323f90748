"""The soak itself, for a few seconds: it goes on where it was stopped, repeats its cases, and would notice a fault.

`python tests/soak/soak.py` is the long one (README.md); a fault that a short one finds is a fault all the same.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soak_cases
import soak_passage
from soak_kills import kill_round
from soak_parts import parts_of, repaired
from soak_state import STATE, State

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.metadata import EXIF_DAMAGED

SOAK = [sys.executable, str(Path(soak_cases.__file__).with_name("soak.py"))]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc as Linux has it")


def soak(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SOAK, "--state", str(folder), *arguments], capture_output=True, text=True, check=False)


def test_two_hundred_cases_and_a_stop_in_between(tmp_path):
    with subprocess.Popen([*SOAK, "--state", str(tmp_path), "--mutations", "200"], stdout=subprocess.PIPE) as process:
        while not (tmp_path / "libraries.txt").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    stopped = json.loads((tmp_path / STATE).read_text())
    assert stopped["next"] < 200
    run = soak(tmp_path, "--mutations", "200")
    assert run.returncode == 0, run.stdout + run.stderr
    state = State.load(tmp_path, 0)
    counts = {kind: sum(tally.outcomes.values()) for kind, tally in state.tallies.items()}
    assert sorted(counts) == sorted(soak_cases.KINDS)
    assert state.next == sum(counts.values()) == 200
    assert all(set(tally.outcomes) == {"restored", "refused"} for tally in state.tallies.values())
    assert "200 files" in run.stdout
    with pytest.raises(ValueError, match="is of seed 0"):
        State.load(tmp_path, 1)


def test_a_case_is_the_same_bytes_each_time():
    first = [soak_cases.case(3, number) for number in range(45)]
    assert first == [soak_cases.case(3, number) for number in range(45)]
    assert len({found.data for found in first}) > 40


def test_parts_of_whole_files_are_found_and_repairs_change_nothing():
    for name, data in soak_cases.seeds().items():
        kind = name.split("-")[0]
        parts = parts_of(data, kind)
        assert parts or name == "tiff-big" or kind == "jxl", name  # which may be a stream without boxes
        assert all(0 <= part.start <= part.stop <= len(data) for part in parts), name
        assert repaired(data, kind) == data, name
        if kind != "codes":
            assert EXIF_DAMAGED not in decode(data, name="x").lost, name


class Pool:
    """Decodes here, except what is to fail."""

    def __init__(self, error=None):
        self.error = error

    def __call__(self, data, *, name, max_pixels):
        if self.error:
            raise self.error
        return decode(data, name=name, max_pixels=max_pixels)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "restored"),
        (InputError("is damaged", hint="Copy it."), "refused"),
        (InputError("is damaged"), "refused without a reason or a remedy: is damaged"),
        (InputError("its decoder crashed (signal 11)", hint="x"), "crashed: its decoder crashed (signal 11)"),
        (InputError("its decoder did not finish within 10 seconds", hint="x"), "late"),
        (ZeroDivisionError("by zero"), "bug: ZeroDivisionError: by zero"),
    ],
)  # fmt: skip
def test_outcomes(error, expected):
    found = soak_cases.Case(0, "png", "png-rgb", soak_cases.seeds()["png-rgb"])
    assert soak_passage.outcome_of(found, Pool(error)) == expected


def test_a_wrong_output_would_be_noticed(monkeypatch):
    found = soak_cases.Case(0, "png", "png-rgb", soak_cases.seeds()["png-rgb"])
    other = soak_cases.seeds()["png-full<"]
    monkeypatch.setattr(soak_passage._KEEPING.__class__, "encoded", lambda *_: (other, ()))
    assert "instead of" in soak_passage.outcome_of(found, Pool())
    monkeypatch.setattr(soak_passage._KEEPING.__class__, "encoded", lambda *_: (b"", ()))
    assert "its output cannot be read" in soak_passage.outcome_of(found, Pool())


def test_findings_are_counted_by_kind_and_the_first_are_kept(tmp_path):
    state = State(seed=5)
    good = {"kind": "png", "result": "restored", "seconds": 0.1, "busy": 0.1, "growth": 0}
    assert state.note({"done": 0} | good) == []
    for number in range(1, 8):
        kept = state.note({"done": number} | good | {"result": f"bug: x.py line 7: KeyError: {number}"})
        assert kept == (["png: bug: x.py line 7: KeyError: N"] if number <= 5 else [])
    assert state.note({"done": 8} | good | {"busy": 3.0, "growth": 400 << 20}) == [
        "png: more than 2 s", "png: more than 300 MB"
    ]  # fmt: skip
    state.save(tmp_path)
    assert State.load(tmp_path, 5) == state
    assert "KeyError: N: 7 (cases 1, 2, 3, 4, 5)" in state.table()


def test_a_round_of_kills(tmp_path, monkeypatch):
    monkeypatch.setattr("soak_kills.ROUNDS_OF_ONE_TREE", 1)
    kills, wrong = kill_round(0, 247, tmp_path)
    assert (kills <= 1, wrong) == (True, "")
    assert list(tmp_path.iterdir()) == []
