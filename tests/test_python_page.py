"""The examples of docs/python.md run as they are written, one after another, and give what the page says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adacode_cli.checkpoints.catalogue_file import weights_folder

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
CHECKS = """
assert (large.mode, large.size) == ("RGB", (680, 680))
assert (array.shape, array.dtype) == ((340, 340, 3), np.uint8)
assert (tensor.shape, tensor.dtype) == (x.shape, torch.float32)
assert [type(one).__name__ for one in both] == ["Image", "Image"]
assert batch.shape == (2, 3, 340, 340)
assert again == mended and mended.size == scratched.size and mended != scratched
assert small.size == (255, 255)
"""


@pytest.mark.skipif(not (weights_folder() / "compact-sr-x4.safetensors").is_file(), reason="no bundled weights")
def test_the_examples_run(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + CHECKS],
        cwd=tmp_path / "examples",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *sizes, refused = done.stdout.splitlines()
    assert sizes == ["(340, 340)", "(450, 300)"]
    assert refused.startswith("photos/astronaut.jpg: a path is not an image Read the file first")
