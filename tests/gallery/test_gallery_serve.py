"""`adacode view --serve`: who gets an answer, what is served, and judgements that are kept in the output tree."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import stat
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from adacode_process import Program, write_noise
from gallery_page import GALLERY, TIMEOUT_S, data_of, entries_of
from gallery_server import served

JUDGEMENTS = ".adacode/judgements.jsonl"


def judgements(tree) -> list[tuple[str, str]]:
    """(output, judgement) of each line."""
    lines = map(json.loads, (tree / JUDGEMENTS).read_bytes().splitlines())
    return [(line["target"], line["mark"]) for line in lines]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(the program, the tree of a run whose files have hostile names, a server of it)."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("a.png", "b.png", "sub/c.png", "<script>alert(1)</script>.png".replace("/", "-"), "linked.png"):
        write_noise(folder / "photos", name)
    program = Program(folder, network=False)
    done = program("sr", "photos", "-o", "out", "-w", "nearest", "--report")
    assert done.returncode == 0, done.stderr.decode()
    with served(program, "out") as server:
        yield program, folder / "out", server


def test_who_does_not_know_the_address_gets_nothing(run):
    _, _, server = run
    host = f"127.0.0.1:{server.port}"
    wrong = server.start[:-2] + ("A" if server.start[-2] != "A" else "B") + "/"
    assert server.status("GET", "") == 200
    assert len(server.start) > 30
    for path in ("/", "/index.html", wrong, f"{wrong}data/state.js", server.start[:-1]):
        status, _, body = server.ask("GET", "", path=path)
        assert (status, b"adacode view" in body) == (403, True), path
    for name in ("", f"localhost:{server.port}"):
        assert server.status("GET", "", Host=name or host) == 200
    others = [
        "",
        "127.0.0.1",
        "localhost",
        "evil.example",
        f"evil.example:{server.port}",
        f"127.0.0.1.evil:{server.port}",
    ]
    others += [f"127.0.0.1:{server.port + 1}", f"0.0.0.0:{server.port}", f"[::1]:{server.port}"]
    assert {name: server.status("GET", "", Host=name) for name in others} == dict.fromkeys(others, 403)
    assert b" 403 " in server.raw(f"GET {server.start} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n".encode())
    for origin in (
        "http://evil.example",
        "null",
        "https://" + host,
        f"http://localhost:{server.port}",
        "http://127.0.0.1",
    ):
        assert server.status("GET", "data/state.js", Origin=origin) == 403, origin
        assert server.post_json("judge", {}, Origin=origin)[0] == 403
    assert server.status("GET", "data/state.js", Origin=f"http://{host}") == 200


def test_methods_bodies_and_headers(run):
    _, tree, server = run
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW"):
        status, headers, _ = server.ask(method, "judge")
        assert (status, headers["Allow"]) == (405, "GET, HEAD, POST")
        assert "Access-Control-Allow-Origin" not in headers
    status, headers, body = server.ask("HEAD", "")
    assert (status, body) == (200, b"")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    json_type = {"Content_Type": "application/json"}
    assert server.status("POST", "judge", b"x" * 5000, **json_type) == 413
    assert server.status("POST", "judge", b"", Content_Length="9" * 400, **json_type) == 413
    for length in ("-1", "1e3", "+5", "٣"):
        head = f"POST {server.start}judge HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {length}"
        assert b" 411 " in server.raw(f"{head}\r\n\r\n".encode())
    assert server.status("POST", "judge", b"{}", Content_Type="text/plain") == 415
    assert server.status("POST", "judge", b"{}", **json_type) == 400
    assert server.status("POST", "judge", b'{"id": "x", "line": 1, "mark": ["keep"]}', **json_type) == 400
    assert server.status("POST", "index.html", b"", Content_Type="application/octet-stream") == 404
    assert server.status("POST", "paint/000000000000/mask", b"", Content_Type="application/octet-stream") == 404
    assert not (tree / JUDGEMENTS).exists()


def test_only_files_of_records_are_served(run, tmp_path):
    program, tree, server = run
    _, _, script = server.ask("GET", "data/part-0.js")
    entries = {entry["target"]: entry for entry in json.loads(script[script.index(b",") + 1 : -3])}
    first = entries["a.png"]
    assert first["original"] == f"file/{first['id']}/original"
    status, headers, body = server.ask("GET", first["result"])
    assert (status, headers["Content-Type"], body) == (200, "image/png", (tree / "a.png").read_bytes())
    assert server.ask("GET", first["original"])[2] == (program.directory / "photos" / "a.png").read_bytes()
    assert (
        server.ask("GET", f"{first['picture']}.webp")[2] == (tree / GALLERY / f"{first['picture']}.webp").read_bytes()
    )
    picture = first["picture"]
    tricks = [
        *("../journal.jsonl", "%2e%2e/journal.jsonl", "app/../../journal.jsonl", "app/..%2f..%2fjournal.jsonl"),
        *("/etc/passwd", "file//etc/passwd", "file/%2fetc%2fpasswd/original", f"file/{first['id']}/../original"),
        *(f"file/{first['id']}/original/..", f"file/{'0' * 12}/original", "data/commands.json", "commands.json"),
        *(
            f"{picture}.json",
            f"{picture}.webp%00",
            f"pictures/../{picture}.webp",
            f"{picture}-/../../../x.png",
            f"pictures/aa/{'a' * 32}.webp",
        ),
        *(f"{picture}-before.webp", "paint.html", "paint/pictures.json", "app/paint.html", "app/", "data/part-1.js"),
    ]
    assert {name: server.status("GET", name) for name in tricks} == dict.fromkeys(tricks, 404)
    # Links, files that have changed, and what is no image.
    secret = tmp_path / "secret.png"
    secret.write_bytes((tree / "linked.png").read_bytes())
    (tree / "linked.png").unlink()
    (tree / "linked.png").symlink_to(secret)
    assert server.status("GET", entries["linked.png"]["result"]) == 404
    original = program.directory / "photos" / "linked.png"
    original.write_bytes(b"<html>not an image</html>")
    assert server.status("GET", entries["linked.png"]["original"]) == 404
    # A line that somebody has forged, without the digest of what it names.
    journal = tree / ".adacode" / "journal.jsonl"
    line = json.loads(journal.read_bytes().splitlines()[-1]) | {"target": "forged.png", "path": str(secret)}
    journal.write_bytes(journal.read_bytes() + json.dumps(line | {"source_sha256": None}).encode() + b"\n")
    end = time.monotonic() + TIMEOUT_S
    while b"forged.png" not in (script := server.ask("GET", "data/part-0.js")[2]):
        assert time.monotonic() < end
        assert server.status("GET", "data/state.js") == 200
    (forged,) = [one for one in json.loads(script[script.index(b",") + 1 : -3]) if one["target"] == "forged.png"]
    assert forged["original"] is None
    assert server.status("GET", f"file/{forged['id']}/original") == 404
    # A script that lies in the tree is not ours.
    app = tree / GALLERY / "app" / "main.js"
    app.write_text("alert('of somebody else')")
    (tree / GALLERY / "data" / "part-0.js").write_text("alert('of somebody else')")
    assert b"somebody else" not in server.ask("GET", "app/main.js")[2]
    assert b"somebody else" not in server.ask("GET", "data/part-0.js")[2]


def test_judgements_are_kept_in_the_tree_and_make_a_list(photo, restored, adacode, tmp_path, served_page, page):
    for name in "abc":
        photo(f"photos/{name}.png")
    tree = restored()
    with served(adacode, "out") as server:
        one = served_page(server.address)
        one.browser_page.wait_for_selector("a.card")
        press = one.browser_page.keyboard.press
        one.browser_page.locator("a.card").first.focus()
        press("k")
        press("ArrowRight")
        press("r")
        press("ArrowRight")
        press("d")
        press("d")  # again: it is taken back
        other = served_page(server.address)  # another browser, which was never here
        script = "[...document.querySelectorAll('a.card')].map((card) => card.dataset.judged)"
        other.until(f"{script}.join() === 'keep,redo,'")
        other.browser_page.locator("a.card").nth(2).focus()
        other.browser_page.keyboard.press("r")
        one.until("document.querySelectorAll('a.card')[2].dataset.judged === 'redo'")  # It sees it without a reload.
        one.browser_page.locator("#export-open").click()
        with one.browser_page.expect_download() as download:
            one.browser_page.locator("#export a.button").click()
        download.value.save_as(tmp_path / "redo.txt")
        shown = one.browser_page.locator("#export code").text_content()
        # A new picture of a run that begins now.
        one.browser_page.locator("#export-close").click()
        photo("photos/d.png")
        assert adacode("sr", "photos", "-o", "out", "-w", "nearest", "--report").returncode == 0
        one.browser_page.wait_for_selector("a.card:has-text('d.png')")
        one.show("d.png")  # original and result come from the server
        one.browser_page.close()
        other.browser_page.close()
    made = [("a.png", "keep"), ("b.png", "redo"), ("c.png", "doubtful"), ("c.png", ""), ("c.png", "redo")]
    assert judgements(tree) == made
    assert (tmp_path / "redo.txt").read_text() == "b.png\nc.png\n"
    page.open(tree)  # The page of files, which the last run has made.
    page.until(f"{script}.join() === 'keep,redo,redo,'")  # Judgements are loaded after the entries.
    page.browser_page.locator("a.card").nth(1).focus()
    page.browser_page.keyboard.press("r")  # The browser keeps that, and a later judgement counts before an earlier one.
    page.browser_page.reload()
    page.until(f"{script}.join() === 'keep,,redo,'")
    before = {path.name: path.stat().st_mtime_ns for path in tree.glob("*.png")}
    words = shlex.split(shown.split("&&")[1])
    done = Program(tmp_path / "photos", network=False)(*words[1:-1], str(tmp_path / "redo.txt"))
    assert done.returncode == 0, done.stderr.decode()
    after = {path.name: path.stat().st_mtime_ns for path in tree.glob("*.png")}
    assert {name for name in after if after[name] != before[name]} == {"b.png", "c.png"}
    assert adacode("view", "out", "--no-open").returncode == 0
    ((judged,),) = data_of(tree, "judged")
    lines = {entry["id"]: entry["line"] for entry in entries_of(tree).values()}
    marks = {key: one["mark"] for key, one in judged.items() if one["line"] == lines[key]}
    assert marks == {entries_of(tree)["a.png"]["id"]: "keep"}  # The others were about the results before.


def test_a_judgement_that_cannot_be_kept_is_reported(photo, restored, adacode, served_page, tmp_path):
    photo("photos/a.png")
    tree = restored()
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("of somebody else\n")
    (tree / JUDGEMENTS).symlink_to(elsewhere)
    shutil.rmtree(tree / GALLERY)  # As after a run without --report.
    with served(adacode, "out") as server:
        one = served_page(server.address)
        one.browser_page.wait_for_selector("a.card img")  # It is made while the page is served.
        one.browser_page.locator("a.card").first.focus()
        one.browser_page.keyboard.press("k")
        alert = one.browser_page.locator("#served-alert")
        alert.wait_for()
        assert "is a link" in alert.inner_text()
        one.until("document.querySelector('a.card').dataset.judged === ''")
        assert elsewhere.read_text() == "of somebody else\n"
        (tree / JUDGEMENTS).unlink()
        (tree / JUDGEMENTS).write_bytes(b'{"version":1,"torn')  # as a crash leaves it
        one.browser_page.keyboard.press("r")
        one.until("document.querySelector('#served-alert').hidden")
        assert [json.loads(line)["mark"] for line in (tree / JUDGEMENTS).read_bytes().splitlines()[1:]] == ["redo"]
        # No answer: the page asks no other program that may have the port then, and says it.
        one.browser_page.route("**/data/state.js*", lambda route: route.abort())
        one.until("adacode.store.gone && document.querySelector('#served-alert').textContent.includes('not answer')")
        one.browser_page.keyboard.press("k")
        one.until("document.querySelector('a.card').dataset.judged === 'redo'")
        assert len((tree / JUDGEMENTS).read_bytes().splitlines()) == 2
        one.browser_page.close()
        refusals = ("500", "ERR_FAILED")  # Chromium lists them.
        one.errors[:] = [error for error in one.errors if not any(said in error for said in refusals)]


def test_the_browser_gets_a_private_file_and_nobody_else_an_answer(photo, restored, adacode, tmp_path):
    photo("photos/a.png")
    restored()
    noted = tmp_path / "noted"
    browser = tmp_path / "browser.sh"
    browser.write_text(f'#!/bin/sh\nprintf %s "$*" > {noted}.part && mv {noted}.part {noted}\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    with served(adacode, "out", env={"BROWSER": f"{browser} %s"}, opens=True) as server:
        while not noted.exists():
            assert server.process.poll() is None
        words = noted.read_text()  # All users can read them.
        assert words.startswith("file://")
        assert not any(part and part in words for part in server.start.split("/"))
        opened = Path(unquote(urlsplit(words).path))
        assert [stat.S_IMODE(one.stat().st_mode) for one in (opened, opened.parent)] == [0o600, 0o700]
        assert f'url={server.address}"' in opened.read_text()
        assert {server.status("GET", "", path=f"/open/{part}") for part in ("", *opened.parts[1:])} == {403}
        busy = adacode("view", "out", "--serve", "--no-open", "--port", str(server.port))
        assert busy.returncode == 2
        assert f"port {server.port} of 127.0.0.1 cannot be used".encode() in busy.stderr
        # Connections of others, without the token, keep nobody out.
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port))).sendall(b"GET /")
            assert server.status("GET", "") == 200
    assert not opened.parent.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("out", "--port", "8000"), "--port has no effect without --serve"),
        (("out", "--masks", "masks"), "--masks has no effect without --serve"),
        (("out", "--serve", "--self-contained", "page"), "cannot be used together"),
        (("out", "--serve", "--masks", "s3://bucket/masks"), "--masks must be a local directory"),
    ],
)
def test_options_that_cannot_be_used_are_refused(adacode, tmp_path, words, said):
    (tmp_path / "out").mkdir()
    done = adacode("view", *words)
    assert done.returncode == 2, done.stderr.decode()
    assert said in done.stderr.decode()
    assert not os.path.lexists(tmp_path / "masks")
