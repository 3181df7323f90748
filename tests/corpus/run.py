"""Reads every image below a folder with this program and with others, and prints where they disagree.

    python tests/corpus/run.py DIR [--only GLOB] [--limit N] [--tolerance MEAN] [--json FILE]

README.md beside it says what is compared, what the outcomes mean, and which public collections are worth a run. The
exit code is 1 where images differ or a decoder of ours crashed, 2 for a wrong call, 130 after Ctrl-C, else 0.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import corpus_readers
from corpus_compare import (
    DIFFERS,
    DISPUTED,
    FAULT,
    LARGEST_PIXELS,
    NEITHER,
    NOT_COMPARED,
    ONLY_OURS,
    ONLY_THEIRS,
    ONLY_THEIRS_DAMAGED,
    OUTCOMES,
    SAME,
    SAME_DAMAGED,
    Difference,
    Verdict,
    difference,
    facts_of,
)

from adacode_cli import formats
from adacode_cli.cli.streams import printable
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.decoder_pool import DecodingBug, decoding
from adacode_cli.imaging.files import file_bytes
from adacode_cli.imaging.image import INKS_LOST, INKS_PROFILE_LOST, Decoded

# Suffixes that people give to files of the kinds that are read, beside those that discovery takes up.
_OTHER_SUFFIXES = {".mpo", ".apng", ".dib", ".btf", ".tf8", ".bigtiff", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf", ".jph"}
_OTHER_SUFFIXES |= {".hif", ".avifs", ".heics", ".heifs", ".jps", ".jpt", ".jpm", ".jfi", ".jif"}
_PICTURES = formats.input_suffixes() | _OTHER_SUFFIXES
_OUR_LIMIT_S = 120.0
_UNREADABLE = "cannot be read"
_LISTED = (FAULT, DIFFERS, ONLY_THEIRS, ONLY_THEIRS_DAMAGED, DISPUTED, SAME_DAMAGED, ONLY_OURS, NEITHER, NOT_COMPARED)


def main() -> int:
    """Runs over the folder that the command line names, and returns the exit code."""
    call = _call()
    if corpus_readers.magick_command() is None:
        print("ImageMagick is not installed (neither magick nor convert is found).", file=sys.stderr)
        return 2
    others: Counter[str] = Counter()
    verdicts: dict[str, Verdict] = {}
    stopped = False
    with (
        tempfile.TemporaryDirectory(prefix="corpus-") as folder,
        decoding(isolated=True, limit_s=_OUR_LIMIT_S) as decode,
    ):
        try:
            for path, data in _new(_pictures(call.folder, call.only, others), others):
                if len(verdicts) == call.limit:
                    break
                verdicts[_name(path, call.folder)] = _verdict(path, data, decode, Path(folder), call.tolerance)
                _progress(len(verdicts))
        except KeyboardInterrupt:
            stopped = True
    _print_table(verdicts, others)
    _print_lists(verdicts)
    if call.json:
        _write_json(call.json, verdicts, others)
    if stopped:
        return 130
    return int(any(verdict.outcome in (DIFFERS, FAULT) for verdict in verdicts.values()))


def _call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--only", metavar="GLOB", help="files whose name, or path below DIR, is like this")
    parser.add_argument("--limit", metavar="N", type=int, help="the first N images alone")
    parser.add_argument("--tolerance", metavar="MEAN", type=float, default=0.005, help="of 0 to 1, default 0.005")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all that was found, file by file")
    call = parser.parse_args()
    if not call.folder.is_dir():
        parser.error(f"{printable(str(call.folder))} is no folder")
    if not 0.0 <= call.tolerance <= 1.0:
        parser.error("--tolerance is a mean difference from 0 to 1")
    return call


def _new(paths: Iterator[Path], others: Counter[str]) -> Iterator[tuple[Path, bytes]]:
    """The files with their bytes; what was there before under another name is counted, as is what cannot be read."""
    seen: set[bytes] = set()
    for path in paths:
        try:
            data = file_bytes(path)
        except InputError:
            others[_UNREADABLE] += 1
            continue
        digest = hashlib.sha256(data).digest()
        if digest in seen:
            others["images that were there before"] += 1
            continue
        seen.add(digest)
        yield path, data


def _pictures(folder: Path, only: str | None, others: Counter[str]) -> Iterator[Path]:
    """Files that are images by their suffix, or by their first bytes if they have none; counts all others by kind."""
    for parent, names, files in os.walk(folder):
        names.sort()
        for name in sorted(files):
            path = Path(parent, name)
            below = _name(path, folder)
            if only and not (fnmatch.fnmatch(name, only) or fnmatch.fnmatch(below, only)):
                continue
            kind = _kind_of_other(path)
            if kind:
                others[kind] += 1
                continue
            yield path


def _kind_of_other(path: Path) -> str:
    """What a file that is no image is counted as, or "" for an image."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return "links"
        if not stat.S_ISREG(mode):
            return "pipes, sockets, devices"
        suffix = path.suffix.lower()
        if suffix in _PICTURES:
            return ""
        if suffix:
            return suffix
        with path.open("rb") as file:
            return "" if corpus_readers.kind_of(file.read(64)) else "without a suffix"
    except OSError:
        return _UNREADABLE


def _verdict(path: Path, data: bytes, decode: Decode, folder: Path, tolerance: float) -> Verdict:
    decoded: Decoded | None = None
    try:
        decoded = decode(data, name=path.name)
        ours = facts_of(decoded)
    except InputError as error:
        ours = {"refused": error.message, "hint": error.hint}
        if error.message.startswith("its decoder"):
            return Verdict(FAULT, ours)
    except DecodingBug as error:
        return Verdict(FAULT, {"refused": f"DecodingBug: {str(error).splitlines()[-1] if str(error) else ''}"})
    if decoded and decoded.pixels.shape[0] * decoded.pixels.shape[1] > LARGEST_PIXELS:
        return Verdict(NOT_COMPARED, {**ours, "reason": "is larger than what is compared"})
    copy = _copied(path, data, decoded, folder)
    try:
        return _against_refused(ours, copy) if decoded is None else _compared(decoded, ours, copy, tolerance)
    finally:
        copy.path.unlink()


def _copied(path: Path, data: bytes, decoded: Decoded | None, folder: Path) -> corpus_readers.Copy:
    """The file under a plain name, alone in `folder`."""
    kind = corpus_readers.kind_of(data[:64])
    if kind is None:  # what a damaged file was meant to be
        plain = path.suffix.lower().lstrip(".") if path.suffix.lower() in _PICTURES else "png"
        kind = ("unknown", plain, {"jpe": "jpeg", "jfif": "jpeg", "tif": "tiff"}.get(plain, plain))
    place = folder / f"image.{kind[1]}"
    place.write_bytes(data)
    lost = decoded.lost if decoded else ()
    inks = "profile" if INKS_PROFILE_LOST in lost else "formula" if INKS_LOST in lost else ""
    return corpus_readers.Copy(place, kind[0], kind[2], inks)


def _compared(decoded: Decoded, ours: dict[str, object], copy: corpus_readers.Copy, tolerance: float) -> Verdict:
    """Other programs are asked until one of them reads what we read."""
    differences: list[Difference] = []
    refused: dict[str, str] = {}
    for reading in corpus_readers.readings(copy):
        if reading.pixels is None:
            refused[reading.reader] = reading.complaint
            continue
        found = difference(decoded, reading, tolerance)
        differences.append(found)
        if not found.problems:
            agreed = SAME_DAMAGED if found.complaint else SAME
            return Verdict(agreed if len(differences) == 1 else DISPUTED, ours, tuple(differences), refused)
    return Verdict(DIFFERS if differences else ONLY_OURS, ours, tuple(differences), refused)


def _against_refused(ours: dict[str, object], copy: corpus_readers.Copy) -> Verdict:
    """Whether another program reads what we refuse; one that has nothing against the file counts most."""
    refused: dict[str, str] = {}
    with_complaint: list[Difference] = []
    for reading in corpus_readers.readings(copy):
        if reading.pixels is None:
            refused[reading.reader] = reading.complaint
            continue
        height, width = reading.pixels.shape[:2]
        made = Difference(reading.reader, problems=(f"reads {width}×{height}",), complaint=reading.complaint)
        if not reading.complaint:
            return Verdict(ONLY_THEIRS, ours, (made,), refused)
        with_complaint.append(made)
    return Verdict(ONLY_THEIRS_DAMAGED if with_complaint else NEITHER, ours, tuple(with_complaint), refused)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _progress(count: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{count} images", end="", file=sys.stderr, flush=True)


def _print_table(verdicts: dict[str, Verdict], others: Counter[str]) -> None:
    counts = Counter(verdict.outcome for verdict in verdicts.values())
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    for outcome in OUTCOMES:
        print(f"{counts[outcome]:7d}  {outcome}")
    print(f"{len(verdicts):7d}  images")
    kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in others.most_common())
    print(f"{others.total():7d}  other files{': ' + kinds if kinds else ''}")


def _print_lists(verdicts: dict[str, Verdict]) -> None:
    for outcome in _LISTED:
        listed = {name: verdict for name, verdict in verdicts.items() if verdict.outcome == outcome}
        if listed:
            print(f"\n{outcome}:")
        for name, verdict in listed.items():
            print(f"  {printable(name)}: {_line_of(verdict.ours)}")
            for found in verdict.differences:
                against = "; ".join(found.problems) or "reads the same"
                print(f"      {found.reader}: {printable(against + _complaint(found.complaint))}")
            for reader, complaint in verdict.refused_by.items():
                print(f"      {reader} refuses it: {printable(complaint)}")


def _line_of(ours: dict[str, object]) -> str:
    if "refused" in ours:
        return f"we refuse it: {printable(str(ours['refused']))}"
    pages = f", {ours['pages']} pages" if ours["pages"] != 1 else ""
    reason = f": {ours['reason']}" if "reason" in ours else ""
    return f"{ours['size']}, {ours['channels']}, {ours['depth']} bits{pages}{reason}"


def _complaint(text: str) -> str:
    return f" ({text})" if text else ""


def _write_json(path: Path, verdicts: dict[str, Verdict], others: Counter[str]) -> None:
    files = [{"file": printable(name), **asdict(verdict)} for name, verdict in verdicts.items()]
    text = json.dumps({"files": files, "no_images": dict(others)}, ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
