"""Shards on disk → crops: the place of each one, and its pixels. Damage is detected and reported here.

A folder of shards is what `adacode train prepare` writes: uncompressed tar files in the WebDataset convention
(KEY.jpg or KEY.webp with KEY.json) and one manifest.json. Opening compares sizes and reads the headers only; pixels are
read one crop at a time, from any number of threads, and never before their shard's digest has been verified.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.errors import TrainingError, reason, translated
from adacode_cli.training.shard_check import PREPARE_AGAIN, ShardCheck

MANIFEST = "manifest.json"
FORMAT = 1
SPLITS = ("train", "validation")
SUFFIXES = {"jpeg": ".jpg", "webp": ".webp"}
"""Encoding → the suffix of its members."""

Pixels = npt.NDArray[np.uint8]
Split = Literal["train", "validation"]
_KEYS = ("crop_px", "encoding", "licence", "source", "categories", "photographs", "megapixels", "shards", "crops")
_JPEG_END = b"\xff\xd9"


@dataclass(frozen=True)
class Crop:
    """One encoded crop: `size` bytes at `offset` of the file `shard`; `key` is its name without suffix.

    check: of the shard; None for a file that no manifest describes.
    """

    shard: Path
    offset: int
    size: int
    category: str
    key: str
    check: ShardCheck | None = field(default=None, repr=False, compare=False)


class Shards:
    """The crops in a folder of shards, by split.

    Raises TrainingError, naming the file, for a folder without a manifest (an interrupted `prepare` leaves none), and
    for a shard that is missing, has another size than in the manifest, or does not hold the crops that it lists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Mapping[str, Any] = MappingProxyType(_manifest(folder / MANIFEST))
        self.crop_px = int(self.manifest["crop_px"])
        self.categories: tuple[str, ...] = tuple(self.manifest["categories"])
        self._crops: dict[str, tuple[Crop, ...]] = {}
        for split in SPLITS:
            shards = [shard for shard in self.manifest["shards"] if shard["split"] == split]
            self._crops[split] = tuple(crop for shard in shards for crop in self._indexed(shard))

    def crops(self, split: Split) -> tuple[Crop, ...]:
        """All crops of "train" or "validation", in the order of the shards, which is shuffled already."""
        return self._crops[split]

    @property
    def identity(self) -> str:
        """A digest that is the same for the same shards in any folder."""
        return sha256("".join(s["sha256"] for s in self.manifest["shards"]).encode()).hexdigest()

    @property
    def licence(self) -> str:
        """The licence of the photographs, as it was stated when they were prepared; "" if it was not."""
        return str(self.manifest.get("licence", ""))

    def describe(self) -> str:
        """One sentence for the provenance of weights: amount, categories, source and licence."""
        m = self.manifest
        what = f"{m['photographs']} photographs ({m['megapixels']:.0f} megapixels) in {len(self.categories)} categories"
        names = ", ".join(self.categories)
        origin = f"; source: {m['source']}" if m["source"] else ""
        return f"{what} ({names}){origin}; licence of the photographs: {m['licence'] or 'not stated'}."

    def _indexed(self, shard: Mapping[str, Any]) -> Iterator[Crop]:
        path = self.folder / shard["file"]
        _check_size(path, shard["bytes"])
        suffix = SUFFIXES[self.manifest["encoding"]]
        try:
            found = _members(path, suffix, str(shard["sha256"]))
        except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"is damaged and cannot be read as a tar ({error})", path=path, hint=PREPARE_AGAIN
            ) from error
        if len(found) != shard["crops"]:
            _damaged(path, f"holds {len(found)} crops where the manifest lists {shard['crops']}")
        for crop in found:
            if crop.category not in self.categories:
                _damaged(path, f"holds the category {crop.category!r}, which the manifest does not list")
        yield from found


def read_crop(crop: Crop) -> Pixels:
    """The crop's pixels, H×W×3 uint8 RGB. Safe to call from many threads.

    Raises TrainingError on damage, of any part of its shard.
    """
    unreadable = translated(TrainingError, "cannot be read", crop.shard, hint=PREPARE_AGAIN)
    # Each call opens the file: threads would change each other's position in a shared file object.
    with unreadable, crop.shard.open("rb", buffering=0) as file:
        file.seek(crop.offset)
        data = file.read(crop.size)
    if crop.check is not None:
        crop.check.require(crop.offset, data)
    # OpenCV fills the missing part of a truncated JPEG with grey instead of refusing it.
    whole = len(data) == crop.size and (not data.startswith(b"\xff\xd8") or data.endswith(_JPEG_END))
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if whole and data else None
    if pixels is None:
        _damaged(crop.shard, f"holds a crop that cannot be decoded ({crop.key})")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _members(path: Path, suffix: str, digest: str) -> list[Crop]:
    places: dict[str, tuple[int, int]] = {}
    categories: dict[str, str] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if not member.isfile():
                continue
            key, dot, ending = member.name.partition(".")
            if dot + ending == suffix:
                places[key] = (member.offset_data, member.size)
            elif ending == "json":
                file = tar.extractfile(member)
                assert file is not None, "a regular member has content"
                categories[key] = str(json.loads(file.read())["category"])
    if places.keys() != categories.keys():
        raise ValueError("images and their .json files do not pair up")
    check = ShardCheck(path, digest, places.values())
    return [Crop(path, offset, size, categories[key], key, check) for key, (offset, size) in places.items()]


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        hint = "First make shards of your photographs: `adacode train prepare PHOTOS -o FOLDER`."
        raise TrainingError("is missing: this is not a complete folder of shards", path=path, hint=hint) from error
    except (OSError, ValueError) as error:
        what = reason(error) if isinstance(error, OSError) else f"not valid JSON ({error})"
        raise TrainingError(f"cannot be read: {what}", path=path, hint=PREPARE_AGAIN) from error
    if not isinstance(manifest, dict) or "format" not in manifest:
        _damaged(path, "is not the manifest of a folder of shards")
    if manifest["format"] != FORMAT:
        what = f"has format {manifest['format']}, this version reads {FORMAT}"
        raise TrainingError(what, path=path, hint="Update adacode, or write the shards again with `train prepare`.")
    missing = [key for key in _KEYS if key not in manifest]
    if missing:
        _damaged(path, f"lacks {', '.join(missing)}")
    if manifest["encoding"] not in SUFFIXES:
        _damaged(path, f"names an unknown encoding {manifest['encoding']!r}")
    for shard in manifest["shards"]:
        _check_entry(path, shard)
    return manifest


def _check_entry(path: Path, shard: object) -> None:
    if not isinstance(shard, dict) or not {"file", "split", "crops", "bytes", "sha256"} <= shard.keys():
        _damaged(path, "describes a shard incompletely")
    # A manifest from an untrusted source must not lead to files outside its folder.
    if Path(str(shard["file"])).name != shard["file"] or shard["split"] not in SPLITS:
        _damaged(path, f"describes an impossible shard {shard['file']!r}")


def _check_size(path: Path, wanted: int) -> None:
    with translated(TrainingError, "cannot be read", path, hint=PREPARE_AGAIN):
        found = path.stat().st_size
    if found != wanted:
        _damaged(path, f"is damaged: {found} bytes where the manifest states {wanted}")


def _damaged(path: Path, what: str) -> NoReturn:
    raise TrainingError(what, path=path, hint=PREPARE_AGAIN)
