"""Downloads files of a Hub repository; errors become a WeightsError with a hint.

The Hub's own client does the work, so its settings hold: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE, the
token, proxies, its progress bar on stderr (HF_HUB_DISABLE_PROGRESS_BARS switches it off). It reads them when it is
imported; therefore the import is inside the functions, after the program has set them, and other commands do not need
it.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from adacode_cli.checkpoints import integrity
from adacode_cli.checkpoints.connection import why_not_reached
from adacode_cli.checkpoints.location import HubFile, HubRepo, parse_hub_repo
from adacode_cli.errors import AdaCodeError, OutputError, UsageError, WeightsError, reason
from adacode_cli.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

REPO_VARIABLE = "ADACODE_HUB_REPO"
_VERBOSITY = "HF_HUB_VERBOSITY"

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EFBIG}

_MOST_FILES = 1000
_TOKEN = re.compile(r"[!-~]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CATALOGUE_DIFFERS = (
    "The file in the repository differs from that of the catalogue. Update adacode-cli, or name another --hub-repo."
)

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


@dataclass(frozen=True)
class HubAccess:
    """How the Hub's client is called; the defaults are what its variables and files say.

    token: a token, True: one must be stored on this machine, False: none is sent. cache_dir: a cache of the client's
    layout. local_files_only: the network is not used.
    """

    token: str | bool | None = field(default=None, repr=False)
    cache_dir: Path | None = None
    local_files_only: bool = False


DEFAULT_ACCESS = HubAccess()


def access_of(token: object = None, cache_dir: object = None, *, local_files_only: object = False) -> HubAccess:
    """Checks what a caller of the library gives. Raises UsageError, which never shows the token."""
    if not (token is None or isinstance(token, bool) or (isinstance(token, str) and _TOKEN.fullmatch(token))):
        hint = "Give a token of the Hub as a text without spaces, or True for the one that is stored on this machine."
        raise UsageError("token is not a token", hint=hint)
    if not (cache_dir is None or (isinstance(cache_dir, str | Path) and str(cache_dir))):
        raise UsageError(f"cache_dir is not the path of a folder: {cache_dir!r}", hint="Give a text or a Path.")
    if not isinstance(local_files_only, bool):
        raise UsageError(f"local_files_only is {local_files_only!r}", hint="Give True or False.")
    folder = None if cache_dir is None else Path(cache_dir).expanduser()
    return HubAccess(token, folder, local_files_only)


def fetch(
    wanted: HubFile,
    *,
    expected_sha256: str | None = None,
    expected_bytes: int | None = None,
    local_only: bool = False,
    access: HubAccess = DEFAULT_ACCESS,
    hint: str = _CATALOGUE_DIFFERS,
) -> Path:
    """The path, in the Hub client's cache, of a file whose digest (if given) has been compared.

    The network is used when the file is not cached or a newer one may exist; never with `local_only`. A cached file
    with the wrong digest is downloaded again, once; a new one with the wrong digest is removed from the cache. One of
    another size than `expected_bytes` is not downloaded. `hint` says what to do if the repository's file differs.
    Raises WeightsError when the file is unavailable, OutputError when the cache cannot be written.
    """
    access = replace(access, local_files_only=access.local_files_only or local_only)
    known = cached(wanted, access)
    if expected_bytes is not None and known is None:
        found = _asked(wanted, access, size_only=True)
        if found.file_size not in (None, expected_bytes):
            what = f"has {found.file_size:,} bytes in the repository, and {expected_bytes:,} in its catalogue"
            raise WeightsError(what, path=wanted.address, hint=hint)
    path = Path(_asked(wanted, access))
    expected = expected_sha256 or _stored_digest(path)
    if expected is None or integrity.sha256_of(path) == expected:
        return path
    if known is not None and not access.local_files_only and not is_offline():
        _remove(path)
        path = Path(_asked(wanted, access))
    _compare(path, expected, wanted, access, hint)
    return path


def _stored_digest(path: Path) -> str | None:
    """The SHA-256 by which the cache names the content of a large file; None for a small one."""
    name = path.resolve().name
    return name if integrity.is_sha256(name) else None


def fetch_small(wanted: HubFile, *, max_bytes: int, access: HubAccess = DEFAULT_ACCESS) -> Path:
    """As `fetch`, for a file with at most `max_bytes`. Raises WeightsError also for a larger file."""
    if cached(wanted, access) is None:
        _require_small(_asked(wanted, access, size_only=True).file_size or 0, wanted, max_bytes)
    path = Path(_asked(wanted, access))
    _require_small(path.stat().st_size, wanted, max_bytes)
    return path


def at_commit(wanted: HubFile, access: HubAccess = DEFAULT_ACCESS) -> HubFile:
    """The same file at the commit that its branch or tag names now, so that files of different commits never mix.

    If the server is not reached, the last commit that it named counts. Raises WeightsError.
    """
    import httpx2
    from huggingface_hub import HfApi, constants, errors

    log_as_others_do()
    client = HfApi(token=access.token, library_name="adacode-cli", library_version=__version__)
    try:
        found = client.resolve_revision(
            wanted.repo,
            revision=wanted.revision,
            cache_dir=access.cache_dir,
            local_files_only=access.local_files_only,
        ).resolved
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError, errors.RevisionResolutionError):
        # A request for the file itself is tried again and again, works with mirrors that have files alone, and its
        # errors say what is missing.
        found = _asked(wanted, access, size_only=True).commit_hash
    if not is_commit(found):
        what = f"{constants.ENDPOINT} names no commit for {wanted.address}: {found[:80]!r}"
        raise WeightsError(what, hint="Check HF_ENDPOINT and the proxy settings.")
    return replace(wanted, revision=found)


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit hash, which always means the same files."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def files_of(repo: HubRepo, access: HubAccess = DEFAULT_ACCESS) -> tuple[str, ...]:
    """Names of files and folders in a repository, the first thousand, for a message; none if they cannot be had."""
    import httpx2
    from huggingface_hub import HfApi

    if access.local_files_only or is_offline():
        return ()
    with suppress(httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError, ValueError):
        found = HfApi(token=access.token).list_repo_tree(repo.repo, recursive=True, revision=repo.revision)
        return tuple(each.path for each in islice(found, _MOST_FILES))
    return ()


@overload
def _asked(wanted: HubFile, access: HubAccess, *, size_only: Literal[True]) -> DryRunFileInfo: ...
@overload
def _asked(wanted: HubFile, access: HubAccess, *, size_only: Literal[False] = False) -> str: ...
def _asked(wanted: HubFile, access: HubAccess, *, size_only: bool = False) -> str | DryRunFileInfo:
    """The path of a file that the client has downloaded, or what it would download."""
    # huggingface_hub passes on exceptions of its HTTP client when a transfer breaks off.
    import httpx2
    from huggingface_hub import constants, hf_hub_download

    log_as_others_do()
    try:
        return hf_hub_download(
            wanted.repo,
            wanted.file,
            revision=wanted.revision,
            cache_dir=access.cache_dir,
            token=access.token,
            local_files_only=access.local_files_only,
            library_name="adacode-cli",
            library_version=__version__,
            dry_run=size_only,
        )
    # RuntimeError is what the Xet transfer library raises when it gives up.
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError) as error:
        raise _explained(error, wanted, constants.ENDPOINT, access.cache_dir or Path(constants.HF_HUB_CACHE)) from error


def _require_small(found: int, wanted: HubFile, max_bytes: int) -> None:
    if found > max_bytes:
        what = f"has {found:,} bytes, and at most {max_bytes:,} are read"
        raise WeightsError(what, path=wanted.address, hint="Ask the owner of the repository what this file is.")


def log_as_others_do() -> None:
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


def cached(wanted: HubFile, access: HubAccess = DEFAULT_ACCESS) -> Path | None:
    """The path of a file that an earlier `fetch` left in the cache, or None. No network, no digest."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(wanted.repo, wanted.file, revision=wanted.revision, cache_dir=access.cache_dir)
    return Path(found) if isinstance(found, str) else None


def _compare(path: Path, expected: str, wanted: HubFile, access: HubAccess, hint: str) -> None:
    from huggingface_hub import constants

    found = integrity.sha256_of(path)
    if found == expected:
        return
    if access.local_files_only or is_offline():
        hint = "It was damaged in the cache. With a network connection, the same command downloads it again."
        raise integrity.mismatch(str(path), expected=expected, found=found, hint=hint)
    _remove(path)
    removed = f"The file was removed from the cache; run the same command again. If that does not help: {hint}"
    where = f"{wanted.address} at {constants.ENDPOINT}"
    raise integrity.mismatch(where, expected=expected, found=found, hint=removed)


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

    name = wanted.address
    match error:
        case errors.HfHubHTTPError():
            return _refused(error, error.response.status_code, wanted, endpoint)
        case errors.LocalEntryNotFoundError(__cause__=errors.HfHubHTTPError() as answer):
            return _refused(answer, answer.response.status_code, wanted, endpoint)
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            return _not_cached(error, name, endpoint, cache, offline=constants.is_offline_mode())
        case errors.LocalTokenNotFoundError():
            hint = "Run `hf auth login`, set HF_TOKEN, or give the token itself."
            return WeightsError(f"{name} cannot be fetched: no token is stored on this machine", hint=hint)
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
    return WeightsError(f"{wanted.address} cannot be fetched from {endpoint}: {what}", hint=hint)


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
