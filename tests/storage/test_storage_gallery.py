"""The page of a run whose outputs are in a real S3 server: the same as on a disk, and a browser opens it there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from faulty_proxy import Fault

sys.path.append(str(Path(__file__).parents[1] / "gallery"))
from gallery_page import GALLERY, Page, data_of, details_of, entries_of

COMMAND = ("sr", "s3://museum/scans", "-o", "s3://museum/large", "--report")


def download(store, folder: Path) -> Path:
    """A copy of the bucket in a new folder; returns the output tree in it."""
    shutil.rmtree(folder, ignore_errors=True)
    for key in store.keys(""):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(key))
    return folder / "large"


def pictures(store) -> list[str]:
    return [path for method, path in store.proxy.seen if method == "PUT" and "/pictures/" in path]


def test_the_page_in_a_store_is_that_of_a_disk(adacode, store, scans, tmp_path):
    scans("a.png", "1931/b.jpg", "c.png")
    assert adacode("sr", "photos", "-o", "wanted", "--report").returncode == 0
    result = adacode(*COMMAND, **store.env)
    assert result.returncode == 0, result.stderr
    tree = download(store, tmp_path / "museum")
    wanted, found = entries_of(tmp_path / "wanted"), entries_of(tree)
    assert set(found) == set(wanted) == {"a.png", "1931/b.jpg", "c.png"}
    known = {"line", "list", "original", "time", "seconds"}
    for name, entry in found.items():
        assert {**entry, **dict.fromkeys(known)} == {**wanted[name], **dict.fromkeys(known)}, name
        assert (tree / GALLERY / entry["original"]).samefile(tmp_path / "museum" / "scans" / name)
        assert (tree / GALLERY / entry["result"]).samefile(tree / name)
        for ending in (".webp", ".json"):
            picture = tree / GALLERY / f"{entry['picture']}{ending}"
            assert picture.read_bytes() == (tmp_path / "wanted" / GALLERY / f"{entry['picture']}{ending}").read_bytes()
    ((state,),) = data_of(tree, "state")
    assert (state["name"], state["running"], state["report"]["done"]) == ("large", False, 3)
    again = details_of(tree)[found["a.png"]["id"]]["command"]
    assert again.endswith("--overwrite s3://museum/scans -o s3://museum/large --include a.png --exclude '*/*'"), again
    types = {
        name: store.client.head_object(Bucket="museum", Key=f"large/.adacode/report/{name}")["ContentType"]
        for name in ("index.html", "app/main.js", "app/style.css", f"{found['a.png']['picture']}.webp")
    }
    assert list(types.values()) == ["text/html", "text/javascript", "text/css", "image/webp"]
    # A later run makes the pictures of which a file is missing, and restores nothing again.
    store.proxy.seen.clear()
    for name, ending in (("a.png", ".webp"), ("c.png", ".json")):
        store.client.delete_object(Bucket="museum", Key=f"large/.adacode/report/{found[name]['picture']}{ending}")
    later = adacode(*COMMAND, **store.env)
    assert later.returncode == 0, later.stderr
    assert b"3 skipped" in later.stdout + later.stderr
    for name, ending in (("a.png", ".webp"), ("c.png", ".json")):
        assert any(path.partition("?")[0].endswith(f"{found[name]['picture']}{ending}") for path in pictures(store))
    assert not any(found["1931/b.jpg"]["picture"] in path for path in pictures(store))
    entries = entries_of(download(store, tmp_path / "museum"))
    assert {name: one["picture"] for name, one in entries.items()} == {
        name: one["picture"] for name, one in wanted.items()
    }
    # A page that cannot be written is an error of the run, whose outputs are complete.
    store.proxy.faults.append(Fault("denied", "PUT", "index.html", times=99))
    denied = adacode(*COMMAND, **store.env)
    assert (denied.returncode, b"index.html" in denied.stderr) == (6, True), denied.stderr
    assert b"writing the page" in denied.stdout + denied.stderr


def test_a_browser_opens_the_page_in_the_store(adacode, store, scans, photo, tmp_path, chromium):
    scans("a.png", "1931/b.jpg")
    store.put("scans/bad.png", b"no image at all\n")
    # Originals elsewhere are not loaded: one of them is local.
    (tmp_path / "list.txt").write_text("s3://museum/scans/a.png\ns3://museum/scans/bad.png\nphotos/1931/b.jpg\n")
    run = ("sr", "--from-file", "list.txt", "-o", "s3://museum/large", "--report")
    assert adacode(*run, **store.env).returncode == 9
    entries = entries_of(download(store, tmp_path / "museum"))
    assert entries["photos/1931/b.jpg"]["original"] is None
    details = details_of(tmp_path / "museum" / "large")
    again = details[entries["museum/scans/a.png"]["id"]]["command"]
    assert "printf '%s\\0' s3://museum/scans/a.png | adacode sr" in again
    for key in store.keys(""):
        store.client.put_object_acl(Bucket="museum", Key=key, ACL="public-read")
    place = f"http://127.0.0.1:{store.port}/museum/large/.adacode/report/"
    page = Page(context := chromium.new_context())
    page.browser_page.goto(f"{place}index.html")
    page.browser_page.wait_for_selector("a.card")
    page.until("[...document.querySelectorAll('a.card img')].filter((one) => one.naturalWidth).length === 2")
    assert len(page.cards()) == 3
    page.show("a.png")  # Original and result are those in the bucket.
    assert f"http://127.0.0.1:{store.port}/museum/scans/a.png" in page.requests
    assert f"http://127.0.0.1:{store.port}/museum/large/museum/scans/a.png" in page.requests
    page.browser_page.keyboard.press("r")
    page.browser_page.keyboard.press("Escape")
    page.browser_page.locator("#export-open").click()
    assert "because their originals are at addresses: 1." in page.browser_page.locator("#export-lists").inner_text()
    context.close()
    assert not page.errors
