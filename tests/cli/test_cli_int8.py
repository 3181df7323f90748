"""`adacode weights quantize` and `--precision int8` as processes."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from small_checkpoints import tiny_network, trunk_network, write_parts, write_whole

from adacode_cli.checkpoints.format import read_weights, write_weights
from adacode_cli.engine.device import computes_bf16, has_openvino, is_made_for_int8

ROOT = Path(__file__).parents[2]
SHARED = trunk_network().state_dict()


@pytest.fixture
def files(tmp_path, photo) -> Path:
    """net.safetensors, photos with three photographs, many with eight, and thin with one of two rows."""
    network = trunk_network(4, SHARED, 1)
    with torch.no_grad():  # its images are the enlarged photographs, with some change
        last = network.trunk.body[-1]
        strength = float(network(torch.rand(1, 3, 64, 64)).image_BCHW.std())
        last.weight *= 0.03 / strength
        last.bias *= 0.03 / strength
    write_whole(tmp_path / "net.safetensors", network)
    for i in range(3):
        photo(f"photos/{i}.png", (64 + 8 * i, 72))
    for i in range(8):
        photo(f"many/{i}.png", (64 + 8 * (i % 3), 72))
    photo("thin/0.png", (64, 2))
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "0.png").write_text("no image")
    (tmp_path / "mine.safetensors").write_bytes(b"precious")
    return tmp_path


QUANTIZE = ("weights", "quantize", "net.safetensors", "--photos", "many", "-o", "fast.safetensors")
FEW = ("weights", "quantize", "net.safetensors", "--photos", "photos", "-o", "fast.safetensors")


needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")


@needs_openvino
def test_quantized_weights_restore_in_8_bits_and_in_float32_as_before(real_adacode, files):
    made = real_adacode(*QUANTIZE)
    assert (made.returncode, made.stdout) == (0, b"fast.safetensors\n"), made.stderr.decode()
    assert "dB from those in float32" in made.stderr.decode()
    assert read_weights(files / "fast.safetensors").ranges.keys() >= {"trunk.body.2", "trunk.join"}
    images = {}
    for name, precision in (("net", "fp32"), ("fast", "fp32"), ("fast", "int8")):
        out = f"{name}-{precision}"
        result = real_adacode(
            "sr", "photos", "-o", out, "--weights", f"{name}.safetensors", "--precision", precision, "--no-guard"
        )
        assert result.returncode == 0, result.stderr.decode()
        images[out] = [np.asarray(Image.open(p)).astype(float) for p in sorted((files / out).glob("*.png"))]
    assert all(np.array_equal(a, b) for a, b in zip(images["net-fp32"], images["fast-fp32"], strict=True))
    for exact, eight in zip(images["fast-fp32"], images["fast-int8"], strict=True):
        assert 0 < np.abs(exact - eight).mean() < 4


@needs_openvino
def test_a_run_in_8_bits_is_not_continued_with_other_ranges(real_adacode, files):
    run = ("sr", "photos", "-o", "large", "--weights", "fast.safetensors", "--precision", "int8", "--no-guard")
    assert real_adacode(*QUANTIZE).returncode == 0
    assert real_adacode(*run).returncode == 0
    again = real_adacode(*run)  # it ends while the models are still being compiled
    assert again.returncode == 0, again.stderr.decode()
    assert b"3 skipped" in again.stderr
    assert real_adacode(*QUANTIZE, "--most", "1", "--overwrite").returncode == 0
    other = real_adacode(*run)
    assert other.returncode == 6
    assert "other weights" in other.stderr.decode()


FILTERS = ("weight", "factor", "bias")


def filters_in(path):
    """The tensors of filters in a file, and all others."""
    tensors = load_file(path)
    own = {key for key in tensors if key.startswith("int8.") and key.rpartition(".")[2] in FILTERS}
    return {key: tensors[key] for key in own}, {key: tensors[key] for key in tensors.keys() - own}


def stated_in(text) -> float:
    """The PSNR that quantizing prints."""
    return float(re.search(r"images in 8 bits are (\S+) dB", text)[1])


@pytest.fixture
def strong(real_adacode, files):
    """What quantizing says of net.safetensors, whose image is now so strong that ranges alone are not enough."""
    weights = read_weights(files / "net.safetensors")
    last = {key: 10 * value for key, value in weights.tensors.items() if key.startswith("trunk.body.6.")}
    assert len(last) == 2
    write_weights(files / "net.safetensors", replace(weights, tensors=weights.tensors | last))
    made = real_adacode(*FEW)
    assert made.returncode == 0, made.stderr.decode()
    return made.stderr.decode()


@needs_openvino
def test_where_ranges_are_not_enough_filters_are_added_and_float32_stays(real_adacode, files, strong):
    filters, others = filters_in(files / "fast.safetensors")
    names = {key.removeprefix("int8.").rpartition(".")[0] for key in filters}
    assert names == {name for name in read_weights(files / "fast.safetensors").ranges if name.startswith("trunk.")}
    assert {key for key in filters if filters[key].dtype == torch.int8} == {f"int8.{name}.weight" for name in names}
    before = load_file(files / "net.safetensors")
    assert all(torch.equal(others[key], value) for key, value in before.items())
    assert stated_in(strong) < 45
    assert read_weights(files / "fast.safetensors").int8_psnr_db is None
    assert "`--precision auto` does not take int8" in " ".join(strong.split())

    weights = read_weights(files / "fast.safetensors")
    ranges = {name: replace(one, filters=None) for name, one in weights.ranges.items()}
    write_weights(files / "ranges.safetensors", replace(weights, ranges=ranges))
    images = {
        (name, precision): restored(
            real_adacode, files, f"{name}-{precision}", "--weights", f"{name}.safetensors", "--precision", precision
        )[0]
        for name in ("net", "ranges", "fast")
        for precision in (("fp32",) if name == "net" else ("fp32", "int8"))
    }
    assert images["net", "fp32"] == images["ranges", "fp32"] == images["fast", "fp32"]

    def error(eight):
        pairs = zip(eight, images["net", "fp32"], strict=True)
        both = [[np.frombuffer(image, np.uint8).astype(float) for image in pair] for pair in pairs]
        return sum(float(((found - exact) ** 2).mean()) for found, exact in both)

    assert 0 < error(images["fast", "int8"]) < error(images["ranges", "int8"])


@needs_openvino
def test_ranges_and_filters_are_kept_and_how_near_they_are_is_stated(real_adacode, files, strong):
    stated(files, None, "trained.safetensors")
    kept = real_adacode(
        "weights", "quantize", "trained.safetensors", "--photos", "many", "-o", "kept.safetensors", "--keep-ranges"
    )
    assert (kept.returncode, kept.stdout) == (0, b"kept.safetensors\n"), kept.stderr.decode()
    before, after = (load_file(files / name) for name in ("trained.safetensors", "kept.safetensors"))
    assert before.keys() == after.keys()
    for key, value in before.items():
        if key.endswith(".factor"):  # it is found again from the filter
            torch.testing.assert_close(after[key], value, rtol=1e-6, atol=0)
        else:
            assert torch.equal(after[key], value), key
    found = read_weights(files / "kept.safetensors").int8_psnr_db
    assert f"images in 8 bits are {found:.1f} dB from those in float32" in kept.stderr.decode()
    few = real_adacode(
        "weights", "quantize", "kept.safetensors", "--photos", "photos", "-o", "few.safetensors", "--keep-ranges"
    )
    # The filters were measured before they were rounded for the file, so a few pixels may be other ones.
    assert stated_in(few.stderr.decode()) == pytest.approx(stated_in(strong), abs=0.15)
    assert read_weights(files / "few.safetensors").int8_psnr_db is None
    assert "other images may be less near" in few.stderr.decode()
    assert "ranges may be too small" not in few.stderr.decode()


def test_show_says_what_a_file_states_about_int8(real_adacode, files):
    assert real_adacode(*QUANTIZE).returncode == 0
    made = read_weights(files / "fast.safetensors")
    count = len(made.ranges)
    stated(files, None)

    def shown(name, *options):
        result = real_adacode("weights", "show", name, *options)
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout.decode()

    near = f"int8 for sr: ranges for {count} convolutions, {made.int8_psnr_db:.1f} dB to float32"
    assert shown("fast.safetensors").splitlines()[-1] == near
    assert "how near images are to float32 is not stated" in shown("stated.safetensors")
    assert "int8 for sr: no ranges" in shown("net.safetensors")
    found = [json.loads(shown(f"{name}.safetensors", "--json"))["int8"] for name in ("fast", "stated", "net")]
    assert found == [
        {"convolutions": count, "psnr_db": made.int8_psnr_db},
        {"convolutions": count, "psnr_db": None},
        None,
    ]


@pytest.fixture
def family(files) -> Path:
    """The file of one task of a family, with the shared parts beside it."""
    *_, task = write_parts(files / "family", tiny_network("reconstruct"), "tiny-reconstruct")
    return task


SHARED_NAMES = ("tiny-basis.safetensors", "tiny-fused.safetensors")


def test_a_file_of_a_family_works_at_once(real_adacode, files, family):
    out = files / "out" / family.name
    arguments = ("weights", "quantize", str(family), "--photos", "photos", "-o", str(out))
    made = real_adacode(*arguments)
    assert (made.returncode, made.stdout.decode()) == (0, f"{out}\n"), made.stderr.decode()
    assert "copied beside the file, which needs them: " + ", ".join(SHARED_NAMES) in made.stderr.decode()
    for name in SHARED_NAMES:
        assert (out.parent / name).read_bytes() == (family.parent / name).read_bytes()
    assert set(read_weights(out).parts) == {"basis", "fused"}
    assert read_weights(out).parts == read_weights(family).parts
    run = real_adacode("reconstruct", "photos", "-o", "rebuilt", "--weights", str(out), "--precision", "fp32")
    assert run.returncode == 0, run.stderr.decode()

    times = [(out.parent / name).stat().st_mtime_ns for name in SHARED_NAMES]
    again = real_adacode(*arguments, "--overwrite")
    assert again.returncode == 0
    assert b"copied" not in again.stderr
    assert [(out.parent / name).stat().st_mtime_ns for name in SHARED_NAMES] == times
    beside = real_adacode(*arguments[:-1], str(family.with_name("fast.safetensors")))
    assert beside.returncode == 0
    assert b"copied" not in beside.stderr


def test_bundled_shared_parts_are_copied_too(real_adacode, files):
    out = files / "fast" / "compact-reconstruct.safetensors"
    made = real_adacode(
        "weights", "quantize", "compact-reconstruct", "--photos", "photos", "-o", str(out), "--most", "1"
    )
    assert made.returncode == 0, made.stderr.decode()
    assert {path.name for path in out.parent.iterdir()} == {
        out.name,
        "compact-basis.safetensors",
        "compact-fused.safetensors",
    }
    shown = real_adacode("weights", "show", str(out))
    assert "int8 for reconstruct: ranges for" in shown.stdout.decode(), shown.stderr.decode()


@pytest.mark.parametrize("other", [b"another family", None])
def test_a_shared_part_never_replaces_another_file(real_adacode, files, family, other):
    out, place = files / "out" / family.name, files / "out" / SHARED_NAMES[1]
    place.parent.mkdir()
    if other is None:
        place.mkdir()
    else:
        place.write_bytes(other)
    result = real_adacode("weights", "quantize", str(family), "--photos", "photos", "-o", str(out), "--overwrite")
    assert (result.returncode, result.stdout) == (6, b"")
    assert f"{place}: is another file than" in result.stderr.decode()
    assert other is None or place.read_bytes() == other
    assert list(place.parent.iterdir()) == [place]
    named = real_adacode("weights", "quantize", str(family), "--photos", "photos", "-o", f"new/{SHARED_NAMES[0]}")
    assert named.returncode == 6
    assert "is the name of a shared part" in named.stderr.decode()


def test_quantizing_says_what_it_does_and_that_few_photographs_are_too_few(real_adacode, files, photo):
    few = real_adacode(*FEW)
    assert few.returncode == 0
    first, *_ = few.stderr.decode().splitlines()
    assert first == "reading 0.png"
    assert "note: only 3 photographs were used" in few.stderr.decode()
    assert read_weights(files / "fast.safetensors").int8_psnr_db is None
    photo("photos/thin.png", (64, 2))
    (files / "photos" / "text.png").write_text("no image")
    for i in range(3, 7):
        photo(f"photos/{i}.png", (64, 64))
    seven = real_adacode(*FEW, "--overwrite")
    assert "note: only 7 photographs were used" in seven.stderr.decode()
    assert "left out: photos/text.png" in seven.stderr.decode()
    photo("photos/7.png", (64, 64))
    eight = real_adacode(*FEW, "--overwrite")
    assert eight.returncode == 0
    assert b"were used" not in eight.stderr
    assert read_weights(files / "fast.safetensors").int8_psnr_db is not None
    one = real_adacode(*FEW, "--overwrite", "--most", "1")
    assert "note: only 1 photograph was used" in one.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("compact", "--photos", "photos", "-o", "out.safetensors"), 2, "has several tasks"),
        (("net.safetensors", "--photos", "photos", "-o", "out.safetensors", "--keep-ranges"), 4, "no ranges to keep"),
        (("net.safetensors", "--photos", "photos", "-o", "out.pth"), 2, "does not end in .safetensors"),
        (("net.safetensors", "--photos", "photos", "-o", "mine.safetensors"), 6, "exists already"),
        (("net.safetensors", "--photos", "photos", "-o", "net.safetensors", "--overwrite"), 6, "is the file that is"),
        (("net.safetensors", "--photos", "photos", "-o", "folder.safetensors", "--overwrite"), 6, "is a directory"),
        (
            ("net.safetensors", "--photos", "photos", "-o", "net.safetensors/a/out.safetensors"),
            6,
            "not a writable folder",
        ),
        (("net.safetensors", "--photos", "photos", "-o", "/proc/self/a/out.safetensors"), 6, "not a writable folder"),
        (("net.safetensors", "--photos", "text", "-o", "out.safetensors"), 3, "no photograph can be read"),
        (("net.safetensors", "--photos", "empty", "-o", "out.safetensors"), 3, "no photographs found"),
        (("net.safetensors", "--photos", "absent", "-o", "out.safetensors"), 3, "there is no such directory"),
        (("net.safetensors", "--photos", "thin", "-o", "out.safetensors"), 3, "no photograph is large enough"),
        (("mine.safetensors", "--photos", "photos", "-o", "out.safetensors"), 4, "mine.safetensors"),
        (("absent.safetensors", "--photos", "photos", "-o", "out.safetensors"), 4, "absent.safetensors"),
    ],
)
def test_what_cannot_be_quantized_is_said_and_nothing_is_written(real_adacode, files, arguments, code, message):
    before = {p: p.read_bytes() for p in files.rglob("*") if p.is_file()}
    result = real_adacode("weights", "quantize", *arguments)
    assert (result.returncode, result.stdout) == (code, b""), result.stderr.decode()
    assert message in " ".join(result.stderr.decode().split())
    assert {p: p.read_bytes() for p in files.rglob("*") if p.is_file()} == before
    if code != 3:  # what is wrong with the arguments is said before photographs are read
        assert "measuring" not in result.stderr.decode()


@needs_openvino
def test_int8_without_ranges_ends_before_anything_is_written(real_adacode, files):
    result = real_adacode("sr", "photos", "-o", "large", "--weights", "net.safetensors", "--precision", "int8")
    assert result.returncode == 4
    assert "weights quantize" in result.stderr.decode()
    assert not (files / "large").exists()


CPU = torch.device("cpu")
takes_int8 = pytest.mark.skipif(
    not is_made_for_int8(CPU) or computes_bf16(CPU), reason="int8 would not be the fastest precision here"
)


def restored(real_adacode, files, name, *options, **env):
    """The images of photos, restored into the folder NAME, and what was said."""
    result = real_adacode("sr", "photos", "-o", name, "--no-guard", *options, **env)
    assert result.returncode == 0, result.stderr.decode()
    paths = sorted(path for path in (files / name).iterdir() if path.is_file())
    return [np.asarray(Image.open(path)).tobytes() for path in paths], " ".join(result.stderr.decode().split())


def stated(files, psnr_db, name="stated.safetensors"):
    """fast.safetensors with another statement of how near its images are."""
    write_weights(files / name, replace(read_weights(files / "fast.safetensors"), int8_psnr_db=psnr_db))
    return "--weights", name


@takes_int8
def test_auto_takes_int8_for_weights_that_state_near_images(real_adacode, files):
    made = real_adacode(*QUANTIZE)
    assert made.returncode == 0, made.stderr.decode()
    found = read_weights(files / "fast.safetensors").int8_psnr_db
    assert f"{found:.1f} dB from those in float32" in made.stderr.decode()
    near, far = stated(files, 45.0), stated(files, 44.9, "far.safetensors")
    exact, _ = restored(real_adacode, files, "exact", *near, "--precision", "fp32")
    eight, _ = restored(real_adacode, files, "eight", *near, "--precision", "int8")
    assert exact != eight
    assert restored(real_adacode, files, "near", *near)[0] == eight
    assert restored(real_adacode, files, "far", *far)[0] == exact
    assert restored(real_adacode, files, "unstated", *stated(files, None, "unstated.safetensors"))[0] == exact
    without = restored(real_adacode, files, "narrow", *near, ONEDNN_MAX_CPU_ISA="AVX2")[0]
    assert (
        without
        == restored(real_adacode, files, "narrow-exact", *near, "--precision", "fp32", ONEDNN_MAX_CPU_ISA="AVX2")[0]
    )


@takes_int8
def test_a_run_whose_precision_auto_chose_is_continued(real_adacode, files):
    assert real_adacode(*QUANTIZE).returncode == 0
    near, out = stated(files, 50.0), files / "large"
    first, _ = restored(real_adacode, files, "large", *near)
    (out / "1.png").unlink()
    again, said = restored(real_adacode, files, "large", *near)
    assert again == first
    assert "2 skipped" in said
    for options in (
        (*near, "--precision", "fp32"),
        (*near, "--precision", "int8"),
        stated(files, 44.0, "far.safetensors"),
    ):
        other = real_adacode("sr", "photos", "-o", "large", "--no-guard", *options)
        assert other.returncode == 6, options


@takes_int8
def test_auto_computes_deep_images_and_strengths_of_noise_removal_as_before(real_adacode, files):
    assert real_adacode(*QUANTIZE).returncode == 0
    near = stated(files, 60.0)
    write_whole(files / "faithful.safetensors", trunk_network(4, SHARED, 2))
    paired = real_adacode("weights", "pair", near[1], "faithful.safetensors", "-o", "pair.safetensors")
    assert paired.returncode == 0, paired.stderr.decode()
    clean = ("--weights", "pair.safetensors")
    half = (*clean, "--denoise", "0.5")
    assert (
        restored(real_adacode, files, "half", *half)[0]
        == restored(real_adacode, files, "half-exact", *half, "--precision", "fp32")[0]
    )
    assert (
        restored(real_adacode, files, "whole", *clean)[0]
        == restored(real_adacode, files, "whole-eight", *clean, "--precision", "int8")[0]
    )
    for path in (files / "photos").glob("*.png"):
        deep = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 257
        Image.fromarray(deep).save(path)
    assert (
        restored(real_adacode, files, "deep", *near)[0]
        == restored(real_adacode, files, "deep-exact", *near, "--precision", "fp32")[0]
    )


@takes_int8
def test_a_run_says_in_which_precision_each_image_was_computed(real_adacode, files):
    assert real_adacode(*QUANTIZE).returncode == 0
    near = stated(files, 50.0)
    Image.fromarray(np.full((64, 64), 30000, np.uint16)).save(files / "photos" / "deep.png")
    _, said = restored(real_adacode, files, "large", *near, "-v", "--log-file", "log.txt")
    assert re.search(r"photos/0.png -> large/0.png \(\S+ s, int8\)", said)
    assert re.search(r"photos/deep.png -> large/deep.png \(\S+ s, fp32\)", said)
    assert "computed in int8 (3), fp32 (1)" in said
    assert "computed in int8 (3), fp32 (1)" in (files / "log.txt").read_text()
    state = files / "large" / ".adacode"
    lines = [json.loads(line) for line in (state / "journal.jsonl").read_text().splitlines()]
    wanted = {"0.png": ["int8"], "1.png": ["int8"], "2.png": ["int8"], "deep.png": ["fp32"]}
    assert {line["target"]: line["precisions"] for line in lines} == wanted
    assert json.loads((state / "report.json").read_text())["precisions"] == {"int8": 3, "fp32": 1}

    result = real_adacode("sr", "photos", "-o", "other", "--no-guard", *near, "--json")
    done = [event for event in map(json.loads, result.stdout.splitlines()) if event["event"] == "file-done"]
    assert {Path(event["source"]).name: event["precisions"] for event in done} == wanted

    image = (files / "photos" / "0.png").read_bytes()
    piped = real_adacode("sr", "-", "--no-guard", *near, "-v", stdin=image)
    assert "computed in int8" in piped.stderr.decode()
    _, quiet = restored(real_adacode, files, "usual", *near)
    assert "int8" not in quiet


BROKEN = 'raise ImportError("libopenvino.so: cannot open shared object file")\n'


@takes_int8
def test_auto_goes_on_in_float32_with_a_warning_if_openvino_cannot_be_loaded(real_adacode, files):
    assert real_adacode(*QUANTIZE).returncode == 0
    near = stated(files, 50.0)
    exact, _ = restored(real_adacode, files, "exact", *near, "--precision", "fp32")
    (files / "broken" / "openvino").mkdir(parents=True)
    (files / "broken" / "openvino" / "__init__.py").write_text(BROKEN)
    broken = {"PYTHONPATH": os.pathsep.join((str(files / "broken"), str(ROOT)))}
    found, said = restored(real_adacode, files, "found", *near, "-v", **broken)
    assert found == exact
    assert said.endswith("computed in fp32")
    assert said.count("int8 cannot be used, so images are computed in float32: OpenVINO is installed, but it") == 1
    named = real_adacode("sr", "photos", "-o", "named", *near, "--precision", "int8", **broken)
    assert named.returncode == 5
    assert "cannot be imported" in named.stderr.decode()


def test_doctor_says_what_auto_takes(real_adacode):
    text = real_adacode("doctor").stdout.decode()
    assert re.search(r"native: fp32 yes, bf16 (yes|no), fp16 (yes|no|unknown), int8 (yes|no|unknown)\n", text)
    near = "; int8 for weights whose ranges state at least 45 dB to float32"
    usual = ", also for weights with ranges for int8"
    expected = near if is_made_for_int8(CPU) and not computes_bf16(CPU) else usual
    expected = expected if has_openvino() else f"({usual}|; int8 needs OpenVINO.*)"
    assert re.search(rf"\n      auto: (fp32|bf16){expected}\n", text)
    assert all(len(line) <= 80 for line in text.splitlines() if line.startswith("      auto: "))
    narrow = real_adacode("doctor", ONEDNN_MAX_CPU_ISA="AVX2").stdout.decode()
    assert re.search(r"int8 (no|unknown)\n      auto: (fp32|bf16), also for weights with ranges for int8\n", narrow)
    (cpu, *_) = json.loads(real_adacode("doctor", "--json").stdout)["devices"]
    assert (cpu["auto_with_ranges"] == "int8") == (is_made_for_int8(CPU) and not computes_bf16(CPU))
