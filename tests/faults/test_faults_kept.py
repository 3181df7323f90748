"""What a person gave or keeps is never written to, whichever option names it, and whatever --overwrite says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from adacode_process import Program
from PIL import Image
from test_faults_disk import W, names, said

from adacode_cli.batch.found import Found
from adacode_cli.batch.plan import Job
from adacode_cli.batch.stages import Stages

BLACK = ("--weights", "black")


def contents(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def originals(photo, tmp_path) -> dict[Path, bytes]:
    """Two folders of photographs, masks of the first, a list and weights; all as they are to stay."""
    for name in ("p/a.png", "p/b.png", "p/sub/c.png", "m/a.png", "m/b.png", "m/c.png"):
        photo(name)
    (tmp_path / "list.txt").write_text("p/a.png\n")
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    return contents(tmp_path)


@pytest.mark.parametrize(
    ("options", "said_of"),
    [
        (("sr", "p", "-o", "out", "--quarantine", "p"), "p: holds the inputs of the run"),
        (("sr", "p", "-o", "out", "--quarantine", "p/sub"), "p/sub: lies in p and holds files"),
        (
            ("sr", "p", "-o", "out", "--quarantine", "out"),
            "would be written twice: as the output of p/a.png and as the",
        ),
        (("sr", "p", "-o", "out", "--quarantine", "link"), "link: holds the inputs of the run"),
        (("sr", "p", "-o", "out", "--save-weights-map", "p"), "p: holds the inputs of the run"),
        (("sr", "p", "-o", "out", "--log-file", "p/a.png"), "p/a.png: would overwrite the input p/a.png"),
        (("sr", "p/a.png", "p/b.png", "-o", "out", "--log-file", "hard.log"), "hard.log: would overwrite the input"),
        (("sr", "p", "-o", "out", "--log-file", "m/a.png"), "m/a.png: has the name of an image"),
        (("sr", "p", "-o", "out", "--log-file", "p/a.xmp"), "p/a.xmp: exists already, and is not a log of adacode"),
        (("sr", "p", "-o", "out", "--log-file", "raw.cr2"), "raw.cr2: exists already, and is not a log of adacode"),
        (("sr", "p", "-o", "out", "--log-file", "other.log"), "other.log: exists already, and is not a log of adacode"),
        (("sr", "--from-file", "list.txt", "-o", "out", "--log-file", "list.txt"), "the list of inputs list.txt"),
        (("sr", "p", "-o", "out", "--weights", "w.safetensors", "--log-file", "w.safetensors"), "the weights w"),
        (("sr", "p/sub", "-o", "p/sub", "--include", "c*", "--format", "png"), "would overwrite the input p/sub/c.png"),
        (("inpaint", "p", "--mask-dir", "m", "-o", "m"), "m/a.png"),
        (("inpaint", "p/a.png", "--mask", "m/a.png", "-o", "m"), "would overwrite the mask m/a.png"),
        (("inpaint", "p/a.png", "--mask", "m/a.png", "-o", "m/a.png"), "would overwrite the mask m/a.png"),
        (("reconstruct", "w", "--from-codes", "-o", "out", "--log-file", "w/c.adacode"), "the input w/c.adacode"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_no_option_writes_to_what_is_kept(adacode, originals, tmp_path, options, said_of, overwrite):
    (tmp_path / "link").symlink_to("p")
    (tmp_path / "hard.log").hardlink_to(tmp_path / "p" / "a.png")
    (tmp_path / "p" / "a.xmp").write_text("<x:xmpmeta/>")
    (tmp_path / "raw.cr2").write_bytes(b"II*\0raw")
    (tmp_path / "other.log").symlink_to("m/b.png")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "c.adacode").write_bytes(b"codes")
    weights = () if "--weights" in options else W
    result = adacode(*options, *weights, *(("--overwrite",) if overwrite else ()))
    assert result.returncode == 6, result.stderr.decode()
    assert said_of in result.stderr.decode()
    assert {path: path.read_bytes() for path in originals} == originals
    assert not (tmp_path / "out").exists()


def test_what_nobody_named_for_reading_is_an_output_that_exists(adacode, originals):
    refused = adacode("sr", "p", "-o", "m", *W)
    assert (refused.returncode, "exist already, the first is m/a.png" in refused.stderr.decode()) == (6, True)
    assert {path: path.read_bytes() for path in originals} == originals
    assert adacode("sr", "p", "-o", "m", "--overwrite", *W).returncode == 0


def test_originals_that_patterns_leave_out_are_kept_too(adacode, originals, photo, tmp_path, table):
    photo("p/a.jpg")
    kept = contents(tmp_path)
    command = ("sr", "p", "-o", "p", "--include", "*.jpg", "--format", "png", "--overwrite", *W)
    result = adacode(*command)
    assert result.returncode == 6
    assert contents(tmp_path) == kept
    table.row(
        "an output would replace an original that --include leaves out", 6, said(result, "error: "), "nothing is done"
    )
    # What a journal knows as an output is none.
    assert adacode(*command, "--suffix", "-x4").returncode == 0
    assert adacode(*command, "--suffix", "-x4").returncode == 0
    assert {path: path.read_bytes() for path in kept} == kept


def test_originals_beside_files_that_were_given_are_kept_too(adacode, originals, photo, tmp_path):
    photo("p/a.jpg")
    kept = contents(tmp_path)
    (tmp_path / "jpegs.txt").write_text("p/a.jpg\n")
    for given in (
        ("p/a.jpg", "-o", "p"),
        ("p/a.jpg", "p/sub/c.png", "-o", "p"),
        ("--from-file", "jpegs.txt", "-o", "."),
    ):
        result = adacode("sr", *given, "--format", "png", "--overwrite", *W)
        assert (result.returncode, {path: path.read_bytes() for path in kept}) == (6, kept)
        assert "p/a.png: would overwrite a file in p that no journal names" in result.stderr.decode()
    # A single output's name is what somebody has said; deeper directories are not looked after.
    for _ in range(2):
        assert adacode("sr", "p/a.jpg", "-o", "p/b4.png", "--overwrite", *W).returncode == 0
        assert adacode("sr", "p/a.jpg", "-o", "p/out", "--overwrite", *W).returncode == 0
    assert {path: path.read_bytes() for path in kept} == kept


def test_the_hint_does_not_lead_from_one_refusal_to_the_next(adacode, originals, tmp_path):
    in_place = ("sr", "p", "-o", "p", "--suffix", "-x4", *W)
    assert adacode(*in_place).returncode == 0
    shutil.rmtree(tmp_path / "p" / ".adacode")
    refused = adacode(*in_place)
    assert refused.returncode == 6
    assert "--overwrite" not in refused.stderr.decode()


@pytest.mark.parametrize("save", ["gif", "tiff", "cut", "zeros"])
@pytest.mark.parametrize("options", [(), ("--no-resume",)])
def test_what_somebody_put_under_an_outputs_name_is_kept(adacode, photo, tmp_path, save, options):
    photo("p/a.png")
    run = ("sr", "p", "-o", "out", *W)
    assert adacode(*run).returncode == 0
    made = (tmp_path / "out" / "a.png").read_bytes()
    if save in ("gif", "tiff"):  # some programs save in a format of their choice under the old name
        with Image.open(tmp_path / "out" / "a.png") as image:
            image.rotate(180).save(tmp_path / "out" / "a.png", format=save)
    else:
        (tmp_path / "out" / "a.png").write_bytes(made[: len(made) // 2] if save == "cut" else bytes(len(made)))
    edited = (tmp_path / "out" / "a.png").read_bytes()
    result = adacode(*run, *options)
    assert result.returncode == 0
    kept = save in ("gif", "tiff")
    assert (tmp_path / "out" / "a.png").read_bytes() == (edited if kept else made)
    assert ("changed since it was made, kept" in result.stderr.decode()) == kept


def test_an_output_that_was_saved_in_a_way_that_is_not_supported_is_kept(adacode, photo, tmp_path):
    photo("p/a.tif")
    run = ("sr", "p", "-o", "out", *W)
    assert adacode(*run).returncode == 0
    tifffile.imwrite(tmp_path / "out" / "a.tif", np.zeros((16, 24), np.int16))
    edited = (tmp_path / "out" / "a.tif").read_bytes()
    result = adacode(*run)
    assert (result.returncode, (tmp_path / "out" / "a.tif").read_bytes()) == (0, edited)
    assert "changed since it was made, kept" in result.stderr.decode()


def test_logs_go_on_and_pipes_are_not_waited_for(adacode, photo, tmp_path):
    photo("p/a.png")
    for count in (1, 2):
        assert adacode("sr", "p", "-o", "out", "--log-file", "run.log", *W).returncode == 0
        assert (tmp_path / "run.log").read_text().count("started:") == count
    os.mkfifo(tmp_path / "pipe.log")
    result = adacode("sr", "p", "-o", "out", "--log-file", "pipe.log", *W)
    assert (result.returncode, "no program reads from this pipe" in result.stderr.decode()) == (6, True)
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert adacode("sr", "loop.png", "-o", "out", *W).returncode == 3
    (tmp_path / "list").write_text(f"p/a.png\n{'x' * 300}.png\n")
    assert adacode("sr", "--from-file", "list", "-o", "out2", *W).returncode == 9
    assert (tmp_path / "out2" / "p" / "a.png").exists()


def test_maps_are_known_after_runs_without_them_and_runs_that_failed(adacode, photo, tmp_path):
    photo("p/a.png")
    with_maps = ("reconstruct", "p", "-o", "out", "--save-weights-map", "p/maps", *W)
    assert adacode(*with_maps).returncode == 0
    assert adacode("reconstruct", "p", "-o", "out", "--overwrite", *W).returncode == 0
    result = adacode(*with_maps, "--overwrite")
    assert result.returncode == 0, result.stderr.decode()
    failing = ("reconstruct", "p", "-o", "out2", "--save-weights-map", "maps", *W)
    (tmp_path / "out2" / "a.png").mkdir(parents=True)
    assert adacode(*failing, "--overwrite").returncode == 6  # the only file
    (tmp_path / "out2" / "a.png").rmdir()
    result = adacode(*failing)
    assert result.returncode == 0, result.stderr.decode()


def test_folders_that_only_a_file_manager_has_been_in_are_new(adacode, photo, tmp_path):
    photo("p/a.png")
    (tmp_path / "p" / "maps").mkdir()
    (tmp_path / "p" / "maps" / ".DS_Store").write_bytes(b"\0")
    assert adacode("reconstruct", "p", "-o", "out", "--save-weights-map", "p/maps", *W).returncode == 0
    assert "p/maps" in said(adacode("sr", "p", "-o", "out2", *W), "left out:")
    assert names(tmp_path / "out2") == {"a.png"}


def test_weights_maps_replace_only_what_runs_have_written(adacode, originals, tmp_path, table):
    run = ("reconstruct", "p", "-o", "out", "--save-weights-map", "maps", *W)
    foreign = tmp_path / "maps" / "b.png.weights.png"
    foreign.parent.mkdir()
    foreign.write_bytes(b"mine")
    result = adacode(*run)
    assert (result.returncode, foreign.read_bytes(), names(tmp_path)) == (
        6,
        b"mine",
        {"p", "m", "list.txt", "w.safetensors", "maps"},
    )
    table.row("a file lies where an image of the weights should be", 6, said(result, "error: "), "nothing is done")
    foreign.unlink()
    assert adacode(*run).returncode == 0
    drawn = contents(tmp_path / "maps")
    assert {path.name for path in drawn} == {"a.png.weights.png", "b.png.weights.png", "c.png.weights.png"}
    (tmp_path / "out" / "a.png").unlink()
    assert adacode(*run).returncode == 0
    assert contents(tmp_path / "maps") == drawn
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("p", "out", "maps"):
        shutil.move(tmp_path / name, moved / name)
    again = Program(moved, network=False)(*run)
    assert again.returncode == 0, again.stderr.decode()
    assert {path.relative_to(moved): data for path, data in contents(moved / "maps").items()} == {
        path.relative_to(tmp_path): data for path, data in drawn.items()
    }


def test_a_quarantine_replaces_nothing(adacode, photo, tmp_path):
    for name in ("p/a.png", "p/b.png", "p/sub/c.png"):
        photo(name, (33, 16))
    run = ("sr", "p", "-o", "out", "--quarantine", "q", *BLACK)
    mine = tmp_path / "q" / "a.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    for _ in range(2):
        assert adacode(*run).returncode == 9
        assert mine.read_bytes() == b"mine"
        assert names(tmp_path / "q") == {"a.png", "a-2.png", "b.png", "sub"}
    with Image.open(tmp_path / "q" / "a-2.png") as image:
        assert image.getextrema() == ((0, 0),) * 3
    assert not list((tmp_path / "q").rglob("*.adacode-part"))


def test_a_pipe_writes_to_nothing_that_is_kept(adacode, originals, photo, tmp_path):
    data = (tmp_path / "p" / "a.png").read_bytes()
    with (tmp_path / "p" / "a.png").open("rb") as file:
        process = adacode.start("sr", "-", "-o", "p/a.png", "--overwrite", *W, stdin=file)
        assert process.communicate()[1].decode().startswith("error: p/a.png: would overwrite the image on standard")
    assert process.returncode == 6
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "stdin.weights.png").write_bytes(b"mine")
    run = ("reconstruct", "-", "-o", "b.png", "--save-weights-map", "maps", *W)
    assert adacode(*run, stdin=data).returncode == 6
    assert adacode(*run, "--overwrite", stdin=data).returncode == 0
    assert (tmp_path / "maps" / "stdin.weights.png").read_bytes() != b"mine"
    refused = adacode(
        "sr", "-", "-o", "c.png", "--quarantine", "q", *BLACK, stdin=photo("wide.png", (33, 16)).read_bytes()
    )
    assert (refused.returncode, names(tmp_path / "q")) == (6, {"stdin.png"})
    both = ("sr", "-", "-o", "maps/stdin.weights.png", "--overwrite", "--save-weights-map", "maps", *W)
    assert adacode(*both, stdin=data).returncode == 6
    assert {path: path.read_bytes() for path in originals} == originals


def test_places_that_runs_have_filled_are_not_searched_from_above(adacode, originals, tmp_path, table):
    assert adacode("sr", "p/a.png", *W).returncode == 0
    assert adacode("sr", "p", "-o", "p/out", "--save-weights-map", "p/maps", *W).returncode == 0
    result = adacode("sr", "p", "-o", "elsewhere", *W)
    assert result.returncode == 0
    assert {path.name for path in (tmp_path / "elsewhere").rglob("*.png")} == {"a.png", "b.png", "c.png"}
    for name in ("adacode-sr-x4", "out", "maps"):
        assert re.search(f"left out: p/{name}: .*outputs of an earlier run", result.stderr.decode())
    table.row("outputs of an earlier run lie below an input", 0, said(result, "left out: p/out"), "is done")
    assert adacode("sr", "p/out", "-o", "twice", *W).returncode == 0
    assert names(tmp_path / "twice") == {"a.png", "b.png", "sub"}


def test_originals_beside_outputs_are_found_from_above(adacode, originals, photo, tmp_path):
    (tmp_path / "all").mkdir()
    for name in ("p", "m"):
        shutil.move(tmp_path / name, tmp_path / "all" / name)
    in_place = ("sr", "all/p", "-o", "all/p", "--suffix", "-x4", "--save-weights-map", "all/p/maps", *W)
    assert adacode(*in_place).returncode == 0
    photo("all/p/maps/original.png")
    photo("all/p/sub/new.png")
    result = adacode("sr", "all", "-o", "out", *W)
    assert result.returncode == 0
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert found == {f"m/{name}.png" for name in "abc"} | {"p/a.png", "p/b.png", "p/sub/c.png", "p/sub/new.png"}
    assert "left out: all/p: the files that its journal names as outputs of an earlier run" in result.stderr.decode()
    assert "left out: all/p/maps: outputs of an earlier run" in result.stderr.decode()
    # A tree within a tree: what the outer one has made is an output there as well.
    assert adacode("sr", "all/p/sub", "-o", "all/p/sub", "--suffix", "-x2", "--scale", "2", *W).returncode == 0
    assert adacode("sr", "all", "-o", "out3", *W).returncode == 0
    assert names(tmp_path / "out3" / "p" / "sub") == {"c.png", "new.png"}
    (tmp_path / "all" / "p" / ".adacode" / "journal.jsonl").write_text('{"version":99}\n')
    unknown = adacode("sr", "all", "-o", "out2", *W)
    assert unknown.returncode == 9
    assert "failed: all/p: its outputs cannot be distinguished from originals" in unknown.stderr.decode()


def test_half_files_of_single_outputs_go_with_the_next_run(adacode, photo, tmp_path):
    photo("a.png", (800, 600))
    for command in (("sr", "a.png", "-o", "b.png"), ("sr", "-", "-o", "b.png")):
        (tmp_path / "b.png").unlink(missing_ok=True)
        with (tmp_path / "a.png").open("rb") as file:
            process = adacode.start(*command, *W, stdin=file)
            until = time.monotonic() + 60
            while process.poll() is None and not list(tmp_path.glob(".b.png.*")) and time.monotonic() < until:
                time.sleep(0.0005)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        (tmp_path / ".b.png.0123abcd.adacode-part").write_bytes(b"half")  # in case that the kill came too late
        assert adacode(*command, "--overwrite", *W, stdin=(tmp_path / "a.png").read_bytes()).returncode == 0
        assert not list(tmp_path.glob(".b.png.*"))


def test_claims_name_what_a_quarantine_may_hold(tmp_path):
    """What a claim names is searched for half files."""
    stages = Stages(lambda image, _mask: (image, None), quarantine=tmp_path / "q", maps_dir=tmp_path / "maps")
    job = Job(Found(Path("p"), "sub/a.png", in_tree=True), Path("out"), "sub/a.png")
    beside = {tmp_path / "q" / "sub" / "a.png", tmp_path / "maps" / "sub" / "a.png.weights.png"}
    assert set(stages.paths(job)) == {Path("out/sub/a.png")} | beside
