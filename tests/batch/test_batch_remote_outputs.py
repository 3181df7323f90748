"""Which outputs exist in a store, by hashes of names of which a half may be the same by chance."""

from __future__ import annotations

import pytest

from adacode_cli.batch import remote_outputs
from adacode_cli.batch.remote_outputs import RemoteOutputs
from adacode_cli.storage import listing
from adacode_cli.storage.path import path_of


@pytest.mark.parametrize("is_weak", [False, True])
def test_files_are_found_although_halves_of_hashes_are_the_same(monkeypatch, is_weak):
    strong = remote_outputs._hashes
    if is_weak:
        monkeypatch.setattr(remote_outputs, "_hashes", lambda name: (strong(name)[0] % 3, strong(name)[1]))
    monkeypatch.setattr(remote_outputs, "_BLOCK", 50)
    names = [f"scans/{number}.png" for number in range(200)]
    there = [(f"other/{number}", 7) for number in range(80)]
    there += [(name, (1 << 64) - 1 - number) for number, name in enumerate(names) if number % 3 == 0]
    monkeypatch.setattr(listing, "entries", lambda *_: iter(there))
    root, outputs = path_of("memory://museum/large"), RemoteOutputs()
    outputs.look(root, iter(names), is_one=False)
    assert outputs.exist(root, iter(names)) == bytes(number % 3 == 0 for number in range(200))
    wanted = [None if number % 3 else (1 << 64) - 1 - number for number in range(200)]
    assert [outputs.stamp(root, name) for name in names] == wanted
    there.clear()
    outputs.look(root, names, is_one=False)
    assert outputs.exist(root, names[:2]) == b"\0\0"
    assert outputs.exist(root, ()) == b""
