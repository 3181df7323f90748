"""What is known to fail: in dry runs and before work, `--if-too-large`, `--keep-suffix`, and names that meet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adacode_cli.batch.found import Selection
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages
from adacode_cli.batch.trees import Trees
from adacode_cli.cli.pipe import restore_pipe
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.restore_plan import Request, foresight_of, options_digest, plan_of
from adacode_cli.cli.run_text import finished_lines
from adacode_cli.errors import OutputError, UsageError
from adacode_cli.imaging.image import Decoded

W = ("--weights", "nearest")
TOO_WIDE = "p/wide.webp: a WebP cannot hold 16388×16 pixels"


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def mixed(photo):
    """An image that is too wide for WebP when it is enlarged, two that would have one name as PNG, and another."""
    Image.new("RGB", (4097, 4)).save(photo("p/wide.webp"), lossless=True)
    for name in ("p/a.jpg", "p/a.tif", "p/b.webp"):
        photo(name)


@pytest.mark.usefixtures("mixed")
def test_a_dry_run_shows_what_would_fail(adacode, tmp_path):
    result = adacode("sr", "p", "-o", "out", "--dry-run", *W)
    assert (result.returncode, result.stderr.decode().count("would fail: ")) == (9, 1)
    assert f"would fail: {TOO_WIDE} (Choose --format png or tiff, or add --if-too-large png.)" in result.stderr.decode()
    assert result.stdout.decode().splitlines() == [f"p/{name} -> out/{name}" for name in ("a.jpg", "a.tif", "b.webp")]
    alone = adacode("sr", "p/wide.webp", "--dry-run", "--json", *W)
    assert [(event["event"], event["error"]["exit_code"]) for event in lines(alone)] == [("file-failed", 6)]
    assert alone.returncode == 6
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.usefixtures("mixed")
def test_a_result_that_is_too_large_gets_another_format_once(adacode, tmp_path):
    counted, run = tmp_path / "counted", ("sr", "p", "-o", "out", "--weights", "counted")
    first = adacode(*run, COUNTED=str(counted))
    assert (first.returncode, counted.read_text().split()) == (9, ["24"] * 3)  # the fourth was not computed
    assert f"failed: {TOO_WIDE}" in first.stderr.decode()
    second = adacode(*run, "--if-too-large", "png", "--json", COUNTED=str(counted))
    (done,) = (event for event in lines(second) if event["event"] == "file-done")
    assert (second.returncode, done["source"], done["target"]) == (0, "p/wide.webp", "out/wide.png")
    assert done["notes"] == ["written in another format: a WebP cannot hold 16388×16 pixels"]
    assert counted.read_text().split() == ["24"] * 3 + ["4097"]
    with Image.open(tmp_path / "out" / "wide.png") as image:
        assert (image.format, image.size) == ("PNG", (16388, 16))
    again = adacode(*run, "--if-too-large", "png", "--json", COUNTED=str(counted))
    assert [event["event"] for event in lines(again)[1:-1]] == ["file-skipped"] * 4
    assert lines(again)[-1]["exit_code"] == again.returncode == 0


@pytest.mark.usefixtures("mixed")
def test_two_that_would_have_one_name_fail_alone_or_keep_their_suffixes(adacode, tmp_path):
    run = ("sr", "p", "-o", "out", "--format", "png", *W)
    result = adacode(*run)
    assert result.returncode == 9
    messages = result.stderr.decode()
    for one, other in (("a.jpg", "a.tif"), ("a.tif", "a.jpg")):
        message = f"its output would have the same name as the output of p/{other}: out/a.png"
        assert f"failed: p/{one}: {message}" in messages
    assert messages.count("(Add --keep-suffix") == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["b.png", "wide.png"]
    report = json.loads((tmp_path / "out" / ".adacode" / "report.json").read_text())
    assert (report["done"], report["failed"], report["exit_code"]) == (2, 2, 9)
    kept = adacode(*run, "--keep-suffix")
    assert kept.returncode == 0
    names = {"a.jpg.png", "a.tif.png", "b.webp.png", "wide.webp.png"}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"b.png", "wide.png", *names}


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("b.webp", {"if_too_large": "png"}, "--if-too-large has no effect when -o names the file"),
        ("b.png", {"keep_suffix": True}, "--keep-suffix has no effect when -o names the file"),
    ],
)
def test_a_name_that_is_given_is_taken(photo, output, options, message):
    source = photo("a.webp")
    chosen = RestoreOptions(output=source.with_name(output), **options)
    with pytest.raises(UsageError, match=message):
        plan_of([source], chosen, Request("sr"), Trees())


def test_a_dry_run_knows_the_limits(adacode, photo):
    photo("p/a.jpg")
    photo("p/b.png")
    result = adacode("sr", "p", "-o", "out", "--max-megapixels", "0.0001", "--dry-run", *W)
    assert (result.returncode, result.stdout) == (9, b"")
    foreseen = [line.split(" (")[0] for line in result.stderr.decode().splitlines()]
    message = "claims 24×16 pixels, more than 0.0001 megapixels"
    would_fail = [f"would fail: p/{name}: {message}" for name in ("a.jpg", "b.png")]
    assert foreseen == [*would_fail, "to restore: nothing"]


@pytest.mark.parametrize(
    ("options", "is_pipe", "hint"),
    [
        ({}, False, "Choose --format png or tiff, or add --if-too-large png."),
        ({"if_too_large": "png"}, False, "Choose --format png or tiff."),
        ({}, True, "Choose --format png or tiff."),
        ({"output": Path("b.webp")}, False, "Choose a name for -o that ends in .png or .tif."),
        ({"output": Path("b.webp")}, True, "Choose a name for -o that ends in .png or .tif."),
    ],
)
def test_what_to_do_about_a_result_that_is_too_large_can_be_done(options, is_pipe, hint):
    foresight = foresight_of(RestoreOptions(**options), Request("sr"), is_pipe=is_pipe)
    with pytest.raises(OutputError, match="a WebP cannot hold 40000×4 pixels") as refused:
        foresight.check(Decoded(np.zeros((1, 10000), np.uint8)), (), "webp", Keeping())
    assert refused.value.hint == hint


def test_many_failures_are_listed_where_the_summary_says(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").write_bytes(b"x")
    for number in range(25):
        for suffix in ("jpg", "tif"):
            (tmp_path / "p" / f"{number}.{suffix}").write_bytes(b"x")
    plan = make_plan([tmp_path / "p"], Naming("sr", tmp_path / "out", "png"), Selection(), OnExisting.REFUSE)
    stages = Stages(lambda *_: pytest.fail("it is no image"))
    report = run(plan, LocalExecutor(stages), on_event=lambda _event: None, trees=Trees())
    assert (
        f"… and 31 more; .adacode/report.json in {tmp_path / 'out'} lists all of them"
        in finished_lines(report, plan.roots, detailed=False).plain
    )
    kept = json.loads((tmp_path / "out" / ".adacode" / "report.json").read_text())
    assert len({failure["source"] for failure in kept["failures"]}) == 51


def test_a_pipe_has_one_name():
    chosen = RestoreOptions(if_too_large="tiff")
    with pytest.raises(UsageError, match="--if-too-large cannot be used with '-'"):
        restore_pipe(chosen, Request("sr"))


def test_options_about_names_leave_earlier_outputs_valid():
    plain, request = RestoreOptions(), Request("sr")
    named = replace(plain, keep_suffix=True, if_too_large="tiff")
    assert options_digest(named, request) == options_digest(plain, request)
