"""The manual page and the completion of shells, read by the programs that people read them with, where these exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from adacode_process import ROOT, environment

from adacode_cli.cli.manual import _escaped, _literal
from adacode_cli.version import __version__

SURFACE = json.loads((Path(__file__).parent / "options.json").read_text())
SECTIONS = ["NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "SHARED OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "NOTES"]
READERS = {
    "man": ["man", "-l", "-"],
    "groff": ["groff", "-man", "-ww", "-b", "-T", "ascii", "-P", "-cbou"],
    "mandoc": ["mandoc", "-T", "ascii", "-O", "width=78"],
}


def needs(program: str):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.fixture
def page(real_adacode) -> str:
    result = real_adacode("man")
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode("ascii")


def as_read(text: str) -> str:
    """What a reader prints, without bold and underlined letters, in single spaces."""
    return " ".join(re.sub(".\b|\x1b\\[[0-9;]*m", "", text).split())


def test_the_page_does_not_depend_on_a_file_of_settings(real_adacode, page, tmp_path):
    (tmp_path / "adacode.toml").write_text("scale = = 2\n")
    result = real_adacode("man", ADACODE_CONFIG="")
    assert (result.returncode, result.stderr, result.stdout.decode("ascii")) == (0, b"", page)
    assert real_adacode("config", "show", ADACODE_CONFIG="").returncode == 2


def test_the_page_has_the_sections_of_a_manual_page_in_their_order(page):
    assert re.findall(r"^\.SH (.+)$", page, re.MULTILINE) == SECTIONS
    assert page.startswith(f'.TH ADACODE 1 "" "adacode {__version__}" "User Commands"\n')
    assert page.splitlines()[page.splitlines().index(".SH NAME") + 1].startswith(r"adacode \- restore whole folders")


def test_every_line_is_text_or_a_macro_that_readers_know(page):
    known = (".TH", ".SH", ".SS", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi", ".nh", ".ad", ".br")
    assert [line for line in page.splitlines() if line.startswith((".", "'")) and not line.startswith(known)] == []
    assert page.count("\n.RS") == page.count("\n.RE")
    assert page.count("\n.nf") == page.count("\n.fi")
    assert "\n\n" not in page


def test_the_page_has_every_command_and_every_option(page):
    plain = page.replace(r"\-", "-").replace(r"\fB", "").replace(r"\fR", "").replace(r"\fI", "")
    headings = re.findall(r'^\.SS "adacode (.+?) \[OPTIONS\]', plain, re.MULTILINE)
    leaves = [path for path in SURFACE if not any(other.startswith(f"{path} ") for other in SURFACE)]
    assert headings == [path.removeprefix("adacode ") for path in leaves]
    terms = set(re.findall(r"^\.TP\n(.+)$", plain, re.MULTILINE))
    listed = {name for term in terms for name in re.findall(r"(?<![\w-])--?[\w-]+", term)}
    wanted = {name for names in SURFACE.values() for each in names for name in each.split("/") if name[0] == "-"}
    assert wanted <= listed
    assert {"--config", "--preset", "--help-all", "--help"} <= listed


def test_the_exit_codes_are_those_of_the_readme(page):
    part = page.split(".SH EXIT STATUS\n", 1)[1].split(".SH ", 1)[0]
    codes = re.findall(r"^\.TP\n\\fB(\d+)\\fR$", part, re.MULTILINE)
    assert codes == re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_variables_and_files_are_those_of_the_page_on_settings(page):
    part = page.split(".SH ENVIRONMENT\n", 1)[1].split(".SH FILES", 1)[0]
    terms = re.findall(r"^\.TP\n(.+)$", part, re.MULTILINE)
    names = {name for term in terms for name in re.findall(r"\\fB(\w+)\\fR", term)}
    assert len(names) > 8
    described = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [name for name in names - {"ADACODE_COMMAND_OPTION"} if f"`{name}`" not in described] == []


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in READERS])
def test_readers_show_the_page_without_a_complaint(page, name):
    result = subprocess.run(
        READERS[name],
        input=page.encode(),
        capture_output=True,
        env=environment(MANWIDTH="80", MANPAGER="cat", PAGER="cat", LC_ALL="C"),
        check=True,
    )
    assert result.stderr == b""
    shown = result.stdout.decode()
    text = as_read(shown)
    for wanted in (
        "adacode - restore whole folders of photographs",
        "adacode inpaint [OPTIONS] [INPUT]...",
        "--mask-color COLOR The hole is every pixel of this colour: '#rrggbb', in sRGB.",
        "find photos -name '*.jpg' -print0 | adacode sr --from-file - --null -o out",
        "--guard, --no-guard Compare each result with its input",
        "pip install 'adacode-cli[int8]'",
        "130 Interrupted.",
    ):
        assert wanted in re.sub(r" \\ ", " ", text), wanted
    lines = [re.sub(".\b|\x1b\\[[0-9;]*m", "", line) for line in shown.splitlines()]
    assert max(map(len, lines)) <= 80


@needs("mandoc")
def test_the_strict_checker_of_mandoc_finds_nothing_but_that_there_is_no_date(page):
    command = ["mandoc", "-T", "lint", "-W", "warning"]
    result = subprocess.run(command, input=page, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 2)  # nothing, or warnings
    assert [line for line in result.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.parametrize(
    ("text", "prose", "typed"),
    [
        ("a well-known --opt-ion", r"a well-known \-\-opt\-ion", r"a well\-known \-\-opt\-ion"),
        ("'a' \\ ~^`", r"\(aqa\(aq \e \(ti\(ha\(ga", r"\(aqa\(aq \e \(ti\(ha\(ga"),
        ("8×8 …", r"8\[u00D7]8 ...", r"8\[u00D7]8 ..."),
    ],
)
def test_text_has_no_meaning_for_troff(text, prose, typed):
    assert _escaped(text) == prose
    assert _literal(text) == typed


def test_the_page_needs_no_library_of_images_or_networks(real_adacode):
    code = (
        "import sys; from adacode_cli.cli import main\nsys.argv = ['adacode', 'man']\n"
        "try: main.main()\nexcept SystemExit as end: pass\n"
        "print([name for name in ('torch', 'numpy', 'cv2') if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"


@pytest.fixture
def shell(tmp_path):
    """Runs a script in a shell in which `adacode` is the program, after it has read the program's completion."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "adacode"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m adacode_cli "$@"\n')
    program.chmod(0o755)
    env = environment(PATH=f"{folder}{os.pathsep}{os.environ['PATH']}", HOME=str(tmp_path))

    def run(name: str, *options: str, script: str) -> list[str]:
        text = subprocess.run(
            [program], env=env | {"_ADACODE_COMPLETE": f"source_{name}"}, capture_output=True, text=True, check=True
        ).stdout
        (tmp_path / "completion").write_text(text)
        (tmp_path / "script").write_text(script)
        command = [name, *options, str(tmp_path / "script")]
        result = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert result.stderr == ""
        return result.stdout.split("\n")

    return run


SAVE = ["--save-mask", "--save-weights-map"]


@needs("bash")
def test_bash_completes_commands_and_options_that_the_first_help_does_not_show(shell):
    script = """. ./completion
for line in "adacode inpaint --save-" "adacode weights q" "adacode ma"; do
    COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _adacode_completion adacode
    printf '%s\\n' "${COMPREPLY[@]}"
done
complete -p adacode"""
    lines = shell("bash", "--norc", script=script)
    assert lines[:4] == [*SAVE, "quantize", "man"]
    assert "-o default" in lines[4]  # names of files, where there is nothing else


@needs("fish")
def test_fish_completes_options_with_their_meaning(shell):
    lines = shell("fish", "--no-config", script='source completion; complete -C "adacode inpaint --save-"')
    assert [line.split("\t")[0] for line in lines if line] == SAVE
    assert "masks that --mask-dir can use" in lines[0]


@needs("zsh")
def test_zsh_completes_options_with_their_meaning(shell):
    # The functions of the shell's completion system are replaced; a terminal would be needed for the real ones.
    script = """compdef() { }
_arguments() { print -r -- "$@" }
_files() { print files }
words=(adacode inpaint --save-); CURRENT=3
source ./completion
_adacode_completion"""
    text = "\n".join(shell("zsh", "-f", script=script))
    assert re.findall(r'"(--save-[\w-]+)"', text.replace("\\", "")) == SAVE
    assert "masks that --mask-dir can use" in text
