"""The whole of `train prepare`: one pass over the photographs, then the choices, then the shards.

Each photograph is decoded once; only those that are being processed are in memory. The same photographs, settings and
libraries give the same bytes, for any number of workers and any order in which the file system lists files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adacode_cli.errors import TrainingError, UsageError
from adacode_cli.training.prepare.examine import Describe, Examined, LeftOut, duplicates, examine
from adacode_cli.training.prepare.folder import SPOOL, AllLeftOut, OutputFolder, manifest_of
from adacode_cli.training.prepare.packing import (
    TAR_END,
    Member,
    Spool,
    SpooledCrop,
    packed,
    shard_name,
    spooling,
    write_shard,
)
from adacode_cli.training.prepare.photos import category_of, find_photos
from adacode_cli.training.prepare.refused import Refusal, refusal
from adacode_cli.training.prepare.selection import SplitCrops, held_out, rank, within
from adacode_cli.training.prepare.settings import PrepareSettings
from adacode_cli.training.shards import SPLITS, SUFFIXES

OnPhoto = Callable[[int, int, str], None]
"""Called after each photograph with the number that is done, the total, and its path below the folder."""

_MB = 10**6
_REMEDIES = (
    "Sort the photographs into one sub-folder for each category (PHOTOS/nature, PHOTOS/indoor, …), "
    "or let categories be found: --categories 5."
)


@dataclass(frozen=True)
class Prepared:
    """path: the manifest's; manifest: its content."""

    path: Path
    manifest: dict[str, Any]


@dataclass
class _Pool:
    """The result of the pass over the photographs: their measures, and the places of their crops in the spool.

    refused: categories without a photograph that can be used.
    """

    photos: list[Examined] = field(default_factory=list)
    crops: dict[str, list[SpooledCrop]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def drop(self, ones: Iterable[LeftOut]) -> None:
        """Removes photographs."""
        left_out = {one.file: one for one in ones}
        self.photos = [photo for photo in self.photos if photo.file not in left_out]
        self.left_out += left_out.values()


def prepare(photos: Path, output: Path, settings: PrepareSettings, on_photo: OnPhoto | None = None) -> Prepared:
    """Makes shards of the photographs below `photos` in the folder `output`.

    Raises InputError without photographs, TrainingError where categories are missing or nothing usable is left,
    WeightsError for --features, OutputError where the folder is in use or cannot be written. After an error or an
    interruption the folder holds no manifest, or still the earlier one with all its shards.
    """
    files = find_photos(photos)
    if settings.categories is None and not any(category_of(file) for file in files):
        raise TrainingError("has no sub-folders with photographs, so no categories", path=photos, hint=_REMEDIES)
    describe = _describer(settings)
    folder = OutputFolder(output, overwrite=settings.overwrite)
    with spooling(output / SPOOL) as spool:
        pool = _examined(photos, files, settings, describe=describe, spool=spool, on_photo=on_photo)
        _drop_duplicates(pool, settings.limits.duplicate_bits)
        categories = _categories(pool, photos, settings, files)
        chosen = _chosen(pool, categories, settings)
        return _written(folder, pool, settings, chosen=chosen, spool=spool)


def _describer(settings: PrepareSettings) -> Describe | None:
    if settings.categories is None:
        return None
    from adacode_cli.training.prepare.categories import load_describer  # torch takes seconds to import

    return load_describer(settings.features)


def _examined(
    folder: Path,
    files: list[str],
    settings: PrepareSettings,
    *,
    describe: Describe | None,
    spool: Spool,
    on_photo: OnPhoto | None,
) -> _Pool:
    pool = _Pool()
    usable = [file for file in files if settings.categories is not None or category_of(file)]
    for file in sorted(set(files) - set(usable)):
        pool.left_out.append(LeftOut(file, "uncategorised", detail="lies in no sub-folder"))
    tasks = (lambda file=file: examine(folder, file, settings, describe) for file in usable)
    # Closed also after an interruption, so that no thread continues for a result that is not needed.
    with closing(_in_order(tasks, settings.workers)) as results:
        for done, (file, result) in enumerate(zip(usable, results, strict=True), 1):
            if isinstance(result, LeftOut):
                pool.left_out.append(result)
            else:
                pool.crops[file] = spool.add(file, result.crops)
                pool.photos.append(result.without_data())
            if on_photo is not None:
                on_photo(done, len(usable), file)
    return pool


def _in_order(tasks: Iterable[Callable[[], Examined | LeftOut]], workers: int) -> Generator[Examined | LeftOut]:
    """Results in the order of the tasks, of which twice the number of workers are in progress."""
    executor = ThreadPoolExecutor(workers)
    waiting: deque[Future[Examined | LeftOut]] = deque()
    try:
        for task in tasks:
            waiting.append(executor.submit(task))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _drop_duplicates(pool: _Pool, max_bits: int) -> None:
    found = duplicates(pool.photos, max_bits)
    pool.drop(LeftOut(file, "duplicate", bits, max_bits, f"of {other}") for file, (other, bits) in found.items())


def _categories(pool: _Pool, folder: Path, settings: PrepareSettings, files: list[str]) -> dict[str, str]:
    """Photograph → category, of those that are left."""
    if settings.categories is not None:
        return _found(pool, folder, settings.categories, settings.seed)
    named = {photo.file: str(category_of(photo.file)) for photo in pool.photos}
    for category in sorted({c for file in files if (c := category_of(file))} - set(named.values())):
        pool.refused[category] = refusal([one for one in pool.left_out if category_of(one.file) == category])
    if not named:
        category, why = next(iter(pool.refused.items()))
        raise TrainingError(f"has no photograph that can be used: {why.what}", path=folder / category, hint=why.hint)
    return named


def _found(pool: _Pool, folder: Path, count: int, seed: int) -> dict[str, str]:
    if len(pool.photos) < count:
        why = refusal(pool.left_out)
        others = f"; the others: {why.what}" if pool.left_out else ""
        what = f"holds {len(pool.photos)} usable photographs, too few for {count} categories{others}"
        hint = f"Ask for fewer --categories. {why.hint if pool.left_out else ''}".rstrip()
        raise TrainingError(what, path=folder, hint=hint)
    from adacode_cli.training.prepare.categories import clustered

    labels = clustered([photo.features for photo in pool.photos if photo.features is not None], count, seed)
    # Enough digits to sort by name.
    digits = len(str(count))
    return {photo.file: f"category-{label + 1:0{digits}d}" for photo, label in zip(pool.photos, labels, strict=True)}


@dataclass(frozen=True)
class _Chosen:
    """members: split → crops in the order of the shards. dropped: reason → number of crops that are left out.

    held_out_by: category → what its share for validation was counted in.
    """

    members: dict[str, list[Member]]
    dropped: dict[str, int]
    held_out_by: dict[str, str]


def _chosen(pool: _Pool, categories: dict[str, str], settings: PrepareSettings) -> _Chosen:
    found = {}
    for category in sorted(set(categories.values())):
        own = {photo.file: pool.crops[photo.file] for photo in pool.photos if categories[photo.file] == category}
        found[category] = held_out(own, settings.validation, settings.seed, settings.crop_px)
    sorted_out = {category: one.splits for category, one in found.items()}
    before = _count(sorted_out)
    if settings.max_mb is not None:
        room = _room(settings.max_mb, settings.shard_mb)
        sorted_out = within(room, sorted_out, settings.seed)
        _require_fit(sorted_out, room, settings.max_mb)
    members = {split: _shuffled(sorted_out, split, settings.seed) for split in SPLITS}
    dropped = {
        "flat": sum(photo.num_flat for photo in pool.photos),
        "beside validation": sum(one.num_beside for one in found.values()),
        "beyond max_mb": before - _count(sorted_out),
    }
    return _Chosen(members, dropped, {category: one.by for category, one in found.items()})


def _count(categories: dict[str, SplitCrops]) -> int:
    return sum(len(crops) for splits in categories.values() for crops in splits.values())


def _room(max_mb: float, shard_mb: float) -> int:
    """Bytes for members when every shard's end is taken off; both splits may end with a shard that is not full."""
    num_shards = int(max_mb / shard_mb) + 2
    return max(0, int(max_mb * _MB) - num_shards * 2 * TAR_END)


def _require_fit(categories: dict[str, SplitCrops], room: int, max_mb: float) -> None:
    needed = sum(crop.footprint(c) for c, splits in categories.items() for crops in splits.values() for crop in crops)
    if needed > room:
        what = f"--max-mb {max_mb:g} has no room for one crop of each category and split"
        raise UsageError(what, hint="Allow more megabytes, or choose smaller --shard-mb or --crop.")


def _shuffled(categories: dict[str, SplitCrops], split: str, seed: int) -> list[Member]:
    members = [Member(crop, category) for category, splits in categories.items() for crop in splits[split]]
    return sorted(members, key=lambda m: rank(seed, "order", m.crop.file, m.crop.y, m.crop.x))


def _written(
    folder: OutputFolder,
    pool: _Pool,
    settings: PrepareSettings,
    *,
    chosen: _Chosen,
    spool: Spool,
) -> Prepared:
    members = chosen.members
    max_bytes = int(settings.shard_mb * _MB)
    plan = [(split, i, group) for split in SPLITS for i, group in enumerate(packed(members[split], max_bytes))]
    names = [shard_name(split, i) for split, i, _ in plan]
    firsts = dict.fromkeys(SPLITS, 0)
    shards = []
    with folder.writing(names):
        for name, (split, _, group) in zip(names, plan, strict=True):
            suffix = SUFFIXES[settings.encoding]
            entry = write_shard(folder.path / name, group, split=split, first=firsts[split], spool=spool, suffix=suffix)
            shards.append(entry)
            firsts[split] += len(group)
        areas = {photo.file: photo.height * photo.width for photo in pool.photos}
        left_out = AllLeftOut(pool.left_out, pool.refused, chosen.dropped)
        manifest = manifest_of(
            settings,
            members=members,
            shards=shards,
            areas=areas,
            left_out=left_out,
            held_out_by=chosen.held_out_by,
        )
        return Prepared(folder.finish(manifest), manifest)
