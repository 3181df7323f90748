"""A second run leaves what is done, and only that: the same input, mask, options and weights, and an intact output."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from nearest import NearestRestorer
from PIL import Image

from adacode_cli import atomic, locks
from adacode_cli.batch import masks
from adacode_cli.batch.claims import CLAIMS
from adacode_cli.batch.events import FileFinished
from adacode_cli.batch.found import Selection
from adacode_cli.batch.journal import JOURNAL
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.plan import OnExisting, make_plan
from adacode_cli.batch.record import Settings
from adacode_cli.batch.restoring import Restoring
from adacode_cli.batch.run import run
from adacode_cli.batch.stages import Stages
from adacode_cli.batch.trees import Trees
from adacode_cli.errors import OutputError

CHANGED = "changed since it was made, kept (--overwrite makes it again)"


class Runs:
    """Runs over the folder `p` into `out`, each with a memory of its own, as processes have."""

    def __init__(self, tmp_path: Path) -> None:
        self.inputs, self.out = tmp_path / "p", tmp_path / "out"

    def __call__(self, *, options="o", weights="w", resume=True, replace=False, existing=OnExisting.REFUSE, **stages):
        overwrite = existing is OnExisting.OVERWRITE
        trees = Trees(Settings(options), resume=resume, replace=replace, overwrite=overwrite)
        naming = Naming("sr-x2", self.out)
        plan = make_plan([self.inputs], naming, Selection(), existing, may_go_on=trees.may_go_on)
        trees.with_weights(weights, plan.jobs)
        computed = []

        def restore(image, mask):
            computed.append(image.pixels.shape[1])  # each image of a test has its own width
            return Restoring(NearestRestorer(), "sr", 2.0)(image, mask)

        log = []
        self.report = run(plan, LocalExecutor(Stages(restore, **stages)), on_event=log.append, trees=trees)
        self.outcomes = [event.outcome for event in log if isinstance(event, FileFinished)]
        return computed


@pytest.fixture
def go(tmp_path, image):
    for width in (20, 21, 22, 23):
        image(f"p/{width}.png", (width, 16))
    return Runs(tmp_path)


def test_the_second_run_computes_nothing(go):
    assert go() == [20, 21, 22, 23]
    before = {path: path.stat().st_mtime_ns for path in go.out.glob("*.png")}
    assert go() == []
    assert (go.report.skipped, go.report.done, go.report.exit_code) == (4, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in go.out.glob("*.png")} == before
    assert (go.out / JOURNAL).read_bytes().count(b"\n") == 4
    assert not list((go.out / CLAIMS).iterdir())


def test_new_missing_damaged_and_changed_files_are_done_again(go, image):
    go()
    image("p/30.png", (30, 16))
    (go.out / "20.png").unlink()
    damaged = bytearray((go.out / "21.png").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (go.out / "21.png").write_bytes(damaged)  # of the same size
    source = go.inputs / "22.png"
    before = source.stat()
    Image.new("RGB", (22, 16), (1, 2, 3)).save(source)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))  # a time alone fools nobody
    assert sorted(go()) == [20, 21, 22, 30]
    assert go() == []


def elsewhere(go, name):
    """Another folder of inputs for the same output tree."""
    go.inputs = go.inputs.with_name(name)
    return go


def test_another_roll_with_the_same_names_is_refused(go, image, tmp_path):
    go()
    kept = {path.name: path.read_bytes() for path in go.out.glob("*.png")}
    image("q/21.png", (33, 16), seed=9)
    image("q/50.png", (50, 16))
    with pytest.raises(OutputError, match=r"made from another input: .*/p/21\.png") as caught:
        elsewhere(go, "q")()
    assert caught.value.exit_code == 6
    assert "--overwrite" in caught.value.hint
    for options in ({"resume": False, "replace": True}, {"replace": True}):
        with pytest.raises(OutputError, match="made from another input"):
            go(**options)
    assert {path.name: path.read_bytes() for path in go.out.glob("*.png")} == kept
    assert go(existing=OnExisting.SKIP) == [50]
    assert go(existing=OnExisting.OVERWRITE, resume=False, replace=True) == [33, 50]
    with pytest.raises(OutputError, match=r"made from another input: .*/q/21\.png"):
        elsewhere(go, "p")()


def test_a_folder_that_has_moved_or_is_linked_is_the_same_input(go, tmp_path):
    go()
    go.inputs.rename(tmp_path / "moved")
    assert elsewhere(go, "moved")() == []
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    assert elsewhere(go, "link")() == []


def test_an_input_found_by_another_name_is_the_same(go, tmp_path):
    go()
    trees = Trees(Settings("o", "w"), resume=True, replace=False)
    plan = make_plan([go.inputs / "20.png"], Naming("sr-x2", go.out), Selection(), OnExisting.REFUSE,
                     may_go_on=trees.may_go_on)  # fmt: skip
    assert [job.name for job in plan.jobs] == ["20.png"]


def another_roll(go, source):
    """The report of a run over another roll, of which the same output is made by `go` after it was planned."""
    trees = Trees(Settings("o"), resume=True, replace=False)
    plan = make_plan([source.parent], Naming("sr-x2", go.out), Selection(), OnExisting.REFUSE,
                     may_go_on=trees.may_go_on)  # fmt: skip
    trees.begin(plan.roots)
    trees.with_weights("w", plan.jobs)
    go()
    stages = Stages(Restoring(NearestRestorer(), "sr", 2.0))
    return run(plan, LocalExecutor(stages), on_event=lambda _: None, trees=trees)


def test_another_process_with_another_roll_fails_the_file_alone(go, image):
    report = another_roll(go, image("q/20.png", (35, 16), seed=3))
    assert [outcome.failure.exit_code for outcome in report.failed] == [6]
    assert "made from another input" in report.failed[0].failure.message


def test_what_somebody_has_changed_is_kept_and_reported(go):
    go()
    retouched = go.out / "21.png"
    Image.new("RGB", (42, 32), (9, 8, 7)).save(retouched)
    kept = retouched.read_bytes()
    for _ in range(2):
        assert go() == []
        assert retouched.read_bytes() == kept
        assert (go.report.skipped, go.report.exit_code) == (4, 0)
    assert [(o.source.name, o.reason, o.notes) for o in go.outcomes if "done already" not in o.reason] == [
        ("21.png", CHANGED, (CHANGED,))
    ]
    Image.new("RGB", (21, 16), (1, 2, 3)).save(go.inputs / "21.png")  # also where its input is another now
    assert go() == []
    assert retouched.read_bytes() == kept
    assert go(existing=OnExisting.OVERWRITE, resume=True, replace=True) == [21]
    assert go() == []


@pytest.mark.parametrize("left", [b"", b"\x89PNG\r\n", 0.5])
def test_what_a_crash_left_of_an_output_is_made_again(go, left):
    go()
    whole = (go.out / "21.png").read_bytes()
    (go.out / "21.png").write_bytes(whole[: int(len(whole) * left)] if isinstance(left, float) else left)
    assert go() == [21]
    assert (go.out / "21.png").read_bytes() == whole


def test_other_options_and_weights_are_refused_before_anything_is_done(go):
    go()
    for changed, what in (({"options": "p"}, "options"), ({"weights": "x"}, "weights")):
        with pytest.raises(OutputError, match=f"made with other {what}") as caught:
            go(**changed)
        assert "--overwrite" in caught.value.hint
    assert go() == []
    assert go(options="p", weights="x", existing=OnExisting.OVERWRITE, resume=False, replace=True) == [20, 21, 22, 23]
    assert go(options="p", weights="x") == []


def test_no_resume_starts_over_but_takes_nothing_that_is_not_ours(go):
    go()
    assert go(resume=False, replace=True) == [20, 21, 22, 23]
    assert go(options="p", resume=False, replace=True) == [20, 21, 22, 23]
    (go.out / JOURNAL).unlink()
    with pytest.raises(OutputError, match="4 of 4 outputs exist already"):
        go(resume=False, replace=True)


def test_overwriting_does_all_again_and_with_resume_the_rest(go):
    go()
    assert go(existing=OnExisting.OVERWRITE, resume=False, replace=True) == [20, 21, 22, 23]
    (go.out / "21.png").write_bytes(b"somebody else's")
    assert go(existing=OnExisting.OVERWRITE, resume=True, replace=True) == [21]


def test_skipping_looks_at_nothing_but_existence(go):
    go.out.mkdir()
    (go.out / "20.png").write_bytes(b"precious")
    assert go(existing=OnExisting.SKIP) == [21, 22, 23]
    assert go(existing=OnExisting.SKIP, options="p", weights="x") == []
    assert (go.out / "20.png").read_bytes() == b"precious"


def test_a_file_that_is_not_ours_is_refused_beside_those_that_are(go, image):
    go()
    image("p/40.png", (40, 16))
    (go.out / "40.png").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"exists? already, the first is .*40\.png"):
        go()


def test_a_changed_mask_counts_as_a_changed_input(go, tmp_path):
    def save(column):
        mask = np.zeros((16, 20), np.uint8)
        mask[:, column] = 255
        Image.fromarray(mask).save(tmp_path / "mask.png")

    for name in ("21.png", "22.png", "23.png"):
        (go.inputs / name).unlink()
    source = masks.OneFile(tmp_path / "mask.png")
    save(3)
    assert go(holes=source) == [20]
    assert go(holes=source) == []
    save(4)
    assert go(holes=source) == [20]


def test_a_lost_image_of_the_weights_is_made_again(go, tmp_path):
    assert go(maps_dir=tmp_path / "maps") == [20, 21, 22, 23]
    (tmp_path / "maps" / "22.png.weights.png").unlink()
    assert go(maps_dir=tmp_path / "maps") == [22]
    assert (tmp_path / "maps" / "22.png.weights.png").exists()


def test_an_output_whose_journal_line_was_lost_in_a_kill_is_ours(go):
    """Between the rename and the line lies only the claim, which a killed process leaves behind."""
    trees = Trees(Settings("o"), resume=True, replace=False)
    plan = make_plan([go.inputs], Naming("sr-x2", go.out), Selection(), OnExisting.REFUSE)
    job = plan.jobs[1]
    claim = trees.claim(job, [job.target])
    os.close(claim.handle)  # as the end of the process does
    job.target.write_bytes(b"whole, but without a line")
    leftover = atomic.sibling(job.target)
    leftover.write_bytes(b"half")
    theirs = job.target.with_name(".21.png.notours.adacode-part")
    theirs.write_bytes(b"")
    assert go() == [20, 21, 22, 23]
    assert not leftover.exists()
    assert theirs.exists()
    assert not list((go.out / CLAIMS).iterdir())


def test_what_another_process_has_claimed_is_left_to_it_and_looked_at_again(go):
    other = Trees(Settings("o"), resume=True, replace=False)
    plan = make_plan([go.inputs], Naming("sr-x2", go.out), Selection(), OnExisting.REFUSE)
    claim = other.claim(plan.jobs[0], [plan.jobs[0].target])
    living = atomic.sibling(plan.jobs[0].target)
    with living.open("wb") as file:
        assert locks.lock(file.fileno(), wait=False)
        computed = []
        runner = threading.Thread(target=lambda: computed.extend(go()))
        runner.start()
        while not (go.out / "23.png").exists():
            runner.join(0.05)
        assert not (go.out / "20.png").exists()
        assert living.exists()  # its owner is alive
        claim.release()  # without having done it: it failed there
        runner.join(60)
    assert computed == [21, 22, 23, 20]


def test_the_journal_says_what_a_refused_replacement_would_have_been_made_of(go, image):
    source = image("q/20.png", (35, 16), seed=3)
    assert len(another_roll(go, source).failed) == 1
    line = json.loads((go.out / JOURNAL).read_text().splitlines()[-1])
    assert (line["outcome"], line["path"]) == ("failed", str(source))
    assert line["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert line["source_bytes"] == source.stat().st_size


def test_what_another_process_did_meanwhile_is_not_done_twice_even_when_starting_over(go):
    ours = Trees(Settings("o", "w"), resume=False, replace=True)
    plan = make_plan([go.inputs], Naming("sr-x2", go.out), Selection(), OnExisting.REFUSE)
    ours.begin(plan.roots)
    ours.with_weights("w", plan.jobs)
    assert go() == [20, 21, 22, 23]
    stages = Stages(lambda image, mask: pytest.fail("computed twice"))
    assert run(plan, LocalExecutor(stages), on_event=lambda _event: None, trees=ours).skipped == 4
