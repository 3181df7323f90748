"""The tasks of the program, one value each: all that engine, guard, evaluation, training and commands ask of a task.

Code asks these values and never compares names, so that a task is added by its entry here, by its command
(`cli/`) and by its weights; CONTRIBUTING lists the files.
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
    title: for people, without the scale: "super-resolution".
    scales: factors between input and output sides that networks of the task have, the largest first.
    fills_hole: it takes a mask and fills what is in the mask; outside, every pixel stays bit for bit, also colours that
        full transparency hides. Other tasks cover hidden colours first, so that these do not bleed into what is seen.
    from_codes: its images are made of codes and mixing weights alone, so they can be kept as codes. The network is
        that of training's stage II.
    denoises: its weights may have a choice of how much noise is removed (`--denoise`).
    keeps_colors: a result must have the colours of its input (outside of a hole), and the guard judges whether it has.
    training_input: what a training batch shows the network: a degraded copy of the photograph, the photograph with
        holes, or the photograph itself.
    baseline: the method of others that evaluation measures beside the network.
    test_inputs: folder of a test set that holds what is restored, "{scale}" standing for the scale. "hr" holds the
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
        """The name with the scale where there is a choice ("sr-x4", "inpaint"): of output folders, weights and runs."""
        return f"{self.name}-x{scale:g}" if self.enlarges else self.name

    def words(self, scale: int) -> str:
        """The title with the scale where there is a choice: "super-resolution ×4", "inpainting"."""
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
        # How far a reconstruction is from its input is what it shows, so nothing judges it.
        Task("reconstruct", "reconstruction", from_codes=True, keeps_colors=False),
    )
}
"""Every task by its name. A program that uses this package may add its own before it makes a `Restorer`."""

BASIS = Task("basis", "one codebook", keeps_colors=False)
"""Stage I of training: what its networks have in the place of a task. No command runs them."""


def by_label() -> dict[str, tuple[Task, int]]:
    """Every network that there can be, by its label: "sr-x4", "sr-x2", "inpaint", "reconstruct"."""
    return {task.label(scale): (task, scale) for task in TASKS.values() for scale in task.scales}
