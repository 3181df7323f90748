"""The kinds of stores: for each scheme of an address, its library, its extra, and what the store can do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What is known of the stores with one scheme.

    title: the name in messages.
    module: the library that fsspec needs for it. extra: the extra of adacode that installs it, or "".
    credentials: in a sentence, where the library finds them.
    can_list: a folder can be searched. can_write: files can be written.
    creates_once: of two writers that create one file, the store itself refuses the second.
    writes_whole: a file is never visible in part; otherwise it is written under another name, and renamed.
    has_user: an address may have a user and a password. has_query: it may have a query, such as a signature.
    has_buckets: the first part of an address is a bucket, which the store can tell to be missing.
    has_container_before_at: what is before an @ is a part of the place.
    version_mark: what its library takes for the beginning of a version in a name, and would leave out of it.
    """

    title: str
    module: str
    extra: str = ""
    credentials: str = ""
    can_list: bool = True
    can_write: bool = True
    creates_once: bool = False
    writes_whole: bool = True
    has_user: bool = False
    has_query: bool = False
    has_buckets: bool = False
    has_container_before_at: bool = False
    version_mark: str = ""

    def names_version(self, name: str) -> bool:
        """Whether the library would read or write another file than the one of this name."""
        return bool(self.version_mark) and self.version_mark in name


_S3 = Kind(
    "S3",
    "s3fs",
    "s3",
    "Credentials come from the usual places of AWS: AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws or the role of the machine; "
    "for a public bucket, set FSSPEC_S3_ANON=true.",
    creates_once=True,
    has_buckets=True,
    version_mark="?versionId=",
)
_GS = Kind(
    "Google Cloud Storage",
    "gcsfs",
    "gs",
    "Credentials come from GOOGLE_APPLICATION_CREDENTIALS, from gcloud auth application-default login, or from the "
    "machine.",
    creates_once=True,
    has_buckets=True,
)
_AZURE = Kind(
    "Azure Blob Storage",
    "adlfs",
    "azure",
    "Credentials come from AZURE_STORAGE_CONNECTION_STRING, or from AZURE_STORAGE_ACCOUNT_NAME with "
    "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN.",
    creates_once=True,
    has_buckets=True,
    has_container_before_at=True,
    version_mark="?versionid=",
)
_HTTP = Kind(
    "HTTP",
    "aiohttp",
    "http",
    "Write the user and the password into the address, or use a signed address.",
    can_list=False,
    can_write=False,
    has_user=True,
    has_query=True,
)
_SFTP = Kind(
    "SFTP",
    "paramiko",
    "sftp",
    "Credentials come from the keys of ssh (an agent, ~/.ssh), or from a user and a password in the address.",
    writes_whole=False,
    has_user=True,
)
_HF = Kind(
    "the Hugging Face Hub",
    "huggingface_hub",
    credentials="Credentials come from HF_TOKEN, or from hf auth login.",
    can_write=False,
)
_MEMORY = Kind("memory", "fsspec", creates_once=True)

KINDS = {
    "s3": _S3,
    "gs": _GS,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "az": _AZURE,
    "https": _HTTP,
    "http": _HTTP,
    "sftp": _SFTP,
    "hf": _HF,
    "memory": _MEMORY,
}
"""{scheme: its kind}, in the order in which messages name them."""
