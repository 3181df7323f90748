"""A library that crashes or hangs on a file takes that file along only; what a run started ends with it."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from adacode_process import default_signals
from PIL import Image, ImageCms
from test_faults_disk import RUN, names, said
from test_faults_signals import HANGS_AFTER_S

from adacode_cli.errors import InputError
from adacode_cli.imaging.decoder_pool import DecoderPool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files are not decoded in processes of their own there")

CODECS = str(Path(__file__).parent / "codecs")
CRASHED = -signal.SIGSEGV
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def tree(photo, tmp_path):
    """Three images, and between them a file that makes its decoder do what `word` says: tree("crash")."""

    def make(word: str) -> None:
        for name in ("a", "c", "d"):
            photo(f"p/{name}.png")
        (tmp_path / "p" / "b.heic").write_bytes(b"\0\0\0\x0cftypheic" + word.encode())

    return make


def decoders(text: bytes) -> list[int]:
    """The processes that the codec was called in."""
    return [int(line.split()[-1]) for line in text.splitlines() if line.startswith(b"decoding in ")]


def is_gone(pid: int) -> bool:
    """Waits for the end of a process that is not ours; one that nobody has reaped yet has ended too."""
    for _ in range(HANGS_AFTER_S * 20):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("word", "fault", "more"),
    [
        ("crash", "a codec crashes its process", ()),
        ("leave", "a codec ends its process", ()),
        ("hang", "a codec hangs", ("--decode-timeout", "2")),
    ],
)
def test_a_codec_takes_its_file_along_only(adacode, tree, tmp_path, table, word, fault, more):
    tree(word)
    result = adacode(*RUN, *more, PYTHONPATH=os.pathsep.join([CODECS, *sys.path]))
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png", "c.png", "d.png"})
    pids = decoders(result.stderr)
    # A crash may be due to an earlier file, so a process that has decoded one is not trusted: another one tries again.
    assert len(pids) in ((1,) if word == "hang" else (1, 2))
    assert all(is_gone(pid) for pid in pids)
    table.row(fault, 9, said(result, "failed: p/b.heic"), "is done")


def test_a_file_does_not_fail_for_what_an_earlier_one_did_to_the_process(monkeypatch, capfd):
    monkeypatch.syspath_prepend(CODECS)
    pool = DecoderPool()
    try:
        for word, message in (("spoil", "cannot spoil"), ("victim", "cannot victim"), ("victim", "cannot victim")):
            with pytest.raises(InputError) as caught:
                pool(b"\0\0\0\x0cftypheic" + word.encode(), name="x")
            assert message in f"{caught.value} {caught.value.__cause__}"
    finally:
        pool.close()
    first, second, again, last = decoders(capfd.readouterr().err.encode())
    assert first == second != again == last


def test_without_isolation_the_run_dies(adacode, tree, tmp_path):
    """What the processes are for; and that the codec is not a fake of ours that only they see."""
    tree("crash")
    result = adacode(*RUN, "--no-isolate", PYTHONPATH=os.pathsep.join([CODECS, *sys.path]))
    assert result.returncode == CRASHED
    assert "c.png" not in names(tmp_path / "out")


def test_a_crash_in_a_mask_fails_its_image_only(adacode, photo, tmp_path):
    for name in ("a", "b"):
        photo(f"p/{name}.png")
    photo("m/a.png")
    (tmp_path / "m" / "b.heic").write_bytes(b"\0\0\0\x0cftypheiccrash")
    run = ("inpaint", "p", "--mask-dir", "m", "-o", "out", "--weights", "nearest")
    result = adacode(*run, PYTHONPATH=os.pathsep.join([CODECS, *sys.path]))
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png"})
    assert "m/b.heic: its decoder crashed" in said(result, "failed: p/b.png")


def mixed(folder: Path) -> None:
    """An image of every kind that is decoded differently, and files that cannot be."""
    noise = np.random.default_rng(0).integers(0, 256, (15, 22, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "by the sea"
    rgb = Image.fromarray(noise[..., :3])
    folder.mkdir()
    rgb.save(folder / "turned.jpg", exif=exif, dpi=(300, 150), icc_profile=SRGB)
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("P").save(folder / "palette.png", dpi=(72, 72))
    rgb.save(folder / "plain.webp", exif=exif)
    rgb.save(folder / "plain.bmp")
    rgb.save(folder / "plain.jp2")
    Image.fromarray(noise).save(folder / "alpha.png")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    pages = [noise[..., :3], noise[:9, :7, :3].astype(np.float32) / 255]
    with tifffile.TiffWriter(folder / "pages.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb", metadata=None)
    whole = (folder / "alpha.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("not an image")


def test_a_tree_is_the_same_with_processes_and_without(adacode, tmp_path):
    mixed(tmp_path / "p")
    found = []
    for out, how in (("out-1", "--isolate"), ("out-2", "--no-isolate")):
        result = adacode("sr", "p", "-o", out, "--jobs", "2", "--weights", "nearest", how)
        files = {path.name: path.read_bytes() for path in (tmp_path / out).iterdir() if path.is_file()}
        told = sorted(
            re.sub(r"^\[\d+|\d+\.\d s", "", result.stderr.decode().replace(out, "OUT"), flags=re.M).splitlines()
        )
        found.append((result.returncode, files, told))
    assert found[0] == found[1]
    code, files, _ = found[0]
    assert (code, len(files)) == (9, 9)


def hanging(adacode, tree):
    """A run whose decoder hangs, and that decoder's process."""
    tree("hang")
    env = {"PYTHONPATH": os.pathsep.join([CODECS, *sys.path])}
    process = adacode.start(*RUN, preexec_fn=default_signals, env=env)
    for line in process.stderr:
        if pids := decoders(line):
            return process, pids[0]
    raise AssertionError("no decoder was started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_decoder_outlives_its_run(adacode, tree, number):
    process, decoder = hanging(adacode, tree)
    process.send_signal(number)
    process.communicate(timeout=HANGS_AFTER_S)
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert is_gone(decoder)


def test_a_decoder_does_not_hear_an_interruption(adacode, tree):
    process, decoder = hanging(adacode, tree)
    os.kill(decoder, signal.SIGINT)
    time.sleep(1)
    os.kill(decoder, signal.SIGKILL)  # raises if it were gone
    _, stderr = process.communicate(timeout=HANGS_AFTER_S)
    assert process.returncode == 9
    assert b"its decoder was killed (signal 9, SIGKILL)" in stderr
