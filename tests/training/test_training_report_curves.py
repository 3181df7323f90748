"""Curves are drawn whole: nothing is cut at an edge, every line is there in its colour, long logs stay small."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from report_run import CATEGORIES, save_run

from adacode_cli.errors import UsageError
from adacode_cli.training.report import curves
from adacode_cli.training.report.panels import Curve, Panel, panels, sections
from adacode_cli.training.run_record import Series, read_run

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)
BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def series(values, every: int = 50) -> Series:
    return Series(tuple(float(every * n) for n in range(1, len(values) + 1)), tuple(map(float, values)))


def count(image, colour) -> int:
    return int((image == np.array(colour, np.uint8)).all(axis=2).sum())


@given(
    values=st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=600),
    base=st.integers(0, 10**6),
)
def test_thinning_keeps_means_and_extremes(values, base):
    long = Series(tuple(float(base + n) for n in range(len(values))), tuple(values))
    steps, means, lowest, highest = curves.thinned(long)
    assert len(steps) == min(len(values), curves.MAX_POINTS)
    assert (np.diff(steps) > 0).all()
    assert lowest.min() == min(values)
    assert highest.max() == max(values)
    slack = 1e-9 * (1 + np.abs(values).max())
    assert ((lowest <= means + slack) & (means <= highest + slack)).all()
    if len(values) <= curves.MAX_POINTS:
        np.testing.assert_array_equal(means, values)


@needs_matplotlib
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking would take minutes
@given(
    labels=st.lists(st.text(max_size=60), min_size=1, max_size=16),
    title=st.text(max_size=90),
    log=st.booleans(),
    values=st.lists(st.floats(-9, 9), min_size=1, max_size=5),
)
@example(labels=["W" * 60] * 9, title="W" * 90, log=False, values=[-1e9, 1e9])
@example(labels=["山水" * 20, "\x1f" * 30, "\U0001dc00"] * 3, title="山" * 60, log=True, values=[-6, 6])
def test_nothing_is_cut_at_an_edge(labels, title, log, values):
    drawn = series([10**value for value in values] if log else values)
    lines = [Curve(label, drawn, look) for look, label in enumerate(labels)]
    image = curves.pixels(Panel(title, tuple(lines), log=log), 60)
    assert image.shape[1] == 300
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (edge == 255).all()


@needs_matplotlib
def test_lines_have_the_colour_of_their_look_wherever_they_are_drawn():
    falls, rises = series([3, 2, 1]), series([1, 2, 3])
    both = curves.pixels(Panel("a", (Curve("x", falls, 0), Curve("y", rises, 1))), 100)
    assert count(both, BLUE) > 50
    assert count(both, ORANGE) > 50
    second = curves.pixels(Panel("a", (Curve("y", rises, 1),)), 100)
    assert count(second, BLUE) == 0
    assert count(second, ORANGE) > 50


@needs_matplotlib
@pytest.mark.parametrize("label", ["_hidden", "$x$", "$", r"\$a$b", "plain"])
def test_every_label_is_in_the_legend_as_it_stands(label):
    """The legend adds the same row whatever the label; a formula or a hidden label would not be drawn in it."""
    line = series([1, 2])
    without = curves.pixels(Panel("t", (Curve("", line),)), 100)
    panel = curves.pixels(Panel("t", (Curve(label, line),)), 100)
    assert panel.shape[0] == without.shape[0] + 20
    legend = panel[-22:]
    assert count(legend, BLUE) > 5
    dark = (legend.max(axis=2) < 100).any(axis=0)
    assert dark.sum() >= 2 * len(label)


@needs_matplotlib
@given(low=st.floats(-1e5, 1e5), span=st.floats(1e-3, 1e5), from_zero=st.booleans())
@settings(max_examples=40, deadline=None)
def test_ticks_say_where_they_are(low, span, from_zero):
    values = [abs(low), abs(low) + span] if from_zero else [low, low + span]
    (axes,) = curves.drawing(Panel("t", (Curve("", series(values)),), from_zero=from_zero)).axes
    for axis in (axes.yaxis, axes.xaxis):
        ticks = axis.get_majorticklocs()
        factors = {"k": 1e3, "M": 1e6, "%": 0.01}
        for tick, label in zip(ticks, axis.get_major_formatter().format_ticks(ticks), strict=True):
            number = float(label.rstrip("kM%")) * factors.get(label[-1], 1)
            assert abs(number - tick) <= 1e-3 * abs(ticks[1] - ticks[0])


@needs_matplotlib
def test_a_long_log_makes_no_larger_drawing():
    rng = np.random.default_rng(0)
    short, long = (len(curves.svg(Panel("t", (Curve("x", series(rng.random(n))),)))) for n in (1_000, 40_000))
    assert long < 1.2 * short


@needs_matplotlib
def test_the_share_that_is_too_small_is_marked():
    line = (Curve("sky", series([0.1, 0.2, 0.3])),)
    plain, marked = (
        curves.pixels(Panel("t", line, share=True, from_zero=True, limit=limit), 100) for limit in (None, 0.5)
    )
    dash = (np.abs(marked.astype(int) - 0x66) < 12).all(axis=2)
    assert (dash.sum(axis=1) > 100).any()
    assert not ((np.abs(plain.astype(int) - 0x66) < 12).all(axis=2).sum(axis=1) > 100).any()


def test_stages_of_one_kind_share_axes_and_losses_that_change_sign_stand_apart(tmp_path):
    record = read_run(save_run(tmp_path / "run"))
    first, fused, sr = sections(record)
    assert [section.title for section in (first, fused, sr)] == [
        "Stage I: basis codebooks",
        "Stage II: fused",
        "Stage III: sr-x4",
    ]
    by_title = {panel.title: panel for panel in panels(first)}
    for title in ("Loss: pixel", "Loss: adversarial", "Codes in use", "Validation PSNR (dB)", "Images per second"):
        assert [line.label for line in by_title[title].lines] == sorted(CATEGORIES)
        assert [line.look for line in by_title[title].lines] == [0, 1, 2]
    assert not by_title["Loss: adversarial"].log
    assert by_title["Loss: total"].log
    later = {panel.title: panel for panel in panels(fused)}
    assert [line.label for line in later["Losses"].lines] == ["total", "pixel", "codebook", "adversarial"]
    assert [line.label for line in later["Codes in use"].lines] == list(CATEGORIES)
    assert "Losses that change sign" not in later
    assert all(panel.lines for section in (first, fused, sr) for panel in panels(section))


def test_a_term_that_turns_negative_has_axes_of_its_own(tmp_path):
    rows = ['{"step": 1, "pixel": 1.0, "adversarial": 0.1}', '{"step": 2, "pixel": 0.01, "adversarial": -0.1}']
    (tmp_path / "fused.jsonl").write_text("\n".join(rows))
    (section,) = sections(read_run(tmp_path))
    losses, signed = panels(section)
    assert ([line.label for line in losses.lines], losses.log) == (["pixel"], True)
    assert ([line.label for line in signed.lines], signed.log) == (["adversarial"], False)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as raised:
        curves.check_available()
    assert "pip install 'adacode-cli[train]'" in raised.value.hint
