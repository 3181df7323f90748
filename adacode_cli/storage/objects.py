"""Reads and writes whole files of a store. Each call is tried again while its failure may pass (`patience`).

A file is written whole or not at all: one request, or parts that a last request puts together. Where a store shows
files while they are written (SFTP), another name is written first, and renamed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from adacode_cli.errors import AdaCodeError, InputError, OutputError
from adacode_cli.storage.opening import file_system
from adacode_cli.storage.path import RemotePath
from adacode_cli.storage.patience import code_of, may_pass, patiently, status_of
from adacode_cli.storage.refusals import EXISTS, refusal
from adacode_cli.version import __version__

_Value = TypeVar("_Value")

# What stores call the identity of an object's content: one of them is enough.
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "blob_id", "sha256")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_STAMP_BYTES = 8
PIECE_BYTES = 4 << 20
"""What `read_pieces` gives at once."""
_STREAM_BYTES = 1 << 20
_BEYOND_THE_END = 416
_TEMPORARY = ".adacode-part"


class Replaces(Enum):
    """Which file a new one may replace; a file with the same content is no obstacle in any case.

    OWN: one that has the same facts, so a run made it; only S3 and Google state facts.
    """

    NOTHING = "nothing"
    OWN = "own"
    ANYTHING = "anything"


@dataclass(frozen=True, slots=True)
class Status:
    """What a store states of a file.

    stamp: a number that is another when the content is another; 0 if the store states nothing of that.
    """

    num_bytes: int
    stamp: int


def stamp_of(info: Mapping[str, Any]) -> int:
    """The stamp of a file from what its store states: of its tag and size, or of its time and size; 64 bits."""
    tag = next((str(info[name]).strip('"') for name in _TAGS if info.get(name)), "")
    time = "" if tag else next((str(info[name]) for name in _TIMES if info.get(name)), "")
    return stamp_from(tag, time, info.get("size")) if tag or time else 0


def stamp_from(tag: str, time: str, size: object) -> int:
    """The stamp of a file with this tag, without quotes, or this time, and this size."""
    return int.from_bytes(hashlib.sha256(f"{tag}|{time}|{size}".encode()).digest()[:_STAMP_BYTES])


def status(path: RemotePath, kind: type[AdaCodeError] = InputError) -> Status | None:
    """The status of a file; None if there is none. Raises an error of class `kind`."""
    info = _info(path, kind)
    return None if info is None or info.get("type") == "directory" else _status(info)


def is_folder(path: RemotePath) -> bool:
    """Whether an address is that of a folder, which is one if there is anything below it. Raises InputError.

    It is also raised if there is nothing at the address. The answer is remembered for this value of the path.
    """
    if not path.kind.can_list:
        return False
    if path.is_known_folder is None:
        info = _info(path, InputError)
        if info is None:
            top = RemotePath(*path.parts[:2])
            if path.kind.has_buckets and not path.is_top and _info(top, InputError) is None:
                raise InputError(f"there is no bucket {path.parts[1]}", path=path, hint="Check the name of the bucket.")
            hint = "Check the address; nothing was restored."
            raise InputError("there is no such file or folder", path=path, hint=hint)
        path.is_known_folder = info.get("type") == "directory"
    return path.is_known_folder


def read(path: RemotePath, start: int = 0, end: int | None = None, kind: type[AdaCodeError] = InputError) -> bytes:
    """The bytes of a file, or those from `start` to `end`. Raises an error of class `kind`."""

    def call() -> bytes:
        system, name = file_system(path)
        limits = {} if start == 0 and end is None else {"start": start, "end": end}
        data: bytes = system.cat_file(name, **limits)
        return data

    return _said("cannot be read", path, kind, call)


def read_sized(path: RemotePath, num_bytes: int) -> bytes:
    """The bytes of a file of which its store has stated the size, and one more if there are more. Raises InputError."""
    return read(path, 0, num_bytes + 1) if num_bytes > 0 else read(path)


def read_pieces(path: RemotePath, kind: type[AdaCodeError] = InputError) -> Iterator[bytes]:
    """The bytes of a file that nobody changes, a few megabytes at a time. Raises an error of class `kind`."""
    start = 0
    while True:
        try:
            piece = read(path, start, start + PIECE_BYTES, kind)
        except AdaCodeError as error:
            if error.__cause__ is not None and status_of(error.__cause__) == _BEYOND_THE_END:
                return
            raise
        yield piece
        if len(piece) < PIECE_BYTES:
            return
        start += PIECE_BYTES


def read_start(path: RemotePath, max_bytes: int) -> bytes:
    """The first bytes of a file whose size its store does not state, or may state wrongly. Raises InputError."""

    def call() -> bytes:
        system, name = file_system(path)
        data = bytearray()
        streamed = {} if path.kind.can_list else {"block_size": 0}  # One answer of a web server, without ranges.
        with system.open(name, "rb", **streamed) as file:
            while len(data) < max_bytes and (piece := file.read(min(_STREAM_BYTES, max_bytes - len(data)))):
                data += piece
        return bytes(data)

    return _said("cannot be read", path, InputError, call)


def write(
    path: RemotePath,
    data: bytes,
    *,
    media_type: str = "application/octet-stream",
    facts: Mapping[str, str] | None = None,
    replaces: Replaces = Replaces.ANYTHING,
    kind: type[AdaCodeError] = OutputError,
    before: Callable[[], None] = lambda: None,
) -> Status:
    """Writes a whole file, or nothing. Returns its status. Raises an error of class `kind`.

    media_type, facts: its content type and metadata, where the store has such; the version of adacode is added.
    before: called before each attempt; an error that it raises ends the attempts.
    """
    if not path.kind.can_write:
        hint = "Choose another place with -o, and copy the files from there."
        raise kind(f"cannot be written: files on {path.kind.title} can only be read", path=path, hint=hint)
    settings = _settings(path, media_type, {"adacode-version": __version__, **(facts or {})})

    def attempt() -> Status:
        before()
        return _put(path, data, settings, replaces, kind)

    try:
        return patiently(attempt)
    except Exception as error:
        # An attempt whose answer was lost may have succeeded, and another attempt may have made the same file.
        if (_is_there(error) or may_pass(error)) and (now := _status_if_same(path, data)):
            return now
        if _is_there(error) and replaces is Replaces.OWN:
            if not facts or not _has_facts(path, facts):
                hint = "Choose another place with -o, or add --overwrite to replace it."
                raise kind(f"{EXISTS}, and no run made it from this input", path=path, hint=hint) from error
            return write(path, data, media_type=media_type, facts=facts, kind=kind, before=before)
        raise refusal(kind, "cannot be written", path, error) from error


def _put(
    path: RemotePath, data: bytes, settings: Mapping[str, Any], replaces: Replaces, kind: type[AdaCodeError]
) -> Status:
    """One attempt of `write`. Raises what the libraries raise."""
    system, name = file_system(path)
    if not path.kind.writes_whole:
        _write_and_rename(system, name, data, replaces=replaces is Replaces.ANYTHING)
    else:
        mode = {} if replaces is Replaces.ANYTHING else {"mode": "create"}
        try:
            written = system.pipe_file(name, data, **settings, **mode)
        except Exception as error:
            if code_of(error) != "NoSuchUpload":
                raise
            # The parts are put together already, but the answer was lost: the next attempt, or the end, tells.
            raise ConnectionError(str(error)) from None
        if isinstance(written, dict) and written.get("ETag"):
            return _status({"ETag": written["ETag"], "size": len(data)})
    there = _status(system.info(name))
    if there.num_bytes not in (-1, len(data)):
        raise kind("was replaced while it was written", path=path, hint="Check what else writes there.")
    return there


def _status_if_same(path: RemotePath, data: bytes) -> Status | None:
    """The status of a file with exactly this content; None for another, and if the store does not answer."""
    with suppress(AdaCodeError):
        now = status(path)
        if now is not None and now.num_bytes == len(data) and read_sized(path, len(data)) == data:
            return now
    return None


def _has_facts(path: RemotePath, facts: Mapping[str, str]) -> bool:
    """Whether the metadata of a file has these facts; False where a store does not state it."""

    def call() -> Mapping[str, str]:
        system, name = file_system(path)
        if path.scheme == "s3":
            return dict(system.metadata(name))
        return dict(system.info(name).get("metadata") or {}) if path.scheme == "gs" else {}

    stated = _said("cannot be read", path, OutputError, call)
    return "adacode-version" in stated and facts.items() <= stated.items()


def remove(path: RemotePath, kind: type[AdaCodeError] = OutputError) -> None:
    """Removes a file, if it is there. Raises an error of class `kind`."""

    def call() -> None:
        system, name = file_system(path)
        with suppress(FileNotFoundError):
            system.rm_file(name)

    _said("cannot be removed", path, kind, call)


def creates(
    path: RemotePath, data: bytes, media_type: str = "application/json", kind: type[AdaCodeError] = OutputError
) -> bool:
    """Writes a file unless there is another one of its name. Returns whether it is there. Raises an error of class
    `kind`.
    """
    try:
        write(path, data, media_type=media_type, replaces=Replaces.NOTHING, kind=kind)
    except AdaCodeError as error:
        if error.__cause__ is not None and _is_there(error.__cause__):
            return False
        raise
    return True


def _settings(path: RemotePath, media_type: str, facts: Mapping[str, str]) -> dict[str, Any]:
    """The content type and the metadata, in the words of each library."""
    if path.scheme == "s3":
        return {"ContentType": media_type, "Metadata": dict(facts)}
    if path.scheme == "gs":
        return {"content_type": media_type, "metadata": dict(facts)}
    return {"content_settings": {"content_type": media_type}} if path.kind.module == "adlfs" else {}


def _write_and_rename(system: Any, name: str, data: bytes, *, replaces: bool) -> None:  # noqa: ANN401 (of fsspec)
    folder, _, last = name.rpartition("/")
    temporary = f"{folder}/.{last[:100]}.{secrets.token_hex(4)}{_TEMPORARY}"
    _make_folder(system, folder)
    try:
        system.pipe_file(temporary, data)
        _rename(system, temporary, name, replaces=replaces)
    except BaseException:
        with suppress(Exception):
            system.rm_file(temporary)
        raise


def _make_folder(system: Any, folder: str) -> None:  # noqa: ANN401
    """Makes a folder and those above it. Others may make the same ones at the same moment."""
    for _ in range(folder.count("/")):
        with suppress(OSError):
            system.makedirs(folder, exist_ok=True)
            return
    system.makedirs(folder, exist_ok=True)


def _rename(system: Any, temporary: str, name: str, *, replaces: bool) -> None:  # noqa: ANN401
    if not replaces and system.exists(name):
        raise FileExistsError(name)
    system.mv(temporary, name)


def _info(path: RemotePath, kind: type[AdaCodeError]) -> dict[str, Any] | None:
    def call() -> dict[str, Any] | None:
        """What the store states of the path; None if there is nothing."""
        system, name = file_system(path)
        try:
            info: dict[str, Any] = system.info(name)
        except FileNotFoundError as error:
            # Libraries also say this of a server that is busy, or that denies it.
            if may_pass(error) or status_of(error) not in (None, 404, 410):
                raise
            return None
        return info

    return _said("cannot be read", path, kind, call)


def _status(info: Mapping[str, Any]) -> Status:
    size = info.get("size")
    return Status(int(size) if size is not None else -1, stamp_of(info))


def _is_there(error: BaseException) -> bool:
    """Whether a store has refused to replace a file."""
    return isinstance(error, FileExistsError) or status_of(error) == 412


def _said(what: str, path: RemotePath, kind: type[AdaCodeError], call: Callable[[], _Value]) -> _Value:
    """What a call returns, tried patiently. Raises an error of class `kind` that begins with `what`."""
    try:
        return patiently(call)
    except Exception as error:
        raise refusal(kind, what, path, error) from error
