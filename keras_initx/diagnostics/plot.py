"""Signal by depth, forward and backward, as one figure."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from keras_initx.diagnostics.records import HEALTHY, LayerSignal, SignalReport

# Okabe and Ito 2008: told apart by whoever sees fewer colours, and by their lines and marks in grey.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_LINES = ("-", "--", "-.", ":")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LABELS = 30
# Beyond these a line is drawn at the edge: one that ends at 1e-160 would flatten the others.
_RANGE = (1e-12, 1e12)


def plot_signals(reports: Mapping[str, SignalReport], title: str = "") -> Any:
    """Draws the standard deviation of pre-activations by depth, and the root mean square of their gradients.

    Both on logarithmic scales, one line for each report; the band of healthy pre-activations is shaded. A
    layer without signal is a cross at the lower edge, one that is not finite a triangle at the upper.

    Args:
        reports: Reports of `diagnose` by the name that their line gets.
        title: Of the figure.

    Returns:
        A `matplotlib.figure.Figure`: `figure.savefig("signal.png")`.

    Example:

    >>> import keras, keras_initx
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> figure = plot_signals({"as built": keras_initx.diagnose(model)})
    >>> [axis.get_ylabel() for axis in figure.axes]
    ['pre-activation std', 'gradient rms']
    """
    from matplotlib.figure import Figure

    rows = max(reports.values(), key=lambda report: len(report.rows)).rows
    few = len(rows) <= _LABELS
    figure = Figure(figsize=(7.2, 6.6 if few else 5.6), layout="constrained")
    forward, backward = figure.subplots(2, 1, sharex=True)
    band = f"healthy: {HEALTHY[0]:g} to {HEALTHY[1]:g}"
    forward.axhspan(*HEALTHY, color="0.5", alpha=0.15, linewidth=0, label=band)
    for number, (name, report) in enumerate(reports.items()):
        style = {
            "color": _COLORS[number % len(_COLORS)],
            "linestyle": _LINES[number % len(_LINES)],
            "marker": _MARKS[number % len(_MARKS)],
            "markersize": 3.5,
            "linewidth": 1.4,
        }
        _line(forward, report, lambda row: row.std, name, style)
        _line(backward, report, lambda row: row.gradient_rms, name, style)
    forward.set_ylabel("pre-activation std")
    backward.set_ylabel("gradient rms")
    backward.set_xlabel("layer, from input to output")
    for axis in (forward, backward):
        axis.set_yscale("log")
        _ends(axis)
        axis.grid(True, which="major", color="0.88", linewidth=0.6)
        axis.set_axisbelow(True)
    if few:
        names = [row.path.split("/", 1)[-1] for row in rows]
        backward.set_xticks([row.number for row in rows], names, rotation=60, ha="right", fontsize=7)
    forward.legend(fontsize=8, frameon=False, ncols=2, loc="best")
    figure.suptitle(title or _title(reports), fontsize=10)
    return figure


def _ends(axis: Any) -> None:
    """Says what lies at the edges, and keeps a scale where nothing is above zero."""
    values = [v for line in axis.lines for v in line.get_ydata() if line.get_label()[0] != "_" and v > 0]
    if not values:
        axis.set_ylim(*_RANGE)
    low, high = _RANGE
    words = [f"at {low:g}: that or less"] if low in values else []
    words += [f"at {high:g}: that or more"] if high in values else []
    marks = {line.get_marker() for line in axis.lines if line.get_label()[0] == "_" and len(line.get_xdata())}
    words += [
        word for mark, word in (("x", "crosses: zero"), ("^", "triangles: not finite")) if mark in marks
    ]
    if words:
        axis.set_title("; ".join(words), fontsize=7, loc="right", pad=2)


def _title(reports: Mapping[str, SignalReport]) -> str:
    first = next(iter(reports.values()))
    return f"{first.model}: signal by depth ({first.samples} samples, gradients {first.loss_of})"


def _line(
    axis: Any, report: SignalReport, figure: Callable[[LayerSignal], float], name: str, style: Any
) -> None:
    low, high = _RANGE
    values = [figure(row) for row in report.rows]
    numbers = [row.number for row in report.rows]
    shown = [min(max(v, low), high) if math.isfinite(v) and v > 0 else math.nan for v in values]
    axis.plot(numbers, shown, label=name, **style)
    for is_so, place, mark in (
        (lambda v: v == 0, 0.02, "x"),
        (lambda v: not math.isfinite(v), 0.98, "^"),
    ):
        where = [n for n, v in zip(numbers, values, strict=True) if is_so(v)]
        transform = axis.get_xaxis_transform()
        (marks,) = axis.plot(where, [place] * len(where), mark, color=style["color"], transform=transform)
        # Its place is no value of the data, that room would have to be made for.
        marks.set_in_layout(False)
