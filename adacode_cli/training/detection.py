"""Training of a detector of marks: photographs of the shards, half of them damaged anew in every step.

It is one short stage of its own, without codes: binary cross-entropy and Dice loss (Milletari et al. 2016,
arXiv:1606.04797) over the pixels whose answer is clear, AdamW, and averaged weights as the result.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.checkpoints.detectors import recipe_in, write_detector
from adacode_cli.checkpoints.format import Provenance
from adacode_cli.errors import OutputError, TrainingError, UsageError, translated
from adacode_cli.model.detector import MULTIPLE, Detector, DetectorConfig, initialise
from adacode_cli.training.checkpoint import SUFFIX, Checkpoint, read_checkpoint, write_checkpoint
from adacode_cli.training.crops import Contents, HostCrops, Wanted
from adacode_cli.training.loop import require_finite
from adacode_cli.training.marks import scanned, with_marks
from adacode_cli.training.optimisation import Average, learning_rate, step_seed
from adacode_cli.training.recipe import Optimiser
from adacode_cli.training.run_lock import RunLock
from adacode_cli.training.shards import Pixels

# Of the two losses, and of a mark's pixels beside those without one.
_CROSS_ENTROPY, _DICE, _MARK = 4.0, 0.3, 3.0
# Prevents 0/0 where a batch has no mark.
_FEW_PIXELS = 20.0
_AHEAD = 4
_SAME = "Start again with --overwrite, or give the same."


@dataclass(frozen=True)
class DetectionRecipe:
    """Settings of a training. Raises UsageError for impossible ones.

    sound: share of images without marks. grey: share of images that are grey or toned, as old prints are.
    threshold: of the result, see `engine.detection.MarkFinder`.
    """

    steps: int = 14_000
    batch: int = 8
    patch: int = 256
    rate: float = 1.2e-3
    sound: float = 0.25
    grey: float = 0.4
    threshold: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = (
            (self.steps < 1 or self.batch < 1, f"{self.steps} steps of {self.batch} crops: both are at least 1"),
            (
                self.patch < MULTIPLE or self.patch % MULTIPLE,
                f"a patch of {self.patch}: it is a multiple of {MULTIPLE}",
            ),
            (not 0 < self.threshold < 1, f"a threshold of {self.threshold:g} is not between 0 and 1"),
            (not 0 < self.rate < math.inf, f"a learning rate of {self.rate:g} is not more than 0"),
            (not 0 <= self.sound <= 1, f"a share of {self.sound:g} sound images is not from 0 to 1"),
            (not 0 <= self.grey <= 1, f"a share of {self.grey:g} grey images is not from 0 to 1"),
        )
        for is_wrong, what in wrong:
            if is_wrong:
                raise UsageError(what)

    @property
    def optimiser(self) -> Optimiser:
        return Optimiser(rate=self.rate, betas=(0.9, 0.98), warmup=200, ema=0.998)


# Of one sample: the scan, and 1 on marks, 2 where the answer is not clear.
Sample = tuple[Pixels, Pixels]


def sample(crops: HostCrops, recipe: DetectionRecipe, rng: np.random.Generator) -> Sample:
    """patch×patch×3 uint8 and patch×patch uint8, from a random window of a random photograph."""
    _, pixels = crops.draw(rng, Wanted(recipe.patch))
    toned = _toned(pixels, rng) if rng.random() < recipe.grey else pixels
    if rng.random() < recipe.sound:
        return scanned(toned, rng), np.zeros(toned.shape[:2], np.uint8)
    marked = with_marks(toned, rng)
    return scanned(marked.image, rng), marked.visible + np.uint8(2) * marked.unclear


def _toned(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Grey, or brown, some with the weak contrast of a faded print."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    tone = 1 + rng.uniform(-0.18, 0.18, 3) * (rng.random() < 0.5)
    low, high = (rng.uniform(0, 60), rng.uniform(180, 255)) if rng.random() < 0.4 else (0, 255)
    return np.clip((low + grey / 255 * (high - low)) * tone, 0, 255).astype(np.uint8)


def detection_loss(logits_B1HW: Tensor, marks_B1HW: Tensor) -> Tensor:
    """Cross-entropy and Dice of B×1×H×W logits; marks: 0 without, 1 on a mark, 2 where the answer does not count.

    The pixels around a mark do not count either: its border is blurred.
    """
    mark = (marks_B1HW == 1).float()
    ignored = torch.maximum(F.max_pool2d(mark, 3, 1, 1) - mark, (marks_B1HW == 2).float())
    counted = 1 - ignored
    each = F.binary_cross_entropy_with_logits(logits_B1HW.float(), mark, reduction="none")
    cross_entropy = (each * counted * torch.where(mark > 0, _MARK, 1.0)).mean()
    found = torch.sigmoid(logits_B1HW.float()) * counted
    overlap = 2 * (found * mark).sum() + _FEW_PIXELS
    dice = 1 - overlap / (found.sum() + mark.sum() + _FEW_PIXELS)
    return _CROSS_ENTROPY * cross_entropy + _DICE * dice


class DetectorTraining:
    """A detector, its AdamW and its averaged weights, on one device."""

    def __init__(self, recipe: DetectionRecipe, device: torch.device, config: DetectorConfig | None = None) -> None:
        torch.manual_seed(step_seed(recipe.seed, 0))
        network = Detector(config or DetectorConfig())
        initialise(network)
        self.recipe, self.device, self.steps = recipe, device, 0
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        settings = recipe.optimiser
        self._adam = torch.optim.AdamW(self.network.parameters(), settings.rate, settings.betas, weight_decay=0.01)
        self.average = Average(self.network.state_dict(), settings.ema)

    def step(self, samples: list[Sample]) -> float:
        """One step on a batch; returns its loss. Raises TrainingError if it is not finite."""
        images, marks = (torch.from_numpy(np.stack(part)).to(self.device) for part in zip(*samples, strict=True))
        image_BCHW = images.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
        settings = self.recipe.optimiser
        for group in self._adam.param_groups:
            group["lr"] = learning_rate(settings, self.steps, self.steps / self.recipe.steps)
        loss = detection_loss(self.network(image_BCHW), marks[:, None])
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        self._adam.step()
        self.steps += 1
        self.average.update(self.network.state_dict())
        value = float(loss.detach())
        require_finite({"detection": value}, self.steps)
        return value

    def result(self) -> Detector:
        """A detector with the averaged weights."""
        network = Detector(self.network.config)
        network.load_state_dict(self.average.values)
        return network.eval()

    def state(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """All that a continued training needs."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.values.items()}
        for i, moments in self._adam.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{name}": value for name, value in moments.items()}
        return tensors, {"averaged": self.average.updates}

    def load(self, checkpoint: Checkpoint) -> None:
        """Continues from `state`. Raises TrainingError if it is not of this detector."""
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "adam": {}}
        moments: dict[int, dict[str, Tensor]] = {}
        try:
            for key, tensor in checkpoint.tensors.items():
                part, name = key.split(".", 1)
                parts[part][name] = tensor
            for name, tensor in parts["adam"].items():
                number, kind = name.split(".")
                moments.setdefault(int(number), {})[kind] = tensor
            self.network.load_state_dict(parts["network"])
            self._adam.load_state_dict(self._adam.state_dict() | {"state": moments})
            self.average.updates = checkpoint.counters["averaged"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError("is of another detector", hint="Start again with --overwrite.") from error
        self.average.values = {name: tensor.to(self.device) for name, tensor in parts["average"].items()}
        self.steps = checkpoint.steps


def batches(crops: HostCrops, recipe: DetectionRecipe, first: int, workers: int) -> Generator[list[Sample], None, None]:
    """Batch `first` and all following ones, a few of them made in advance.

    Sample i of batch n depends on the seed, n and i alone.
    """

    def make(number: int) -> list[Sample]:
        seeds = ([recipe.seed, number, i] for i in range(recipe.batch))
        return [sample(crops, recipe, np.random.Generator(np.random.PCG64(seed))) for seed in seeds]

    with ThreadPoolExecutor(workers, thread_name_prefix="adacode-batch") as pool:
        waiting: deque[Future[list[Sample]]] = deque()
        try:
            while True:
                while len(waiting) < max(_AHEAD, workers):
                    waiting.append(pool.submit(make, first + len(waiting)))
                yield waiting.popleft().result()
                first += 1
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True)
class DetectionRun:
    """Where a training writes, and what does not change its result.

    path: the detector's file; the checkpoint lies beside it. resume, overwrite: of what is there already.
    keep_crops: decoded crops stay in memory.
    on_log: gets the number of steps, and the mean loss and images per second since the line before. on_step: gets the
    number of steps after each of them. lock: on the file, if other processes may train it too.
    on_note: gets notes for the user. on_kept: is called if the detector is finished already, and nothing is trained.
    """

    path: Path
    device: torch.device
    resume: bool = False
    overwrite: bool = False
    workers: int = 2
    keep_crops: bool = True
    log_every: int = 50
    checkpoint_every_s: float = 300.0
    on_log: Callable[[int, float, float], None] = lambda _steps, _loss, _speed: None
    stop: Callable[[], bool] = lambda: False
    on_step: Callable[[int], None] = lambda _steps: None
    lock: RunLock | None = None
    on_note: Callable[[str], None] = lambda _note: None
    on_kept: Callable[[], None] = lambda: None

    @property
    def checkpoint(self) -> Path:
        return self.path.with_suffix(SUFFIX)

    def begin(self, recipe: DetectionRecipe, data: str) -> Checkpoint | None:
        """Makes the folder; the state to continue from, if any. An earlier checkpoint that is replaced is removed.

        Raises OutputError for files of an earlier training that are neither continued nor replaced, TrainingError for
        one with other settings or photographs.
        """
        taken = next((path for path in (self.path, self.checkpoint) if path.exists()), None)
        if taken is not None and not self.resume and not self.overwrite:
            hint = "Add --resume to continue, --overwrite to start again, or choose another -o."
            raise OutputError("exists already", path=taken, hint=hint)
        with translated(OutputError, "cannot be made into a folder", self.path.parent, hint="Choose a writable place."):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.lock is not None:
            self.lock.take()
        if self.overwrite:
            with translated(OutputError, "cannot be removed", self.checkpoint, hint="Choose a writable place."):
                self.checkpoint.unlink(missing_ok=True)
        if not self.checkpoint.exists():
            return None
        found = read_checkpoint(self.checkpoint)
        if found.steps > recipe.steps:
            hint = "Give as many --steps as before, or more; a mistake here would end the training for good."
            what = f"has done {found.steps} steps already, and would have to end after {recipe.steps}"
            raise TrainingError(what, path=self.checkpoint, hint=hint)
        for change in self._require_same(found.recipe, recipe, self.checkpoint, ("batch", "rate", "steps")):
            self.on_note(f"it continues with another setting: {change}")
        if found.data != data:
            raise TrainingError("was made with other shards", path=self.checkpoint, hint=_SAME)
        return found

    def is_finished(self, recipe: DetectionRecipe) -> bool:
        """Whether there is a result to keep. Raises TrainingError if it was trained with other settings, WeightsError
        if it is not a detector.
        """
        if not self.resume or not self.path.exists() or self.checkpoint.exists():
            return False
        changed = self._require_same(recipe_in(self.path), recipe, self.path, ("batch", "rate"))
        unused = f"; without effect: {'; '.join(changed)}" if changed else ""
        self.on_note(f"{self.path} is finished already, after {recipe.steps} steps: nothing of it is trained{unused}")
        self.on_kept()
        return True

    def _require_same(
        self, found: dict[str, Any], recipe: DetectionRecipe, path: Path, free: tuple[str, ...]
    ) -> list[str]:
        """Of the settings `free`, those that differ. Raises TrainingError if any other does."""
        wanted = asdict(recipe)
        changed = {n: f"{n}: {found.get(n)} → {wanted[n]}" for n in sorted(wanted) if found.get(n) != wanted[n]}
        if fixed := [text for name, text in changed.items() if name not in free]:
            raise TrainingError(f"was made with other settings: {'; '.join(fixed)}", path=path, hint=_SAME)
        return [*changed.values()]


def train_detector(
    contents: Contents, data: str, recipe: DetectionRecipe, run: DetectionRun, stated: Provenance
) -> bool:
    """Trains to the end of the recipe (True), or until `run.stop` (False: the checkpoint continues it).

    data: the digest of the shards. stated: the provenance of the file. Raises what `DetectionRun.begin` raises,
    TrainingError for crops that are smaller than the recipe's, and OutputError if a file cannot be written.
    """
    if run.is_finished(recipe):
        return True
    found = run.begin(recipe, data)
    contents.require(recipe.patch)
    # Mistakes have been reported before crops are decoded, which takes a while.
    crops = HostCrops(contents, keep=run.keep_crops, workers=run.workers)
    training = DetectorTraining(recipe, run.device)
    if found is not None:
        training.load(found)
        stated = stated.with_sources([found.stated, stated]) if found.stated is not None else stated
    start = time.monotonic() - (found.seconds if found else 0.0)

    def keep() -> None:
        tensors, counters = training.state()
        values: dict[str, Any] = asdict(recipe)
        seconds = time.monotonic() - start
        write_checkpoint(run.checkpoint, Checkpoint(training.steps, seconds, values, tensors, counters, data, stated))

    _loop(crops, training, run, keep)
    if training.steps < recipe.steps:
        keep()
        return False
    described = replace(stated, recipe=json.dumps(asdict(recipe), sort_keys=True))
    write_detector(run.path, training.result(), recipe.threshold, described)
    run.checkpoint.unlink(missing_ok=True)
    return True


def _loop(crops: HostCrops, training: DetectorTraining, run: DetectionRun, keep: Callable[[], None]) -> None:
    recipe, losses = training.recipe, list[float]()
    kept = since = time.monotonic()
    with closing(batches(crops, recipe, training.steps, run.workers)) as source:
        while training.steps < recipe.steps and not run.stop():
            losses.append(training.step(next(source)))
            run.on_step(training.steps)
            now = time.monotonic()
            if len(losses) == run.log_every or training.steps == recipe.steps:
                run.on_log(training.steps, sum(losses) / len(losses), len(losses) * recipe.batch / (now - since))
                losses, since = [], now
            if now - kept > run.checkpoint_every_s:
                keep()
                kept = now
