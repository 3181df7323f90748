"""What a planned run needs, and what a person sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from adacode_cli.cli.run_text import duration
from adacode_cli.cli.streams import printable
from adacode_cli.storage.path import is_remote

if TYPE_CHECKING:
    from adacode_cli.batch.estimate import Disk, Needs
    from adacode_cli.cli.speed import Speed


@dataclass(frozen=True)
class Cost:
    """What a run needs. seconds: None if that is not known, for the reason `unknown`; speed: what they are based on."""

    needs: Needs
    disks: tuple[Disk, ...]
    seconds: float | None
    speed: Speed | None
    unknown: str = ""


def cost_lines(cost: Cost) -> list[Text]:
    """Numbers of files and pixels, time, and room on each disk and in each store."""
    needs = cost.needs
    files = f"{needs.num_files} {'file' if needs.num_files == 1 else 'files'}"
    lines = [
        Text(
            f"to restore: {files}, {_megapixels(needs.input_pixels)} megapixels; "
            f"results: {_megapixels(needs.output_pixels)} megapixels"
        )
    ]
    if needs.num_unread and needs.num_known:
        lines.append(Text(f"  estimated from the headers of {needs.num_known} of them"))
    if needs.num_unknown:
        lines.append(Text(f"  without {needs.num_unknown} of them, whose size is not known before they are read"))
    lines.append(_time_line(cost))
    for disk in cost.disks:
        kind = "store" if is_remote(disk.place) else "disk"
        free = "" if disk.free_bytes is None else f"; {size(disk.free_bytes)} are free"
        lines.append(Text(printable(f"{kind}: about {size(disk.needed_bytes)} for {disk.place}{free}")))
    return lines


def too_small_line(disk: Disk) -> Text:
    """The warning that the outputs will probably not fit."""
    assert disk.free_bytes is not None, "otherwise it is not known"
    text = Text("warning: ", style="bold yellow")
    where = printable(f"{disk.place}: its disk has {size(disk.free_bytes)} free")
    text.append(f"{where}, and the results need about {size(disk.needed_bytes)}", style="not bold default")
    return text.append("\n  Choose another directory with -o, or a smaller --format.", style="dim")


def _time_line(cost: Cost) -> Text:
    if cost.seconds is None or cost.speed is None:
        return Text(printable(f"time: not known, because {cost.unknown}"))
    speed = cost.speed
    threads = f", {speed.threads} {'thread' if speed.threads == 1 else 'threads'}" if speed.device == "cpu" else ""
    busy = ", while other programs take a part of the processor" if speed.is_busy else ""
    seconds = f"about {duration(cost.seconds)}" if cost.seconds >= 1 else "less than 1 s"
    return Text(f"time: {seconds} on {speed.device} ({speed.precision}{threads}){busy}")


def _megapixels(pixels: int) -> str:
    megapixels = pixels / 1e6
    return f"{megapixels:.0f}" if megapixels >= 100 else f"{megapixels:.3g}"


def size(num_bytes: int) -> str:
    """Bytes in the largest unit that gives at least one."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.3g} {unit}"
    return f"{num_bytes} bytes"
