"""Downloads a published release file over HTTPS, completely or not at all, also if the connection breaks repeatedly.

The file has its final name in the cache only when it is complete. The digest of the first download is trusted, but only
once the file has proved to be what it should be: a login page or an error page can come with status 200, and later
downloads would be compared with it. What is refused is discarded, so that the next call starts over.

Each attempt requests only the missing part (`Range`), on the condition that the remote file is still the same
(`If-Range`, and a check of the answer's validator, because some storage servers ignore the condition). Attempts stop
after several in sequence without new bytes. httpx2 is used instead of urllib, because it reports a body that ends early
as a separate error, has separate time limits for connecting and for reading, trusts the system's certificates, and is
installed with huggingface_hub anyway, so that proxies and certificates work in the same way for both kinds of
download.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adacode_cli import atomic
from adacode_cli.checkpoints import integrity
from adacode_cli.checkpoints.cache import KnownDigests, Seen, exclusive, storing
from adacode_cli.checkpoints.connection import why_not_reached
from adacode_cli.errors import WeightsError
from adacode_cli.version import __version__

if TYPE_CHECKING:
    import httpx2

BASE_VARIABLE = "ADACODE_RELEASE_BASE"
# Converts the downloaded file at a path, and returns the SHA-256 of the result; raises WeightsError for other content.
Accept = Callable[[Path], str]
# Called with the number of bytes that have arrived and that of the whole file (None while unknown).
OnProgress = Callable[[int, int | None], None]
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_OFFLINE = "Check the connection and run the command again, or get the file elsewhere and pass --weights FILE.pth."


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a server, and how often to try again.

    `attempts` counts consecutive ones without new bytes; the pause before the next doubles from
    `first_pause_s` up to `longest_pause_s` (also the most that a server's Retry-After can ask for).
    """

    connect_timeout_s: float = 15.0
    silence_timeout_s: float = 60.0
    attempts: int = 5
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0


DEFAULT_POLICY = RetryPolicy()


def download(
    url: str,
    target_dir: Path,
    *,
    accept: Accept,
    on_progress: OnProgress | None = None,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Path:
    """The file of `url` in `target_dir`, downloaded unless it is there; its digest is that of the first download.

    `accept` gets every file whose digest is not recorded yet; its answer is recorded with the digest. A download that
    it refuses is discarded. `on_progress` gets the number of bytes that have arrived and that of the whole file (None
    while unknown), and is not called if nothing is downloaded. Raises WeightsError if the address is not safe, the
    server refuses, the connection breaks too often (the next call continues), the content is refused or the digest
    differs; OutputError if the file cannot be written.
    """
    source = _address(url)
    _require_secure(source)
    target = target_dir / _name(url)
    known, part = KnownDigests(target_dir), PartialFile(target)
    with exclusive(target):
        seen = known.get(url)
        proved = seen is not None and seen.converted_sha256 is not None
        if target.is_file():
            if seen is not None and proved:
                hint = f"It changed since it was downloaded. Remove {target} and pull it again."
                integrity.verify(target, seen.sha256, hint=hint)
            # Earlier versions recorded files before they converted them, also those that a user had copied there.
            ours = part.has_left() or (seen is not None and _is_page(target))
        else:
            ours = True
            _transfer(source, part, policy=policy, on_progress=on_progress)
            if seen is not None and proved:
                _require_same(part, source, seen.sha256, _changed(url, known.path))
            part.finish(target, proved=proved)
        if not proved:
            converted = _proved(target, source, accept, part if ours else None)
            known.record(url, Seen(integrity.sha256_of(target), target.stat().st_size, converted))
            part.discard()
    return target


def _require_same(part: PartialFile, source: str, expected: str, hint: str) -> None:
    """Discards a download and raises WeightsError where it is another file than the first one."""
    found = integrity.sha256_of(part.path)
    if found != expected:
        part.discard()
        raise integrity.mismatch(source, expected=expected, found=found, hint=hint)


def _proved(target: Path, source: str, accept: Accept, ours: PartialFile | None) -> str:
    """What `accept` answers. A file that it refuses is removed if it was downloaded (`ours`). One that a user copied
    there stays: it may be the only copy.
    """
    try:
        return accept(target)
    except WeightsError as error:
        if ours is None:
            hint = f"Remove it, or put the published file there, and run the same command again. {error.hint}".rstrip()
            raise WeightsError(error.message, path=target, hint=hint) from error
        is_page = _is_page(target)
        ours.discard()
        with storing(target):
            target.unlink()
        what = "a web page came instead of a checkpoint" if is_page else f"what arrived {error.message}"
        hint = "It was discarded. Run the same command again later, or get the file elsewhere: --weights FILE.pth."
        raise WeightsError(f"{source}: {what}", hint=hint) from error


def _is_page(path: Path) -> bool:
    with storing(path), path.open("rb") as file:
        return file.read(64).lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))


def sizes_of(urls: Iterable[str], *, policy: RetryPolicy = DEFAULT_POLICY) -> list[int | None]:
    """The sizes in bytes of the files that `download` would fetch; None where the server does not tell now.

    Each address is asked once, without a second try. Raises WeightsError for an address that is not safe.
    """
    import httpx2

    sizes: list[int | None] = []
    with _client(policy) as client:
        for url in urls:
            source = _address(url)
            _require_secure(source)
            try:
                answer = client.head(source, timeout=policy.connect_timeout_s)
            except httpx2.HTTPError:
                sizes.append(None)
                continue
            length = answer.headers.get("Content-Length", "")
            sizes.append(int(length) if answer.status_code == 200 and length.isdecimal() else None)
    return sizes


def _client(policy: RetryPolicy) -> httpx2.Client:
    """A client that checks every address, those of redirects too."""
    # Imported here because only a download needs it.
    import httpx2

    timeout = httpx2.Timeout(policy.silence_timeout_s, connect=policy.connect_timeout_s)
    # The hook also sees every redirect, before it is followed.
    hooks = {"request": [lambda request: _require_secure(str(request.url))]}
    agent = {"User-Agent": f"adacode-cli/{__version__}", "Accept-Encoding": "identity"}
    return httpx2.Client(timeout=timeout, follow_redirects=True, event_hooks=hooks, headers=agent)


def _changed(url: str, record: Path) -> str:
    return (
        "The file behind this address is not the one that was downloaded first. If its authors replaced it and you "
        f"trust the new one, remove the record of {url} from {record} and pull it again."
    )


def _address(url: str) -> str:
    """Where to fetch `url` from: itself, or the file of the same name under ADACODE_RELEASE_BASE (a mirror)."""
    base = os.environ.get(BASE_VARIABLE)
    return f"{base.rstrip('/')}/{_name(url)}" if base else url


def _name(url: str) -> str:
    name = PurePosixPath(urlsplit(url).path).name
    if not name or name in (".", "..") or "\\" in name:
        raise WeightsError(f"{url!r} does not end in a file name", hint="Check the address.")
    return name


def _require_secure(url: str) -> None:
    """Return only if `url` is https://, or http:// to this machine itself; else WeightsError.

    The first download's digest is trusted, so no server in between may be able to change it.
    """
    import httpx2

    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise WeightsError(f"{url!r} is not an address: {error}", hint="Write https://HOST/FOLDER.") from error
    if parsed.scheme == "https" and parsed.host:
        return
    if parsed.scheme == "http" and _is_loopback(parsed.host):
        return
    raise WeightsError(f"{url!r} is not a safe address", hint="Use https://; http:// is only for this machine itself.")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, not an address


class _BrokenOffError(Exception):
    """One attempt failed in a way that the next may not."""

    def __init__(self, why: str, pause_s: float = 0.0) -> None:
        super().__init__(why)
        self.pause_s = pause_s


def _transfer(url: str, part: PartialFile, *, policy: RetryPolicy, on_progress: OnProgress | None = None) -> None:
    """Afterwards `part` holds the complete remote file.

    Raises WeightsError if the server refuses or all attempts fail (the bytes that arrived stay in `part` for the next
    run), OutputError if the file cannot be written.
    """
    furthest, fruitless = 0, 0
    with _client(policy) as client:
        while True:
            try:
                _attempt(client, url, part, on_progress)
            except _BrokenOffError as error:
                size = part.size()
                fruitless = 1 if size > furthest else fruitless + 1
                furthest = max(furthest, size)
                if fruitless >= policy.attempts:
                    raise _given_up(url, error, size) from error
                pause_s = max(error.pause_s, policy.first_pause_s * 2 ** (fruitless - 1))
                time.sleep(min(pause_s, policy.longest_pause_s))
            else:
                return


def _attempt(client: httpx2.Client, url: str, part: PartialFile, on_progress: OnProgress | None) -> None:
    import httpx2

    known = part.remote(url)
    if known is not None and part.size() == known.total:
        return  # it is complete; only the final rename is missing
    headers = {}
    if known is not None and known.validator is not None:
        headers = {"Range": f"bytes={part.size()}-", "If-Range": known.validator}
    try:
        with client.stream("GET", url, headers=headers) as response:
            total = _accept(response, url, known, part)
            _append(response, part, total, on_progress)
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.TooManyRedirects) as error:
        raise WeightsError(f"{url} cannot be fetched: {why_not_reached(error)}", hint="Check the address.") from error
    except httpx2.TransportError as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    if total is not None and part.size() != total:
        raise _BrokenOffError(f"{part.size()} of {total} bytes arrived")


def _accept(response: httpx2.Response, url: str, known: Remote | None, part: PartialFile) -> int | None:
    """Make `part` ready for the body that follows; the size of the whole file, if the server reports it."""
    status = response.status_code
    if status in _TRANSIENT:
        pause = response.headers.get("Retry-After", "")
        raise _BrokenOffError(f"the server answered {status}", float(pause) if pause.isdecimal() else 0.0)
    if response.headers.get("Content-Encoding", "identity") != "identity" and response.is_success:
        raise WeightsError(f"{url} is sent in compressed form, which was not requested", hint="Use another mirror.")
    if status == 206 and known is not None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = int(match[3]) if match and match[3] != "*" else known.total
        same = _validator(response) in (known.validator, None) and known.total in (total, None)
        if match and int(match[1]) == part.size() and same:
            return total
    if status == 200:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        if total is None and response.http_version == "HTTP/1.0":
            raise WeightsError(f"{url} does not report its length", hint="Use another mirror.")
        part.start(Remote(url, _validator(response), total))
        return total
    if status in (206, 416) and known is not None:
        part.discard()
        raise _BrokenOffError("the remote file changed; starting over")
    raise _refused(url, status)


def _append(response: httpx2.Response, part: PartialFile, total: int | None, on_progress: OnProgress | None) -> None:
    done = part.size()
    with storing(part.path):
        file = part.path.open("ab")
    try:
        # Without a chunk size, every byte that arrived is passed on, also those before an interruption.
        for piece in response.iter_raw():
            with storing(part.path):
                file.write(piece)
            done += len(piece)
            if on_progress is not None:
                on_progress(done, total)
    finally:
        with storing(part.path):
            file.close()


def _validator(response: httpx2.Response) -> str | None:
    """What If-Range accepts: a strong ETag, or else the date of the last change."""
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    date: str | None = response.headers.get("Last-Modified")
    return date


def _refused(url: str, status: int) -> WeightsError:
    hints = {
        401: "It needs a login, but release files do not; check the address.",
        403: "It is not public, or this network blocks it.",
        404: "It does not exist: check the address, or get the file elsewhere and pass --weights FILE.pth.",
        410: "It was removed: get the file elsewhere and pass --weights FILE.pth.",
    }
    hint = hints.get(status, "Try again later, or get the file elsewhere and pass --weights FILE.pth.")
    return WeightsError(f"{url}: the server answered {status}", hint=hint)


def _given_up(url: str, error: Exception, size: int) -> WeightsError:
    kept = f" The {size} bytes that arrived are kept, so that the same command continues there." if size else ""
    return WeightsError(f"{url} cannot be fetched: {why_not_reached(error)}", hint=f"{_OFFLINE}{kept}")


@dataclass(frozen=True)
class Remote:
    """One version of a remote file. `validator` is None when the server names none: then nothing can be resumed."""

    url: str
    validator: str | None
    total: int | None


class PartialFile:
    """The bytes that arrived so far for `target`, and which remote file they belong to."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    def remote(self, url: str) -> Remote | None:
        """The remote file of these bytes, if they came from `url` and can be continued; otherwise None."""
        try:
            remote = Remote(**json.loads(self._note.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None  # the note is missing or damaged: start over
        if not (isinstance(remote.validator, str) and isinstance(remote.total, int | None)):
            return None
        return remote if remote.url == url and remote.validator and self.size() else None

    def size(self) -> int:
        """The number of bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    def start(self, remote: Remote) -> None:
        """Drops the bytes and begins with `remote`."""
        # In this order: a crash in between must not leave old bytes under a new note.
        self.discard()
        with storing(self._note):
            atomic.write_bytes(self._note, json.dumps(asdict(remote)).encode())

    def discard(self) -> None:
        """Remove the bytes and the note."""
        with storing(self.path):
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def has_left(self) -> bool:
        """Whether the bytes have got the target's name, but have not been proved since."""
        return self._note.is_file() and not self.path.exists()

    def finish(self, target: Path, *, proved: bool) -> None:
        """Syncs the complete bytes to disk and renames the file to `target`. The note stays until they are proved."""
        with storing(target):
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            # The folder is not synced: a crash that forgets the rename leaves the complete part for the next run.
            self.path.replace(target)
            if proved:
                self._note.unlink(missing_ok=True)
