"""One image on a pipe: the same stages as for a file, from bytes to bytes."""

from __future__ import annotations

from pathlib import Path

from adacode_cli.batch.stages import Stages, encoded, map_png, write_new
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode

STDIN = "<stdin>"


def restore_bytes(data: bytes, stages: Stages, format_name: str) -> tuple[bytes, tuple[str, ...]]:
    """The restored image as bytes of the format `format_name`, and the notes about it.

    The picture of the mixing weights, where one is asked for, is called `stdin.weights.png`. Raises InputError for
    no bytes or bytes that are no image, and what `Stages` raises.
    """
    if not data:
        raise InputError("nothing came in", path=STDIN, hint="Pipe an image in: cat a.jpg | adacode sr - > b.png")
    image = decode(data, name=STDIN)
    mask = stages.mask_for(Path(STDIN), image) if stages.mask_for else None
    result, restored = stages.restore(image, mask)
    if stages.maps_dir:
        write_new(stages.maps_dir / "stdin.weights.png", map_png(result, restored))
    return encoded(result, format_name, stages.quality)
