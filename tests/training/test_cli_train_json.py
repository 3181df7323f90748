"""`--json` of training commands and of `weights`: programs read all of it, and people nothing beside it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from finished_run import save_run
from jsonschema import Draft202012Validator
from training_commands import QUICK, ROOT, adacode, ended, environment, started

from adacode_cli.checkpoints.format import read_weights, write_weights

SMALL = ["network.channels=16,24", "network.code_dim=8", "network.fuse_depth=1", "network.decoder_depth=1"]
NO_LOSS = ("--perceptual", "", "--perceptual-weight", "0")
SETTINGS = [*QUICK[2:], "--codes", "16,24", *(word for name in SMALL for word in ("--set", name)), *NO_LOSS]


def documented() -> dict[str, set[str]]:
    """Event → its fields, from the table in docs/json.md."""
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8").partition("## `adacode train … --json`")[2]
    rows = [line.split("|") for line in text.partition("## ")[0].splitlines() if line.startswith("| `")]
    values = {"basis", "fuse", "restore", "all", "detect", "prior", "NAME.jsonl"}
    return {row[1].strip(" `"): set(row[3].split("`")[1::2]) - values for row in rows}


def events_of(out: str) -> list[dict]:
    events = [json.loads(line) for line in out.splitlines()]
    known, schema = documented(), json.loads((ROOT / "docs" / "training-events.schema.json").read_text())
    for event in events:
        Draft202012Validator(schema).validate(event)
        assert out.isascii()
        assert {*event} - {"event"} == known[event["event"]], event
    return events


def test_events_of_a_run_that_is_stopped_continued_and_finished(shards, tmp_path):
    run = tmp_path / "run"
    command = ["train", "basis", shards, "-o", run, *SETTINGS, "--set", "start_share=0", "--json"]
    code, out, err = ended(started(*command, "--steps", "1000000", "--time-limit", "0.01s"))
    assert (code, err) == (75, "")
    events = events_of(out)
    assert [event["event"] for event in events] == [
        "training-started",
        "stage-started",
        "step-logged",
        "training-finished",
    ]
    assert (events[0]["command"], events[0]["device"], events[0]["output"]) == ("basis", "cpu", str(run))
    assert (events[1]["name"], events[1]["steps"]) == ("basis-ground", 500_000)
    assert {"total", "pixel", "images_per_s", "learning_rate"} <= events[2]["values"].keys()
    done = events[2]["step"]
    last = {"stopped": "basis-ground", "checkpoint": str(run / "basis-ground.checkpoint"), "exit_code": 75}
    assert {key: events[3][key] for key in last} == last
    code, out, err = ended(started(*command, "--steps", 2 * (done + 1), "--resume"))
    assert (code, err) == (0, "")
    finished = [event["path"] for event in events_of(out) if event["event"] == "stage-finished"]
    assert finished == events_of(out)[-1]["written"] == [str(run / f"basis-{c}.safetensors") for c in ("ground", "sky")]
    code, out, err = ended(started(*command, "--steps", 2 * (done + 1), "--resume"))
    assert (code, err) == (0, "")
    names = [event["event"] for event in events_of(out)]
    assert names == ["training-started", *["note", "stage-kept"] * 2, "training-finished"]
    code, out, err = ended(started(*command, "--steps", 2, "--resume", "--seed", 3))
    assert (code, err) == (8, "")
    failure = json.loads(out.splitlines()[-1])
    Draft202012Validator(json.loads((ROOT / "docs" / "training-events.schema.json").read_text())).validate(failure)
    assert (failure["event"], failure["error"]["kind"], failure["error"]["exit_code"]) == ("error", "training", 8)


def test_an_interruption_is_the_last_event(shards, tmp_path):
    command = ["train", "detect", shards, "-o", tmp_path / "marks.safetensors", "--patch", "64", "--batch", "1"]
    process = started(*command, "--threads", "1", "--json")
    first = process.stdout.readline()
    assert json.loads(first)["event"] == "training-started"
    while "step-logged" not in (line := process.stdout.readline()):
        assert process.poll() is None, line
    process.send_signal(signal.SIGINT)
    code, out, _ = ended(process)
    assert code == 130
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["exit_code"], last["stopped"]) == ("training-finished", 130, "detect")
    assert last["checkpoint"] == str(tmp_path / "marks.checkpoint")
    assert Path(last["checkpoint"]).is_file()


def test_a_detector_and_a_prior_say_what_they_wrote_and_what_they_kept(shards, tmp_path):
    marks = tmp_path / "marks.safetensors"
    command = ["train", "detect", shards, "-o", marks, "--patch", "64", "--batch", "1", "--steps", "2", "--json"]
    for again, written in (((), [str(marks)]), (("--resume",), [])):
        code, out, err = ended(started(*command, *again))
        assert (code, err) == (0, "")
        events = events_of(out)
        assert events[-1]["written"] == written
    kept = [event for event in events if event["event"] == "stage-kept"]
    assert kept == [{"event": "stage-kept", "name": "detect", "path": str(marks)}]
    fused, prior = save_run(tmp_path / "run") / "fused.safetensors", tmp_path / "tiny-prior.safetensors"
    code, out, err = ended(started("train", "prior", shards, "--fused", fused, "-o", prior, "--steps", "2", "--json"))
    assert (code, err) == (0, "")
    events = events_of(out)
    assert (events[0]["command"], events[-1]["written"]) == ("prior", [str(prior)])
    logged = [event for event in events if event["event"] == "step-logged"]
    assert {event["name"] for event in logged} == {"codes", "mixing weights"}
    assert all(event["values"]["bits"] > 0 for event in logged)


def printed(capfd, *arguments: object) -> dict:
    """The one object that a command prints; nothing may be on standard error."""
    capfd.readouterr()
    adacode(*arguments, "--json")
    out, err = capfd.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return json.loads(out)


def test_prepare_and_report_print_one_object(photos, shards, tmp_path, capfd):
    found = printed(capfd, "train", "prepare", photos, "-o", tmp_path / "shards", "--crop", 64)
    manifest = json.loads(Path(found["manifest"]).read_text())
    assert found["categories"] == manifest["categories"]
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "shards").glob("*.tar"))
    assert found["left_out"]["categories"] == {}
    run = tmp_path / "run"
    adacode("train", "basis", shards, "-o", run, *SETTINGS, "--steps", 2, "--quiet")
    found = printed(capfd, "train", "report", run)
    assert found == {"version": 1, "files": [str(run / "report.html"), str(run / "report.png")], "notes": []}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    return save_run(tmp_path_factory.mktemp("finished"))


def test_what_weights_are_made_of_is_printed_as_objects(finished_run, tmp_path, capfd):
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (run / "inpaint.safetensors").rename(run / "inpaint.checkpoint")
    made = printed(capfd, "weights", "bundle", run, "-o", tmp_path / "mine")
    assert made["family"] == "mine"
    assert Path(made["files"][0]).name == "mine-basis.safetensors"
    assert made["notes"] == [f"left out: {run / 'inpaint.checkpoint'}: the training of inpaint has not ended"]
    own = tmp_path / "mine" / "mine-sr-x4.safetensors"
    mean = printed(capfd, "weights", "average", own, own, "--share", 0.5, "-o", tmp_path / "mean.safetensors")
    assert mean["file"] == str(tmp_path / "mean.safetensors")
    assert mean["missing"] == ["mine-basis.safetensors", "mine-fused.safetensors"]
    assert mean["means"] > 0
    weights = read_weights(run / "sr-x4.safetensors")
    key = next(key for key in weights.tensors if key.startswith("encoder."))
    noisy = replace(weights, tensors=weights.tensors | {key: weights.tensors[key] + 0.5})
    write_weights(tmp_path / "noisy.safetensors", noisy)
    whole, pair = run / "sr-x4.safetensors", tmp_path / "pair.safetensors"
    both = printed(capfd, "weights", "pair", whole, tmp_path / "noisy.safetensors", "-o", pair)
    assert (both["file"], both["differing"], both["missing"]) == (str(pair), 1, [])
    shown = printed(capfd, "weights", "show", own, "-o", tmp_path / "atlas.png")
    assert shown["atlas"] == str(tmp_path / "atlas.png")


def on_a_terminal(*arguments: object) -> tuple[int, str, bytes]:
    """Exit code, standard output, and what is shown on a terminal that is standard error."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "adacode_cli", *(str(a) for a in arguments)]
    process = subprocess.Popen(
        command, env=environment(TERM="xterm"), stdout=subprocess.PIPE, stderr=follower, text=True
    )
    os.close(follower)
    out, shown = process.communicate(timeout=300)[0], b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(leader)
    return process.returncode, out, shown


def test_a_terminal_shows_nothing_beside_the_objects(finished_run, shards, tmp_path):
    for arguments in (
        ("weights", "show", finished_run / "sr-x4.safetensors", "--device", "cpu"),
        ("train", "basis", shards, "-o", tmp_path / "run", *SETTINGS, "--steps", 1),
    ):
        code, out, shown = on_a_terminal(*arguments, "--json")
        assert (code, shown) == (0, b"")
        assert all(json.loads(line) for line in out.splitlines())
