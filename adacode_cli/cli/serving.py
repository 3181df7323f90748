"""`adacode view --serve`: the page from a server on this machine, which keeps judgements and masks."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.cli.boundary import ended_by_interruption, say_last_words
from adacode_cli.cli.galleries import gallery_at, is_going_on, make_thumbnails, open_in_browser
from adacode_cli.cli.signals import interruptible, say_at_a_signal
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, show_trace, stderr_console, write_line
from adacode_cli.errors import InputError, UsageError
from adacode_cli.storage.path import is_remote

if TYPE_CHECKING:
    from adacode_cli.batch.gallery.serve.live import LiveGallery
    from adacode_cli.batch.gallery.serve.painting import Painting
    from adacode_cli.batch.gallery.serve.server import Server
    from adacode_cli.imaging.decode import Decode


@dataclass(frozen=True)
class Service:
    """What is served: the directory of a run or of photographs, the directory of masks, the port (0: a free one)."""

    folder: Path
    masks: Path | None
    port: int
    thumbnails: bool
    open: bool

    def check(self) -> None:
        """Raises UsageError for masks that are not in a local directory."""
        if self.masks is None:
            return
        if is_remote(self.masks):
            raise UsageError("--masks must be a local directory, not an address")
        if os.path.lexists(self.masks) and not self.masks.is_dir():
            raise InputError("is not a directory of masks", path=self.masks, hint="Name a directory with --masks.")


def serve(service: Service) -> None:
    """Serves until a signal ends it. Raises InputError, UsageError, JournalError, OutputError."""
    from adacode_cli.batch.gallery.serve.server import Server
    from adacode_cli.batch.gallery.serve.site import Site
    from adacode_cli.imaging.decoder_pool import decoding

    service.check()
    with ExitStack() as stack:
        with ended_by_interruption("nothing was served yet"):
            gallery = _gallery(service)
            decoder = stack.enter_context(decoding(isolated=True))
            painting = _painting(service, gallery, decoder) if service.masks is not None else None
            site = Site(gallery, painting)
            server = stack.enter_context(Server(site, service.port, show_trace))
        say_at_a_signal("the server has ended")
        with suppress(KeyboardInterrupt), interruptible():  # A signal is how it ends.
            _say(server, service)
            server.serve_forever()
        site.finish()
    say_last_words()


def _say(server: Server, service: Service) -> None:
    """Prints the address, says what it is, and opens it."""
    write_line(server.address)
    console = stderr_console()
    console.print("Only this machine can reach this address, and only who knows all of it. Ctrl-C ends the server.")
    if service.masks is not None:
        console.print(f"Masks are saved in {printable(str(service.masks.absolute()))}.")
    if service.open:
        threading.Thread(target=open_in_browser, args=(server.address_for_once,), daemon=True).start()


def _gallery(service: Service) -> LiveGallery | None:
    """The gallery of a run, with its data; None for a directory of photographs on which masks are painted."""
    from adacode_cli.batch.gallery.serve.live import LiveGallery
    from adacode_cli.batch.journal import JOURNAL

    folder = service.folder
    if service.masks is not None and folder.is_dir() and not os.path.lexists(folder / JOURNAL):
        return None
    gallery_at(folder)  # It refuses what is no directory of results.
    gallery = LiveGallery(folder, lambda: is_going_on(folder), is_painting=service.masks is not None)
    with showing("reading the journal"):
        gallery.begin(running=is_going_on(folder))
    if service.thumbnails:
        make_thumbnails(gallery)
    return gallery


def _painting(service: Service, gallery: LiveGallery | None, decoder: Decode) -> Painting:
    """The masks for the originals of a run, or for a directory of photographs. Raises InputError, OutputError."""
    from adacode_cli.batch.gallery.serve.painting import Painting, photographs_in

    folder, masks = service.folder, service.masks
    assert masks is not None, "they are named"
    painting = Painting(masks, gallery.originals if gallery else lambda: photographs_in(folder, masks), decoder)
    with showing("looking for photographs"):
        if not painting.places():
            raise InputError("holds no photograph to paint a mask for", path=folder, hint="Name another directory.")
    return painting
