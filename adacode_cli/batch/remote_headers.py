"""Reads the headers of images in stores, several at once, with a few small requests for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import BinaryIO, cast

from adacode_cli import formats
from adacode_cli.batch.plan import Job
from adacode_cli.errors import InputError
from adacode_cli.imaging.codec import Header
from adacode_cli.imaging.headers import START_BYTES, Parse, header_in
from adacode_cli.storage.path import RemotePath, is_remote
from adacode_cli.storage.patience import may_pass
from adacode_cli.storage.pieces import opened

_AT_ONCE = 8


def with_remote_headers(
    jobs: Sequence[Job], parse: Parse | None, are_needed: Callable[[Job], bool], *, strict: bool
) -> list[Job]:
    """The jobs; those that are needed and whose sources are in stores have their headers, if these can be read.

    parse: for files other than images. strict: a store that does not answer is an error; otherwise, the header is
    missing. Raises InputError.
    """
    wanted = [number for number, job in enumerate(jobs) if is_remote(job.source) and not job.header and are_needed(job)]
    if not wanted:
        return list(jobs)
    read = partial(_headed, parse=parse, strict=strict)
    found = list(jobs)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="headers") as pool:
        for number, job in zip(wanted, pool.map(read, (jobs[number] for number in wanted)), strict=True):
            found[number] = job
    return found


def _headed(job: Job, parse: Parse | None, *, strict: bool) -> Job:
    source = job.source
    assert is_remote(source), "the caller has chosen these"
    try:
        return replace(job, header=_header(source, parse))
    except InputError as error:
        if strict and error.__cause__ is not None and may_pass(error.__cause__):
            raise
        return job  # It fails, or is found to be unreadable, when it is its turn.


def _header(source: RemotePath, parse: Parse | None) -> Header | None:
    file, num_bytes = opened(source)
    format = formats.of_bytes(file.read(START_BYTES))
    file.seek(0)
    header = (parse or header_in)(cast(BinaryIO, file))
    return header and replace(header, format=format.name if format else "", num_bytes=num_bytes)
