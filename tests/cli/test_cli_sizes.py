"""`adacode sr` with a target size, and with scales above 4, as a process."""

from __future__ import annotations

import json
import re
import sys
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from small_checkpoints import trunk_network, write_whole

W = ("--weights", "nearest")


def ok(result) -> list[dict]:
    """The events of a `--json` run that succeeded, or nothing for another one."""
    assert result.returncode == 0, result.stderr.decode()
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith(b"{")]


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: Image.open(path).size for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def mixed(photo, tmp_path):
    """A folder with a small, a tall and a large image."""
    photo("p/large.jpg", (90, 60))
    photo("p/small.png", (30, 20))
    photo("p/tall.png", (12, 40), "RGBA")
    return tmp_path / "p"


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        (("--width", "100"), "width-100", [(100, 67), (100, 67), (100, 333)]),
        (("--height", "100"), "height-100", [(150, 100), (150, 100), (30, 100)]),
        (("--long-edge", "120"), "long-edge-120", [(120, 80), (120, 80), (36, 120)]),
        (("--short-edge", "90"), "short-edge-90", [(135, 90), (135, 90), (90, 300)]),
        (("--megapixels", "0.01"), "megapixels-0.01", [(122, 82), (122, 82), (55, 183)]),
        (("--scale", "7"), "x7", [(630, 420), (210, 140), (84, 280)]),
        (("--scale", "16"), "x16", [(1440, 960), (480, 320), (192, 640)]),
    ],
)
def test_every_image_gets_the_size_that_was_asked_for(adacode, mixed, tmp_path, options, name, expected):
    ok(adacode("sr", "p", *options, *W))
    assert sizes(tmp_path / f"p-sr-{name}") == dict(zip(("large.jpg", "small.png", "tall.png"), expected, strict=True))


def test_a_larger_image_is_copied_byte_by_byte(adacode, mixed, tmp_path):
    events = ok(adacode("sr", "p", "--long-edge", "60", "-o", "out", "--strict", "--json", *W))
    done = {Path(event["source"]).name: event for event in events if event["event"] == "file-done"}
    assert {name: event["fate"] for name, event in done.items()} == {
        "large.jpg": "copied",
        "small.png": "restored",
        "tall.png": "restored",
    }
    assert done["large.jpg"]["precisions"] == done["large.jpg"]["notes"] == []
    assert events[-1]["as_large"] == {"copied": 1, "shrunk": 0, "left_out": 0}
    assert (tmp_path / "out" / "large.jpg").read_bytes() == (mixed / "large.jpg").read_bytes()
    assert sizes(tmp_path / "out") == {"large.jpg": (90, 60), "small.png": (60, 40), "tall.png": (18, 60)}
    state = tmp_path / "out" / ".adacode"
    assert json.loads((state / "report.json").read_text())["as_large"]["copied"] == 1
    lines = [json.loads(line) for line in (state / "journal.jsonl").read_text().splitlines()]
    assert {line["source"]: line["fate"] for line in lines} == {name: event["fate"] for name, event in done.items()}
    again = ok(adacode("sr", "p", "--long-edge", "60", "-o", "out", "--strict", "--json", *W))
    assert (again[-1]["done"], again[-1]["skipped"]) == (0, 3)


def test_the_summary_counts_them(adacode, mixed):
    text = adacode("sr", "p", "--long-edge", "60", "-o", "a", *W).stderr.decode()
    assert re.search(r"\[1/3\] p/large.jpg -> a/large.jpg \([0-9.]+ s, copied\)\n", text)
    assert "finished: 2 restored, 1 copied in" in text
    assert "\n  1 file was as large already as was asked for" in text
    text = adacode("sr", "p", "--long-edge", "25", "-o", "b", "--shrink", *W).stderr.decode()
    assert "finished: 0 restored, 3 shrunk in" in text
    assert "\n  3 files were as large already as was asked for" in text
    text = adacode("sr", "p", "--long-edge", "35", "-o", "c", "--skip-larger", *W).stderr.decode()
    assert "p/tall.png: skipped, as large already as was asked for: c/tall.png" in text
    assert "finished: 1 restored, 2 left out in" in text


def test_shrinking_and_leaving_out(adacode, mixed, tmp_path):
    shrunk = ok(adacode("sr", "p", "--long-edge", "30", "-o", "a", "--shrink", "--json", *W))
    assert sizes(tmp_path / "a") == {"large.jpg": (30, 20), "small.png": (30, 20), "tall.png": (9, 30)}
    assert shrunk[-1]["as_large"] == {"copied": 1, "shrunk": 2, "left_out": 0}
    assert (tmp_path / "a" / "small.png").read_bytes() == (mixed / "small.png").read_bytes()  # exactly the size
    before, after = (np.asarray(Image.open(folder / "large.jpg")).astype(float) for folder in (mixed, tmp_path / "a"))
    assert np.abs(before.mean((0, 1)) - after.mean((0, 1))).max() < 1
    left = ok(adacode("sr", "p", "--long-edge", "35", "-o", "b", "--skip-larger", "--json", *W))
    assert sizes(tmp_path / "b") == {"small.png": (35, 23)}
    assert left[-1]["as_large"] == {"copied": 0, "shrunk": 0, "left_out": 2}
    assert (left[-1]["done"], left[-1]["skipped"]) == (1, 2)


def test_an_output_of_an_earlier_version_of_a_file_that_is_left_out_is_reported(adacode, photo, tmp_path):
    size = ("sr", "p", "--long-edge", "60", "-o", "out", "--skip-larger", *W)
    photo("p/a.png", (30, 20))
    photo("p/b.png", (30, 20))
    ok(adacode(*size))
    before = (tmp_path / "out" / "a.png").read_bytes()
    photo("p/a.png", (90, 60))
    words = "out/a.png: exists already, but was not made from p/a.png as it is now, which is left out"
    for options in ((), (), ("--dry-run",), ("--overwrite",), ("--overwrite", "--dry-run"), ("--no-resume",)):
        result = adacode(*size, *options)
        assert (result.returncode, words in result.stderr.decode()) == (9, True), options
        assert "run without --skip-larger" in result.stderr.decode()
        assert (tmp_path / "out" / "a.png").read_bytes() == before
    one = adacode("sr", "p/a.png", "--long-edge", "60", "-o", "out/a.png", "--skip-larger", "--overwrite", *W)
    assert (one.returncode, words in one.stderr.decode()) == (6, True)
    (tmp_path / "out" / "a.png").unlink()
    assert ok(adacode(*size, "--json"))[-1]["as_large"]["left_out"] == 1
    ok(adacode("sr", "p", "--long-edge", "60", "-o", "out", *W))
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "p" / "a.png").read_bytes()
    assert ok(adacode(*size, "--json"))[-1]["skipped"] == 2  # the copy is of this version


def test_what_to_do_with_larger_images_is_part_of_the_options_only_where_results_differ(adacode, mixed):
    size = ("sr", "p", "--long-edge", "35", "-o", "out", *W)
    assert ok(adacode(*size, "--json"))[-1]["done"] == 3
    assert ok(adacode(*size, "--skip-larger", "--json"))[-1]["done"] == 0
    other = adacode(*size, "--shrink")
    assert (other.returncode, b"made with other options" in other.stderr) == (6, True)


def test_a_larger_image_in_another_format_keeps_its_pixels(adacode, mixed, tmp_path):
    ok(adacode("sr", "p", "--long-edge", "20", "-o", "out", "--format", "png", *W))
    for name in ("large.jpg", "small.png", "tall.png"):
        before, after = Image.open(mixed / name), Image.open(tmp_path / "out" / f"{name[:-4]}.png")
        assert (np.asarray(before) == np.asarray(after)).all()
    written = (tmp_path / "out" / "large.png").read_bytes()
    assert b"nearest" not in written  # the weights had no part in it
    assert (tmp_path / "out" / "small.png").read_bytes() == (mixed / "small.png").read_bytes()


def test_no_weight_map_is_drawn_of_an_image_that_the_network_did_not_see(adacode, mixed, tmp_path):
    ok(adacode("sr", "p", "--long-edge", "60", "-o", "out", "--save-weights-map", "maps", *W))
    names = {path.name for path in (tmp_path / "maps").iterdir() if path.is_file()}
    assert names == {"small.png.weights.png", "tall.png.weights.png"}


def test_what_is_refused(adacode, mixed, tmp_path):
    for options, words in (
        (("--width", "9", "--height", "9"), "--width and --height together would change the ratio of the sides"),
        (("--scale", "4", "--width", "9"), "--scale and --width contradict one another"),
        (("--megapixels", "1", "--long-edge", "9"), "--long-edge and --megapixels contradict one another"),
        (("--shrink",), "--shrink has no effect with a scale"),
        (("--scale", "2", "--skip-larger"), "--skip-larger has no effect with a scale"),
        (("--width", "9", "--shrink", "--skip-larger"), "--shrink and --skip-larger contradict one another"),
        (("--scale", "17"), "--scale"),
        (("--scale", "0.5"), "--scale"),
        (("--width", "0"), "--width"),
        (("--megapixels", "0"), "--megapixels"),
    ):
        result = adacode("sr", "p", *options, *W)
        assert result.returncode == 2, options
        assert words in result.stderr.decode()
    piped = adacode("sr", "-", "--width", "9", "--skip-larger", *W, stdin=(mixed / "small.png").read_bytes())
    assert (piped.returncode, piped.stdout) == (2, b"")
    assert list(tmp_path.iterdir()) == [mixed]


def test_too_small_an_image_fails_alone_and_before_the_network_runs(adacode, mixed, tmp_path):
    result = adacode("sr", "p", "--long-edge", "600", "-o", "out", *W)
    assert result.returncode == 9
    words = "small.png: 30×20 pixels are too few for --long-edge 600: at most ×16 is possible, which is 480×320 pixels"
    assert words in result.stderr.decode()
    assert sizes(tmp_path / "out") == {"large.jpg": (600, 400), "tall.png": (180, 600)}
    dry = adacode("sr", "p", "--long-edge", "600", "-o", "dry", "--dry-run", *W)
    assert (dry.returncode, words in dry.stderr.decode()) == (9, True)
    assert dry.stdout.decode().splitlines() == ["p/large.jpg -> dry/large.jpg", "p/tall.png -> dry/tall.png"]


def test_a_dry_run_says_what_stays(adacode, mixed, tmp_path):
    size = ("sr", "p", "--long-edge", "35", "-o", "out", "--dry-run", *W)
    dry = adacode(*size)
    assert dry.stdout.decode().splitlines() == [
        "p/large.jpg -> out/large.jpg (copied)",
        "p/small.png -> out/small.png",
        "p/tall.png -> out/tall.png (copied)",
    ]
    fates = [event.get("fate") for event in ok(adacode(*size, "--shrink", "--json"))]
    assert fates == ["shrunk", "restored", "shrunk", None]  # the last is the estimate
    left = ok(adacode(*size, "--skip-larger", "--json"))
    assert [event["event"] for event in left] == ["file-skipped", "file-planned", "file-skipped", "run-estimated"]
    assert left[0]["reason"] == "as large already as was asked for"
    assert not (tmp_path / "out").exists()


def test_a_pipe(adacode, mixed, photo):
    small, large = (mixed / "small.png").read_bytes(), (mixed / "large.jpg").read_bytes()
    made = adacode("sr", "-", "--width", "75", *W, stdin=small)
    assert (made.returncode, Image.open(BytesIO(made.stdout)).size) == (0, (75, 50))
    eight = adacode("sr", "-", "--scale", "8", *W, stdin=small)
    assert (eight.returncode, Image.open(BytesIO(eight.stdout)).size) == (0, (240, 160))
    copied = adacode("sr", "-", "--width", "75", *W, stdin=large)
    assert (copied.returncode, copied.stdout == large) == (0, True)
    assert "<stdin>: copied: as large already as was asked for" in copied.stderr.decode()
    smaller = adacode("sr", "-", "--width", "75", "--shrink", "--format", "png", *W, stdin=large)
    assert (smaller.returncode, Image.open(BytesIO(smaller.stdout)).size) == (0, (75, 50))


@pytest.mark.parametrize(("stored", "expected"), [((30, 20), (60, 90)), ((90, 66), (66, 90))])
def test_width_and_height_are_those_of_the_upright_image(adacode, photo, tmp_path, stored, expected):
    """An image that is stored turned is 20 wide and 30 high; one of 66 is wide enough already."""
    exif = Image.Exif()
    exif[274] = 6
    Image.open(photo("a.png", stored)).save(tmp_path / "turned.jpg", exif=exif)
    events = ok(adacode("sr", "turned.jpg", "-o", "out.png", "--width", "60", "--json", *W))
    assert Image.open(tmp_path / "out.png").size == expected
    assert events[-2]["fate"] == ("restored" if expected[0] == 60 else "copied")
    planned = ok(adacode("sr", "turned.jpg", "-o", "dry.png", "--width", "60", "--json", "--dry-run", *W))
    assert planned[0]["fate"] == ("restored" if expected[0] == 60 else "copied")


def test_the_size_in_the_metadata_is_that_of_the_result(adacode, photo, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({40962: 90, 40963: 60})
    for name in ("in.jpg", "in.tif"):
        Image.open(photo("a.png", (90, 60))).save(tmp_path / name, exif=exif, dpi=(300, 300))
    for options, width, height in ((("--width", "600"), 600, 400), (("--width", "45", "--shrink"), 45, 30)):
        for suffix in ("jpg", "tif"):
            ok(adacode("sr", f"in.{suffix}", "-o", f"out.{suffix}", *options, "--overwrite", *W))
            found = Image.open(tmp_path / f"out.{suffix}")
            assert found.size == (width, height)
            if suffix == "jpg":
                stated = found.getexif().get_ifd(0x8769)
                assert (stated[40962], stated[40963]) == (width, height)
            # The same print size.
            assert [float(value) for value in found.info["dpi"]] == pytest.approx([300 * width / 90] * 2)


def document(*shapes: tuple[int, int]) -> bytes:
    out = BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for number, shape in enumerate(shapes):
            values = np.random.default_rng(number).integers(0, 65536, (*shape, 3), np.uint16)
            writer.write(values, photometric="rgb", metadata=None)
    return out.getvalue()


def test_the_pages_of_a_document_each_get_the_size(adacode, tmp_path):
    (tmp_path / "mixed.tif").write_bytes(document((20, 30), (60, 90), (30, 20)))
    (tmp_path / "large.tif").write_bytes(document((60, 90), (80, 90)))
    events = ok(adacode("sr", "mixed.tif", "large.tif", "--long-edge", "60", "-o", "a", "--json", *W))
    fates = {Path(e["source"]).name: (e["fate"], e["notes"]) for e in events if e["event"] == "file-done"}
    note = "1 of 3 pages copied: as large already as was asked for"
    assert fates == {"mixed.tif": ("restored", [note]), "large.tif": ("copied", [])}
    assert (tmp_path / "a" / "large.tif").read_bytes() == (tmp_path / "large.tif").read_bytes()
    pages = tifffile.TiffFile(tmp_path / "a" / "mixed.tif").pages
    assert [page.shape for page in pages] == [(40, 60, 3), (60, 90, 3), (60, 40, 3)]
    assert {page.dtype for page in pages} == {np.dtype(np.uint16)}
    source = tifffile.TiffFile(tmp_path / "mixed.tif").pages
    assert (pages[1].asarray() == source[1].asarray()).all()
    (tmp_path / "exact.tif").write_bytes(document((60, 40), (60, 90)))
    names = ("mixed.tif", "large.tif", "exact.tif")
    shrunk = ok(adacode("sr", *names, "--long-edge", "60", "-o", "b", "--shrink", "--json", *W))
    fates = {Path(e["source"]).name: (e["fate"], e["notes"]) for e in shrunk if e["event"] == "file-done"}
    assert fates == {
        "mixed.tif": ("restored", ["1 of 3 pages shrunk: as large already as was asked for"]),
        "large.tif": ("shrunk", []),
        "exact.tif": ("shrunk", ["1 of 2 pages copied: as large already as was asked for"]),
    }
    assert [page.shape for page in tifffile.TiffFile(tmp_path / "b" / "large.tif").pages] == [(40, 60, 3), (53, 60, 3)]
    left = ok(adacode("sr", "mixed.tif", "large.tif", "--long-edge", "60", "-o", "c", "--skip-larger", "--json", *W))
    assert left[-1]["as_large"] == {"copied": 0, "shrunk": 0, "left_out": 1}
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [".adacode", "mixed.tif"]


def test_a_damaged_file_is_not_copied_as_it_is(adacode, mixed, tmp_path):
    whole = (mixed / "large.jpg").read_bytes()
    torn = whole[: len(whole) * 2 // 3]
    (tmp_path / "torn.jpg").write_bytes(torn)
    refused = adacode("sr", "torn.jpg", "-o", "a.jpg", "--width", "60", *W)
    assert refused.returncode == 3
    ok(adacode("sr", "torn.jpg", "-o", "a.jpg", "--width", "60", "--accept-damaged", *W))
    with pytest.raises(InputError):
        decode(torn, name="torn.jpg")
    assert decode((tmp_path / "a.jpg").read_bytes(), name="a.jpg").size == (60, 90)


def test_a_run_that_would_not_fit_the_memory_fails_before_the_first(adacode, mixed, tmp_path):
    result = adacode("sr", "p", "--scale", "8", "-o", "out", "--weights", "cramped")
    assert result.returncode == 9
    assert "p/large.jpg: run 2 of 2: it needs too much memory" in result.stderr.decode()
    assert sizes(tmp_path / "out") == {"small.png": (240, 160), "tall.png": (96, 320)}


def test_results_of_the_network_are_repeated_and_reduced(real_adacode, photo, tmp_path):
    """By the network itself: ×8 is ×2 and then ×4, and a width is the ×4 result, reduced by means of areas."""
    photo("a.png", (25, 17))
    for source, target, *options in (
        ("a.png", "two.png", "--scale", "2"),
        ("two.png", "four-of-two.png", "--scale", "4"),
        ("a.png", "eight.png", "--scale", "8"),
        ("a.png", "four.png", "--scale", "4"),
        ("a.png", "width.png", "--width", "80"),
        ("a.png", "large.png", "--width", "170"),
    ):
        ok(real_adacode("sr", source, "-o", target, "--no-guard", *options))
    read = {path.stem: np.asarray(Image.open(path)) for path in tmp_path.glob("*.png")}
    assert (read["eight"] == read["four-of-two"]).all()
    assert (read["width"] == cv2.resize(read["four"], (80, 54), interpolation=cv2.INTER_AREA)).all()
    assert (read["large"] == cv2.resize(read["eight"], (170, 116), interpolation=cv2.INTER_AREA)).all()


def test_weights_of_another_task_are_refused(real_adacode, photo, tmp_path):
    photo("a.png", (10, 6))
    for size in (("--scale", "2"), ("--scale", "8"), ("--width", "30"), ("--width", "5")):
        result = real_adacode("sr", "a.png", "-o", "b.png", *size, "--weights", "compact-inpaint")
        assert result.returncode == 4
        assert b"compact-inpaint is for inpaint, not for sr" in result.stderr
    assert not (tmp_path / "b.png").exists()


def test_weights_of_one_scale_are_repeated(real_adacode, photo, tmp_path):
    write_whole(tmp_path / "twice.safetensors", trunk_network(2), family="tiny")
    photo("a.png", (10, 6))
    twice = ("--no-guard", "--weights", "twice.safetensors")
    for source, target, scale in (("a.png", "b.png", "2"), ("b.png", "c.png", "2"), ("a.png", "four.png", "4")):
        ok(real_adacode("sr", source, "-o", target, "--scale", scale, *twice))
    one, two = (np.asarray(Image.open(tmp_path / name)) for name in ("c.png", "four.png"))
    assert one.shape == (24, 40, 3)
    assert (one == two).all()


def test_a_strength_mixes_the_result_with_the_interpolated_input(adacode, photo, tmp_path):
    image = np.asarray(Image.open(photo("a.png", (30, 20))))
    made = {}
    for strength in ("1", "0.5", "0"):
        ok(adacode("sr", "a.png", "-o", f"{strength}.png", "--strength", strength, *W))
        made[strength] = np.asarray(Image.open(tmp_path / f"{strength}.png")).astype(int)
    enlarged = cv2.resize(image, (120, 80), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(made["0"], enlarged)
    assert np.abs(made["0.5"] - (made["1"] + made["0"]) / 2).max() <= 1
    assert (made["0.5"] != made["1"]).any()
    history = b"sr-x4, strength 0.5"
    assert (history in (tmp_path / "0.5.png").read_bytes(), history in (tmp_path / "1.png").read_bytes()) == (
        True,
        False,
    )


def test_copies_are_not_mixed_and_another_strength_is_another_result(adacode, photo):
    large = photo("p/large.png", (90, 60))
    photo("p/small.png", (30, 20))
    run = ("sr", "p", "-o", "out", "--long-edge", "60", "--json", *W)
    fates = [event.get("fate") for event in ok(adacode(*run, "--strength", "0.3")) if event["event"] == "file-done"]
    assert fates == ["copied", "restored"]
    assert (large.parents[1] / "out" / "large.png").read_bytes() == large.read_bytes()
    assert adacode(*run).returncode == 6  # the journal knows results of other options
    assert adacode("inpaint", "p", "--strength", "0.3", "--mask-alpha", *W).returncode == 2
