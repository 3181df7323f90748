"""What other programs say of a file, and files that they have written: exiftool and ImageMagick, from Debian."""

import json
import shutil
import subprocess

import pytest

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
needs_imagemagick = pytest.mark.skipif(shutil.which("identify") is None, reason="ImageMagick is not installed")


def exiftool(path):
    """{"Group:Tag": value} of everything that exiftool finds, numbers as numbers."""
    command = ["exiftool", "-json", "-G1", "-n", "-a", "-struct", "-charset", "iptc=UTF8", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)[0]
    return {key: value for key, value in found.items() if ":" in key}


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


def convert(*arguments):
    """What ImageMagick's `convert` writes to standard output."""
    command = ["convert", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
