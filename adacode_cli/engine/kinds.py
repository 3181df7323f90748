"""Images and masks in the kinds that Python programs have them in: NumPy arrays, torch tensors and PIL images.

The engine computes with arrays. What is given becomes an array here, and the result becomes what was given. Only
conversions that lose nothing are made; the others are the decision of the caller, whom the errors tell how to make
them.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.engine.images import Pixels
from adacode_cli.errors import InputError
from adacode_cli.geometry import Hole

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

ImageT = TypeVar("ImageT", npt.NDArray[Any], Tensor, "PilImage")
"""A kind of image; the result of a function has the kind of its argument."""

Image: TypeAlias = "npt.NDArray[Any] | Tensor | PilImage"
Mask: TypeAlias = "npt.NDArray[np.bool_] | Tensor | PilImage | Hole"

_TENSOR_DTYPES = (torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32)
# Modes that arrays have too. The other tables: exact conversions of modes, without and with a transparent colour.
_SAME = ("L", "LA", "RGB", "RGBA", "F")
_EXACT = {"1": "L", "P": "RGB", "PA": "RGBA", "RGBX": "RGB"}
_TRANSPARENT = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}
_SIXTEEN_BITS = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2"}
_MODE_HINTS = {
    "CMYK": 'Convert it by its colour profile with PIL.ImageCms; or give image.convert("RGB"), which does not use it, '
    'after image.info.pop("icc_profile", None).',
    "I": "If its values are from 0 to 65535, give np.asarray(image).astype(np.uint16); if up to 255, astype(np.uint8).",
    "La": 'Give image.convert("LA").',
    "RGBa": 'Give image.convert("RGBA").',
}
_HALF_OF_WHITE = 127.5
_WANTED = {
    "image": "a NumPy array, a torch tensor or a PIL image; help(Restorer) tells the layouts",
    "mask": "a boolean array or tensor, True in the holes, or a PIL image of mode 1 or L",
}


@dataclass(frozen=True)
class Taken:
    """What was given, as the engine takes it.

    pixels: an array; whether it is an image is checked by `images.check_image`.
    in_kind: makes what was given of a result in the layout and dtype of `pixels`.
    """

    pixels: Pixels
    in_kind: Callable[[Pixels], Any]


def taken(image: object) -> Taken:
    """An image of any kind that `Restorer` takes. Raises InputError for anything else."""
    if isinstance(image, np.ndarray):
        return Taken(image, lambda pixels: pixels)
    if isinstance(image, Tensor):
        return _taken_tensor(image)
    if is_pil(image):
        return _taken_pil(image)
    raise _not_an("image", image)


def taken_mask(mask: object) -> npt.NDArray[Any] | Hole:
    """A mask of any kind as an array, H×W bool unless an array of another kind was given, which is returned as it is;
    or a hole.

    PIL images are of mode 1 or L, and more than half of white is in the hole. Tensors are H×W, 1×H×W or 1×1×H×W, bool,
    or floats from 0 to 1, of which more than 0.5 is in the hole. Raises InputError for anything else.
    """
    if isinstance(mask, np.ndarray | Hole):
        return mask
    if isinstance(mask, Tensor):
        return _mask_of_tensor(mask)
    if is_pil(mask):
        if mask.mode not in ("1", "L"):
            hint = 'Give mask.convert("L"), white in the holes; of an image with alpha, mask.getchannel("A").'
            raise InputError(f"a PIL image of mode {mask.mode} is not a mask", hint=hint)
        return np.asarray(_loaded(mask).convert("L")) > _HALF_OF_WHITE
    raise _not_an("mask", mask)


def is_pil(thing: object) -> TypeGuard[PilImage]:
    """Whether it is a PIL image. PIL is not imported: without an import of PIL, there are no images of PIL."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(thing, module.Image)


def _taken_tensor(x: Tensor) -> Taken:
    """C×H×W with C from 1 to 4 → H×W (C 1) or H×W×C of uint8, uint16 or float32."""
    shape, dtype, device = tuple(x.shape), x.dtype, x.device
    if dtype not in _TENSOR_DTYPES or x.ndim != 3 or not 1 <= x.shape[0] <= 4 or not x.numel():
        raise InputError(
            f"a tensor of shape {shape} and type {dtype} is not an image",
            hint="Images are 1×H×W (grey), 2×H×W (grey, alpha), 3×H×W or 4×H×W tensors of uint8, uint16, float16, "
            f"bfloat16 or float32 (0 to 1).{_remedy(x)}",
        )
    _require_values(x, "image")
    samples = x.detach().cpu()
    samples = samples.float() if dtype.is_floating_point else samples
    pixels_HWC = samples.permute(1, 2, 0).numpy(force=True)

    def in_kind(pixels: Pixels) -> Tensor:
        channels_first = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        return torch.from_numpy(np.require(channels_first, requirements=("C", "W"))).to(device, dtype)

    return Taken(np.ascontiguousarray(pixels_HWC[..., 0] if shape[0] == 1 else pixels_HWC), in_kind)


def _remedy(x: Tensor) -> str:
    """How a tensor that is not an image probably becomes one: a sentence, or ""."""
    if x.ndim == 4:
        return " Give the images of a batch B×C×H×W one by one."
    if x.ndim == 2:
        return " For a grey image, give image[None]."
    if x.ndim == 3 and not 1 <= x.shape[0] <= 4 and 1 <= x.shape[2] <= 4:
        return " If the channels come last, give image.permute(2, 0, 1)."
    if x.dtype == torch.float64:
        return " Give image.float()."
    return ""


def _require_values(x: Tensor, role: str) -> None:
    """Raises InputError for a tensor without values, and for a sparse one."""
    if x.device.type == "meta":
        raise InputError(f"the {role} is on the device meta, without values", hint="Give a tensor on a CPU or a GPU.")
    if x.layout != torch.strided:
        raise InputError(f"the {role} has the layout {x.layout}", hint="Give the tensor's to_dense().")


def _mask_of_tensor(mask: Tensor) -> npt.NDArray[np.bool_]:
    if mask.ndim not in (2, 3, 4) or any(side != 1 for side in mask.shape[:-2]):
        hint = "The mask of one image is H×W, 1×H×W or 1×1×H×W, those of a batch are B×1×H×W."
        raise InputError(f"a tensor of shape {tuple(mask.shape)} is not the mask of an image", hint=hint)
    if mask.dtype != torch.bool and not mask.dtype.is_floating_point:
        hint = "Masks are bool, True in the holes, or floats from 0 to 1: give mask > 0, or mask > 127."
        raise InputError(f"a tensor of type {mask.dtype} is not a mask", hint=hint)
    _require_values(mask, "mask")
    values = mask.detach().cpu().reshape(mask.shape[-2:])
    if mask.dtype == torch.bool:
        return np.asarray(values.numpy())
    values = values.float()
    if not bool(((values >= 0) & (values <= 1)).all()):
        hint = "Give a bool tensor, True in the holes; of values from 0 to 255, mask > 127."
        raise InputError("a mask has values that are not from 0 to 1", hint=hint)
    return np.asarray((values > 0.5).numpy())


def _taken_pil(image: PilImage) -> Taken:
    """The pixels as they are stored: an EXIF orientation in `info` is not applied, and stays there."""
    image = _loaded(image)
    converted = _exact(image)
    mode, info = converted.mode, {key: value for key, value in converted.info.items() if key != "transparency"}
    pixels: Pixels = np.asarray(converted)
    sixteen = _SIXTEEN_BITS.get(mode)

    def in_kind(pixels: Pixels) -> PilImage:
        """A PIL image of the mode that was given, with its `info`, of H×W or H×W×C samples of `pixels`' type."""
        from PIL import Image

        if sixteen is None:
            result = Image.fromarray(np.ascontiguousarray(pixels))
        else:
            data = np.ascontiguousarray(pixels, sixteen).tobytes()
            result = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), data)
        result.info = dict(info)
        return result

    return Taken(pixels if sixteen is None else pixels.astype(np.uint16), in_kind)


def _exact(image: PilImage) -> PilImage:
    """The image in a mode that arrays have too. Raises InputError where a conversion would lose or guess something."""
    mode, transparent = image.mode, "transparency" in image.info
    if transparent and mode in _SIXTEEN_BITS:
        hint = 'Give np.asarray(image) and the alpha apart; if the transparency does not matter, del image.info["{}"].'
        raise InputError("a PIL image of 16 bits has a transparent colour", hint=hint.format("transparency"))
    if mode in _TRANSPARENT and (transparent or image.has_transparency_data):
        return image.convert(_TRANSPARENT[mode])
    if mode in _EXACT:
        return image.convert(_EXACT[mode])
    if mode in _SAME or mode in _SIXTEEN_BITS:
        return image
    hint = _MODE_HINTS.get(mode, 'Give image.convert("RGB").')
    raise InputError(f"PIL images of mode {mode} are not restored, because no conversion of them is exact", hint=hint)


def _loaded(image: PilImage) -> PilImage:
    """The image with its samples, which PIL reads from the file only now. Raises InputError if that fails."""
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # of a dozen classes, for damaged and for closed files
        hint = "Keep its file open until the image is restored, and look whether other programs can open it."
        reason = str(error) or "the file is closed or damaged"
        raise InputError(f"the PIL image cannot be read: {reason}", hint=hint) from error
    return image


def _not_an(role: str, thing: object) -> InputError:
    """The error for a thing of a wrong type, of which an "image" or a "mask" was expected."""
    an = f"{'an' if role == 'image' else 'a'} {role}"
    if isinstance(thing, str | os.PathLike):
        hint = "Read the file first, for example with PIL.Image.open or imageio.v3.imread."
        hint += " The command `adacode` restores files with their metadata." if role == "image" else ""
        return InputError(f"a path is not {an}", path=str(thing), hint=hint)
    wanted = _WANTED[role]
    hints = {
        (bytes, bytearray, memoryview): "Decode it first: PIL.Image.open(io.BytesIO(data)).",
        (io.IOBase,): "Read it first: PIL.Image.open(file).",
        (type(None),): f"Give {wanted}. cv2.imread gives None for a file that it cannot read.",
        (list, tuple): f"Give {wanted}; np.asarray makes an array of a list of numbers.",
    }
    hint = next((hint for kinds, hint in hints.items() if isinstance(thing, kinds)), f"Give {wanted}.")
    return InputError(f"an object of type {type(thing).__name__} is not {an}", hint=hint)
