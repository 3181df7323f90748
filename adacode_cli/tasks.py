"""The tasks of the program: one value for each, with everything that engine, guard, evaluation and training need.

Code reads these values and never compares names, so that a task is added by its entry here, by its command
(`cli/`) and by its weights; CONTRIBUTING.md lists the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TrainingInput = Literal["degraded", "holed", "clean"]
Baseline = Literal["bicubic", "Telea"]


@dataclass(frozen=True)
class Task:
    """One task.

    name: of its command, and in files of weights, catalogues, journals and JSON.
    title: for messages, without the scale: "super-resolution".
    scales: ratios of output side to input side for which there are networks, the largest first.
    fills_hole: it takes a mask and fills the hole; outside, every pixel keeps its exact value, also hidden colours
        of fully transparent pixels. Other tasks replace hidden colours first, so that they do not affect visible ones.
    from_codes: its images are made from codes and mixing weights alone, so they can be stored as codes. The network
        is that of stage II of the training.
    denoises: its weights may allow a choice of how much noise is removed (`--denoise`).
    keeps_colors: a result must have the colours of its input (outside the hole), and the guard checks this.
    training_input: the input of the network in training: a degraded copy of the photograph, the photograph with
        holes, or the photograph itself.
    baseline: the method that evaluation measures beside the network.
    test_inputs: the folder of a test set that holds the inputs; "{scale}" is replaced by the scale. "hr" holds the
        originals; the masks of tasks that fill holes are in "mask".
    """

    name: str
    title: str
    scales: tuple[int, ...] = (1,)
    fills_hole: bool = False
    from_codes: bool = False
    denoises: bool = False
    keeps_colors: bool = True
    training_input: TrainingInput = "clean"
    baseline: Baseline | None = None
    test_inputs: str = "hr"

    @property
    def enlarges(self) -> bool:
        """Whether results can be larger than inputs."""
        return max(self.scales) > 1

    def label(self, scale: float) -> str:
        """The name, with the scale if the task enlarges ("sr-x4", "inpaint"): for output folders, weights and runs."""
        return f"{self.name}-x{scale:g}" if self.enlarges else self.name

    def words(self, scale: int) -> str:
        """The title, with the scale if the task enlarges: "super-resolution ×4", "inpainting"."""
        return f"{self.title} ×{scale}" if self.enlarges else self.title


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "sr",
            "super-resolution",
            scales=(4, 2),
            denoises=True,
            training_input="degraded",
            baseline="bicubic",
            test_inputs="lr_x{scale}",
        ),
        Task("inpaint", "inpainting", fills_hole=True, training_input="holed", baseline="Telea"),
        # A reconstruction shows how well codes represent its input, so the guard does not check it.
        Task("reconstruct", "reconstruction", from_codes=True, keeps_colors=False),
    )
}
"""Every task by its name. A program that uses this package may add its own before it makes a `Restorer`."""

BASIS = Task("basis", "one codebook", keeps_colors=False)
"""The task of the networks of stage I of the training. No command runs them."""


def by_label() -> dict[str, tuple[Task, int]]:
    """Task and scale of every possible network, by label: "sr-x4", "sr-x2", "inpaint", "reconstruct"."""
    return {task.label(scale): (task, scale) for task in TASKS.values() for scale in task.scales}
