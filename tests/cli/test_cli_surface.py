"""What a person and a script rely on: commands, options, help, version, and that help is cheap."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from adacode_process import environment

from adacode_cli.cli.main import app
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


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
def test_every_command_has_help_on_stdout(real_adacode, command):
    result = real_adacode(*command, "--help")
    assert (result.returncode, result.stderr) == (0, b"")
    assert f"Usage: {' '.join(['adacode', *command])}" in result.stdout.decode()


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
    ("option", "value", "said"),
    [("--scale", "5", "it must be less than or equal to 4"), ("--if-too-large", "gif", "'gif' is not one of 'png'")],
)
def test_what_is_wrong_with_a_value_is_said_in_words_of_ours(real_adacode, option, value, said):
    assert f": {said}" in real_adacode("sr", "a.png", option, value).stderr.decode()


def test_program_without_arguments_shows_help(real_adacode):
    result = real_adacode()
    assert b"Restore images" in result.stdout + result.stderr
    assert result.returncode == 2


def test_unknown_command_is_a_usage_error_with_a_suggestion(real_adacode):
    result = real_adacode("weights", "pul", "x")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"Did you mean" in result.stderr


def test_help_fits_a_terminal_of_80_columns_without_breaking_examples(real_adacode):
    for command in all_commands():
        text = real_adacode(*command, "--help", COLUMNS="80").stdout.decode()
        assert all(len(line) <= 80 for line in text.splitlines())
        wide = real_adacode(*command, "--help", COLUMNS="200").stdout.decode()
        epilog = [line.strip() for line in wide.splitlines() if line.strip().startswith(("adacode ", "cat "))]
        assert [line for line in epilog if line not in text] == []


def test_limits_of_the_options_are_those_of_the_modules_that_set_them():
    from adacode_cli.cli.restore_options import (
        DECODING_LIMIT_S,
        DEFAULT_MAX_FILE_MB,
        DEFAULT_MAX_MEGAPIXELS,
        FORMAT_NAMES,
        SMALLEST_TILE_PX,
    )
    from adacode_cli.engine import maps
    from adacode_cli.imaging import decoder_pool
    from adacode_cli.imaging.encode import DEFAULT_QUALITY, FORMATS
    from adacode_cli.imaging.limits import MAX_FILE_BYTES, MAX_PIXELS

    assert set(FORMAT_NAMES) == set(FORMATS)
    assert maps.SMALLEST_TILE_PX == SMALLEST_TILE_PX
    assert MAX_PIXELS == DEFAULT_MAX_MEGAPIXELS * 1_000_000
    assert MAX_FILE_BYTES == DEFAULT_MAX_FILE_MB * 1_000_000
    assert DECODING_LIMIT_S == decoder_pool.DECODING_LIMIT_S
    assert DEFAULT_QUALITY == 95  # the help of --quality says so


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(surface(typer.main.get_command(app)), indent=2) + "\n")
