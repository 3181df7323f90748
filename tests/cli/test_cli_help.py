"""Help and bare usage as a person sees them on a terminal of 60, 80 and 200 columns, and as a script gets them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from adacode_cli.cli import reference
from adacode_cli.cli.help_text import FIRST_OPTIONS
from adacode_cli.cli.main import app
from adacode_cli.cli.reference import Row, Section, entry, sections

SURFACE = json.loads((Path(__file__).parent / "options.json").read_text())
RESTORING = ("sr", "inpaint", "reconstruct")
WIDTHS = (60, 80, 200)
COMMANDS = [path.split()[1:] for path in SURFACE]


def has_two(command: list[str]) -> bool:
    return command in [[name] for name in RESTORING]


def words_of(text: str) -> list[str]:
    return re.sub(r" \\$", "", text, flags=re.MULTILINE).split()


@pytest.fixture
def seen(real_adacode, request):
    """What the program writes on a terminal of its own that has so many columns: (lines, exit code)."""
    if os.name != "posix":
        pytest.skip("a pseudo-terminal is of POSIX")
    return lambda columns, *words: on_terminal(real_adacode, columns, words)


def on_terminal(program, columns: int, words: tuple[str, ...]) -> tuple[list[str], int]:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {"COLUMNS": "", "TERM": "xterm-256color"}
    process = program.start(*words, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    text = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # how a terminal ends whose other side is closed
            break
        if not data:
            break
        text += data
    os.close(ours)
    assert process.wait() in (0, 2)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.decode())
    assert "\x1b" not in plain
    return plain.replace("\r\n", "\n").splitlines(), process.returncode


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("words", [(name, which) for name in RESTORING for which in ("--help", "--help-all")], ids=str)
def test_help_on_a_terminal_has_whole_words_in_lines_that_fit(seen, columns, words):
    lines, code = seen(columns, *words)
    assert code == 0
    assert max(map(len, lines)) <= columns
    unlimited, _ = seen(1000, *words)
    assert words_of("\n".join(lines)) == words_of("\n".join(unlimited)), "a word is broken or lost"
    assert not any(bar in "".join(lines) for bar in ("<bool>", "<=x", "│", "[default"))


@pytest.mark.parametrize("name", RESTORING)
def test_the_first_help_has_ten_options_in_fifty_lines_and_says_how_to_see_all(seen, name):
    lines, _ = seen(80, name, "--help")
    assert len(lines) <= 50
    options = re.findall(r"^  --(\S+?),? ", "\n".join(lines), re.MULTILINE)
    assert [each.replace("-", "_") for each in options] == list(FIRST_OPTIONS[name])
    assert len(options) == 10
    assert 2 <= sum(line.startswith(f"  adacode {name} ") for line in lines) <= 3
    assert lines[-1] == f"adacode {name} --help-all shows all options."


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", RESTORING)
def test_a_command_that_is_given_nothing_shows_its_usage_and_two_examples(seen, columns, name):
    lines, code = seen(columns, name)
    assert code == 2
    assert lines[0] == f"Usage: adacode {name} [OPTIONS] [INPUT]..."
    assert max(map(len, lines)) <= columns
    assert len(lines) <= 14
    assert sum(line.startswith(f"  adacode {name} ") for line in lines) == 2
    assert lines[-1] == f"adacode {name} --help shows what can be given."


@pytest.mark.parametrize("words", [(), ("weights",), *((name,) for name in RESTORING), ("weights", "pull")], ids=str)
def test_a_script_that_gives_nothing_gets_exit_code_2_and_nothing_on_standard_output(real_adacode, words):
    result = real_adacode(*words)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(f"Usage: {' '.join(['adacode', *words])} ")
    assert b"\x1b" not in result.stderr


def help_of(command: list[str], columns: int, which: str | None = None) -> str:
    which = which or ("--help-all" if has_two(command) else "--help")
    result = CliRunner().invoke(app, [*command, which], prog_name="adacode", env={"COLUMNS": str(columns)})
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_whole_help_of_every_command_fits_and_has_every_option(command, columns):
    text = help_of(command, columns)
    assert max(map(len, text.splitlines())) <= columns
    names = [name for each in SURFACE[" ".join(["adacode", *command])] for name in each.split("/")]
    for name in names:
        wanted = rf"^  .*(?<![\w-]){re.escape(name)}(?![\w-])" if name.startswith("-") else r"^Arguments$"
        assert re.search(wanted, text, re.MULTILINE), name
    assert words_of(text) == words_of(help_of(command, 1000))


def test_the_whole_help_names_the_options_of_every_command_too():
    text = help_of(["sr"], 80)
    for name in ("--config FILE", "--preset NAME", "--help-all", "--help, -h"):
        assert f"\n  {name} " in text
    assert "--preset" not in help_of(["eval", "sr"], 80)
    assert "--help-all" not in help_of(["eval", "sr"], 80)


def test_the_whole_help_is_much_shorter_than_a_table_of_five_columns():
    assert len(help_of(["sr"], 80).splitlines()) <= 180


def test_ranges_that_matter_defaults_and_variables_are_in_sentences():
    text = " ".join(help_of(["inpaint"], 80).split())
    assert "Quality of JPEG, WebP, AVIF and HEIC files, from 1 to 100. Default: 95." in text
    assert "Compare each result" in text
    assert "Not for reconstruct. Default: --guard." in text
    assert "Variable: ADACODE_HUB_REPO." in text
    assert "Required. The test set." in " ".join(help_of(["eval", "sr"], 80).split())


def test_help_has_colours_where_a_terminal_or_a_person_wants_them(real_adacode):
    assert b"\x1b[" in real_adacode("sr", "--help", FORCE_COLOR="1", TERM="xterm-256color").stdout
    assert b"\x1b" not in real_adacode("sr", "--help", TERM="xterm-256color").stdout
    assert b"\x1b" not in real_adacode("sr", "--help-all", NO_COLOR="1", TERM="xterm-256color").stdout


def test_a_settings_file_that_cannot_be_used_does_not_hide_help(real_adacode, tmp_path):
    (tmp_path / "adacode.toml").write_text("[[[")
    for which in ("--help", "--help-all", "-h"):
        assert real_adacode("sr", which, ADACODE_CONFIG="").returncode == 0
    assert real_adacode("sr", "a.png", ADACODE_CONFIG="").returncode == 2


@pytest.mark.parametrize("incomplete", ["--lo", "--mask-t", "--watch-i", "--help-"])
def test_completion_offers_options_that_the_first_help_does_not_show(real_adacode, incomplete):
    env = {"_ADACODE_COMPLETE": "complete_bash", "COMP_WORDS": f"adacode inpaint {incomplete}", "COMP_CWORD": "2"}
    offered = real_adacode(**env).stdout.decode().split()
    names = [name for each in SURFACE["adacode inpaint"] for name in each.split("/")] + ["--help-all"]
    assert set(offered) == {name for name in names if name.startswith(incomplete)}
    assert offered


def test_completion_offers_every_option_of_a_command(real_adacode):
    env = {"_ADACODE_COMPLETE": "complete_bash", "COMP_WORDS": "adacode sr --", "COMP_CWORD": "2"}
    offered = set(real_adacode(**env).stdout.decode().split())
    names = {name for each in SURFACE["adacode sr"] for name in each.split("/") if name.startswith("--")}
    assert offered == names | {"--config", "--preset", "--help-all", "--help"}


def test_completion_offers_the_names_of_presets(real_adacode):
    env = {"_ADACODE_COMPLETE": "complete_bash", "COMP_WORDS": "adacode sr --preset ", "COMP_CWORD": "3"}
    assert real_adacode(**env).stdout.decode().split() == ["archive", "web", "print"]


def test_text_after_the_options_becomes_sections():
    text = """Examples:

  adacode sr photos -o out \\
      --scale 2
  adacode sr a.jpg   one image
                     alone

Prose at the end.

Terms:

  ratio    how many times
           as fast

Codes:

  0 done ·
  1 a bug"""
    assert sections(text) == [
        Section(
            "Examples",
            (Row("adacode sr photos -o out --scale 2", ""), Row("adacode sr a.jpg", "one image alone")),
            "Prose at the end.",
        ),
        Section("Terms", (Row("ratio", "how many times as fast"),)),
        Section("Codes", text="0 done · 1 a bug"),
    ]


def test_a_command_that_is_longer_than_a_line_can_still_be_copied():
    lines = help_of(["sr"], 60).splitlines()
    first = next(index for index, line in enumerate(lines) if "find photos" in line)
    assert lines[first].endswith(" \\")
    joined = f"{lines[first][:-1]}{lines[first + 1].strip()}".strip()
    assert joined == "find photos -name '*.jpg' -print0 | adacode sr --from-file - --null -o out"


@pytest.mark.parametrize("columns", WIDTHS)
def test_no_exit_code_is_parted_from_its_meaning(columns):
    lines = help_of([], columns).split("Exit codes\n")[1].splitlines()
    items = [item for line in lines for item in line.strip().removesuffix(" ·").split(" · ")]
    assert [int(item.split()[0]) for item in items] == [0, 2, 3, 4, 5, 6, 7, 8, 9, 75, 130, 1]
    assert "9 finished, but some files failed" in items


def test_every_value_has_a_word_that_stands_for_it():
    def all_of(command):
        yield from command.params
        for child in getattr(command, "commands", {}).values():
            yield from all_of(child)

    for parameter in all_of(typer.main.get_command(app)):
        found = entry(parameter)
        assert "<" not in found.label
        assert found.text, found.label
        if found.name.startswith("-"):
            assert bool(found.value) == reference.has_value(parameter), found.label


def test_an_option_that_is_counted_has_no_value():
    counting = typer.Typer(add_completion=False)

    @counting.command()
    def run(
        often: Annotated[int, typer.Option("--often", "-o", count=True, help="Say more.")] = 0,
        width: Annotated[int, typer.Option(metavar="N", help="How wide.")] = 80,
    ) -> None:
        """Only its parameters are used."""

    often, width = typer.main.get_command(counting).params
    assert entry(often) == reference.Entry("--often, -o", "", "Say more.")
    assert entry(width) == reference.Entry("--width", "N", "How wide. Default: 80.")


def test_python_without_docstrings_shows_no_help_texts_but_runs(real_adacode):
    """`python -OO` removes the docstrings that help texts of commands are made of."""
    real_adacode.command = [sys.executable, "-OO", "-m", "adacode_cli"]
    result = real_adacode("sr", "--help")
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"--scale, -s FACTOR" in result.stdout
