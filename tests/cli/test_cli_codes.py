"""`adacode reconstruct --save-codes` and `--from-codes` as processes: folders, one file, a pipe, damaged files."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data

from adacode_cli.batch.coding import SavingStages
from adacode_cli.batch.executor import JobPassage
from adacode_cli.batch.found import Found
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.plan import Job
from adacode_cli.codes.image import Codes, DecoderIdentity
from adacode_cli.errors import OutputError
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.image import Decoded

SMALL = {
    "task": "reconstruct",
    "channels": (8, 16),
    "grid": 4,
    "stem": "shuffle",
    "encoder_depth": 0,
    "decoder_depth": 0,
    "norm": "none",
    "codebooks": ((300, 4), (6, 4)),
}


def write_network(path, seed=0, **changes) -> None:
    """The file of a small network for reconstruction whose weights are random."""
    import torch

    from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
    from adacode_cli.model.config import NetworkConfig
    from adacode_cli.model.network import AdaCode

    torch.manual_seed(seed)
    config = NetworkConfig(**SMALL | changes)
    write_weights(path, Weights("whole", config, Provenance(), AdaCode(config).state_dict()))


@pytest.fixture
def reconstruct(real_adacode, tmp_path):
    """Runs `adacode reconstruct` with a small network in `tmp_path`, and looks at its exit code."""
    write_network(tmp_path / "own.safetensors")

    def run(*arguments: str, code: int = 0, weights: str = "own.safetensors", stdin: bytes = b""):
        result = real_adacode("reconstruct", *arguments, "--weights", weights, stdin=stdin)
        assert result.returncode == code, result.stderr.decode()
        assert b"Traceback" not in result.stderr
        return result

    return run


def save_photos(folder) -> None:
    """One image of each kind that must come back whole."""
    (folder / "sub").mkdir(parents=True)
    rgb = data.astronaut()[20:70, 100:190]
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a test"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(rgb).save(folder / "turned.jpg", exif=exif, icc_profile=profile)
    Image.fromarray(np.dstack((rgb, rgb[..., :1]))).save(folder / "sub" / "alpha.png")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(folder / "sub" / "deep.png")
    Image.fromarray(rgb[..., 0]).save(folder / "grey.tif", compression="tiff_deflate")
    Image.fromarray(rgb[:9, :7]).save(folder / "turned.png")


def contents(folder) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and ".adacode" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_a_folder_to_codes_and_back_is_the_same_byte_for_byte(reconstruct, tmp_path):
    save_photos(tmp_path / "photos")
    reconstruct("photos", "--save-codes", "codes")
    made = contents(tmp_path / "photos-reconstruct")
    assert set(contents(tmp_path / "codes")) == {f"{name}.adacode" for name in made}
    reconstruct("--from-codes", "codes")
    assert contents(tmp_path / "codes-reconstruct") == made
    with Image.open(tmp_path / "codes-reconstruct" / "turned.jpg") as image:
        assert image.size == (50, 90)
        assert image.getexif()[0x010E] == "a test"
        assert image.info["icc_profile"]
    with Image.open(tmp_path / "codes-reconstruct" / "sub" / "alpha.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[..., 3], data.astronaut()[20:70, 100:190, 0])


def test_one_file_a_pipe_and_back(reconstruct, tmp_path):
    Image.fromarray(data.astronaut()[:40, :56]).save(tmp_path / "a.png")
    reconstruct("a.png", "-o", "b.png", "--save-codes", "a.adacode")
    codes = (tmp_path / "a.adacode").read_bytes()
    piped = reconstruct("-", "--from-codes", stdin=codes).stdout
    assert piped == (tmp_path / "b.png").read_bytes()
    again = reconstruct("-", "--save-codes", "piped", stdin=(tmp_path / "a.png").read_bytes()).stdout
    assert again == piped
    assert (tmp_path / "piped" / "stdin.adacode").read_bytes() == codes


def test_damaged_files_fail_alone_and_other_weights_are_named(reconstruct, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(data.astronaut()[:24, :24]).save(tmp_path / "a.png")
    reconstruct("a.png", "-o", "b.png", "--save-codes", "in/good.adacode")
    whole = (folder / "good.adacode").read_bytes()
    (folder / "cut.adacode").write_bytes(whole[:-9])
    (folder / "bent.adacode").write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    (folder / "ignored.png").write_bytes(b"no picture")
    result = reconstruct("in", "--from-codes", "--json", code=9)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    failed = {e["source"]: e["error"] for e in events if e["event"] == "file-failed"}
    assert {name: error["exit_code"] for name, error in failed.items()} == {"in/bent.adacode": 3, "in/cut.adacode": 3}
    assert "truncated" in failed["in/cut.adacode"]["message"]
    assert "checksum" in failed["in/bent.adacode"]["message"]
    assert contents(tmp_path / "in-reconstruct") == {"good.png": (tmp_path / "b.png").read_bytes()}

    reconstruct("in/cut.adacode", "--from-codes", "-o", "c.png", code=3)
    write_network(tmp_path / "other.safetensors", seed=1)
    result = reconstruct("in/good.adacode", "--from-codes", "-o", "c.png", weights="other.safetensors", code=4)
    assert b"Use --weights own.safetensors;" in result.stderr
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize(("levels", "version"), [(1, 3), (2, 4)])
def test_the_bundled_prior_packs_codes_and_other_weights_are_refused(reconstruct, tmp_path, levels, version):
    Image.fromarray(data.astronaut()[:72, :56]).save(tmp_path / "a.png")
    saved = ("-o", "b.png", "--save-codes", "a.adacode", "--code-levels", str(levels))
    reconstruct("a.png", *saved, weights="compact")
    whole = (tmp_path / "a.adacode").read_bytes()
    assert whole[8:10] == bytes([version, 0])
    reconstruct("a.adacode", "--from-codes", "-o", "c.png", weights="compact")
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    at = 52 + 1 + len("compact") + 4 * 5  # the digest of the prior
    other = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 : -4]
    (tmp_path / "other.adacode").write_bytes(other + zlib.crc32(other).to_bytes(4, "little"))
    for name, weights in (("a", "own.safetensors"), ("other", "compact")):
        result = reconstruct(f"{name}.adacode", "--from-codes", "-o", "d.png", weights=weights, code=4)
        assert b"packed with the prior" in result.stderr
        assert b"--weights compact" in result.stderr
    assert not (tmp_path / "d.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("p", "--save-codes", "c", "--from-codes"), 2, "contradict"),
        (("p", "--save-codes", "c.adacode"), 2, "names a single file"),
        (("p/a.png", "--save-codes", "p/a.png"), 6, "not a directory"),
        (("p/a.png", "--save-codes", "b.png"), 2, "has the name of an image"),
        (("p/a.png", "-o", "c.adacode", "--save-codes", "c.adacode"), 2, "name the same file"),
        (("p/a.png", "--save-codes", "old.adacode"), 6, "--overwrite"),
        (("p", "--from-codes"), 3, "no files with the suffix .adacode found"),
        (("old.adacode",), 3, "--from-codes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused_before_anything_is_computed(reconstruct, tmp_path, arguments, code, message):
    (tmp_path / "p").mkdir()
    Image.fromarray(data.astronaut()[:24, :24]).save(tmp_path / "p" / "a.png")
    (tmp_path / "old.adacode").write_bytes(b"\x89ADC\r\n\x1a\n")
    result = reconstruct(*arguments, code=code)
    assert message in " ".join(result.stderr.decode().split())
    assert (tmp_path / "old.adacode").read_bytes() == b"\x89ADC\r\n\x1a\n"


class Repeating:
    """Codes of nothing, of which the image comes out that went in."""

    mixing_weights, categories, notes, shrunk = np.ones((1, 1, 1), np.float32), ("a",), (), None
    precision, weights_extent = "fp32", (1.0, 1.0)

    def encode(self, image, alpha=None):
        self.image = image
        cells = np.zeros((1, 1, 1))
        layout = image.shape[0], image.shape[1], image.ndim == 2, image.dtype, max(image.shape), (1,)
        return Codes(*layout, cells.astype(np.uint16), cells.astype(np.int16), DecoderIdentity("a", bytes(16)))

    def decode(self, codes):
        return self


def strictly_read(path):
    """The stages of `--save-codes --strict`, a job, and what they have read of it."""
    coder, keeping = Repeating(), Keeping(strict=True)
    stages = SavingStages(restore=coder, coder=coder, codes_path=lambda _: path.with_name("codes"), keeping=keeping)
    job = Job(Found(path.parent, path.name, in_tree=True), path.parent / "out", path.name)
    return stages, job, JobPassage(stages, job).read()


def test_strict_knows_what_codes_lose_before_anything_is_computed(tmp_path):
    path = tmp_path / "pq.png"
    path.write_bytes(encode(Decoded(data.astronaut()[:24, :24].copy(), cicp=Cicp(9, 16)), format="png"))
    with pytest.raises(OutputError, match="HDR colour description") as raised:
        strictly_read(path)
    assert str(raised.value).count("HDR") == 1


def test_an_image_of_twelve_bits_loses_nothing_by_way_of_codes(tmp_path):
    path = tmp_path / "deep.avif"
    path.write_bytes(encode(Decoded(data.astronaut()[:24, :24].astype(np.uint16) * 257), format="avif"))
    stages, job, read = strictly_read(path)
    assert read.image.bits == 12
    assert losses(stages.infer(job, read).image, "avif") == ()


def test_a_name_that_is_too_long_with_the_codes_suffix_fails_alone(reconstruct, tmp_path):
    (tmp_path / "p").mkdir()
    for name in ("a", "x" * 251):
        Image.fromarray(data.astronaut()[:24, :24]).save(tmp_path / "p" / f"{name}.png")
    result = reconstruct("p", "--save-codes", "codes", code=9)
    assert "the file name is too long" in " ".join(result.stderr.decode().split())
    assert set(contents(tmp_path / "codes")) == {"a.png.adacode"}


def test_images_named_by_codes():
    from pathlib import Path

    from adacode_cli.batch.naming import Naming

    def target(name, **options) -> str:
        return Naming("reconstruct", **options).name_of(Found(Path(), name, in_tree=True))

    assert target("a/b.JPG.adacode") == "a/b.JPG"
    assert target("b.jpg.adacode", format="png", suffix="-x") == "b-x.png"
    assert target("1.May.ADACODE") == "1.May.png"
    assert target("b.jpg") == "b.jpg"


def test_fewer_levels_of_codes_make_smaller_files_and_coarser_images(reconstruct, tmp_path):
    from adacode_cli.model.config import ResidualConfig

    write_network(tmp_path / "fine.safetensors", residual=ResidualConfig(3, 0.4))
    Image.fromarray(data.astronaut()[:90, :120]).save(tmp_path / "a.png")
    images, sizes = [], []
    for n in ("1", "2", "3"):
        saved = ("-o", f"{n}.png", "--save-codes", f"{n}.adacode", "--code-levels", n)
        reconstruct("a.png", *saved, weights="fine.safetensors")
        reconstruct("--from-codes", f"{n}.adacode", "-o", f"back{n}.png", weights="fine.safetensors")
        images.append((tmp_path / f"{n}.png").read_bytes())
        assert (tmp_path / f"back{n}.png").read_bytes() == images[-1]
        sizes.append((tmp_path / f"{n}.adacode").stat().st_size)
    assert sizes == sorted(set(sizes))
    assert len(set(images)) == 3
    reconstruct("a.png", "-o", "all.png", "--save-codes", "all.adacode", weights="fine.safetensors")
    assert (tmp_path / "all.png").read_bytes() == images[2]
    assert (tmp_path / "all.adacode").read_bytes() == (tmp_path / "3.adacode").read_bytes()
    for arguments, message in (
        (("--save-codes", "c.adacode", "--code-levels", "2"), b"the codes of own.safetensors have only one level"),
        (("--code-levels", "1"), b"--code-levels has no effect without --save-codes"),
        (("--code-levels", "1", "--from-codes"), b"--code-levels and --from-codes contradict one another"),
    ):
        assert message in reconstruct("a.png", "-o", "c.png", *arguments, code=2).stderr
        assert not (tmp_path / "c.png").exists()
