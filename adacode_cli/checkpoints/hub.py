"""Downloads one file of a Hub repository; errors become a WeightsError with a hint.

The Hub's own client does the work, so its settings hold: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE, the
token, proxies, its progress bar on stderr (HF_HUB_DISABLE_PROGRESS_BARS switches it off). It reads them when it is
imported; therefore the import is inside the functions, after the program has set them, and other commands do not need
it.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from adacode_cli.checkpoints import integrity
from adacode_cli.checkpoints.connection import why_not_reached
from adacode_cli.checkpoints.location import HubFile, HubRepo, parse_hub_repo
from adacode_cli.errors import AdaCodeError, OutputError, WeightsError, reason
from adacode_cli.version import __version__

REPO_VARIABLE = "ADACODE_HUB_REPO"
_VERBOSITY = "HF_HUB_VERBOSITY"

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EFBIG}

_STATUS_HINTS = {
    401: "The token is missing or not accepted: set HF_TOKEN or run `hf auth login`.",
    403: "The token does not give access: check its permissions.",
    429: "The Hub limits the rate of requests: wait some minutes; a token raises the limit.",
}


def repository(argument: str | None, default: str | None) -> HubRepo | None:
    """The repository to fetch catalogue files from: `argument` (--hub-repo), ADACODE_HUB_REPO, `default` (catalogue).

    None if none of the three is set; WeightsError if the first one that is set is malformed.
    """
    chosen = argument or os.environ.get(REPO_VARIABLE) or default
    return parse_hub_repo(chosen) if chosen else None


def fetch(wanted: HubFile, *, expected_sha256: str | None = None, local_only: bool = False) -> Path:
    """The path, in the Hub client's cache, of a file whose digest (if given) has been compared.

    The network is used when the file is not cached or a newer one may exist; never with `local_only`. A file with
    the wrong digest is removed from the cache, so that the next call downloads it again. Raises WeightsError when
    the file is unavailable, OutputError when the cache cannot be written.
    """
    # huggingface_hub passes on exceptions of its HTTP client when a transfer breaks off.
    import httpx2
    from huggingface_hub import constants, hf_hub_download

    _log_as_others_do()
    try:
        path = Path(
            hf_hub_download(
                wanted.repo,
                wanted.file,
                revision=wanted.revision,
                local_files_only=local_only,
                library_name="adacode-cli",
                library_version=__version__,
            )
        )
    # RuntimeError is what the Xet transfer library raises when it gives up.
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError) as error:
        raise _explained(error, wanted, constants.ENDPOINT, Path(constants.HF_HUB_CACHE)) from error
    if expected_sha256 is not None:
        _compare(path, expected_sha256, wanted, constants.ENDPOINT)
    return path


def _log_as_others_do() -> None:
    """The client gives its logger a handler of its own. Without it, its records go where those of all libraries go.

    If the user has chosen what the client shows, nothing is changed.
    """
    if _VERBOSITY not in os.environ:
        logger = logging.getLogger("huggingface_hub")
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)


def is_offline() -> bool:
    """Whether the user has told the Hub's client not to use the network."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def cached(wanted: HubFile) -> Path | None:
    """The path of a file that an earlier `fetch` left in the cache, or None. No network, no digest."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(wanted.repo, wanted.file, revision=wanted.revision)
    return Path(found) if isinstance(found, str) else None


def _compare(path: Path, expected: str, wanted: HubFile, endpoint: str) -> None:
    found = integrity.sha256_of(path)
    if found == expected:
        return
    _remove(path)
    hint = (
        "The file was removed from the cache; run the same command again. If it fails again, the file in "
        "the repository differs from that of the catalogue: update adacode-cli, or name another --hub-repo."
    )
    raise integrity.mismatch(f"{_name(wanted)} at {endpoint}", expected=expected, found=found, hint=hint)


def _remove(path: Path) -> None:
    """Delete a cached file and every link that leads to it (snapshot → blob → store shared between repositories)."""
    while True:
        target = path.parent / path.readlink() if path.is_symlink() else None
        path.unlink(missing_ok=True)
        if target is None:
            return
        path = target


def _explained(error: Exception, wanted: HubFile, endpoint: str, cache: Path) -> AdaCodeError:
    """The AdaCodeError for an exception of the client; the order matters, its classes inherit from one another."""
    from huggingface_hub import constants, errors

    name = _name(wanted)
    match error:
        case errors.HfHubHTTPError():
            return _refused(error, error.response.status_code, wanted, endpoint)
        case errors.LocalEntryNotFoundError(__cause__=errors.HfHubHTTPError() as answer):
            return _refused(answer, answer.response.status_code, wanted, endpoint)
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            return _not_cached(error, name, endpoint, cache, offline=constants.is_offline_mode())
        case OSError() if error.errno in _DISK:
            hint = "Free some space, or set HF_HOME to a writable folder."
            return OutputError(f"{name} cannot be stored: {reason(error)}", path=cache, hint=hint)
        case _:
            hint = "Run the same command again. Behind a proxy or a mirror, check HTTPS_PROXY and HF_ENDPOINT."
            return WeightsError(
                f"the transfer of {name} from {endpoint} broke off: {why_not_reached(error)}", hint=hint
            )


def _refused(error: Exception, status: int, wanted: HubFile, endpoint: str) -> WeightsError:
    from huggingface_hub import errors

    page = f"{endpoint}/{wanted.repo}"
    match error:
        case errors.GatedRepoError():
            what = f"access to {wanted.repo} is restricted by its owner"
            hint = f"Accept its terms on {page}, then set HF_TOKEN or run `hf auth login`."
        case errors.RevisionNotFoundError():
            what = f"{wanted.repo} has no revision {wanted.revision or 'main'!r}"
            hint = f"Check the part after the @; {page} lists the existing revisions."
        case errors.RemoteEntryNotFoundError():
            what = f"{wanted.repo} has no file {wanted.file!r}"
            hint = f"See {page}/tree/{wanted.revision or 'main'} for the existing files."
        case errors.RepositoryNotFoundError():
            what = f"there is no repository {wanted.repo}, or it is private"
            hint = "Check the spelling. For a private repository set HF_TOKEN or run `hf auth login`."
        case _:
            what = f"the server answered {status}"
            if isinstance(error, errors.HfHubHTTPError) and error.server_message:
                what += f" ({error.server_message.splitlines()[0]})"
            hint = _STATUS_HINTS.get(status, "Try again later, or pass --weights FILE.")
    return WeightsError(f"{_name(wanted)} cannot be fetched from {endpoint}: {what}", hint=hint)


def _not_cached(error: Exception, name: str, endpoint: str, cache: Path, *, offline: bool) -> WeightsError:
    from huggingface_hub import errors

    if offline:
        hint = f"Unset HF_HUB_OFFLINE, copy the file into the cache at {cache}, or pass --weights FILE."
        return WeightsError(f"{name} is not in the cache and HF_HUB_OFFLINE is set", hint=hint)
    if isinstance(error.__cause__, errors.FileMetadataError):
        message = f"{endpoint} does not answer like a Hub to a request for {name}"
        return WeightsError(message, hint="Check HF_ENDPOINT and the proxy settings.")
    if error.__cause__ is None:
        return WeightsError(f"{name} is not in the cache at {cache}", hint="`adacode weights pull` downloads it.")
    hint = f"Check the connection and HF_ENDPOINT, or copy the file into the cache at {cache}, or pass --weights FILE."
    return WeightsError(f"{name} cannot be fetched from {endpoint}: {why_not_reached(error.__cause__)}", hint=hint)


def _name(wanted: HubFile) -> str:
    revision = f"@{wanted.revision}" if wanted.revision else ""
    return f"hub:{wanted.repo}{revision}/{wanted.file}"
