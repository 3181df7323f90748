"""`--report` and `adacode view` as processes: what they write, what a later run adds, and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gallery_page import GALLERY, data_of, details_of, entries_of, images_in
from PIL import Image

ROOT = Path(__file__).parents[2]


def pictures(tree: Path) -> dict[str, int]:
    """The thumbnails of a gallery with the times at which they were written."""
    folder = tree / GALLERY / "pictures"
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.rglob("*.webp"))}


def lines(tree: Path) -> list[dict]:
    """The lines of the journal."""
    return [json.loads(line) for line in (tree / ".adacode" / "journal.jsonl").read_bytes().splitlines()]


def results(tree: Path) -> dict[str, bytes]:
    """The results in a tree."""
    return {path.name: path.read_bytes() for path in tree.iterdir() if path.is_file()}


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_a_run_makes_a_picture_and_an_entry_of_each_result(photo, restored, options):
    photo("photos/a.png", (40, 30), (200, 30, 20))
    photo("photos/sub/b.jpg", (24, 16))
    tree = restored(*options)
    found = entries_of(tree)
    assert set(found) == {"a.png", "sub/b.jpg"}
    entry = found["a.png"]
    assert (entry["width"], entry["height"], entry["resultWidth"], entry["resultHeight"]) == (40, 30, 160, 120)
    assert entry["change"] == 0
    assert entry["basis"] in ("architecture", "faces", "nature")
    assert (tree / GALLERY / entry["result"]).samefile(tree / "a.png")
    assert (tree / GALLERY / entry["original"]).samefile(tree.parent / "photos" / "a.png")
    with Image.open(tree / GALLERY / f"{entry['picture']}.webp") as picture:
        assert picture.size == (320, 120)
        red, green, blue = picture.convert("RGB").getpixel((80, 60))
    assert abs(red - 200) < 8
    assert abs(green - 30) < 8
    assert abs(blue - 20) < 8


def test_the_option_changes_no_result_and_no_journal(photo, adacode, tmp_path):
    photo("photos/a.png")
    photo("photos/b.jpg")
    for out, options in (("plain", ()), ("shown", ("--report",))):
        assert adacode("sr", "photos", "-o", out, "-w", "nearest", *options).returncode == 0
    assert results(tmp_path / "plain") == results(tmp_path / "shown")
    measured = {"time": 0, "seconds": 0, "peak_memory_bytes": 0}
    plain, shown = (
        {line["target"]: {**line, **measured} for line in lines(tmp_path / out)} for out in ("plain", "shown")
    )
    assert shown == plain
    assert not (tmp_path / "plain" / GALLERY).exists()


def test_a_later_run_makes_only_the_pictures_that_are_missing(photo, adacode, restored, tmp_path):
    for name in "abc":
        photo(f"photos/{name}.png")
    assert adacode("sr", "photos", "-o", "out", "-w", "nearest").returncode == 0
    journal = lines(tmp_path / "out")
    tree = restored()
    assert lines(tree) == journal  # nothing was restored again
    before = pictures(tree)
    assert len(before) == 3
    first, *others = before
    for path in (tree / GALLERY / "pictures").rglob(first):
        path.write_bytes(b"")  # as a crash of the machine may leave it
    restored()
    after = pictures(tree)
    assert after[first] != before[first]
    assert {name: after[name] for name in others} == {name: before[name] for name in others}
    assert all(entry["hasBefore"] for entry in entries_of(tree).values())


def test_a_result_that_is_made_again_has_a_new_picture(photo, restored):
    photo("photos/a.png", (20, 20), (200, 30, 20))
    photo("photos/b.png", (20, 20))
    tree = restored()
    old = entries_of(tree)["a.png"]
    photo("photos/a.png", (24, 24), (20, 30, 200))
    restored("--overwrite")
    new = entries_of(tree)["a.png"]
    assert new["picture"] != old["picture"]
    assert new["width"] == 24
    every = [entry for _, part in data_of(tree) for entry in part]
    assert len(every) == 2  # the lines on what was replaced are left out


def test_failures_are_entries_too(photo, restored):
    photo("photos/a.png")
    photo("photos/bad.png").write_bytes(b"no image at all\n")
    tree = restored(code=9)
    entry = entries_of(tree)["bad.png"]
    assert entry["outcome"] == "failed"
    assert entry["error"] == lines(tree)[[line["outcome"] for line in lines(tree)].index("failed")]["error"]
    assert entry["picture"] == ""
    (state,) = data_of(tree, "state")
    assert state[0]["report"]["failed"] == 1


def test_documents_alpha_depth_and_grey(photo, restored, tmp_path):
    import numpy as np
    import tifffile

    photo("photos/rgb.png")
    Image.new("RGBA", (20, 10), (10, 200, 30, 90)).save(tmp_path / "photos" / "alpha.png")
    Image.fromarray(np.full((10, 20), 40000, np.uint16)).save(tmp_path / "photos" / "deep.png")
    pages = np.random.default_rng(0).integers(0, 256, (3, 16, 12, 3), np.uint8)
    tifffile.imwrite(tmp_path / "photos" / "pages.tif", pages, photometric="rgb")
    tree = restored()
    found, details = entries_of(tree), details_of(tree)

    def side(name, which="before"):
        return details[found[name]["id"]][which]

    assert side("alpha.png")["alpha"] is True
    assert (side("deep.png")["bits"], side("deep.png")["grey"]) == (16, True)
    assert side("pages.tif", "after")["pages"] == 3
    assert found["pages.tif"]["result"] is None
    previews = [tree / GALLERY / f"{found['pages.tif']['picture']}-{one}.webp" for one in ("before", "after")]
    assert [Image.open(path).size for path in previews] == [(12, 16), (48, 64)]
    with Image.open(tree / GALLERY / f"{found['alpha.png']['picture']}.webp") as picture:
        assert abs(picture.getpixel((20, 20))[3] - 90) < 6


def test_reconstructions_from_codes_have_no_image_before(photo, tmp_path, bundled_network):
    photo("photos/a.png", (64, 48))
    adacode = bundled_network
    assert adacode("reconstruct", "photos", "-o", "one", "--save-codes", "codes", "--report").returncode == 0
    (known,) = details_of(tmp_path / "one").values()
    assert known["maps"] is True
    assert all(1 < basis["used"] <= basis["size"] for basis in known["basis"])
    done = adacode("reconstruct", "--from-codes", "codes", "-o", "two", "--report")
    assert done.returncode == 0, done.stderr.decode()
    (entry,) = entries_of(tmp_path / "two").values()
    assert entry["hasBefore"] is False
    assert entry["picture"]


@pytest.fixture
def bundled_network(tmp_path):
    """The program as it is, with the bundled weights."""
    from adacode_process import Program

    return Program(tmp_path, network=True)


def test_view_makes_the_page_of_a_run_without_report(photo, adacode, tmp_path):
    photo("photos/a.png", (40, 30))
    photo("photos/b.tif", (20, 20))
    assert adacode("sr", "photos", "-o", "out", "-w", "nearest").returncode == 0
    shown = adacode("view", "out", "--no-open", "--no-thumbnails")
    assert shown.returncode == 0, shown.stderr.decode()
    assert shown.stdout.decode() == f"{tmp_path / 'out' / GALLERY / 'index.html'}\n"
    assert [entry["picture"] for entry in entries_of(tmp_path / "out").values()] == ["", ""]
    assert adacode("view", "out", "--no-open").returncode == 0
    found = entries_of(tmp_path / "out")
    assert all(entry["picture"] and entry["hasBefore"] for entry in found.values())
    before = pictures(tmp_path / "out")
    assert adacode("view", "out", "--no-open").returncode == 0
    assert pictures(tmp_path / "out") == before


def test_view_opens_a_browser(photo, restored, adacode, tmp_path):
    photo("photos/a.png")
    tree = restored()
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    assert adacode("view", "out", BROWSER=str(browser)).returncode == 0
    assert (tmp_path / "opened").read_text().strip() == (tree / GALLERY / "index.html").as_uri()


def test_view_refuses_what_is_no_directory_of_results(photo, adacode, tmp_path):
    photo("photos/a.png")
    (tmp_path / "copy" / GALLERY).mkdir(parents=True)
    (tmp_path / "copy" / GALLERY / "index.html").touch()
    (tmp_path / "copy" / ".adacode" / "journal").mkdir()
    assert b"not an address" in adacode("view", "s3://museum/large", "--no-open").stderr
    wrong = {"photos": "holds no results of adacode", "nothing": "is not a directory", "copy": "holds no local journal"}
    for name, said in wrong.items():
        done = adacode("view", name, "--no-open")
        assert done.returncode == 3
        assert said in done.stderr.decode()
        assert ("--serve --masks DIR" in done.stderr.decode()) is (name == "photos")
    assert not (tmp_path / "photos" / ".adacode").exists()


def test_view_of_a_damaged_journal_shows_what_can_be_read(photo, restored, adacode):
    photo("photos/a.png")
    tree = restored()
    with (tree / ".adacode" / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"version":2,"target":7}\n{"version": 2, "tar\n\xff\xfe\n[1]\nnull\n{"version":2,"targ')
    assert adacode("view", "out", "--no-open").returncode == 0
    assert set(entries_of(tree)) == {"a.png"}


WITHOUT_WEBP = """
from PIL import Image, WebPImagePlugin

def refuse(*_):
    raise ValueError("this encoder is broken")

Image.register_save("WEBP", refuse)
"""


@pytest.mark.parametrize("processes", [(), ("--processes", "2")])
def test_a_picture_that_cannot_be_made_fails_no_file(photo, adacode, tmp_path, processes):
    """The encoder of thumbnails is broken in every interpreter that the run starts."""
    for name in ("a.png", "b.tif"):
        photo(f"photos/{name}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(WITHOUT_WEBP)
    fake = ROOT / "tests" / "cli" / "fake_program.py"
    words = [sys.executable, str(fake), "sr", "photos", "-o", "out", "-w", "nearest", *processes]
    from adacode_process import environment

    env = environment(PYTHONPATH=f"{tmp_path / 'broken'}{os.pathsep}{ROOT}")
    done = subprocess.run([*words, "--report"], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = entries_of(tmp_path / "out")
    assert {name: (one["outcome"], one["picture"]) for name, one in found.items()} == {
        "a.png": ("done", ""),
        "b.tif": ("done", ""),
    }
    assert all("this encoder is broken" in " ".join(one["notes"]) for one in found.values())
    again = subprocess.run([*words, "--report"], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr.decode()
    assert len(lines(tmp_path / "out")) == 2


def test_forged_facts_are_no_obstacle(photo, restored, adacode):
    """A tree may come from elsewhere; a later run and the page read what is written beside its thumbnails."""
    forged = [{"format": []}, {"format": 7}, {"format": {}, "pages": "x"}, {"histogram": [[{}], 1], "grey": "<b>"}]
    for number in range(len(forged)):
        photo(f"photos/{number}.png")
    tree = restored()
    paths = sorted((tree / GALLERY / "pictures").rglob("*.json"))
    for path, changes in zip(paths, forged, strict=True):
        facts = json.loads(path.read_bytes())
        path.write_text(json.dumps({**facts, "before": facts["before"] | changes, "after": facts["after"] | changes}))
    restored()
    assert adacode("view", "out", "--no-open").returncode == 0
    assert len(entries_of(tree)) == len(forged)
    for one in details_of(tree).values():
        assert isinstance(one["before"]["format"], str)
        assert isinstance(one["before"].get("pages", 1), int)
        assert isinstance(one["before"]["grey"], bool)


def test_a_link_in_the_place_of_the_page_is_refused(photo, adacode, tmp_path):
    photo("photos/a.png")
    (tmp_path / "out" / ".adacode").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / GALLERY).symlink_to(tmp_path / "elsewhere")
    done = adacode("sr", "photos", "-o", "out", "-w", "nearest", "--report")
    assert done.returncode == 6
    assert "is a link" in done.stderr.decode()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["app/vendor", "data", "pictures/00", "files"])
def test_a_link_in_the_page_is_not_followed(photo, restored, adacode, tmp_path, name):
    photo("photos/a.png")
    tree = restored()
    (tmp_path / "elsewhere").mkdir()
    place = tree / GALLERY / name
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to(tmp_path / "elsewhere")
    done = adacode("view", "out", "--no-open")
    assert done.returncode == 6
    assert "is a link" in done.stderr.decode()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("arguments", [("-",), ("photos/a.png", "-o", "b.png")])
def test_without_a_directory_of_results_there_is_no_page(photo, adacode, tmp_path, arguments):
    data = photo("photos/a.png").read_bytes()
    done = adacode("sr", *arguments, "-w", "nearest", "--report", stdin=data)
    assert done.returncode == 2
    assert "--report" in done.stderr.decode()
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("arguments", [("-",), ("photos/a.png", "-o", "b.png")])
def test_a_variable_asks_for_a_page_only_where_there_is_a_place(photo, adacode, tmp_path, arguments):
    data = photo("photos/a.png", (24, 16)).read_bytes()
    done = adacode("sr", *arguments, "-w", "nearest", stdin=data, ADACODE_SR_REPORT="1")
    assert done.returncode == 0, done.stderr.decode()
    (tmp_path / "stdout.png").write_bytes(done.stdout)
    with Image.open(tmp_path / ("stdout.png" if arguments == ("-",) else "b.png")) as image:
        assert image.size == (96, 64)


def test_a_dry_run_writes_no_page(photo, restored, tmp_path):
    photo("photos/a.png")
    restored("--dry-run")
    assert not (tmp_path / "out").exists()


def test_a_self_contained_page_can_be_moved(photo, restored, adacode, tmp_path):
    photo("photos/a.png", (40, 30))
    photo("photos/sub/b & c.jpg", (20, 20))
    tree = restored()
    done = adacode("view", "out", "--no-open", "--self-contained", "page")
    assert done.returncode == 0, done.stderr.decode()
    shutil.rmtree(tmp_path / "photos")
    originals = results(tree)
    shutil.rmtree(tree)
    moved = (tmp_path / "page").rename(tmp_path / "moved")
    for entry in entries_of(moved).values():
        assert (moved / f"{entry['picture']}.webp").is_file()
        assert (moved / entry["original"]).is_file()
        assert (moved / entry["result"]).is_file()
    assert (moved / entries_of(moved)["a.png"]["result"]).read_bytes() == originals["a.png"]


def test_a_page_of_results_that_may_not_be_changed_lies_elsewhere(photo, adacode, tmp_path):
    photo("photos/a.png", (40, 30))
    assert adacode("sr", "photos", "-o", "out", "-w", "nearest").returncode == 0
    (tmp_path / "out" / GALLERY).write_text("in the way")  # also for root, who may write into every directory
    done = adacode("view", "out", "--no-open")
    assert done.returncode == 6
    assert "--self-contained PAGE" in done.stderr.decode()
    done = adacode("view", "out", "--no-open", "--self-contained", "page")
    assert done.returncode == 0, done.stderr.decode()
    (entry,) = entries_of(tmp_path / "page").values()
    assert (tmp_path / "page" / f"{entry['picture']}.webp").is_file()
    assert entry["hasBefore"]
    assert (tmp_path / "out" / GALLERY).read_text() == "in the way"


def test_no_link_of_a_gallery_brings_another_file_into_a_page(photo, restored, adacode, tmp_path):
    photo("photos/a.png")
    (tmp_path / "secret").write_text("the content of another file")
    tree = restored()
    for path in (*(tree / GALLERY / "pictures").rglob("*.webp"), tree / GALLERY / "commands.json"):
        path.unlink()
        path.symlink_to(tmp_path / "secret")
    assert adacode("view", "out", "--no-open", "--self-contained", "page").returncode == 0
    for path in (tmp_path / "page").rglob("*"):
        assert path.is_dir() or b"the content of another" not in path.read_bytes()


def test_a_self_contained_page_replaces_no_other_files(photo, restored, adacode, tmp_path):
    photo("photos/a.png")
    restored()
    done = adacode("view", "out", "--no-open", "--self-contained", "photos")
    assert done.returncode == 6
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.png"]
    for _ in range(2):  # one that was made before is brought up to date
        assert adacode("view", "out", "--no-open", "--self-contained", "page").returncode == 0


def test_a_forged_journal_brings_no_other_file_into_a_page(photo, restored, adacode, tmp_path):
    photo("photos/a.png")
    secret = photo("secret.png", (7, 7))
    tree = restored()
    journal = tree / ".adacode" / "journal.jsonl"
    line = json.loads(journal.read_bytes())
    forged = [{**line, "target": "x.png", "path": str(secret)}, {**line, "target": "../secret.png"}]
    journal.write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in [line, *forged]))
    assert adacode("view", "out", "--no-open", "--self-contained", "page").returncode == 0
    copies = [path.read_bytes() for path in (tmp_path / "page").rglob("*") if path.is_file()]
    assert secret.read_bytes() not in copies


@pytest.mark.skipif(os.name == "nt", reason="the commands are for other shells on Windows")
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is absent")
def test_the_command_that_is_shown_makes_that_picture_again_and_no_other(photo, restored, tmp_path):
    names = ["a.png", "sub/a.png", "it's [1] *.png", "new\nline \\ $HOME.png", "\udcff.png", "déjà.png"]
    for name in names:
        photo(f"photos/{name}")
    tree = restored("--scale", "2", "--suffix", "-x", "--format", "png")
    program = tmp_path / "bin" / "adacode"
    program.parent.mkdir()
    fake = ROOT / "tests" / "cli" / "fake_program.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} "$@"\n')
    program.chmod(0o755)
    from adacode_process import environment

    env = environment(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}", LC_ALL="C.UTF-8")
    for target, entry in entries_of(tree).items():
        before = images_in(tree)
        command = details_of(tree)[entry["id"]]["command"]
        assert command.isprintable()
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path / "bin", env=env, capture_output=True, check=False)
        assert done.returncode == 0, (command, done.stderr.decode())
        changed = {path for path, time in images_in(tree).items() if before.get(path) != time}
        assert changed == {tree / target}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.filterwarnings("ignore:Tag data larger")
def test_damaged_exif_is_no_obstacle():
    import random

    from adacode_cli.batch.gallery.exif_text import exif_text

    exif = Image.Exif()
    exif[0x010F], exif[0x9286] = "Maker", b"ASCII\0\0\0words"
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    block = exif.tobytes()[6:]
    assert ("Make", "Maker") in exif_text(block)
    rng = random.Random(0)
    for _ in range(2000):
        damaged = bytearray(block)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        found = exif_text(bytes(damaged[: rng.randint(0, len(damaged))]))
        assert all(isinstance(name, str) and len(value) < 2000 for name, value in found)


def test_paths_of_windows_have_lists_and_commands():
    from adacode_cli.batch.gallery.again import base_of, command_for, list_command

    root, words = Path("large"), ["adacode", "sr"]
    path = r"D:\old photos\1931\a b.jpg"
    for source, base in (("1931/a b.jpg", r"D:\old photos"), ("a b.jpg", r"D:\old photos\1931")):
        assert base_of({"source": source, "path": path}) == base
    assert base_of({"source": "a.jpg", "path": r"D:\a.jpg"}) == "D:\\"
    assert base_of({"source": "1/b.jpg", "path": r"\\server\share\1\b.jpg"}) == "\\\\server\\share\\"
    for source in ("b.jpg", "x/a b.jpg", ""):
        assert base_of({"source": source, "path": path}) is None
    start = list_command(r"D:\old photos", root, words, windows=True)
    assert start.startswith('cd /d "D:\\old photos" && adacode sr --overwrite -o ')
    fields = {"source": "1931/a b.jpg", "path": path, "input": path}
    assert "(echo 1931/a b.jpg) | adacode sr" in command_for(fields, root, words, windows=True)
    risky = {key: value.replace("a b", "a&b") for key, value in fields.items()}
    assert command_for(risky, root, words, windows=True) is None


def test_a_name_begins_no_command_in_the_command_prompt_of_windows():
    from adacode_cli.batch.gallery.again import command_for, list_command

    root, words = Path("large"), ["adacode", "sr"]
    for name, quoted in (("a&calc", r'"D:\a&calc"'), ("a|b(c)", r'"D:\a|b(c)"'), ("a^", r'"D:\a^"'), ("a", r"D:\a")):
        base = f"D:\\{name}"
        assert list_command(base, root, words, windows=True).startswith(f"cd /d {quoted} && adacode sr ")
        fields = {"source": "1.jpg", "path": f"{base}\\1.jpg", "input": base}
        assert f" --overwrite {quoted} -o " in command_for(fields, root, words, windows=True)
    assert '"D:\\a&b\\\\" &&' in list_command("D:\\a&b\\", root, words, windows=True)
    for name in ('a"&calc&"', "%TEMP%", "a!b", "a\ncalc", "a\x1b[A", "a\u202eb"):
        assert list_command(f"D:\\{name}", root, words, windows=True) == ""
        fields = {"source": "1.jpg", "path": f"D:\\{name}\\1.jpg", "input": f"D:\\{name}"}
        assert command_for(fields, root, words, windows=True) is None
