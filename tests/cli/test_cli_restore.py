"""The three restoring commands as processes: exit codes, streams, folders, pipes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

W = ("--weights", "nearest")


def events(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_folder_with_bad_files(adacode, photo, tmp_path):
    photo("photos/a.jpg")
    photo("photos/sub/Größe 北京.png")
    photo("photos/one.png", (1, 1))
    (tmp_path / "photos" / "text.jpg").write_text("no image")
    result = adacode("sr", "photos", *W)
    stderr = result.stderr.decode()
    assert result.returncode == 9
    assert result.stdout == b""
    assert "photos/text.jpg: holds no image" in stderr
    assert "3 restored, 1 failed" in stderr
    with Image.open(tmp_path / "photos-sr-x4" / "sub" / "Größe 北京.png") as image:
        assert image.size == (96, 64)
    with Image.open(tmp_path / "photos-sr-x4" / "one.png") as image:
        assert image.size == (4, 4)


def test_json_events_and_nothing_else(adacode, photo, tmp_path):
    photo("p/a.jpg")
    photo("p/b.png")
    (tmp_path / "p" / "bad.jpg").write_text("no image")
    os.mkfifo(tmp_path / "p" / "pipe.png")
    photo("p-sr-x2/b.png")
    result = adacode("sr", "p", "--scale", "2", "--skip-existing", "--json", *W)
    assert result.returncode == 9
    assert result.stderr == b""
    by_name = {(event["event"], Path(event.get("source", "")).name): event for event in events(result)}
    assert list(by_name)[:3] == [("run-started", ""), ("file-skipped", "pipe.png"), ("file-skipped", "b.png")]
    assert set(list(by_name)[3:-1]) == {("file-done", "a.jpg"), ("file-failed", "bad.jpg")}
    assert list(by_name)[-1] == ("run-finished", "")
    assert by_name["run-started", ""]["files"] == 3
    assert by_name["run-started", ""]["task"] == "sr"
    done = by_name["file-done", "a.jpg"]
    assert done["target"] == "p-sr-x2/a.jpg"
    assert done["bytes"] == (tmp_path / "p-sr-x2" / "a.jpg").stat().st_size
    assert by_name["file-failed", "bad.jpg"]["error"]["exit_code"] == 3
    finished = by_name["run-finished", ""]
    assert [finished[key] for key in ("done", "skipped", "failed", "untouched", "exit_code")] == [1, 1, 1, 0, 9]


def test_json_error(adacode, photo):
    photo("a.png")
    result = adacode("sr", "a.png", "missing.png", "--json", *W)
    assert result.returncode == 3
    assert result.stderr == b""
    (event,) = events(result)
    assert event["event"] == "error"
    assert event["error"]["path"] == "missing.png"
    assert event["error"]["kind"] == "input"
    assert event["error"]["hint"]


def test_json_and_an_image_on_one_stdout_are_refused(adacode):
    result = adacode("sr", "-", "--json", *W, stdin=b"")
    assert (result.returncode, events(result)[0]["error"]["kind"]) == (2, "usage")


def test_a_dry_run_writes_nothing(real_adacode, photo, tmp_path):
    photo("p/a.jpg")
    photo("p/b.jpg")
    photo("p-sr-x4/b.jpg")
    result = real_adacode("sr", "p", "--dry-run", "--skip-existing")
    assert result.returncode == 0
    assert result.stdout == b"p/a.jpg -> p-sr-x4/a.jpg\n"
    assert b"left out: p/b.jpg: the output exists" in result.stderr
    *planned, _ = events(real_adacode("sr", "p", "--dry-run", "--json", "--overwrite"))
    assert [(e["event"], e["target"]) for e in planned] == [
        ("file-planned", "p-sr-x4/a.jpg"),
        ("file-planned", "p-sr-x4/b.jpg"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "p-sr-x4"]


def test_paths_on_stdout_can_be_used_whatever_their_bytes(real_adacode, photo, tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    photo("a.jpg").rename(tmp_path / name)
    result = real_adacode("sr", name, "--dry-run", LC_ALL="C.UTF-8")
    assert result.returncode == 0
    assert result.stdout == b"caf\xe9.jpg -> adacode-sr-x4/caf\xe9.jpg\n"


def test_undecodable_names_are_shown_and_do_not_crash(adacode, photo, tmp_path):
    photo("p/a.png").rename(tmp_path / "p" / os.fsdecode(b"caf\xe9\x1b[31m.png"))
    for options in ((), ("--json",), ("-v",)):
        result = adacode("sr", "p", "--overwrite", *W, *options)
        assert result.returncode == 0, result.stderr
        assert b"\x1b[31m" not in result.stderr
    assert (tmp_path / "p-sr-x4" / os.fsdecode(b"caf\xe9\x1b[31m.png")).exists()


def test_pipe(adacode, photo, tmp_path):
    data = photo("a.jpg").read_bytes()
    result = adacode("sr", "-", "--scale", "2", *W, stdin=data)
    assert result.returncode == 0
    with Image.open(io.BytesIO(result.stdout)) as image:
        assert (image.format, image.size) == ("JPEG", (48, 32))
    webp = adacode("sr", "-", "--format", "webp", *W, stdin=data)
    with Image.open(io.BytesIO(webp.stdout)) as image:
        assert image.format == "WEBP"
    to_file = adacode("sr", "-", "-o", "deep/b.tif", *W, stdin=data)
    assert (to_file.returncode, to_file.stdout) == (0, b"")
    with Image.open(tmp_path / "deep" / "b.tif") as image:
        assert image.format == "TIFF"
    again = adacode("sr", "-", "-o", "deep/b.tif", *W, stdin=data)
    assert again.returncode == 6


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (("-",), b"", 3),
        (("-",), b"text", 3),
        (("-", "a.png"), b"", 2),
        (("-", "-o", "folder"), b"", 2),
        (("-", "-o", "b.png", "--format", "jpeg"), b"", 2),
        (("a.png", "--skip-existing", "--overwrite"), b"", 2),
        (("a.png", "--quiet", "--verbose"), b"", 2),
        (("a.png", "--scale", "16.5"), b"", 2),
        (("a.png", "--scale", "0.5"), b"", 2),
        (("a.png", "--tile", "-3"), b"", 2),
        (("a.png", "--tile", "63"), b"", 2),
        (("a.png", "--device", "tpu"), b"", 2),
        (("a.png", "--precision", "fp8"), b"", 2),
        (("a.png", "--format", "gif"), b"", 2),
        (("a.png", "--quality", "0"), b"", 2),
        (("a.png", "--include", ""), b"", 2),
        (("a.png", "--no-such-option"), b"", 2),
        (("missing.png",), b"", 3),
        (("empty",), b"", 3),
        (("a.png", "--weights", "unknown"), b"", 4),
        (("a.png", "--weights", "other-task"), b"", 4),
        (("wide.png", "--weights", "no-device"), b"", 5),
        (("a.png", "-o", "."), b"", 6),
        (("a.png", "b/a.png", "-o", "out"), b"", 6),
        (("a.png", "-o", "file/x.png"), b"", 6),
        (("wide.png", "--weights", "bug"), b"", 1),
    ],
)
def test_exit_codes(adacode, photo, tmp_path, arguments, stdin, code):
    photo("a.png")
    photo("b/a.png")
    photo("wide.png", (33, 4))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    weights = () if "--weights" in arguments else W
    result = adacode("sr", *arguments, *weights, stdin=stdin)
    assert result.returncode == code, result.stderr.decode()
    assert result.stdout == b""
    assert result.stderr


def test_errors_say_what_where_and_what_next_and_vv_shows_the_traceback(adacode, photo):
    photo("a.png")
    result = adacode("sr", "a.png", "--weights", "unknown")
    expected = "error: no weights are called 'unknown'\n  `adacode weights list` shows every name.\n"
    assert result.stderr.decode() == expected
    for words, shown in (
        (("-v",), False),
        (("-vv",), True),
        (("-v", "--verbose"), True),
        (("-vv", "--no-verbose"), False),
    ):
        again = adacode("sr", "a.png", "--weights", "unknown", *words)
        assert again.stderr.decode().endswith(expected)
        assert (b"Traceback" in again.stderr) is shown, words


def test_a_run_that_comes_to_nothing_says_only_why(adacode, photo):
    photo("p/wide.png", (33, 4))
    result = adacode("sr", "p", "--weights", "no-device")
    assert result.stderr.decode() == "error: the device is gone\n  Use --device cpu.\n"


def test_a_device_that_is_gone_stops_the_run_and_says_how_to_go_on(adacode, photo):
    for index in range(6):
        photo(f"p/{index}.png", (33 if index == 2 else 24, 16))
    result = adacode("sr", "p", "--weights", "no-device")
    assert result.returncode == 5
    assert "stopped: 2 restored, 4 not done" in result.stderr.decode()
    assert "The same command restores the rest" in result.stderr.decode()
    assert "error: the device is gone\n  Use --device cpu." in result.stderr.decode()


def test_quiet_says_nothing_but_failures(adacode, photo, tmp_path):
    photo("p/a.png")
    photo("p/b.png")
    assert adacode("sr", "p", "--quiet", *W).stderr == b""
    (tmp_path / "p" / "bad.png").write_text("no")
    stderr = adacode("sr", "p", "--quiet", "--overwrite", *W).stderr.decode()
    assert "failed: p/bad.png" in stderr
    assert "a.png" not in stderr


def test_closed_stdout_ends_quietly(adacode, photo):
    photo("p/a.png")
    read, write = os.pipe()
    os.close(read)
    with adacode.start("sr", "p", "--json", *W, stdout=write) as process:
        os.close(write)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 6
    assert stderr == b""


@pytest.mark.parametrize("arguments", [["--help"], ["weights", "list"], ["sr", "p", "--dry-run"]], ids=" ".join)
def test_closed_stdout_is_no_bug(real_adacode, photo, arguments):
    photo("p/a.png")
    read, write = os.pipe()
    os.close(read)
    with real_adacode.start(*arguments, stdout=write) as process:
        os.close(write)
        _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (6, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_stdout_is_an_output_error(adacode, photo):
    data = photo("a.png").read_bytes()
    with (
        Path("/dev/full").open("wb") as full,
        adacode.start("sr", "-", *W, stdin=subprocess.PIPE, stdout=full) as process,
    ):
        _, stderr = process.communicate(data, timeout=120)
    assert process.returncode == 6
    assert stderr.startswith(b"error: <stdout>: cannot be written: the disk is full")
    assert b"Traceback" not in stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("columns", ["80", "120"])
def test_a_terminal_shows_how_many_pages_of_a_document_are_restored(adacode, tmp_path, columns):
    (tmp_path / "p").mkdir()
    tifffile.imwrite(tmp_path / "p" / "long.tif", np.zeros((60, 200, 300), np.uint8), photometric="minisblack")
    leader, terminal = os.openpty()
    env = {"TERM": "xterm", "COLUMNS": columns, "LINES": "24"}
    with adacode.start("sr", "p", "-o", "out", *W, stdout=terminal, stderr=terminal, env=env) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # Linux reports so that the other end is closed
            while data := os.read(leader, 65536):
                shown += data
        assert process.wait(60) == 0
    os.close(leader)
    pages = [int(number) for number in re.findall(rb"long\.tif \((\d+)/60\)", shown)]
    assert pages
    assert pages == sorted(pages)


def test_terminals_get_no_images_and_are_not_waited_for(adacode, photo):
    data = photo("a.png").read_bytes()
    leader, terminal = os.openpty()
    with adacode.start("sr", "-", *W, stdin=subprocess.PIPE, stdout=terminal) as process:
        _, stderr = process.communicate(data, timeout=120)
    assert (process.returncode, b"Redirect standard output" in stderr) == (2, True)
    with adacode.start("sr", "-", *W, stdin=terminal) as process:
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout, b"Pipe an image in" in stderr) == (2, b"", True)
    os.close(leader)
    os.close(terminal)


def save_mask(path, size, rows) -> None:
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[:rows] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def test_inpainting_with_every_kind_of_mask(adacode, photo, tmp_path):
    before = np.asarray(Image.open(photo("photos/a.png")))
    save_mask(tmp_path / "m" / "a.png", (24, 16), 4)
    expected = before.copy()
    expected[:4] = 128

    def after(*options):
        result = adacode("inpaint", "photos/a.png", "-o", "out.png", "--overwrite", *options, *W)
        assert result.returncode == 0, result.stderr.decode()
        with Image.open(tmp_path / "out.png") as image:
            return np.asarray(image)

    np.testing.assert_array_equal(after("--mask", "m/a.png"), expected)
    np.testing.assert_array_equal(after("--mask-dir", "m"), expected)
    red, green, blue = (int(value) for value in before[3, 5])
    changed = after("--mask-color", f"#{red:02x}{green:02X}{blue:02x}")
    assert (changed[3, 5] == 128).all()
    np.testing.assert_array_equal(np.delete(changed.reshape(-1, 3), 77, 0), np.delete(before.reshape(-1, 3), 77, 0))


def test_transparency_as_the_hole_is_opaque_afterwards(adacode, tmp_path):
    rgba = np.full((8, 8, 4), 255, np.uint8)
    rgba[2:5, 2:5, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert adacode("inpaint", "a.png", "-o", "b.png", "--mask-alpha", *W).returncode == 0
    after = np.asarray(Image.open(tmp_path / "b.png"))
    assert after.shape == (8, 8, 4)
    assert (after[..., 3] == 255).all()
    assert (after[2:5, 2:5, :3] == 128).all()
    assert (after[5:, :, :3] == 255).all()


def test_masks_of_a_mirrored_tree_and_one_that_two_images_could_have(adacode, photo, tmp_path):
    for folder, rows in (("1931", 2), ("1932", 6)):
        photo(f"p/{folder}/a.png")
        save_mask(tmp_path / "m" / folder / "a.png", (24, 16), rows)
    photo("p/1932/b.png")
    save_mask(tmp_path / "m" / "b.png", (24, 16), 9)
    assert adacode("inpaint", "p", "--mask-dir", "m", "-o", "out", *W).returncode == 0
    for name, rows in (("1931/a.png", 2), ("1932/a.png", 6), ("1932/b.png", 9)):
        expected = np.array(Image.open(tmp_path / "p" / name))
        expected[:rows] = 128
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / name)), expected)
    photo("p/1931/b.png")
    for options in (("--dry-run",), ()):
        refused = adacode("inpaint", "p", "--mask-dir", "m", "-o", "new", *options, *W)
        assert (refused.returncode, refused.stdout) == (3, b"")
        assert b"m/b.png: could be the mask of p/1931/b.png and of p/1932/b.png" in refused.stderr
    assert not (tmp_path / "new").exists()


def test_an_image_that_is_all_hole_fails_and_the_others_are_restored(real_adacode, photo, tmp_path):
    for name, rows in (("some", 4), ("grown", 15), ("whole", 16)):
        photo(f"p/{name}.png")
        save_mask(tmp_path / "m" / f"{name}.png", (24, 16), rows)
    result = real_adacode("inpaint", "p", "--mask-dir", "m", "-o", "out", "--grow", "1")
    assert result.returncode == 9
    assert "p/whole.png: its mask covers the whole image" in result.stderr.decode()
    assert "p/grown.png: its mask, which grows by 1 px, covers the whole image" in result.stderr.decode()
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["some.png"]


def test_a_mask_that_marks_nothing_or_nearly_all_is_named_everywhere(adacode, photo, tmp_path):
    for name, rows in (("none", 0), ("some", 4), ("all", 39)):
        photo(f"p/{name}.png", (24, 40))
        save_mask(tmp_path / "m" / f"{name}.png", (24, 40), rows)
    result = adacode("inpaint", "p", "--mask-dir", "m", "-o", "out", "--log-file", "run.log", *W)
    assert result.returncode == 0
    notes_of = {"none": ["nothing was filled: no pixel of this image is in its mask"], "some": []}
    notes_of["all"] = ["nearly all of this image was filled: its mask covers 97.5 %"]
    for text in (result.stderr.decode(), (tmp_path / "run.log").read_text()):
        assert all(note in text for notes in notes_of.values() for note in notes)
    state = tmp_path / "out" / ".adacode"
    lines = [json.loads(line) for line in (state / "journal.jsonl").read_text().splitlines()]
    assert {Path(line["source"]).stem: line["notes"] for line in lines} == notes_of
    report = json.loads((state / "report.json").read_text())
    assert report["noted"] == 2
    noted = {Path(entry["source"]).stem: entry["notes"] for entry in report["notes"]}
    assert noted == {name: notes for name, notes in notes_of.items() if notes}


def test_masks_inside_the_input_are_no_inputs_and_a_missing_one_fails_its_image(adacode, photo, tmp_path):
    photo("p/a.png")
    photo("p/b.png")
    save_mask(tmp_path / "p" / "masks" / "a.png", (24, 16), 2)
    errors = []
    for options in (("--dry-run",), (), ("--dry-run",)):
        result = adacode("inpaint", "p", "--mask-dir", "p/masks", "--json", *options, *W)
        assert result.returncode == 9
        failed = [e for e in events(result) if e["event"] == "file-failed"]
        assert [e["source"] for e in failed] == ["p/b.png"]
        errors.append(failed[0]["error"])
    assert errors[0] == errors[1] == errors[2]
    assert "no mask" in errors[0]["message"]
    assert "at p/masks/b.png." in errors[0]["hint"]
    assert (tmp_path / "p-inpaint" / "a.png").exists()
    assert not (tmp_path / "p-inpaint" / "masks").exists()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--mask-alpha", "--mask", "m.png"),
        ("--mask-color", "white"),
        ("--mask-color", "#fff"),
        ("--mask-alpha", "--grow", "-1"),
    ],
)
def test_inpainting_without_exactly_one_hole_is_refused(adacode, photo, options):
    photo("a.png")
    assert adacode("inpaint", "a.png", *options, *W).returncode == 2


def test_weights_maps_and_reconstruct(adacode, photo, tmp_path):
    photo("p/sub/a.jpg")
    result = adacode("reconstruct", "p", "--save-weights-map", "maps", *W)
    assert result.returncode == 0
    with Image.open(tmp_path / "p-reconstruct" / "sub" / "a.jpg") as image:
        assert image.size == (24, 16)
    with Image.open(tmp_path / "maps" / "sub" / "a.jpg.weights.png") as image:
        assert image.format == "PNG"


def test_maps_inside_the_input_are_no_inputs(adacode, photo):
    photo("p/a.jpg")
    assert adacode("sr", "p", "--save-weights-map", "p/maps", *W).returncode == 0
    result = adacode("sr", "p", "-o", "out", "--save-weights-map", "p/maps", "--overwrite", "--dry-run", *W)
    assert result.returncode == 6  # the maps of another run
    result = adacode("sr", "p", "--save-weights-map", "p/maps", "--overwrite", "--dry-run", *W)
    assert result.stdout == b"p/a.jpg -> p-sr-x4/a.jpg\n"


def test_several_inputs_with_globs(adacode, photo):
    for name in ("p/a.jpg", "p/thumbs/b.jpg", "q/c.png", "d.JPG"):
        photo(name)
    result = adacode("sr", "p", "q", "d.JPG", "-o", "out", "--include", "*.jpg", "--exclude", "thumbs", "--dry-run", *W)
    assert result.stdout.decode().splitlines() == ["p/a.jpg -> out/a.jpg", "d.JPG -> out/d.JPG"]


def test_a_default_that_is_spelt_out_is_the_default(adacode, photo):
    """The quality of formats that have one; another quality is another result."""
    photo("p/a.jpg")
    run = ("sr", "p", "-o", "out", "--weights", "nearest")
    assert adacode(*run).returncode == 0
    for spelt_out in (("--quality", "95"), ("--scale", "4.0"), ()):
        again = adacode(*run, *spelt_out)
        assert (again.returncode, "1 skipped" in again.stderr.decode()) == (0, True)
    assert adacode(*run, "--quality", "94").returncode == 6
