"""Masks that a person paints: where each one lies, how it is loaded, and how it is written.

A mask lies where `inpaint --mask-dir` finds it (`batch.mask_pairs`), and is read as `inpaint` reads it. Pictures are
decoded by this program, so a mask has the pixels of the upright image, whatever its orientation and format are. What
passes to the page and back are bits: one for each pixel, row by row, 1 in the hole.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from adacode_cli import atomic
from adacode_cli.batch.contents import read_whole
from adacode_cli.batch.discover import discover
from adacode_cli.batch.found import Found, Selection
from adacode_cli.batch.gallery.entries import identifier
from adacode_cli.batch.mask_pairs import MaskFolder
from adacode_cli.batch.output_files import make_directory
from adacode_cli.batch.trees import outputs_in
from adacode_cli.errors import AdaCodeError, InputError, OutputError, reason
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_image
from adacode_cli.imaging.samples import on_white, to_depth

MAX_SHOWN_PIXELS = 40_000_000
"""Browsers show no larger images everywhere. A larger photograph is shown reduced; its mask has all pixels."""
_MAX_SHOWN_SIDE = 16384
_KEPT_PICTURES = 2
_QUALITY = 90

Pictures = Callable[[], list[tuple[str, Found]]]
"""() → (id, photograph) of each picture that can be painted on, as it is now."""


class MaskChangedError(AdaCodeError):
    """The file of the mask is not the one that was loaded: somebody else has written it."""


class MaskEmptyError(AdaCodeError):
    """A mask that holds a hole would be replaced by one without."""


def photographs_in(folder: Path, masks: Path) -> list[tuple[str, Found]]:
    """(id, photograph) of each image in a folder and below, as `inpaint` finds them. Raises InputError."""
    selection = Selection(avoid=(masks,), outputs_in=outputs_in)
    found = [one for one in discover([folder], selection) if isinstance(one, Found)]
    return [(identifier(one.place), one) for one in found]


@dataclass(frozen=True)
class Place:
    """One picture. name: below the folder. mask: the file of its mask, which may not exist yet."""

    name: str
    path: Path
    mask: Path


@dataclass(frozen=True, eq=False)
class Painted:
    """A mask for the page. size: (height, width) of the picture. bits: H·W of them, padded to bytes.

    digest: SHA-256 of its file, "" if there is none yet.
    """

    size: tuple[int, int]
    bits: bytes
    digest: str


class Painting:
    """The masks in `folder` for pictures; safe to call from several threads."""

    def __init__(self, folder: Path, pictures: Pictures, decoder: Decode) -> None:
        self.folder = folder
        self._pictures, self._decoder = pictures, decoder
        self._places: dict[str, Place] = {}
        self._lock, self._decoding = threading.Lock(), threading.Lock()
        self._shown: OrderedDict[str, tuple[tuple[int, int], bytes]] = OrderedDict()

    def places(self) -> dict[str, Place]:
        """The pictures by their ids, as they are now. Raises InputError if it is not clear which mask is whose."""
        pictures = self._pictures()
        make_directory(self.folder)
        pairs = MaskFolder(self.folder, Selection(outputs_in=outputs_in)).pair([found for _, found in pictures])
        self._places = {
            picture: Place(found.place, found.path, pairs.place_for(found.path))
            for picture, found in pictures
            if found.path_text not in pairs.masks
        }
        return self._places

    def image(self, picture: str) -> bytes:
        """The picture, upright, as a JPEG file of at most MAX_SHOWN_PIXELS. Raises InputError."""
        return self._image_of(self._place(picture))[1]

    def load(self, picture: str) -> Painted:
        """The mask of a picture; an empty one if there is no file. Raises InputError if it cannot be changed here."""
        place = self._place(picture)
        size, _ = self._image_of(place)
        if not os.path.lexists(place.mask):
            return Painted(size, bytes(-(-size[0] * size[1] // 8)), "")
        data = read_whole(place.mask)
        with self._decoding:
            image = self._decoder(data, name=str(place.mask))
        mask = mask_from_image(image, place.mask, size=size)
        if image.format != "png" or place.mask.suffix.lower() != ".png":
            hint = "Save it as a PNG file under the same name, and remove this one."
            raise InputError(
                "is a mask that is no PNG file, and only those are changed here", path=place.mask, hint=hint
            )
        return Painted(size, np.packbits(mask).tobytes(), _digest(data))

    def save(self, picture: str, bits: bytes, loaded: str, *, may_be_empty: bool) -> str:
        """Writes the mask of a picture, and returns the digest of its file; "" if there is nothing to write.

        loaded: the digest of the file that was loaded. may_be_empty: a hole may be replaced by none.
        Raises MaskChangedError, MaskEmptyError, InputError for bits of another number, and OutputError.
        """
        place = self._place(picture)
        height, width = size = self._image_of(place)[0]
        if len(bits) != -(-height * width // 8):
            raise InputError(f"the painted mask has another size than the image ({width}×{height})", path=place.path)
        mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width).reshape(size)
        with self._lock:
            self._check_place(place)
            if _digest_at(place.mask) != loaded:
                hint = "Open the picture again to see it."
                raise MaskChangedError("has been changed by somebody else meanwhile", path=place.mask, hint=hint)
            if not mask.any():
                if not loaded:
                    return ""
                if not may_be_empty:
                    raise MaskEmptyError("holds a mask, and nothing is painted any more", path=place.mask)
            data = _png(mask)
            make_directory(place.mask.parent)
            atomic.write_bytes(place.mask, data)
        return _digest(data)

    def finish(self) -> None:
        """Waits until what is being saved has been written; nothing is saved after that."""
        self._lock.acquire()

    def _place(self, picture: str) -> Place:
        place = self._places.get(picture) or self.places().get(picture)
        if place is None:
            raise InputError("there is no such picture any more", hint="Load the page again.")
        return place

    def _check_place(self, place: Place) -> None:
        """Raises OutputError for a mask in a place that a link leads to, and for one that is a photograph."""
        top = os.path.realpath(self.folder).rstrip(os.sep) + os.sep
        real = os.path.realpath(place.mask)
        if place.mask.is_symlink() or not real.startswith(top):
            hint = "Remove the link, or put the mask itself there."
            raise OutputError(
                "is reached by a link, and adacode does not follow links here", path=place.mask, hint=hint
            )
        if any(os.path.realpath(other.path) == real for other in self._places.values()):
            raise OutputError("is a photograph, which no mask replaces", path=place.mask)

    def _image_of(self, place: Place) -> tuple[tuple[int, int], bytes]:
        """((height, width), the picture as a JPEG file); the last ones are kept while their files are the same."""
        with self._decoding:
            key = f"{place.path}\0{_stamp(place.path)}"
            if key not in self._shown:
                image = self._decoder(read_whole(place.path), name=str(place.path), accept_damaged=True)
                if image.num_pages > 1:
                    hint = "Painting is for files with one page. Paint its mask in another program."
                    raise InputError(f"has {image.num_pages} pages", path=place.path, hint=hint)
                self._shown[key] = image.size, _jpeg(image)
                while len(self._shown) > _KEPT_PICTURES:
                    self._shown.popitem(last=False)
            self._shown.move_to_end(key)
            return self._shown[key]


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {reason(error)}", path=path, hint="Check that it is still there.") from error
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _jpeg(image: Decoded) -> bytes:
    """An image on white, for a browser."""
    pixels = image.pixels if image.alpha is None else on_white(image.pixels, image.alpha)
    height, width = image.size
    scale = min(1.0, (MAX_SHOWN_PIXELS / (height * width)) ** 0.5, _MAX_SHOWN_SIDE / max(height, width))
    if scale < 1.0:
        wanted = max(1, int(width * scale)), max(1, int(height * scale))
        pixels = np.asarray(cv2.resize(pixels, wanted, interpolation=cv2.INTER_AREA))
    icc = {"icc_profile": image.icc} if image.icc and image.colors == 3 else {}
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(to_depth(pixels, np.uint8))).save(buffer, "jpeg", quality=_QUALITY, **icc)
    return buffer.getvalue()


def _png(mask: np.ndarray) -> bytes:
    """H×W of 0 and 1 as a PNG file of 8 bits, white where the hole is."""
    buffer = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(buffer, "png")
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_at(path: Path) -> str:
    """The digest of a file, "" if there is none. Raises InputError if it cannot be read."""
    return _digest(read_whole(path)) if os.path.lexists(path) else ""
