"""A result that is not like its input is computed again, refused, kept apart or taken, as the options say."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image


def outcomes(result) -> dict[str, dict]:
    events = [json.loads(line) for line in result.stdout.splitlines()]
    return {event["source"]: event for event in events if event["event"].startswith("file-")}


def test_black_results_fail_alone_and_are_kept_apart_on_demand(adacode, photo, tmp_path):
    photo("p/a.png")
    photo("p/sub/b.png", (33, 16))
    run = ("sr", "p", "-o", "out", "--weights", "black", "--json")
    result = adacode(*run)
    assert result.returncode == 9
    failed = outcomes(result)["p/sub/b.png"]["error"]
    assert (failed["kind"], failed["exit_code"]) == ("quality", 6)
    assert "it is black" in failed["message"]
    assert "--quarantine" in failed["hint"]
    assert not (tmp_path / "out" / "sub").exists()
    again = adacode(*run, "--quarantine", "doubtful")
    assert again.returncode == 9
    assert "doubtful/sub/b.png" in outcomes(again)["p/sub/b.png"]["error"]["message"]
    with Image.open(tmp_path / "doubtful" / "sub" / "b.png") as image:
        assert (image.size, np.asarray(image).max()) == ((132, 64), 0)
    assert not (tmp_path / "out" / "sub").exists()


def test_what_overflows_is_computed_again_in_fp32(adacode, photo, tmp_path):
    photo("p/b.png", (33, 16))
    result = adacode("sr", "p", "--weights", "overflows", "--precision", "bf16", "--json")
    assert result.returncode == 0
    assert "computed again in float32: it is black" in " ".join(outcomes(result)["p/b.png"]["notes"])
    assert np.asarray(Image.open(tmp_path / "p-sr-x4" / "b.png")).max() > 200


def test_without_the_guard_results_are_taken_as_they_are(adacode, photo, tmp_path):
    photo("p/b.png", (33, 16))
    assert adacode("sr", "p", "--weights", "black", "--no-guard").returncode == 0
    assert np.asarray(Image.open(tmp_path / "p-sr-x4" / "b.png")).max() == 0
    assert adacode("sr", "p", "--weights", "black", "--quarantine", "q", "--no-guard", "--dry-run").returncode == 0
    assert adacode("sr", "p", "--weights", "black").returncode == 6  # an option that changes outputs


def test_the_colour_fix_of_an_image_that_needs_none(adacode, photo, tmp_path):
    before = np.asarray(Image.open(photo("a.png")))
    assert adacode("sr", "a.png", "-o", "b.png", "--weights", "nearest", "--color-fix", "low-frequency").returncode == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png"))[::4, ::4], before)
    assert adacode("sr", "a.png", "--weights", "nearest", "--color-fix", "strong").returncode == 2
