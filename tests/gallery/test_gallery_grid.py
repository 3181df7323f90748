"""The grid in a real browser: filters, order, keys, links, ten thousand pictures, and names that are hostile."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from adacode_process import default_signals
from gallery_page import GALLERY, data_of, entries_of
from PIL import Image

HOSTILE = [
    "<script>window.pwned=1<∕script>.png",
    "<img src=x onerror=window.pwned=1>.png",
    "\"'><svg onload=window.pwned=1>.png",
    "javascript:window.pwned=1.png",
    "a&lt;b&amp;c.png",
    "100%20%2e%2e.png",
    "#hash?query=1.png",
    "right\u202egnp.exe.png",
    "two\nlines\ttab.png",
    "back\\slash `tick` $(touch pwned) ${HOME}.png",
    "]]>--><!--.png",
    "emoji 😀 é 北京.png",
    "\udcff\udcfe not utf-8.png",
    "__proto__.png",
]


def select(page, name, value):
    page.browser_page.locator(f"#{name}").select_option(value)


@pytest.fixture
def mixed(photo, restored):
    """A tree with pictures in folders, a note and two failures."""
    for number in (1, 2, 10):
        photo(f"photos/img {number}.png", (10 * number, 10))
    photo("photos/1931/p.png", (50, 50))
    photo("photos/1931/may/q.png", (70, 30))
    photo("photos/1931x/r.png", (12, 12))
    photo("photos/cmyk.jpg", (20, 20))
    Image.new("CMYK", (20, 20), (10, 200, 100, 0)).save(photo("photos/cmyk.jpg"))
    for name in ("bad.jpg", "1931/worse.png"):
        photo(f"photos/{name}").write_bytes(b"This is not an image.\n")
    return restored(code=9)


def test_filters_sorting_and_search(mixed, page):
    page.open(mixed)
    everything = page.cards()
    assert everything[:4] == ["may/q.png"[4:], "p.png", "worse.png", "r.png"]
    assert [name for name in everything if name.startswith("img")] == ["img 1.png", "img 2.png", "img 10.png"]
    assert page.browser_page.locator("#count").text_content() == "9 pictures"
    select(page, "outcome", "failed")
    assert page.cards() == ["worse.png", "bad.jpg"]
    assert page.browser_page.locator("#count").text_content() == "2 of 9 pictures"
    page.browser_page.locator("a.card").nth(1).click()
    page.until("document.getElementById('message').textContent.includes('After: there is no result, because')")
    page.browser_page.keyboard.press("Escape")
    select(page, "folder", "1931")
    assert page.cards() == ["worse.png"]
    select(page, "outcome", "")
    assert page.cards() == ["q.png", "p.png", "worse.png"]
    page.browser_page.locator("#reset").click()
    assert page.cards() == everything
    select(page, "note", "any")
    assert page.cards() == ["cmyk.jpg"]
    select(page, "note", "none")
    assert len(page.cards()) == 8
    select(page, "note", "")
    select(page, "sort", "pixels")
    page.browser_page.locator("#down").check()
    assert page.cards()[:3] == ["p.png", "q.png", "img 10.png"]
    assert set(page.cards()[-2:]) == {"bad.jpg", "worse.png"}
    page.browser_page.keyboard.press("/")
    page.browser_page.keyboard.type("IMG 1")
    assert page.cards() == ["img 10.png", "img 1.png"]
    page.browser_page.locator("#q").fill("no such picture")
    assert page.browser_page.locator("#empty").inner_text() == "No picture matches these filters."


def test_a_link_has_filters_and_order(mixed, page):
    page.open(mixed)
    select(page, "folder", "1931")
    select(page, "sort", "seconds")
    address = page.browser_page.evaluate("location.hash")
    found = page.cards()
    page.browser_page.goto("about:blank")
    page.open(mixed, address)
    assert page.cards() == found
    assert page.browser_page.locator("#folder").input_value() == "1931"
    page.browser_page.evaluate("location.hash = ''")
    page.until("document.querySelectorAll('a.card').length === 9")


def test_a_failure_says_why(mixed, page):
    page.open(mixed)
    page.browser_page.locator("a.card", has_text="bad.jpg").click()
    page.browser_page.wait_for_selector("dialog[data-shown]")
    error = json.loads((mixed / ".adacode" / "report.json").read_text())["failures"][0]["error"]["message"]
    assert error in page.browser_page.locator("#info").inner_text()
    page.errors.clear()  # The browser reports an original that it cannot show.


def test_keys_move_in_the_grid(photo, restored, page):
    for number in range(12):
        photo(f"photos/{number:02}.png")
    page.open(restored())
    press = page.browser_page.keyboard.press

    def focused():
        return page.browser_page.evaluate("document.activeElement.querySelector('.caption')?.textContent")

    page.browser_page.locator("#skip").focus()
    press("Enter")
    assert focused() == "00.png"
    press("ArrowRight")
    assert focused() == "01.png"
    press("ArrowDown")
    below = focused()
    assert int(below[:2]) > 3
    press("ArrowUp")
    assert focused() == "01.png"
    press("End")
    assert focused() == "11.png"
    press("Home")
    assert focused() == "00.png"
    assert page.browser_page.locator("a.card[tabindex='0']").count() == 1
    press("b")
    assert page.browser_page.locator("#originals").is_checked()


def test_ten_thousand_pictures_are_few_elements(tmp_path, page):
    tree = many(tmp_path / "out", 10_000)
    page.open(tree)
    page.until("document.getElementById('count').textContent === '10,000 pictures'")

    def elements():
        return page.browser_page.evaluate("document.querySelectorAll('*').length")

    at_first = elements()
    assert at_first < 800
    for share in (0.1, 0.35, 0.5, 0.9):
        page.browser_page.evaluate(
            "share => { const one = document.getElementById('scroll'); one.scrollTop = share * one.scrollHeight; }",
            share,
        )
        page.settle()
        page.until(
            "() => { const box = document.getElementById('scroll').getBoundingClientRect();"
            " const card = document.elementFromPoint(box.left + 100, box.top + box.height / 2)?.closest('a.card');"
            " return card?.querySelector('img')?.naturalWidth > 0; }"
        )
        assert elements() < 800
    page.browser_page.locator("a.card").first.focus()
    page.browser_page.keyboard.press("End")
    page.until("document.activeElement.querySelector('.caption')?.textContent === '09999.png'")
    assert elements() < 800
    page.browser_page.locator("#q").fill("0777")
    page.until("document.querySelectorAll('a.card').length === 11")


def many(tree: Path, count: int) -> Path:
    """A tree with the journal of `count` outputs, which share ten pictures, and its gallery."""
    from adacode_cli.batch.gallery.folder import Gallery
    from adacode_cli.batch.gallery.pictures import save_picture, shown_of
    from adacode_cli.imaging.image import Decoded

    rng = np.random.default_rng(0)
    for digit in range(10):
        before, after = (
            shown_of(Decoded(rng.integers(0, 256, (side, 2 * side, 3), np.uint8), format="png"), 1) for side in (20, 80)
        )
        save_picture(tree / GALLERY, f"{digit}" * 64, before, after)
    lines = [line_on(f"folder {number % 100}/{number:05}.png", f"{number % 10}" * 64) for number in range(count)]
    (tree / ".adacode" / "journal.jsonl").write_bytes(b"".join(lines))
    Gallery(tree).begin(running=False)
    return tree


def line_on(target: str, sha256: str, more: dict | None = None) -> bytes:
    """A line of the journal, with all of its fields."""
    texts = {"time": "2026-01-02T03:04:05.678+00:00", "tool": "0", "input": "/photos", "source": target}
    digests = dict.fromkeys(("source_sha256", "options_sha256", "weights_sha256"), "a" * 64)
    rest = {"path": f"/photos/{target}", "source_bytes": 1, "mask_sha256": None, "target": target, "outcome": "done"}
    measured = {"seconds": 1.5, "peak_memory_bytes": 1, "bytes": 2, "sha256": sha256, "besides": []}
    last = {"precisions": ["fp32"], "fate": "restored", "notes": [], "error": None}
    return json.dumps({"version": 2, **texts, **digests, **rest, **measured, **last, **(more or {})}).encode() + b"\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows does not allow these names")
def test_hostile_names_are_shown_as_text(photo, restored, page, tmp_path):
    for name in HOSTILE:
        photo(f"photos/<b>folder/{name}" if "emoji" in name else f"photos/{name}")
    page.open(restored())
    assert page.browser_page.locator("a.card").count() == len(HOSTILE)
    captions = page.cards()
    assert "<img src=x onerror=window.pwned=1>.png" in captions
    assert "right\\u{202e}gnp.exe.png" in captions
    assert "two\\x0alines\\x09tab.png" in captions
    assert "\\xff\\xfe not utf-8.png" in captions
    page.until("[...document.querySelectorAll('a.card img')].every((image) => image.naturalWidth > 0)")
    page.browser_page.locator("a.card").first.click()
    for number in range(len(HOSTILE)):
        page.wait_for_both()
        loaded = page.browser_page.locator("#stage .frame[data-loaded='whole']").count()
        assert loaded == 2, page.browser_page.locator("#name").text_content()
        if number < len(HOSTILE) - 1:
            shown = page.browser_page.locator("#picture").get_attribute("data-shown")
            page.browser_page.keyboard.press("ArrowRight")
            page.until(f"document.getElementById('picture').dataset.shown !== '{shown}'")
    assert page.browser_page.evaluate("window.pwned") is None
    assert not (tmp_path / "pwned").exists()


def test_no_field_of_a_forged_journal_becomes_markup(tmp_path, page):
    from adacode_cli.batch.gallery.folder import Gallery

    evil = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\u2028'\"\\"
    tree = tmp_path / evil.replace("/", "∕")
    fields = json.loads(line_on("a.png", "a" * 64))
    names = [name for name in fields if name not in ("version", "outcome", "target")]
    lines = [line_on(f"{name}.png", "a" * 64, {name: evil}) for name in names]
    lines += [line_on(evil + ".png", "b" * 64), line_on("../../../etc/x.png", "c" * 64)]
    lines += [line_on("n.png", "a" * 64, {"notes": [evil, 1, None], "precisions": [evil]})]
    lines += [line_on("f.png", "a" * 64, {"outcome": "failed", "error": evil})]
    lines += [line_on("g.png", "a" * 64, {"path": "javascript:alert(1)"})]
    (tree / ".adacode").mkdir(parents=True)
    (tree / ".adacode" / "journal.jsonl").write_bytes(b"".join(lines))
    report = {"files": 1, "done": 1, "skipped": 0, "failed": 0, "seconds": 1.0, "ended": evil, "began": evil}
    (tree / ".adacode" / "report.json").write_text(json.dumps({**report, "stopped_by": {"message": evil}}))
    words = ["adacode", "sr", evil]
    forge_facts(tree, "a" * 64, evil)
    Gallery(tree).begin({"a" * 64: words}, running=False)
    page.open(tree)
    count = page.browser_page.locator("a.card").count()
    assert count >= 20
    for number in range(count):
        page.browser_page.locator(f"a.card[data-number='{number}']").click()
        page.browser_page.wait_for_selector("dialog[data-shown]")
        page.browser_page.keyboard.press("Escape")
    assert page.browser_page.evaluate("window.pwned") is None
    assert page.browser_page.locator("script:not([src]), img[onerror], body > img").count() == 0
    hrefs = page.browser_page.evaluate("[...document.querySelectorAll('a')].map((one) => one.protocol)")
    assert set(hrefs) == {"file:"}
    page.errors[:] = [
        error for error in page.errors if "ERR_FILE_NOT_FOUND" not in error and "Not allowed" not in error
    ]


def forge_facts(tree: Path, sha256: str, evil: str) -> None:
    """The facts of a picture in which every text is hostile."""
    from adacode_cli.batch.gallery.places import picture_path

    side = {"format": evil, "width": 8, "height": 8, "bits": 8, "grey": False, "alpha": False, "preview": True}
    side |= {
        "exif": [[evil, evil], [evil], evil],
        "histogram": [[1, evil], [2], [3]],
        evil: evil,
        "__proto__": {"x": 1},
    }
    facts = {"before": side, "after": side, "basis": [{"name": evil, "share": 0.5}, evil], "change": evil, "drift": 0.5}
    path = picture_path(tree / GALLERY, sha256, ".json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(facts))
    Image.new("RGB", (16, 8)).save(path.with_suffix(".webp"))


def test_the_page_cannot_load_or_run_anything_else(photo, restored, page):
    """What the policy of the page forbids, tried from within it."""
    photo("photos/a.png")
    page.open(restored())
    script = """async () => {
        const tried = {};
        const attempt = async (name, action) => {
            try { await action(); tried[name] = "done"; } catch { tried[name] = "refused"; }
        };
        await attempt("markup", () => { document.body.innerHTML = "<b>x</b>"; });
        await attempt("script", () => { document.createElement("script").src = "data/state.js"; });
        await attempt("fetch", () => fetch("http://127.0.0.1:9/"));
        await attempt("inline", () => new Promise((done, failed) => {
            const image = document.createElement("img");
            image.setAttribute("onerror", "window.pwned = 1");
            image.onload = done;
            image.addEventListener("error", failed);
            image.src = "https://127.0.0.1:9/x.png";
        }));
        return tried;
    }"""
    tried = page.browser_page.evaluate(script)
    assert set(tried.values()) == {"refused"}, tried
    assert page.browser_page.evaluate("window.pwned") is None
    page.errors.clear()
    page.requests.clear()


def test_the_page_follows_a_run(photo, adacode, tmp_path, page):
    photo("photos/a.png")
    photo("photos/b.png", (33, 10))
    photo("photos/sub/c.png")
    names = {"PAUSE": str(tmp_path / "go")}
    options = ("sr", "photos", "-o", "out", "-w", "pause", "--report")
    running = adacode.start(*options, env=names)
    try:
        tree = tmp_path / "out"
        until(lambda: (tree / GALLERY / "data" / "state.js").exists() and b'"a.png"' in journal(tree))
        opened = adacode("view", "out", "--no-open")
        assert opened.returncode == 0, opened.stderr.decode()
        assert Path(opened.stdout.decode().strip()) == tree / GALLERY / "index.html"
        page.open(tree)
        assert page.cards() == ["a.png"]
        assert "going on" in page.browser_page.locator("#going-on").text_content()
        page.browser_page.locator("#outcome").focus()
        options = "[...document.getElementById('outcome').options]"
        page.browser_page.evaluate(f"() => {{ window.first = {options}[0]; }}")
        (tmp_path / "go").touch()
        running.wait(60)
        page.until("document.querySelectorAll('a.card').length === 3")
        assert page.browser_page.evaluate(f"{options}[0] === window.first")  # A list that is open stays as it is,
        page.browser_page.locator("#sort").focus()
        page.until(f"{options}.map((one) => one.label).includes('restored (3)')")  # until it is left.
        page.until("document.getElementById('going-on').textContent === ''")
        assert "3 restored" in page.browser_page.locator("#summary").text_content()
    finally:
        running.kill()
        running.communicate()


def until(condition, limit_s=60):
    """Waits for a condition."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def journal(tree: Path) -> bytes:
    """The journal of a tree, as far as it is written."""
    path = tree / ".adacode" / "journal.jsonl"
    return path.read_bytes() if path.exists() else b""


def test_an_interrupted_run_leaves_a_page_of_what_is_done(photo, adacode, tmp_path):
    photo("photos/a.png")
    photo("photos/b.png", (33, 10))
    running = adacode.start("sr", "photos", "-o", "out", "-w", "wait", "--report", preexec_fn=default_signals)
    until(lambda: b'"a.png"' in journal(tmp_path / "out"))
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    (state,) = data_of(tmp_path / "out", "state")
    assert state[0]["running"] is False
    assert state[0]["report"]["stopped_by"]["kind"] == "interrupted"
    assert list(entries_of(tmp_path / "out")) == ["a.png"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_has_a_name_and_nothing_is_wider_than_the_window(chromium, mixed, scheme, width):
    from gallery_page import Page

    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = Page(context)
    page.open(mixed)
    check_names(page)
    page.show("p.png")
    check_names(page)
    assert page.browser_page.evaluate("document.documentElement.scrollWidth") <= width
    assert contrast(page, "#info dt") > 4.5
    assert contrast(page, "#place") > 4.5
    assert page.errors == []
    context.close()


def check_names(page) -> None:
    """Every control that can be seen has a name for those who do not see it."""
    script = """() => [...document.querySelectorAll("button, input, select, a, [role=slider], [tabindex='0']")]
        .filter((one) => one.checkVisibility())
        .filter((one) => ![one.getAttribute("aria-label"), one.textContent, one.labels?.[0]?.textContent]
            .some((text) => text?.trim()))
        .map((one) => one.outerHTML)"""
    assert page.browser_page.evaluate(script) == []


def contrast(page, selector: str) -> float:
    """The contrast of an element's text with the paper of the page, as WCAG 2 defines it."""
    script = """selector => [getComputedStyle(document.querySelector(selector)).color,
        getComputedStyle(document.querySelector("#picture")).backgroundColor]"""
    colors = page.browser_page.evaluate(script, selector)

    def luminance(color):
        values = [int(part) / 255 for part in color[4:-1].split(",")]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted(map(luminance, colors), reverse=True)
    return (light + 0.05) / (dark + 0.05)
