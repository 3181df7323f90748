"""The training part: shards, the command for the time that is left, and the small files to copy into the results."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpu_run import figures

# Files in the results must be smaller.
MAX_BYTES = 16 << 20
# Seconds for start-up, the last scores and the last checkpoint.
_AROUND_S = {"tiny": 8.0, "full": 30.0}
_SYNTHETIC_PHOTOS = Path(__file__).with_name("synthetic_photos.py")
_ADACODE = (sys.executable, "-m", "adacode_cli", "train")
# Synthetic images have no sharp edges and little detail.
_KEEP_ALL = ("--max-blur", "10", "--min-detail", "0", "--duplicate-bits", "-1", "--max-blockiness", "255")
_STARTS = {"sr": "compact-sr-x4", "inpaint": "compact-inpaint"}
# The bundled trunk has had more training than these minutes can add, so steps are small.
_CAREFUL = {
    "sr": "--scale 4 --learning-rate 2e-5 --set restore.learns=trunk --set restore.optimiser.betas=0.9,0.999",
    "inpaint": "--learning-rate 3e-4",
}

Command = Callable[[float], Sequence[str]]


@dataclass
class Training:
    """One run of `adacode train restore`.

    root: the checkout. temporary: for files that are not kept. out: for the results. more: additional arguments of
    the command, which override the others.
    """

    root: Path
    temporary: Path
    out: Path
    task: str
    device: str
    tiny: bool
    shards: Path | None
    photos: Path | None
    more: Sequence[str]
    _copied: dict[str, float] = field(default_factory=dict)
    _too_large: dict[str, int] = field(default_factory=dict)

    @property
    def commands(self) -> list[Command]:
        """Prepares shards if there are none yet, then trains; each gets the number of seconds that are left."""
        if self.shards is not None:
            return [lambda left_s: self._train(self.shards or Path(), left_s)]
        made = self.temporary / "shards"
        train: Command = lambda left_s: self._train(made, left_s)  # noqa: E731
        if self.photos is not None:
            return [lambda _: self._prepare(self.photos or Path(), made), train]
        photos, (count, side) = self.temporary / "photos" / "synthetic", (4, 256) if self.tiny else (64, 1024)
        draw: Command = lambda _: (sys.executable, str(_SYNTHETIC_PHOTOS), str(photos), str(count), str(side))  # noqa: E731
        return [draw, lambda _: self._prepare(photos.parent, made, *_KEEP_ALL), train]

    def _prepare(self, photos: Path, shards: Path, *more: str) -> Sequence[str]:
        crop = ("--crop", "256") if self.tiny else ()
        return (*_ADACODE, "prepare", str(photos), "-o", str(shards), *crop, *more)

    def _train(self, shards: Path, left_s: float) -> Sequence[str]:
        around, weights = _AROUND_S["tiny" if self.tiny else "full"], self.root / "weights"
        minutes = max(left_s - around, left_s / 4) / 60
        where = ("--device", self.device, "--cache", "device", "--checkpoint-every", "1m", "--slim")
        size = ("--batch", "2", "--patch", "64", "--threads", "1") if self.tiny else ("--batch", "64")
        return (
            *(*_ADACODE, "restore", str(shards), "-o", str(self._run), "--task", self.task),
            *("--fused", str(weights / "compact-stage2.safetensors")),
            *("--start", str(weights / f"{_STARTS[self.task]}.safetensors")),
            *("--minutes", f"{minutes:.3f}", *where, *size, "--perceptual", "", *_CAREFUL[self.task].split()),
            *self.more,
        )

    @property
    def _run(self) -> Path:
        return self.temporary / "run"

    def bring_out(self) -> None:
        """Copies what has changed and is small enough: weights, checkpoint, log. May be called at any time."""
        for path in [*self._run.glob("*.safetensors"), *self._run.glob("*.checkpoint"), *self._run.glob("*.jsonl")]:
            try:
                changed, size = path.stat().st_mtime, path.stat().st_size
                if self._copied.get(path.name) == changed:
                    continue
                self._copied[path.name] = changed
                self._too_large.pop(path.name, None)
                if size >= MAX_BYTES:
                    self._too_large[path.name] = size
                else:
                    shutil.copyfile(path, self.temporary / "copied")
                    shutil.move(self.temporary / "copied", self.out / path.name)
            except OSError:  # the file was removed, or the disk is full: the next attempt may succeed
                self._copied.pop(path.name, None)

    def figures(self, _log: str) -> list[str]:
        """How far the training came, and which files were kept."""
        self.bring_out()
        for path in self.out.glob("*.checkpoint"):
            if not (self._run / path.name).exists():  # the run has ended: there are weights instead
                path.unlink()
                self._copied.pop(path.name, None)
        summary = [line for log in sorted(self._run.glob("*.jsonl")) for line in figures.training(log)]
        kept = sorted(name for name in self._copied if name not in self._too_large)
        summary += [f"kept: {', '.join(kept)}"] if kept else []
        return summary + [f"not kept, too large: {name} ({size} bytes)" for name, size in self._too_large.items()]
