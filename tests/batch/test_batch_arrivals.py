"""What a watch takes at which look: files that are complete, each once, whatever else happens to them."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from adacode_cli.batch.arrivals import Changes, Watched, looks
from adacode_cli.batch.found import Selection
from adacode_cli.batch.kept import Kept
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.outcome import Outcome, Result, failed_job
from adacode_cli.batch.plan import OnExisting
from adacode_cli.batch.report import Tally
from adacode_cli.batch.trees import Trees
from adacode_cli.errors import InputError, OutputError

IN = Path("in")


@pytest.fixture
def look(here):
    """Plans of one look after the other, of the folder `in` into `out`: (names to restore, plan)."""
    IN.mkdir()

    def begin(existing=OnExisting.REFUSE, **options):
        trees = Trees()
        naming = options.pop("naming", Naming("sr", Path("out")))
        before = trees.look_again
        watched = Watched(
            inputs=options.pop("inputs", (IN,)),
            naming=naming,
            selection=Selection(),
            on_existing=existing,
            kept=Kept(folders=(IN,)),
            may_go_on=trees.may_go_on,
            before=lambda: before([Path("out")]),
            check=options.pop("check", lambda _jobs: None),
            **options,
        )
        plans = looks(watched, 5.0, pause=lambda _seconds: None)

        def step():
            plan = next(plans)
            return [job.found.place for job in plan.jobs], plan

        return step

    return begin


def names(step) -> list[str]:
    return step()[0]


def test_a_file_is_taken_when_two_looks_found_it_unchanged_and_never_again(look, here, image):
    step = look()
    assert names(step) == []
    source = image("in/a.png")
    whole = source.read_bytes()
    for length in (10, 200, len(whole)):
        source.write_bytes(whole[:length])
        assert names(step) == []
    assert names(step) == ["a.png"]
    assert [names(step) for _ in range(3)] == [[], [], []]


@pytest.mark.parametrize("change", ["times", "inode", "permissions", "size"])
def test_whatever_changes_a_file_it_is_taken_again(look, here, image, change):
    source = image("in/a.png")
    step = look()
    assert [names(step) for _ in range(3)] == [[], ["a.png"], []]
    status = source.stat()
    if change == "times":
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))
    elif change == "inode":  # another file of the same size and time is moved to its place
        other = Path("other")
        other.write_bytes(bytes(len(source.read_bytes())))
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(source)
    elif change == "permissions":
        source.chmod(0o600 if status.st_mode & 0o044 else 0o644)
    else:
        source.write_bytes(source.read_bytes() + b"x")
    assert [names(step) for _ in range(3)] == [[], ["a.png"], []]


def test_a_file_that_goes_and_comes_again_is_a_new_one(look, here, image):
    source = image("in/a.png")
    step = look()
    assert [names(step) for _ in range(2)] == [[], ["a.png"]]
    source.rename("kept.png")
    assert names(step) == []
    Path("kept.png").rename(source)
    assert [names(step) for _ in range(3)] == [[], ["a.png"], []]


def test_names_of_files_that_are_being_written_are_no_images_until_they_are_renamed(look, here, image):
    source = image("in/a.png")
    for temporary in ("in/a.png.part", "in/a.png~", "in/.a.png.Xy12", "in/a.png.tmp", "in/a.png.crdownload"):
        source.rename(temporary)
        step = look()
        assert [names(step) for _ in range(3)] == [[], [], []]
        Path(temporary).rename(source)
        assert [names(step) for _ in range(2)] == [[], ["a.png"]]


def test_folders_that_come_later_are_searched_and_those_of_results_are_not(look, here, image):
    step = look(naming=Naming("sr", IN / "out"))
    assert names(step) == []
    image("in/2031/may/a.png")
    image("in/out/b.png")
    assert [names(step) for _ in range(3)] == [[], ["2031/may/a.png"], []]
    image("elsewhere/c.png")
    Path("elsewhere").rename("in/moved")
    assert [names(step) for _ in range(3)] == [[], ["moved/c.png"], []]


def test_entries_that_are_left_out_are_told_once_and_a_passing_problem_is_not(look, here, image):
    step = look(naming=Naming("sr", IN / "out"))
    image("in/out/b.png")
    link = IN / "gone.png"
    link.symlink_to("nowhere")
    assert step()[1].passed_over == ()
    link.unlink()
    assert [entry.path for entry in step()[1].passed_over] == [IN / "out"]
    link.symlink_to("nowhere")
    assert step()[1].passed_over == ()
    (entry,) = step()[1].passed_over
    assert (entry.path, entry.failed) == (link, True)
    assert step()[1].passed_over == ()


def test_a_folder_that_goes_is_told_once_and_its_files_are_taken_when_it_is_back(look, here, image):
    image("in/a.png")
    image("second/b.png")
    step = look(inputs=(IN, Path("second")))
    assert [names(step) for _ in range(2)] == [[], ["a.png", "b.png"]]
    IN.rename("away")
    assert step()[1].passed_over == ()
    image("second/c.png")
    (entry,) = step()[1].passed_over
    assert (entry.path, entry.failed) == (IN, True)
    assert [names(step) for _ in range(2)] == [["c.png"], []]
    Path("away").rename(IN)
    assert [names(step) for _ in range(3)] == [[], ["a.png"], []]


def test_an_output_of_someone_else_fails_one_file_and_not_the_others(look, here, image):
    for name in "abcdef":
        image(f"in/{name}.png")
    foreign = image("out/c.png")
    step = look()
    step()
    taken, plan = step()
    assert taken == ["a.png", "b.png", "d.png", "e.png", "f.png"]
    (refused,) = plan.refused
    assert (refused.job.found.place, str(refused.error)) == ("c.png", f"{foreign.relative_to(here)}: exists already")
    taken, plan = step()
    assert (taken, plan.refused) == ([], ())
    kept = look(existing=OnExisting.SKIP)
    kept()
    taken, plan = kept()
    assert (len(taken), [job.found.place for job in plan.to_skip], plan.refused) == (5, ["c.png"], ())


def test_an_output_that_is_an_input_under_another_name_is_refused(look, here, image):
    image("in/a.png")
    image("in/b.png")
    Path("out").mkdir()
    os.link("in/b.png", "out/a.png")
    step = look(existing=OnExisting.OVERWRITE)
    step()
    taken, plan = step()
    assert taken == ["b.png"]
    assert [str(one.error) for one in plan.refused] == [
        f"{Path('out/a.png')}: would overwrite the input {IN / 'b.png'}"
    ]


def test_a_name_that_collides_with_a_file_that_was_restored_before_fails_alone(look, here, image):
    image("in/a.jpg")
    step = look(naming=Naming("sr", Path("out"), "png"))
    assert [names(step) for _ in range(2)] == [[], ["a.jpg"]]
    image("in/a.tif")
    step()
    taken, plan = step()
    assert (taken, [one.job.found.place for one in plan.refused]) == ([], ["a.tif"])


def test_files_beside_outputs_that_must_not_be_written_fail_alone_or_together(look, here, image):
    for name in "abcd":
        image(f"in/{name}.png")

    def no_b(jobs):
        if any(job.found.place == "b.png" for job in jobs):
            raise OutputError("not b")

    step = look(check=no_b)
    step()
    taken, plan = step()
    assert (taken, [one.job.found.place for one in plan.refused]) == (["a.png", "c.png", "d.png"], ["b.png"])

    def not_both(jobs):
        if {"a.png", "b.png"} <= {job.found.place for job in jobs}:
            raise OutputError("twice")

    step = look(check=not_both)
    step()
    taken, plan = step()
    assert (taken, [one.job.found.place for one in plan.refused]) == (["c.png", "d.png"], ["a.png", "b.png"])


def test_the_parts_of_two_machines_are_all_files(look, here, image):
    every = [f"{name}.png" for name in "abcdefgh"]
    for name in every:
        image(f"in/{name}")
    parts = []
    for part in (1, 2):
        step = look(shard=(part, 2))
        parts.append([names(step), names(step)][1])
    assert sorted(itertools.chain(*parts)) == every
    assert all(parts)


def test_nothing_is_remembered_of_files_that_have_gone():
    changes: Changes[str] = Changes()
    given = 0
    for day in range(1000):
        now = {f"{day}/{number}.jpg": (number, day) for number in range(10)}
        changes.at_rest(now)
        given += len(changes.at_rest(now))
        assert len(changes) == 10
    changes.at_rest({})
    assert (given, len(changes)) == (10_000, 0)


def test_pauses_are_longer_where_a_look_takes_long(here, monkeypatch):
    clock = itertools.count(0, 3)  # each look takes three seconds
    monkeypatch.setattr("adacode_cli.batch.arrivals.time.monotonic", lambda: float(next(clock)))
    IN.mkdir()
    watched = Watched((IN,), Naming("sr"), Selection(), OnExisting.REFUSE, Kept(), bool, lambda: None, lambda _: None)
    waited: list[float] = []
    plans = looks(watched, 5.0, pause=waited.append)
    next(plans)
    next(plans)
    assert waited == [pytest.approx(27)]


def test_a_long_watch_counts_all_failures_and_keeps_the_first(look, here, image):
    image("in/a.png")
    step = look()
    step()
    (job,) = step()[1].jobs
    tally = Tally(5, max_listed=2)
    for number in range(4):
        tally.add(failed_job(job, InputError(str(number))))
    tally.add(Outcome(Result.DONE, job.source, job.target))
    report = tally.report(KeyboardInterrupt())
    assert [one.failure.message for one in report.failed] == ["0", "1"]
    assert (report.num_failed, report.done, report.untouched) == (4, 1, 0)


def test_a_tree_that_is_removed_during_a_look_ends_nothing(look, here, image, monkeypatch):
    image("in/a.png")
    step = look()
    is_dir = Path.is_dir

    def and_then_it_goes(path):
        answer = is_dir(path)
        if path == IN and answer:
            shutil.rmtree(IN)
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_dir", and_then_it_goes)
        assert names(step) == []
    assert step()[1].passed_over != ()


def test_images_of_other_kinds_are_told_once_each_and_fail_where_that_is_asked(look, here, image):
    image("in/a.png")
    (IN / "b.psd").write_bytes(b"8BPS")
    for strict in (False, True):
        step = look(strict=strict)
        step()
        taken, plan = step()
        (entry,) = plan.passed_over
        assert (taken, entry.path, entry.failed, entry.is_unread) == (["a.png"], IN / "b.psd", strict, True)
        assert step()[1].passed_over == ()
