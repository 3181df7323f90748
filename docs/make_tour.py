"""Writes docs/tour.md: what a person sees in a terminal of 80 columns, recorded from real runs over `examples/`.

    python docs/make_tour.py

It types the commands below into a shell in tmux, which must be installed, and captures its screen as text. The program
is `adacode` beside the Python that runs this script. It takes about a minute.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tour.md"
_COLUMNS, _ROWS = 80, 24
_WAITS_S, _LOOKS_EVERY_S = 120.0, 0.1
_PROMPT = "$ "
_HEAD = """# What it looks like in a terminal

These screens of a terminal of 80 columns were recorded from real runs over [examples/](../examples/README.md), on a CPU
with one thread, by `python docs/make_tour.py`. [terminal.md](terminal.md) describes what the lines mean.
"""


@dataclass(frozen=True)
class Command:
    """A command that is typed. about: what the page says before it. during: what must be on the screen for a picture
    while it runs (a regular expression); "" for no such picture.
    """

    typed: str
    about: str
    during: str = ""


@dataclass(frozen=True)
class Tour:
    """Commands that a person gives one after the other."""

    title: str
    commands: tuple[Command, ...]


TOURS = (
    Tour(
        "A folder is enlarged",
        (
            Command(
                "adacode sr examples/scratched -o results --dry-run",
                "What would be written, and what will it cost?",
            ),
            Command(
                "adacode sr examples/scratched -o results",
                "The run. The second line is there while a picture takes long:",
                during=r"left.*\n.*megapixels",
            ),
            Command(
                "adacode sr examples/scratched -o results",
                "The same command again finds that everything is done:",
            ),
        ),
    ),
    Tour(
        "Scratches are filled",
        (
            Command(
                "adacode inpaint examples/scratched --mask-dir examples/masks --grow 2 -o fill",
                "The white places of `examples/masks` mark the damage in the images of the same names:",
            ),
        ),
    ),
    Tour(
        "Mistakes, and how they are mended",
        (
            Command("adacode sr examples/photos --scael 2 -o twice", "An option that does not exist:"),
            Command("adacode sr examples/photos --weights compct -o twice", "Weights that do not exist:"),
            Command(
                "adacode sr examples/scratched --scale 2 -o results",
                "Results that exist already, and that were made with another scale:",
            ),
            Command("adacode sr examples/scratched --scale 2 -o twice", "Another directory for them:"),
        ),
    ),
)


class Terminal:
    """A shell in tmux, in a directory that has a copy of the examples."""

    def __init__(self, directory: Path) -> None:
        self._socket = f"adacode-tour-{os.getpid()}"
        shutil.copytree(ROOT / "examples", directory / "examples")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {
            "ADACODE_CONFIG": "none",
            "HF_HUB_OFFLINE": "1",
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "PATH": path,
            "PS1": _PROMPT,
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
        }
        size = ["-x", str(_COLUMNS), "-y", str(_ROWS)]
        self._tmux("new-session", "-d", *size, "-c", str(directory), "sh", "-i")
        self._until(lambda screen: screen == _PROMPT.strip())

    def record(self, command: Command) -> list[str]:
        """The pictures of a command: perhaps one while it runs, and the last one, with what was typed."""
        self._tmux("send-keys", "-l", command.typed)
        pictures = []
        self._tmux("send-keys", "Enter")
        if command.during:
            pictures.append(self._until(lambda screen: re.search(command.during, screen) is not None))
        ended = self._until(lambda screen: "\n" in screen and screen.endswith(f"\n{_PROMPT.strip()}"))
        pictures.append(ended.removesuffix(_PROMPT.strip()).rstrip())
        self._tmux("send-keys", "clear", "Enter")
        self._until(lambda screen: screen == _PROMPT.strip())
        return pictures

    def _until(self, is_there: object) -> str:
        """The screen as soon as it is as expected, without spaces and empty lines at its end."""
        assert callable(is_there)
        until = time.monotonic() + _WAITS_S
        while time.monotonic() < until:
            time.sleep(_LOOKS_EVERY_S)
            lines = self._tmux("capture-pane", "-p").splitlines()
            screen = "\n".join(line.rstrip() for line in lines).rstrip("\n")
            if is_there(screen):
                return screen
        raise SystemExit(f"the screen is not as expected:\n{screen}")

    def end(self) -> None:
        """Ends the shell."""
        self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-u", "-L", self._socket, "-f", os.devnull, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self._environment).stdout


def page() -> str:
    """The page, from runs that are made now."""
    parts = [_HEAD]
    with tempfile.TemporaryDirectory(prefix="adacode-tour-") as name:
        terminal = Terminal(Path(name))
        try:
            for tour in TOURS:
                parts.append(f"## {tour.title}\n")
                for command in tour.commands:
                    parts.append(f"{command.about}\n")
                    parts += [f"```text\n{picture}\n```\n" for picture in terminal.record(command)]
        finally:
            terminal.end()
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
