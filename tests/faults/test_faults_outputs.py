"""Outputs that somebody else needs: of another folder with the same names, and those that were retouched since."""

from __future__ import annotations

from PIL import Image
from test_faults_disk import RUN, W, names, said


def test_another_folder_with_the_same_names(adacode, photo, tmp_path, table):
    photo("p/a.png")
    photo("q/a.png", (40, 30))
    photo("q/b.png")
    assert adacode(*RUN).returncode == 0
    kept = (tmp_path / "out" / "a.png").read_bytes()
    second = ("sr", "q", "-o", "out", *W)
    for options in ((), ("--dry-run",), ("--no-resume",)):
        result = adacode(*second, *options)
        assert (result.returncode, names(tmp_path / "out")) == (6, {"a.png"})
        assert (tmp_path / "out" / "a.png").read_bytes() == kept
    text = said(adacode(*second), "error: ").replace(f"{tmp_path}/", "")
    table.row("an output was made of another folder's image", 6, text, "nothing is done")
    assert adacode(*second, "--skip-existing").returncode == 0
    assert (names(tmp_path / "out"), (tmp_path / "out" / "a.png").read_bytes()) == ({"a.png", "b.png"}, kept)
    assert adacode(*second, "--overwrite").returncode == 0
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (160, 120)


def test_two_output_folders_that_are_one(adacode, photo, tmp_path, table):
    for name in ("p/a.png", "q/a.png"):
        photo(name)
    (tmp_path / "p-sr-x4").mkdir()
    (tmp_path / "q-sr-x4").symlink_to("p-sr-x4")
    first = None
    for options in ((), ("--overwrite",)):
        result = adacode("sr", "p", "q", *options, "--jobs", "1", *W)
        assert result.returncode == 9, result.stderr
        first = first or (tmp_path / "p-sr-x4" / "a.png").read_bytes()
        assert (tmp_path / "p-sr-x4" / "a.png").read_bytes() == first
        line = said(result, "failed: q/a.png")
        assert "made from another input" in line
        if not options:
            row = ("the output folder of one input is a link to another's", 9, line.replace(f"{tmp_path}/", ""))
            table.row(*row, "is done, the first of the two too")
            (tmp_path / "p-sr-x4" / ".adacode" / "journal.jsonl").unlink()


def test_an_output_that_somebody_has_retouched(adacode, photo, tmp_path, table):
    for name in "ab":
        photo(f"p/{name}.png")
    assert adacode(*RUN).returncode == 0
    with Image.open(tmp_path / "out" / "a.png") as image:
        image.rotate(180).save(tmp_path / "out" / "a.png")
    kept = (tmp_path / "out" / "a.png").read_bytes()
    result = adacode(*RUN)
    assert result.returncode == 0
    assert (tmp_path / "out" / "a.png").read_bytes() == kept
    assert "0 restored, 2 skipped" in result.stderr.decode()
    table.row("an output was changed since it was made", 0, said(result, "[1/2] p/a.png"), "is done; it is kept")
    events = adacode(*RUN, "--json").stdout.decode()
    assert "changed since it was made, kept" in events
    assert adacode(*RUN, "--overwrite", "--resume").returncode == 0
    assert (tmp_path / "out" / "a.png").read_bytes() != kept
