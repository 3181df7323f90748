"""Options from files, presets and variables: which counts, what is refused and where, what a found file may do."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
import typer
from adacode_process import ROOT
from PIL import Image

from adacode_cli.cli.config_file import ConfigFile, read_config
from adacode_cli.cli.main import app
from adacode_cli.cli.settings import IN_FOUND_FILES, PRESETS, RESTORING, Reader, commands_of, long_name, options_of
from adacode_cli.errors import UsageError

PAGE = ROOT / "docs" / "configuration.md"
RUN = ("sr", "photos", "-o", "out", "--weights", "nearest")
FOUND = {"ADACODE_CONFIG": ""}  # as if it were not set: a file is looked for


@pytest.fixture
def config(tmp_path):
    """Writes `adacode.toml` into the working directory of the program, or another one."""

    def write(text: str, folder: str = ".") -> Path:
        path = tmp_path / folder / "adacode.toml"
        path.write_text(text)
        return path

    return write


def shown(adacode, *words: str, **env: str) -> dict[str, tuple[object, str]]:
    """What `adacode config show` says of each option: its value, and where it comes from."""
    result = adacode("config", "show", *words, "--json", **(FOUND | env))
    assert result.returncode == 0, result.stderr
    return {row["option"]: (row["value"], row["source"]) for row in json.loads(result.stdout)["options"]}


def test_the_order_in_which_places_count(adacode, config):
    path = config('quality = 70\nformat = "png"\n[sr]\nscale = 2\nformat = "bmp"\n')
    plain = shown(adacode, "sr")
    assert plain["scale"] == (2.0, f"{path}, line 4")
    assert plain["format"] == ("bmp", f"{path}, line 5")
    assert plain["quality"] == (70, f"{path}, line 1")
    assert plain["denoise"] == (1.0, "default")
    assert shown(adacode, "inpaint")["format"] == ("png", f"{path}, line 2")
    preset = shown(adacode, "sr", "--preset", "web")
    assert (preset["format"], preset["quality"]) == (("webp", "preset web"), (80, "preset web"))
    assert preset["scale"] == plain["scale"]
    both = shown(adacode, "sr", ADACODE_SR_PRESET="web", ADACODE_SR_QUALITY="60", ADACODE_SR_SCALE="")
    assert (both["format"], both["quality"]) == (("webp", "preset web"), (60, "ADACODE_SR_QUALITY"))
    assert both["scale"] == plain["scale"]


def test_a_preset_in_a_file_counts_less_than_the_file_itself(adacode, config):
    path = config('[sr]\nquality = 70\npreset = "web"\n')
    found = shown(adacode, "sr")
    assert found["quality"] == (70, f"{path}, line 2")
    assert found["format"] == ("webp", f"preset web of {path}, line 3")
    assert shown(adacode, "sr", "--preset", "archive")["format"] == ("tiff", "preset archive")


def test_the_command_line_counts_first_in_a_run(adacode, config, photo, tmp_path):
    photo("photos/a.png")
    path = config('[sr]\nformat = "bmp"\nscale = 2\n')
    result = adacode(*RUN, "--scale", "3", **FOUND, ADACODE_SR_FORMAT="tiff")
    assert result.returncode == 0, result.stderr
    assert [file.name for file in (tmp_path / "out").glob("a.*")] == ["a.tif"]
    assert result.stderr.decode().splitlines()[0].startswith("[1/1] ")  # the file sets nothing that counts
    again = adacode(*RUN, "-v", **FOUND)
    assert again.stderr.decode().splitlines()[0] == f"{path} sets --scale, --format"


def test_what_a_found_file_sets_is_never_silent(adacode, config, photo, tmp_path):
    photo("photos/a.png")
    path = config("[sr]\nscale = 2\n")
    line = f"{path} sets --scale"
    assert adacode(*RUN, "--quiet", **FOUND).stderr.decode().splitlines() == [line]
    assert adacode(*RUN, "--quiet", "--config", str(path)).stderr == b""
    result = adacode(*RUN, "--json", **FOUND, ADACODE_SR_JOBS="1")
    assert result.stderr == b""
    places = {"scale": f"{path}, line 2", "jobs": "ADACODE_SR_JOBS"}
    assert json.loads(result.stdout.splitlines()[0])["set_elsewhere"] == places
    report = json.loads((tmp_path / "out" / ".adacode" / "report.json").read_text(encoding="ascii"))
    assert report["set_elsewhere"] == places
    typed = adacode(*RUN, "--scale", "2", "--jobs", "1", "--json", **FOUND)
    assert json.loads(typed.stdout.splitlines()[0])["set_elsewhere"] == {}


def test_a_size_on_the_command_line_takes_the_place_of_one_in_a_file(adacode, config, photo, tmp_path):
    photo("photos/a.png", (30, 20))
    config("[sr]\nscale = 2\n")
    assert adacode(*RUN, "--long-edge", "45", **FOUND).returncode == 0
    assert Image.open(tmp_path / "out" / "a.png").size == (45, 30)
    both = adacode(
        "sr", "photos", "-o", "b", "--weights", "nearest", **FOUND, ADACODE_SR_WIDTH="60", ADACODE_SR_MEGAPIXELS="1"
    )
    assert (both.returncode, b"--width and --megapixels contradict" in both.stderr) == (2, True)


GIVES_WAY = [
    (("inpaint", "--mask", "m.png"), "mask-alpha = true", {}),
    (("inpaint", "--mask", "m.png"), 'mask-color = "#ff00ff"\nmask-tolerance = 5', {}),
    (("inpaint", "--mask", "m.png"), "mask-tolerance = 5", {}),
    (("inpaint", "--mask", "m.png"), "", {"ADACODE_INPAINT_MASK_ALPHA": "1", "ADACODE_INPAINT_MASK_TOLERANCE": "5"}),
    (("inpaint", "--mask-color", "#ff00ff"), "mask-alpha = true\nmask-tolerance = 5", {}),
    (("inpaint",), 'mask-color = "#ff00ff"\nmask-tolerance = 5\n[inpaint]\nmask-alpha = true', {}),
    (("sr", "--scale", "2"), "long-edge = 45\nshrink = true", {}),
    (("sr", "--scale", "2"), "[sr]\nlong-edge = 45\nskip-larger = true", {}),
    (("sr", "--long-edge", "45", "--skip-larger"), "shrink = true", {}),
    (("sr",), "shrink = true", {}),
    (("sr",), "long-edge = 45\nshrink = true\n[sr]\nscale = 2", {}),
    (("sr", "--quiet"), "verbose = true", {}),
    (("sr", "--skip-existing"), "overwrite = true", {}),
    (("sr", "--scale", "2"), "", {"ADACODE_SR_LONG_EDGE": "45", "ADACODE_SR_SHRINK": "1"}),
    (("reconstruct",), "code-levels = 1", {}),
    (("reconstruct", "--save-codes", "codes"), "from-codes = true", {}),
]


@pytest.mark.parametrize(("words", "text", "env"), GIVES_WAY, ids=[f"{each[0]} {each[1]}" for each in GIVES_WAY])
def test_options_that_exclude_one_another_count_by_their_place(adacode, config, photo, tmp_path, words, text, env):
    photo("photos/a.png", (30, 20))
    Image.open(tmp_path / "photos" / "a.png").convert("RGBA").save(tmp_path / "photos" / "a.png")
    Image.new("L", (30, 20)).save(tmp_path / "m.png")
    path = config(text)
    result = adacode(*words, "photos", "-o", "out", "--weights", "nearest", "--config", str(path), "--dry-run", **env)
    assert result.returncode == 0, result.stderr


def test_what_counts_where_options_exclude_one_another(adacode, config, photo, tmp_path):
    photo("photos/a.png", (30, 20))
    config("long-edge = 45\nmegapixels = 1\n[sr]\nscale = 2\n")
    assert shown(adacode, "sr")["long-edge"] == (None, "default")
    assert adacode(*RUN, **FOUND).returncode == 0
    assert Image.open(tmp_path / "out" / "a.png").size == (60, 40)
    config("mask-tolerance = 5\n")
    assert shown(adacode, "inpaint")["mask-tolerance"][0] == 5.0  # it counts with --mask-color on the command line
    config("[sr]\nlong-edge = 45\nwidth = 45\n")
    assert b"contradict one another" in adacode(*RUN, **FOUND).stderr
    both = adacode("inpaint", "photos", "--mask-alpha", "--mask-tolerance", "5", "--weights", "nearest")
    assert (both.returncode, b"has no effect without --mask-color" in both.stderr) == (2, True)
    mixed = shown(adacode, "sr", **FOUND, ADACODE_SR_SCALE="3")
    assert (mixed["scale"], mixed["long-edge"]) == ((3.0, "ADACODE_SR_SCALE"), (None, "default"))


def test_the_same_values_are_the_same_run_wherever_they_come_from(adacode, config, photo, tmp_path):
    photo("photos/a.png")
    assert adacode(*RUN, "--format", "webp", "--quality", "80", "--scale", "2").returncode == 0
    path = config('[sr]\nformat = "webp"\nquality = 80\nscale = 2\n')
    for words, env in (
        ((), FOUND),
        (("--config", str(path)), {}),
        (("--preset", "web", "--scale", "2.0"), {}),
        ((), {"ADACODE_SR_PRESET": "web", "ADACODE_SR_SCALE": "2"}),
    ):
        result = adacode(*RUN, *words, **env)
        assert "1 skipped" in result.stderr.decode(), (words, env)
    path.write_text('[sr]\nformat = "webp"\nquality = 81\nscale = 2\n')
    assert adacode(*RUN, **FOUND).returncode == 6
    assert len((tmp_path / "out" / ".adacode" / "journal.jsonl").read_text().splitlines()) == 1


def test_only_the_working_directory_and_folders_above_are_searched(adacode, config, photo, tmp_path):
    photo("photos/a.png")
    config('format = "bmp"', "photos")
    assert b"-> out/a.png" in adacode(*RUN, "--dry-run", **FOUND).stdout
    config('format = "webp"')
    (tmp_path / "inner" / "most").mkdir(parents=True)
    adacode.directory = tmp_path / "inner" / "most"
    assert b"-> out/a.webp" in adacode("sr", "../../photos", "-o", "out", "--dry-run", **FOUND).stdout
    config('format = "tiff"', "inner")
    assert b"-> out/a.tif" in adacode("sr", "../../photos", "-o", "out", "--dry-run", **FOUND).stdout
    for words, env in ((("--config", "none"), FOUND), ((), {"ADACODE_CONFIG": "none"})):
        assert b"-> out/a.png" in adacode("sr", "../../photos", "-o", "out", "--dry-run", *words, **env).stdout


WRONG = [
    ("scael = 2", 1, "there is no option 'scael'; did you mean 'scale'?"),
    ("dont-overwrite = true", 1, "there is no option 'dont-overwrite'"),
    ("[sr]\n\nscael = 2", 3, "adacode sr has no option 'scael'; did you mean 'scale'?"),
    ("[inpain]\ngrow = 1", 1, "there is no command 'inpain' for the table [inpain]; did you mean 'inpaint'?"),
    ("[train]\nseed = 3", 2, "'seed' stands in [train], which is no command"),
    ("[sr]\n# scale = 3\nscale = 90", 3, "'scale' cannot be 90: it must be a number from 1 to 16"),
    ("[sr]\nscale = nan", 2, "'scale' cannot be nan: "),
    ("[sr]\nscale = true", 2, "the value of 'scale' must be a text or a number, not true"),
    ("[sr]\nscale = [2]", 2, "the value of 'scale' must be a text or a number, not [2]"),
    ('[sr]\nscale = "two"', 2, "'scale' cannot be 'two': it must be a number from 1 to 16"),
    ("quality = 80.5", 1, "'quality' cannot be 80.5: it must be a whole number from 1 to 100"),
    ('strict = "yes"', 1, "the value of 'strict' must be true or false, not 'yes'"),
    ('format = "gif"', 1, "'format' cannot be 'gif': it must be jpeg, png, "),
    ('[inpaint]\nmask_color = "red"', 2, "'mask_color' cannot be 'red': it must be a colour such as '#ffffff'"),
    ("sr = { scale = 90 }", 1, "'scale' cannot be 90: "),
    ("sr.scale = 90", 1, "'scale' cannot be 90: "),
    ("[tool.adacode.sr]\nscale = 90", 2, "'scale' cannot be 90: "),
    ('preset = "wbe"', 1, "there is no preset 'wbe'; did you mean 'web'?"),
    ("keep-suffix = true\nkeep_suffix = true", 2, "'keep_suffix' is the same option as 'keep-suffix'"),
    ("[sr]\nscale = 2024-01-01", 2, "the value of 'scale' must be a text or a number, not 2024-01-01"),
    ("[sr]\nscale = [07:30:00, true]", 2, "the value of 'scale' must be a text or a number, not [07:30:00, true]"),
    ('format = "png"\n\n[[sr.x]]\na = 1', 3, "adacode sr has no option 'x'"),
    ("format = png", 1, None),
    ("a = 1\n[sr", 2, None),
    ('overwrite = true\n[sr]\nformat = "png"', 1, "'overwrite' may not stand in a file that was found"),
]


@pytest.mark.parametrize(("text", "line", "problem"), WRONG, ids=[each[0] for each in WRONG])
def test_what_is_wrong_in_a_file_is_named_with_its_line(adacode, config, photo, tmp_path, text, line, problem):
    photo("photos/a.png")
    path = config(text)
    result = adacode(*RUN, **FOUND)
    message = result.stderr.decode().splitlines()[0]
    begins = f"error: {path}: line {line}"
    assert message.startswith(f"{begins}: {problem}" if problem else f"{begins} is no TOML: "), message
    assert result.returncode == 2
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_text_of_settings(adacode, config, tmp_path):
    path = config("")
    for data, message in (
        (b"\xff\xfe", "is not a text in UTF-8"),
        (b"#" * 1_000_001, "has more than 1 MB"),
        (b"a = " + b"[" * 100_000, ""),
        (b'format = "png"\n[tool.adacode]\nscale = 2', "has settings within [tool.adacode] and outside of it"),
        (b"[tool]\nadacode = 5", "has no table [tool.adacode], but a single value of this name"),
    ):
        path.write_bytes(data)
        result = adacode("weights", "list", "--json", **FOUND)
        assert (result.returncode, result.stderr) == (2, b"")
        error = json.loads(result.stdout)["error"]
        assert (error["kind"], error["path"]) == ("usage", str(path))
        assert error["message"].startswith(message)
        plain = adacode("weights", "list", **FOUND)
        assert plain.stderr.decode().startswith(f"error: {path}: {message}")
        assert b"Traceback" not in plain.stderr
        assert adacode("sr", "--help", **FOUND).returncode == 0
    path.write_bytes(b'\xef\xbb\xbfformat = "png"\r\n')
    assert shown(adacode, "sr")["format"] == ("png", f"{path}, line 1")
    missing = adacode("sr", "x", "--config", "nope.toml")
    assert (missing.returncode, missing.stderr.decode().splitlines()[0]) == (
        2,
        "error: nope.toml: cannot be read: there is no such file or directory",
    )


def test_an_empty_name_of_a_file_is_refused(adacode, config):
    config("[sr]\nscale = 2\n")
    result = adacode("sr", "x", "--config", "", **FOUND)
    assert result.returncode == 2
    assert b"--config names no file: its value is empty" in result.stderr


def test_doctor_reports_a_file_that_cannot_be_used(real_adacode, config):
    path = config("[sr]\nscael = 2\n")
    result = real_adacode("doctor", "--json", **FOUND)
    assert result.returncode == 2
    facts, error = map(json.loads, result.stdout.splitlines())
    problem = "line 2: adacode sr has no option 'scael'; did you mean 'scale'?"
    assert facts["settings"] == {"file": str(path), "problem": problem}
    assert error["error"]["path"] == str(path)
    text = real_adacode("doctor", **FOUND)
    assert (text.returncode, f"PROBLEM  {problem}" in text.stdout.decode()) == (2, True)
    path.write_text("[sr]\nscale = 2\n")
    good = real_adacode("doctor", "--json", **FOUND)
    assert json.loads(good.stdout)["settings"] == {"file": str(path), "problem": None}


def test_every_flag_has_an_opposite_on_the_command_line(adacode, photo, config, tmp_path):
    photo("photos/a.png")
    config("strict = true\npreserve-times = true\nno-provenance = true\n[sr]\nverbose = true\n")
    opposites = ("--no-strict", "--no-preserve-times", "--provenance", "--no-verbose", "--format", "png")
    result = adacode(*RUN, *opposites, "--json", **FOUND)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[0])["set_elsewhere"] == {}
    assert b"adacode" in (tmp_path / "out" / "a.png").read_bytes()  # the provenance
    preset = adacode(*RUN, "--preset", "archive", "--no-strict", "--no-preserve-times", "--format", "png")
    assert "1 skipped" in preset.stderr.decode()
    assert b"no-strict" not in adacode("sr", "--help-all").stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_is_no_regular_file_is_not_found(adacode, tmp_path):
    (tmp_path / "adacode.toml").write_text('format = "png"')
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "adacode.toml")
    (tmp_path / "a" / "b" / "adacode.toml").mkdir(parents=True)
    adacode.directory = tmp_path / "a" / "b"
    assert shown(adacode, "sr")["format"] == ("png", f"{tmp_path / 'adacode.toml'}, line 1")


def test_a_dead_link_is_reported(adacode, tmp_path):
    (tmp_path / "adacode.toml").symlink_to("moved.toml")
    result = adacode("config", "show", "sr", **FOUND)
    assert result.returncode == 2
    assert f"error: {tmp_path / 'adacode.toml'}: is a link to a file that does not exist" in result.stderr.decode()


def test_pyproject_has_other_tables_too(adacode, tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text('[project]\nname = "x"\n[tool.adacode.sr]\nscale = 2\noutput = "y"\n')
    found = shown(adacode, "sr", "--config", "pyproject.toml")
    assert found["scale"] == (2.0, "pyproject.toml, line 4")
    assert found["output"] == ("y", "pyproject.toml, line 5")
    assert shown(adacode, "sr", ADACODE_CONFIG=str(path))["scale"] == (2.0, f"{path}, line 4")
    assert shown(adacode, "sr")["scale"] == (None, "default")


def read(text: str, *, is_found: bool):
    root = typer.main.get_command(app)
    file = ConfigFile(Path("adacode.toml"), is_found, text, tomllib.loads(text))
    return Reader(file, root, root.context_class(root)).settings()


def all_options():
    for words, command in commands_of(typer.main.get_command(app)):
        for name, option in options_of(command).items():
            yield words, name, option


def test_a_found_file_may_set_no_other_option_of_any_command():
    """Also none that a later version adds, until somebody has decided that it is harmless."""
    for words, name, option in all_options():
        if name not in IN_FOUND_FILES:
            value = "true" if option.is_flag else '["x"]' if option.multiple else '"x"'
            with pytest.raises(UsageError, match=f"'{name}' may not stand in a file that was found"):
                read(f"[{'.'.join(words)}]\n{name} = {value}\n", is_found=True)


def test_what_a_found_file_may_set_writes_runs_and_hides_nothing():
    never = {
        *("output", "overwrite", "resume", "skip-existing", "dry-run", "from-file", "include", "exclude", "shard"),
        *("weights", "hub-repo", "detect", "mask", "mask-dir", "save-mask", "save-codes", "save-weights-map"),
        *("quarantine", "log-file", "guard", "isolate", "max-megapixels", "max-file-size", "decode-timeout"),
        *("accept-damaged", "quiet", "json", "config"),
    }
    assert never & IN_FOUND_FILES == set()


def test_a_file_that_is_named_may_set_everything(adacode, photo, config, tmp_path):
    photo("photos/a.png")
    path = config('[sr]\noutput = "there"\nweights = "nearest"\nexclude = ["b*"]\nguard = false\n')
    result = adacode("sr", "photos", "--config", str(path))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "there" / "a.png").is_file()
    assert result.stderr.decode().startswith(f"{path} sets --guard, --output, --exclude, --weights\n")


def test_every_option_has_the_variable_that_the_documentation_says(monkeypatch):
    root = typer.main.get_command(app)
    for words, name, option in all_options():
        variable = "_".join(("ADACODE", *words, name)).upper().replace("-", "_")
        each = root.context_class(root, info_name="adacode", auto_envvar_prefix="ADACODE")
        for word in words:
            inner = each.command.commands[word]
            each = inner.context_class(inner, info_name=word, parent=each)
        monkeypatch.delenv("ADACODE_HUB_REPO", raising=False)
        monkeypatch.setenv(variable, "1")
        assert option.value_from_envvar(each) in ("1", ["1"]), variable
        monkeypatch.delenv(variable)
        assert long_name(option) == name


def test_a_wrong_value_of_a_variable_names_the_variable(adacode):
    result = adacode("sr", "x", ADACODE_SR_SCALE="90")
    assert result.returncode == 2
    problem = "error: the variable ADACODE_SR_SCALE cannot be '90': it must be a number from 1 to 16\n"
    assert result.stderr.decode().startswith(f"{problem}  It gives --scale its value. ")
    shown_too = adacode("config", "show", ADACODE_SR_SCALE="90")
    assert (shown_too.returncode, "ADACODE_SR_SCALE" in shown_too.stderr.decode()) == (2, True)


def test_a_variable_that_sets_nothing_is_named(adacode, photo):
    photo("photos/a.png")
    slip = {"ADACODE_SR_SCAEL": "2", "ADACODE_INPAINT_SCALE": "2", "ADACODE_SR_FORMAT": "bmp", "ADACODE_X": "1"}
    told = adacode(*RUN, "--dry-run", **slip)
    assert told.returncode == 0
    first, second = told.stderr.decode().splitlines()[:2]
    assert first == "warning: the variable ADACODE_SR_SCAEL sets no option; did you mean 'ADACODE_SR_SCALE'?"
    assert second.startswith("to restore: ")
    assert adacode(*RUN, "--dry-run", "--json", **slip).stderr == b""
    negated = adacode(*RUN, "--dry-run", ADACODE_SR_DONT_OVERWRITE="1").stderr.decode().splitlines()[0]
    assert negated == "warning: the variable ADACODE_SR_DONT_OVERWRITE sets no option"
    no_options = adacode(*RUN, "--dry-run", ADACODE_SR_INPUTS="foo", ADACODE_SR_HELP="1").stderr.decode().splitlines()
    assert [line.split(";")[0] for line in no_options[:2]] == [
        "warning: the variable ADACODE_SR_HELP sets no option",
        "warning: the variable ADACODE_SR_INPUTS sets no option",
    ]


def test_variables_do_not_ask_for_help_or_the_version(adacode):
    result = adacode("weights", "list", ADACODE_VERSION="2.0", ADACODE_HELP="1", ADACODE_WEIGHTS_LIST_HELP="1")
    assert (result.returncode, result.stdout.splitlines()[0].split()[0]) == (0, b"NAME")


def test_a_contradiction_names_where_the_other_half_comes_from(adacode, photo, config):
    photo("photos/a.png")
    path = config("[sr]\nisolate = false\n")
    result = adacode(*RUN, "--decode-timeout", "5", "--config", str(path))
    assert result.returncode == 2
    assert f"--isolate ({path}, line 2)" in result.stderr.decode()
    assert "adacode config show sr" in result.stderr.decode()


def test_names_from_elsewhere_give_way_to_a_file_that_o_names(adacode, photo, config, tmp_path):
    source = photo("a.png")
    config('format = "webp"\nsuffix = "_x"\nkeep-suffix = true\nif-too-large = "png"\n')
    one = ("sr", "a.png", "--weights", "nearest")
    assert adacode(*one, "-o", "b.tif", **FOUND).returncode == 0
    assert (tmp_path / "b.tif").read_bytes()[:2] == b"II"
    piped = adacode("sr", "-", "--weights", "nearest", stdin=source.read_bytes(), **FOUND)
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout[8:12] == b"WEBP"
    assert adacode(*one, "-o", "c.tif", "--format", "png", **FOUND).returncode == 2
    env_is_weaker = adacode(*one, "--suffix", "_y", **FOUND, ADACODE_SR_OUTPUT="d.png")
    assert env_is_weaker.returncode == 2
    assert b"--output (ADACODE_SR_OUTPUT)" in env_is_weaker.stderr


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_as_documented_and_set_options_that_exist(adacode, photo, name):
    (row,) = re.findall(rf"^\| `{name}` \| `([^`]*)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    photo("photos/a.png")
    assert adacode(*RUN, *row.split()).returncode == 0
    assert "1 skipped" in adacode(*RUN, "--preset", name).stderr.decode()
    for command in RESTORING:
        found = shown(adacode, command, "--preset", name)
        assert {option for option, (_, place) in found.items() if place == f"preset {name}"} == set(PRESETS[name])
        words = (command, "photos", "-o", command, "--weights", "nearest", "--preset", name, "--dry-run")
        assert adacode(*words, *(["--mask-alpha"] if command == "inpaint" else [])).returncode == 0


def test_the_page_lists_what_a_found_file_may_set_and_its_example_is_right(adacode, config):
    page = PAGE.read_text(encoding="utf-8")
    listed = page.split("### What a found file may set")[1].split("\n\n")[2]
    assert re.findall(r"`([a-z-]+)`", listed) == sorted(IN_FOUND_FILES)
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    read(example, is_found=False)
    path = config(example)
    assert shown(adacode, "sr", "--config", str(path))["scale"] == (2.0, f"{path}, line 6")


def test_show_for_people(adacode, config):
    path = config("[sr]\nscale = 2\n[train.restore]\nseed = 3\n")
    result = adacode("config", "show", "--config", str(path), ADACODE_INPAINT_GROW="4")
    assert result.stdout.decode() == (
        f"file: {path}\n\nadacode sr\n  --scale  2.0  {path}, line 2\n\nadacode inpaint\n  --grow   4    "
        f"ADACODE_INPAINT_GROW\n\nadacode train restore\n  --seed   3    {path}, line 4\n"
    )
    unknown = adacode("config", "show", "sharpen")
    assert (unknown.returncode, unknown.stderr.splitlines()[0]) == (2, b"error: there is no command 'sharpen'")


def test_a_named_file_is_read_once_and_none_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adacode.toml").write_text("[sr]\nscale = 2\n")
    assert read_config("none") is None
    found = read_config(None)
    assert found is not None
    assert (found.path, found.is_found) == (tmp_path / "adacode.toml", True)
    named = read_config("adacode.toml")
    assert named is not None
    assert (named.table, named.is_found) == ({"sr": {"scale": 2}}, False)


def test_a_name_of_too_many_parts_is_refused_at_once(adacode, config):
    path = config("a" + ".a" * 50_000 + " = 1\n")
    result = adacode("config", "show", **FOUND)
    assert result.returncode == 2
    assert f"{path}: line 1 has more than 1000 dots" in result.stderr.decode()
