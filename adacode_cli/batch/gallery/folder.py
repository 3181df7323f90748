"""The folder of a gallery: the page, and data that follow the journal of its output tree while a run goes on.

The data are scripts in parts of a fixed number of journal lines. A part depends on the journal alone, so several
processes that write the gallery of one tree write the same; of several lines on one output, the page shows the last.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from adacode_cli.batch.gallery.again import DOWNLOADS, base_of, command_for, list_command
from adacode_cli.batch.gallery.entries import (
    Addresses,
    Again,
    Entry,
    Fields,
    addresses_in,
    as_script,
    digest_in,
    entry_of,
    facts_in,
    fields_of,
)
from adacode_cli.batch.gallery.judgements import judgements_in
from adacode_cli.batch.gallery.places import FILES, GALLERY, PAGE, PICTURES, VENDOR
from adacode_cli.batch.journal import lines_in
from adacode_cli.batch.output_files import write_again
from adacode_cli.batch.report import REPORT
from adacode_cli.batch.state_files import object_of
from adacode_cli.errors import InputError, OutputError
from adacode_cli.storage import objects
from adacode_cli.storage.path import is_remote
from adacode_cli.version import __version__

LINES_OF_A_PART = 500
LINES_OF_DETAILS = 50
COMMANDS = "commands.json"
_MAX_STATE_BYTES = 64 << 20
# While a run goes on: how long data stay as they are, and how much longer than it takes to write them.
_EVERY_S = 2.0
_REST = 50.0
_OF_REPORT = ("began", "ended", "files", "done", "skipped", "failed", "untouched", "seconds", "exit_code", "stopped_by")


@dataclass
class _Progress:
    """What is written: lines and bytes of the journal so far, and the entries of the part that is not full.

    commands: the words of commands that make outputs again, by the digest of their options. lists: the commands that
    take lists of originals, by the names of these lists. first: a digest of the first line, which names the journal.
    """

    commands: Mapping[str, list[str]]
    lines: int = 0
    read_to: int = 0
    open: list[Entry | None] = field(default_factory=list)
    lists: dict[str, str] = field(default_factory=dict)
    first: str = ""


class Gallery:
    """The gallery of the output tree `root`, in its state directory; safe to call from several threads.

    root: the tree. folder: where the page lies, if it is another place. addresses: of originals and results for it.
    lines: what is shown in the place of the journal, as `journal.lines_in` gives it. facts: what the pictures of an
    output state, by the digest of its content, in the place of those in the folder. view: what the page shows first,
    as in its address; "": everything.
    """

    def __init__(
        self,
        root: Path,
        folder: Path | None = None,
        addresses: Addresses | None = None,
        lines: Callable[[int], Iterable[tuple[bytes, int]]] | None = None,
        *,
        facts: Callable[[str], Fields] | None = None,
        view: str = "",
    ) -> None:
        self.root = root
        self._view = view
        self._lines = lines or partial(lines_in, root)
        self.folder = folder or root / GALLERY
        self._addresses = addresses or addresses_in(self.folder)
        self._facts = facts or partial(facts_in, self.folder)
        self._lock = threading.Lock()
        self._progress = _Progress({})
        self._not_before = 0.0

    @property
    def page(self) -> Path:
        """The page that a browser opens."""
        return self.folder / PAGE

    def begin(self, command: Mapping[str, list[str]] | None = None, *, running: bool = True) -> None:
        """Writes the page and all data so far. Raises OutputError, JournalError.

        command: the words of the command that makes an output again, by the digest of its options.
        running: more is going to come, so the page looks for it.
        """
        self.check()
        with self._lock:
            for name, data in _app():
                self._write(name, data)
            self._keep_commands(command or {})
            self._progress = _Progress(self._commands())
            self._follow(running=running)

    def advance(self) -> None:
        """Writes what has come since, if that is due and no other thread does it. Raises OutputError, JournalError."""
        if time.monotonic() < self._not_before or not self._lock.acquire(blocking=False):
            return
        try:
            self._follow(running=True)
        finally:
            self._lock.release()

    def end(self) -> None:
        """Writes all data again, without outputs that were made again since. Raises OutputError, JournalError."""
        with self._lock:
            self._progress = _Progress(self._commands())
            self._follow(running=False)

    def last_lines(self) -> Iterator[Fields]:
        """The fields of the last journal line on each output. Raises JournalError."""
        last = self._last_numbers()
        for number, (line, _) in enumerate(self._lines(0)):
            fields = fields_of(line)
            if fields and last.get(fields["target"]) == number:
                yield fields

    def entries(self) -> Iterator[Entry]:
        """The last entry on each output, in the order of the journal. Raises JournalError."""
        for number, fields in enumerate(self.last_lines()):
            yield entry_of(fields, number, self._facts, self._addresses, Again())

    def check(self) -> None:
        """Raises OutputError for a link, which would lead what is written to another place."""
        links = [one for one in _folders(self.folder) if one.is_symlink()]
        if self.folder == self.root / GALLERY and self.folder.parent.is_symlink():
            links.append(self.folder.parent)
        if links:
            hint = "Remove it, and run the same command again."
            raise OutputError("is a link, and adacode does not follow links here", path=links[0], hint=hint)

    def _follow(self, *, running: bool) -> None:
        began = time.monotonic()
        progress = self._progress
        last = self._last_numbers() if progress.read_to == 0 else None
        for line, num_bytes in self._lines(progress.read_to):
            progress.read_to += num_bytes
            progress.first = progress.first or hashlib.sha256(line).hexdigest()[:16]
            fields = fields_of(line)
            is_shown = fields is not None and (last is None or last.get(fields["target"]) == progress.lines)
            progress.open.append(self._entry(fields) if fields and is_shown else None)
            progress.lines += 1
            if len(progress.open) == LINES_OF_A_PART:
                self._write_part()
                progress.open = []
        if progress.open:
            self._write_part()
        self._write("data/judged.js", as_script("adacode.judged", judgements_in(self.root, progress.first)))
        self._write("data/state.js", as_script("adacode.state", self._state(running=running)))
        now = time.monotonic()
        self._not_before = now + max(_EVERY_S, _REST * (now - began))

    def _entry(self, fields: Fields) -> Entry:
        progress = self._progress
        return entry_of(fields, progress.lines, self._facts, self._addresses, self._again(fields, progress))

    def _again(self, fields: Fields, progress: _Progress) -> Again:
        options = str(fields.get("options_sha256"))
        words, base = progress.commands.get(options), base_of(fields)
        command = (command_for(fields, self.root, words) if words else None) or ""
        if base is None:
            return Again(command)
        name = hashlib.sha256(f"{base}\n{options}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
        progress.lists.setdefault(name, list_command(base, self.root, words) if words else "")
        return Again(command, name)

    def _last_numbers(self) -> dict[str, int]:
        """The number of the last line on each output."""
        lines = enumerate(line for line, _ in self._lines(0))
        return {fields["target"]: number for number, line in lines if (fields := fields_of(line))}

    def _write_part(self) -> None:
        progress = self._progress
        part = (progress.lines - 1) // LINES_OF_A_PART
        shown = [entry.shown for entry in progress.open if entry]
        self._write(f"data/part-{part}.js", as_script("adacode.part", part, shown))
        for first in range(0, len(progress.open), LINES_OF_DETAILS):
            entries = progress.open[first : first + LINES_OF_DETAILS]
            details = {entry.shown["id"]: entry.details for entry in entries if entry}
            number = part * (LINES_OF_A_PART // LINES_OF_DETAILS) + first // LINES_OF_DETAILS
            self._write(f"data/details-{number}.js", as_script("adacode.details", number, details))

    def _state(self, *, running: bool) -> dict[str, Any]:
        report = _object_at(self.root / REPORT)
        return {
            "tool": __version__,
            "name": self.root.absolute().name,
            "running": running,
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            "journal": self._progress.first,
            "lists": self._progress.lists,
            "lines": self._progress.lines,
            "downloads": DOWNLOADS,
            "view": self._view,
            "linesOfAPart": LINES_OF_A_PART,
            "linesOfDetails": LINES_OF_DETAILS,
            "report": {} if running else {name: report[name] for name in _OF_REPORT if name in report},
        }

    def _keep_commands(self, command: Mapping[str, list[str]]) -> None:
        known = self._commands()
        if command and {**known, **command} != known:
            self._write(COMMANDS, json.dumps({**known, **command}, indent=1).encode("ascii"))

    def _commands(self) -> dict[str, list[str]]:
        commands = _object_at(self.folder / COMMANDS)
        return {key: words for key, words in commands.items() if digest_in(key) and _are_texts(words)}

    def _write(self, name: str, data: bytes) -> None:
        write_again(self.folder / name, data)


def _folders(folder: Path) -> Iterator[Path]:
    """The folders of a gallery into which files are written, whether they are there or not."""
    yield folder
    for name in ("app", f"app/{VENDOR}", "data", PICTURES, FILES):
        yield folder / name
    for name in (PICTURES, FILES):
        with suppress(OSError):  # They are not there yet.
            yield from (folder / name).iterdir()


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _app() -> Iterable[tuple[str, bytes]]:
    """(path in the gallery, content) of the page's own files."""
    static = files("adacode_cli.batch.gallery") / "static"
    for name, data in _walk(static, ""):
        yield (name if name == PAGE else f"app/{name}"), data


def _walk(folder: Traversable, start: str) -> Iterator[tuple[str, bytes]]:
    for child in folder.iterdir():
        if child.is_dir():
            yield from _walk(child, f"{start}{child.name}/")
        else:
            yield start + child.name, child.read_bytes()


def _object_at(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        if is_remote(path):
            return object_of(objects.read(path, 0, _MAX_STATE_BYTES)) or {}
        with path.open("rb") as file:
            return object_of(file.read(_MAX_STATE_BYTES)) or {}
    except (OSError, InputError):
        return {}
