"""What the network does not see goes around it: alpha, profile, EXIF, notes; holes come from where they should."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nearest import NearestRestored, NearestRestorer
from PIL import Image

from adacode_cli.batch import masks
from adacode_cli.batch.found import Found, Selection
from adacode_cli.batch.mask_pairs import MaskFolder
from adacode_cli.batch.restoring import Detecting, Restoring
from adacode_cli.batch.stages import Stages
from adacode_cli.batch.stream import restore_bytes
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging.decode import read_image
from adacode_cli.imaging.image import Decoded

TOPS = {np.uint8: 255, np.uint16: 65535, np.float32: 1.0}


class Recording:
    """Keeps what the network was given, and returns it with a note."""

    def __init__(self) -> None:
        self.calls = []

    def restore(self, task, image, **options):
        self.calls.append((task, image, options))
        restored = NearestRestorer().restore(task, image, **options)
        return replace(restored, notes=("repeated in fp32",))


def decoded(dtype=np.uint8, alpha=True, grey=False) -> Decoded:
    shape = (4, 6) if grey else (4, 6, 3)
    pixels = (np.arange(np.prod(shape)).reshape(shape) * (TOPS[dtype] / 100)).astype(dtype)
    coverage = np.full((4, 6), TOPS[dtype], dtype)
    coverage[:, :3] = 0
    return Decoded(pixels, coverage if alpha else None, "png", b"profile", b"exif", ("a note",))


@pytest.mark.parametrize("dtype", list(TOPS))
@pytest.mark.parametrize("grey", [False, True])
def test_alpha_goes_to_the_engine_beside_the_colours_and_comes_from_it(dtype, grey):
    engine, given = Recording(), decoded(dtype, grey=grey)
    image, _ = Restoring(engine, "sr", 3.0, 0.5)(given, None)
    ((task, seen, options),) = engine.calls
    assert (task, options["scale"], options["denoise"], options["mask"]) == ("sr", 3.0, 0.5, None)
    assert seen is given.pixels
    assert options["alpha"] is given.alpha
    assert image.pixels.shape[:2] == image.alpha.shape == (12, 18)
    assert image.pixels.dtype == image.alpha.dtype == dtype
    assert (image.alpha[:, :9] == 0).all()
    assert (image.alpha[:, 9:] == TOPS[dtype]).all()


def test_metadata_and_notes_go_through():
    image, _ = Restoring(Recording(), "reconstruct")(decoded(), None)
    assert (image.icc, image.exif, image.format) == (b"profile", b"exif", "png")
    assert image.notes == ("a note", "repeated in fp32")


def test_a_mask_that_marks_nothing_is_named():
    """Such as a colour that a JPEG has changed: the image would pass for a mended one."""
    mask, image = np.zeros((4, 6), bool), decoded()
    made, _ = Restoring(Recording(), "inpaint")(image, masks.Edge().hole(mask))
    assert made.notes[-1] == "nothing was filled: no pixel of this image is in its mask"
    mask[1, 1] = True
    made, _ = Restoring(Recording(), "inpaint")(image, masks.Edge().hole(mask))
    assert made.notes == ("a note", "repeated in fp32")


def test_a_mask_that_marks_hardly_anything_is_named_with_its_pixels():
    """Also one that a detector has made."""
    image = Decoded(np.zeros((200, 300, 3), np.uint8))
    mask = np.zeros((200, 300), bool)
    mask[0, :5] = True
    note = "hardly anything was filled: only 5 of 60,000 pixels are in its mask"
    made, _ = Restoring(NearestRestorer(), "inpaint")(image, replace(masks.Edge().hole(mask), note="why"))
    assert made.notes == (note, "why")
    finder = SimpleNamespace(mask=lambda _image, _alpha: mask)
    found, _ = Detecting(Restoring(NearestRestorer(), "inpaint"), finder, masks.Edge())(image, None)
    assert found.notes == (note,)
    mask[1, :5] = True
    made, _ = Restoring(NearestRestorer(), "inpaint")(image, masks.Edge().hole(mask))
    assert made.notes == ()


def test_a_mask_that_marks_nearly_all_is_named():
    """Such as one that is black where the hole is."""
    mask, image = np.ones((4, 6), bool), decoded()
    mask[0, 0] = False
    made, _ = Restoring(Recording(), "inpaint")(image, masks.Edge().hole(mask))
    assert made.notes[-1] == "nearly all of this image was filled: its mask covers 95.8 %"
    mask[0, 1] = False
    made, _ = Restoring(Recording(), "inpaint")(image, masks.Edge().hole(mask))
    assert made.notes == ("a note", "repeated in fp32")


def test_a_hole_that_was_transparency_is_opaque_and_has_its_edge():
    image = decoded()
    hole = masks.Transparency(masks.Edge(2, 3))(image, None)
    assert hole.mask[:, :3].all()
    assert not hole.mask[:, 3:].any()
    assert (hole.grow_px, hole.feather_px, hole.opaque) == (2, 3, True)
    filled, _ = Restoring(NearestRestorer(), "inpaint")(image, hole)
    assert (filled.alpha == 255).all()
    kept, _ = Restoring(NearestRestorer(), "inpaint")(image, masks.Edge().hole(hole.mask))
    np.testing.assert_array_equal(kept.alpha, image.alpha)


def save_mask(path: Path, size: tuple[int, int], hole: slice) -> Path:
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[hole] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def hole(source, name, image):
    """The mask of the image `name`, as a run finds it."""
    path = source.file_for(Path(name))
    return source(image, masks.MaskFile(path, lambda _first: read_image(path)) if path else None).mask


def test_masks_by_file_folder_and_color(tmp_path):
    image = Decoded(np.full((4, 6, 3), 7, np.uint8))
    image.pixels[1] = (255, 0, 255)
    one = save_mask(tmp_path / "m" / "a.png", (6, 4), slice(2))
    wrong = save_mask(tmp_path / "m" / "b.png", (5, 4), slice(2))
    by_file = hole(masks.OneFile(one), "photos/a.jpg", image)
    names = [Path("photos", name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    pairs = MaskFolder(tmp_path / "m", Selection()).pair([Found(name, name.name, in_tree=False) for name in names])
    by_folder = masks.PairedFiles(pairs)
    np.testing.assert_array_equal(by_file, hole(by_folder, "photos/a.jpg", image))
    assert by_file[:2].all()
    assert not by_file[2:].any()
    by_color = hole(masks.OneColor("#FF00ff"), "a.jpg", image)
    assert by_color[1].all()
    assert by_color.sum() == 6
    for name in ("photos/b.jpg", "photos/c.jpg"):
        with pytest.raises(InputError):
            hole(by_folder, name, image)
    with pytest.raises(InputError):
        hole(masks.OneFile(wrong), "a.jpg", image)
    with pytest.raises(InputError):
        hole(masks.Transparency(), "a.jpg", image)


def png(pixels: np.ndarray | bytes) -> bytes:
    if isinstance(pixels, bytes):
        pixels = np.frombuffer(pixels, np.uint8).reshape(64, -1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_pipe_from_bytes_to_bytes(tmp_path):
    pixels = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    stages = Stages(Restoring(NearestRestorer(), "sr", 2.0), maps_dir=tmp_path / "maps")
    data, notes, precisions = restore_bytes(png(pixels), stages, "tiff")
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "TIFF"
        np.testing.assert_array_equal(np.asarray(image)[::2, ::2], pixels)
    assert (notes, precisions) == ((), ("fp32",))
    with Image.open(tmp_path / "maps" / "stdin.weights.png") as sheet:
        assert sheet.width > 300


@pytest.mark.parametrize("data", [b"", b"text", png(np.random.default_rng(0).bytes(4096))[:2000]])
def test_pipe_with_nothing_useful_in_it(data):
    with pytest.raises(InputError) as caught:
        restore_bytes(data, Stages(Restoring(NearestRestorer(), "sr")), "png")
    assert caught.value.path == "<stdin>"


def test_what_a_format_cannot_hold_is_an_error_of_the_output():
    result = NearestRestored(np.zeros((1, 70000), np.uint8), np.zeros((1, 1, 1), np.float32))
    stages = Stages(lambda image, mask: (Decoded(result.image), result))
    with pytest.raises(OutputError):
        restore_bytes(png(np.zeros((1, 1), np.uint8)), stages, "jpeg")
