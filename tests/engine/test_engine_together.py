"""Questions of several threads are answered in batches, each thread its own, whatever fails among them."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_networks import CPU, LAYOUTS, LOCAL, for_task, lively, network, photograph

from adacode_cli.engine import runner as runner_module
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.tiled import Finiteness
from adacode_cli.engine.together import Together, _Begun
from adacode_cli.errors import InputError


class Doubling:
    """Answers with twice the question; remembers its batches, and refuses some questions."""

    def __init__(self, refused=(), refuses_batches=False):
        self.batches, self.refused, self.refuses_batches = [], refused, refuses_batches
        self.waits = 0

    def __call__(self, kind, questions):
        self.batches.append((kind, list(questions)))
        if any(q in self.refused for q in questions) or (self.refuses_batches and len(questions) > 1):
            raise ValueError(questions[0])

        def wait():
            self.waits += 1
            return [2 * q for q in questions]

        return wait


def num_waiting(together):
    with together._lock:
        return sum(len(waiting) for waiting in together._waiting.values())


def ask_all(together, turn, questions, most):
    """All threads have asked before the first batch begins; answers or exceptions in the order of the questions."""

    def ask(index):
        try:
            return together.ask("kind", questions[index], most)
        except ValueError as error:
            return error

    with ThreadPoolExecutor(len(questions)) as threads:
        with turn:
            futures = []
            for index in range(len(questions)):
                futures.append(threads.submit(ask, index))
                while num_waiting(together) <= index:
                    time.sleep(0.001)
        return [future.result(30) for future in futures]


def test_what_waits_while_the_turn_is_taken_is_one_batch():
    begin, turn = Doubling(), threading.Lock()
    answers = ask_all(Together(turn, begin), turn, list(range(5)), most=5)
    assert answers == [0, 2, 4, 6, 8]
    assert begin.batches == [("kind", [0, 1, 2, 3, 4])]
    assert begin.waits == 1


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_batch_is_larger_than_asked_for_and_the_oldest_come_first(most):
    begin, turn = Doubling(), threading.Lock()
    assert ask_all(Together(turn, begin), turn, list(range(7)), most) == [2 * q for q in range(7)]
    assert [q for _, batch in begin.batches for q in batch] == list(range(7))
    assert max(len(batch) for _, batch in begin.batches) == most


@pytest.mark.parametrize("refuses_batches", [False, True])
def test_one_that_fails_fails_alone(refuses_batches):
    begin, turn = Doubling(refused={2}, refuses_batches=refuses_batches), threading.Lock()
    answers = ask_all(Together(turn, begin), turn, list(range(4)), most=4)
    assert isinstance(answers[2], ValueError)
    assert [answers[i] for i in (0, 1, 3)] == [0, 2, 6]


def test_questions_of_another_kind_are_another_batch():
    begin = Doubling()
    together = Together(threading.Lock(), begin)
    assert [together.ask(kind, 1, 4) for kind in "ab"] == [2, 2]
    assert begin.batches == [("a", [1]), ("b", [1])]


class Interrupted(Doubling):
    """Refuses batches, and is interrupted at one of the questions alone."""

    def __call__(self, kind, questions):
        if questions == [1]:
            raise KeyboardInterrupt
        return super().__call__(kind, questions)


@pytest.mark.parametrize("refuses_batches", [False, True])
def test_an_interruption_leaves_nobody_waiting(refuses_batches):
    """Neither those who are in its batch, nor those who come later, nor a question that nobody waits for any longer."""
    begin, turn = Interrupted(refuses_batches=refuses_batches), threading.Lock()
    together, answers = Together(turn, begin), {}

    def ask(question):
        try:
            answers[question] = together.ask("kind", question, 3)
        except (KeyboardInterrupt, RuntimeError) as error:
            answers[question] = error

    threads = [threading.Thread(target=ask, args=(question,)) for question in (0, 1, 2)]
    with turn:
        for index, thread in enumerate(threads):
            thread.start()
            while num_waiting(together) <= index:
                time.sleep(0.001)
    for thread in threads:
        thread.join(30)
    assert set(answers) == {0, 1, 2}
    if refuses_batches:  # whoever had the turn is interrupted, and the rest of the batch is given up or answered
        assert sum(isinstance(answer, KeyboardInterrupt) for answer in answers.values()) == 1
        assert all(isinstance(a, KeyboardInterrupt | RuntimeError) or a == 2 * q for q, a in answers.items())
    else:
        assert answers == {0: 0, 1: 2, 2: 4}
    with pytest.raises(KeyboardInterrupt):
        together.ask("kind", 1, 1)
    assert together.ask("kind", 5, 1) == 10
    assert num_waiting(together) == 0


def test_a_wait_that_was_given_up_is_given_up_for_all():
    """Half of an image may have arrived then."""

    def begin(_kind, questions):
        def wait():
            raise KeyboardInterrupt

        return wait

    begun = Together(threading.Lock(), begin)
    with pytest.raises(KeyboardInterrupt):
        begun.ask("kind", 1, 1)
    shared = _Begun(begin("kind", [1, 2]))
    with pytest.raises(KeyboardInterrupt):
        shared.answer(0)
    with pytest.raises(RuntimeError, match="given up"):
        shared.answer(1)


def test_an_error_that_was_raised_keeps_nothing_alive():
    class Large:
        pass

    kept = []

    def begin(_kind, _questions):
        large = Large()
        kept.append(weakref.ref(large))
        raise ValueError("no")

    gc.disable()
    try:
        with pytest.raises(ValueError, match="no") as caught:
            Together(threading.Lock(), begin).ask("kind", 1, 1)
        del caught
        assert kept[0]() is None
    finally:
        gc.enable()


def runner_of(net, slots, monkeypatch, precision="fp32", tile="auto"):
    monkeypatch.setattr(runner_module, "images_together", lambda *_, **__: slots)
    return Runner(net, CPU, RunOptions(precision, tile))


def restored_together(runner, images, holes):
    """All images in as few batches as there can be."""
    answers, begun = [None] * len(images), threading.Barrier(len(images) + 1)

    def restore(index):
        begun.wait(30)
        answers[index] = runner.restore(images[index], holes[index])

    threads = [threading.Thread(target=restore, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    with runner._turn:
        begun.wait(30)
        while num_waiting(runner._together) < len(images):
            time.sleep(0.001)
    for thread in threads:
        thread.join(60)
    return answers


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("basis", "uniform")])
@pytest.mark.parametrize("tile", ["auto", 64])
def test_images_in_one_batch_are_what_they_are_alone(monkeypatch, layout, tile):
    """Of one padded size, but not of one size or layout; one slot of four stays empty."""
    net = lively(LAYOUTS[layout])
    side = 64 // net.config.scale
    images = [
        photograph(side - 1, side - 2, seed=1),
        photograph(side - 2, side - 1, channels=1, seed=2),
        photograph(side - 1, side - 1, seed=3),
    ]
    holes = [None] * 3
    if net.config.task == "inpaint":
        holes = [np.random.default_rng(i).random(image.shape[:2]) < 0.1 for i, image in enumerate(images)]
    alone = Runner(net, CPU, RunOptions("fp32", tile))
    wanted = [alone.restore(image, hole) for image, hole in zip(images, holes, strict=True)]
    begun, runner = [], runner_of(net, 4, monkeypatch, tile=tile)
    begin = runner._together._begin
    runner._together._begin = lambda kind, pictures: begun.append(len(pictures)) or begin(kind, pictures)
    found = restored_together(runner, images, holes)
    assert begun == [3]
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1
        np.testing.assert_allclose(one.mixing_KHW, other.mixing_KHW, rtol=0, atol=1e-4)
        assert one.notes == other.notes == ()


def test_holes_are_filled_in_coarse_passes_in_batches_too(monkeypatch):
    net = network(replace(for_task(LOCAL, "inpaint"), coarse_passes=2))
    images = [photograph(150, 140, seed=i) for i in range(2)]
    holes = [np.zeros((150, 140), bool) for _ in images]
    holes[0][30:70, 40:90] = holes[1][100:, :50] = True
    wanted = [Runner(net, CPU, RunOptions("fp32")).restore(*pair) for pair in zip(images, holes, strict=True)]
    found = restored_together(runner_of(net, 3, monkeypatch), images, holes)
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1


def test_one_image_that_is_not_finite_is_computed_again_alone(monkeypatch):
    """An image of large values overflows; its companions keep their precision and get no note."""
    net = network(for_task(LOCAL, "sr", 2))
    gain, precision = net.decoder.head.conv, "fp16"
    with torch.no_grad():
        net.encoder.stem.conv.weight *= 1e4
        net.encoder.down[0].conv.weight *= 1e3
        gain.weight *= 1e-4
    images = [photograph(30, 30, np.float32, seed=i) * share for i, share in enumerate((1e-4, 1.0, 1e-4))]
    alone = [Runner(net, CPU, RunOptions(precision)).restore(image) for image in images]
    assert [len(one.notes) for one in alone] == [0, 1, 0], "the second one overflows"
    monkeypatch.setattr(runner_module, "Finiteness", lambda _: Finiteness(torch.device("cuda")))
    found = restored_together(runner_of(net, 3, monkeypatch, precision), images, [None] * 3)
    assert [one.notes for one in found] == [one.notes for one in alone]
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(one.pixels, other.pixels, atol=2e-2)
    with torch.no_grad():
        gain.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        runner_of(net, 3, monkeypatch, precision).restore(images[0])
