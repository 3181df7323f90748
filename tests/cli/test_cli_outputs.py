"""What is said before anything is computed: outputs that exist, places that cannot be outputs, and missing masks."""

from __future__ import annotations

import sys

import pytest

W = ("--weights", "nearest")


@pytest.mark.parametrize(
    ("words", "existing"), [("orig/a.png -o orig/b.png", "orig/b.png"), ("orig/a.png -o photos2", "photos2/a.png")]
)
def test_one_output_that_may_be_a_photograph_is_not_said_to_be_a_result(adacode, photo, words, existing):
    photo("orig/a.png")
    before = photo(existing).read_bytes()
    result = adacode("sr", *words.split(), *W)
    messages = result.stderr.decode()
    assert (result.returncode, f"error: {existing}: exists already" in messages) == (6, True)
    hint = (
        "No record says that adacode made it: choose another name or directory with -o. --overwrite would replace it."
    )
    assert hint in " ".join(messages.split())
    assert "others" not in messages
    assert "again" not in messages
    assert photo(existing).read_bytes() == before


def test_some_outputs_that_may_be_photographs(adacode, photo):
    for name in ("in/a.png", "in/b.png", "in/c.png", "out/a.png", "out/b.png"):
        photo(name)
    result = adacode("sr", "in", "-o", "out", *W)
    messages = " ".join(result.stderr.decode().split())
    assert result.returncode == 6
    assert "2 of 3 outputs exist already, the first is out/a.png" in messages
    assert "No record says that adacode made them: " in messages
    assert "--skip-existing restores only the others. --overwrite would replace them." in messages


def test_an_output_of_a_pipe_that_exists(adacode, photo):
    data = photo("a.png").read_bytes()
    photo("b.png")
    result = adacode("sr", "-", "-o", "b.png", *W, stdin=data)
    assert result.returncode == 6
    assert b"Choose another place with -o. --overwrite would replace the file that is there." in result.stderr


def test_a_hyphen_as_output_is_refused(adacode, photo, tmp_path):
    data = photo("in/a.png").read_bytes()
    for source, stdin in (("in/a.png", b""), ("-", data)):
        for words in (("-o", "-"), ("-o-",), ("--output", "-"), ("--output=-",)):
            result = adacode("sr", source, *words, *W, stdin=stdin)
            messages = result.stderr.decode()
            assert (result.returncode, result.stdout) == (2, b""), messages
            assert "error: -o - does not mean standard output" in messages
            assert "leave out -o: adacode … - < a.png > b.png" in messages
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    by_variable = adacode("sr", "in/a.png", *W, ADACODE_SR_OUTPUT="-")
    assert by_variable.returncode == 2
    named = adacode("sr", "in/a.png", "-o", "./-", *W)
    assert (named.returncode, (tmp_path / "-" / "a.png").is_file()) == (0, True)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_file_in_the_way_of_the_output_directory(adacode, photo, tmp_path, more):
    photo("a.png")
    (tmp_path / "afile").write_bytes(b"kept")
    result = adacode("sr", "a.png", "-o", "afile/sub", *W, *more)
    messages = result.stderr.decode()
    words = "error: afile/sub: the directory cannot be created: a file is where a directory should be"
    assert (result.returncode, words in messages, "disk space" in messages) == (6, True, False), messages
    assert (tmp_path / "afile").read_bytes() == b"kept"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is a directory of Linux")
def test_a_file_system_that_takes_no_directory(adacode, photo):
    photo("a.png")
    result = adacode("sr", "a.png", "-o", "/proc/x", *W)
    messages = result.stderr.decode()
    assert (result.returncode, "error: /proc" in messages, "disk space" in messages) == (6, True, False), messages
    assert "journal" not in messages


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_mask_that_is_missing_is_reported_before_the_weights_are_loaded(adacode, photo, tmp_path, more):
    data = photo("in/a.png").read_bytes()
    photo("hole.png")
    counted = tmp_path / "counted"
    for source, stdin in (("in", b""), ("-", data)):
        run = ("inpaint", source, "--weights", "counted", *more)
        result = adacode(*run, "--mask", "hole.pgn", stdin=stdin, COUNTED=str(counted))
        messages = result.stderr.decode()
        assert (result.returncode, "error: hole.pgn: there is no such mask" in messages) == (3, True), messages
        assert "Did you mean --mask hole.png? Nothing was restored." in messages
        as_folder = adacode(*run, "--mask", "in", stdin=stdin, COUNTED=str(counted))
        assert as_folder.returncode == 3
        assert b"error: in: the mask is a directory" in as_folder.stderr
        assert b"use --mask-dir in." in as_folder.stderr
    assert not counted.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hole.png", "in"]


@pytest.mark.parametrize("name", ["new.gif", "out/new.PSD", "new.pdf", "new.cr2", "new.jxl", "new.mpo"])
def test_an_image_of_a_kind_that_is_not_written_is_no_directory(adacode, photo, tmp_path, name):
    photo("in/a.png")
    result = adacode("sr", "in/a.png", "-o", name, *W)
    messages = " ".join(result.stderr.decode().split())
    suffix = name[-4:]
    assert (result.returncode, f"error: -o {name}: {suffix} files cannot be written" in messages) == (2, True), messages
    assert "Choose a name that ends in .jpg, .png, " in messages
    assert f"For a directory of this name, write -o {name}/." in messages
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_directory_may_have_such_a_name(adacode, photo, tmp_path):
    photo("in/a.png")
    assert adacode("sr", "in/a.png", "-o", "new.gif/", *W).returncode == 0
    assert (tmp_path / "new.gif" / "a.png").is_file()
    again = adacode("sr", "in/a.png", "-o", "new.gif", *W)
    assert (again.returncode, b"1 skipped" in again.stderr) == (0, True)


def test_a_part_without_files_says_so(adacode, photo, tmp_path):
    photo("in/a.png")
    parts = [adacode("sr", "in", "-o", "out", "--shard", f"{part}/2", "--dry-run", *W) for part in (1, 2)]
    assert sorted(len(result.stdout.splitlines()) for result in parts) == [0, 1]
    empty, full = sorted(parts, key=lambda result: len(result.stdout))
    part = 1 + parts.index(empty)
    note = (
        f"part {part} of 2: the only file is not in it (parts are chosen by the paths of the files, and are about equal"
    )
    assert note in " ".join(empty.stderr.decode().split())
    assert empty.stderr.decode().splitlines()[-1] == "to restore: nothing"
    assert b"parts are chosen" not in full.stderr
    run = adacode("sr", "in", "-o", "out", "--shard", f"{part}/2", *W)
    assert (run.returncode, note in " ".join(run.stderr.decode().split())) == (0, True)
    as_json = adacode("sr", "in", "-o", "out", "--shard", f"{part}/2", "--dry-run", "--json", *W)
    assert (as_json.returncode, as_json.stdout, as_json.stderr) == (0, b"", b"")
    several = [f"in/{number}.png" for number in range(40)]
    for name in several:
        photo(name, (2, 2))
    both = [adacode("sr", "in", "-o", "out", "--shard", f"{part}/2", "--dry-run", *W) for part in (1, 2)]
    assert all(b"files is in it" not in result.stderr for result in both)
    assert sum(len(result.stdout.splitlines()) for result in both) == 41


def test_a_dry_run_without_work_has_a_conclusion(adacode, photo):
    photo("in/a.png")
    assert adacode("sr", "in", "-o", "out", *W).returncode == 0
    again = adacode("sr", "in", "-o", "out", "--dry-run", *W)
    assert (again.returncode, again.stdout) == (0, b"")
    assert again.stderr.decode().splitlines()[-1] == "to restore: nothing"
    assert adacode("sr", "in", "-o", "out", "--dry-run", "--quiet", *W).stderr == b""
