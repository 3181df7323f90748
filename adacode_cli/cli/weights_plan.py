"""What `adacode weights pull` will download of several published checkpoints: one plan, and one question at most."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, stderr_console
from adacode_cli.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from adacode_cli.checkpoints.catalogue import Catalogue, Entry


def announce(entries: Iterable[Entry], catalogue: Catalogue, *, yes: bool, quiet: bool) -> None:
    """Prints what is to be downloaded, if it is more than one published checkpoint; on a terminal, asks whether to.

    yes: nothing is asked. Without a terminal nothing is asked either, because nobody could answer. quiet: nothing is
    printed or asked. Ends the command if the answer is no. Raises WeightsError without a cache folder.
    """
    if quiet:
        return
    from adacode_cli.checkpoints import release, store

    found = {entry.name: (entry, store.to_download(entry, catalogue)) for entry in entries}
    wanted = [(entry, url) for entry, url in found.values() if url is not None]
    if len(wanted) < 2:
        return
    with showing("asking for the sizes"):
        sizes = release.sizes_of([url for _, url in wanted])
    console = stderr_console()
    for line in _plan([entry for entry, _ in wanted], sizes, str(store.release_folder())):
        console.print(printable(line))
    if yes or not console.is_terminal or sys.stdin is None or not sys.stdin.isatty():
        return
    if not typer.confirm("Download them?", default=True, err=True):
        console.print("nothing was downloaded")
        raise typer.Exit(EXIT_INTERRUPTED)


def _plan(entries: Sequence[Entry], sizes: Sequence[int | None], folder: str) -> Iterator[str]:
    known = sum(size for size in sizes if size is not None)
    total = f"{_shown(known)} together" if known and None not in sizes else f"at least {_shown(known)}" if known else ""
    yield f"{len(entries)} published checkpoints to download{f', {total}' if total else ''}:"
    width = max(len(entry.name) for entry in entries)
    for entry, size in zip(entries, sizes, strict=True):
        yield f"  {entry.name.ljust(width)}  {_shown(size)}"
    for licence, source in dict.fromkeys((entry.licence, entry.source) for entry in entries):
        names = [entry.name for entry in entries if (entry.licence, entry.source) == (licence, source)]
        whose = f" of {', '.join(names)}" if len(names) < len(entries) else ""
        yield f"licence{whose}: {licence} ({source})"
    yield f"The files are kept in {folder}, both as published and converted; the latter take about as much space again."


def _shown(size: int | None) -> str:
    return "size unknown" if size is None else f"{size / 1e6:.1f} MB"
