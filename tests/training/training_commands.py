"""`adacode` in this process and as a process of its own, for tests of its training commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from adacode_process import Program, default_signals, environment

from adacode_cli.cli.main import app

ROOT = Path(__file__).parents[2]
QUICK = ["--steps", "1", "--batch", "1", "--patch", "64", "--precision", "fp32", "--threads", "1"]


def adacode(*arguments: object) -> None:
    """The command in this process; raises what the boundary would report."""
    typer.main.get_command(app)([str(a) for a in arguments], standalone_mode=False)


def started(*arguments: object, program: list[str] | None = None, cwd: Path | None = None) -> subprocess.Popen[str]:
    """The command as a process of its own; or another program."""
    how = {"text": True, "preexec_fn": default_signals}
    if program is None:
        return Program(cwd or Path.cwd(), network=True).start(*map(str, arguments), **how)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(program, env=environment(), cwd=cwd, **pipes, **how)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a process, once it has ended."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
