"""`adacode weights pull` of several published checkpoints: one plan, and one question on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from terminal import CTRL_C, seen

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from loopback import FileServer, Reply
from small_checkpoints import save_pth, small_published

FILES = {
    "sr_x2": "AdaCode_SR_X2_model_g.pth",
    "sr_x4": "AdaCode_SR_X4_model_g.pth",
    "inpaint": "AdaCode_Inpaint_model_g.pth",
    "reconstruct": "AdaCode_S2_model_g.pth",
}
ENTRIES = ["published-sr-x2", "published-sr-x4", "published-inpaint", "published-reconstruct"]
QUESTION = "Download them?"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("published")
    return {file: save_pth(folder / file, small_published(name)).read_bytes() for name, file in FILES.items()}


@pytest.fixture
def server(checkpoints):
    with FileServer() as running:
        running.files |= {f"/v0/{file}": data for file, data in checkpoints.items()}
        yield running


@pytest.fixture
def settings(server, tmp_path) -> dict[str, str]:
    return {"ADACODE_RELEASE_BASE": f"{server.url}/v0", "ADACODE_CACHE": str(tmp_path / "cache"), "NO_PROXY": "*"}


def test_one_plan_names_sizes_licence_and_place_and_nothing_is_asked(real_adacode, settings, checkpoints, tmp_path):
    done = real_adacode("weights", "pull", "published", "--yes", **settings)
    assert done.returncode == 0, done.stderr.decode()
    plan = done.stderr.decode().splitlines()
    total = sum(map(len, checkpoints.values()))
    assert plan[0] == f"4 published checkpoints to download, {total / 1e6:.1f} MB together:"
    for line, name, data in zip(plan[1:5], ENTRIES, checkpoints.values(), strict=True):
        assert line.split() == [name, f"{len(data) / 1e6:.1f}", "MB"]
    assert plan[5] == (
        "licence: the authors' own; may be non-commercial, read it before use (https://github.com/kechunl/AdaCode)"
    )
    assert plan[6].startswith(f"The files are kept in {tmp_path / 'cache' / 'releases'}, ")
    assert QUESTION not in done.stderr.decode()
    paths = [Path(line) for line in done.stdout.decode().splitlines()]
    assert [path.stem for path in paths] == ENTRIES
    assert all(path.is_file() for path in paths)
    again = real_adacode("weights", "pull", "published", **settings)
    assert (again.returncode, again.stderr) == (0, b""), "what is here is not planned"


def test_a_server_that_tells_no_size_and_a_name_given_twice(real_adacode, settings, server):
    names = ("published-sr-x2", "published-inpaint", "published-sr-x2", "compact")
    server.faults["/v0/AdaCode_SR_X2_model_g.pth"] = [Reply(405)]
    done = real_adacode("weights", "pull", *names, **settings)
    assert done.returncode == 0, done.stderr.decode()
    plan = done.stderr.decode().splitlines()
    assert plan[0].startswith("2 published checkpoints to download, at least ")
    assert plan[1] == "  published-sr-x2    size unknown"


def test_one_checkpoint_needs_no_plan(real_adacode, settings):
    done = real_adacode("weights", "pull", "published-sr-x2", **settings)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_terminal_asks_once_and_no_means_that_nothing_is_fetched(real_adacode, settings, server, columns, tmp_path):
    answers = [b"n\r"]

    def answer(lines: list[str]) -> bytes | None:
        return answers.pop() if answers and any(QUESTION in line for line in lines) else None

    found = seen(real_adacode, "weights", "pull", "published", columns=columns, look=answer, env=settings)
    assert found.returncode == 130
    # The answer may be there before the blank behind the question.
    assert found.last[-1].strip() == "nothing was downloaded"
    assert sum(QUESTION in line for line in found.last) == 1
    assert max(map(len, found.last)) <= columns
    assert {request.method for request in server.requests} == {"HEAD"}
    assert not list((tmp_path / "cache").glob("releases/*.pth"))


def test_ctrl_c_at_the_question_ends_it(real_adacode, settings, server):
    keys = [CTRL_C]

    def answer(lines: list[str]) -> bytes | None:
        return keys.pop() if keys and any(QUESTION in line for line in lines) else None

    found = seen(real_adacode, "weights", "pull", "published", columns=80, look=answer, env=settings)
    assert found.returncode == 130
    assert server.gets() == []


def test_yes_on_a_terminal_asks_nothing(real_adacode, settings):
    names = ("published-sr-x2", "published-inpaint")
    found = seen(real_adacode, "weights", "pull", *names, "--yes", columns=80, env=settings)
    assert found.returncode == 0
    assert not any(QUESTION in line for picture in found.pictures for line in picture)
