"""`adacode inpaint --detect` and `adacode train detect`, as programs."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path += [str(Path(__file__).parents[1] / name) for name in ("detection", "training")]
from bright_detector import save_bright_detector
from tiny_shards import save_shards

from adacode_cli.checkpoints.detectors import read_detector, write_detector
from adacode_cli.checkpoints.format import Provenance


@pytest.fixture
def photos(tmp_path) -> dict[str, np.ndarray]:
    """Two images with white marks and a sound one, below p, and the detector that finds white in d.safetensors."""
    save_bright_detector(tmp_path / "d.safetensors")
    marks = {}
    for seed, name in enumerate(("a.png", "1931/b.png", "sound.png")):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 200, (30, 40, 3), np.uint8)
        white = rng.random((30, 40)) < (0.0 if name == "sound.png" else 0.05)
        image[white] = 255
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        marks[name] = white
    return marks


D = ("--detect", "d.safetensors")


def opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_what_is_found_is_filled_and_nothing_else(adacode, photos, tmp_path):
    result = adacode("inpaint", "p", *D, "-o", "out", "--save-mask", "m", "--weights", "nearest")
    assert result.returncode == 0, result.stderr
    for name, white in photos.items():
        before, after = opened(tmp_path / "p" / name), opened(tmp_path / "out" / name)
        np.testing.assert_array_equal(after[~white], before[~white])
        assert (after[white] == 128).all()
        mask = opened(tmp_path / "m" / f"{name}_mask.png")
        np.testing.assert_array_equal(mask, white * np.uint8(255))
    assert b"nothing was filled: no scratch was found in this image" in result.stderr
    assert result.stderr.count(b"nothing was filled") == 1


def test_saved_masks_are_found_by_mask_dir(adacode, photos, tmp_path):
    assert adacode("inpaint", "p", *D, "-o", "out", "--save-mask", "m", "--weights", "nearest").returncode == 0
    again = adacode("inpaint", "p", "--mask-dir", "m", "-o", "again", "--weights", "nearest")
    assert again.returncode == 0, again.stderr
    for name in photos:
        np.testing.assert_array_equal(opened(tmp_path / "again" / name), opened(tmp_path / "out" / name))


def test_the_network_fills_what_is_found_as_it_fills_any_other_mask(real_adacode, photos, tmp_path):
    edge = ("--grow", "1", "--feather", "1")
    result = real_adacode("inpaint", "p/a.png", *D, *edge, "-o", "b.png", "--save-mask", "m")
    assert result.returncode == 0, result.stderr
    again = real_adacode("inpaint", "p/a.png", "--mask", "m/a.png_mask.png", *edge, "-o", "c.png")
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(opened(tmp_path / "b.png"), opened(tmp_path / "c.png"))
    changed = (opened(tmp_path / "b.png") != opened(tmp_path / "p" / "a.png")).any(2)
    assert changed.sum() > 2 * photos["a.png"].sum()
    white = (opened(tmp_path / "b.png") > 250).all(2)
    assert white.sum() < 0.1 * photos["a.png"].sum()


def test_a_mask_that_was_corrected_is_not_replaced_without_consent(adacode, photos, tmp_path):
    command = ("inpaint", "p", *D, "-o", "out", "--save-mask", "m", "--weights", "nearest")
    assert adacode(*command).returncode == 0
    assert adacode(*command).returncode == 0, "masks that are as they were written are no obstacle"
    mask = tmp_path / "m" / "a.png_mask.png"
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(mask)
    corrected = mask.read_bytes()
    (tmp_path / "out" / "a.png").unlink()
    for more in ((), ("--no-resume",)):
        refused = adacode(*command, *more)
        assert (refused.returncode, b"a.png_mask.png: exists already" in refused.stderr) == (6, True), refused.stderr
        assert mask.read_bytes() == corrected
    assert adacode(*command, "--overwrite").returncode == 0
    assert mask.read_bytes() != corrected


def test_much_damage_is_a_note(adacode, tmp_path):
    save_bright_detector(tmp_path / "d.safetensors")
    image = np.full((30, 40, 3), 90, np.uint8)
    image[:12] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    result = adacode("inpaint", "a.png", *D, "-o", "b.png", "--weights", "nearest")
    assert b"40 % of this image was found to be damaged and filled" in result.stderr


def test_pages_have_masks_of_their_own(adacode, photos, tmp_path):
    pages = [Image.open(tmp_path / "p" / name) for name in photos]
    pages[0].save(tmp_path / "doc.tif", save_all=True, append_images=pages[1:])
    assert adacode("inpaint", "doc.tif", *D, "-o", "o.tif", "--save-mask", "m", "--weights", "nearest").returncode == 0
    with Image.open(tmp_path / "m" / "doc.tif_mask.tif") as masks:
        assert masks.n_frames == len(photos)
        for number, white in enumerate(photos.values()):
            masks.seek(number)
            np.testing.assert_array_equal(np.asarray(masks) > 0, white)


def test_saved_masks_fit_images_of_every_suffix_and_of_one_name(adacode, photos, tmp_path):
    """Of one name in several formats, of suffixes whose outputs have another one, and without a suffix."""
    for name in ("one.png", "one.tif", "one.jpg", "other.apng", "plain"):
        image = Image.open(tmp_path / "p" / "a.png")
        image.save(tmp_path / "p" / name, "PNG" if name in ("other.apng", "plain") else None, quality=100)
    files = [str(path.relative_to(tmp_path)) for path in sorted((tmp_path / "p").iterdir()) if path.is_file()]
    options = ("--weights", "nearest", "--format", "png", "--keep-suffix")
    found = adacode("inpaint", *files, *D, "-o", "out", "--save-mask", "m", *options)
    assert found.returncode == 0, found.stderr
    again = adacode("inpaint", *files, "--mask-dir", "m", "-o", "again", *options)
    assert again.returncode == 0, again.stderr
    outputs = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert len(outputs) == len(files)
    for name in outputs:
        np.testing.assert_array_equal(opened(tmp_path / "again" / name), opened(tmp_path / "out" / name))


def test_a_long_document_is_written_page_by_page_with_its_masks(adacode, photos, tmp_path):
    """As many pages as are never decoded at once."""
    pages = [Image.open(tmp_path / "p" / name) for name in photos] * 4
    pages[0].save(tmp_path / "long.tif", save_all=True, append_images=pages[1:])
    small = {"WINDOW_PIXELS": "3000"}
    result = adacode("inpaint", "long.tif", *D, "-o", "o.tif", "--save-mask", "m", "--weights", "nearest", **small)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "m" / "long.tif_mask.tif") as masks, Image.open(tmp_path / "o.tif") as filled:
        assert masks.n_frames == filled.n_frames == len(pages)
        for number, white in enumerate([*photos.values()] * 4):
            masks.seek(number)
            filled.seek(number)
            np.testing.assert_array_equal(np.asarray(masks) > 0, white)
            np.testing.assert_array_equal((np.asarray(filled) == 128).all(2), white)


def test_a_pipe_detects_too(adacode, photos, tmp_path):
    data = (tmp_path / "p" / "a.png").read_bytes()
    result = adacode("inpaint", "-", *D, "--save-mask", "m", "--weights", "nearest", stdin=data)
    assert result.returncode == 0, result.stderr
    after = np.asarray(Image.open(io.BytesIO(result.stdout)))
    np.testing.assert_array_equal((after == 128).all(2), photos["a.png"])
    np.testing.assert_array_equal(opened(tmp_path / "m" / "stdin_mask.tif") > 0, photos["a.png"])


def test_another_detector_makes_results_again_and_another_place_of_it_does_not(adacode, photos, tmp_path):
    command = ("inpaint", "p", *D, "-o", "out", "--weights", "nearest")
    assert adacode(*command).returncode == 0
    output = tmp_path / "out" / "a.png"
    first = output.stat().st_mtime_ns
    save_bright_detector(tmp_path / "elsewhere.safetensors")
    same = adacode("inpaint", "p", "--detect", "elsewhere.safetensors", "-o", "out", "--weights", "nearest")
    assert same.returncode == 0, same.stderr
    assert output.stat().st_mtime_ns == first
    network, _ = read_detector(tmp_path / "d.safetensors")
    network.stem.bias += 1000  # everything is bright
    write_detector(tmp_path / "d.safetensors", network, 0.5, Provenance(), torch.float32)
    assert adacode(*command).returncode == 6, "without --no-resume, results of another detector stay"
    assert output.stat().st_mtime_ns == first
    assert adacode(*command, "--no-resume").returncode == 0
    assert (opened(output) == 128).all()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--detect", "wrinkles"), 4, b"no detector is called 'wrinkles'"),
        (("--detect", "none.safetensors"), 4, b"there is no such file"),
        (("--detect", "p/a.png"), 4, b"p/a.png: is not a detector of marks"),
        (("--detect", "d.safetensors", "--mask-alpha"), 2, b"more than one hole is given"),
        (("--mask-alpha", "--save-mask", "m"), 2, b"--save-mask has no effect without --detect"),
        (("--detect", "d.safetensors", "--save-mask", "m.png"), 2, b"--save-mask m.png names a single file"),
        (("--mask", "p/a.png"), 3, b"p/a.png: is the mask, and no other image is left"),
        (("--detect", "d.safetensors", "--save-mask", "p"), 6, b"holds the inputs of the run"),
        (("--detect", "d.safetensors", "--log-file", "d.safetensors"), 6, b"would overwrite the detector"),
        (("--detect", "d.safetensors", "--save-mask", "out"), 6, b""),
    ],
    ids=["name", "file", "image", "two", "nothing", "one", "itself", "inputs", "detector", "outputs"],
)
def test_mistakes_are_reported_and_nothing_is_written(adacode, photos, tmp_path, arguments, code, message):
    given = "p/a.png" if "--mask" in arguments else "p"
    result = adacode("inpaint", given, *arguments, "-o", "out", "--weights", "nearest")
    if not message:  # A folder of its own is not needed: the masks have other names.
        assert result.returncode == 0, result.stderr
        return
    assert (result.returncode, message in result.stderr) == (code, True), result.stderr
    assert not (tmp_path / "out").exists()


def test_a_detector_is_trained_from_shards(real_adacode, tmp_path):
    adacode = real_adacode
    save_shards(tmp_path / "s")
    quick = ("--steps", "2", "--batch", "1", "--patch", "32", "--threads", "1")
    result = adacode("train", "detect", "s", "-o", "new/own.safetensors", *quick)
    assert result.returncode == 0, result.stderr
    assert result.stdout == b"new/own.safetensors\n"
    assert b"detect step 2 of 2: loss" in result.stderr
    again = adacode("train", "detect", "s", "-o", "new/own.safetensors", *quick)
    assert again.returncode == 6
    assert b"exists already" in again.stderr
    large = adacode("train", "detect", "s", "-o", "large.safetensors", "--patch", "256")
    assert (large.returncode, b"from crops of 160 px" in large.stderr) == (8, True), large.stderr
    named = adacode("train", "detect", "s", "-o", "own", *quick)
    assert (named.returncode, b"not the name of a .safetensors file" in named.stderr) == (2, True)
