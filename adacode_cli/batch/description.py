"""What a run does to each file, as a value with which any process can load the same network and stages.

It contains names, numbers and paths and can be pickled, so that worker processes and other machines receive it instead
of a loaded network.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from adacode_cli.batch.coding import CodesPlace, FromCodesStages, SavingStages
from adacode_cli.batch.color_fix import ColorFixed
from adacode_cli.batch.enlarging import Enlarging
from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.guard import Guarded
from adacode_cli.batch.keeping import Keeping
from adacode_cli.batch.masks import Edge, HoleSource
from adacode_cli.batch.plan import Job
from adacode_cli.batch.record import digest_of
from adacode_cli.batch.restoring import Detecting, Restore, Restoring
from adacode_cli.batch.stages import Stages, paths_for
from adacode_cli.batch.strength import Mixed
from adacode_cli.errors import UsageError
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.provenance import HistoryEntry
from adacode_cli.sizes import Size, Sizing
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.engine.detection import MarkFinder
    from adacode_cli.engine.restorer import Restorer


@dataclass(frozen=True)
class NetworkDescription:
    """A network and how it computes; the fields are those of `Restorer.from_pretrained`."""

    weights: str = "compact"
    device: str = "auto"
    precision: str = "auto"
    tile: str | int = "auto"
    tiling: str = "exact"
    hub_repo: str | None = None

    @property
    def shown(self) -> str:
        """The name of the weights. The folders of a file are left out, because they would be visible in the image."""
        return self.weights if self.weights.startswith("hub:") else Path(self.weights).absolute().name

    def restorer(self) -> Restorer:
        """Loads the network. Raises UsageError, WeightsError, DeviceError."""
        from adacode_cli.engine.restorer import Restorer

        return Restorer.from_pretrained(
            self.weights,
            device=self.device,
            precision=self.precision,
            tile=self.tile,
            tiling=self.tiling,
            hub_repo=self.hub_repo,
        )


@dataclass(frozen=True)
class Detection:
    """Marks that are looked for: the detector's name or file, and the edge of the holes that they become."""

    detector: str
    edge: Edge

    def finder(self, device: str) -> MarkFinder:
        """Loads the detector. Raises UsageError, WeightsError, DeviceError."""
        from adacode_cli.engine.detection import MarkFinder

        return MarkFinder.from_pretrained(self.detector, device=device)


@dataclass(frozen=True)
class Description:
    """What a run does to each file.

    task: a name of `tasks.TASKS`.
    sizing: of the results, for a task that enlarges. denoise: as in `Restorer.restore`.
    strength: of the network's results, which are mixed with their inputs, for a task that enlarges.
    step: what is done, for the history in the metadata of the image; "" writes no history.
    guarded: results are compared with their inputs.
    color_fixed: results get the low frequencies of their inputs.
    save_codes: where codes are written beside results. code_levels: how many levels of them, all if it is None.
    from_codes: the sources are files of codes.
    detection: the holes are marks that a detector finds; then there are no `holes`.
    gallery: as in `Stages`.
    The other fields are those of `Stages`; `keeping` has no history yet, which contains the digest of the weights.
    """

    network: NetworkDescription
    task: str
    sizing: Sizing = field(default_factory=Sizing)
    denoise: float = 1.0
    step: str = ""
    holes: HoleSource | None = None
    quality: int | None = None
    maps_dir: Path | None = None
    masks_dir: Path | None = None
    quarantine: Path | None = None
    keeping: Keeping = field(default_factory=Keeping)
    foresight: Foresight = field(default_factory=Foresight)
    guarded: bool = True
    color_fixed: bool = False
    save_codes: CodesPlace | None = None
    code_levels: int | None = None
    from_codes: bool = False
    strength: float = 1.0
    detection: Detection | None = None
    gallery: bool = False

    def paths(self, job: Job) -> tuple[Path, ...]:
        """Every file that may be written for a job, its output first; as `Stages.paths`, but without a network."""
        codes = (self.save_codes.path(job),) if self.save_codes else ()
        return (*paths_for(job, self.maps_dir, self.masks_dir, self.quarantine), *codes)

    def stages(self, decoder: Decode) -> tuple[Stages, str]:
        """Loads the network. Returns (the stages, which decode files with `decoder`; the digest of the weights).

        Raises UsageError, WeightsError, DeviceError.
        """
        restorer = self.network.restorer()
        factors, digest = self._prepared(restorer)
        history = HistoryEntry(self.step, self.network.shown, digest) if self.step else None
        restore = self._restore(restorer, factors)
        if self.detection:
            finder = self.detection.finder(self.network.device)
            restore = Detecting(restore, finder, self.detection.edge)
            digest = digest_of({"weights": digest, "detector": finder.digest})
        common = (
            restore,
            self.holes,
            self.quality,
            self.maps_dir,
            self.masks_dir,
            self.quarantine,
            replace(self.keeping, history=history),
            decoder,
            restorer.lanes,
            self.foresight,
            self.gallery,
        )
        if self.save_codes:
            levels = self._levels(restorer)
            return SavingStages(*common, coder=restorer, codes_path=self.save_codes.path, levels=levels), digest
        return FromCodesStages(*common, coder=restorer) if self.from_codes else Stages(*common), digest

    def _levels(self, restorer: Restorer) -> int | None:
        """Raises UsageError if the weights have fewer levels of codes than are to be kept."""
        if self.code_levels is not None and self.code_levels > (most := restorer.code_levels()):
            have = "only one level" if most == 1 else f"{most} levels"
            what = f"--code-levels {self.code_levels}: the codes of {self.network.shown} have {have}"
            raise UsageError(what, hint="Give a smaller number, or leave it out to keep all levels.")
        return self.code_levels

    def _prepared(self, restorer: Restorer) -> tuple[tuple[int, ...], str]:
        """Loads the networks that images may need. Returns (the factors of all networks there are; the digest)."""
        if not TASKS[self.task].enlarges:
            return (), restorer.prepare(self.task, 1, self.denoise)
        factors = restorer.factors(self.task)
        needed = self.sizing.possible_factors(factors)
        digests = {f"x{one}": restorer.prepare(self.task, one, self.denoise) for one in needed}
        return factors, digests.popitem()[1] if len(digests) == 1 else digest_of(digests)

    def _restore(self, restorer: Restorer, factors: tuple[int, ...]) -> Restore:
        """What makes each image, with the requested guard and colour fix; the guard checks each run of the network."""

        @cache
        def in_float32() -> Restorer:
            return replace(self.network, precision="fp32").restorer()

        loading = Lock()

        def run(scale: float, size: Size | None) -> Restore:
            """What makes one run of the network, as `enlarging.OneRun`."""

            def careful() -> Restore:
                with loading:  # Several threads may need it at the same time.
                    return Restoring(in_float32(), self.task, scale, self.denoise, size)

            restore: Restore = Restoring(restorer, self.task, scale, self.denoise, size)
            if self.guarded:
                restore = Guarded(restore, careful)
            return ColorFixed(restore) if self.color_fixed else restore

        if not TASKS[self.task].enlarges:
            return run(1.0, None)
        room = partial(restorer.require_room, self.task, denoise=self.denoise)
        enlarging: Restore = Enlarging(self.sizing, factors, run, room)
        return enlarging if self.strength == 1 else Mixed(enlarging, self.strength)
