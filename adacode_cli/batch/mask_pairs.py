"""Pairs the images of a run with the masks in `--mask-dir`, by their paths alone.

Paths are compared without suffixes. The mask of `photos/1931/p1.jpg`, found below the input `photos`, is

1. the file at the image's path below its input: `masks/1931/p1.png`;
2. or else the file there with `_mask` after its name, or after its name with its suffix, as `--save-mask` writes it:
   `masks/1931/p1_mask.png`, `masks/1931/p1.jpg_mask.png`;
3. or else the same with more of the path in front, which distinguishes several inputs: `masks/photos/1931/p1.png`;
4. or else a file named `p1` or `p1_mask` in any folder, if no other image has that name, and no other remaining mask.
   A mask `masks/1932/p1.png` is not used if there is another image `1932/p1` in any folder above, in this run or not
   (`batch.mask_owners`).

For an image that is an input itself, or in a list, it is the file at the longest end of its path, down to its name.

If two images would get one mask, or one image two masks, the run is refused, because a hole in the wrong place
gives a wrong image without an error. The run is also refused if an image has a mask by 1 or 2 and another one by 3,
except if that is the mask of another image by 1. Images in one folder that differ only in their suffix may share
a mask.
"""

from __future__ import annotations

import bisect
import heapq
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from adacode_cli import formats
from adacode_cli.batch.discover import discover
from adacode_cli.batch.found import Found, PassedOver, Selection
from adacode_cli.batch.kept import identity
from adacode_cli.batch.mask_owners import MARK, MaskOwners, key_of, name_of
from adacode_cli.batch.places import real_text
from adacode_cli.errors import InputError, reason
from adacode_cli.storage import objects
from adacode_cli.storage.path import is_remote, is_remote_text, path_from

_RULE = "A mask is found by its image's path without the suffix, then by NAME_mask, then by a name that is unique."
_MAX_NAMED = 3


@dataclass(frozen=True)
class MaskPairs:
    """The masks of a run's images.

    masks: files among the inputs that are masks of others, and thus not restored.
    holds_images: some of the images are in the folder of masks.
    """

    folder: Path
    masks: frozenset[str]
    holds_images: bool
    _places: dict[str, str] = field(repr=False)
    _advised: AdvisedPlaces = field(repr=False)

    def for_image(self, path: Path) -> Path:
        """The mask of the image `path`. Raises InputError if there is none."""
        place = self._places.get(str(path))
        if place is None:
            raise self._without_mask(path, self._hint(path))
        mask = self.folder / place
        if _are_one_file(mask, path):
            raise self._without_mask(path, f"{mask} is this image itself. Put its mask there instead.")
        return mask

    def place_for(self, path: Path) -> Path:
        """Where the mask of the image `path` is, or, if there is none, where it would be found."""
        place = self._places.get(str(path))
        return self.folder / (place or self._advised.of(str(path), f"{MARK}.png" if self.holds_images else ".png"))

    def _hint(self, path: Path) -> str:
        place = self.folder / self._advised.of(str(path), f"{MARK}.png" if self.holds_images else ".png")
        if self.holds_images:
            return f"Name its mask {place}; other images of this run are not used as masks."
        return f"Put its mask (white where the holes are) at {place}."

    def _without_mask(self, path: Path, hint: str) -> InputError:
        return InputError(f"has no mask in {self.folder}", path=path, hint=hint)


class MaskFolder:
    """The image files in `folder` and below, by their places there; `selection` tells which are outputs of a run.

    Raises InputError if the folder, or one below it, cannot be listed.
    """

    def __init__(self, folder: Path, selection: Selection) -> None:
        self._folder = folder
        _check_is_directory(folder)
        self._places = list(_places_in(folder, selection))

    def pair(self, images: Sequence[Found]) -> MaskPairs:
        """The mask of each image that has one. Raises InputError if this is ambiguous."""
        own = self._own_places(images)
        masks = _masks_among(own)
        places = (place for place in self._places if place not in own or own[place] in masks)
        num_parts: dict[str, int] = {}
        for found in images:
            path = found.path_text
            if path not in masks:
                num_parts[path] = max(num_parts.get(path, 0), _num_parts(found))
        advised = AdvisedPlaces(num_parts)
        paired = _Pairing(self._folder, places, advised).of(num_parts)
        return MaskPairs(self._folder, masks, len(own) > len(masks), paired, advised)

    def _own_places(self, images: Sequence[Found]) -> dict[str, str]:
        """{place in this folder: path} of each image of the run that is in it."""
        real = real_text(self._folder).rstrip(os.sep) + os.sep
        if not any(_may_lie_in(real, given) for given in {found.given for found in images}):
            return {}
        known, own = set(self._places), {}
        for found in images:
            path = found.path_text if is_remote(found.given) else os.path.realpath(found.path_text)
            place = path.removeprefix(real).replace(os.sep, "/")
            if path.startswith(real) and place in known:
                own[place] = found.path_text
        return own


class _Pairing:
    """Pairs images with the masks at `places` of `folder`; counts ambiguous cases and keeps the first one."""

    def __init__(self, folder: Path, places: Iterable[str], advised: AdvisedPlaces) -> None:
        self._folder = folder
        self._advised = advised
        self._by_key: defaultdict[str, list[str]] = defaultdict(list)
        for place in places:
            self._by_key[key_of(place)].append(place)
        self._max_parts = max((key.count("/") + 1 for key in self._by_key), default=0)
        self._image_of_mask: dict[str, str] = {}
        self._own_ends: set[str] = set()  # paths of images below their inputs
        self._paired: dict[str, str] = {}
        self._num_unclear = 0
        self._first_unclear: InputError | None = None

    def of(self, images: dict[str, int]) -> dict[str, str]:
        """{path of an image: the number of its parts below an input, 0 for an input itself} → {path: place of its
        mask}. Raises InputError.
        """
        left = []
        self._own_ends = {_end(path, num_parts) for path, num_parts in images.items() if num_parts}
        for path, num_parts in images.items():
            if masks := self._by_path(path, num_parts):
                self._assign(path, masks)
            else:
                left.append(path)
        # In a store it would take a list of every folder above to know which image owns a mask of the same name.
        if left and not is_remote(self._folder) and not any(is_remote_text(path) for path in images):
            self._pair_by_name(left, images)
        if (unclear := self._first_unclear) is not None:
            more = self._num_unclear - 1
            unclear.message += f"; and {more} more case{'s' * (more != 1)} like this" if more else ""
            raise unclear
        return self._paired

    def _by_path(self, path: str, num_parts: int) -> list[str]:
        """The masks at the end of a path that counts, and those at a longer end that is the path of no other image."""
        longest = min(self._max_parts, len(_parts(path)))
        lengths = range(num_parts, longest + 1) if num_parts else range(longest, 0, -1)
        ends = (_end(path, length) for length in lengths)
        suffix = Path(path).suffix
        found = ((end, masks) for end in ends if (masks := self._at(end, suffix)))
        _, first = next(found, ("", []))
        also = next((masks for end, masks in found if end not in self._own_ends), []) if num_parts else []
        return first + also

    def _at(self, end: str, suffix: str) -> list[str]:
        keys = (end, f"{end}{suffix}{MARK}", f"{end}{MARK}")
        return next((places for key in keys if (places := self._by_key.get(key))), [])

    def _pair_by_name(self, left: Iterable[str], images: Iterable[str]) -> None:
        free = (place for places in self._by_key.values() for place in places if place not in self._image_of_mask)
        owners = MaskOwners(self._folder, free)
        first_two: defaultdict[str, dict[str, str]] = defaultdict(dict)  # of each name, in different folders
        for path in images:
            key = key_of(path)
            named = first_two[name_of(key)]
            if len(named) < 2:
                named.setdefault(key, path)
        for path in left:
            name = name_of(key_of(path))
            limit = None if self._first_unclear is None else 2  # Only the first error tells how many there are.
            if candidates := owners.masks_for(path, limit):
                others = (other for other in first_two[name].values() if not _differ_in_suffix(other, path))
                self._assign(path, candidates, next(others, None))

    def _assign(self, path: str, masks: Sequence[str], other: str | None = None) -> None:
        """Assigns the mask of an image, or records an ambiguity: several masks, or another image with this mask."""
        if len(masks) > 1:
            self._num_unclear += 1
            self._first_unclear = self._first_unclear or self._too_many(path, masks)
            return
        place = masks[0]
        user = self._image_of_mask.setdefault(place, path)
        if other is None and not _differ_in_suffix(user, path):
            other = user
        if other is not None:
            self._num_unclear += 1
            self._first_unclear = self._first_unclear or self._shared(place, path, other)
        self._paired[path] = place

    def _too_many(self, path: str, masks: Sequence[str]) -> InputError:
        """The error for several masks of one image, which lists the first few of them."""
        named = ", ".join(heapq.nsmallest(_MAX_NAMED, masks))
        more = f" and {len(masks) - _MAX_NAMED} more" if len(masks) > _MAX_NAMED else ""
        message = f"has {len(masks)} masks in {self._folder}: {named}{more}"
        return InputError(message, path=path_from(path), hint=f"Keep only one of them. {_RULE}")

    def _shared(self, place: str, path: str, other: str) -> InputError:
        """The error for a mask that two images could have. `path` has no other mask."""
        example = self._folder / self._advised.of(path, Path(place).suffix)
        hint = f"If it is the mask of {path}, put it at {example}. A mask for all images is given with --mask."
        first, second = sorted((other, path))
        message = f"could be the mask of {first} and of {second}"
        return InputError(message, path=self._folder / place, hint=hint)


def _check_is_directory(folder: Path) -> None:
    if is_remote(folder):
        if not objects.is_folder(folder):
            raise InputError("is not a folder of masks", path=folder, hint="Use --mask for a single file.")
        return
    try:
        is_directory = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError as error:
        raise InputError("there is no such directory", path=folder, hint="Check the name.") from error
    except OSError as error:
        raise _unlisted(folder, reason(error)) from error
    if not is_directory:
        raise InputError("is not a directory of masks", path=folder, hint="Use --mask for a single file.")


def _places_in(folder: Path, selection: Selection) -> Iterable[str]:
    """Places of all files with the suffix of an image; a file that cannot be read fails its own image later."""
    for entry in discover([folder], selection):
        if isinstance(entry, Found):
            yield entry.place
        elif is_remote(entry.path):
            if entry.failed:
                raise _unlisted(entry.path, entry.reason)
        elif not entry.path.is_dir():
            yield from _place_of(entry, folder)
        elif entry.failed:  # A mask in it would be missed, and another one with its name would be used.
            raise _unlisted(entry.path, entry.reason)


def _place_of(entry: PassedOver, folder: Path) -> Iterable[str]:
    if formats.of_any_suffix(entry.path.suffix) is not None:
        yield entry.path.relative_to(folder).as_posix()


def _unlisted(folder: Path, reason: str) -> InputError:
    return InputError(f"cannot be listed: {reason}", path=folder, hint="Check its permissions.")


def _are_one_file(first: Path, second: Path) -> bool:
    found = identity(first)
    return found is not None and found == identity(second)


def _may_lie_in(real: str, given: Path) -> bool:
    """Whether an input is, or is in, the directory `real`, which ends with a separator."""
    return f"{real_text(given)}{os.sep}".startswith(real)


def _masks_among(own: dict[str, str]) -> frozenset[str]:
    """The paths of images in the folder of masks that have the name of another image followed by `_mask`."""
    keys = {key_of(place): path for place, path in own.items()}
    marked = {key.removesuffix(MARK): path for key, path in keys.items() if key.endswith(MARK)}
    return frozenset(path for owner, path in marked.items() if owner in keys or owner in own)


def _num_parts(found: Found) -> int:
    """The number of parts of an image's path below its input; 0 for an input itself."""
    return found.place.count("/") + 1 if found.in_tree else 0


def _parts(path: str) -> list[str]:
    return [part for part in key_of(path).split("/") if part]


def _end(path: str, num_parts: int) -> str:
    """The last parts of an image's path, without its suffix."""
    return "/".join(_parts(path)[-num_parts:])


def _differ_in_suffix(first: str, second: str) -> bool:
    """Whether two paths have the same folder, links resolved, and the same name without suffix."""
    if key_of(first) == key_of(second):
        return True
    folders = {os.path.realpath(Path(path).parent) for path in (first, second)}
    return len(folders) == 1 and name_of(key_of(first)) == name_of(key_of(second))


class AdvisedPlaces:
    """Suggests places for the masks of a run's images, for hints.

    images: {path: the number of its parts below an input, 0 for an input itself}.

    A tree may hold thousands of images without masks: nothing is computed before the first call, and no image is
    compared with all others.
    """

    def __init__(self, images: Mapping[str, int]) -> None:
        self._images = images

    def of(self, path: str, ending: str) -> str:
        """The end of an image's path, below its input, that no other image has, with `ending` as its suffix.

        It has forward slashes. If the whole path is also the end of another one, it is the whole path.
        """
        image = Path(path)
        parts = image.relative_to(image.anchor).parts
        max_parts = sum(1 for _ in takewhile(lambda part: part != os.pardir, reversed(parts)))
        length = min(max_parts, max(self._images.get(path, 0), self._num_shared(path) + 1))
        return "/".join((*parts[-length:-1], f"{image.stem}{ending}"))

    @cached_property
    def _ends(self) -> list[tuple[str, ...]]:
        """The parts of each image's key from its name upwards, sorted, so that similar ends are neighbours."""
        return sorted({_from_the_name(path) for path in self._images})

    def _num_shared(self, path: str) -> int:
        """The largest number of parts at the end of an image's path that another image shares."""
        own = _from_the_name(path)
        start = bisect.bisect_left(self._ends, own)
        neighbours = (end for end in self._ends[max(0, start - 1) : start + 2] if end != own)
        return max((_num_common(own, end) for end in neighbours), default=0)


def _num_common(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _from_the_name(path: str) -> tuple[str, ...]:
    return tuple(part for part in reversed(key_of(path).split("/")) if part)
