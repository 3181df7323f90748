"""`adacode compare`: several results of the same inputs in one page."""

from __future__ import annotations

from gallery_page import entries_of


def test_each_directory_is_beside_the_first_one(photo, adacode, page, tmp_path):
    for folder, color in (("ours", (200, 30, 20)), ("theirs", (20, 40, 210)), ("third", (30, 160, 40))):
        photo(f"{folder}/sub/a.png", (160, 120), color)
        photo(f"{folder}/b.jpg", (80, 60), color)
    photo("ours/only here.png")
    done = adacode("compare", "ours", "theirs", "third", "-o", "page", "--no-open")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == f"{tmp_path / 'page' / 'index.html'}\n"
    assert sorted(entries_of(tmp_path / "page")) == [
        *("theirs/b.jpg", "theirs/sub/a.png"),
        *("third/b.jpg", "third/sub/a.png"),
    ]
    page.open(tmp_path / "page")
    page.browser_page.locator("#folder").select_option("third")
    page.show("a.png")
    assert page.browser_page.locator("#corner-before").inner_text() == "ours"
    assert page.browser_page.locator("#corner-after").inner_text() == "third"
    pixels = page.pixels()
    row = pixels[pixels.shape[0] // 3]
    assert tuple(row[len(row) // 4]) == (200, 30, 20)
    assert tuple(row[3 * len(row) // 4]) == (30, 160, 40)
    heads = page.browser_page.locator("#info thead th").all_inner_texts()
    assert heads == ["Property", "ours", "third"]


def test_suffixes_may_differ_and_what_cannot_be_read_is_said(photo, adacode, tmp_path):
    photo("one/x/out/a.png", (40, 30))
    photo("two/x/out/a.jpg", (40, 30))
    photo("one/x/out/b.png")
    photo("two/x/out/b.png").write_bytes(b"no image\n")
    done = adacode("compare", "one/x/out", "two/x/out", "-o", "page", "--no-open")
    assert done.returncode == 0, done.stderr.decode()
    found = entries_of(tmp_path / "page")
    assert found["a.png"]["sides"] == ["one/x/out", "two/x/out"]
    assert found["b.png"]["outcome"] == "failed"
    assert "no image" in found["b.png"]["error"]
    assert adacode("compare", "one/x/out", "two/x/out", "-o", "page", "--no-open").returncode == 0


def test_files_that_differ_in_their_suffixes_alone_are_all_compared(photo, adacode, tmp_path):
    for folder, color in (("ours", (200, 30, 20)), ("theirs", (20, 40, 210))):
        photo(f"{folder}/a.png", (40, 30), color)
        photo(f"{folder}/a.jpg", (20, 10), color)
    done = adacode("compare", "ours", "theirs", "-o", "page", "--no-open")
    assert done.returncode == 0, done.stderr.decode()
    found = entries_of(tmp_path / "page")
    assert {name: (one["width"], one["resultWidth"]) for name, one in found.items()} == {
        "a.png": (40, 40),
        "a.jpg": (20, 20),
    }


def test_what_cannot_be_compared_is_refused(photo, adacode, tmp_path):
    photo("one/a.png")
    photo("two/b.png")
    for arguments, code, said in (
        (("one", "-o", "page"), 2, "only one directory"),
        (("one", "nothing", "-o", "page"), 3, "is not a directory"),
        (("one", "two", "-o", "page"), 3, "has no image that is in two too"),
        (("one", "one", "two", "-o", "page"), 3, "has no image that is in two too"),
        (("one", "one", "-o", "s3://museum/page"), 6, "is an address"),
        (("one", "two", "-o", "one/page"), 6, "lies in one"),
        (("one", "two", "-o", "two"), 6, "holds files that are not of a page"),
    ):
        done = adacode("compare", *arguments, "--no-open")
        assert done.returncode == code, done.stderr.decode()
        assert said in done.stderr.decode()
    assert not (tmp_path / "page").exists()
