"""Files that are not on a local disk: objects in buckets, and files on servers, by their addresses (fsspec)."""
