"""States in each file of a task which shared parts belong to it, for families that were bundled by earlier versions.

    .venv/bin/python tools/state_parts.py [FOLDER]        FOLDER: with catalogue.json; by default weights/

Only the metadata of the files change (`parts`, see adacode_cli/checkpoints/parts.py), and with them sizes and digests
in catalogue.json. Stored tensors stay as they are, byte for byte. The parts are those beside the files, so they must
be the right ones. A file that states its parts already is compared with them and left as it is.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from adacode_cli.atomic import write_bytes
from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.catalogue import WeightsFile
from adacode_cli.checkpoints.format import METADATA_KEY, PARTS, read_safetensors, read_weights
from adacode_cli.checkpoints.load import shared_parts_beside
from adacode_cli.checkpoints.parts import part_digest

_LENGTH_BYTES = 8


def with_parts(data: bytes, digests: dict[str, str]) -> bytes:
    """The content of a safetensors file of adacode, with these digests in its metadata."""
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES:end])
    stated = json.loads(header["__metadata__"][METADATA_KEY]) | {PARTS: digests}
    header["__metadata__"][METADATA_KEY] = json.dumps(stated, sort_keys=True)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)  # the format aligns the values
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + data[end:]


def state_parts(path: Path) -> bool:
    """Whether the file at `path` had to be changed. Raises WeightsError where the parts beside it are not its own."""
    if METADATA_KEY not in read_safetensors(path, "")[1]:
        return False  # of another kind, such as a prior of codes
    weights = read_weights(path)
    if weights.part != "task":
        return False
    shared = shared_parts_beside(path, weights)
    if weights.parts:
        return False
    write_bytes(path, with_parts(path.read_bytes(), {part.part: part_digest(part.tensors) for _, part in shared}))
    return True


def main(folder: Path) -> None:
    """Changes the files of a folder and its catalogue; prints the names of those that changed."""
    changed = [path.name for path in sorted(folder.glob("*.safetensors")) if state_parts(path)]
    catalogue = catalogue_file.load(folder)

    def described(file: WeightsFile) -> WeightsFile:
        data = (folder / file.name).read_bytes() if file.name in changed else None
        return file if data is None else replace(file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    files = tuple(described(file) for file in catalogue.files)
    if changed:
        write_bytes(folder / catalogue_file.FILE_NAME, catalogue_file.to_bytes(replace(catalogue, files=files)))
    print(*changed or ["every file states its parts"], sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else catalogue_file.weights_folder())
