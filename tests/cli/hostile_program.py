"""Every command of the program with hostile texts for each of its arguments and options, in one process.

    hostile_program.py          started in an empty directory
    hostile_program.py gone     instead: every command once, in a working directory that is removed

The tree of commands is walked, so whatever is new is tried too. The restorer of `sr`, `inpaint` and `reconstruct` is
that of `fake_program`. Writes one JSON object: how many runs there were, and which of them ended or said what they must
not.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import typer
from fake_program import Restorer
from PIL import Image

from adacode_cli.cli import process, streams
from adacode_cli.cli.boundary import Invocation, guarded
from adacode_cli.cli.main import app

FORGED = "finished: 9 restored in 0.1 s"
HOSTILE = (
    f"[bold]x[/]\x1b]8;;http://e\x07\x1b]52;c;QQ==\x07\x1b[2J\r\n{FORGED}\x0b\u202e\u2066\u2028\x85\x9b1m\udcff\U0001f600",
    "[/x]",
    "n" * 300,
    "~nobody-there/x.safetensors",
)
MEANT = (0, 2, 3, 4, 5, 6, 7, 8, 9)
RESTORING = ("sr", "inpaint", "reconstruct")
# What makes a command come as far as it can without long work.
BESIDES = {
    "sr": ["--weights", "nearest", "--no-isolate"],
    "inpaint": ["--weights", "nearest", "--mask-alpha", "--no-isolate"],
    "reconstruct": ["--weights", "nearest", "--no-isolate"],
    "bench": ["--weights", "p/nope.safetensors"],
}
PLACEHOLDERS = {"task": "sr", "share": "0.5"}
ENGINE = "adacode_cli.engine.restorer"
ENGINES = [import_module(ENGINE), ModuleType(ENGINE)]
ENGINES[True].Restorer = Restorer


def commands(command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list]]:
    """Every command that does something, with its parameters."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command.params
    for name, one in (inner or {}).items():
        yield from commands(one, (*path, name))


def runs(root) -> Iterator[tuple[list[str], tuple[int, str, str]]]:
    """Command lines with one hostile text each, and what came of them."""
    for path, params in commands(root):
        for param in params:
            if getattr(param, "is_flag", False) or "--help" in param.opts:
                continue
            for text in HOSTILE:
                words = [*path, *filled(path, params, {param.name: text})]
                yield words, (ended := run(root, words))
                if ended[0] == 2:  # no number, or none of the words that are known: no text comes further
                    break
        plain = [*path, *filled(path, params, {})]
        for words in ([*plain, f"--{HOSTILE[0]}"], [*plain, f"--{HOSTILE[0]}=x"], [*path[:-1], HOSTILE[0]]):
            yield words, run(root, words)


def filled(path: tuple[str, ...], params: list, given: dict[str, str]) -> list[str]:
    """Options and arguments of a command: those given, and something for all that must be there."""
    words = [] if any(name in given for name in ("weights", "mask_alpha")) else list(BESIDES.get(path[0], []))
    if "weights" in given and path[0] == "inpaint":
        words.append("--mask-alpha")
    for param in params:
        text = given.get(param.name)
        if param.param_type_name == "argument":
            words += ["--", text] if text and text.startswith("-") else [text or "p"]
        elif text is not None or param.required:
            words += [param.opts[0], text or PLACEHOLDERS.get(param.name, "nope")]
    return words


def run(root, words: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    sys.modules[ENGINE] = ENGINES[words[0] in RESTORING]
    before = sys.stdout, sys.stderr
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in before]
    sys.stdout, sys.stderr = streams
    try:
        code = guarded(lambda invocation: code_of(root, words, invocation))
    finally:
        sys.stdout, sys.stderr = before
    for stream in streams:
        stream.flush()
    return code, *(stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in streams)


def code_of(root, words: list[str], invocation: Invocation) -> None:
    ended_with = root.main(args=words, prog_name="adacode", obj=invocation, standalone_mode=False)
    invocation.exit_code = ended_with if isinstance(ended_with, int) else invocation.exit_code


def fault(code: int, out: str, err: str) -> str | None:
    """What must not be: a code that means a bug, control characters, a line of somebody else."""
    if code not in MEANT:
        return f"exit code {code}"
    for name, text, kinds in (("stdout", out, ("Cc", "Zl", "Zp")), ("stderr", err, ("Cc", "Zl", "Zp", "Cf", "Cs"))):
        bad = [char for char in text if char != "\n" and unicodedata.category(char) in kinds]
        if bad:
            return f"{name} holds {bad[:5]!r}"
        if re.search(rf"^{FORGED}", text, re.MULTILINE):
            return f"{name} holds a forged line"
    return None


def main() -> None:
    process.prepare()
    streams.show_warnings_only_if(lambda: False)
    Path("p").mkdir()
    Image.new("RGBA", (24, 16)).save("p/a.png")
    num_runs, faults, root = 0, [], typer.main.get_command(app)
    if sys.argv[1:] == ["gone"]:
        Path("gone").mkdir()
        os.chdir("gone")
        Path("../gone").rmdir()
        plain = [[*path, *filled(path, params, {})] for path, params in commands(root)]
        every = ((words, run(root, words)) for words in plain)
    else:
        every = runs(root)
    for words, ended in every:
        num_runs += 1
        if problem := fault(*ended):
            faults.append([words, problem, ended[2][-2000:]])
    print(json.dumps({"runs": num_runs, "faults": faults}))


if __name__ == "__main__":
    main()
