"""Lists of `--from-file` in the encodings in which programs on Windows write them, and as bytes."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from adacode_cli.cli.path_list import read_paths
from adacode_cli.errors import InputError, UsageError

W = ("--weights", "nearest")
NAMES = ["photos/Café é.png", "写真/one two.png", "plain.png"]
MARKED = {
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,  # PowerShell 5: `… > list.txt`
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def listed(tmp_path: Path, data: bytes, *, null: bool = False) -> list[str]:
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    return [str(found) for found in read_paths(str(path), null=null)]


def marked(text: str, encoding: str) -> bytes:
    return text.encode(encoding) if encoding == "utf-8-sig" else MARKED[encoding] + text.encode(encoding)


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_a_mark_says_how_a_list_is_written(tmp_path, encoding, end):
    assert marked("a", encoding).startswith(MARKED[encoding])
    data = marked("".join(f"{name}{end}" for name in NAMES), encoding)
    assert listed(tmp_path, data, null=end == "\0") == NAMES


def test_a_list_without_a_mark_is_bytes(tmp_path):
    data = b"caf\xe9.png\nplain.png\n"
    assert listed(tmp_path, data) == [os.fsdecode(b"caf\xe9.png"), "plain.png"]
    assert listed(tmp_path, codecs.BOM_UTF8 + data) == [os.fsdecode(b"caf\xe9.png"), "plain.png"]


def test_what_its_mark_does_not_say_is_refused_with_the_place(tmp_path):
    torn = marked("a.png\n", "utf-16-le")[:-1]
    half_a_pair = codecs.BOM_UTF16_LE + b"a\0\x00\xd8b\0"
    for data, place in ((torn, 12), (half_a_pair, 4)):
        with pytest.raises(InputError, match=f"byte order mark of UTF-16, but byte {place} ") as caught:
            listed(tmp_path, data)
        assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize("encoding", MARKED)
def test_a_mark_alone_lists_nothing(tmp_path, encoding):
    with pytest.raises(InputError, match="lists no inputs"):
        listed(tmp_path, MARKED[encoding])


def test_nuls_in_lines_are_named_in_a_marked_list_too(tmp_path):
    with pytest.raises(UsageError, match="contains NUL bytes"):
        listed(tmp_path, marked("a.png\0b.png\0", "utf-16-le"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["a.png\r\n", "a.png", "写真/一.png\r\n" * 20_000, "a\r\nb\r\n"])
@pytest.mark.parametrize("null", [False, True])
def test_utf16_without_a_mark_is_named(tmp_path, encoding, text, null):
    """`cmd /u` writes such lists. With --null, which its zero bytes seem to ask for, the first entry was "/"."""
    with pytest.raises(InputError, match="looks like UTF-16") as caught:
        listed(tmp_path, text.encode(encoding), null=null)
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize(
    "names", [["a", "b", "c"], ["ab\n", "\nb", "x"], ["a.png", "b.png"], ["ab", "cd."], ["写真/一.png"]]
)
def test_names_that_are_ended_by_nuls_are_not_taken_for_utf16(tmp_path, names):
    data = b"".join(os.fsencode(name) + b"\0" for name in names)
    assert listed(tmp_path, data, null=True) == names
    if "\n" not in "".join(names):
        with pytest.raises(UsageError, match="contains NUL bytes"):
            listed(tmp_path, data)


def test_a_list_of_powershell_is_restored(adacode, photo):
    for name in ("p/Café.png", "p/b.png"):
        photo(name)
    data = marked("p\\Café.png\r\np\\b.png\r\n".replace("\\", os.sep), "utf-16-le")
    result = adacode("sr", "--from-file", "-", "-o", "out", "--dry-run", "--quiet", *W, stdin=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode().splitlines() == ["p/Café.png -> out/p/Café.png", "p/b.png -> out/p/b.png"]
