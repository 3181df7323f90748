"""The table of tasks: names, labels and words that files, folders and messages are made of."""

from adacode_cli.tasks import TASKS, Task, by_label


def test_labels_name_the_networks_that_there_are():
    """They are names of weights, run folders and output folders, so they never change."""
    found = {label: (task.name, scale) for label, (task, scale) in by_label().items()}
    assert found == {
        "sr-x4": ("sr", 4),
        "sr-x2": ("sr", 2),
        "inpaint": ("inpaint", 1),
        "reconstruct": ("reconstruct", 1),
    }
    assert TASKS["sr"].label(2.5) == "sr-x2.5"
    assert TASKS["sr"].label(4.0) == "sr-x4"
    assert TASKS["sr"].words(4) == "super-resolution ×4"
    assert TASKS["inpaint"].words(1) == "inpainting"


def test_a_task_that_says_nothing_keeps_size_and_colours():
    """What a new task does not say is what is safe: it is guarded, needs no mask, and has no strengths to choose."""
    plain = Task("toy", "toying")
    assert (plain.enlarges, plain.fills_hole, plain.denoises, plain.from_codes) == (False, False, False, False)
    assert plain.keeps_colors
    assert plain.label(4) == "toy"


def test_the_names_are_those_of_the_table():
    """A name under which another task stands would be found under the wrong one."""
    assert all(name == task.name for name, task in TASKS.items())
    assert len({task.title for task in TASKS.values()}) == len(TASKS)
