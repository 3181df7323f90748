"""A file comes over HTTPS completely or not at all, however often the line breaks on the way.

Each new attempt asks only for what is missing (`Range`), on the condition that the remote file is still the same
(`If-Range`, and a second look at the answer's validator, as some storage servers ignore the condition). Attempts
stop after several in a row that brought nothing new. httpx2, not urllib, because it reports a body that ends early
as an error of its own, has separate limits for connecting and for silence, trusts the system's certificates, and
comes with huggingface_hub anyway, so that proxies and certificates behave alike for both ways of fetching.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adacode_cli.checkpoints.cache import storing
from adacode_cli.checkpoints.partial import PartialFile, Remote
from adacode_cli.errors import WeightsError
from adacode_cli.version import __version__

if TYPE_CHECKING:
    import httpx2

# Called with the bytes that are here and the bytes of the whole file (None while unknown).
OnProgress = Callable[[int, int | None], None]

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to try again.

    `attempts` counts those in a row that brought nothing new; the pause before the next doubles from
    `first_pause_s` up to `longest_pause_s` (also the most that a server's Retry-After can ask for).
    """

    connect_timeout_s: float = 15.0
    silence_timeout_s: float = 60.0
    attempts: int = 5
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0


class _BrokenOffError(Exception):
    """One attempt failed in a way that the next may not."""

    def __init__(self, why: str, pause_s: float = 0.0) -> None:
        super().__init__(why)
        self.pause_s = pause_s


def transfer(url: str, part: PartialFile, *, patience: Patience, on_progress: OnProgress | None = None) -> None:
    """`part` holds the complete remote file afterwards.

    Raises WeightsError when the server refuses or the attempts are used up (what arrived stays in `part` for the
    next run), OutputError when the disk refuses.
    """
    # Imported here because only a download needs it.
    import httpx2

    # The hook also sees every redirect, before it is followed.
    timeout = httpx2.Timeout(patience.silence_timeout_s, connect=patience.connect_timeout_s)
    hooks = {"request": [lambda request: require_secure(str(request.url))]}
    agent = {"User-Agent": f"adacode-cli/{__version__}", "Accept-Encoding": "identity"}
    furthest, fruitless = 0, 0
    with httpx2.Client(timeout=timeout, follow_redirects=True, event_hooks=hooks, headers=agent) as client:
        while True:
            try:
                _attempt(client, url, part, on_progress)
            except _BrokenOffError as error:
                size = part.size()
                fruitless = 1 if size > furthest else fruitless + 1
                furthest = max(furthest, size)
                if fruitless >= patience.attempts:
                    raise _given_up(url, error, size) from error
                pause_s = max(error.pause_s, patience.first_pause_s * 2 ** (fruitless - 1))
                time.sleep(min(pause_s, patience.longest_pause_s))
            else:
                return


def require_secure(url: str) -> None:
    """Return only if `url` is https://, or http:// to this machine itself; else WeightsError.

    The first download's digest is trusted, so nobody on the way may be able to change it.
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


def _attempt(client: httpx2.Client, url: str, part: PartialFile, on_progress: OnProgress | None) -> None:
    import httpx2

    known = part.remote(url)
    if known is not None and part.size() == known.total:
        return  # complete already; only the last rename did not happen
    headers = {}
    if known is not None and known.validator is not None:
        headers = {"Range": f"bytes={part.size()}-", "If-Range": known.validator}
    try:
        with client.stream("GET", url, headers=headers) as response:
            total = _accept(response, url, known, part)
            _append(response, part, total, on_progress)
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.TooManyRedirects) as error:
        raise WeightsError(f"{url} cannot be fetched: {error}", hint="Check the address.") from error
    except httpx2.TransportError as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    if total is not None and part.size() != total:
        raise _BrokenOffError(f"{part.size()} of {total} bytes arrived")


def _accept(response: httpx2.Response, url: str, known: Remote | None, part: PartialFile) -> int | None:
    """Make `part` ready for the body that follows; the size of the whole file, if the server tells it."""
    status = response.status_code
    if status in _TRANSIENT:
        pause = response.headers.get("Retry-After", "")
        raise _BrokenOffError(f"the server answered {status}", float(pause) if pause.isdecimal() else 0.0)
    if response.headers.get("Content-Encoding", "identity") != "identity" and response.is_success:
        raise WeightsError(f"{url} arrives compressed, though it was asked for as it is", hint="Use another mirror.")
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
            raise WeightsError(f"{url} does not say how long it is", hint="Use another mirror.")
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
        # Without a chunk size, every byte that arrived is handed on, also those before a break.
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
        401: "It needs a login, which release files do not; check the address.",
        403: "It is not public, or this network blocks it.",
        404: "It is not there (any more): check the address, or get the file elsewhere and pass --weights FILE.pth.",
        410: "It was removed: get the file elsewhere and pass --weights FILE.pth.",
    }
    hint = hints.get(status, "Try again later, or get the file elsewhere and pass --weights FILE.pth.")
    return WeightsError(f"{url}: the server answered {status}", hint=hint)


_OFFLINE = "Check the connection and run it again, or get the file elsewhere and pass --weights FILE.pth."


def _given_up(url: str, error: Exception, size: int) -> WeightsError:
    kept = f" The {size} bytes that arrived are kept, so that the same command continues there." if size else ""
    return WeightsError(f"{url} cannot be fetched: {error}", hint=f"{_OFFLINE}{kept}")
