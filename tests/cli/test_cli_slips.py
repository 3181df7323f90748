"""Likely slips on the command line: what is wrong, in words of ours, and what may be meant."""

from __future__ import annotations

import os
import re
import shutil
import sys

import pytest
import typer
from adacode_process import FAKE

from adacode_cli.cli.main import app
from adacode_cli.cli.slips import COMMANDS

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="permissions and mounts as Linux has them")
WITHOUT_RIGHTS = ("--bounding-set", "-dac_override,-dac_read_search")


def message_and_hint(result) -> tuple[str, str]:
    """The two lines of an error, without what marks them; nothing else may be said."""
    first, second = result.stderr.decode().splitlines()
    assert result.stdout == b""
    assert first.startswith("error: ")
    assert second.startswith("  ")
    return first.removeprefix("error: "), second.strip()


OPTIONS = [
    ("sr p --scael 2", "--scael", "Did you mean --scale?"),
    ("sr p --scael=2", "--scael", "Did you mean --scale?"),
    ("sr p --long_edge 9", "--long_edge", "Did you mean --long-edge?"),
    ("sr p --gpu", "--gpu", "Did you mean --device cuda? A GPU is used by itself where there is one."),
    ("sr p --cuda", "--cuda", "Did you mean --device cuda? A GPU is used by itself where there is one."),
    ("sr p --gpu-id 1", "--gpu-id", "Did you mean --device cuda:1?"),
    ("sr p -g 0", "-g", "Did you mean --device cuda:0?"),
    ("sr -i p -o out", "-i", "Inputs are given without an option: p."),
    ("sr --input=p", "--input", "Inputs are given without an option: p."),
    ("sr p --outscale 2", "--outscale", "Did you mean --scale?"),
    ("sr p -outscale 2", "-outscale", "Did you mean --scale?"),
    ("sr p --upscale 2", "--upscale", "Did you mean --scale?"),
    ("sr p -n realesrgan-x4plus", "-n", "Did you mean --weights?"),
    ("sr p --model_name x", "--model_name", "Did you mean --weights?"),
    ("sr p -m models", "-m", "Did you mean --weights?"),
    ("sr p -t 400", "-t", "Did you mean --tile?"),
    ("sr p --fp32", "--fp32", "Did you mean --precision fp32?"),
    ("sr p -dn 0.5", "-dn", "Did you mean --denoise?"),
    ("sr p --ext png", "--ext", "Did you mean --format?"),
    ("sr p --output-dir out", "--output-dir", "Did you mean -o?"),
    ("sr p --debug", "--debug", "Did you mean -vv?"),
    ("sr p -r", "-r", "Directories are searched through all levels: leave it out."),
    ("sr p -scale 2", "-scale", "Did you mean --scale?"),
    ("sr p -output out", "-output", "Did you mean --output?"),
    ("sr p --mask m.png", "--mask", "It is an option of adacode inpaint."),
    ("--device cpu sr p", "--device", "Give it after the command: adacode sr … --device."),
    ("--verson", "--verson", "Did you mean --version?"),
    ("weights pull x --forse", "--forse", None),
    ("doctor --jsn", "--jsn", "Did you mean --json?"),
    ("sr p --overwirte", "--overwirte", "Did you mean --overwrite?"),
    ("sr p --no-provenence", "--no-provenence", "Did you mean --no-provenance?"),
]


@pytest.mark.parametrize(("words", "option", "meant"), OPTIONS, ids=[each[0] for each in OPTIONS])
def test_an_unknown_option_is_answered_with_the_one_that_is_meant(real_adacode, words, option, meant):
    result = real_adacode(*words.split())
    command = re.match(r"(weights pull|sr|doctor|)", words)[0]
    ends = f"'{f'adacode {command}'.rstrip()} --help' lists what can be given."
    assert result.returncode == 2
    assert message_and_hint(result) == (f"there is no option {option}", f"{meant} {ends}" if meant else ends)


NO_OPTIONS = [
    *("--dont-overwrite", "--never-overwrite", "--without-overwrite", "--not-overwrite", "--do-not-overwrite"),
    *("--override", "--no-denoise", "--provenance-no", "--strip", "--test", "--save"),
]


@pytest.mark.parametrize("option", NO_OPTIONS)
def test_nothing_is_proposed_that_means_something_else(real_adacode, option):
    result = real_adacode("sr", "p", option)
    assert result.returncode == 2
    expected = (f"there is no option {option}", "'adacode sr --help' lists what can be given.")
    assert message_and_hint(result) == expected


@pytest.mark.parametrize("words", ["clear", "restart", "weights uninstall"])
def test_no_command_is_proposed_that_does_something_else(real_adacode, words):
    *group, word = words.split()
    result = real_adacode(*words.split(), "p")
    assert result.returncode == 2
    expected = (f"there is no command {word!r}", f"'{' '.join(['adacode', *group])} --help' lists the commands.")
    assert message_and_hint(result) == expected


WORDS = [
    ("upscale p", "adacode sr"),
    ("enhance p", "adacode sr"),
    ("fix p", "adacode sr"),
    ("Restore p", "adacode sr"),
    ("restor p", "adacode sr"),
    ("super_resolution p", "adacode sr"),
    ("inpainting p", "adacode inpaint"),
    ("inpant p", "adacode inpaint"),
    ("reconstuct p", "adacode reconstruct"),
    ("download x", "adacode weights pull"),
    ("pull x", "adacode weights pull"),
    ("help", "adacode --help"),
    ("version", "adacode --version"),
    ("weights download x", "adacode weights pull"),
    ("weights pul x", "adacode weights pull"),
    ("weights ls", "adacode weights list"),
    ("config shwo", "adacode config show"),
    ("train al p", "adacode train all"),
]


@pytest.mark.parametrize(("words", "meant"), WORDS, ids=[each[0] for each in WORDS])
def test_an_unknown_command_is_answered_with_the_one_that_is_meant(real_adacode, words, meant):
    *group, word = words.split()[
        : 2 if meant.count(" ") > 1 and words.split()[0] in ("weights", "config", "train") else 1
    ]
    result = real_adacode(*words.split())
    lists = f"'{' '.join(['adacode', *group])} --help' lists the commands."
    assert result.returncode == 2
    assert message_and_hint(result) == (f"there is no command {word!r}", f"Did you mean {meant}? {lists}")


def test_help_of_one_command_is_named(real_adacode):
    result = real_adacode("help", "sr")
    expected = ("there is no command 'help'", "Did you mean adacode sr --help? 'adacode --help' lists the commands.")
    assert (result.returncode, message_and_hint(result)) == (2, expected)
    result = real_adacode("man", "sr")
    expected = ("too much is given: sr", "The page is about all commands. One of them: adacode sr --help.")
    assert (result.returncode, message_and_hint(result)) == (2, expected)


def test_weights_that_are_no_regular_file_are_refused(real_adacode, photo, tmp_path):
    photo("p/a.png")
    os.mkfifo(tmp_path / "w.safetensors")
    result = real_adacode("sr", "p", "--weights", "w.safetensors")
    expected = ("w.safetensors: is no regular file", "Write the weights into a file first, and name that file.")
    assert (result.returncode, message_and_hint(result)) == (4, expected)


def test_every_command_that_is_proposed_exists():
    program = typer.main.get_command(app)
    for group, meant in COMMANDS.items():
        for words in meant.values():
            command = program
            for word in (*group.split(), *words.split()):
                if not word.startswith("-"):
                    command = command.commands[word]


def test_a_path_in_the_place_of_a_command(real_adacode, photo):
    photo("my p/a.png")
    _, hint = message_and_hint(real_adacode("my p"))
    assert "Say what to do with it: adacode sr 'my p'." in hint


VALUES = [
    ("sr p --scale 99", "--scale cannot be '99': it must be a number from 1 to 16", None),
    ("sr p --scale 4x", "--scale cannot be '4x': it must be a number from 1 to 16", "4"),
    ("sr p --scale X2.5", "--scale cannot be 'X2.5': it must be a number from 1 to 16", "2.5"),
    ("sr p --scale 40x", "--scale cannot be '40x': it must be a number from 1 to 16", None),
    ("sr p --strength 40%", "--strength cannot be '40%': it must be a number from 0 to 1", "0.4"),
    ("sr p --quality 95%", "--quality cannot be '95%': it must be a whole number from 1 to 100", "95"),
    ("sr p --quality 9.5%", "--quality cannot be '9.5%': it must be a whole number from 1 to 100", None),
    ("sr p -s abc", "--scale cannot be 'abc': it must be a number from 1 to 16", None),
    ("sr p --denoise nan", "--denoise cannot be 'nan': it must be a number from 0 to 1", None),
    ("sr p --quality 1.5", "--quality cannot be '1.5': it must be a whole number from 1 to 100", None),
    ("sr p --precision half", "--precision cannot be 'half': it must be auto, fp32, bf16, fp16 or int8", "fp16"),
    (
        "sr p --device gpu",
        "--device cannot be 'gpu': it must be auto, cpu, cuda, cuda:N, mps, all, or several such as cuda:0,cuda:1",
        "cuda",
    ),
    (
        "sr p --device 0",
        "--device cannot be '0': it must be auto, cpu, cuda, cuda:N, mps, all, or several such as cuda:0,cuda:1",
        "cuda:0",
    ),
    ("sr p --tile 3", "--tile cannot be '3': it must be auto, none or a whole number of at least 64", None),
    ("sr p --shard 3/2", "--shard cannot be '3/2': it must be I/N with I from 1 to N, such as 2/4", None),
    ("sr p --tiling exakt", "--tiling cannot be 'exakt': it must be exact or sampled", "exact"),
    ("sr p --scale", "--scale needs a value: --scale FACTOR", None),
    ("sr p --strict=1", "--strict takes no value", None),
    ("sr p --overwrite=yes", "--overwrite takes no value", None),
    ("weights convert a.pth", "OUT.safetensors is missing", None),
    ("train prepare p", "--output is missing", None),
    ("doctor x", "too much is given: x", None),
]


@pytest.mark.parametrize(("words", "message", "meant"), VALUES, ids=[each[0] for each in VALUES])
def test_a_value_that_an_option_cannot_have_is_said_in_words_of_ours(real_adacode, words, message, meant):
    result = real_adacode(*words.split())
    found, hint = message_and_hint(result)
    assert (result.returncode, found) == (2, message)
    assert hint.endswith(" --help' lists what can be given.")
    if meant:
        assert hint.startswith(f"Did you mean {words.split()[-2]} {meant}? ")
    for theirs in ("Input should", "Invalid value", "valid integer", "valid number", "╭"):
        assert theirs not in result.stderr.decode()


def test_a_format_is_found_by_its_beginning(real_adacode):
    found, hint = message_and_hint(real_adacode("sr", "p", "--format", "jpgg"))
    assert found.startswith("--format cannot be 'jpgg': it must be jpeg, png, ")
    assert hint.startswith("Did you mean --format jpeg? ")


def test_a_suffix_may_look_like_an_option(adacode, photo):
    photo("p/a.png")
    result = adacode("sr", "p", "-o", "out", "--suffix", "-scale", "--dry-run", "--weights", "nearest")
    assert result.stdout == b"p/a.png -> out/a-scale.png\n"


def test_a_missing_input_is_answered_with_what_is_meant(adacode, photo, tmp_path):
    photo("small/a.png")
    photo("small/b.png")
    nothing = "Check the spelling; nothing was restored."
    for words, hint in (
        (("small", "out"), "Did you mean -o out? Otherwise check the spelling; nothing was restored."),
        (("small", "my out"), "Did you mean -o 'my out'? Otherwise check the spelling; nothing was restored."),
        (("small/a.png", "c.png"), "Did you mean -o c.png? Otherwise check the spelling; nothing was restored."),
        (("small", "c.png"), nothing),
        (("gone", "small"), nothing),
        (("small", "gone", "-o", "out"), nothing),
        (("smal",), "Did you mean small? Nothing was restored."),
        (("small/c.png",), "Did you mean small/b.png? Nothing was restored."),
        (("small/a.png", "small/b.pgn"), "Did you mean small/b.png, or -o small/b.pgn? Nothing was restored."),
        (("SMALL",), "Did you mean small? Nothing was restored."),
    ):
        result = adacode("sr", *words)
        missing = next(word for word in words if not (tmp_path / word).exists())
        assert (result.returncode, message_and_hint(result)) == (
            3,
            (f"{missing}: there is no such file or directory", hint),
        )


def test_an_address_of_an_unknown_kind_is_refused(adacode):
    result = adacode("sr", "ftp://example.com/a.jpg")
    message, hint = message_and_hint(result)
    assert (result.returncode, message) == (2, "ftp:// addresses are not supported")
    assert hint.startswith("Use one of s3://, gs://, ")
    _, hint = message_and_hint(adacode("sr", "file:///tmp/a%20b c.jpg"))
    assert hint == "Give the path alone: '/tmp/a%20b c.jpg'."


HUB = [
    ("owner/repo", "Did you mean hub:owner/repo, a repository on the Hugging Face Hub?"),
    ("owner/repo/x/y.safetensors", "Did you mean hub:owner/repo/x/y.safetensors, a file on the Hugging Face Hub?"),
    ("https://huggingface.co/owner/repo/resolve/main/y.safetensors", "Did you mean hub:owner/repo/y.safetensors?"),
    ("https://huggingface.co/owner/repo", "Did you mean hub:owner/repo?"),
    ("https://huggingface.co/owner/repo/blob/v1/x/y.pth", "Did you mean hub:owner/repo@v1/x/y.pth?"),
    (
        "https://example.com//y.safetensors",
        "Download the file and give its path; a file on the Hugging Face Hub is written hub:OWNER/REPO/FILE.",
    ),
    ("folder/y.safetensors", "Check the path; `adacode weights list` shows known names."),
    ("./owner/repo/y.safetensors", "Check the path; `adacode weights list` shows known names."),
]


@pytest.mark.parametrize(("weights", "hint"), HUB, ids=[each[0] for each in HUB])
def test_weights_on_the_hub_are_proposed_with_their_prefix(real_adacode, photo, weights, hint):
    photo("p/a.png")
    for words in (("sr", "p", "--weights", weights), ("weights", "pull", weights)):
        result = real_adacode(*words)
        assert (result.returncode, message_and_hint(result)) == (4, (f"{weights}: does not exist", hint))


@pytest.fixture
def foreign_output(photo):
    """An input whose output exists, and was made by no run."""
    photo("p/a.png")
    photo("out/a.png")


ORDER = [
    ("sr p -o out", 6, "out/a.png: exists already"),
    ("sr p -o out --weights compcat", 4, "no weights are called 'compcat'."),
    ("sr p -o out --weights compact-inpaint", 4, "compact-inpaint is for inpaint, not for sr"),
    ("sr p -o out --weights gone.safetensors", 4, "gone.safetensors: does not exist"),
    ("sr p -o out --weights cut.safetensors", 4, "cut.safetensors: is not a safetensors file, or is incomplete"),
    ("sr p -o out --weights published-sr-x4", 4, "published-sr-x4 is not on this machine"),
    ("sr p -o out --weights published --scale 2", 4, "published-sr-x2 is not on this machine"),
    ("sr p -o out --weights hub:o/r/a.safetensors", 4, "hub:o/r/a.safetensors is not in the cache and HF_HUB_OFFLINE"),
    ("sr p -o out --device mps", 5, "no MPS device is available"),
    ("sr p gone -o out", 3, "gone: there is no such file or directory"),
    ("sr p gone -o out --weights compcat", 3, "gone: there is no such file or directory"),
    ("sr p gone -o out.png --weights compcat", 2, "-o out.png names a single file"),
    ("sr p -o out --scale 2 --width 9 --weights compcat", 2, "--scale and --width contradict one another"),
    ("sr p gone -o out --skip-existing --overwrite", 2, "--skip-existing and --overwrite contradict one another"),
    ("sr p gone -o out --skip-existing --verify", 2, "--skip-existing and --verify contradict one another"),
    ("inpaint p -o out --mask-alpha --weights compact-sr-x4", 4, "compact-sr-x4 is for sr, not for inpaint"),
    ("inpaint p -o out --detect gone", 4, "no detector is called 'gone'"),
    ("inpaint p -o out --detect gone.safetensors", 4, "gone.safetensors: cannot be read: there is no such file"),
    ("inpaint p -o out --weights compcat", 2, "no hole is given"),
    ("reconstruct p -o out --weights compact-sr-x4", 4, "compact-sr-x4 is for sr, not for reconstruct"),
    ("reconstruct p gone -o out --from-codes --save-codes c", 2, "--save-codes and --from-codes contradict"),
]


@pytest.mark.usefixtures("foreign_output")
@pytest.mark.parametrize(("words", "code", "message"), ORDER, ids=[each[0] for each in ORDER])
def test_what_is_wrong_on_the_command_line_comes_before_an_output_that_exists(
    real_adacode, tmp_path, words, code, message
):
    if "mps" in words and sys.platform == "darwin":
        pytest.skip("here such a device may be there")
    (tmp_path / "cut.safetensors").write_bytes((1000).to_bytes(8, "little") + b'{"a":')
    for more in ((), ("--dry-run",)):
        if message.endswith("exists already") and more:
            continue
        result = real_adacode(*words.split(), *more, ADACODE_CACHE=str(tmp_path / "cache"))
        found, _ = message_and_hint(result)
        assert (result.returncode, found[: len(message)]) == (code, message)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png"]


@pytest.mark.usefixtures("foreign_output")
def test_on_a_pipe_too(real_adacode, tmp_path):
    data = (tmp_path / "p" / "a.png").read_bytes()
    result = real_adacode("sr", "-", "-o", "out/a.png", "--weights", "compcat", stdin=data)
    assert (result.returncode, message_and_hint(result)[0][:20]) == (4, "no weights are calle")


def without_rights(adacode):
    """Root may do anything, but for its capabilities to; other users have no such rights in any case."""
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("there is no `setpriv` here")
        adacode.command = [setpriv, *WITHOUT_RIGHTS, *FAKE]
    return adacode


PERMISSIONS = "Choose another directory (-o), or change the permissions of this one."


@linux
@pytest.mark.parametrize("output", ["closed", "closed/x/y", "closed/b.png"])
def test_an_output_that_cannot_be_written_names_the_directory_and_the_permission(adacode, photo, tmp_path, output):
    photo("a.png")
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o555)
    run = ("sr", "a.png", "-o", output, "--weights", "nearest")
    for words in (run, (*run, "--dry-run")):
        result = without_rights(adacode)(*words)
        expected = ("closed: cannot be written to: permission denied", PERMISSIONS)
        assert (result.returncode, message_and_hint(result)) == (6, expected)
    assert list((tmp_path / "closed").iterdir()) == []


@linux
def test_a_file_system_that_is_read_only_is_named(adacode, photo, tmp_path):
    photo("a.png")
    (tmp_path / "closed").mkdir()
    mounted = 'mount -t tmpfs -o ro none closed || exit 77; exec "$@"'
    adacode.command = ["unshare", "-rm", "sh", "-c", mounted, "sh", *FAKE]
    result = adacode("sr", "a.png", "-o", "closed/out", "--weights", "nearest")
    if result.returncode in (1, 77) or shutil.which("unshare") is None:
        pytest.skip(f"nothing can be mounted here: {result.stderr.decode()}")
    expected = ("closed: cannot be written to: the file system is read-only", "Choose another directory (-o).")
    assert (result.returncode, message_and_hint(result)) == (6, expected)


@linux
def test_a_hint_is_printed_once_in_a_run(adacode, photo, tmp_path):
    for name in ("a.png", "closed/b.png", "closed/c.png", "closed/d.png", "z.png"):
        photo(f"p/{name}")
    (tmp_path / "out" / "closed").mkdir(parents=True)
    (tmp_path / "out" / "closed").chmod(0o555)
    result = without_rights(adacode)("sr", "p", "-o", "out", "--weights", "nearest")
    said = result.stderr.decode()
    assert result.returncode == 9
    for name in "bcd":
        assert f"failed: p/closed/{name}.png: out/closed: cannot be written to: permission denied" in said
    assert said.count(PERMISSIONS) == 1
    assert "journal" not in said
    assert "disk" not in said


def test_no_log_lines_of_the_hubs_client_come_before_an_error(real_adacode, photo):
    """The client tries again and again; nothing answers at this port."""
    photo("p/a.png")
    words = ("sr", "p", "--weights", "hub:owner/repo/a.safetensors")
    nowhere = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    result = real_adacode(*words, **nowhere)
    message, _ = message_and_hint(result)
    what = "hub:owner/repo/a.safetensors cannot be fetched from http://127.0.0.1:9"
    assert (result.returncode, message) == (4, f"{what}: the connection was refused")
    loud = real_adacode(*words, "-v", **nowhere).stderr.decode().splitlines()
    retries = [line for line in loud if line.startswith("  Retrying in ")]
    assert len(retries) == len(set(retries)) > 0
    assert f"error: {message}" in loud


def test_v_shows_more_about_files_and_vv_tracebacks_too(adacode, photo):
    photo("p/a.png")
    (photo("p/b.png")).write_bytes(b"no picture")
    shown = {}
    for words in ((), ("-v",), ("-vv",), ("-v", "-v")):
        result = adacode("sr", "p", "-o", "out", "--weights", "nearest", "--overwrite", *words)
        assert result.returncode == 9
        shown[words] = result.stderr.decode()
    assert [("computed in fp32" in text, "Traceback" in text) for text in shown.values()] == [
        (False, False),
        (True, False),
        (True, True),
        (True, True),
    ]
