"""Why a server was not reached, in words of ours: the libraries between give the system's or their own."""

from __future__ import annotations

import socket
import ssl

from adacode_cli.errors import reason

_MAX_CAUSES = 20


def why_not_reached(error: BaseException) -> str:
    """The cause of an error of a connection: what the system says about it, or the library's first line."""
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return "the name of the server cannot be looked up, as without a network"
            case ssl.SSLCertVerificationError():
                return f"the server's certificate is not accepted: {cause.verify_message}"
            case ConnectionRefusedError():
                return "the connection was refused"
            case TimeoutError():
                return "the server does not answer in time"
            case OSError() if cause.errno:
                return reason(cause)
    return first_line(error)


def first_line(error: BaseException) -> str:
    """The first line that is not empty; the messages of libraries have many lines, and the first one is the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """An error and those that it was made of, the outermost first."""
    found: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in found and len(found) < _MAX_CAUSES:
        found.append(each)
        each = each.__cause__ or each.__context__
    return found
