"""What a dry run says of the cost of a run, what it checks, and what it keeps of its measurement."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from adacode_process import ROOT
from PIL import Image

from adacode_cli.batch.estimate import Disk, Needs
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.found import Found
from adacode_cli.batch.plan import Job
from adacode_cli.cli import speed
from adacode_cli.cli.cost import size
from adacode_cli.cli.speed import FILE_NAME, Speed, _line
from adacode_cli.engine.restorer import Restorer
from adacode_cli.imaging.codec import Header
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.headers import read_header
from adacode_cli.imaging.image import Decoded
from adacode_cli.sizes import Fate, Sizing

W = ("--weights", "nearest")
LOSSLESS_AND_LOSSY = ("jpeg", "png", "webp", "tiff", "bmp", "jp2", "avif")


def estimated(result) -> dict:
    """The last event of a dry run with --json."""
    last = json.loads(result.stdout.splitlines()[-1])
    assert last.pop("event") == "run-estimated"
    return last


@pytest.fixture
def measuring(adacode, tmp_path):
    """Dry runs with a cache of their own: how many images each of them has measured, and its result."""

    def dry_run(*words: str, **env: str):
        counted = tmp_path / "counted"
        counted.unlink(missing_ok=True)
        places = {"ADACODE_CACHE": str(tmp_path / "cache"), "COUNTED": str(counted)}
        result = adacode(*words, "--dry-run", **(places | env))
        return len(counted.read_text().split()) if counted.exists() else 0, result

    return dry_run


def test_sums_for_people_and_for_programs(adacode, photo, tmp_path):
    photo("p/a.bmp", (1000, 500))
    photo("p/b.bmp", (500, 400))
    told = adacode("sr", "p", "--scale", "2", "--dry-run", *W)
    assert told.stdout.decode() == "p/a.bmp -> p-sr-x2/a.bmp\np/b.bmp -> p-sr-x2/b.bmp\n"
    first, second, third = told.stderr.decode().splitlines()
    assert first == "to restore: 2 files, 0.7 megapixels; results: 2.8 megapixels"
    assert second.startswith("time: ")
    assert " s on cpu (fp32, 1 thread)" in second
    assert third.startswith("disk: about 8.4 MB for p-sr-x2; ")
    event = estimated(adacode("sr", "p", "--scale", "2", "--dry-run", "--json", *W))
    assert (event["files"], event["unknown_files"]) == (2, 0)
    assert (event["input_megapixels"], event["output_megapixels"]) == (0.7, 2.8)
    (disk,) = event["disks"]
    assert (disk["path"], disk["needed_bytes"], disk["is_too_small"]) == ("p-sr-x2", event["output_bytes"], False)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    assert adacode("sr", "p", "--scale", "2", *W).returncode == 0
    written = sum(path.stat().st_size for path in (tmp_path / "p-sr-x2").glob("*.bmp"))
    assert abs(event["output_bytes"] - written) < 2 * 2100
    assert adacode("sr", "p", "-o", "q", "--dry-run", "--quiet", *W).stderr == b""


def test_pages_and_files_without_a_header_are_counted(adacode, photo, tmp_path):
    pages = [Image.new("L", (100, 60), value) for value in (1, 2, 3)]
    (tmp_path / "p").mkdir()
    pages[0].save(tmp_path / "p" / "pages.tif", save_all=True, append_images=pages[1:])
    photo("p/a.png", (100, 60))
    long = photo("p/b.jpg", (100, 60))
    whole, comments = long.read_bytes(), b"\xff\xfe\0\2" * 10_001  # more than anybody looks behind
    long.write_bytes(whole[:2] + comments + whole[2:])
    result = adacode("reconstruct", "p", "--dry-run", *W)
    assert "to restore: 3 files, 0.024 megapixels; results: 0.024 megapixels" in result.stderr.decode()
    assert "without 1 of them, whose size is not known" in result.stderr.decode()
    assert estimated(adacode("reconstruct", "p", "--dry-run", "--json", *W))["unknown_files"] == 1
    alone = estimated(adacode("reconstruct", "p/b.jpg", "--dry-run", "--json", *W))
    assert [alone[key] for key in ("unknown_files", "output_bytes", "disks", "seconds")] == [1, 0, [], None]


def test_files_with_damaged_headers_fail_as_in_the_run(adacode, photo, tmp_path):
    whole = photo("p/whole.jpg").read_bytes()
    frame = whole.index(b"\xff\xc0")
    damaged = {
        "cut.jpg": whole[: frame + 6],
        "cut.png": photo("a.png").read_bytes()[:20],
        "cut.tif": photo("a.tif").read_bytes()[:9],
        "nothing.jpg": whole[: frame + 5] + bytes(4) + whole[frame + 9 :],  # 0×0 pixels
        "without.jpg": whole[:frame] + whole[frame + 19 :],
    }
    for name, data in damaged.items():
        (tmp_path / "p" / name).write_bytes(data)
    command = ("sr", "p", "--json", *W)
    failures = []
    for more in (("--dry-run",), (), ("--accept-damaged", "--dry-run")):
        result = adacode(*command, *more)
        assert result.returncode == 9
        events = [json.loads(line) for line in result.stdout.splitlines()]
        failures.append({event["source"]: event["error"] for event in events if event["event"] == "file-failed"})
    assert set(failures[0]) == {f"p/{name}" for name in damaged}
    assert failures[0] == failures[1]
    assert set(failures[2]) == set(failures[0])


def test_outputs_that_exist_do_not_hide_what_the_others_need(adacode, photo):
    photo("p/a.png")
    photo("p/b.png")
    photo("out/b.png")
    run = ("sr", "p", "-o", "out", *W)
    result = adacode(*run, "--dry-run")
    assert (result.returncode, adacode(*run).returncode) == (6, 6)
    assert result.stdout == b"p/a.png -> out/a.png\n"
    messages = result.stderr.decode().splitlines()
    assert messages[0] == "left out: p/b.png: the output exists"
    assert messages[1].startswith("to restore: 1 file, ")
    assert "error: 1 of 2 output exists already" in result.stderr.decode()
    assert "--skip-existing restores only the others." in messages[-1]
    skipped = adacode(*run, "--dry-run", "--skip-existing")
    assert (skipped.returncode, skipped.stdout) == (0, result.stdout)
    everything = adacode(*run, "--dry-run", "--overwrite", "--json")
    assert (everything.returncode, estimated(everything)["files"]) == (0, 2)
    assert adacode(*run, "--overwrite").returncode == 0
    other = adacode(*run, "--quality", "50", "--format", "png", "--strict", "--dry-run")
    assert other.returncode == 6
    assert b"was made with other options" in other.stderr


def test_outputs_of_other_weights_are_refused_as_by_the_run(adacode, photo):
    photo("p/a.png")
    assert adacode("sr", "p", *W).returncode == 0
    for words in (("--dry-run",), ()):
        result = adacode("sr", "p", "--weights", "other", *words)
        assert result.returncode == 6
        assert b"was made with other weights" in result.stderr
    assert adacode("sr", "p", "--weights", "other", "--overwrite", "--dry-run").returncode == 0


def test_weights_and_device_are_checked(real_adacode, adacode, photo):
    data = photo("p/a.png").read_bytes()
    for words, code, message in (
        (("--weights", "compakt"), 4, "compakt"),
        (("--weights", "missing.safetensors"), 4, "does not exist"),
        (("--weights", "compact-inpaint"), 4, "is for inpaint, not for sr"),
        (("--device", "cuda:99"), 5, "--device cpu" if not torch.cuda.is_available() else "cuda:99"),
    ):
        result = real_adacode("sr", "p", "--dry-run", *words)
        assert (result.returncode, message in result.stderr.decode()) == (code, True), result.stderr
    assert adacode("sr", "-", "--dry-run", "--weights", "unknown", stdin=data).returncode == 4
    assert adacode("sr", "-", "--dry-run", *W, stdin=data).stdout == b"<stdin> -> <stdout>\n"


def test_nothing_is_downloaded(real_adacode, adacode, photo):
    photo("p/a.png")
    far = "hub:owner/repo/file.safetensors"
    result = real_adacode("sr", "p", "--dry-run", "--weights", far, HF_HUB_OFFLINE="0")
    assert result.returncode == 0
    assert f"time: not known, because {far} must be downloaded first" in result.stderr.decode()
    event = estimated(adacode("sr", "p", "--dry-run", "--json", "--weights", "far"))
    assert [event[key] for key in ("seconds", "device", "threads", "precision")] == [None] * 4
    for option, absent in (("--scale=4", False), ("--scale=2", True), ("--scale=8", True), ("--width=100", True)):
        event = estimated(adacode("sr", "p", option, "--dry-run", "--json", "--weights", "far-x2"))
        assert (event["seconds"] is None) is absent, option


def test_a_speed_that_cannot_be_measured_is_not_told(adacode, photo, tmp_path):
    photo("p/a.png")
    refused = adacode("sr", "p", "--dry-run", "--weights", "large", ADACODE_CACHE=str(tmp_path / "cache"))
    assert refused.returncode == 0
    assert "time: not known, because it cannot be measured: there is no memory" in refused.stderr.decode()
    assert not (tmp_path / "cache" / FILE_NAME).exists()


def test_the_measurement_is_kept_for_what_it_was_made_with(measuring, photo, tmp_path):
    photo("p/a.png")
    run = ("sr", "p", "--weights", "counted")
    first, _ = measuring(*run)
    assert first >= 3  # one that is not counted, and two sizes
    assert measuring(*run)[0] == 0
    assert measuring("sr", "p", "-o", "elsewhere", "--format", "webp", "--weights", "counted")[0] == 0
    for other in (("--scale", "2"), ("--precision", "bf16"), ("--color-fix", "low-frequency")):
        assert measuring(*run, *other)[0] >= 3, other
        assert measuring(*run, *other)[0] == 0, other
    assert measuring("reconstruct", "p", "--weights", "counted")[0] >= 3
    kept = json.loads((tmp_path / "cache" / FILE_NAME).read_text())
    assert (kept["version"], len(kept["speeds"])) == (1, 5)
    for entry in kept["speeds"].values():
        entry |= {"busy": True, "time": time.time() - 601}
    (tmp_path / "cache" / FILE_NAME).write_text(json.dumps(kept))
    assert measuring(*run)[0] >= 3
    for entry in kept["speeds"].values():
        entry |= {"busy": True, "time": time.time() - 60}
    (tmp_path / "cache" / FILE_NAME).write_text(json.dumps(kept))
    count, told = measuring(*run)
    assert count == 0
    assert "(fp32, 1 thread), while other programs take a part of the processor" in told.stderr.decode()
    for days, again in ((6, False), (8, True)):
        for entry in kept["speeds"].values():
            entry |= {"busy": False, "time": time.time() - days * 24 * 3600}
        (tmp_path / "cache" / FILE_NAME).write_text(json.dumps(kept))
        assert (measuring(*run)[0] > 0) == again


@pytest.mark.parametrize(("used_s", "is_busy"), [(6.9, True), (7.1, False)])
def test_a_machine_is_busy_if_a_measurement_gets_too_little_of_its_threads(monkeypatch, tmp_path, used_s, is_busy):
    clocks = {"perf_counter": iter((0.0, 10.0)), "process_time": iter((3.0, 3.0 + used_s * torch.get_num_threads()))}
    fake = SimpleNamespace(time=time.time, **{name: values.__next__ for name, values in clocks.items()})
    monkeypatch.setattr(speed, "time", fake)
    monkeypatch.setattr(speed, "_measured", lambda *_: (0.0, 1.0, "fp32"))
    monkeypatch.setattr(speed, "_key", lambda *_: "key")
    monkeypatch.setenv("ADACODE_CACHE", str(tmp_path))
    assert speed.speed_of(None, None, "", "cpu").is_busy is is_busy
    assert json.loads((tmp_path / FILE_NAME).read_text())["speeds"]["key"]["busy"] is is_busy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"version": 2, "speeds": {}}',
        '{"version": 1, "speeds": []}',
        '{"version": 1, "speeds": {"a": 1}}',
        '{"version": 1, "speeds": {"a": {"per_image_s": NaN, "per_megapixel_s": 1, "time": 1, "precision": "fp32"}}}',
        "[" * 100_000,
        "\x00",
    ],
    ids=range(9),
)
def test_a_file_of_speeds_that_says_nothing(measuring, photo, tmp_path, text):
    photo("p/a.png")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE_NAME).write_text(text)
    count, result = measuring("sr", "p", "--weights", "counted")
    assert (result.returncode, count >= 3) == (0, True)
    assert measuring("sr", "p", "--weights", "counted")[0] == 0


def test_a_cache_that_cannot_be_written(measuring, photo, tmp_path):
    photo("p/a.png")
    (tmp_path / "file").write_text("x")
    for place in (str(tmp_path / "file"), "/proc/nowhere"):
        count, result = measuring("sr", "p", "--weights", "counted", ADACODE_CACHE=place)
        assert (result.returncode, count >= 3) == (0, True), result.stderr
        assert " on cpu (fp32, 1 thread)" in result.stderr.decode()


@pytest.mark.parametrize(("per_image", "per_megapixel"), [(0.25, 40.0), (0.0, 3.5), (0.01, 0.001)])
def test_the_line_through_two_measurements(per_image, per_megapixel):
    taken: dict[int, float] = {}

    def seconds(side: int) -> float:
        taken[side] = per_image + side**2 / 1e6 * per_megapixel
        return taken[side]

    found = _line(seconds, (128, 256, 512, 1024), enough_s=1)
    assert found == pytest.approx((per_image, per_megapixel), abs=1e-9)
    longest = max(taken)
    assert longest == 1024 or taken[longest] >= 1
    assert all(took < 1 for side, took in taken.items() if side < longest)
    speed = Speed(*found, precision="fp32", device="cpu", threads=1)
    assert speed.seconds(10, 4_000_000) == pytest.approx(10 * per_image + 4 * per_megapixel)


def test_a_line_that_falls_is_a_rate():
    assert _line(lambda side: 2.0 if side == 64 else 1.0, (128,), enough_s=1) == (0.0, pytest.approx(1e6 / 128**2))


def huge_png(path: Path, side: int) -> None:
    """The beginning of a PNG of side × side pixels, which no program could hold."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"IDAT" + bytes(1000), b"IEND")
    data = (struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))


def test_a_disk_that_is_too_small_is_a_warning(adacode, tmp_path):
    huge_png(tmp_path / "p" / "a.png", 2_000_000)
    run = ("sr", "p", "--dry-run", "--max-megapixels", "1e9", *W)
    result = adacode(*run, "--quiet")
    assert result.returncode == 0
    first, hint = result.stderr.decode().splitlines()
    assert first.startswith("warning: p-sr-x4: its disk has ")
    assert " free, and the results need about " in first
    assert "-o" in hint
    (disk,) = estimated(adacode(*run, "--json"))["disks"]
    assert disk["is_too_small"]
    assert disk["needed_bytes"] > disk["free_bytes"]
    assert Disk(Path("x"), 10, None).is_too_small is False


def test_replaced_outputs_need_no_room_of_their_own(adacode, photo, tmp_path):
    photo("p/a.bmp", (300, 200))
    run = ("sr", "p", "-o", "out", "--scale", "2", *W)
    needed = estimated(adacode(*run, "--dry-run", "--json"))["disks"][0]["needed_bytes"]
    assert adacode(*run).returncode == 0
    again = estimated(adacode(*run, "--overwrite", "--dry-run", "--json"))
    assert again["output_bytes"] == needed
    assert again["disks"][0]["needed_bytes"] < needed / 10


@pytest.fixture(scope="module")
def restored() -> dict[float, tuple[Path, np.ndarray]]:
    """A photograph, and what the bundled weights make of it, by scale."""
    path = ROOT / "examples" / "photos" / "astronaut.jpg"
    image, restorer = np.asarray(Image.open(path)), Restorer.from_pretrained("compact", precision="fp32")
    return {4: (path, restorer.sr(image, 4)), 2: (path, restorer.sr(image, 2)), 1: (path, restorer.reconstruct(image))}


@pytest.mark.parametrize("scale", [4, 2, 1])
@pytest.mark.parametrize("quality", [95, 80])
def test_sizes_of_a_photograph_are_right_within_a_factor_of_two(restored, tmp_path, scale, quality):
    path, image = restored[scale]
    for format in LOSSLESS_AND_LOSSY:
        file = encode(Decoded(image), format=format, quality=quality)
        needs = Needs(quality, lambda height, width: (height * scale, width * scale))
        header = read_header(path)
        found = Found(path.parent, path.name, in_tree=True)
        suffix = {"jpeg": "jpg", "tiff": "tif"}.get(format, format)
        needs.add(Job(found, tmp_path, f"a.{suffix}", header=header))
        assert 0.5 < needs.num_bytes / len(file) < 2, (format, needs.num_bytes, len(file))


def test_sizes_in_words():
    assert [size(n) for n in (0, 999, 1000, 1_234_567, 10**9, 2 * 10**12)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "1.23 MB",
        "1 GB",
        "2 TB",
    ]


@pytest.mark.parametrize(
    ("sizing", "runs"),
    [
        (Sizing("scale", 4), [20 * 30]),
        (Sizing("scale", 8), [20 * 30, 40 * 60]),
        (Sizing("long-edge", 400), [20 * 30, 80 * 120]),
        (Sizing("long-edge", 30), []),
        (Sizing("long-edge", 15, Fate.SHRUNK), []),
        (Sizing(), [20 * 30]),
    ],
)
def test_the_network_gets_the_pixels_of_each_run(sizing, runs):
    assert sizing.run_pixels(20, 30, (2, 4)) == runs


def test_a_target_size_is_estimated_for_each_image(adacode, photo, tmp_path):
    files = [photo(f"p/{name}.bmp", size) for name, size in (("small", (30, 20)), ("large", (90, 60)))]
    found = estimated(adacode("sr", "p", "--long-edge", "40", "--dry-run", "--json", *W))
    assert found["files"] == 2
    assert found["output_megapixels"] == pytest.approx((40 * 27 + 90 * 60) / 1e6, abs=1e-3)
    copied = files[1].stat().st_size
    assert copied + 40 * 27 * 3 < found["output_bytes"] < copied + 40 * 27 * 3 + 3000


def test_narrow_and_turned_images_with_a_width(adacode, photo, tmp_path):
    """A file of 15×400 may be stored turned: then it is wide enough already. One of 60×90 shows 90×60 or 60×90."""
    narrow = photo("p/narrow.bmp", (15, 400))
    exif = Image.Exif()
    exif[274] = 6
    Image.open(photo("b.png", (90, 60))).save(tmp_path / "p" / "turned.jpg", exif=exif)
    run = ("sr", "p", "--width", "320", "-o", "out", *W)
    result = adacode(*run, "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    found = estimated(result)
    assert (found["files"], found["unknown_files"]) == (2, 0)
    assert found["output_megapixels"] == pytest.approx((15 * 400 + 320 * 480) / 1e6, abs=1e-3)
    alone = estimated(adacode("sr", "p/narrow.bmp", "--width", "320", "-o", "out", "--dry-run", "--json", *W))
    assert alone["output_bytes"] == narrow.stat().st_size
    assert adacode(*run).returncode == 9  # It is not stored turned.
    assert Image.open(tmp_path / "out" / "turned.jpg").size == (320, 480)


def test_an_image_that_is_kept_in_another_format_is_no_copy(adacode, photo):
    source = photo("p/a.bmp", (300, 200))
    kept = ("sr", "p", "--width", "100", "-o", "out", "--dry-run", "--json", *W)
    assert estimated(adacode(*kept))["output_bytes"] == source.stat().st_size
    photo("p/a.png", (300, 200)).rename(source)  # a PNG by its content
    assert estimated(adacode(*kept))["output_bytes"] == pytest.approx(300 * 200 * 3, abs=3000)


def test_the_size_of_an_input_of_which_nothing_is_known(tmp_path):
    needs = Needs(95, Sizing("width", 320).size, upright=Foresight(Sizing("width", 320)).upright)
    found = Found(tmp_path, "a.bmp", in_tree=True)
    needs.add(Job(found, tmp_path, "a.bmp", header=Header(9, 9)))
    needs.add(Job(found, tmp_path, "a.bmp"))
    assert (needs.num_files, needs.num_unknown, needs.num_bytes) == (2, 2, 0)
