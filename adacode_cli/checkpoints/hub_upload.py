"""Sends a publication to the Hub with its own client: one commit that has all files, or none.

What an interrupted upload has sent is kept by the Hub and not sent again. Settings of the client hold, as for
downloads: HF_ENDPOINT, the token, proxies. A token is never part of a message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adacode_cli.checkpoints import catalogue_file, hub
from adacode_cli.checkpoints.connection import first_line, why_not_reached
from adacode_cli.checkpoints.hub import log_as_others_do
from adacode_cli.checkpoints.location import HubFile, HubRepo
from adacode_cli.checkpoints.publication import Sent
from adacode_cli.errors import OutputError, UsageError, WeightsError
from adacode_cli.limits import MAX_CATALOGUE_BYTES
from adacode_cli.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LOG_IN = "Run `hf auth login`, or set HF_TOKEN to a token with the right to write."


@dataclass(frozen=True)
class Uploaded:
    """What is on the Hub now. is_new: whether there is a new commit; otherwise nothing had changed."""

    commit: str
    url: str
    private: bool
    is_new: bool


def upload(
    files: Sequence[Sent], repo: HubRepo, message: str, *, families: Collection[str], private: bool = False
) -> Uploaded:
    """Uploads files in one commit on the branch `repo.revision` (by default the main one), which is made if necessary.

    families: those of the files. private: a repository that is made is private; one that exists must be. Raises
    UsageError for a public one and for a branch with further families, which its new catalogue would not name any more,
    WeightsError for a branch whose catalogue cannot be read,
    OutputError where there is no token, no access, or no connection, and if the Hub has other files afterwards.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    log_as_others_do()
    token = _token(repo)
    client = HfApi(token=token, library_name="adacode-cli", library_version=__version__)
    branch = repo.revision or constants.DEFAULT_REVISION
    with _explained(repo, token):
        is_private = _prepared(client, repo, private=private)
        if branch != constants.DEFAULT_REVISION:
            client.create_branch(repo.repo, branch=branch, exist_ok=True)
        head = str(client.model_info(repo.repo, revision=branch).sha)
        _require_no_others(repo, head, families)
        operations = [CommitOperationAdd(file.name, _source(file)) for file in files]
        commit = client.create_commit(
            repo.repo, operations, commit_message=message, revision=branch, parent_commit=head
        )
        _require_arrived(client, repo, commit.oid, files)
    return Uploaded(commit.oid, commit.commit_url, is_private, commit.oid != head)


def _source(file: Sent) -> str | bytes:
    return file.source if isinstance(file.source, bytes) else str(file.source)


def _token(repo: HubRepo) -> str:
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        hint = "Unset HF_HUB_OFFLINE, or see with --dry-run what would be sent."
        raise OutputError(f"nothing can be sent to {repo.repo}: HF_HUB_OFFLINE is set", hint=hint)
    try:
        token = get_token()
    except OSError:  # the file of the token cannot be read
        token = None
    if not token:
        raise OutputError(f"nothing can be sent to {repo.repo}: there is no token of the Hub", hint=_LOG_IN)
    return token


def _prepared(client: HfApi, repo: HubRepo, *, private: bool) -> bool:
    """Makes the repository if it is missing. Returns whether it is private."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = client.model_info(repo.repo)
    except RepositoryNotFoundError:
        client.create_repo(repo.repo, private=True if private else None, exist_ok=True)
        found = client.model_info(repo.repo)
    if private and not found.private:
        hint = "Leave out --private, make it private in its settings on the Hub, or name another repository."
        raise UsageError(f"{repo.repo} exists and is public, and --private is given; nothing was sent", hint=hint)
    return bool(found.private)


def _require_no_others(repo: HubRepo, commit: str, families: Collection[str]) -> None:
    """Raises UsageError if the catalogue of a commit has other families than those that are sent."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    wanted = HubFile(repo.repo, commit, catalogue_file.FILE_NAME)
    try:
        path = hub.fetch_small(wanted, max_bytes=MAX_CATALOGUE_BYTES)
    except WeightsError as error:
        if isinstance(error.__cause__, RemoteEntryNotFoundError):
            return  # there is no catalogue yet
        raise
    hint = f"Remove the catalogue in {repo.repo} if it is not needed, or name another repository or --revision."
    known = catalogue_file.read(path, hint).families()
    if others := [family for family in known if family not in families]:
        hint = "Bundle all of them into one folder and push that, or name another repository or --revision."
        named = ", ".join(others)
        what = f"{repo.repo} has the family {named} too, which nobody would find any more; nothing was sent"
        raise UsageError(what, hint=hint)


def _require_arrived(client: HfApi, repo: HubRepo, commit: str, files: Sequence[Sent]) -> None:
    """Raises OutputError if the commit has another content than the files had when they were checked."""
    found = client.get_paths_info(repo.repo, [file.name for file in files], revision=commit)
    there = {each.path: each for each in found}
    for file in files:
        each = there.get(file.name)
        lfs = getattr(each, "lfs", None)
        same = lfs.sha256 == file.sha256 if lfs is not None else getattr(each, "blob_id", "") == _git_id(file)
        if not same:
            what = f"{repo.repo} has another {file.name} than was to be sent" if each else f"{file.name} did not arrive"
            hint = "Run it again; if that does not help, see whether the repository has a .gitignore for such files."
            raise OutputError(what, hint=hint)


def _git_id(file: Sent) -> str:
    """What git calls a file with this content; "" if it is not the content that was checked."""
    content = file.source if isinstance(file.source, bytes) else file.source.read_bytes()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        return ""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def _explained(repo: HubRepo, token: str) -> Iterator[None]:
    """Translates exceptions of the client to OutputError."""
    import httpx2
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        raise _refused(error, repo, token) from error
    except ValueError as error:  # metadata of the card that the Hub does not accept, before anything is sent
        lines = " ".join(str(error).replace(token, "…").split())[:500]
        what = f"{constants.ENDPOINT} does not accept the files for {repo.repo}: {lines}"
        raise OutputError(what, hint="See the card with --dry-run.") from error
    # RuntimeError is what the Xet transfer library raises when it gives up, and what the client makes of other errors.
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError) as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise _refused(error.__cause__, repo, token) from error
        why = why_not_reached(error).replace(token, "…")
        hint = (
            "Check the connection and HF_ENDPOINT, and run the same command again: what has arrived is not sent again."
        )
        raise OutputError(f"{repo.repo} cannot be written at {constants.ENDPOINT}: {why}", hint=hint) from error


def _refused(error: Exception, repo: HubRepo, token: str) -> OutputError:
    from huggingface_hub import constants, errors

    assert isinstance(error, errors.HfHubHTTPError)
    status = error.response.status_code
    said = first_line(Exception(error.server_message or "")).replace(token, "…")
    owner = repo.repo.partition("/")[0]
    match error, status:
        case errors.RevisionNotFoundError(), _:
            what, hint = (
                f"it has no branch {repo.revision!r}",
                "Check --revision: a commit or a tag cannot be written to.",
            )
        case _, 401:
            what, hint = "the token is not accepted", _LOG_IN
        case errors.RepositoryNotFoundError(), _:
            what, hint = "it does not exist, or the token has no access", _LOG_IN
        case _, 403:
            what = "the token has no right to write there"
            hint = f"Check that {owner} is your name or one of your organisations, and that the token may write."
        case _, 409 | 412:
            what = "it was changed by somebody else in the meantime; nothing was committed"
            hint = "Run the same command again."
        case _, 429:
            what, hint = "the Hub limits the rate of requests", "Wait some minutes, and run the same command again."
        case _:
            what = f"the server answered {status}" + (f" ({said})" if error.server_message else "")
            hint = "Try again later: what has arrived is not sent again."
    return OutputError(f"{repo.repo} cannot be written at {constants.ENDPOINT}: {what}", hint=hint)
