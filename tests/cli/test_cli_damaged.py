"""`--accept-damaged` as a person uses it, and files that are never written but read."""

import json

import numpy as np
from PIL import Image

W = ("--weights", "nearest")


def folder_of(tmp_path):
    """A whole image, a JPEG that was cut, and one of which nothing is left."""
    (tmp_path / "p").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p" / "whole.png")
    Image.fromarray(pixels).save(tmp_path / "p" / "cut.jpg", quality=90)
    file = (tmp_path / "p" / "cut.jpg").read_bytes()
    (tmp_path / "p" / "cut.jpg").write_bytes(file[: len(file) // 2])
    (tmp_path / "p" / "gone.jpg").write_bytes(file[:100])


def test_a_run_that_accepts_damage_does_what_one_that_did_not_has_left(adacode, tmp_path):
    folder_of(tmp_path)
    first = adacode("sr", "p", "-o", "out", *W)
    assert first.returncode == 9
    messages = first.stderr.decode()
    assert "p/cut.jpg: is truncated: the JPEG data end too early" in messages
    assert "--accept-damaged" in messages
    assert [path.name for path in (tmp_path / "out").glob("*.*g")] == ["whole.png"]
    again = adacode("sr", "p", "-o", "out", "--accept-damaged", "--json", *W)
    events = [json.loads(line) for line in again.stdout.decode().splitlines()]
    assert again.returncode == 9
    by_source = {event["source"]: event for event in events if "source" in event and event["event"] != "file-started"}
    assert by_source["p/whole.png"]["event"] == "file-skipped"
    assert by_source["p/cut.jpg"]["notes"][0] == "is truncated: the missing part is grey or coarse"
    assert by_source["p/gone.jpg"]["event"] == "file-failed"
    with Image.open(tmp_path / "out" / "cut.jpg") as image:
        assert image.size == (192, 256)


def test_damage_on_a_pipe(adacode, tmp_path):
    folder_of(tmp_path)
    data = (tmp_path / "p" / "cut.jpg").read_bytes()
    result = adacode("sr", "-", "--accept-damaged", *W, stdin=data)
    assert result.returncode == 0
    assert b"is truncated: the missing part is grey or coarse" in result.stderr


def test_files_of_kinds_that_are_only_read_get_outputs_of_their_usual_kind(adacode, tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    images = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (90, 180)]
    images[0].save(folder / "stereo.MPO", "MPO", save_all=True, append_images=images[1:])
    images[0].save(folder / "moving.apng", "PNG", save_all=True, append_images=images[1:])
    for suffix in ("j2k", "j2c", "jpc"):
        images[0].save(folder / f"{suffix}.{suffix}", "JPEG2000", no_jp2=True)
    for suffix in ("jpx", "jpf"):
        images[0].save(folder / f"{suffix}.{suffix}", "JPEG2000")
    images[1].save(folder / "stereo.JPG")
    images[1].save(folder / "jpx.jp2", "JPEG2000")
    result = adacode("sr", "p", "-o", "out", *W)
    assert result.returncode == 0, result.stderr
    made = sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != ".adacode")
    same = ["j2c.j2c.jp2", "j2k.j2k.jp2", "jpc.jpc.jp2", "jpf.jpf.jp2", "jpx.jpx.jp2", "moving.apng.png"]
    assert made == sorted([*same, "stereo.MPO.jpg", "jpx.jp2", "stereo.JPG"])
    for name in [*same, "stereo.MPO.jpg"]:
        with Image.open(tmp_path / "out" / name) as image:
            assert abs(image.convert("RGB").getpixel((5, 5))[0] - 90) < 4
