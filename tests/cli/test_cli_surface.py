"""What a person and a script rely on: commands, options, help, version, and that help is cheap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from adacode_process import environment
from typer.testing import CliRunner

from adacode_cli.cli.main import app
from adacode_cli.cli.reference import examples
from adacode_cli.version import __version__

SNAPSHOT = Path(__file__).parent / "options.json"
HEAVY = {"torch", "numpy", "cv2", "PIL", "huggingface_hub", "safetensors", "adacode_cli.batch.run"}


def surface(command, path: str = "adacode") -> dict[str, list[str]]:
    """Every command's path → its arguments and options, sorted."""
    names = [
        param.name.upper()
        if param.param_type_name == "argument"
        else "/".join(sorted((*param.opts, *param.secondary_opts)))
        for param in command.params
    ]
    found = {path: sorted(names)}
    for name, inner in getattr(command, "commands", {}).items():
        found |= surface(inner, f"{path} {name}")
    return found


def test_commands_and_options_are_those_that_were_promised():
    """After a wanted change: `python tests/cli/test_cli_surface.py` writes the snapshot anew."""
    assert surface(typer.main.get_command(app)) == json.loads(SNAPSHOT.read_text())


def all_commands() -> list[list[str]]:
    return [path.split()[1:] for path in surface(typer.main.get_command(app))]


@pytest.fixture
def help_of(monkeypatch):
    """What `adacode *command --help` shows on a terminal of `columns`, in this process."""
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def shown(command: list[str], columns: int) -> str:
        which = "--help-all" if command in (["sr"], ["inpaint"], ["reconstruct"]) else "--help"
        result = CliRunner().invoke(
            app, [*command, which], prog_name="adacode", env={"COLUMNS": str(columns), "TERM": "dumb"}
        )
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    return shown


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
def test_help_fits_a_terminal_of_80_columns_without_breaking_examples(help_of, command):
    narrow, wide = help_of(command, 80), help_of(command, 200)
    assert f"Usage: {' '.join(['adacode', *command])}" in narrow
    assert all(len(line) <= 80 for line in narrow.splitlines())
    commands = [row.left for row in examples(command_of(command))]
    for text in (narrow, wide):
        assert [each for each in commands if f"  {each}" not in re.sub(r" \\\n +", " ", text)] == []


def command_of(words: list[str]):
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return command


def test_help_of_a_process_is_what_is_shown_here(real_adacode, help_of):
    for command in (["sr"], ["weights", "pull"]):
        which = "--help-all" if command == ["sr"] else "--help"
        result = real_adacode(*command, which, COLUMNS="80")
        assert (result.returncode, result.stdout.decode(), result.stderr) == (0, help_of(command, 80), b"")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["sr", "--help"], ["weights", "--help"], ["--version"]], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; from adacode_cli.cli import main\n"
        f"sys.argv = ['adacode', *{arguments!r}]\n"
        "try: main.main()\n"
        "except SystemExit as end: code = end.code\n"
        f"print(code, [name for name in {sorted(HEAVY)!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert result.stderr == "0 []\n"


def test_version(real_adacode):
    assert real_adacode("--version").stdout.decode() == f"adacode {__version__}\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--scale", "17", "it must be a number from 1 to 16"),
        ("--tiling", "gif", "it must be exact or sampled"),
        ("--if-too-large", "gif", "it must be png, tiff or fail"),
    ],
)
def test_what_is_wrong_with_a_value_is_reported_in_words_of_ours(real_adacode, option, value, message):
    problem = f"error: {option} cannot be {value!r}: {message}\n"
    assert real_adacode("sr", "a.png", option, value).stderr.decode().startswith(problem)


def test_program_without_arguments_shows_help(real_adacode):
    result = real_adacode()
    assert b"Restore images" in result.stderr
    assert (result.returncode, result.stdout) == (2, b"")


def test_unknown_command_is_a_usage_error_with_a_suggestion(real_adacode):
    result = real_adacode("weights", "pul", "x")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"Did you mean" in result.stderr


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(surface(typer.main.get_command(app)), indent=2) + "\n")
