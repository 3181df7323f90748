"""`train prepare` with few photographs, and with categories of which none can be used."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_photos import made, save, save_good
from tiny_families import picture
from training_commands import adacode, ended, started

from adacode_cli.errors import TrainingError
from adacode_cli.training.prepare.examine import LeftOut, places
from adacode_cli.training.prepare.packing import SpooledCrop
from adacode_cli.training.prepare.refused import refusal
from adacode_cli.training.prepare.selection import held_out
from adacode_cli.training.shards import Shards

ZERO = np.zeros(3)


def crops_of(sizes: list[tuple[int, int]], side: int) -> dict[str, list[SpooledCrop]]:
    """The crops that `prepare` cuts from photographs of these heights and widths."""
    return {
        f"{i}.png": [SpooledCrop(f"{i}.png", y, x, 0, 1, ZERO, ZERO) for y, x in places(height, width, side)]
        for i, (height, width) in enumerate(sizes)
    }


def detailed(seed: int) -> np.ndarray:
    """256×256×3 uint8 without a flat part: four small pictures."""
    rows = [np.hstack([picture(4 * seed + 2 * i + j, 128, 128) for j in range(2)]) for i in range(2)]
    noise = np.random.default_rng(seed).integers(-20, 21, (256, 256, 1))
    return np.clip(np.vstack(rows).astype(int) + noise, 0, 255).astype(np.uint8)


SIZES = st.lists(st.tuples(st.integers(64, 400), st.integers(64, 400)), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(SIZES, st.sampled_from([0.0, 0.02, 0.1, 0.5]), st.integers(0, 3))
def test_what_is_held_out_is_at_most_the_share_or_one(sizes, share, seed):
    crops = crops_of(sizes, 64)
    found = held_out(crops, share, seed, 64)
    train, validation = found.splits["train"], found.splits["validation"]
    every = sum(map(len, crops.values()))
    assert train
    assert len(train) + len(validation) + found.num_beside == every
    if share * len(crops) < 1 and share > 0:
        assert found.by == "crops"
        assert len(validation) <= max(1, round(share * every))
        for crop in train:
            for other in validation:
                near = crop.file == other.file
                shared = max(0, 64 - abs(crop.y - other.y)) * max(0, 64 - abs(crop.x - other.x))
                assert not near or shared <= 64 * 64 / 4
    else:
        assert found.by == "photographs"
        assert not {crop.file for crop in train} & {crop.file for crop in validation}


def test_two_large_photographs_lose_one_crop_and_not_one_photograph(tmp_path):
    photos = tmp_path / "photos"
    for i in range(2):
        save(photos / "sky" / f"{i}.png", detailed(i))
    manifest = made(photos, tmp_path / "out")
    assert manifest["crops"] == {"train": {"sky": 31}, "validation": {"sky": 1}}
    assert manifest["held_out_by"] == {"sky": "crops"}
    assert len(Shards(tmp_path / "out").crops("validation")) == 1


def test_the_summary_says_that_training_uses_the_photographs_of_the_validation(tmp_path, capfd):
    photos = tmp_path / "photos"
    save(photos / "sky" / "only.png", detailed(3))
    adacode("train", "prepare", photos, "-o", tmp_path / "out", "--crop", 64)
    err = capfd.readouterr().err
    assert "sky: 15 crops for train, 1 crops for validation (from photographs that training uses too)" in err


def test_one_unusable_category_does_not_stop_the_others(tmp_path):
    photos = save_good(tmp_path / "photos")
    for i, width in enumerate((3, 4)):
        save(photos / "soft" / f"{i}.png", cv2.GaussianBlur(picture(50 + i), (0, 0), width))
    save(photos / "soft" / "small.png", picture(60, 50, 40))
    code, out, err = ended(started("train", "prepare", photos, "-o", tmp_path / "out", "--crop", 64, "--quiet"))
    assert code == 0, err
    manifest = json.loads(Path(out.strip()).read_text())
    assert manifest["categories"] == ["ground", "sky"]
    files = {entry["file"]: entry for entry in manifest["left_out"]["files"]}
    best = min(files[f"soft/{i}.png"]["value"] for i in range(2))
    assert f"the category soft is left out: 2 blurred (at best {best:.2f}, limit 1.2), 1 tiny (at best 40" in err
    assert "--crop 40." in err
    assert "warning" in err
    allowed = float(err.partition("--max-blur ")[2].split(",")[0])
    assert best <= allowed < best + 0.011
    again = made(photos, tmp_path / "again", limits=lifted(allowed))
    assert "soft" in again["categories"], "the option that was named lets one in"


def lifted(blur: float):
    from adacode_cli.training.prepare.settings import Limits

    return Limits(blur_px=blur)


def test_no_category_at_all_is_an_error_that_says_what_was_measured(tmp_path):
    save(tmp_path / "photos/flat/a.png", np.full((100, 100, 3), 90, np.uint8))
    with pytest.raises(TrainingError, match=r"can be used: 1 flat \(at best 0, limit 2\)") as found:
        made(tmp_path / "photos", tmp_path / "out")
    assert found.value.hint == "To let some in: --min-detail 0."


@pytest.mark.parametrize(
    ("entry", "what", "hint"),
    [
        (("compressed", 71.96, 75.0), "1 compressed (at best 71.96, limit 75)", "--min-jpeg-quality 71.96."),
        (("blocky", 1.2345, 1.2), "1 blocky (at best 1.23, limit 1.2)", "--max-blockiness 1.24."),
        (("duplicate", 1, 2), "1 duplicate (at best 1, limit 2)", "--duplicate-bits -1."),
        (("tiny", 20, 64), "1 tiny (at best 20, limit 64)", "move the folder away."),
        (("unreadable", None, None), "1 unreadable", "move the folder away."),
    ],
)
def test_each_reason_names_the_option_that_lets_a_photograph_in(entry, what, hint):
    found = refusal([LeftOut("a.jpg", *entry)])
    assert found.what == what
    assert found.hint.endswith(hint)
