"""Files of painted masks: where each one lies, and which files are not replaced; by requests, without a browser."""

from __future__ import annotations

import json

import numpy as np
from adacode_process import Program, write_noise
from gallery_server import mask_in, served
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from adacode_cli.batch.discover import discover
from adacode_cli.batch.found import Found, Selection
from adacode_cli.batch.mask_pairs import MaskFolder


class Painter:
    """Requests for the masks of a served directory, as the page sends them."""

    def __init__(self, server) -> None:
        self.server = server
        pictures = json.loads(server.ask("GET", "paint/pictures.json")[2])["pictures"]
        self.ids = {one["name"]: one["id"] for one in pictures}

    def load(self, name: str):
        """(status, headers, bits) of a mask."""
        return self.server.ask("GET", f"paint/{self.ids[name]}/mask")

    def save(self, name: str, headers, bits: bytes, **more: str):
        """(status, kind or None) of the answer to a mask that is sent with the headers of its loading."""
        digests = {f"Adacode_{one}": headers[f"Adacode-{one}"] for one in ("Digest", "Picture")}
        digests["Adacode_Loaded"] = digests.pop("Adacode_Digest")
        kind = {"Content_Type": "application/octet-stream"}
        address = f"paint/{self.ids[name]}/mask"
        status, _, body = self.server.ask("POST", address, bits, **kind, **digests, **more)
        return status, json.loads(body).get("kind")

    def paint(self, name: str, size: tuple[int, int] = (40, 30)) -> None:
        """Marks all of a picture."""
        status, headers, _ = self.load(name)
        assert status == 200, (name, self.load(name))
        assert headers["Adacode-Size"] == "{}x{}".format(*size)
        assert self.save(name, headers, b"\xff" * (size[0] * size[1] // 8)) == (200, None)


def test_each_picture_of_a_nested_tree_has_a_mask_of_its_own(tmp_path):
    names = ("photos/a.tif", "a.tif", "q.tif", "sub/q.tif", "two.jpg", "two.tif", "sub/photos/a.tif", "é.x.png")
    for name in names:
        write_noise(tmp_path / "photos", name, (24, 16) if name == "two.jpg" else (40, 30))
    program = Program(tmp_path, network=False)
    with served(program, "photos", "--masks", "m") as server:
        painter = Painter(server)
        assert not (tmp_path / "m").exists()  # It is made by the first mask.
        for name in names:
            painter.paint(name, (24, 16) if name == "two.jpg" else (40, 30))
    made = {path.relative_to(tmp_path / "m").as_posix() for path in (tmp_path / "m").rglob("*.png")}
    assert made >= {"a.png", "q.png", "sub/q.png", "two.jpg_mask.png", "two.tif_mask.png", "é.x.png"}
    assert len(made) == len(names)
    found = [one for one in discover([tmp_path / "photos"], Selection()) if isinstance(one, Found)]
    pairs = MaskFolder(tmp_path / "m", Selection()).pair(found)
    used = {one.place: pairs.for_image(one.path).relative_to(tmp_path / "m").as_posix() for one in found}
    assert set(used) == set(names)
    assert set(used.values()) == made


def test_a_picture_that_was_made_again_from_a_list_keeps_its_folder(tmp_path):
    for name in ("1931/a.png", "1932/b.png"):
        write_noise(tmp_path / "photos", name, (40, 32))
    (tmp_path / "redo.txt").write_text("1931/a.png\n")
    program, options = Program(tmp_path, network=False), ("-w", "nearest", "--scale", "2")
    assert program("sr", "photos", "-o", "out", *options).returncode == 0
    again = ("sr", "-o", "../out", "--overwrite", "--from-file", "../redo.txt", *options)
    assert Program(tmp_path / "photos", network=False)(*again).returncode == 0
    with served(program, "out", "--masks", "m") as server:
        painter = Painter(server)
        assert set(painter.ids) == {"1931/a.png", "1932/b.png"}
        painter.paint("1931/a.png", (40, 32))
    assert mask_in(tmp_path / "m" / "1931" / "a.png").all()


def test_a_photograph_that_changes_and_files_that_are_no_masks(tmp_path):
    for name in ("turns.jpg", "a.png", "grey.png", "layer.png", "text.png", "inch.png", "bare.png"):
        write_noise(tmp_path / "photos", name, (40, 32))
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.open(tmp_path / "photos" / "a.png").convert("RGB").save(masks / "a.png")  # a photograph, not a mask
    grey = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (32, 1))
    Image.fromarray(grey).save(masks / "grey.png")
    strokes = Image.new("RGBA", (40, 32))
    strokes.paste((255, 0, 0, 255), (4, 4, 20, 20))
    strokes.save(masks / "layer.png")
    black_and_white = Image.fromarray(np.where(grey > 99, 255, 0).astype(np.uint8))
    info = PngInfo()
    info.add_text("Author", "somebody else")
    for name, options in {"text.png": {"pnginfo": info}, "inch.png": {"dpi": (300, 300)}, "bare.png": {}}.items():
        black_and_white.save(masks / name, **options)
    before = {path.name: path.read_bytes() for path in masks.iterdir()}
    with served(Program(tmp_path, network=False), "photos", "--masks", "masks") as server:
        painter = Painter(server)
        status, _, body = painter.load("a.png")
        assert (status, b"in colours" in body) == (422, True)
        full = b"\xff" * (40 * 32 // 8)
        painter.paint("bare.png", (40, 32))  # Nothing but the mask is in it.
        for name in ("grey.png", "layer.png", "text.png", "inch.png"):
            _, headers, bits = painter.load(name)
            assert any(bits)
            assert painter.save(name, headers, full) == (409, "grey")
            assert (masks / name).read_bytes() == before[name]
            assert painter.save(name, headers, full, Adacode_Grey="1") == (200, None)
            assert mask_in(masks / name).all()
        # The photograph is turned by another program: the same number of pixels, and another picture.
        photograph = tmp_path / "photos" / "turns.jpg"
        _, headers, _ = painter.load("turns.jpg")
        image = f"paint/{painter.ids['turns.jpg']}/image-{headers['Adacode-Picture']}"
        assert server.status("GET", image) == 200
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(photograph).save(photograph, exif=exif)
        assert painter.save("turns.jpg", headers, full) == (409, "photograph")
        assert server.status("GET", image) == 409
        assert not (masks / "turns.png").exists()
        painter.paint("turns.jpg", (32, 40))
        assert (masks / "a.png").read_bytes() == before["a.png"]
    assert mask_in(masks / "turns.png").shape == (40, 32)
