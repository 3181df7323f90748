"""Calls of stores are tried again after a failure that may pass: a busy server, a lost connection, a time limit.

What will not pass (a missing object, no permission, a wrong name) is raised at once.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeVar

_Value = TypeVar("_Value")

TRIES = 8
"""With the pauses between them, about 25 seconds."""
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.2, 20.0
_BUSY = frozenset({408, 409, 425, 429})
_PASSING = frozenset(
    {
        *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT),
        *(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EBUSY, errno.EAGAIN),
    }
)
# Classes of the libraries' own, which must not be imported here; each stands for a connection that failed.
_PASSING_NAMES = frozenset(
    {
        *("HTTPClientError", "ConnectionError", "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError"),
        *("ConnectionClosedError", "IncompleteReadError", "ResponseStreamingError", "ResponseParserError"),
        *("ClientPayloadError", "ServerDisconnectedError", "ClientOSError", "ServerTimeoutError", "IncompleteRead"),
        *("ServiceRequestError", "ServiceResponseError", "SSHException", "TransportError", "FSTimeoutError"),
        *("TimeoutException", "NetworkError", "RemoteProtocolError"),
    }
)
# What paramiko says, in an OSError without a number, where a connection of SFTP ended while it was used.
_CLOSED = "Socket is closed"
_FINAL = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


def patiently(call: Callable[[], _Value]) -> _Value:
    """What `call` returns, which is called again, with longer and longer pauses, after failures that may pass."""
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:
            if attempt == TRIES or not may_pass(error):
                raise
        pause = min(_MOST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (attempt - 1))
        time.sleep(pause * random.uniform(0.5, 1.0))  # Many workers must not come back at the same moment.
    raise AssertionError("the last attempt has returned or raised")


def may_pass(error: BaseException) -> bool:
    """Whether a failure may be over in a moment."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in _BUSY
    if any(name in _PASSING_NAMES for one in causes(error) for name in _names(one)):
        return True
    if isinstance(error, _FINAL):
        return False
    if isinstance(error, TimeoutError | ConnectionError | EOFError):
        return True
    return isinstance(error, OSError) and (error.errno in _PASSING or str(error) == _CLOSED)


def status_of(error: BaseException) -> int | None:
    """The status of HTTP with which a store refused, from an error of its library; None if there was no answer."""
    for one in causes(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for status in chain((response, getattr(response, "status_code", None)), _own_statuses(one)):
            if type(status) is int and 300 <= status < 600:
                return status
    return None


def _own_statuses(error: BaseException) -> Iterator[object]:
    for name in ("status", "status_code", "code"):
        if (status := getattr(error, name, None)) is not None:
            yield status


def code_of(error: BaseException) -> str:
    """The word with which a store refused, such as NoSuchBucket; "" if the library passes none on."""
    for one in causes(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        if isinstance(code := getattr(one, "error_code", None), str):
            return code
    return ""


def _names(error: BaseException) -> Iterator[str]:
    return (each.__name__ for each in type(error).__mro__)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    one: BaseException | None = error
    for _ in range(5):
        if one is None:
            return
        yield one
        one = one.__cause__
