"""Errors of stores in plain words: what failed, on which address, and what to do next; without any secret."""

from __future__ import annotations

from adacode_cli.errors import AdaCodeError
from adacode_cli.storage.host_keys import HostKeyError
from adacode_cli.storage.path import RemotePath, without_secrets
from adacode_cli.storage.patience import causes, code_of, may_pass, status_of

EXISTS = "exists already"
"""A part of each message about a file that must not be replaced."""
_MAX_LENGTH = 300
_NO_PLACE = frozenset({"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"})
_NO_CREDENTIALS = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"),
        *("DefaultCredentialsError", "TokenRetrievalError"),
    }
)
# The Hub says the same of both, to those who may not know.
_NO_REPOSITORY = frozenset({"RepositoryNotFoundError"})
_AGAIN = "Check the connection, and run the same command again; finished files are kept."


def refusal(kind: type[AdaCodeError], what: str, path: RemotePath, error: Exception) -> AdaCodeError:
    """The error of class `kind` for an error of a store. what: "cannot be read", "cannot be written"."""
    if isinstance(error, AdaCodeError):
        return error
    if isinstance(error, FileExistsError) or status_of(error) == 412:
        hint = "Choose another place with -o. --overwrite would replace what is there."
        return kind(f"{EXISTS}: it was written after the run began", path=path, hint=hint)
    cause, hint = _denied(path, error) or _failed(path, error)
    return kind(f"{what}: {cause}", path=path, hint=hint)


def _denied(path: RemotePath, error: Exception) -> tuple[str, str] | None:
    """(the cause, what to do) of an error about names and permissions; None for other errors."""
    store = path.kind
    if isinstance(error, HostKeyError):
        return str(error), error.hint
    if code_of(error) in _NO_PLACE:
        return f"there is no bucket {path.parts[1]}", "Check the name of the bucket."
    if _NO_CREDENTIALS & {each.__name__ for each in type(error).__mro__}:
        return f"no credentials for {store.title} were found", store.credentials
    # gcsfs says so in its text alone.
    if isinstance(error, PermissionError) or status_of(error) in (401, 403) or str(error).startswith("Forbidden: "):
        hint = f"Check which credentials are used, and what they allow. {store.credentials}"
        what = f"{store.title} denies permission"
        return "there is no such repository, or it is private" if _names_in(error) & _NO_REPOSITORY else what, hint
    is_missing = isinstance(error, FileNotFoundError) and not may_pass(error)
    if is_missing or status_of(error) in (404, 410):
        return "there is no such file", "Check the address."
    return None


def _names_in(error: BaseException) -> frozenset[str]:
    """The names of the classes of an error and of its causes."""
    return frozenset(each.__name__ for one in causes(error) for each in type(one).__mro__)


def _failed(path: RemotePath, error: Exception) -> tuple[str, str]:
    cause = " ".join(without_secrets(str(error) or type(error).__name__).split())[:_MAX_LENGTH]
    if may_pass(error):
        return f"{path.kind.title} did not answer as it should, several times: {cause}", _AGAIN
    return cause, "Check the address and the settings of the store (docs/storage.md), and run the same command again."
