"""Training logs for TensorBoard: one folder of event files for each name; a resumed run has each step once.

TensorBoard is optional; it is imported only when a writer is made.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adacode_cli.errors import OutputError, UsageError, translated
from adacode_cli.training.run_names import STEP, group_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SAMPLES_TAG = "samples"


def available() -> bool:
    """Whether the package tensorboard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def tag_of(key: str) -> str:
    """TensorBoard's name for a key of a log line: "pixel" → "loss/pixel", "used/sky" → "codes/used/sky"."""
    group, name = group_of(key)
    return f"{group}/{name}" if name else str(group)


class TensorBoard:
    """Writes log lines and samples below `folder`, those of NAME into folder/NAME. Close it when training ends.

    What an earlier run wrote under a name at or after the first step of this one is hidden from then on, so that a
    run that continued from a checkpoint has each step once. Raises UsageError where tensorboard is not installed,
    OutputError if a file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        if not available():
            raise UsageError("tensorboard is not installed", hint="Run: pip install 'adacode-cli[train]'")
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def log(self, name: str, line: Mapping[str, float]) -> None:
        """Writes every value of a log line but "step" as a scalar at that step; see `tag_of` for their names."""
        step = int(line[STEP])
        with self._writing():
            writer = self._writer(name, step)
            for key, value in line.items():
                if key != STEP:
                    writer.add_scalar(tag_of(key), value, step)
            writer.flush()

    def samples(self, name: str, step: int, image: NDArray[np.uint8]) -> None:
        """Writes an H×W×3 uint8 RGB image, such as a sample sheet, at that step."""
        with self._writing():
            writer = self._writer(name, step)
            writer.add_image(SAMPLES_TAG, image, step, dataformats="HWC")
            writer.flush()

    def close(self) -> None:
        """Writes all queued values and closes the event files. Later values are logged into new files."""
        writers, self._writers = self._writers, {}
        with self._writing():
            for writer in writers.values():
                writer.close()

    def _writer(self, name: str, step: int) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        if name not in self._writers:
            self._writers[name] = SummaryWriter(self._folder / name, purge_step=step)
        return self._writers[name]

    def _writing(self) -> AbstractContextManager[None]:
        hint = "Free some disk space, or train without TensorBoard."
        return translated(OutputError, "cannot be written", self._folder, hint=hint)
