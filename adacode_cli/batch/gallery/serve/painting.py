"""Masks that a person paints: where each one lies, how it is loaded, and how it is written.

A mask lies where `inpaint --mask-dir` finds it (`batch.mask_pairs`), and is read as `inpaint` reads it. Pictures are
decoded by this program, so a mask has the pixels of the upright image, whatever its orientation and format are. What
passes to the page and back are bits: one for each pixel, row by row, 1 in the hole.

A mask belongs to the photograph that was shown, so it is saved only while that one is there. The directory may hold
files of others: nothing but a black and white image without metadata is replaced without a question, and no colours
ever.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from adacode_cli.batch.output_files import check_directories, make_directory
from adacode_cli.batch.trees import outputs_in
from adacode_cli.errors import InputError, reason
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_image
from adacode_cli.imaging.png_chunks import chunks
from adacode_cli.imaging.samples import on_white, to_depth, top_of

MAX_SHOWN_PIXELS = 40_000_000
"""Browsers show no larger images everywhere. A larger photograph is shown reduced; its mask has all pixels."""
_MAX_SHOWN_SIDE = 16384
_KEPT_PICTURES = 2
_QUALITY = 90
# Other chunks of a PNG file are metadata, which are lost when it is replaced.
_OF_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


class ConflictError(Exception):
    """A mask is not saved as it is, and a person has to decide; the page asks.

    kind: "changed": somebody else has written the file of the mask since it was loaded. "empty": a mask that holds a
    hole would be replaced by one without. "grey": a file that is more than a black and white image would be replaced.
    "photograph": the photograph is not the one that was shown while the mask was painted. error: in words.
    """

    def __init__(self, kind: str, message: str, path: Path, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.error = InputError(message, path=path, hint=hint)


@dataclass(frozen=True)
class Original:
    """A photograph. sha256: what its content must be, "" if that is not known."""

    found: Found
    sha256: str = ""


def photographs_in(folder: Path, masks: Path) -> list[tuple[str, Original]]:
    """(id, photograph) of each image in a folder and below, as `inpaint` finds them. Raises InputError."""
    selection = Selection(avoid=(masks,), outputs_in=outputs_in)
    found = [one for one in discover([folder], selection) if isinstance(one, Found)]
    return [(identifier(one.place), Original(one)) for one in found]


Pictures = Callable[[], list[tuple[str, Original]]]
"""() → (id, photograph) of each picture that can be painted on, as it is now."""


@dataclass(frozen=True)
class Place:
    """One picture. name: below the folder. mask: the file of its mask, None if there is none yet."""

    name: str
    original: Original
    mask: Path | None

    @property
    def path(self) -> Path:
        """The file of the photograph."""
        return self.original.found.path


@dataclass(frozen=True, eq=False)
class Painted:
    """A mask for the page. size: (height, width) of the picture. bits: H·W of them, padded to bytes.

    digest: SHA-256 of its file, "" if there is none yet. photograph: of the file of the picture.
    """

    size: tuple[int, int]
    bits: bytes
    digest: str
    photograph: str


@dataclass(frozen=True, eq=False)
class _Shown:
    size: tuple[int, int]
    jpeg: bytes
    sha256: str


class Painting:
    """The masks in `folder` for pictures; safe to call from several threads."""

    def __init__(self, folder: Path, pictures: Pictures, decoder: Decode) -> None:
        self.folder = folder
        self._pictures, self._decoder = pictures, decoder
        self._places: dict[str, Place] = {}
        self._found: list[Found] = []
        self._black_and_white: set[str] = set()
        self._lock, self._decoding = threading.Lock(), threading.Lock()
        self._shown: OrderedDict[str, _Shown] = OrderedDict()

    def places(self) -> dict[str, Place]:
        """The pictures by their ids, as they are now. Raises InputError if it is not clear which mask is whose."""
        pictures = self._pictures()
        self._found = [original.found for _, original in pictures]
        pairs = self._masks().pair(self._found)
        self._places = {
            picture: Place(original.found.place, original, pairs.existing(original.found.path))
            for picture, original in pictures
            if original.found.path_text not in pairs.masks
        }
        return self._places

    def image(self, picture: str, photograph: str) -> bytes:
        """The picture, upright, as a JPEG file of at most MAX_SHOWN_PIXELS.

        photograph: the digest of its file. Raises InputError, ConflictError.
        """
        return self._same_image(self._place(picture), photograph).jpeg

    def load(self, picture: str) -> Painted:
        """The mask of a picture; an empty one if there is no file. Raises InputError if it cannot be changed here."""
        place = self._place(picture)
        shown = self._image_of(place)
        mask = self._mask_of(place)
        self._check_place(mask)
        if not os.path.lexists(mask):
            return Painted(shown.size, bytes(-(-shown.size[0] * shown.size[1] // 8)), "", shown.sha256)
        data = read_whole(mask)
        image = self._decoded_mask(data, mask)
        hole = mask_from_image(image, mask, size=shown.size)
        return Painted(shown.size, np.packbits(hole).tobytes(), _digest(data), shown.sha256)

    def save(
        self,
        picture: str,
        bits: bytes,
        loaded: str,
        photograph: str,
        *,
        may_be_empty: bool = False,
        may_replace_grey: bool = False,
    ) -> str:
        """Writes the mask of a picture, and returns the digest of its file; "" if there is nothing to write.

        loaded, photograph: the digests of the mask's file and of the picture's, as `load` gave them. may_be_empty: a
        hole may be replaced by none. may_replace_grey: so may a file that is more than a black and white image.
        Raises ConflictError, InputError for bits of another number, and OutputError.
        """
        place = self._place(picture)
        height, width = size = self._same_image(place, photograph).size
        if len(bits) != -(-height * width // 8):
            raise InputError(f"the painted mask has another size than the image ({width}×{height})", path=place.path)
        hole = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width).reshape(size)
        with self._lock:
            mask = self._mask_of(place)
            self._check_place(mask)
            self._check_file(mask, loaded, may_replace_grey=may_replace_grey)
            if not hole.any():
                if not loaded:
                    return ""
                if not may_be_empty:
                    raise ConflictError("empty", "holds a mask, and nothing is painted any more", path=mask)
            data = _png(hole)
            make_directory(mask.parent)
            atomic.write_bytes(mask, data)
            digest = _digest(data)
            self._black_and_white.add(digest)
            self._places[picture] = replace(place, mask=mask)
        return digest

    def finish(self) -> None:
        """Waits until what is being saved has been written; nothing is saved after that."""
        self._lock.acquire()

    def _place(self, picture: str) -> Place:
        place = self._places.get(picture) or self.places().get(picture)
        if place is None:
            raise InputError("there is no such picture any more", hint="Load the page again.")
        return place

    def _masks(self) -> MaskFolder:
        return MaskFolder(self.folder, Selection(outputs_in=outputs_in), may_be_missing=True)

    def _mask_of(self, place: Place) -> Path:
        """The file of a mask: the one that is there, or one that `inpaint` would take for this picture alone."""
        if place.mask is not None and os.path.lexists(place.mask):
            return place.mask
        return self._masks().place_for(place.original.found, self._found)

    def _decoded_mask(self, data: bytes, path: Path) -> Decoded:
        """The image of a mask that may be replaced. Raises InputError."""
        with self._decoding:
            image = self._decoder(data, name=str(path))
        if image.format != "png" or path.suffix.lower() != ".png":
            hint = "Save it as a PNG file under the same name, and remove this one."
            raise InputError("is a mask that is no PNG file, and only those are changed here", path=path, hint=hint)
        with Image.open(BytesIO(data)) as file:
            if getattr(file, "n_frames", 1) > 1:
                hint = "Name another directory with --masks, or save its first frame alone."
                raise InputError("is an animation, which no mask replaces", path=path, hint=hint)
        is_opaque = image.alpha is None or bool((image.alpha == top_of(image.alpha.dtype)).all())
        if is_opaque and image.pixels.ndim > 2 and (image.pixels != image.pixels[..., :1]).any():
            hint = "Name another directory with --masks. If this is a mask, save it as a grey image."
            raise InputError("is an image in colours, which no mask replaces", path=path, hint=hint)
        is_bare = all(kind in _OF_PIXELS for kind, _, _ in chunks(data))
        if is_opaque and is_bare and np.isin(image.pixels, (0, top_of(image.pixels.dtype))).all():
            self._black_and_white.add(_digest(data))
        return image

    def _check_file(self, path: Path, loaded: str, *, may_replace_grey: bool) -> None:
        """Raises ConflictError or InputError for a file that is not to be replaced."""
        data = read_whole(path) if os.path.lexists(path) else None
        digest = "" if data is None else _digest(data)
        if digest != loaded:
            hint = "Open the picture again to see it."
            raise ConflictError("changed", "has been changed by somebody else meanwhile", path=path, hint=hint)
        if data is None or digest in self._black_and_white:
            return
        self._decoded_mask(data, path)
        if digest not in self._black_and_white and not may_replace_grey:
            raise ConflictError("grey", "is more than a black and white image, and would lose that", path=path)

    def _check_place(self, mask: Path) -> None:
        """Raises InputError for a place behind a link or of a photograph, OutputError if nothing can be written."""
        top = os.path.realpath(self.folder).rstrip(os.sep) + os.sep
        real = os.path.realpath(mask)
        if mask.is_symlink() or not real.startswith(top):
            hint = "Remove the link, or put the mask itself there."
            raise InputError("is reached by a link, and adacode does not follow links here", path=mask, hint=hint)
        if any(os.path.realpath(other.path) == real for other in self._places.values()):
            raise InputError("is a photograph, which no mask replaces", path=mask)
        check_directories([mask.parent])

    def _same_image(self, place: Place, photograph: str) -> _Shown:
        shown = self._image_of(place)
        if shown.sha256 != photograph:
            hint = "Open the picture again to see it."
            raise ConflictError("photograph", "has changed since the page loaded it", path=place.path, hint=hint)
        return shown

    def _image_of(self, place: Place) -> _Shown:
        """The picture of a place; the last ones are kept while their files are the same."""
        with self._decoding:
            key = f"{place.path}\0{_stamp(place.path)}"
            if key not in self._shown:
                data = read_whole(place.path)
                sha256 = _digest(data)
                if place.original.sha256 not in ("", sha256):
                    hint = "Restore it again, or paint on the directory of photographs instead of the run's."
                    raise InputError("is not the file any more that the run has read", path=place.path, hint=hint)
                image = self._decoder(data, name=str(place.path), accept_damaged=True)
                if image.num_pages > 1:
                    hint = "Painting is for files with one page. Paint its mask in another program."
                    raise InputError(f"has {image.num_pages} pages", path=place.path, hint=hint)
                self._shown[key] = _Shown(image.size, _jpeg(image), sha256)
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
