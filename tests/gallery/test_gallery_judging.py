"""Judgements in a real browser, and the list of what is to be made again, with which the program makes it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from gallery_page import entries_of, images_in

ROOT = Path(__file__).parents[2]


def judged(page) -> dict[str, str]:
    """The judgement of each picture that is an element of the page."""
    script = "[...document.querySelectorAll('a.card')].map((card) => card.dataset.judged)"
    return dict(zip(page.cards(), page.browser_page.evaluate(script), strict=True))


def test_judgements_are_made_by_keys_and_kept(photo, restored, page):
    for name in "abcd":
        photo(f"photos/{name}.png")
    tree = restored()
    page.open(tree)
    press = page.browser_page.keyboard.press
    page.browser_page.locator("a.card").first.focus()
    press("k")
    press("ArrowRight")
    press("r")
    page.show("c.png")
    press("d")
    assert page.browser_page.locator("#judge [aria-pressed=true]").inner_text() == "Doubtful"
    press("Escape")
    expected = {"a.png": "keep", "b.png": "redo", "c.png": "doubtful", "d.png": ""}
    assert judged(page) == expected
    page.browser_page.reload()
    page.browser_page.wait_for_selector("a.card")
    assert judged(page) == expected
    page.browser_page.locator("#judged").select_option("redo")
    assert page.cards() == ["b.png"]
    page.browser_page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.browser_page.locator("#export-open").click()
    page.browser_page.locator("#export button", has_text="Copy").click()
    page.until("document.querySelector('#export section button').textContent === 'Copied'")
    copied = page.browser_page.evaluate("navigator.clipboard.readText()")
    assert copied == page.browser_page.locator("#export code").text_content()
    assert copied.endswith("--from-file ~/Downloads/redo.txt")
    page.browser_page.keyboard.press("Escape")
    page.browser_page.locator("#judged").select_option("none")
    assert page.cards() == ["d.png"]
    page.browser_page.locator("#reset").click()
    page.browser_page.locator("a.card").nth(1).focus()
    press("r")  # again: it is taken back
    assert judged(page)["b.png"] == ""
    assert page.browser_page.locator("#export-open").is_disabled()


def saved(page, tmp_path) -> tuple[Path, str]:
    """The list that the page saves, and the command that it shows."""
    page.browser_page.locator("#export-open").click()
    with page.browser_page.expect_download() as download:
        page.browser_page.locator("#export a.button").click()
    download.value.save_as(tmp_path / "list" / "redo.txt")
    return tmp_path / "list" / "redo.txt", page.browser_page.locator("#export code").text_content()


@pytest.mark.skipif(os.name == "nt", reason="the commands are for other shells on Windows")
@pytest.mark.parametrize("names", [["b.png", "sub/b.png", "déjà vu.png"], ["two\nlines.png", "\udcff.png", "'.png"]])
def test_the_list_makes_again_what_is_judged_so_and_nothing_else(photo, restored, page, tmp_path, names):
    for name in [*names, "other.png", "sub/other.png"]:
        photo(f"photos/{name}")
    tree = restored("--scale", "2")
    page.open(tree)
    targets = list(entries_of(tree))
    for number in range(len(targets)):
        page.browser_page.locator(f"a.card[data-number='{number}']").focus()
        if "other" not in page.browser_page.evaluate("document.activeElement.textContent"):
            page.browser_page.keyboard.press("r")
    assert page.browser_page.locator("#export-open").inner_text() == f"Redo list ({len(names)})"
    path, command = saved(page, tmp_path)
    command = command.replace("~/Downloads/redo.txt", shlex.quote(str(path)))
    program = tmp_path / "bin" / "adacode"
    program.parent.mkdir()
    fake = ROOT / "tests" / "cli" / "fake_program.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} "$@"\n')
    program.chmod(0o755)
    sys.path.append(str(ROOT / "tests" / "cli"))
    from adacode_process import environment

    env = environment(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}", LC_ALL="C.UTF-8")
    before = images_in(tree)
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr.decode())
    changed = {one for one, time in images_in(tree).items() if before.get(one) != time}
    assert changed == {tree / name for name in names}
    page.open(tree)
    assert set(judged(page).values()) == {""}  # They were about the results before.
    for entry in entries_of(tree).values():  # and each can be made again by its own command, as it was listed
        assert entry["list"]
