"""A run whose disk is full: the message says what to do, and that does it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_commands import QUICK, ended, started

SMALL = ["network.channels=16,24", "network.code_dim=8", "network.fuse_depth=1", "network.decoder_depth=1"]
SETTINGS = [*QUICK[2:], "--codes", "16,24", *(word for name in SMALL for word in ("--set", name))]


@pytest.fixture
def small_disk(tmp_path) -> Path:
    """A script that runs the program, first on a disk of 1 MB, then on one of 64 MB."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        pytest.skip("only Linux has private mounts")
    probe = ["unshare", "--mount", "--map-root-user", "sh", "-c", "mount -t tmpfs none /mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no private mount allowed here")
    script = tmp_path / "on_a_small_disk.sh"
    script.write_text(
        'mkdir run; mount -t tmpfs -o size=1m none run\n"$@"; echo "code $?"\n'
        'mount -o remount,size=64m run\n"$@" --resume; echo "code $?"\ncat run/basis-ground.jsonl\n'
    )
    return script


def test_after_a_full_disk_the_run_is_resumed_as_the_message_says(shards, small_disk, tmp_path):
    command = ["train", "basis", shards, "-o", "run", *SETTINGS, "--steps", "8", "--set", "start_share=0"]
    program = [sys.executable, "-m", "adacode_cli", *(str(word) for word in command), "--perceptual", ""]
    inside = ["unshare", "--mount", "--map-root-user", "bash", str(small_disk), *program]
    code, out, err = ended(started(program=inside, cwd=tmp_path))
    first, *rest = out.splitlines()
    assert (code, first) == (0, "code 6"), err
    assert "the disk is full" in err
    assert "Free some space on that disk, and run the same command with --resume" in " ".join(err.split())
    assert rest[:3] == ["run/basis-ground.safetensors", "run/basis-sky.safetensors", "code 0"]
    assert json.loads(rest[-1])["step"] == 4
