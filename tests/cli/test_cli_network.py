"""The program with a real network, from end to end: a small untrained one, and the bundled weights where they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from adacode_process import ROOT
from PIL import Image
from skimage import data

bundled = pytest.mark.skipif(
    not (ROOT / "weights" / "compact-sr-x4.safetensors").exists(), reason="the bundled weights are not there yet"
)


@pytest.fixture
def untrained(tmp_path) -> str:
    """The file of a small ×2 network whose weights are random; it adds little to the enlarged input."""
    import torch

    from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
    from adacode_cli.model.config import NetworkConfig
    from adacode_cli.model.network import AdaCode

    torch.manual_seed(0)
    config = NetworkConfig(
        task="sr",
        scale=2,
        channels=(16, 32),
        grid=2,
        stem="shuffle",
        norm="none",
        base="upsampled",
        codebooks=((8, 16), (8, 16)),
        categories=("left", "right"),
    )
    write_weights(tmp_path / "own.safetensors", Weights("whole", config, Provenance(), AdaCode(config).state_dict()))
    return "own.safetensors"


@pytest.fixture
def astronaut(tmp_path):
    """A 64×48 piece of a photograph, as astronaut.png."""
    Image.fromarray(data.astronaut()[20:68, 190:254]).save(tmp_path / "astronaut.png")
    return tmp_path / "astronaut.png"


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@bundled
@pytest.mark.parametrize(("scale", "size"), [("4", (256, 192)), ("2", (128, 96)), ("1.5", (96, 72)), ("1", (64, 48))])
def test_sr_enlarges_and_looks_like_the_input(real_adacode, astronaut, tmp_path, scale, size):
    result = real_adacode("sr", "astronaut.png", "-o", "out.png", "--scale", scale)
    assert result.returncode == 0, result.stderr.decode()
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == size
        back = np.asarray(image.resize((64, 48), Image.Resampling.BOX), np.float32)
    assert np.abs(back - pixels(astronaut)).mean() < 25


@bundled
def test_pipe_with_the_network(real_adacode, astronaut):
    result = real_adacode("sr", "-", stdin=astronaut.read_bytes())
    assert result.returncode == 0, result.stderr.decode()
    with Image.open(io.BytesIO(result.stdout)) as image:
        assert (image.format, image.size) == ("PNG", (256, 192))


@bundled
def test_inpainting_changes_the_hole_and_nothing_else(real_adacode, astronaut, tmp_path):
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 30:44] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    result = real_adacode("inpaint", "astronaut.png", "--mask", "mask.png", "-o", "out.png")
    assert result.returncode == 0, result.stderr.decode()
    before, after = pixels(astronaut), pixels(tmp_path / "out.png")
    np.testing.assert_array_equal(after[mask == 0], before[mask == 0])
    assert (after[mask > 0] != before[mask > 0]).any()


@bundled
def test_reconstruct_with_weights_map(real_adacode, astronaut, tmp_path):
    result = real_adacode("reconstruct", "astronaut.png", "-o", "out.png", "--save-weights-map", "maps")
    assert result.returncode == 0, result.stderr.decode()
    assert pixels(tmp_path / "out.png").shape == (48, 64, 3)
    assert pixels(tmp_path / "maps" / "out.png.weights.png").ndim == 3


def mixed_folder(folder) -> dict[str, tuple[int, ...]]:
    """Thirty files as an archive has them, two of them unreadable; returns the shapes that enlarging by 2 gives."""
    folder.mkdir()
    rgb = data.astronaut()[:32, :40]
    grey, alpha = rgb[..., 0], np.dstack((rgb, rgb[..., 0]))
    shapes = {}

    def put(name: str, image: Image.Image, *, turned: bool = False, **options) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        image.save(folder / name, **options)
        w, h = image.size[::-1] if turned else image.size
        channels = {"L": (), "I;16": (), "RGBA": (4,)}.get(image.mode, (3,))
        shapes[name] = (2 * h, 2 * w, *channels)

    for i in range(6):
        put(f"scans/{i:03d}.jpg", Image.fromarray(rgb[: 20 + i, : 31 - i]), quality=70 + i)
        put(f"scans/{i:03d}.tif", Image.fromarray(rgb[i:, i:]))
        put(f"scans/{i:03d}.webp", Image.fromarray(np.roll(rgb, i, 1)))
    put("Größe 北京.jpg", Image.fromarray(rgb))
    put("one.png", Image.fromarray(rgb[:1, :1]))
    put("row.bmp", Image.fromarray(rgb[:1, :17]))
    put("grey.png", Image.fromarray(grey))
    put("grey.jpg", Image.fromarray(grey))
    put("deep.png", Image.fromarray(grey.astype(np.uint16) * 257))
    put("alpha.png", Image.fromarray(alpha))
    put("cmyk.jpg", Image.fromarray(alpha, mode="CMYK"))
    shapes["cmyk.jpg"] = (64, 80, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    put("turned.jpg", Image.fromarray(rgb), turned=True, exif=exif)
    put("palette.png", Image.fromarray(rgb).quantize(16))
    whole = (folder / "turned.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    return shapes


@bundled
def test_thirty_mixed_files(real_adacode, tmp_path):
    shapes = mixed_folder(tmp_path / "photos")
    assert len(shapes) == 28
    result = real_adacode("sr", "photos", "--scale", "2")
    assert result.returncode == 9, result.stderr.decode()
    assert b"text.jpg" in result.stderr
    assert b"truncated.jpg" in result.stderr
    out = tmp_path / "photos-sr-x2"
    made = [p for p in out.rglob("*") if p.is_file() and ".adacode" not in p.parts]
    assert {str(p.relative_to(out)): pixels(p).shape for p in made} == shapes


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--weights", "no-such"), 4), (("--device", "cuda:77"), 5), (("--weights", "missing.safetensors"), 4)],
)
def test_what_the_engine_refuses(real_adacode, astronaut, options, code):
    result = real_adacode("sr", "astronaut.png", *options)
    assert result.returncode == code, result.stderr.decode()
    assert result.stdout == b""
    assert b"Traceback" not in result.stderr


def test_own_weights_pipe_folder_and_map(real_adacode, astronaut, untrained, tmp_path):
    piped = real_adacode("sr", "-", "--scale", "2", "--weights", untrained, stdin=astronaut.read_bytes())
    assert piped.returncode == 0, piped.stderr.decode()
    (tmp_path / "p").mkdir()
    astronaut.rename(tmp_path / "p" / "a.png")
    result = real_adacode(
        "sr", "p", "--scale", "2", "--weights", untrained, "--save-weights-map", "maps", "--tile", "64"
    )
    assert result.returncode == 0, result.stderr.decode()
    with Image.open(io.BytesIO(piped.stdout)) as one, Image.open(tmp_path / "p-sr-x2" / "a.png") as other:
        assert one.size == other.size == (128, 96)
    assert pixels(tmp_path / "maps" / "a.png.weights.png").ndim == 3


def test_own_weights_for_another_task_are_refused(real_adacode, astronaut, untrained):
    mask = ("--mask-color", "#000000")
    for command in (("reconstruct",), ("inpaint", *mask)):
        result = real_adacode(*command, "astronaut.png", "--weights", untrained)
        assert result.returncode == 4, result.stderr.decode()
        assert b"own.safetensors" in result.stderr
