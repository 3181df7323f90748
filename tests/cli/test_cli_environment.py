"""Surroundings that nobody thinks of: no width, no home, no UTF-8, no working directory, full streams, few files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from adacode_process import REAL, environment
from PIL import Image

LONG = "x" * 300


def first_line(result) -> str:
    return result.stderr.decode().splitlines()[0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("sr", ""), 2, "error: an input has an empty name"),
        (("sr", "p", ""), 2, "error: an input has an empty name"),
        (("sr", "p", "--include", "[z-a]"), 2, "error: the pattern '[z-a]': bad character range z-a"),
        (("sr", LONG), 3, f"error: {LONG}: the file name is too long"),
        (("sr", "p", "-o", LONG), 3, f"error: {LONG}: the file name is too long"),
    ],
)
def test_what_a_person_gave_is_no_bug(adacode, photo, tmp_path, words, code, message):
    photo("p/a.png")
    for options in ((), ("--dry-run",)):
        result = adacode(*words, "--weights", "nearest", *options)
        assert (result.returncode, first_line(result)) == (code, message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]


@pytest.mark.parametrize("columns", ["0", "-1", "9" * 5000])
def test_a_terminal_of_no_width_shows_errors(adacode, columns):
    assert adacode("sr", "--help", COLUMNS=columns).returncode == 0
    result = adacode("sr", "nope", COLUMNS=columns)
    assert result.returncode == 3
    assert "nope: there is no such file" in result.stderr.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="there a working directory cannot be removed")
def test_a_working_directory_that_is_gone(adacode, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    adacode.directory = gone
    process = adacode.start("sr", "p", "--weights", "nearest", preexec_fn=gone.rmdir)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert stderr.decode().startswith("error: the working directory does not exist any more\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("words", [("--help",), ("--version",), ("sr", "--help"), ("weights", "list"), ("doctor",)])
def test_a_standard_output_that_is_full(adacode, words):
    with Path("/dev/full").open("wb") as full:
        process = adacode.start(*words, stdout=full)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "Traceback" not in stderr.decode()


@pytest.fixture(scope="session")
def latin_1(tmp_path_factory) -> dict[str, str]:
    """The environment of a locale whose file names are ISO 8859-1."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None:
        pytest.skip("there is no `localedef` here")
    made = folder / "en_US.ISO-8859-1"
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(made)]
    if subprocess.run(command, capture_output=True, check=False).returncode and not made.exists():
        pytest.skip("no locale can be made here")
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"}


PLAIN = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
NAMES = ["é.png", "漢字.png", os.fsdecode(b"\xe9.png")]


@pytest.mark.skipif(sys.platform != "linux", reason="file systems that take any bytes as names")
@pytest.mark.parametrize("locale", ["C", "ISO-8859-1"])
def test_names_and_messages_in_a_locale_that_is_not_utf_8(adacode, tmp_path, request, locale):
    """What was done there is known in a UTF-8 locale, and the other way round."""
    env = PLAIN if locale == "C" else request.getfixturevalue("latin_1")
    (tmp_path / "p").mkdir()
    for name in NAMES:
        Image.new("RGB", (8, 8)).save(tmp_path / "p" / name)
    (tmp_path / "p" / "ü.png").write_bytes(b"")
    run = ("sr", "p", "-o", "é out", "--weights", "nearest")
    planned = adacode(*run, "--dry-run", **env)
    assert planned.returncode == 9
    assert sorted(planned.stdout.splitlines()) == sorted(
        b"p/%b -> \xc3\xa9 out/%b" % (name, name) for name in map(os.fsencode, NAMES)
    )
    result = adacode(*run, "-v", "--log-file", "é.log", **env)
    assert result.returncode == 9, result.stderr
    assert sorted(path.name for path in (tmp_path / "é out").glob("*.png")) == sorted(NAMES)
    logged = (tmp_path / "é.log").read_text(encoding="utf-8")
    assert "p/漢字.png -> é out/漢字.png" in logged
    assert r"p/\xe9.png -> é out/\xe9.png" in logged
    again = adacode(*run)
    assert "3 skipped, 1 failed" in again.stderr.decode()
    events = [json.loads(line) for line in adacode(*run, "--json", **env).stdout.splitlines()]
    assert {event["source"] for event in events if "source" in event} == {f"p/{name}" for name in [*NAMES, "ü.png"]}
    assert {event["event"] for event in events[1:-1]} == {"file-skipped", "file-failed"}
    assert adacode("sr", "--help", **env, PYTHONIOENCODING="ascii").returncode == 0


@pytest.mark.skipif(
    shutil.which("setpriv") is None or not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root"
)
def test_a_user_that_nothing_is_known_of_and_no_home(adacode, monkeypatch):
    for variable in ("HOME", "XDG_CACHE_HOME", "ADACODE_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    adacode.command = ["setpriv", "--reuid", "54321", "--clear-groups", "--inh-caps=-all", *REAL]
    if adacode("--version").returncode:
        pytest.skip("Python or the program is for its owner alone")
    for words, code in (
        (("weights", "list"), 0),
        (("doctor",), 0),
        (("weights", "pull", "published-sr-x4"), 4),
    ):
        result = adacode(*words, ADACODE_CACHE="")
        assert result.returncode == code, result.stderr
        assert b"Traceback" not in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")
@pytest.mark.parametrize(("most", "codes"), [(6, {7}), (12, {0, 7, 9})])
def test_few_files_may_be_open(adacode, photo, tmp_path, most, codes):
    """How many are open at once depends on which thread is faster."""
    import resource

    for index in range(4):
        photo(f"p/{index}.png")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))}
    with adacode.start("sr", "p", "-o", "out", "--weights", "nearest", **limit) as process:
        _, stderr = process.communicate(timeout=60)
    assert process.returncode in codes, stderr
    if process.returncode == 9:
        num_failed = sum(line.startswith(b"failed: ") for line in stderr.splitlines())
        assert len(list((tmp_path / "out").glob("*.png"))) == 4 - num_failed, stderr
    assert (b"ulimit -n" in stderr) == bool(process.returncode), stderr
    assert b"bug" not in stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there a working directory cannot be removed")
def test_every_command_in_a_working_directory_that_is_gone(tmp_path):
    program = [sys.executable, str(Path(__file__).parent / "hostile_program.py"), "gone"]
    result = subprocess.run(program, cwd=tmp_path, env=environment(), capture_output=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr.decode()
    assert json.loads(result.stdout)["faults"] == []


def test_what_libraries_say_is_for_v_alone(adacode, photo, tmp_path):
    """A warning and a log record of a library, while an image is restored."""
    photo("p/a.png")
    quiet = adacode("sr", "p", "-o", "out", "--weights", "warns")
    assert (quiet.returncode, quiet.stderr.count(b"\n")) == (0, 2)
    loud = adacode("sr", "p", "-o", "again", "--weights", "warns", "-v").stderr.decode()
    assert "UserWarning: a library's" in loud
    assert "a library's log" in loud
