"""Panels → drawings: one small figure each, as SVG for a page or as pixels for an overview.

Drawings are the same for the same log. Long logs are drawn as means over short stretches of steps, with the range
of the values behind them, so that a drawing stays small however long training lasted. matplotlib is optional; it is
imported inside the functions and never touches a display.
"""

from __future__ import annotations

import importlib.util
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adacode_cli.errors import UsageError
from adacode_cli.training.report.panels import Curve, Panel
from adacode_cli.training.run_record import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 200
"""A longer series is drawn as this number of means."""

WIDTH_INCHES = 5.0
_HEIGHT_INCHES = 2.9
_LEGEND_ROW_INCHES = 0.2
_LEGEND_INCHES = 4.7
_LEGEND_HANDLE_INCHES = 0.55  # a piece of line and the space around it, for each label
_LABEL_INCHES, _LABEL_POINTS = 1.8, 8
_TITLE_INCHES, _TITLE_POINTS = 3.6, 10
_MARKED_POINTS = 20
_TICKS = 6
# Okabe and Ito's colours without yellow, which is hard to see on white: distinguishable for people with colour
# blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", ":", "-.")
_GREY = "#666666"
# Names of categories may be written in any script; matplotlib's own font has no Chinese, Japanese or Korean letters.
_MORE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
)


def check_available() -> None:
    """Raises UsageError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("matplotlib is not installed", hint="Run: pip install 'adacode-cli[train]'")


def svg(panel: Panel) -> bytes:
    """A panel as an SVG image on white, 5 inches wide, its letters drawn as paths."""
    with _style():
        figure, buffer = drawing(panel), io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def pixels(panel: Panel, dpi: int) -> NDArray[np.uint8]:
    """A panel as H×W×3 uint8 RGB on white, 5 · dpi pixels wide."""
    with _style():
        return _pixels(drawing(panel), dpi)


def title_pixels(text: str, width: int, dpi: int, *, points: float = 16) -> NDArray[np.uint8]:
    """A line of text as H×W×3 uint8 RGB on white, `width` pixels wide, cut where it is too long."""
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(width / dpi, points / 72 * 2), dpi=dpi)
        figure.text(0.15 * dpi / width, 0.45, _plain(text), fontsize=points, fontweight="bold", va="center")
        return _pixels(figure, dpi)


def thinned(series: Series) -> tuple[NDArray[np.float64], ...]:
    """Steps, means, lowest and highest values of at most `MAX_POINTS` stretches with (nearly) as many points each."""
    steps, values = np.asarray(series.steps), np.asarray(series.values)
    stretches = min(MAX_POINTS, len(steps))
    starts = np.arange(stretches) * len(steps) // stretches
    counts = np.diff([*starts, len(steps)])
    means = [np.add.reduceat(points, starts) / counts for points in (steps, values)]
    return means[0], means[1], np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    settings: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", *(font for font in _MORE_FONTS if font in installed)],
        "font.size": 9,
        "svg.fonttype": "path",
        "svg.hashsalt": "adacode",
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # a box is drawn for the letter, which is no error
        yield


def _pixels(figure: Figure, dpi: int) -> NDArray[np.uint8]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)  # its methods carry no types
    canvas.draw()
    return np.array(canvas.buffer_rgba(), np.uint8)[..., :3]


def drawing(panel: Panel) -> Figure:
    """A panel as a matplotlib figure of 5 inches, higher where its legend needs more rows."""
    from matplotlib.figure import Figure

    labels = [_fitted(line.label, _LABEL_POINTS, _LABEL_INCHES) for line in panel.lines]
    widest = max(_inches(label, _LABEL_POINTS) for label in labels)
    columns = max(1, min(len(labels), int(_LEGEND_INCHES / (widest + _LEGEND_HANDLE_INCHES))))
    rows = math.ceil(len(labels) / columns) if any(labels) else 0
    figure = Figure(figsize=(WIDTH_INCHES, _HEIGHT_INCHES + rows * _LEGEND_ROW_INCHES), layout="constrained")
    axes = figure.add_subplot()
    drawn = [_draw(axes, line) for line in panel.lines]
    axes.set_title(
        _fitted(panel.title, _TITLE_POINTS, _TITLE_INCHES), fontsize=_TITLE_POINTS, fontweight="bold", loc="left"
    )
    axes.set_xlabel("step", fontsize=8)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    _scale(axes, panel)
    if rows:
        figure.legend(
            drawn,
            labels,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=_LABEL_POINTS,
        )
    return figure


def _draw(axes: Axes, line: Curve) -> Any:  # noqa: ANN401 - matplotlib's Line2D, not imported here
    colour, dashes = _COLOURS[line.look % len(_COLOURS)], _DASHES[line.look // len(_COLOURS) % len(_DASHES)]
    steps, means, lowest, highest = thinned(line.series)
    if len(line.series.steps) > MAX_POINTS:
        axes.fill_between(steps, lowest, highest, color=colour, alpha=0.15, linewidth=0)
    marker = "o" if len(steps) <= _MARKED_POINTS else ""
    return axes.plot(steps, means, color=colour, linestyle=dashes, linewidth=1.4, marker=marker, markersize=2.6)[0]


def _scale(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, 1.02 * max(line.series.steps[-1] for line in panel.lines) or 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(_counted)
    if panel.log:
        _logarithmic(axes, panel.lines)
        return
    axes.yaxis.set_major_locator(MaxNLocator(_TICKS, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(_percent if panel.share else _exact(axes))
    if panel.from_zero:
        axes.set_ylim(0, 1.08 * max(value for line in panel.lines for value in line.series.values) or 1)
    if panel.limit is not None:
        axes.set_ylim(top=1.03)
        axes.axhline(panel.limit, color=_GREY, linewidth=0.9, linestyle=(0, (5, 4)))


def _logarithmic(axes: Axes, lines: Sequence[Curve]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    values = [value for line in lines for value in line.series.values if value > 0]
    decades = math.log10(max(values) / min(values))
    axes.set_yscale("log", nonpositive="mask")
    subs = (1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0) if decades < 4 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _exact(axes: Axes) -> Callable[[float, float], str]:
    """Labels with as many digits as their ticks have, not an offset in a corner of the axes."""

    def label(value: float, _: float) -> str:
        low, high = axes.get_ylim()
        if not 1e-4 <= max(abs(low), abs(high)) < 1e6:
            return f"{value:.4g}"
        # Ticks are 1, 2 or 5 times a power of ten apart, and no nearer than this.
        digits = max(0, -math.floor(math.log10((high - low) / _TICKS)))
        return f"{value:.{digits}f}"

    return label


def _percent(value: float, _: float) -> str:
    return f"{100 * value:.3g}%"


def _counted(value: float, _: float) -> str:
    """Steps: 500, 20k, 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _fitted(text: str, points: float, inches: float) -> str:
    """The text as `_plain` has it, cut with an ellipsis where it would be wider."""
    whole, kept = _plain(text), len(text)
    while _inches(whole, points) > inches:
        kept -= 1
        whole = _plain(f"{text[:kept]}…")
    return whole


def _inches(plain: str, points: float) -> float:
    """The width of a text drawn by matplotlib, with the fonts that it finds."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not plain:
        return 0.0
    drawn = plain.replace(r"\$", "$")
    measured: Any = text_to_path.get_text_width_height_descent(drawn, FontProperties(size=points), ismath=False)
    return float(measured[0]) / 72


def _plain(text: str) -> str:
    """Text that matplotlib draws as it stands: $ begins no formula, and what cannot be printed is made visible."""
    shown = visible(text)
    # matplotlib leaves labels that begin with an underscore out of legends; a space before it keeps them.
    return f"{' ' * shown.startswith('_')}{shown}".replace("$", r"\$")


def visible(text: str) -> str:
    """The text with undecodable bytes and characters that cannot be printed written out."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
