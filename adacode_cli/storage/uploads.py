"""Uploads in parts that a killed run left unfinished: they are not visible as files, but a store keeps them and bills
for them.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from adacode_cli.storage.opening import file_system
from adacode_cli.storage.path import RemotePath

# Another program may be uploading to the same place; what has not ended after this time never will.
_ABANDONED_AFTER = timedelta(hours=1)


def abort_leftovers(root: RemotePath) -> int:
    """Aborts unfinished uploads below `root` that are more than an hour old. Returns their number.

    Only S3 needs this: the other stores remove them by themselves. Errors are ignored, such as a lack of permission.
    """
    if root.scheme != "s3":
        return 0
    count = 0
    with suppress(Exception):  # This only tidies up; many credentials do not allow it.
        system, _ = file_system(root)
        bucket, *parts = root.parts[1:]
        prefix = "".join(f"{part}/" for part in parts)
        listed = system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix)
        for one in listed.get("Uploads", ()):
            if datetime.now(UTC) - one["Initiated"] > _ABANDONED_AFTER:
                system.call_s3("abort_multipart_upload", Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
                count += 1
    return count
