"""Images and masks of every kind, and several at once: results come in kind, with the bits that arrays give."""

import io
import os
import re
import subprocess
import sys
import textwrap
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tiny_networks import LOCAL, photograph, restorer

from adacode_cli.engine.kinds import taken, taken_mask
from adacode_cli.errors import AdaCodeError, InputError, UsageError
from adacode_cli.geometry import Hole

RESTORER = restorer(LOCAL)
SCALE = 2
CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}
FLOATS = [torch.float16, torch.bfloat16, torch.float32]
MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def array(channels, dtype=np.uint8, height=20, width=26):
    """H×W or H×W×C, as the engine has it."""
    image = photograph(height, width, dtype, 4)
    return np.ascontiguousarray(image[..., {1: 0, 2: [0, 3], 3: slice(3), 4: slice(4)}[channels]])


def hole(height=20, width=26):
    """A round hole: H×W bool."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return x**2 + y**2 < 0.3


def tensor(image):
    """An array as C×H×W."""
    return torch.from_numpy(image[None] if image.ndim == 2 else np.ascontiguousarray(np.moveaxis(image, -1, 0)))


TASKS = {
    "sr": lambda image: RESTORER.sr(image, SCALE),
    "inpaint": lambda image: RESTORER.inpaint(image, hole(), grow=1, feather=2),
    "reconstruct": RESTORER.reconstruct,
}
EVERY_TASK = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@EVERY_TASK
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", CHANNELS, ids=CHANNELS.get)
def test_a_tensor_gives_the_tensor_that_the_array_gives(task, channels, dtype):
    image = array(channels, dtype)
    given_tensor = tensor(image)
    before = given_tensor.clone()
    result, wanted = task(given_tensor), tensor(task(image))
    assert (result.dtype, result.device, result.shape) == (given_tensor.dtype, given_tensor.device, wanted.shape)
    assert torch.equal(result, wanted)
    assert torch.equal(given_tensor, before)
    assert not np.array_equal(result[: -1 if channels in (2, 4) else None, :20, :26], before[: result.shape[0]])


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_tensor_of_half_precision_is_computed_in_float32_and_rounded_once(dtype):
    x = tensor(array(3, np.float32)).to(dtype)
    result = RESTORER.reconstruct(x)
    assert result.dtype == dtype
    assert torch.equal(result, RESTORER.reconstruct(x.float()).to(dtype))
    filled = RESTORER.inpaint(x, torch.from_numpy(hole()), exemplars=False)
    assert torch.equal(filled[:, ~hole()], x[:, ~hole()])


def test_a_tensor_may_be_a_view_and_need_a_gradient():
    x = tensor(array(3, np.float32))
    wanted = RESTORER.reconstruct(x)
    assert torch.equal(RESTORER.reconstruct(x.permute(1, 2, 0).contiguous().permute(2, 0, 1)), wanted)
    assert torch.equal(RESTORER.reconstruct(torch.stack((x, x), 3)[..., 1]), wanted)
    result = RESTORER.reconstruct(x.clone().requires_grad_())
    assert torch.equal(result, wanted)
    assert not result.requires_grad
    assert not result.is_inference()


@EVERY_TASK
@pytest.mark.parametrize("mode", MODES)
def test_a_pil_image_gives_the_pil_image_of_its_mode(task, mode):
    image = array(MODES[mode])
    result = task(Image.fromarray(image))
    assert isinstance(result, Image.Image)
    assert result.mode == mode
    np.testing.assert_array_equal(np.asarray(result), task(image))


@EVERY_TASK
@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_a_pil_image_of_16_bits_keeps_them(task, mode):
    image = array(1, np.uint16)
    data = image.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    result = task(Image.frombytes(mode, image.shape[::-1], data))
    assert result.mode == mode
    np.testing.assert_array_equal(np.asarray(result).astype(np.uint16), task(image))


def test_a_pil_image_of_floats_is_from_0_to_1():
    image = array(1, np.float32)
    result = RESTORER.sr(Image.fromarray(image), SCALE)
    assert result.mode == "F"
    np.testing.assert_array_equal(np.asarray(result), RESTORER.sr(image, SCALE))
    with pytest.raises(InputError, match="from 0 to 1") as refused:
        RESTORER.sr(Image.fromarray(array(1)).convert("F"))
    assert "/ 255" in refused.value.hint


def palette(transparent=False):
    image = Image.fromarray(array(3)).quantize(16)
    if transparent:
        image.info["transparency"] = 3
    return image


def with_color_key(image, key):
    image.info["transparency"] = key
    return image


CONVERTED = {
    "1": (Image.fromarray(array(1)).convert("1"), "L"),
    "P": (palette(), "RGB"),
    "P with a transparent colour": (palette(transparent=True), "RGBA"),
    "PA": (palette().convert("PA"), "RGBA"),
    "RGBX": (Image.fromarray(array(3)).convert("RGBX"), "RGB"),
    "L with a transparent colour": (with_color_key(Image.fromarray(array(1)), int(array(1)[3, 3])), "LA"),
    "RGB with a transparent colour": (
        with_color_key(Image.fromarray(array(3)), tuple(int(v) for v in array(3)[3, 3])),
        "RGBA",
    ),
}


@EVERY_TASK
@pytest.mark.parametrize(("image", "mode"), CONVERTED.values(), ids=CONVERTED)
def test_a_mode_that_cannot_hold_the_result_becomes_one_that_can(task, image, mode):
    before = image.copy()
    result = task(image)
    assert result.mode == mode
    assert "transparency" not in result.info, "it would make other pixels transparent"
    np.testing.assert_array_equal(np.asarray(result), task(np.asarray(image.convert(mode))))
    assert image == before
    assert ("transparency" in image.info) == ("transparency" in before.info)


def test_the_colours_of_a_palette_stay_outside_the_hole():
    for image, mode in (CONVERTED["P with a transparent colour"], CONVERTED["RGB with a transparent colour"]):
        filled = np.asarray(RESTORER.inpaint(image, hole()))
        np.testing.assert_array_equal(filled[~hole()], np.asarray(image.convert(mode))[~hole()])
        assert (filled[..., 3] == 0).any()


def test_profile_and_exif_of_a_pil_image_stay_and_its_pixels_are_not_turned():
    stored = Image.fromarray(array(3))
    exif = stored.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    stored.save(file, "JPEG", exif=exif, icc_profile=ICC, quality=100)
    opened = Image.open(file)
    result = RESTORER.sr(opened, SCALE)
    assert type(result) is Image.Image
    assert result.size == (52, 40)
    assert (result.info["icc_profile"], result.getexif()[0x0112]) == (ICC, 6)
    np.testing.assert_array_equal(np.asarray(result), RESTORER.sr(np.asarray(opened), SCALE))
    result.info.clear()
    assert opened.info["icc_profile"] == ICC


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "I", "La", "RGBa", "I;16 with a transparent colour"])
def test_modes_without_an_exact_conversion_are_refused_with_a_remedy(mode):
    image = {
        "La": lambda: Image.fromarray(array(2)).convert("La"),
        "RGBa": lambda: Image.fromarray(array(4)).convert("RGBa"),
        "LAB": lambda: Image.new("LAB", (8, 8)),
        "I": lambda: Image.fromarray(array(1).astype(np.int32)),
        "I;16 with a transparent colour": lambda: with_color_key(Image.fromarray(array(1, np.uint16)), 7),
    }.get(mode, lambda: Image.fromarray(array(3)).convert(mode))()
    with pytest.raises(InputError) as refused:
        RESTORER.sr(image)
    remedies = re.findall(
        r"image\.convert\(\"\w+\"\)|np\.asarray\(image\)\.astype\(np\.\w+\)|del .*\]", refused.value.hint
    )
    assert remedies
    if remedies[0].startswith("del"):
        exec(remedies[0], {"image": image})
        assert RESTORER.sr(image, 1).mode == "I;16"
    else:
        assert RESTORER.sr(eval(remedies[0], {"image": image, "np": np}), 1) is not None


def test_a_damaged_or_closed_file_of_pil_is_an_input_error(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(array(3, height=200, width=200)).save(file)
    with Image.open(file) as closed:
        pass
    cut = tmp_path / "cut.png"
    cut.write_bytes(file.read_bytes()[:-3000])
    for image in (closed, Image.open(cut)):
        with pytest.raises(InputError, match="cannot be read") as refused:
            RESTORER.sr(image)
        assert refused.value.hint


MASKS = {
    "array": hole(),
    "hole": Hole(hole()),
    "bool H×W": torch.from_numpy(hole()),
    "bool 1×H×W": torch.from_numpy(hole())[None],
    "bool 1×1×H×W": torch.from_numpy(hole())[None, None],
    "float16": torch.from_numpy(hole()).half(),
    "float64 with soft edges": torch.from_numpy(np.where(hole(), 0.51, 0.5)),
    "mode 1": Image.fromarray(hole()),
    "mode L": Image.fromarray(np.where(hole(), 128, 127).astype(np.uint8)),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("kind", [lambda image: image, tensor, Image.fromarray], ids=["array", "tensor", "PIL"])
def test_every_kind_of_mask_fits_every_kind_of_image(kind, mask):
    wanted = kind(RESTORER.inpaint(array(3), hole()))
    result = RESTORER.inpaint(kind(array(3)), mask)
    assert np.array_equal(np.asarray(result), np.asarray(wanted))
    assert not np.array_equal(np.asarray(result), np.asarray(kind(array(3))))


BAD_MASKS = {
    "None": None,
    "a path": "mask.png",
    "a Path": Path("mask.png"),
    "bytes": b"mask",
    "a number": 3,
    "a list for one image": [hole()],
    "RGB": Image.new("RGB", (26, 20)),
    "whole numbers": torch.from_numpy(hole()).to(torch.uint8),
    "0 to 255": torch.from_numpy(hole()).float() * 255,
    "not finite": torch.full((20, 26), torch.nan),
    "an array from 0 to 255": np.where(hole(), np.uint8(255), np.uint8(0)),
    "turned": torch.from_numpy(hole().T.copy()),
    "several": torch.from_numpy(hole())[None].repeat(2, 1, 1),
    "one row": torch.from_numpy(hole())[0],
    "on meta": torch.empty(20, 26, device="meta", dtype=torch.bool),
    "PIL of another size": Image.new("L", (20, 26)),
}


@pytest.mark.parametrize("mask", BAD_MASKS.values(), ids=BAD_MASKS)
def test_what_is_no_mask_of_any_kind(mask):
    for image in (array(3), tensor(array(3)), Image.fromarray(array(3))):
        with pytest.raises(InputError, match="mask") as refused:
            RESTORER.inpaint(image, mask)
        assert refused.value.hint


BAD_IMAGES = {
    "None": None,
    "a path": "a.jpg",
    "a Path": Path("a.jpg"),
    "bytes": b"\xff\xd8",
    "a file": io.BytesIO(b"\xff\xd8"),
    "a number": 7,
    "a dictionary": {"image": array(3)},
    "a module": Image,
    "a class": Image.Image,
    "an object": object(),
    "a list of a list": [[array(3)]],
    "a list of numbers": [[[0, 1], [2, 3]]],
    "a tuple of paths": ("a.jpg",),
    "a scalar": np.float32(0.5),
    "objects": np.array([[None]]),
    "strings": np.array([["a"]]),
    "complex": torch.zeros(3, 4, 4, dtype=torch.complex64),
    "float64": torch.zeros(3, 4, 4, dtype=torch.float64),
    "int64": torch.zeros(3, 4, 4, dtype=torch.int64),
    "H×W×3": torch.zeros(20, 26, 3),
    "H×W": torch.zeros(20, 26),
    "5×H×W": torch.zeros(5, 20, 26),
    "five dimensions": torch.zeros(1, 2, 3, 4, 4),
    "0-d": torch.tensor(0.5),
    "nothing": torch.zeros(3, 0, 4),
    "no batch": torch.zeros(0, 3, 4, 4),
    "an empty batch element": torch.zeros(2, 3, 0, 4),
    "on meta": torch.zeros(3, 4, 4, device="meta"),
    "sparse": torch.zeros(3, 4, 4).to_sparse(),
    "3×H×W array": np.zeros((3, 20, 26), np.uint8),
    "B×H×W×3 array": np.zeros((2, 20, 26, 3), np.uint8),
    "H×W×1 array": np.zeros((20, 26, 1), np.uint8),
    "float64 array": np.zeros((20, 26, 3)),
    "int32 array": np.zeros((20, 26, 3), np.int32),
    "bool array": np.zeros((20, 26), np.bool_),
    "big-endian array": np.zeros((20, 26), ">u2"),
    "NaN": torch.full((3, 4, 4), torch.nan),
}


@pytest.mark.parametrize("image", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_what_is_no_image_of_any_kind_is_an_input_error(image):
    calls = [
        lambda: RESTORER.sr(image),
        lambda: RESTORER.inpaint(image, hole()),
        lambda: RESTORER.reconstruct(image),
        lambda: RESTORER.restore("sr", image),
        lambda: RESTORER.encode(image),
        lambda: next(iter(RESTORER.sr(iter([image])))),
    ]
    for call in calls:
        with pytest.raises(InputError) as refused:
            call()
        assert refused.value.hint


@pytest.mark.parametrize(
    "call",
    [
        lambda: RESTORER.sr(array(3), "4"),
        lambda: RESTORER.sr(array(3), None),
        lambda: RESTORER.sr(array(3), 2, denoise="much"),
        lambda: RESTORER.inpaint(array(3), hole(), grow="2"),
        lambda: RESTORER.inpaint(array(3), hole(), feather=None),
        lambda: RESTORER.restore("sr", array(3), size="ab"),
        lambda: RESTORER.restore("sr", array(3), size=(20.5, 3)),
        lambda: RESTORER.restore("sr", array(3), size=7),
        lambda: RESTORER.restore(None, array(3)),
        lambda: RESTORER.restore(["sr"], array(3)),
        lambda: RESTORER.restore("sr", array(3), alpha=Image.new("L", (26, 20))),
        lambda: RESTORER.restore("sr", tensor(array(3)), alpha=array(1)),
        lambda: RESTORER.restore("sr", [array(3)]),
        lambda: RESTORER.encode(Image.fromarray(array(3)), alpha=array(1)),
        lambda: RESTORER.decode(array(3)),
        lambda: RESTORER.decode(None),
        lambda: RESTORER.to(None),
        lambda: RESTORER.to(3),
        lambda: RESTORER.prepare(3),
        lambda: RESTORER.prepare("sr", "4"),
        lambda: RESTORER.factors(b"sr"),
    ],
)
def test_other_wrong_types_are_errors_of_ours_too(call):
    with pytest.raises(AdaCodeError) as refused:
        call()
    assert refused.value.hint


def test_the_hints_for_layouts_lead_to_images():
    image = array(3, np.float32)
    cases = {
        "list(images)": np.stack([image]),
        "image[..., 0]": image[..., :1],
        "np.moveaxis(image, 0, -1)": np.moveaxis(image, -1, 0),
        "image.astype(np.float32)": image.astype(np.float64),
        "image.astype(np.uint8)": (image * 255).astype(np.int64),
        "image.astype(np.uint8) * 255": image[..., 0] > 0.5,
        "image[None]": torch.from_numpy(image[..., 0]),
        "image.permute(2, 0, 1)": torch.from_numpy(image),
        "image.float()": tensor(image.astype(np.float64)),
    }
    for remedy, wrong in cases.items():
        with pytest.raises(InputError) as refused:
            RESTORER.reconstruct(wrong)
        assert remedy in refused.value.hint
        assert RESTORER.reconstruct(eval(remedy, {"np": np, "image": wrong, "images": wrong})) is not None


RANGES = {
    "0 to 255": (0, 255, "image / 255"),
    "-1 to 1": (-1, 1, "(image + 1) / 2"),
    "interpolated": (-0.08, 1.1, "image.clip(0, 1)"),
    "0 to 255, interpolated": (-9.0, 270, "(image / 255).clip(0, 1)"),
    "16 bits": (0, 65535, "image / 65535"),
}


@pytest.mark.parametrize(("low", "high", "remedy"), RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("kind", [lambda image: image, tensor], ids=["array", "tensor"])
def test_floats_beyond_0_to_1_are_refused_with_what_they_look_like(kind, low, high, remedy):
    image = array(3, np.float32)
    image[0, :2, 0] = 0, 1
    wrong = kind(np.float32(low) + image * np.float32(high - low))
    with pytest.raises(InputError, match="not from 0 to 1") as refused:
        RESTORER.sr(wrong)
    assert remedy in refused.value.hint
    assert f"the largest {high:g}" in refused.value.message
    RESTORER.sr(eval(remedy, {"image": wrong}), 1)


@pytest.mark.parametrize("value", [-1e-6, 1.000001, -3.0, 1e9, np.nan, np.inf])
def test_one_sample_beyond_the_range_is_enough(value):
    image = array(4, np.float32)
    image[5, 5, 3] = value  # of the alpha
    for wrong in (image, tensor(image), image[..., 3]):
        with pytest.raises(InputError, match="1 of the image's"):
            RESTORER.reconstruct(wrong)
    with pytest.raises(InputError, match="1 of the image's"):
        RESTORER.restore("sr", image[..., :3], alpha=image[..., 3])


IMAGES = [array(channels, height=height) for channels, height in ((3, 20), (1, 12), (4, 9), (3, 20))]


@pytest.mark.parametrize("kind", [lambda image: image, tensor, Image.fromarray], ids=["array", "tensor", "PIL"])
@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 3), max_size=5))
def test_several_are_what_each_alone_is(kind, chosen):
    images = [kind(IMAGES[index]) for index in chosen]
    masks = [hole(*IMAGES[index].shape[:2]) for index in chosen]
    calls = {
        "sr": lambda given, _: RESTORER.sr(given, SCALE, denoise=1),
        "inpaint": lambda given, masks: RESTORER.inpaint(given, masks, grow=1),
        "reconstruct": lambda given, _: RESTORER.reconstruct(given),
    }
    for call in calls.values():
        alone = [np.asarray(call(image, mask)) for image, mask in zip(images, masks, strict=True)]
        together = [call(images, masks), call(tuple(images), tuple(masks)), call(iter(images), iter(masks))]
        assert [isinstance(results, list) for results in together] == [True, True, False]
        for results in map(list, together):
            assert len(results) == len(alone)
            assert all(type(result) is type(image) for result, image in zip(results, images, strict=True))
            assert all(np.array_equal(np.asarray(r), one) for r, one in zip(results, alone, strict=True))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_a_batch_is_what_each_of_its_images_is(dtype):
    images = [torch.from_numpy(photograph(14, 18, np.uint8, 3, seed)).permute(2, 0, 1) for seed in range(3)]
    batch = torch.stack(images) if dtype == torch.uint8 else (torch.stack(images) / 255).to(dtype)
    masks = torch.stack([torch.from_numpy(hole(14, 18)).roll(step) for step in range(3)])[:, None]
    assert torch.equal(RESTORER.sr(batch, SCALE), torch.stack([RESTORER.sr(one, SCALE) for one in batch]))
    assert torch.equal(RESTORER.reconstruct(batch[:1])[0], RESTORER.reconstruct(batch[0]))
    each = torch.stack([RESTORER.inpaint(one, mask) for one, mask in zip(batch, masks, strict=True)])
    assert each.dtype == dtype
    for given_masks in (masks, list(masks), masks.float()):
        assert torch.equal(RESTORER.inpaint(batch, given_masks), each)
    for one_mask in (masks[0, 0], masks[0], masks[:1], masks[0, 0].numpy()):
        first = RESTORER.inpaint(batch, one_mask)
        assert torch.equal(first, torch.stack([RESTORER.inpaint(one, masks[0]) for one in batch]))
    assert not torch.equal(each, first)
    batches = RESTORER.sr(iter([batch, batch[:2]]), SCALE)  # as a loader of data gives them
    assert [tuple(result.shape) for result in batches] == [(3, 3, 28, 36), (2, 3, 28, 36)]


def test_an_iterator_is_asked_for_one_image_at_a_time_and_may_never_end():
    asked = []

    def images():
        for index in count():
            asked.append(index)
            yield array(3)

    results = RESTORER.sr(images(), SCALE)
    assert asked == []
    next(results)
    assert asked == [0]
    list(islice(results, 2))
    assert asked == [0, 1, 2]
    results.close()
    assert not list(RESTORER.inpaint(iter([]), hole()))


def test_one_mask_serves_all_images_and_another_number_than_theirs_is_refused():
    images = [array(3), array(1)]
    filled = RESTORER.inpaint(images, hole())
    for result, image in zip(filled, images, strict=True):
        np.testing.assert_array_equal(result, RESTORER.inpaint(image, hole()))
    for masks, message in ([hole()], "1 masks are given for 2 images"), ([hole()] * 3, "3 masks are given for 2"):
        with pytest.raises(InputError, match=message):
            RESTORER.inpaint(images, masks)
    with pytest.raises(InputError, match="only 1 masks"):
        list(RESTORER.inpaint(iter(images), iter([hole()])))
    results = RESTORER.inpaint(iter(images), iter([hole()] * 3))
    assert len(list(islice(results, 2))) == 2
    with pytest.raises(InputError, match="more masks than images"):
        next(results)
    with pytest.raises(InputError, match="3 masks are given for 2"):
        RESTORER.inpaint(torch.stack([tensor(array(3))] * 2), torch.from_numpy(hole()).expand(3, 1, 20, 26))


def test_an_error_about_one_of_several_images_tells_which():
    bad = array(3, np.float32) * 255
    for images in ([array(3), bad], torch.stack([tensor(array(3, np.float32)), tensor(bad)])):
        with pytest.raises(InputError, match=r"^images\[1\]: ") as refused:
            RESTORER.sr(images, SCALE)
        assert refused.value.path == "images[1]"
    with pytest.raises(InputError, match=r"^images\[1\]: a\.jpg: a path is not an image"):
        RESTORER.sr([array(3), "a.jpg"])
    with pytest.raises(UsageError, match=r"^images\[0\]: scale 9"):
        RESTORER.sr([array(3)], 9)


def test_restore_gives_the_image_in_kind_beside_what_it_reports():
    by_array = RESTORER.restore("sr", array(4), scale=SCALE)
    for kind in (tensor, Image.fromarray):
        restored = RESTORER.restore("sr", kind(array(4)), scale=SCALE)
        assert type(restored.image) is type(kind(array(4)))
        assert np.array_equal(np.asarray(restored.image), np.asarray(kind(by_array.image)))
        np.testing.assert_array_equal(restored.mixing_weights, by_array.mixing_weights)
        assert restored.alpha is None


def test_codes_are_of_the_pixels_whatever_their_kind():
    codes = RESTORER.encode(array(4))
    for image in (tensor(array(4)), Image.fromarray(array(4))):
        other = RESTORER.encode(image)
        np.testing.assert_array_equal(other.codes_KHW, codes.codes_KHW)
        np.testing.assert_array_equal(RESTORER.decode(other).image, RESTORER.decode(codes).image)


def test_a_batch_is_no_single_image():
    batch = torch.stack([tensor(array(3))] * 2)
    for call in (lambda: RESTORER.restore("sr", batch), lambda: RESTORER.encode(batch)):
        with pytest.raises(InputError, match=r"shape \(2, 3, 20, 26\)") as refused:
            call()
        assert "one by one" in refused.value.hint


def test_pil_is_not_imported_without_an_image_of_it():
    """Its import takes time, and without it no object can be an image of PIL."""
    code = """
        import sys
        import numpy as np
        from tiny_networks import LOCAL, restorer
        assert restorer(LOCAL).sr(np.zeros((4, 4), np.uint8), 2).shape == (8, 8)
        assert "PIL.Image" not in sys.modules
    """
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=environment)


def test_what_is_taken_is_what_was_given():
    image = array(3)
    assert taken(image).pixels is image
    assert taken(image).in_kind(image) is image
    mask = hole()
    assert taken_mask(mask) is mask
