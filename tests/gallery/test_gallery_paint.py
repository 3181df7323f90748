"""Masks that are painted in a real browser, and what `adacode inpaint` makes of them."""

from __future__ import annotations

import json
import signal

import cv2
import numpy as np
import pytest
from adacode_process import Program, write_noise
from gallery_server import mask_in, served
from PIL import Image

from adacode_cli.geometry import grow_mask

SIZE = (300, 200)  # larger than a tile for undoing, so that strokes cross tiles


def stroked(shape: tuple[int, int], points, diameter: int) -> np.ndarray:
    """bool H×W: the pixels whose centres are at most half of an even `diameter` from the line through the points."""
    ys, xs = np.mgrid[: shape[0], : shape[1]] + 0.5
    found = np.zeros(shape, bool)
    corners = [(np.floor(x + 0.5), np.floor(y + 0.5)) for x, y in points]
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] or corners, strict=False):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((xs - x0) * dx + (ys - y0) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        found |= (xs - x0 - along * dx) ** 2 + (ys - y0 - along * dy) ** 2 <= (diameter / 2) ** 2 + 1e-9
    return found


HOSTILE = ("x<img src=x onerror=alert(1)>.png", "y\n</script>\u202e.png", "z\udcff%2e.png")


class Board:
    """The page on which masks are painted."""

    def __init__(self, page) -> None:
        self.page, self.browser = page, page.browser_page

    def wait(self, name: str) -> None:
        """Waits until the picture with this name can be painted on."""
        self.page.until(f"document.getElementById('name').textContent === {json.dumps(name)}")
        self.page.until("document.getElementById('board').dataset.shown && document.getElementById('photo').complete")
        self.page.until("document.getElementById('photo').naturalWidth > 0")

    def stroke(self, *points: tuple[float, float], button: str = "left") -> list[tuple[float, float]]:
        """Draws a line through points, given as shares of the picture; returns them in pixels of the picture."""
        box = self.browser.locator("#photo").bounding_box()
        size = self.browser.evaluate("[adacode.view.scale(), document.getElementById('photo').offsetWidth]")
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.browser.mouse.move(*places[0])
        self.browser.mouse.down(button=button)
        for place in places[1:]:
            self.browser.mouse.move(*place)
        self.browser.mouse.up(button=button)
        assert size[1] > 0
        return [((x - box["x"]) / size[0], (y - box["y"]) / size[0]) for x, y in places]

    def press(self, *keys: str) -> None:
        """Presses keys on the picture."""
        self.browser.locator("#board").focus()
        for key in keys:
            self.browser.keyboard.press(key)

    def save(self, state: str = "saved") -> None:
        """Saves, and waits for the word about it."""
        self.press("s")
        self.page.until(f"document.getElementById('state').textContent === {json.dumps(state)}")

    def set_brush(self, diameter: int) -> None:
        """Chooses the size of the brush by keys."""
        self.browser.locator("#brush").focus()
        for _ in range(40):
            now = int(self.browser.locator("#diameter").inner_text().split()[0].replace(",", ""))
            if now == diameter:
                break
            self.browser.keyboard.press("]" if now < diameter else "[")
        assert now == diameter
        self.browser.locator("#board").focus()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """(the program, its folder, a server for the photographs in it)."""
    folder = tmp_path_factory.mktemp("paint")
    for name in ("a.png", "sub/b.png", "empty.png", "c.png", *HOSTILE):
        write_noise(folder / "photos", name, SIZE)
    turned = Image.open(folder / "photos" / "a.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "photos" / "turned.jpg", exif=exif, quality=95)
    program = Program(folder, network=False)
    with served(program, "photos", "--masks", "masks", ends_by=signal.SIGTERM) as server:
        yield program, folder, server


def test_a_mask_is_painted_undone_saved_and_used(photographs, served_page):
    program, folder, server = photographs
    board = Board(served_page(server.address))
    board.wait("a.png")
    board.set_brush(24)
    shape = (SIZE[1], SIZE[0])
    first = board.stroke((0.2, 0.3), (0.5, 0.3), (0.9, 0.8))  # across the edge of tiles
    board.stroke((0.1, 0.9), (0.4, 0.9))
    board.press("u")
    rubbed = board.stroke((0.5, 0.1), (0.5, 0.6), button="right")
    expected = stroked(shape, first, 24) & ~stroked(shape, rubbed, 24)
    board.save()
    assert np.array_equal(mask_in(folder / "masks" / "a.png"), expected)
    board.press("Shift+U", "u", "u", "Control+y", "Control+z", "Shift+U", "Shift+U")  # and all of it again
    board.page.until("document.getElementById('state').textContent === 'saved'")
    board.press("g")
    board.save()
    grown = mask_in(folder / "masks" / "a.png")
    assert np.array_equal(grown, grow_mask(expected, 2))
    board.press("Shift+G")
    board.save()
    shrunk = mask_in(folder / "masks" / "a.png")
    inside = np.asarray(cv2.distanceTransform(np.pad(grown, 2, "edge").astype(np.uint8), cv2.DIST_L2, 5))[2:-2, 2:-2]
    assert np.array_equal(shrunk[4:-4, 4:-4], (inside > 2)[4:-4, 4:-4])
    board.press("PageDown")
    board.wait("c.png")
    board.browser.locator("#pictures").select_option(index=5)
    board.wait("x<img src=x onerror=alert(1)>.png")
    board.press("PageDown")
    board.wait("y\\x0a</script>\\u{202e}.png")
    board.press("PageDown")
    board.wait("z\\xff%2e.png")
    board.stroke((0.5, 0.5))
    board.press("PageDown")  # It is the last picture, and is saved.
    board.page.until("document.getElementById('state').textContent === 'saved'")
    # inpaint finds it, and changes nothing but the hole.
    words = ("--mask-dir", "masks", "-w", "nearest", "--no-exemplars", "--include", "a.png")
    done = program("inpaint", "photos", "-o", "filled", *words)
    assert done.returncode == 0, done.stderr.decode()
    with Image.open(folder / "photos" / "a.png") as before, Image.open(folder / "filled" / "a.png") as after:
        changed = (np.asarray(before.convert("RGB")) != np.asarray(after.convert("RGB"))).any(axis=2)
    assert not changed[~shrunk].any()
    assert changed[shrunk].mean() > 0.9


def test_a_turned_photograph_has_a_mask_of_its_upright_pixels(photographs, served_page):
    program, folder, server = photographs
    board = Board(served_page(f"{server.address}paint.html"))
    board.wait("a.png")
    board.browser.locator("#pictures").select_option(label="turned.jpg")
    board.wait("turned.jpg")
    board.set_brush(30)
    points = board.stroke((0.1, 0.1), (0.3, 0.2))
    board.press("x")  # 8:1
    near = board.stroke((0.48, 0.5), (0.52, 0.52))
    board.press("0")
    board.save()
    mask = mask_in(folder / "masks" / "turned.png")
    assert mask.shape == (300, 200)
    assert np.array_equal(mask, stroked((300, 200), points, 30) | stroked((300, 200), near, 30))
    done = program(
        "inpaint", "photos/turned.jpg", "-o", "upright.png", "--mask-dir", "masks", "-w", "nearest", "--no-exemplars"
    )
    assert done.returncode == 0, done.stderr.decode()
    with Image.open(folder / "upright.png") as image:
        after = np.asarray(image.convert("RGB")).astype(int)
    with Image.open(folder / "photos" / "turned.jpg") as image:
        upright = np.rot90(np.asarray(image.convert("RGB")), -1).astype(int)
    assert after.shape == upright.shape
    gap = np.abs(after - upright).max(axis=2)
    assert gap[~mask].max() <= 2  # The decoder of the test may round otherwise.
    assert np.median(gap[mask]) > 20


def test_keys_paint_and_masks_that_were_there_are_kept(photographs, served_page):
    _, folder, server = photographs
    (folder / "masks" / "sub").mkdir(parents=True, exist_ok=True)
    theirs = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    theirs[20:60, 30:90] = 255
    place = folder / "masks" / "sub" / "b_mask.png"
    Image.fromarray(theirs).save(place)
    board = Board(served_page(server.address))
    board.wait("a.png")
    board.browser.locator("#pictures").select_option(label="● sub/b.png")
    board.wait("sub/b.png")
    board.page.until("document.getElementById('state').textContent === 'saved'")
    board.set_brush(10)
    board.browser.keyboard.down(" ")
    for _ in range(6):
        board.browser.keyboard.press("ArrowRight")
    board.browser.keyboard.up(" ")
    board.save()
    far = 6 * 3 + 150  # a quarter of the brush, rounded, for each key
    expected = (theirs > 0) | stroked((SIZE[1], SIZE[0]), [(150, 100), (far, 100)], 10)
    assert np.array_equal(mask_in(place), expected)
    # Nothing painted any more: asked before the file loses its hole.
    board.press("c", "s")
    board.browser.locator("#ask[open] button").last.click()
    assert mask_in(place).any()
    # Somebody else writes it meanwhile.
    Image.fromarray(255 - theirs).save(place)
    board.press("u")
    board.stroke((0.9, 0.9))
    board.press("s")
    board.browser.locator("#ask[open] button").first.click()
    board.page.until("document.getElementById('state').textContent === 'saved'")
    assert np.array_equal(mask_in(place), theirs == 0)
    board.press("c", "s")
    board.browser.locator("#ask[open] button").first.click()
    board.page.until("document.getElementById('state').textContent === 'saved'")
    assert not mask_in(place).any()
    assert not (folder / "masks" / "sub" / "b.png").exists()
    board.page.errors[:] = [error for error in board.page.errors if "409" not in error]  # Chromium lists the refusals.


def test_fingers_paint_and_zoom_on_a_phone(photographs, served_page):
    _, _, server = photographs
    phone = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
    page = served_page(f"{server.address}paint.html", **phone)
    board = Board(page)
    board.wait("a.png")
    session = page.browser_page.context.new_cdp_session(page.browser_page)
    box = page.browser_page.locator("#photo").bounding_box()

    def touch(kind, *shares):
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + box["height"] / 2} for x in shares]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    painted = "adacode.painted().data().reduce((sum, one) => sum + one, 0)"
    before, undo = page.browser_page.evaluate(painted), page.browser_page.locator("#undo")
    touch("touchStart", 0.3)
    touch("touchStart", 0.3, 0.5)  # a second finger: the first one did not mean to paint
    for spread in (0.15, 0.25, 0.4):
        touch("touchMove", 0.4 - spread, 0.4 + spread)
    touch("touchEnd")
    assert page.browser_page.locator("#photo").bounding_box()["width"] > 1.5 * box["width"]
    assert page.browser_page.evaluate(painted) == before
    assert undo.is_disabled()
    touch("touchStart", 0.4)
    touch("touchMove", 0.6)
    touch("touchEnd")
    assert page.browser_page.evaluate(painted) > before
    assert undo.is_enabled()
    assert page.browser_page.evaluate("document.documentElement.scrollWidth") <= 390
    unnamed = """() => [...document.querySelectorAll("button, input, select, a, [tabindex='0']")]
        .filter((one) => one.checkVisibility())
        .filter((one) => ![one.getAttribute("aria-label"), one.textContent, one.labels?.[0]?.textContent]
            .some((text) => text?.trim()))
        .map((one) => one.outerHTML)"""
    assert page.browser_page.evaluate(unnamed) == []


def test_what_cannot_be_saved_is_refused(photographs, tmp_path):
    _, folder, server = photographs
    pictures = json.loads(server.ask("GET", "paint/pictures.json")[2])["pictures"]
    ids = {one["name"]: one["id"] for one in pictures}
    assert set(ids) == {"a.png", "sub/b.png", "c.png", "empty.png", "turned.jpg", *HOSTILE}
    name = f"paint/{ids['empty.png']}/mask"
    kind = {
        "Content_Type": "application/octet-stream",
        "Adacode_Picture": server.ask("GET", name)[1]["Adacode-Picture"],
    }
    bits = bytes(SIZE[0] * SIZE[1] // 8)
    assert server.status("POST", name, bits[1:], **kind) == 422
    assert server.status("POST", name, b"", Content_Length=str(300_000_000 // 8 + 1), **kind) == 413
    assert server.status("POST", name, bits, Content_Type="text/plain") == 415
    assert server.status("POST", name, bits, Content_Type=kind["Content_Type"]) == 409  # Which photograph is it for?
    assert server.status("POST", name, bits, Origin="http://evil.example", **kind) == 403
    assert json.loads(server.ask("POST", name, bits, **kind)[2]) == {"digest": ""}  # nothing to save
    assert not (folder / "masks" / "empty.png").exists()
    full = b"\xff" * len(bits)
    outside = tmp_path / "outside.png"
    (folder / "masks").mkdir(exist_ok=True)
    (folder / "masks" / "empty.png").symlink_to(outside)
    assert server.status("POST", name, full, **kind) == 422  # a link that leads to no file
    outside.write_bytes(b"of somebody else")
    status, _, body = server.ask("POST", name, full, **kind)
    assert (status, b"reached by a link" in body) == (422, True), body
    assert server.status("GET", name) == 422  # It is said before somebody paints.
    assert outside.read_bytes() == b"of somebody else"
    (folder / "masks" / "empty.png").unlink()
    digest = json.loads(server.ask("POST", name, full, **kind)[2])["digest"]
    assert server.status("POST", name, full, **kind) == 409  # It is not the mask that was loaded.
    assert server.status("POST", name, bits, Adacode_Loaded=digest, **kind) == 409
    assert mask_in(folder / "masks" / "empty.png").all()
    assert server.status("POST", name, bits, Adacode_Loaded=digest, Adacode_Empty="1", **kind) == 200
    frames = [Image.new("L", SIZE, level) for level in (0, 255)]
    frames[0].save(folder / "masks" / "empty.png", save_all=True, append_images=frames[1:])
    status, _, body = server.ask("GET", name)
    assert (status, b"is an animation" in body) == (422, True), body
    (folder / "masks" / "empty.png").unlink()


def test_quick_keys_lose_no_stroke(photographs, served_page):
    _, folder, server = photographs
    board = Board(served_page(f"{server.address}paint.html"))
    board.wait("a.png")
    sent: list[str] = []

    def slowly(route) -> None:
        sent.append(route.request.method)
        board.browser.wait_for_timeout(150)  # the window for the keys that come meanwhile
        route.continue_()

    board.browser.route("**/mask", slowly)
    board.stroke((0.2, 0.2), (0.3, 0.2))
    board.browser.locator("#board").focus()
    board.browser.evaluate(
        "for (const key of ['s', 's', 's']) document.getElementById('board').dispatchEvent("
        "new KeyboardEvent('keydown', { key, bubbles: true }))"
    )
    board.page.until("document.getElementById('state').textContent === 'saved'")
    assert sent == ["POST"]
    assert not board.browser.locator("#ask").is_visible()
    # Page Down three times at once, with a stroke that is not ended.
    box = board.browser.locator("#photo").bounding_box()
    board.browser.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"])
    board.browser.mouse.down()
    undone = board.browser.evaluate("adacode.painted().data().reduce((sum, one) => sum + one, 0)")
    board.browser.evaluate(
        "for (const key of ['PageDown', 'PageDown']) document.getElementById('board').dispatchEvent("
        "new KeyboardEvent('keydown', { key, bubbles: true }))"
    )
    third = board.browser.evaluate("document.querySelectorAll('#pictures option')[2].textContent.replace('● ', '')")
    board.wait(third)
    board.browser.mouse.up()
    assert int(mask_in(folder / "masks" / "a.png").sum()) == undone
    assert sent == ["POST", "POST", "GET", "GET"]  # Each picture was loaded once.
    board.browser.unroute("**/mask")


def test_masks_are_painted_on_the_originals_of_a_run(tmp_path, served_page):
    program = Program(tmp_path, network=False)
    for name in ("1931/a.png", "1932/a.png"):
        write_noise(tmp_path / "photos", name, (40, 30))
    words = ("inpaint", "photos", "-o", "out", "--mask-dir", "masks", "-w", "nearest", "--no-exemplars")
    (tmp_path / "masks").mkdir()
    assert program(*words).returncode == 9  # There are no masks.
    with served(program, "out", "--masks", "masks") as server:
        page = served_page(server.address)
        page.browser_page.locator("a.card").nth(1).click()
        page.browser_page.locator("#paint").wait_for()
        page.browser_page.keyboard.press("m")
        page.browser_page.wait_for_url("**/paint.html*")
        board = Board(page)
        board.wait("1932/a.png")
        only, place = board.browser.locator("#only"), board.browser.locator("#place")
        only.check()
        assert place.inner_text() == "without a mask: 2"
        board.set_brush(8)
        points = board.stroke((0.25, 0.25), (0.75, 0.75))
        board.save()
        assert place.inner_text() == "without a mask: 1"
        assert board.browser.locator("#pictures option").all_inner_texts() == ["1931/a.png", "● 1932/a.png"]
        only.uncheck()
        assert place.inner_text() == "2 of 2"
        board.press("PageUp")
        board.wait("1931/a.png")
        board.stroke((0.5, 0.5))
        board.press("PageDown")  # It is saved by leaving the picture.
        board.wait("1932/a.png")
        only.check()
        assert place.inner_text() == "without a mask: 0"
        board.browser.locator("#back").click()
        page.browser_page.wait_for_selector("a.card")
        page.browser_page.close()
    assert np.array_equal(mask_in(tmp_path / "masks" / "1932" / "a.png"), stroked((30, 40), points, 8))
    assert mask_in(tmp_path / "masks" / "1931" / "a.png").any()
    done = program(*words)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a.png", "a_mask.png", "a.jpg_mask.png"), "has 2 masks"),
        ((), "holds no photograph to paint a mask for"),
    ],
)
def test_what_inpaint_would_refuse_is_refused_at_once(tmp_path, names, said):
    (tmp_path / "photos").mkdir()
    for name in names:
        write_noise(tmp_path, f"photos/{name}" if name == "a.png" else f"masks/{name}")
    if names:
        write_noise(tmp_path, "masks/a.tif")
        write_noise(tmp_path, "masks/a.png")
    done = Program(tmp_path, network=False)("view", "photos", "--serve", "--no-open", "--masks", "masks")
    assert done.returncode == 3, done.stderr.decode()
    assert said in done.stderr.decode()
