"""What other programs of Debian say of a file, and files that they have written: exiftool, ImageMagick and others."""

import json
import shutil
import subprocess

import cv2
import pytest

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
needs_libavif = pytest.mark.skipif(
    shutil.which("avifenc") is None or shutil.which("avifdec") is None, reason="libavif's programs are not installed"
)
needs_libheif = pytest.mark.skipif(shutil.which("heif-convert") is None, reason="heif-convert is not installed")
needs_imagemagick = pytest.mark.skipif(shutil.which("identify") is None, reason="ImageMagick is not installed")


def exiftool(path):
    """{"Group:Tag": value} of everything that exiftool finds, numbers as numbers."""
    return exiftool_of_all([path])[0]


def exiftool_of_all(paths):
    """What `exiftool` says of each of several files; most of its time is its start."""
    command = ["exiftool", "-json", "-G1", "-n", "-a", "-struct", "-charset", "iptc=UTF8", *map(str, paths)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    return [{key: value for key, value in file.items() if ":" in key} for file in found]


def warnings_of(path):
    """What exiftool has against a file's metadata when it looks closely."""
    run = subprocess.run(
        ["exiftool", "-validate", "-warning", "-error", "-a", "-s3", str(path)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    return run.stdout.decode().splitlines()


def tagged(path, *assignments):
    """Lets exiftool write tags, such as "-XMP-dc:Title=x", into a file that exists."""
    command = ["exiftool", "-overwrite_original", "-n", "-codedcharacterset=utf8", *assignments, str(path)]
    run = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr.decode()
    return path


def identify(path, form):
    """One line of ImageMagick's `identify -format`, for each page."""
    run = subprocess.run(["identify", "-format", form + "\n", str(path)], check=True, capture_output=True, timeout=60)
    return run.stdout.decode().splitlines()


def avifenc(path, *images_and_options):
    """Lets libavif's program write the AVIF file `path` of PNG files: nearly without loss, and fast."""
    fine = ["-s", "9", "--min", "0", "--max", "2", "--minalpha", "0", "--maxalpha", "2"]
    _succeeding(["avifenc", *fine, *images_and_options, "-o", path])
    return path


def avifdec(path):
    """The samples of an AVIF file as libavif's program writes them into a PNG of 16 bits, not turned."""
    out = path.with_suffix(".avifdec.png")
    _succeeding(["avifdec", "-d", "16", path, out])
    samples = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    return samples if samples.ndim == 2 else samples[..., [2, 1, 0, 3][: samples.shape[2]]]


def heif_convert(path):
    """The samples of an AVIF or HEIC file of 8 bits as libheif's program shows them, turned."""
    out = path.with_suffix(".heif.png")
    _succeeding(["heif-convert", path, out])
    return cv2.imread(str(out), cv2.IMREAD_COLOR)[..., ::-1]


def converted(*arguments):
    """Runs ImageMagick's `convert`."""
    _succeeding(["convert", *arguments])


def _succeeding(command):
    run = subprocess.run([str(part) for part in command], check=False, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr.decode() + run.stdout.decode()


def convert(*arguments):
    """What ImageMagick's `convert` writes to standard output."""
    command = ["convert", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
