"""A run does everything it can, in whatever order files fail, and says truthfully what became of each."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nearest import NearestRestorer
from PIL import Image

from adacode_cli.batch import events, local
from adacode_cli.batch.found import Selection
from adacode_cli.batch.journal import JOURNAL
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.outcome import Result
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages
from adacode_cli.errors import DeviceError, InputError, JournalError, OutputError, UsageError, WeightsError, reason


def plan_for(folder: Path, output: Path, **naming):
    return make_plan([folder], Naming("sr-x2", output, **naming), Selection(), OnExisting.OVERWRITE)


def stages(restore=None, **options) -> Stages:
    return Stages(restore or Restoring(NearestRestorer(), "sr", 2.0), **options)


def carry_out(plan, stages, *, jobs=None):
    log = []
    return run(plan, LocalExecutor(stages, jobs=jobs), on_event=log.append), log


def fill(folder: Path, image, count: int) -> None:
    for index in range(count):
        image(f"{folder.name}/{index:03}.png", seed=index)


class Failing:
    """A restorer that raises `error` at the images of the given widths."""

    def __init__(self, error: BaseException, *widths: int) -> None:
        self.error, self.widths = error, widths

    def __call__(self, image, mask):
        if image.pixels.shape[1] in self.widths:
            raise self.error
        return Restoring(NearestRestorer(), "sr", 2.0)(image, mask)


@pytest.mark.parametrize(("jobs", "lanes"), [(1, 1), (2, 1), (5, 1), (None, 2), (1, 3)])
def test_mixed_folder_is_restored_but_for_the_bad_files(mixed_folder, tmp_path, jobs, lanes):
    several = replace(stages(), lanes=lanes)
    report, log = carry_out(plan_for(mixed_folder, tmp_path / "out"), several, jobs=jobs)
    failed = {outcome.source.name: outcome.failure for outcome in report.failed}
    assert set(failed) == {"truncated.jpg", "text.jpg"}
    assert all(failure.kind == "input" and failure.exit_code == 3 for failure in failed.values())
    assert (report.done, report.total, report.exit_code, report.untouched) == (12, 14, 9, 0)
    assert isinstance(log[0], events.RunStarted)
    assert isinstance(log[-1], events.RunFinished)
    done = [e.outcome for e in log if isinstance(e, events.FileFinished) and e.outcome.result is Result.DONE]
    assert all(outcome.target.stat().st_size == outcome.num_bytes for outcome in done)
    assert not list((tmp_path / "out").rglob("*.adacode-part"))


def test_outputs_have_the_size_layout_and_metadata_of_their_inputs(mixed_folder, tmp_path):
    carry_out(plan_for(mixed_folder, tmp_path / "out"), stages())
    sizes = {}
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.parent.name != ".adacode":
            with Image.open(path) as image:
                sizes[path.relative_to(tmp_path / "out").as_posix()] = (image.size, image.mode, image.format)
    assert sizes["a.jpg"] == ((48, 32), "RGB", "JPEG")
    assert sizes["b.PNG"] == ((48, 32), "RGB", "PNG")
    assert sizes["grey.png"] == ((48, 32), "L", "PNG")
    assert sizes["alpha.png"] == ((48, 32), "RGBA", "PNG")
    assert sizes["one.png"] == ((2, 2), "RGB", "PNG")
    assert sizes["cmyk.jpg"] == ((48, 32), "RGB", "JPEG")
    assert sizes["sub/rotated.jpg"] == ((20, 60), "RGB", "JPEG")
    assert sizes["e.bmp"][2] == "BMP"
    assert "Größe 北京.jpg" in sizes
    assert len(sizes) == 12


def test_pixels_arrive(image, tmp_path):
    source = image("p/a.png")
    carry_out(plan_for(tmp_path / "p", tmp_path / "out"), stages())
    with Image.open(source) as before, Image.open(tmp_path / "out" / "a.png") as after:
        np.testing.assert_array_equal(np.asarray(after)[::2, ::2], np.asarray(before))
        np.testing.assert_array_equal(np.asarray(after)[1::2, 1::2], np.asarray(before))


def test_the_only_file_gives_its_own_exit_code(tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("text")
    plan = make_plan([bad], Naming("sr-x2"), Selection(), OnExisting.REFUSE)
    report, _ = carry_out(plan, stages())
    assert report.exit_code == InputError.exit_code
    assert not (tmp_path / "adacode-sr-x2" / "bad.jpg").exists()


def test_a_bug_in_one_file_does_not_stop_the_others(image, tmp_path):
    image("p/a.png")
    image("p/b.png", (33, 20))
    image("p/c.png")
    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), stages(Failing(ZeroDivisionError("oh"), 33)))
    assert (report.done, len(report.failed), report.exit_code) == (2, 1, 9)
    failure = report.failed[0].failure
    assert (failure.kind, failure.exit_code) == ("bug", 1)
    assert "ZeroDivisionError: oh" in failure.message
    assert "Traceback" in failure.trace


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "full"), OSError(errno.ENFILE, "full"), ImportError("lib.so")])
def test_a_limit_on_open_files_is_no_bug(image, tmp_path, error):
    """A module that is imported at its first use is a file too, so this can happen anywhere."""
    image("p/a.png")
    image("p/b.png", (33, 20))
    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), stages(Failing(error, 33)))
    failure = report.failed[0].failure
    assert (report.done, failure.kind, failure.exit_code) == (1, "input", 3)
    assert failure.message.startswith("cannot be restored: ")
    assert "ulimit -n" in failure.hint


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("error", [DeviceError("gone"), WeightsError("bad"), UsageError("no")])
def test_what_fails_every_file_alike_stops_the_run(image, tmp_path, error, lanes):
    for index in range(8):
        image(f"p/{index}.png", (33 if index == 3 else 24, 16))
    log = []
    failing = replace(stages(Failing(error, 33)), lanes=lanes)
    with pytest.raises(type(error)):
        run(plan_for(tmp_path / "p", tmp_path / "out"), LocalExecutor(failing), on_event=log.append)
    written = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert written == ["0.png", "1.png", "2.png"]
    report = log[-1].report
    assert (report.done, report.untouched, report.exit_code) == (3, 5, error.exit_code)


def test_an_image_too_large_for_the_memory_does_not_stop_the_others(image, tmp_path):
    image("p/a.png")
    image("p/b.png", (33, 20))
    image("p/c.png")
    error = DeviceError("out of memory", only_this_image=True)
    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), stages(Failing(error, 33)))
    assert (report.done, len(report.failed), report.exit_code) == (2, 1, 9)
    assert report.failed[0].failure.exit_code == 5


def test_an_image_for_which_results_leave_no_room_waits_until_they_are_written(image, tmp_path):
    image("p/a.png")
    image("p/b.png", (33, 20))
    refused, written = threading.Event(), []

    class Tight(Failing):
        def __call__(self, image, mask):
            if image.pixels.shape[1] == 33 and not written:
                refused.set()
                raise self.error
            return Restoring(NearestRestorer(), "sr", 2.0)(image, mask)

    class Slow(Stages):
        def write(self, job, *made):
            assert refused.wait(30)
            done = super().write(job, *made)
            written.append(job.target.name)
            return done

    tight = Slow(Tight(DeviceError("out of memory", only_this_image=True), 33))
    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), tight)
    assert (report.done, report.exit_code, written) == (2, 0, ["a.png", "b.png"])


def test_a_full_disk_stops_the_run_with_the_rest_untouched(image, tmp_path):
    """The disk is really refused: a file-size limit would kill the test itself, /dev/full refuses like a full disk."""
    fill(tmp_path / "p", image, 6)
    out = tmp_path / "out"
    log = []

    class FullAtThird(Stages):
        def write(self, job, *made):
            if job.source.name == "002.png":
                try:
                    Path("/dev/full").write_bytes(b"x")
                except OSError as error:
                    raise OutputError(reason(error), path=job.target) from error
            return super().write(job, *made)

    with pytest.raises(OutputError, match="the disk is full"):
        run(plan_for(tmp_path / "p", out), LocalExecutor(FullAtThird(stages().restore), jobs=1), on_event=log.append)
    report = log[-1].report
    assert report.exit_code == 6
    assert report.done >= 2
    assert report.done + report.untouched == 6
    assert not (out / "005.png").exists()


def test_a_target_that_cannot_be_written_fails_its_own_file_only(image, tmp_path):
    image("p/a.png")
    image("p/blocked/b.png")
    image("p/c.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "blocked").write_text("a file where a directory should be")
    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), stages())
    assert report.done == 2
    assert [(o.source.name, o.failure.exit_code) for o in report.failed] == [("b.png", 6)]


def test_source_that_vanishes_after_planning(image, tmp_path):
    fill(tmp_path / "p", image, 3)
    plan = plan_for(tmp_path / "p", tmp_path / "out")
    (tmp_path / "p" / "001.png").unlink()
    report, _ = carry_out(plan, stages())
    assert (report.done, [o.source.name for o in report.failed]) == (2, ["001.png"])


def test_journal_has_a_line_for_every_file_done_or_failed(mixed_folder, tmp_path):
    out = tmp_path / "out"
    carry_out(plan_for(mixed_folder, out), stages())
    carry_out(plan_for(mixed_folder, out), stages())
    lines = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]
    assert len(lines) == 28
    assert {line["version"] for line in lines} == {2}
    by_target = {line["target"]: line for line in lines}
    assert by_target["sub/deeper/f.jpeg"]["outcome"] == "done"
    assert by_target["sub/deeper/f.jpeg"]["bytes"] == (out / "sub/deeper/f.jpeg").stat().st_size
    chinese = by_target["Größe 北京.jpg"]
    assert (chinese["input"], chinese["source"]) == (str(mixed_folder), "Größe 北京.jpg")
    assert chinese["source_sha256"] == hashlib.sha256((mixed_folder / "Größe 北京.jpg").read_bytes()).hexdigest()
    assert chinese["sha256"] == hashlib.sha256((out / "Größe 北京.jpg").read_bytes()).hexdigest()
    assert chinese["peak_memory_bytes"] > 10_000_000
    assert by_target["text.jpg"]["outcome"] == "failed"
    assert "text" in by_target["text.jpg"]["error"]


def test_journal_that_cannot_be_written_stops_the_run(image, tmp_path):
    fill(tmp_path / "p", image, 4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".adacode").write_text("in the way")
    with pytest.raises(JournalError) as caught:
        carry_out(plan_for(tmp_path / "p", tmp_path / "out"), stages())
    assert caught.value.exit_code == 7


def test_a_named_output_file_leaves_no_journal_beside_it(image, tmp_path):
    source = image("a.png")
    plan = make_plan([source], Naming("sr-x2", tmp_path / "b.png"), Selection(), OnExisting.REFUSE)
    report, _ = carry_out(plan, stages())
    assert report.done == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_skipped_files_are_counted_and_not_read(image, tmp_path):
    fill(tmp_path / "p", image, 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "001.png").write_bytes(b"precious")
    plan = make_plan([tmp_path / "p"], Naming("sr-x2", tmp_path / "out"), Selection(), OnExisting.SKIP)
    report, _ = carry_out(plan, stages())
    assert (report.done, report.skipped, report.exit_code) == (2, 1, 0)
    assert (tmp_path / "out" / "001.png").read_bytes() == b"precious"


def test_interruption_keeps_what_was_restored_and_drops_the_rest(image, tmp_path):
    for index in range(10):
        image(f"p/{index}.png", (33 if index == 4 else 24, 16))
    log, threads = [], set(threading.enumerate())
    interrupted = LocalExecutor(stages(Failing(KeyboardInterrupt(), 33)))
    with pytest.raises(KeyboardInterrupt):
        run(plan_for(tmp_path / "p", tmp_path / "out"), interrupted, on_event=log.append)
    report = log[-1].report
    written = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert report.exit_code == 130
    assert report.done == len(written)
    assert written == [f"{index}.png" for index in range(len(written))]
    assert len(written) <= 4
    journal = (tmp_path / "out" / JOURNAL).read_text().splitlines() if written else []
    assert sorted(json.loads(line)["target"] for line in journal) == written
    assert set(threading.enumerate()) <= threads


def test_reading_runs_ahead_but_not_far(image, tmp_path):
    """While the network has the first image, at most jobs + 1 further ones have been read."""
    fill(tmp_path / "p", image, 12)
    read: list[str] = []
    max_ahead = []

    class Watched(Stages):
        def fetch(self, job):
            read.append(job.source.name)
            return super().fetch(job)

    def restore(image, mask):
        max_ahead.append(len(read) - len(max_ahead))
        return Restoring(NearestRestorer(), "sr", 2.0)(image, mask)

    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), Watched(restore), jobs=2)
    assert report.done == 12
    assert max(max_ahead) <= 3


def test_reading_and_writing_run_beside_inference(image, tmp_path):
    """Inference of the second image waits until the first is written and the third read: possible only in parallel."""
    fill(tmp_path / "p", image, 3)
    third_read, first_written = threading.Event(), threading.Event()
    count = 0

    class Watched(Stages):
        def take_in(self, job, *data):
            read = super().take_in(job, *data)
            if job.source.name == "002.png":
                third_read.set()
            return read

        def write(self, job, *made):
            done = super().write(job, *made)
            if job.source.name == "000.png":
                first_written.set()
            return done

    def restore(image, mask):
        nonlocal count
        count += 1
        if count == 2:
            assert first_written.wait(30)
            assert third_read.wait(30)
        return Restoring(NearestRestorer(), "sr", 2.0)(image, mask)

    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), Watched(restore), jobs=2)
    assert report.done == 3


def test_several_lanes_restore_at_once_and_outcomes_keep_the_order_of_the_files(image, tmp_path):
    """Each of two restorations waits for the other one; the second of a pair is finished first."""
    fill(tmp_path / "p", image, 6)
    both, second_done = threading.Barrier(2), threading.Event()
    order, lock = [], threading.Lock()

    def restore(image, mask):
        with lock:
            order.append(len(order))
            is_first = order[-1] % 2 == 0
        both.wait(30)
        if is_first:
            assert second_done.wait(30)
            second_done.clear()
        restored = Restoring(NearestRestorer(), "sr", 2.0)(image, mask)
        if not is_first:
            second_done.set()
        return restored

    in_lanes = replace(stages(), restore=restore, lanes=2)
    report, log = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), in_lanes, jobs=3)
    assert report.done == 6
    finished = [e.outcome.source.name for e in log if isinstance(e, events.FileFinished)]
    assert finished == sorted(finished)


def test_what_the_lanes_have_restored_when_interrupted_is_written(image, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_GRACE_S", 60)  # no machine is too slow for this
    fill(tmp_path / "p", image, 8)
    log, begun = [], []

    def note(event):
        log.append(event)
        if isinstance(event, events.FileStarted) and sum(isinstance(e, events.FileStarted) for e in log) == 6:
            while len(begun) < 5:  # what no thread has begun is not waited for
                time.sleep(0.001)
            raise KeyboardInterrupt

    def slowly(image, mask):
        begun.append(image)
        time.sleep(0.1)
        return Restoring(NearestRestorer(), "sr", 2.0)(image, mask)

    in_lanes = LocalExecutor(replace(stages(slowly), lanes=4))
    with pytest.raises(KeyboardInterrupt):
        run(plan_for(tmp_path / "p", tmp_path / "out"), in_lanes, on_event=note)
    written = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert written == [f"{index:03}.png" for index in range(5)]
    assert log[-1].report.done == 5
    assert len((tmp_path / "out" / JOURNAL).read_text().splitlines()) == 5


def test_large_results_wait_for_one_another(image, tmp_path, monkeypatch):
    """However many jobs write, results that are too many bytes together are not kept at once."""
    fill(tmp_path / "p", image, 6)
    monkeypatch.setattr(local, "_MAX_WAITING_BYTES", 1)
    writing, most = [], []

    class Watched(Stages):
        def write(self, job, *made):
            writing.append(job)
            most.append(len(writing))
            time.sleep(0.02)
            done = super().write(job, *made)
            writing.remove(job)
            return done

    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), Watched(stages().restore), jobs=5)
    assert report.done == 6
    assert max(most) == 1


def test_images_are_let_go_once_they_are_written(image, tmp_path):
    import gc
    import weakref

    fill(tmp_path / "p", image, 12)
    images = []
    most = 0

    def restore(image, mask):
        nonlocal most
        images.append(weakref.ref(image))
        gc.collect()
        most = max(most, sum(ref() is not None for ref in images))
        return Restoring(NearestRestorer(), "sr", 2.0)(image, mask)

    carry_out(plan_for(tmp_path / "p", tmp_path / "out"), stages(restore), jobs=1)
    assert len(images) == 12
    assert most <= 4


def test_lanes_hold_no_source_of_a_result_that_waits_for_an_earlier_one(image, tmp_path):
    """The first of four restorations ends when the sources of the three others are gone."""
    import gc
    import weakref

    fill(tmp_path / "p", image, 4)
    sources, lock = [], threading.Lock()

    def restore(image, mask):
        with lock:
            sources.append(weakref.ref(image))
            is_first = len(sources) == 1
        until = time.monotonic() + 30
        while is_first and (len(sources) < 4 or any(ref() for ref in sources[1:])) and time.monotonic() < until:
            gc.collect()
            time.sleep(0.01)
        if is_first:
            assert not any(ref() for ref in sources[1:])
        return Restoring(NearestRestorer(), "sr", 2.0)(image, mask)

    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), replace(stages(restore), lanes=4), jobs=4)
    assert (report.done, report.exit_code) == (4, 0)


def test_unwritable_problems_of_discovery_are_failures(image, tmp_path):
    image("p/a.png")
    (tmp_path / "p" / "gone.png").symlink_to("nowhere.png")
    report, _ = carry_out(plan_for(tmp_path / "p", tmp_path / "out"), stages())
    assert (report.done, report.exit_code) == (1, 9)
    assert report.failed[0].source.name == "gone.png"


def test_losses_and_conversions_are_noted(image, tmp_path):
    image("p/cmyk.jpg", mode="CMYK")
    image("p/alpha.png", mode="RGBA")
    _, log = carry_out(plan_for(tmp_path / "p", tmp_path / "out", format="jpeg"), stages())
    notes = {e.outcome.source.name: " ".join(e.outcome.notes) for e in log if isinstance(e, events.FileFinished)}
    assert "CMYK" in notes["cmyk.jpg"]
    assert "not kept in jpeg: alpha" in notes["alpha.png"]
